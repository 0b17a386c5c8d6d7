//! Groups that are sent and not yet acknowledged.
//!
//! Nothing more is to be done for most of them, so nobody is woken when the peer has one: they are looked through when
//! the next group of their subscription begins, and once a second. Where it matters sooner, or takes longer, each gets
//! a future that waits for it.

use std::collections::VecDeque;

use futures_util::FutureExt as _;
use moqt_transport::{Code, Connection, SendStream};

use super::{
    Done, Driver, Leaving, Use,
    egress::{self, Rank, Sent},
    queue::Queue,
};
use crate::{dialect::Dialect, error::Reason, model::GroupConsumer, proto::RequestId};

/// A group stream that has ended on our side.
pub(super) struct Trailing<S: SendStream> {
    pub(super) sequence: u64,
    pub(super) stream: S,
    /// The priority that the stream has.
    priority: i32,
    pub(super) group: GroupConsumer,
    pub(super) rank: Rank,
    code: Code,
    /// Whether it was there when all were looked through.
    seen: bool,
    over: bool,
}

impl<S: SendStream> Trailing<S> {
    pub(super) fn new(
        (sequence, rank): (u64, Rank),
        (stream, priority): (S, i32),
        group: GroupConsumer,
        dialect: &'static dyn Dialect,
    ) -> Self {
        let code = dialect.code(Reason::Cancelled);
        Self { sequence, stream, priority, group, rank, code, seen: false, over: false }
    }

    /// How it ended, once it has.
    pub(super) fn outcome(&mut self, dialect: &'static dyn Dialect) -> Option<Sent> {
        if !self.stream.is_over() {
            return None;
        }
        let stopped = self.stream.stopped().now_or_never()?;
        self.over = true;
        Some(egress::stop(&mut self.stream, dialect, stopped, None))
    }

    /// Not all of it need have left.
    pub(super) fn follow_rank(&mut self) {
        let wanted = self.rank.value();
        if wanted != self.priority {
            self.priority = wanted;
            self.stream.set_priority(wanted);
        }
    }

    /// Waits until the peer has it.
    async fn arrive(mut self, dialect: &'static dyn Dialect) -> Sent {
        let rank = self.rank.clone();
        let Self { stream, priority, group, .. } = &mut self;
        let sent = rank.work(egress::arrive(stream, *priority, dialect, group, &rank, None)).await;
        self.over = true;
        sent.unwrap_or(Sent::Lost(Reason::Cancelled))
    }
}

/// Dropped before it is there, it is taken back.
impl<S: SendStream> Drop for Trailing<S> {
    fn drop(&mut self) {
        if !self.over {
            self.stream.reset(self.code);
        }
    }
}

/// Streams that have just ended, on the way from their writers to the driver: [`Done`] would be large with them in it.
pub(super) type Finished<S> = Queue<Trailing<S>>;

/// Those of one subscription, the oldest first.
pub(super) type Trail<S> = VecDeque<Trailing<S>>;

impl<C: Connection> Driver<C> {
    /// All of a group has been handed to the connection: the first of those that have just ended.
    pub(super) fn group_finished(&mut self, request: RequestId) {
        if let Some(sent) = self.finished.pop() {
            self.sent_off(request, sent);
        }
    }

    /// All of a group has been handed to the connection.
    pub(super) fn sent_off(&mut self, request: RequestId, sent: Trailing<C::SendStream>) {
        let flushing = !self.flushers.is_empty() || self.leaving == Some(Leaving::Withdrawing);
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else {
            self.groups_out -= 1;
            return;
        };
        if !serving.is_sending(sent.sequence) {
            return self.group_sent(request, sent.sequence, Sent::Lost(Reason::Cancelled));
        }
        serving.trail.push_back(sent);
        if flushing || serving.awaits_delivery() {
            self.chase(request);
        }
    }

    /// Takes in what has arrived of a subscription, up to the first that has not.
    pub(super) fn catch_up(&mut self, request: RequestId) {
        let Self { uses, groups_out, ranks, dialect, .. } = self;
        let Some(Use::Serving(serving)) = uses.get_mut(&request) else { return };
        let mut lost = Vec::new();
        while let Some((sequence, sent)) = serving.arrived(*dialect) {
            if sent == Sent::Whole {
                *groups_out -= 1;
                serving.delivered(sequence, ranks);
            } else {
                lost.push((sequence, sent));
            }
        }
        lost.into_iter().for_each(|(sequence, sent)| self.group_sent(request, sequence, sent));
    }

    /// Waits for each group of a subscription that has not arrived.
    pub(super) fn chase(&mut self, request: RequestId) {
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return };
        for trailing in std::mem::take(&mut serving.trail) {
            self.follow(request, trailing);
        }
    }

    /// Waits for each group that has not arrived.
    pub(super) fn chase_all(&mut self) {
        let all: Vec<_> = self.uses.keys().copied().collect();
        all.into_iter().for_each(|request| self.chase(request));
    }

    fn follow(&mut self, request: RequestId, mut trailing: Trailing<C::SendStream>) {
        let (dialect, sequence) = (self.dialect, trailing.sequence);
        // What has been sent woke another future.
        trailing.rank = trailing.rank.renewed();
        if let Some(Use::Serving(serving)) = self.uses.get_mut(&request) {
            serving.follow(sequence, trailing.rank.clone());
        }
        self.spawn(async move { Done::GroupSent(request, sequence, trailing.arrive(dialect).await) });
    }

    /// Looks through all; waits for those that were there the last time. `true` where some are left to be looked through
    /// again.
    pub(super) fn sweep(&mut self) -> bool {
        let (mut arrived, mut late, mut some) = (Vec::new(), Vec::new(), false);
        for (&request, used) in &mut self.uses {
            let Use::Serving(serving) = used else { continue };
            let trail = &mut serving.trail;
            for _ in 0..trail.len() {
                let Some(mut trailing) = trail.pop_front() else { break };
                if let Some(sent) = trailing.outcome(self.dialect) {
                    arrived.push((request, trailing.sequence, sent));
                } else if std::mem::replace(&mut trailing.seen, true) {
                    late.push((request, trailing));
                } else {
                    trail.push_back(trailing);
                }
            }
            some |= !trail.is_empty();
            serving.shrink();
        }
        late.into_iter().for_each(|(request, trailing)| self.follow(request, trailing));
        arrived.into_iter().for_each(|(request, sequence, sent)| self.group_sent(request, sequence, sent));
        some
    }
}
