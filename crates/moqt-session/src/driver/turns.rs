//! What a session handles next.

use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use moqt_transport::Connection;

use super::{Done, Driver};

/// How often at most futures that were woken meanwhile are looked at before the task waits.
const ROUNDS: usize = 16;

/// How much else is handled at most before a track that has something new.
const OTHERS_FIRST: usize = 8;

/// Lets the session handle what has happened. For futures of its set; cancel safe.
pub(super) async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<C: Connection> Driver<C> {
    /// Waits for something to be done. Streams get their turn to write when nothing else is ready.
    pub(super) async fn next_done(&mut self) -> Option<Done<C>> {
        let done = std::future::poll_fn(|task| self.poll_done(task)).await;
        self.in_a_row += 1;
        self.since_call = if matches!(done, Some(Done::TrackCalled(_))) { 0 } else { self.since_call + 1 };
        done
    }

    fn poll_done(&mut self, task: &Context<'_>) -> Poll<Option<Done<C>>> {
        let Self { bell, called, happened, work, gate, in_a_row, since_call, .. } = self;
        let call = || called.pop().map(|request| Poll::Ready(Some(Done::TrackCalled(request))));
        let mut cx = Context::from_waker(bell.waker());
        for _ in 0..ROUNDS {
            let calls_first = *since_call >= OTHERS_FIRST;
            if calls_first && let Some(called) = call() {
                return called;
            }
            if let Some(done) = happened.pop() {
                return Poll::Ready(Some(done));
            }
            if bell.is_heard() {
                match work.poll_next_unpin(&mut cx) {
                    Poll::Pending if !happened.is_empty() => continue,
                    Poll::Pending => {}
                    done => {
                        // It may not have been the only one.
                        bell.waker().wake_by_ref();
                        return done;
                    }
                }
            }
            // Groups that are being sent have gone on.
            if let Some(called) = call() {
                return called;
            }
            if !gate.admit() && bell.may_sleep() {
                *in_a_row = 0;
                return Poll::Pending;
            }
        }
        // Something is woken all the time. Others have their turn.
        task.waker().wake_by_ref();
        Poll::Pending
    }
}
