//! Who writes groups that need waiting: futures that take one after the other, so that a group allocates none.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use moqt_transport::Connection;

use super::{
    Driver,
    done::Done,
    egress::{self, Rank, Rest, Sent},
    trail::Trailing,
};
use crate::{error::Reason, model::GroupConsumer, proto::RequestId};

/// How many wait for a group to come. A track mostly needs one; each has a buffer's worth of state.
const IDLE: usize = 4;

/// A group of which not all could be written at once.
pub(super) struct Job<S> {
    pub(super) request: RequestId,
    pub(super) subscribe_id: u64,
    pub(super) group: GroupConsumer,
    pub(super) rest: Rest<S>,
    pub(super) rank: Rank,
}

/// Where a writer finds its next group.
struct Desk<S>(Arc<Mutex<Next<S>>>);

struct Next<S> {
    job: Option<Job<S>>,
    writer: Option<Waker>,
}

impl<S> Desk<S> {
    fn lock(&self) -> MutexGuard<'_, Next<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, job: Job<S>) {
        let mut next = self.lock();
        next.job = Some(job);
        if let Some(writer) = next.writer.take() {
            writer.wake();
        }
    }

    /// Waits for a group. Cancel safe.
    async fn next(&self) -> Job<S> {
        std::future::poll_fn(|cx| {
            let mut next = self.lock();
            if let Some(job) = next.job.take() {
                return Poll::Ready(job);
            }
            next.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// The writers of a session that have nothing to write.
pub(super) struct Writers<S>(Arc<Mutex<Vec<Desk<S>>>>);

impl<S> Clone for Writers<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Default for Writers<S> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<S> Writers<S> {
    fn lock(&self) -> MutexGuard<'_, Vec<Desk<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer at this desk has nothing to do; `false` if it is not needed any more.
    fn is_idle(&self, desk: &Desk<S>) -> bool {
        let mut idle = self.lock();
        let wanted = idle.len() < IDLE;
        if wanted {
            idle.push(Desk(Arc::clone(&desk.0)));
        }
        wanted
    }
}

impl<C: Connection> Driver<C> {
    /// Writes the rest of a group, and says then what became of it.
    pub(super) fn write_group(&self, job: Job<C::SendStream>) {
        let idle = self.idle.lock().pop();
        match idle {
            Some(desk) => desk.give(job),
            None => self.spawn(self.writer(job)),
        }
    }

    /// Writes groups, `first` and those that come to its desk.
    fn writer(&self, first: Job<C::SendStream>) -> impl Future<Output = Done<C>> + Send + use<C> {
        let (connection, dialect, heads) = (self.connection.clone(), self.dialect, self.heads.clone());
        let (gate, finished, happened) = (self.gate.clone(), self.finished.clone(), self.happened.clone());
        let idle = self.idle.clone();
        let desk = Desk(Arc::new(Mutex::new(Next { job: Some(first), writer: None })));
        async move {
            loop {
                let Job { request, subscribe_id, mut group, rest, rank } = desk.next().await;
                let sequence = group.sequence();
                let rest = (&mut group, rest);
                let send = egress::go_on(&connection, dialect, (subscribe_id, &heads), rest, (&rank, &gate));
                happened.push(match rank.work(send).await.unwrap_or(Err(Sent::Lost(Reason::Cancelled))) {
                    Ok(stream) => {
                        finished.push(Trailing::new((sequence, rank), stream, group, dialect));
                        Done::GroupFinished(request)
                    }
                    Err(sent) => {
                        drop((rank, group));
                        Done::GroupSent(request, sequence, sent)
                    }
                });
                if !idle.is_idle(&desk) {
                    return Done::Nothing;
                }
            }
        }
    }
}
