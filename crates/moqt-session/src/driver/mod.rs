//! The async shell: one task a session that carries bytes between streams and the core.
//!
//! Everything a session waits for is a future in one set, so a frame that arrives wakes the sessions that
//! read it once each, and nothing else. The core is owned by the task: no lock is held over an await because
//! there is none.

mod bell;
mod control;
mod done;
mod drain;
mod egress;
mod fetch;
mod gate;
mod handshake;
mod ingest;
mod live;
mod outbox;
mod publish;
mod queue;
mod sampler;
mod subscribe;
mod tracks;
mod trail;
mod turns;
mod writers;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use moqt_transport::{Code, Connection, ConnectionError, RecvStream as _, SendStream};
use moqt_wire::StreamDecoder;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, Span, debug, trace, trace_span, warn};

pub(crate) use handshake::{Established, accept, connect};

use self::{
    bell::Bell,
    control::{Read, Reader, TypeError},
    done::{Done, Streams},
    drain::Leaving,
    egress::{Heads, Rank},
    gate::Gate,
    outbox::{End, Outbox, Wrote},
    publish::Serving,
    queue::Happened,
    sampler::Sampler,
    subscribe::Wish,
    tracks::Called,
    trail::Finished,
    turns::pause,
    writers::Writers,
};
use crate::{
    allowance::Intake,
    dialect::Dialect,
    error::{PeerMisbehaved, Reason, SessionError, TrackError},
    meters::Tally,
    model::{AnnounceProducer, GroupProducer, Withdrawal, now},
    origin::Origin,
    proto::{Bitrate, Endpoint, Event, Limits, Message, Output, Refused, RequestId, RequestKind, Sender},
    session::{Command, Drain, State},
};

/// Starts a session's task.
#[expect(clippy::disallowed_methods, reason = "the driver is where a session's task begins")]
pub(crate) fn start<C: Connection>(
    established: Established<C>,
    limits: Limits,
    origin: Arc<dyn Origin>,
    commands: mpsc::Receiver<Box<Command>>,
    state: watch::Sender<State>,
    span: Span,
) {
    let Established { connection, side, dialect, negotiated, send, recv, decoder } = established;
    let endpoint = Endpoint::new(dialect, side, limits.clone()).with_drain(negotiated.drain);
    let intake = Intake::new(&limits, span.clone());
    let tally = limits.meters.tally();
    let mut driver = Driver {
        connection,
        dialect,
        endpoint,
        limits,
        intake,
        tally,
        origin,
        state,
        work: FuturesUnordered::new(),
        in_a_row: 0,
        since_call: 0,
        bell: Bell::default(),
        gate: Gate::default(),
        called: Called::default(),
        happened: Happened::default(),
        outboxes: BTreeMap::new(),
        readers: BTreeMap::new(),
        uses: BTreeMap::new(),
        reporting: BTreeSet::new(),
        untyped: 0,
        opening: 0,
        groups_in: 0,
        groups_out: 0,
        finished: Finished::default(),
        idle: Writers::default(),
        heads: Heads::default(),
        ranks: Vec::new(),
        bitrate: Bitrate::default(),
        sampler: Sampler::default(),
        flushers: Vec::new(),
        leavers: Vec::new(),
        writers: BTreeSet::new(),
        leaving: None,
        closing: false,
        ending: None,
    };
    driver.adopt(Endpoint::SESSION, send);
    driver.read(Endpoint::SESSION, recv, decoder);
    driver.wait_for(commands);
    // Counts polls for whoever listens that closely, and costs others nothing.
    let polls = trace_span!(parent: None, "driver");
    tokio::spawn(driver.run(span).instrument(polls));
}

/// The one task of a session.
struct Driver<C: Connection> {
    connection: C,
    dialect: &'static dyn Dialect,
    endpoint: Endpoint,
    limits: Limits,
    /// What the peer's groups may bring.
    intake: Arc<Intake>,
    /// What the peer is sent.
    tally: Tally,
    origin: Arc<dyn Origin>,
    state: watch::Sender<State>,
    work: FuturesUnordered<Work<C>>,
    /// How much was ready without a wait between.
    in_a_row: usize,
    /// How much else was handled since a track that has something new.
    since_call: usize,
    /// What the futures wake.
    bell: Bell,
    /// Where streams with payload wait for their turn.
    gate: Gate,
    /// Subscriptions of the peer whose tracks have something new.
    called: Called,
    /// What has come of futures that go on.
    happened: Happened<C>,
    /// What waits to be written, for each request whose half is open.
    outboxes: BTreeMap<RequestId, Outbox>,
    /// Stops the reading of a request's stream, with a code for the peer.
    readers: BTreeMap<RequestId, oneshot::Sender<Code>>,
    /// Who uses a request.
    uses: BTreeMap<RequestId, Use<C::SendStream>>,
    /// Subscriptions of the peer that have gaps to tell of.
    reporting: BTreeSet<RequestId>,
    /// Streams of the peer that have not said their type.
    untyped: usize,
    /// Group streams of the peer that have not said yet which group they are, and those that have and are open.
    opening: usize,
    groups_in: usize,
    /// Group streams of ours that the peer does not yet have whole.
    groups_out: usize,
    /// Those of which nothing is left to be handed to the connection, before their subscription takes them in.
    finished: Finished<C::SendStream>,
    /// Who writes the next group.
    idle: Writers<C::SendStream>,
    heads: Heads,
    /// Of groups that have been sent, for the next ones.
    ranks: Vec<Rank>,
    /// What the peer was told of the bitrate, and when the next look at it, and at the trails, is due.
    bitrate: Bitrate,
    sampler: Sampler,
    /// Who waits until nothing is on its way.
    flushers: Vec<oneshot::Sender<()>>,
    /// Who waits until the peer takes nothing.
    leavers: Vec<oneshot::Sender<()>>,
    /// Requests whose half has a writer.
    writers: BTreeSet<RequestId>,
    /// Whether the session is being left, and how.
    leaving: Option<Leaving>,
    /// Whether the user wants the end.
    closing: bool,
    /// Why the session ends, once that is decided.
    ending: Option<SessionError>,
}

/// How much else is handled at most while gaps wait for others to be told with.
const TOGETHER: usize = 64;

/// How much is handled without a break for other sessions.
const IN_A_ROW: usize = 64;

/// How many streams are accepted before those are looked at.
const ACCEPTED: usize = 16;

type Work<C> = Pin<Box<dyn Future<Output = Done<C>> + Send>>;

/// Who uses a request.
enum Use<S: SendStream> {
    /// The peer's subscription.
    Serving(Box<Serving<S>>),
    /// The peer watches our names; aborts the feeding.
    Watched(AbortHandle, Withdrawal),
    /// The peer's question; aborts the answering.
    InfoAsked(AbortHandle),
    /// The peer's fetch.
    FetchServing(Box<fetch::Serving>),
    /// Our subscription.
    Wish(Box<Wish>),
    /// Our subscription after its publisher finished it: groups on their way still count.
    Late(Box<Wish>),
    /// We watch the peer's names.
    Watching(AnnounceProducer),
    /// Our question.
    Asking(subscribe::InfoReply),
    /// Our fetch.
    Fetching(Arc<GroupProducer>),
}

impl<C: Connection> Driver<C> {
    /// What happens is in `span`. To wait is not: that comes with each frame, and would enter it each time.
    // Not an `async fn`: that would keep room for the driver twice, for as long as the session is there.
    #[expect(clippy::manual_async_fn, reason = "half the memory")]
    fn run(mut self, span: Span) -> impl Future<Output = ()> + Send {
        async move {
            span.in_scope(|| debug!("session established"));
            std::future::poll_fn(|cx| {
                self.bell.wakes(cx.waker());
                Poll::Ready(())
            })
            .await;
            let connection = self.connection.clone();
            self.spawn(async move { Done::Closed(connection.closed().await) });
            self.accept_bi();
            self.accept_uni();
            let mut waited = 0;
            let error = loop {
                if self.in_a_row >= IN_A_ROW {
                    self.in_a_row = 0;
                    // A peer that always has something more does not keep other sessions waiting.
                    tokio::task::yield_now().await;
                }
                let mut outputs = 0_usize;
                while let Some(output) = self.endpoint.poll_output() {
                    span.in_scope(|| self.perform(output));
                    outputs += 1;
                    if outputs.is_multiple_of(IN_A_ROW) {
                        // All names of a watch end at once.
                        tokio::task::yield_now().await;
                    }
                }
                if let Some(error) = self.ending.take() {
                    break error;
                }
                if self.is_withdrawn() {
                    span.in_scope(|| self.say_farewell());
                    continue;
                }
                if !self.flushers.is_empty() && self.is_flushed() {
                    for flusher in self.flushers.drain(..) {
                        let _ = flusher.send(());
                    }
                }
                if !self.leavers.is_empty() && !self.is_asked() {
                    for leaver in self.leavers.drain(..) {
                        let _ = leaver.send(());
                    }
                }
                let done = if self.reporting.is_empty() {
                    waited = 0;
                    self.next_done().await
                } else {
                    // What is ready now may have gaps beside those.
                    let ready = if waited < TOGETHER { self.next_done().now_or_never() } else { None };
                    match ready {
                        Some(done) => {
                            waited += 1;
                            done
                        }
                        None => {
                            let reporting: Vec<_> = self.reporting.iter().copied().collect();
                            span.in_scope(|| {
                                reporting.into_iter().for_each(|request| self.tell_gaps(request))
                            });
                            continue;
                        }
                    }
                };
                match done {
                    Some(done) if done.is_quiet() => self.handle(done),
                    Some(done) => span.in_scope(|| self.handle(done)),
                    None => break SessionError::LocallyClosed,
                }
            };
            span.in_scope(|| self.end(error));
        }
    }

    /// Whether the peer is being served.
    fn is_asked(&self) -> bool {
        self.uses.values().any(|used| matches!(used, Use::Serving(_) | Use::FetchServing(_)))
    }

    /// Tells everybody why, and closes the connection.
    fn end(mut self, error: SessionError) {
        let error = if self.closing { SessionError::LocallyClosed } else { error };
        debug!(reason = %error, "session ended");
        for (_, used) in std::mem::take(&mut self.uses) {
            match used {
                Use::Late(wish) => wish.finish(),
                Use::Wish(wish) => wish.fail(TrackError::Session(error.clone())),
                Use::Asking(reply) => {
                    let _ = reply.send(Err(error.clone().into()));
                }
                Use::Fetching(group) => group.end(fetch::SESSION_ENDED),
                Use::Watching(names) => names.close(Some(error.clone().into())),
                Use::Serving(_) | Use::Watched(..) | Use::InfoAsked(_) | Use::FetchServing(_) => {}
            }
        }
        let going = self.leaving.is_some() && matches!(error, SessionError::LocallyClosed);
        if let Some(reason) = if going { Some(Reason::GoingAway) } else { error.farewell() } {
            let words = match &error {
                SessionError::Closed { .. } | SessionError::LocallyClosed => String::new(),
                other => other.to_string(),
            };
            self.connection.close(self.dialect.code(reason), &words);
        }
        self.state.send_modify(|state| state.closed = Some(error));
    }

    fn handle(&mut self, done: Done<C>) {
        match done {
            Done::Closed(error) => self.lost(error),
            Done::Command(commands, command) => self.command(commands, command.map(|command| *command)),
            Done::AcceptedBi(Ok(streams)) => {
                self.accept_bi();
                self.accepted(streams);
            }
            Done::AcceptedUni(recv) => self.group_stream(recv),
            Done::AcceptedBi(Err(_)) | Done::Nothing => {}
            Done::Typed(streams, typed) => self.typed(*streams, typed),
            Done::Opened(request, outbox, Ok(streams)) => {
                let (send, recv) = *streams;
                self.write(request, outbox, send);
                let decoder = StreamDecoder::new(self.dialect.version().spec(), self.limits.wire.clone());
                self.read(request, recv, decoder);
            }
            Done::Opened(..) => {}
            Done::Read(reader, read) => self.got(reader, read),
            Done::Wrote(request, wrote) => {
                self.writers.remove(&request);
                match *wrote {
                    Wrote::Stopped(code) => self.endpoint.handle_stopped(request, code),
                    Wrote::Released(stream) => self.released(request, stream),
                    Wrote::Done | Wrote::Lost => {}
                }
            }
            Done::GroupOpened(opened) => {
                self.opening -= 1;
                self.group_opened(opened);
            }
            Done::Ingested(request, sequence, whole) => self.ingested(request, sequence, whole),
            Done::TrackAnswer(request, answer) => self.track_answer(request, answer.map(|track| *track)),
            Done::TrackCalled(request) => self.track_called(request),
            Done::TrackDue(request) => self.track_due(request),
            Done::Sample => self.sample(),
            Done::Flush(reply) => {
                self.flushers.push(reply);
                self.chase_all();
            }
            Done::GroupFinished(request) => self.group_finished(request),
            Done::GroupSent(request, sequence, sent) => self.group_sent(request, sequence, sent),
            Done::LagDue(request) => self.lag_due(request),
            Done::NamesChanged(request, names, event) => self.names_changed(request, names, event),
            Done::InfoAnswer(request, answer) => self.info_answer(request, answer),
            Done::FetchAnswer(request, answer) => self.fetch_answer(request, answer.map(|answer| *answer)),
            Done::FetchSent(request, sent) => self.fetch_sent(request, sent),
            Done::Fetched(request, end) => self.fetched(request, end),
            Done::Unused(request) => self.unused(request),
            Done::CallerLeft(request) => self.caller_left(request),
            Done::LateOver(request, groups) => self.late_over(request, groups),
            Done::CloseTimeout | Done::DrainOver => self.ending = Some(SessionError::LocallyClosed),
            Done::Settle(request) => self.settle(request),
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Open { request, kind } => self.open(request, kind),
            Output::Send { request, message } => {
                trace!(request = request.0, message = message.name(), "send");
                let Some(outbox) = self.outboxes.get(&request) else { return };
                match outbox.push(|out| self.dialect.encode(&message, out)) {
                    Ok(waiting) if waiting > self.limits.outbox_bytes => {
                        warn!(request = request.0, waiting, "peer does not read its stream");
                        self.limits.meters.reaches("outbox bytes");
                        self.endpoint.refuse(request, Reason::TooMany);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        debug!(request = request.0, %error, "cannot be said in this version");
                        self.endpoint.unspeakable(request, &message);
                    }
                }
            }
            Output::Finish { request } => {
                if let Some(outbox) = self.outboxes.remove(&request) {
                    outbox.end(End::Finish);
                }
            }
            Output::Reset { request, code } => {
                if let Some(outbox) = self.outboxes.remove(&request) {
                    outbox.end(End::Reset(code));
                } else {
                    self.reset_frames(request, code);
                }
            }
            Output::Stop { request, code } => self.stop_reading(request, code),
            Output::Forget { request } => match self.uses.remove(&request) {
                Some(Use::Serving(serving)) => self.give_up(*serving),
                Some(Use::Watched(work, _) | Use::InfoAsked(work)) => work.abort(),
                Some(Use::FetchServing(serving)) => serving.abort(),
                Some(late @ Use::Late(_)) => {
                    self.uses.insert(request, late);
                }
                _ => {}
            },
            Output::Event(event) => self.event(event),
            Output::Close(error) => {
                if let SessionError::Peer(rule) = &error {
                    warn!(%rule, "peer broke the protocol");
                }
                self.ending.get_or_insert(error);
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Subscribed { request, subscribe } => self.subscribed(request, subscribe),
            Event::Updated { request, update } => self.updated(request, update),
            Event::Unsubscribed { request, graceful } => self.unsubscribed(request, graceful),
            Event::Watched { request, interest } => self.watched(request, interest),
            Event::Unwatched { request } => {
                if let Some(Use::Watched(feeding, _)) = self.uses.remove(&request) {
                    feeding.abort();
                }
            }
            Event::InfoAsked { request, name } => self.info_asked(request, name),
            Event::FetchAsked { request, fetch } => self.fetch_asked(request, fetch),
            Event::FetchUpdated { request, priority } => self.fetch_updated(request, priority),
            Event::Accepted { request, info } => self.wish_accepted(request, info),
            Event::Gap { request, gap } => self.wish_gap(request, gap),
            Event::Announced { request, event } => self.announced(request, event),
            Event::Info { request, info } => {
                if let Some(Use::Asking(reply)) = self.uses.remove(&request) {
                    let _ = reply.send(Ok(info));
                }
            }
            Event::Ended { request, result } => self.wish_ended(request, result),
            Event::Drain(url) => self.state.send_modify(|state| state.drain = Some(Drain { url })),
            Event::Bitrate(bits) => self.state.send_modify(|state| state.peer_bitrate = bits),
        }
    }

    fn spawn(&self, future: impl Future<Output = Done<C>> + Send + 'static) {
        self.work.push(Box::pin(future));
        self.bell.waker().wake_by_ref();
    }

    /// Like [`spawn`](Self::spawn), for what may be done at once: then that is handled.
    fn begin(&mut self, future: impl Future<Output = Done<C>> + Send + 'static) {
        let mut work: Work<C> = Box::pin(future);
        match work.as_mut().poll(&mut Context::from_waker(self.bell.waker())) {
            Poll::Ready(done) => self.handle(done),
            // What it waits for rings the bell, and from then on wakes it among the others.
            Poll::Pending => self.work.push(work),
        }
    }

    /// Like [`spawn`](Self::spawn), but can be given up.
    fn spawn_abortable(&self, future: impl Future<Output = Done<C>> + Send + 'static) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        let future = Abortable::new(future, registration);
        self.spawn(async move { future.await.unwrap_or(Done::Nothing) });
        handle
    }

    fn accept_bi(&self) {
        let connection = self.connection.clone();
        self.spawn(async move { Done::AcceptedBi(connection.accept_bi().await.map(Box::new)) });
    }

    /// Accepts all of them: each group is one.
    fn accept_uni(&self) {
        let (connection, happened) = (self.connection.clone(), self.happened.clone());
        self.spawn(async move {
            let mut accepted = 0_usize;
            while let Ok(stream) = connection.accept_uni().await {
                happened.push(Done::AcceptedUni(stream));
                accepted += 1;
                if accepted.is_multiple_of(ACCEPTED) {
                    pause().await;
                }
            }
            Done::Nothing
        });
    }

    /// A stream of the peer: what is it for?
    fn accepted(&mut self, mut streams: Streams<C>) {
        let (send, recv) = &mut *streams;
        if let Err(Refused(code)) = self.endpoint.admit(now(), self.untyped) {
            send.reset(code);
            recv.stop(code);
            return;
        }
        self.untyped += 1;
        let patience = self.limits.first_message;
        let mut decoder =
            Box::new(StreamDecoder::new(self.dialect.version().spec(), self.limits.wire.clone()));
        self.spawn(async move {
            let stream_type = control::stream_type(&mut streams.1, &mut decoder);
            let typed = match tokio::time::timeout(patience, stream_type).await {
                Ok(typed) => typed.map(|stream_type| (stream_type, decoder)),
                Err(_) => Err(TypeError::Misbehaved(PeerMisbehaved::TooSlow("stream type"))),
            };
            Done::Typed(streams, typed)
        });
    }

    fn typed(
        &mut self,
        (mut send, mut recv): (C::SendStream, C::RecvStream),
        typed: Result<(u64, Box<StreamDecoder>), TypeError>,
    ) {
        self.untyped = self.untyped.saturating_sub(1);
        let refused = match typed {
            Ok((stream_type, decoder)) => match self.endpoint.handle_stream(stream_type) {
                Ok((request, kind)) => {
                    debug!(request = request.0, kind = kind.name(), "peer opened a request");
                    self.adopt(request, send);
                    self.read(request, recv, *decoder);
                    return;
                }
                Err(Refused(code)) => {
                    debug!(stream_type, %code, "stream refused");
                    code
                }
            },
            Err(TypeError::Misbehaved(rule)) => {
                warn!(%rule, "stream refused");
                self.dialect.code(rule.reason())
            }
            Err(TypeError::Gone) => Code::NONE,
        };
        send.reset(refused);
        recv.stop(refused);
    }

    fn open(&mut self, request: RequestId, kind: RequestKind) {
        let outbox = Outbox::default();
        if let Some(stream_type) = self.dialect.stream_type(kind) {
            let _ = outbox.push(|out| moqt_wire::varint::put(stream_type, out));
        }
        self.outboxes.insert(request, outbox.clone());
        debug!(request = request.0, kind = kind.name(), "request opened");
        let connection = self.connection.clone();
        self.spawn(async move { Done::Opened(request, outbox, connection.open_bi().await.map(Box::new)) });
    }

    /// Answers the request on this stream from now on.
    fn adopt(&mut self, request: RequestId, send: C::SendStream) {
        let outbox = Outbox::default();
        self.outboxes.insert(request, outbox.clone());
        self.write(request, outbox, send);
    }

    fn write(&mut self, request: RequestId, outbox: Outbox, mut send: C::SendStream) {
        self.writers.insert(request);
        send.set_priority(i32::MAX);
        let writing = outbox::write(send, outbox);
        self.spawn(writing.map(move |wrote| Done::Wrote(request, Box::new(wrote))));
    }

    fn read(&mut self, request: RequestId, recv: C::RecvStream, decoder: StreamDecoder) {
        let Some((kind, sender)) = self.endpoint.sender(request) else {
            // Given up before the stream was open.
            return;
        };
        if (kind, sender) == (RequestKind::Fetch, Sender::Responder) {
            return self.read_frames(request, recv);
        }
        let reader = Reader::new(request, (kind, sender), self.dialect, recv, decoder);
        let first = sender == Sender::Requester && kind != RequestKind::Session;
        self.read_on(Box::new(reader), first.then_some(self.limits.first_message), Duration::ZERO);
    }

    /// Waits for the next message, `after` a time. The first of a peer's request has a time limit.
    fn read_on(&mut self, mut reader: Box<Reader<C::RecvStream>>, limit: Option<Duration>, after: Duration) {
        let request = reader.request;
        let (stop, stopped) = oneshot::channel();
        self.readers.insert(request, stop);
        self.spawn(async move {
            let next = async {
                // In boxes: mostly there is neither, and each request keeps room for all it may wait for.
                if !after.is_zero() {
                    Box::pin(tokio::time::sleep(after)).await;
                }
                match limit {
                    Some(limit) => Box::pin(tokio::time::timeout(limit, reader.next()))
                        .await
                        .unwrap_or(Read::Misbehaved(PeerMisbehaved::TooSlow("first message"))),
                    None => reader.next().await,
                }
            };
            tokio::select! {
                biased;
                Ok(code) = stopped => {
                    reader.stop(code);
                    Done::Nothing
                }
                read = next => Done::Read(reader, read),
            }
        });
    }

    fn got(&mut self, mut reader: Box<Reader<C::RecvStream>>, read: Read) {
        let request = reader.request;
        if self.readers.remove(&request).is_none() {
            // Stopped meanwhile; dropping the stream tells the peer.
            return;
        }
        match read {
            Read::Message(message) => {
                if let Err(rule) = self.endpoint.control(now(), reader.came()) {
                    reader.stop(self.dialect.code(rule.reason()));
                    return self.endpoint.handle_malformed(request, rule);
                }
                trace!(request = request.0, message = message.name(), "received");
                let after = match &message {
                    Message::Announce { .. } => self.intake.name(now()),
                    _ => Duration::ZERO,
                };
                self.endpoint.handle_message(request, message);
                self.read_on(reader, None, after);
            }
            Read::Finished => self.endpoint.handle_finished(request),
            Read::Reset(code) => self.endpoint.handle_reset(request, code),
            Read::Misbehaved(rule) => {
                reader.stop(self.dialect.code(rule.reason()));
                self.endpoint.handle_malformed(request, rule);
            }
            Read::Lost => {}
        }
    }

    fn stop_reading(&mut self, request: RequestId, code: Code) {
        if let Some(stop) = self.readers.remove(&request) {
            let _ = stop.send(code);
        }
    }

    /// The connection ended underneath.
    fn lost(&mut self, error: ConnectionError) {
        let dialect = self.dialect;
        self.ending.get_or_insert(SessionError::from_connection(error, |code| dialect.reason(code)));
    }

    /// The user wants the end: the Session stream is finished, and the peer has a moment to agree.
    fn close(&mut self) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        self.perform(Output::Finish { request: Endpoint::SESSION });
        let patience = self.limits.close;
        self.spawn(async move {
            tokio::time::sleep(patience).await;
            Done::CloseTimeout
        });
    }
}
