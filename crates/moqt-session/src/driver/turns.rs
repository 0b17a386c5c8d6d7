//! What a session handles next.

use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use moqt_transport::Connection;

use super::{Done, Driver};

/// How often at most futures that were woken meanwhile are looked at before the task waits.
const ROUNDS: usize = 16;

/// Which one of so many is a track that has something new, even if something else is ready all the time.
const OTHERS_FIRST: usize = 8;

impl<C: Connection> Driver<C> {
    /// Waits for something to be done. Streams get their turn to write when nothing else is ready.
    pub(super) async fn next_done(&mut self) -> Option<Done<C>> {
        let Self { bell, called, happened, work, gate, in_a_row, .. } = self;
        std::future::poll_fn(|task| {
            let mut cx = Context::from_waker(bell.waker());
            for _ in 0..ROUNDS {
                if let Some(done) = happened.pop() {
                    *in_a_row += 1;
                    return Poll::Ready(Some(done));
                }
                let calls_first = *in_a_row % OTHERS_FIRST == OTHERS_FIRST - 1;
                if calls_first && let Some(request) = called.pop() {
                    *in_a_row += 1;
                    return Poll::Ready(Some(Done::TrackCalled(request)));
                }
                if bell.is_heard() {
                    match work.poll_next_unpin(&mut cx) {
                        Poll::Pending if !happened.is_empty() => continue,
                        Poll::Pending => {}
                        done => {
                            *in_a_row += 1;
                            // It may not have been the only one.
                            bell.waker().wake_by_ref();
                            return done;
                        }
                    }
                }
                // Groups that are being sent have gone on.
                if let Some(request) = called.pop() {
                    *in_a_row += 1;
                    return Poll::Ready(Some(Done::TrackCalled(request)));
                }
                if !gate.admit() && bell.may_sleep() {
                    *in_a_row = 0;
                    return Poll::Pending;
                }
            }
            // Something is woken all the time. Others have their turn.
            task.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }
}
