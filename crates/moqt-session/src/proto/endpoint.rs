//! One side of a session: all its requests, and what is said next.

use std::collections::{BTreeMap, VecDeque};

use moqt_transport::Code;
use moqt_wire::Feature;

use super::{
    drain::Drain,
    limits::Limits,
    message::Message,
    rate::Rates,
    request::{Event, Output, Request, RequestId, RequestKind, Sender, State},
};
use crate::{
    dialect::Dialect,
    error::{PeerMisbehaved, Reason, RequestError, SessionError},
    model::Runs,
};

/// Which side of the session this is; it decides who opens the Session stream, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A stream of the peer that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) Code);

/// One side's conversation. Feed it with `handle_*`, then drain [`poll_output`](Self::poll_output).
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) side: Side,
    pub(super) limits: Limits,
    pub(super) requests: BTreeMap<RequestId, Request>,
    next_request: u64,
    outputs: VecDeque<Output>,
    /// Our subscriptions by the id that their groups carry.
    pub(super) subscriptions: BTreeMap<u64, RequestId>,
    pub(super) next_subscribe_id: u64,
    /// Ids that the peer has used.
    pub(super) used_ids: Runs,
    pub(super) announced: usize,
    pub(super) counts: Counts,
    pub(super) rates: Rates,
    pub(super) drain: Drain,
    closed: bool,
}

/// How many requests are open: the peer's, and subscriptions of ours.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) ours: u64,
    pub(super) requests: usize,
    pub(super) subscriptions: usize,
    pub(super) watches: usize,
    pub(super) fetches: usize,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.limits.meters.unsubscribes(self.counts.ours);
        self.limits.meters.served(self.counts.subscriptions as u64);
    }
}

impl Endpoint {
    /// The Session stream's name in every session.
    pub(crate) const SESSION: RequestId = RequestId(0);

    /// A session after its handshake.
    pub(crate) fn new(dialect: &'static dyn Dialect, side: Side, limits: Limits) -> Self {
        let rates = Rates::new(&limits);
        let mut endpoint = Self {
            rates,
            dialect,
            side,
            limits,
            requests: BTreeMap::new(),
            next_request: 0,
            outputs: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            next_subscribe_id: 0,
            used_ids: Runs::default(),
            announced: 0,
            counts: Counts::default(),
            drain: Drain::default(),
            closed: false,
        };
        endpoint.insert(RequestKind::Session, side == Side::Client, State::Session);
        endpoint
    }

    /// What to do next, in order.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A bidirectional stream of the peer said its type.
    ///
    /// # Errors
    ///
    /// The code to reset and stop the stream with. The session may end as well, by an output.
    pub(crate) fn handle_stream(&mut self, stream_type: u64) -> Result<(RequestId, RequestKind), Refused> {
        // A stream that both sides have to agree on is unknown where they did not.
        let known = |kind: &RequestKind| *kind != RequestKind::Drain || self.drain.agreed;
        let kind = self.dialect.request_kind(stream_type).filter(known);
        let Some(kind) = kind else {
            let rule = PeerMisbehaved::UnknownStreamType(stream_type);
            if self.dialect.unknown_stream_ends_session() {
                let code = self.code(rule.reason());
                self.close(rule.into());
                return Err(Refused(code));
            }
            // The deployed crates' way: that stream only, as malformed.
            tracing::warn!(stream_type, "unknown stream type");
            self.strike();
            return Err(Refused(self.code(Reason::Malformed)));
        };
        if kind == RequestKind::Session {
            let rule = match self.side {
                Side::Server => PeerMisbehaved::SecondSessionStream,
                Side::Client => PeerMisbehaved::SessionStreamFromServer,
            };
            let code = self.code(rule.reason());
            self.close(rule.into());
            return Err(Refused(code));
        }
        if kind == RequestKind::Drain && !self.may_be_drained() {
            let rule = PeerMisbehaved::UnexpectedDrain;
            let code = self.code(rule.reason());
            self.close(rule.into());
            return Err(Refused(code));
        }
        if self.drain.leaving && matches!(kind, RequestKind::Subscribe | RequestKind::Fetch) {
            return Err(Refused(self.code(Reason::GoingAway)));
        }
        let full = match kind {
            _ if self.counts.requests >= self.limits.requests => Some("requests"),
            RequestKind::Subscribe if self.counts.subscriptions >= self.limits.subscriptions => {
                Some("subscriptions")
            }
            RequestKind::Announce if self.counts.watches >= self.limits.watches => Some("watches"),
            RequestKind::Fetch if self.counts.fetches >= self.limits.fetches => Some("fetches"),
            _ => None,
        };
        if let Some(limit) = full {
            return Err(self.turn_down(limit));
        }
        Ok((self.insert(kind, false, State::Opened), kind))
    }

    /// A message came on the request's stream.
    pub(crate) fn handle_message(&mut self, id: RequestId, message: Message) {
        let Some(request) = self.requests.get(&id) else { return };
        if matches!(request.state, State::Done) {
            // Late messages after the end are expected.
            return;
        }
        let result = match request.kind {
            RequestKind::Session => self.on_session(message),
            _ if request.ours => self.on_answer(id, message),
            _ => self.on_request(id, message),
        };
        if let Err(rule) = result {
            self.misbehaved(id, rule);
        }
    }

    /// The bytes on the request's stream are no message, or it ended inside one.
    pub(crate) fn handle_malformed(&mut self, id: RequestId, rule: PeerMisbehaved) {
        self.misbehaved(id, rule);
    }

    /// The peer finished its half.
    pub(crate) fn handle_finished(&mut self, id: RequestId) {
        self.read_ended(id, None);
    }

    /// The peer reset its half.
    pub(crate) fn handle_reset(&mut self, id: RequestId, code: Code) {
        self.read_ended(id, Some(code));
    }

    /// The peer stopped our half.
    pub(crate) fn handle_stopped(&mut self, id: RequestId, code: Code) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if !request.writing {
            return;
        }
        let (kind, ours) = (request.kind, request.ours);
        if kind == RequestKind::Session {
            self.peer_left(code);
        } else if ours {
            // Our requests need nothing more of this half; the answer may still come.
            self.reset(id, Reason::Cancelled);
        } else {
            self.abandoned(id, false);
            self.fail(id, Reason::Cancelled);
        }
    }

    /// The connection broke, or we end the session.
    pub(crate) fn close(&mut self, error: SessionError) {
        if !self.closed {
            self.closed = true;
            self.outputs.push_back(Output::Close(error));
        }
    }

    /// Which of our subscriptions a group belongs to; `None` where it is not, or no longer, ours.
    pub(crate) fn subscription(&self, subscribe_id: u64) -> Option<RequestId> {
        self.subscriptions.get(&subscribe_id).copied()
    }

    /// No more groups are expected for a subscription that the publisher finished. Only now we finish our half, by
    /// which the publisher learns that what it sent was read.
    pub(crate) fn retire(&mut self, request: RequestId) {
        self.subscriptions.retain(|_, of| *of != request);
        self.finish(request);
    }

    /// Tells the peer what we expect to get through to it, where the version has words for that.
    pub(crate) fn bitrate(&mut self, bits: u64) {
        let message = Message::Bitrate(bits);
        if self.dialect.check(&message).is_ok() {
            self.send(Self::SESSION, message);
        }
    }

    /// Nothing more is due on a subscription of ours: its range is through.
    pub(crate) fn leave(&mut self, id: RequestId) {
        // Where publishers know no ranges they go on after the end, and would not understand a mere finish.
        let ranges = self.dialect.version().spec().supports(Feature::Ranges);
        match self.requests.get_mut(&id) {
            Some(request) if request.reading && !ranges => self.cancel(id),
            Some(request) => {
                request.state = State::Done;
                self.retire(id);
            }
            None => {}
        }
    }

    /// Requests that are open, the Session stream included.
    #[cfg(test)]
    pub(crate) fn open_requests(&self) -> usize {
        self.requests.len()
    }

    fn read_ended(&mut self, id: RequestId, reset: Option<Code>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if !std::mem::replace(&mut request.reading, false) {
            return;
        }
        let (kind, ours) = (request.kind, request.ours);
        if kind == RequestKind::Session {
            self.peer_left(reset.unwrap_or(Code::NONE));
        } else if ours {
            self.answer_ended(id, reset);
        } else {
            self.request_ended(id, reset);
        }
        self.forget_if_done(id);
    }

    fn on_session(&mut self, message: Message) -> Result<(), PeerMisbehaved> {
        match message {
            Message::Bitrate(bits) => {
                self.event(Event::Bitrate((bits > 0).then_some(bits)));
                Ok(())
            }
            other => Err(PeerMisbehaved::OutOfOrder { state: "session", got: other.name() }),
        }
    }

    /// The Session stream ended: so does the session.
    fn peer_left(&mut self, code: Code) {
        let reason = self.dialect.reason(code);
        self.close(SessionError::Closed { reason, message: String::new() });
    }

    fn misbehaved(&mut self, id: RequestId, rule: PeerMisbehaved) {
        let Some(request) = self.requests.get(&id) else { return };
        if request.kind == RequestKind::Session {
            return self.close(rule.into());
        }
        // The one line about it; what ends the session is told with its end.
        tracing::warn!(request = id.0, kind = request.kind.name(), %rule, "peer broke the protocol");
        let reason = rule.reason();
        let ours = request.ours;
        if let PeerMisbehaved::LimitReached(limit) = &rule {
            self.limits.meters.reaches(limit);
        }
        self.strike();
        if ours {
            self.lost(id, Err(rule.into()));
        } else {
            self.abandoned(id, false);
        }
        self.fail(id, reason);
    }

    pub(super) fn insert(&mut self, kind: RequestKind, ours: bool, state: State) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        if ours && kind == RequestKind::Subscribe {
            self.counts.ours += 1;
            self.limits.meters.subscribes();
        }
        if !ours && kind != RequestKind::Session {
            self.counts.requests += 1;
            match kind {
                RequestKind::Subscribe => {
                    self.counts.subscriptions += 1;
                    self.limits.meters.serves();
                }
                RequestKind::Announce => self.counts.watches += 1,
                RequestKind::Fetch => self.counts.fetches += 1,
                _ => {}
            }
        }
        self.requests.insert(id, Request { kind, ours, state, reading: true, writing: true });
        id
    }

    pub(super) fn open(&mut self, kind: RequestKind, state: State) -> RequestId {
        let request = self.insert(kind, true, state);
        self.outputs.push_back(Output::Open { request, kind });
        request
    }

    pub(super) fn send(&mut self, request: RequestId, message: Message) {
        if self.requests.get(&request).is_some_and(|r| r.writing) {
            self.outputs.push_back(Output::Send { request, message });
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Finishes our half.
    pub(super) fn finish(&mut self, request: RequestId) {
        if self.requests.get_mut(&request).is_some_and(|r| std::mem::take(&mut r.writing)) {
            self.outputs.push_back(Output::Finish { request });
        }
        self.forget_if_done(request);
    }

    /// Resets our half.
    pub(super) fn reset(&mut self, request: RequestId, reason: Reason) {
        let code = self.code(reason);
        if self.requests.get_mut(&request).is_some_and(|r| std::mem::take(&mut r.writing)) {
            self.outputs.push_back(Output::Reset { request, code });
        }
        self.forget_if_done(request);
    }

    /// Ends both halves at once.
    pub(super) fn fail(&mut self, id: RequestId, reason: Reason) {
        let code = self.code(reason);
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.state = State::Done;
        if std::mem::take(&mut request.reading) {
            self.outputs.push_back(Output::Stop { request: id, code });
        }
        self.reset(id, reason);
    }

    fn forget_if_done(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        if request.reading || request.writing {
            return;
        }
        if request.ours && request.kind == RequestKind::Subscribe {
            self.counts.ours -= 1;
            self.limits.meters.unsubscribes(1);
        }
        if !request.ours && request.kind != RequestKind::Session {
            self.counts.requests -= 1;
            match request.kind {
                RequestKind::Subscribe => {
                    self.counts.subscriptions -= 1;
                    self.limits.meters.served(1);
                }
                RequestKind::Announce => self.counts.watches -= 1,
                RequestKind::Fetch => self.counts.fetches -= 1,
                _ => {}
            }
        }
        self.requests.remove(&id);
        self.rates.forget(id);
        self.outputs.push_back(Output::Forget { request: id });
    }

    /// Our request is over: frees what it held and tells the user, once.
    pub(super) fn lost(&mut self, id: RequestId, result: Result<(), RequestError>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        match std::mem::replace(&mut request.state, State::Done) {
            State::Done => return,
            // Groups may still be on their way when the publisher finishes; the driver says when that is over.
            State::Subscribed { .. } if result.is_ok() => {}
            State::Subscribing { id } | State::Subscribed { id } => {
                self.subscriptions.remove(&id);
            }
            State::Watching { active, .. } => {
                self.announced = self.announced.saturating_sub(active.len());
                for name in active {
                    let event = crate::model::Announced::Ended(name);
                    self.event(Event::Announced { request: id, event });
                }
            }
            _ => {}
        }
        self.event(Event::Ended { request: id, result });
    }

    pub(super) fn code(&self, reason: Reason) -> Code {
        self.dialect.code(reason)
    }

    /// Who speaks next on the request's stream towards us.
    pub(crate) fn sender(&self, id: RequestId) -> Option<(RequestKind, Sender)> {
        let request = self.requests.get(&id)?;
        Some((request.kind, if request.ours { Sender::Responder } else { Sender::Requester }))
    }
}
