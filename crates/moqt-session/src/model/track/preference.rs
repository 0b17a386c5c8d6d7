//! How much readers say a track matters, for whoever brings it.

use std::{
    sync::{Arc, Weak},
    task::Poll,
};

use moqt_wire::Priority;

use super::{MergedTrack, TrackConsumer, TrackProducer, TrackShared};
use crate::model::wait::Waiting;

/// How much a reader says that its track matters beside others. It counts until it is dropped, and keeps nothing alive.
#[derive(Debug)]
pub(crate) struct Preference {
    track: Weak<TrackShared>,
    priority: Priority,
}

impl Preference {
    /// Says otherwise.
    pub(crate) fn set(&mut self, priority: Priority) {
        if let Some(track) = self.track.upgrade() {
            track.prefer(Some(self.priority), Some(priority));
        }
        self.priority = priority;
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        if let Some(track) = self.track.upgrade() {
            track.prefer(Some(self.priority), None);
        }
    }
}

impl TrackShared {
    /// A reader says one thing instead of another.
    fn prefer(&self, before: Option<Priority>, after: Option<Priority>) {
        let mut state = self.lock();
        let highest = state.highest_preference();
        if let Some(before) = before
            && let Some(count) = state.preferences.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                state.preferences.remove(&before);
            }
        }
        if let Some(after) = after {
            *state.preferences.entry(after).or_default() += 1;
        }
        if state.highest_preference() != highest {
            state.changed.wake();
        }
    }
}

impl TrackConsumer {
    /// Whoever brings the track may know that it is wanted with this priority.
    pub(crate) fn prefer(&self, priority: Priority) -> Preference {
        self.shared.prefer(None, Some(priority));
        Preference { track: Arc::downgrade(&self.shared), priority }
    }
}

/// What the peers that read a track say it matters beside others, for those who bring it. It does not count as a writer
/// or reader of the track.
#[derive(Clone, Debug)]
pub struct Preferences {
    track: Arc<TrackShared>,
}

impl MergedTrack {
    /// What its readers say it matters.
    #[must_use]
    pub fn preferences(&self) -> Preferences {
        Preferences { track: Arc::clone(self.shared()) }
    }
}

impl TrackProducer {
    /// What its readers say it matters.
    #[must_use]
    pub fn preferences(&self) -> Preferences {
        Preferences { track: Arc::clone(&self.shared) }
    }
}

impl Preferences {
    /// The highest priority of a subscription that is served from the track; `None` while there is none.
    #[must_use]
    pub fn highest(&self) -> Option<Priority> {
        self.track.lock().highest_preference()
    }

    /// Waits until there is a subscription, and the highest priority of one is not `known`. Cancel safe.
    pub async fn changed(&self, known: Priority) -> Priority {
        let mut waiting = Waiting::new(|place| self.track.lock().changed.leave(place));
        std::future::poll_fn(|cx| {
            let mut state = self.track.lock();
            if let Some(highest) = state.highest_preference().filter(|&highest| highest != known) {
                return Poll::Ready(highest);
            }
            state.changed.wait(&mut waiting.place, cx);
            Poll::Pending
        })
        .await
    }
}
