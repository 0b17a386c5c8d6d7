//! The end of a session, as its users see it and as its driver is asked for it.

use std::{
    pin::pin,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    task::Poll,
};

use quinn::{RecvStream, SendStream};
use tokio::sync::Notify;

use super::{accept::UniStreams, error::Violation};
use crate::{Code, ConnectionError};

/// What the handles of a session and its driver have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    end: OnceLock<ConnectionError>,
    ended: Notify,
    draining: OnceLock<()>,
    drained: Notify,
    orders: Mutex<Orders>,
    ordered: Notify,
    /// What the handles leave behind, until the connection has ended.
    left: OnceLock<UniStreams>,
    /// Streams that were left after our own close.
    senders: Mutex<Vec<SendStream>>,
    receivers: Mutex<Vec<RecvStream>>,
}

/// What the driver is to do.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Close the session, with these last words.
    pub(super) close: Option<(Code, String)>,
    /// Close the connection for that.
    pub(super) violation: Option<Violation>,
    /// Ask the peer to come to an end.
    pub(super) drain: bool,
    /// Look after these streams.
    pub(super) qpack: Vec<RecvStream>,
}

impl Shared {
    /// Why the session ended, if it did.
    pub(super) fn end(&self) -> Option<ConnectionError> {
        self.end.get().cloned()
    }

    /// The session has ended; false if it had before, and the earlier reason stands.
    pub(super) fn set_end(&self, end: ConnectionError) -> bool {
        let first = self.end.set(end).is_ok();
        self.ended.notify_waiters();
        self.drained.notify_waiters();
        first
    }

    /// Whether we have ended it.
    fn is_closed_by_us(&self) -> bool {
        matches!(self.end.get(), Some(ConnectionError::LocallyClosed))
    }

    /// Takes a stream that is given up after our own close, and says whether it is one. It ends with the connection:
    /// the close has told the peer all there is to say, and a browser that has to tell its page of the ends of streams
    /// at the same time often loses the code of the session.
    pub(super) fn keep_sender(&self, take: impl FnOnce() -> Option<SendStream>) -> bool {
        let is_kept = self.is_closed_by_us();
        if is_kept {
            lock(&self.senders).extend(take());
        }
        is_kept
    }

    /// The same for the other direction.
    pub(super) fn keep_receiver(&self, take: impl FnOnce() -> Option<RecvStream>) -> bool {
        let is_kept = self.is_closed_by_us();
        if is_kept {
            lock(&self.receivers).extend(take());
        }
        is_kept
    }

    /// Waits for the end. Cancel safe.
    pub(super) async fn ended(&self) -> ConnectionError {
        loop {
            let ended = self.ended.notified();
            if let Some(end) = self.end() {
                return end;
            }
            ended.await;
        }
    }

    /// Gives the future's result, or `None` when the session ends before. Cancel safe if the future is.
    pub(super) async fn until_end<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut ended = pin!(self.ended.notified());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if self.end.get().is_some() {
                return Poll::Ready(None);
            }
            ended.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// The peer wants the session to come to an end.
    pub(super) fn set_draining(&self) {
        // The first time counts.
        let _ = self.draining.set(());
        self.drained.notify_waiters();
    }

    /// Waits until the peer wants the session to come to an end, or it has. Cancel safe.
    pub(super) async fn draining(&self) {
        loop {
            let drained = self.drained.notified();
            if self.draining.get().is_some() || self.end.get().is_some() {
                return;
            }
            drained.await;
        }
    }

    /// Keeps streams of the peer from being stopped before the connection ends.
    pub(super) fn keep(&self, streams: UniStreams) {
        // There is one session, and it is dropped once.
        let _ = self.left.set(streams);
    }

    /// Tells the driver what to do.
    pub(super) fn order(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut self.orders());
        self.ordered.notify_one();
    }

    /// Waits for orders. Cancel safe.
    pub(super) async fn ordered(&self) -> Orders {
        self.ordered.notified().await;
        std::mem::take(&mut *self.orders())
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        lock(&self.orders)
    }
}

/// No code that can panic runs under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
