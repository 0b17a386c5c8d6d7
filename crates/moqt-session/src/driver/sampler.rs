//! When it is time to look at what needs no wake of its own.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use moqt_transport::Connection;

use super::{Driver, done::Done};
use crate::proto::Bitrate;

/// Says [`Done::Sample`] once, [`Bitrate::PAUSE`] after it was asked to. One future does so for as long as the session
/// lasts, from the first time on; an idle session is not woken.
#[derive(Clone, Default)]
pub(super) struct Sampler(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    runs: bool,
    wanted: bool,
    waker: Option<Waker>,
}

impl Sampler {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is yet to say so.
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().wanted
    }

    /// Waits until it is asked to. Cancel safe.
    async fn wanted(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.wanted {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl<C: Connection> Driver<C> {
    /// Looks at the bitrate, and at what has arrived, in a while; an idle session does not.
    pub(super) fn sample_later(&self) {
        let mut state = self.sampler.lock();
        if std::mem::replace(&mut state.wanted, true) {
            return;
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        if std::mem::replace(&mut state.runs, true) {
            return;
        }
        drop(state);
        let (sampler, happened) = (self.sampler.clone(), self.happened.clone());
        self.spawn(async move {
            let mut pause = Box::pin(tokio::time::sleep(Bitrate::PAUSE));
            loop {
                sampler.wanted().await;
                pause.as_mut().reset(crate::model::now() + Bitrate::PAUSE);
                pause.as_mut().await;
                sampler.lock().wanted = false;
                happened.push(Done::Sample);
            }
        });
    }
}
