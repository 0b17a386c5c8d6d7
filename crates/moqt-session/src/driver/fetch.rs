//! Fetches: one group on the stream of its request. The core hears of the beginning and of the end.

use std::sync::Arc;

use futures_util::future::AbortHandle;
use moqt_transport::{Code, Connection, RecvStream as _, SendStream as _};
use moqt_wire::{GroupOrder, Priority};
use tokio::sync::oneshot;
use tracing::debug;

use super::{
    Done, Driver, Use,
    egress::{self, Rank, Sent},
    ingest,
    outbox::End,
};
use crate::{
    error::{GroupError, Reason, RequestError},
    model::{GroupProducer, Retention},
    origin::{FetchAnswer, FetchRequest},
    proto::{Fetch, RequestId, SendOrder},
    session::{Asked, FetchCommand},
};

/// One fetch of the peer.
#[derive(Debug)]
pub(super) struct Serving {
    subscriber: Priority,
    publisher: Priority,
    rank: Rank,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// The origin is asked; aborts the waiting.
    Asking(AbortHandle),
    /// The stream is taken from where control messages are written.
    Taking(Box<FetchAnswer>),
    /// Frames are sent, until told a code or dropped.
    Sending(Option<oneshot::Sender<Code>>),
}

impl Serving {
    /// Gives everything up; a stream that frames are sent on is reset.
    pub(super) fn abort(self) {
        if let Step::Asking(answering) = self.step {
            answering.abort();
        }
    }

    fn rank(&self) {
        // On one level with the first group of a subscription.
        let order =
            SendOrder::new(self.subscriber, self.publisher, GroupOrder::Default, GroupOrder::Default, 0);
        self.rank.set(order.rank(SendOrder::FIRST));
    }
}

/// What the reader of a fetch is told when its session ends.
pub(super) const SESSION_ENDED: GroupError = GroupError::Reset(Reason::Transport);

/// The peer's fetches.
impl<C: Connection> Driver<C> {
    pub(super) fn fetch_asked(&mut self, request: RequestId, fetch: Fetch) {
        debug!(request = request.0, track = %fetch.name, group = fetch.group, frame = fetch.frame, "peer fetches");
        let subscriber = fetch.priority;
        let (ask, answer) = FetchRequest::new(fetch);
        let answering = self.spawn_abortable(async move {
            Done::FetchAnswer(request, answer.await.unwrap_or(Err(Reason::Internal)).map(Box::new))
        });
        let step = Step::Asking(answering);
        let serving = Serving { subscriber, publisher: Priority::default(), rank: Rank::default(), step };
        self.uses.insert(request, Use::FetchServing(Box::new(serving)));
        self.origin.fetch(ask);
    }

    pub(super) fn fetch_answer(&mut self, request: RequestId, answer: Result<FetchAnswer, Reason>) {
        let Some(Use::FetchServing(serving)) = self.uses.get_mut(&request) else { return };
        match answer {
            Ok(answer) => {
                serving.publisher = answer.publisher;
                serving.rank();
                serving.step = Step::Taking(Box::new(answer));
                self.endpoint.serve_fetch(request);
                if let Some(outbox) = self.outboxes.get(&request) {
                    outbox.end(End::Release);
                }
            }
            Err(reason) => {
                debug!(request = request.0, %reason, "fetch refused");
                self.endpoint.refuse(request, reason);
            }
        }
    }

    /// No control message is written on the stream any more: it is for frames.
    pub(super) fn released(&mut self, request: RequestId, mut stream: C::SendStream) {
        self.outboxes.remove(&request);
        let Some(Use::FetchServing(serving)) = self.uses.get_mut(&request) else { return };
        let (stop, stopped) = oneshot::channel();
        let Step::Taking(answer) = std::mem::replace(&mut serving.step, Step::Sending(Some(stop))) else {
            return;
        };
        let FetchAnswer { group, reading, .. } = *answer;
        let mut group = group.served(None, Some(&self.tally));
        let (dialect, rank, gate) = (self.dialect, serving.rank.clone(), self.gate.clone());
        self.groups_out += 1;
        self.spawn(async move {
            let cancelled = Some(dialect.code(Reason::Cancelled));
            let sent = tokio::select! {
                biased;
                code = stopped => Err(code.unwrap_or(Code::NONE)),
                sent = rank.work(egress::frames(&mut stream, dialect, &mut group, (&rank, &gate), cancelled)) => {
                    Ok(sent.unwrap_or(Sent::Lost(Reason::Cancelled)))
                }
            };
            drop(reading);
            let sent = sent.unwrap_or_else(|code| {
                stream.reset(code);
                Sent::Lost(Reason::Cancelled)
            });
            Done::FetchSent(request, sent)
        });
    }

    /// The core resets a stream that frames are sent on.
    pub(super) fn reset_frames(&mut self, request: RequestId, code: Code) {
        if let Some(Use::FetchServing(serving)) = self.uses.get_mut(&request)
            && let Step::Sending(stop) = &mut serving.step
            && let Some(stop) = stop.take()
        {
            let _ = stop.send(code);
        }
    }

    pub(super) fn fetch_sent(&mut self, request: RequestId, sent: Sent) {
        self.groups_out -= 1;
        match sent {
            Sent::Whole => self.endpoint.fetch_sent(request),
            Sent::Lost(reason) => {
                debug!(request = request.0, %reason, "fetch given up");
                self.endpoint.fetch_lost(request, reason);
            }
            Sent::Gone => {}
        }
    }

    pub(super) fn fetch_updated(&mut self, request: RequestId, priority: Priority) {
        if let Some(Use::FetchServing(serving)) = self.uses.get_mut(&request) {
            serving.subscriber = priority;
            serving.rank();
        }
    }
}

/// Our fetches.
impl<C: Connection> Driver<C> {
    pub(super) fn fetch_command(&mut self, command: FetchCommand) {
        match command {
            FetchCommand::Ask { wish, retention, reply } => {
                let _ = reply.send(self.fetch(wish, &retention));
            }
            FetchCommand::Update { request, priority, reply } => {
                self.endpoint.update_fetch(request, priority);
                let _ = reply.send(Ok(()));
            }
        }
    }

    fn fetch(&mut self, wish: Fetch, retention: &Retention) -> Result<Asked, RequestError> {
        let (sequence, first_frame) = (wish.group, wish.frame);
        let name = wish.name.clone();
        let request = self.endpoint.fetch(wish)?;
        debug!(request = request.0, track = %name, group = sequence, frame = first_frame, "fetch");
        let (producer, group, unread) =
            GroupProducer::alone(sequence, first_frame, retention, &self.limits.cache);
        self.uses.insert(request, Use::Fetching(Arc::new(producer)));
        self.watch_caller(request, unread);
        Ok(Asked { request, group })
    }

    /// Takes the frames of a fetch of ours from its stream.
    pub(super) fn read_frames(&mut self, request: RequestId, mut stream: C::RecvStream) {
        let Some(Use::Fetching(group)) = self.uses.get(&request) else { return };
        let group = Arc::clone(group);
        let (dialect, limits) = (self.dialect, self.limits.wire.clone());
        let intake = Arc::clone(&self.intake);
        let (stop, stopped) = oneshot::channel();
        self.readers.insert(request, stop);
        self.spawn(async move {
            let end = tokio::select! {
                biased;
                Ok(code) = stopped => Err(code),
                end = ingest::fill(&mut stream, Vec::new(), &group, dialect, limits, &intake) => Ok(end),
            };
            match end {
                Ok(end) => Done::Fetched(request, end),
                Err(code) => {
                    stream.stop(code);
                    Done::Nothing
                }
            }
        });
    }

    /// A fetch of ours is over; mostly its group has ended already.
    pub(super) fn fetch_over(group: &GroupProducer, result: Result<(), RequestError>) {
        match result {
            Ok(()) => {}
            Err(RequestError::TooMany) => group.end(GroupError::Reset(Reason::TooMany)),
            Err(_) => group.end(GroupError::Reset(Reason::ProtocolViolation)),
        }
    }

    pub(super) fn fetched(&mut self, request: RequestId, end: Result<(), GroupError>) {
        if self.readers.remove(&request).is_some() {
            self.endpoint.fetch_ended(request, end);
        }
    }
}
