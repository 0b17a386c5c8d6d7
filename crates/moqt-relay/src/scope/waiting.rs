//! Answers that may come later.

use std::sync::Arc;

use moqt::{Info, Reason, TrackConsumer};
use tokio::sync::oneshot;

use super::Scope;
use crate::router::WaiterId;

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Waiter {
    Track(oneshot::Sender<Result<TrackConsumer, Reason>>),
    Info(oneshot::Sender<Result<Info, Reason>>),
}

/// An answer that may come later. Dropped, the question is withdrawn.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    pub(super) scope: Arc<Scope>,
    pub(super) waiter: WaiterId,
    pub(super) answer: oneshot::Receiver<Result<T, Reason>>,
}

impl<T> Waiting<T> {
    /// The answer, if it is there.
    pub(crate) fn now(&mut self) -> Option<Result<T, Reason>> {
        self.answer.try_recv().ok()
    }

    /// Waits for the answer. Cancel safe.
    pub(crate) async fn answer(&mut self) -> Result<T, Reason> {
        (&mut self.answer).await.unwrap_or(Err(Reason::Internal))
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        let waiter = self.waiter;
        self.scope.step(|state| {
            state.waiters.remove(&waiter);
            state.router.gave_up(waiter);
        });
    }
}
