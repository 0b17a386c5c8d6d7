//! The lock around a pair, and the one task that moves it through time.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{Next, Pair, Time};

/// A pair that several handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    epoch: Instant,
    pair: Mutex<Pair>,
}

impl Shared {
    pub(crate) fn new(epoch: Instant, pair: Pair) -> Self {
        Self { epoch, pair: Mutex::new(pair) }
    }

    /// Does something under the lock; those whom it concerns are woken after.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Pair) -> R) -> R {
        // A panic under the lock fails the seed anyhow, but must not hide behind a second one.
        let mut pair = self.pair.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut pair);
        let wakes = pair.take_wakes();
        drop(pair);
        for waker in wakes {
            waker.wake();
        }
        result
    }
}

/// The virtual time now.
#[expect(clippy::disallowed_methods, reason = "the simulation is what owns the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Moves the pair through time until both ends are over.
pub(crate) async fn drive(shared: Arc<Shared>) {
    let mut sleep = pin!(sleep_until(shared.epoch));
    poll_fn(|cx| {
        loop {
            let time: Time = now().saturating_duration_since(shared.epoch);
            let next = shared.with(|pair| {
                let next = pair.run(time);
                pair.park(cx.waker());
                next
            });
            match next {
                Next::Over => return Poll::Ready(()),
                Next::Quiet => return Poll::Pending,
                Next::At(at) => {
                    sleep.as_mut().reset(shared.epoch + at.max(Duration::ZERO));
                    if sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    })
    .await;
}
