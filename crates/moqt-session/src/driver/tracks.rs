//! Reading the tracks that the peer is served.
//!
//! A track that has something new wakes all that read it, with each group. So this is no future among those of the
//! session, that would hand over what it has found: the subscription itself is called, and reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::future::AbortHandle;
use moqt_transport::Connection;
use tokio::time::Instant;

use super::{Done, Driver, Use, queue::Queue};
use crate::{
    error::TrackError,
    model::{Next, TrackConsumer, TrackEvent},
    proto::RequestId,
};

/// What a reader of a track came to.
pub(super) type Read = Result<Option<TrackEvent>, TrackError>;

/// How much a subscription reads before others of the session have their turn.
const AT_ONCE: usize = 16;

/// Subscriptions whose tracks have something new.
pub(super) type Called = Queue<RequestId>;

/// Calls a subscription when its track has something new.
struct Call {
    request: RequestId,
    called: Called,
    /// Whether it is called already.
    rung: AtomicBool,
    bell: Waker,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.called.push(self.request);
            self.bell.wake_by_ref();
        }
    }
}

/// The reader of a track that is served.
pub(super) struct Reading {
    track: TrackConsumer,
    call: Arc<Call>,
    waker: Waker,
    /// Whether it has been read from.
    begun: bool,
    /// When it will be seen to even if nobody calls, and what waits for that.
    due: Option<(Instant, AbortHandle)>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some((_, waiting)) = &self.due {
            waiting.abort();
        }
    }
}

impl Reading {
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    fn read(&mut self) -> Poll<(Read, Next)> {
        self.track.poll_on(&Context::from_waker(&self.waker))
    }
}

impl<C: Connection> Driver<C> {
    /// Reads a track for a subscription that is answered, from when the answer is on its way: groups must not take the
    /// room that the connection has for it.
    pub(super) fn read_track(&mut self, request: RequestId, track: TrackConsumer) {
        let Some(outbox) = self.outboxes.get(&request).cloned() else { return };
        let answering = self.spawn_abortable(async move {
            outbox.empty().await;
            Done::TrackCalled(request)
        });
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return answering.abort() };
        serving.answering = answering;
        let (called, bell) = (self.called.clone(), self.bell.waker().clone());
        let call = Arc::new(Call { request, called, rung: AtomicBool::new(false), bell });
        let waker = Arc::clone(&call).into();
        serving.reading = Some(Reading { track, waker, call, begun: false, due: None });
    }

    /// Reads what a track has.
    pub(super) fn track_called(&mut self, request: RequestId) {
        let mut next = Next::Now;
        if let Some(reading) = self.reading(request) {
            reading.begun = true;
            // What comes from here on calls again.
            reading.call.rung.store(false, Ordering::Release);
        }
        for _ in 0..AT_ONCE {
            let Some(reading) = self.reading(request) else { break };
            let Poll::Ready((event, then)) = reading.read() else {
                next = Next::Woken { due: reading.track.due() };
                break;
            };
            self.track_event(request, event);
            next = then;
            if next != Next::Now {
                break;
            }
        }
        match next {
            Next::Woken { due } => self.wait_until(request, due),
            Next::Now => {
                if let Some(reading) = self.reading(request) {
                    reading.waker.wake_by_ref();
                }
            }
        }
        self.end_if_sent(request);
    }

    fn reading(&mut self, request: RequestId) -> Option<&mut Reading> {
        match self.uses.get_mut(&request) {
            Some(Use::Serving(serving)) => serving.reading.as_mut(),
            _ => None,
        }
    }

    /// What is missing of a track may have been missing for too long then.
    fn wait_until(&mut self, request: RequestId, due: Option<Instant>) {
        let Some(due) = due else { return };
        if self.reading(request).is_none_or(|reading| reading.due.as_ref().is_some_and(|(at, _)| *at <= due))
        {
            return;
        }
        let waiting = self.spawn_abortable(async move {
            tokio::time::sleep_until(due).await;
            Done::TrackDue(request)
        });
        if let Some(reading) = self.reading(request)
            && let Some((_, before)) = reading.due.replace((due, waiting))
        {
            before.abort();
        }
    }

    /// Gives up what has been missing for too long.
    pub(super) fn track_due(&mut self, request: RequestId) {
        let Some(reading) = self.reading(request) else { return };
        reading.due = None;
        reading.track.settle();
        self.track_called(request);
    }
}
