//! A way to end one reader of a track that others go on reading.

use std::sync::{Arc, OnceLock, Weak};

use super::{TrackConsumer, TrackShared};
use crate::error::Reason;

/// What a reader looks at: why its gate was closed, if it was.
pub(super) type Closed = Arc<OnceLock<Reason>>;

/// Ends a reader, and all that were made of it, while the track goes on for others. Dropped, it leaves them alone.
#[derive(Debug)]
pub struct Gate {
    track: Weak<TrackShared>,
    closed: Closed,
    reason: Reason,
}

impl Gate {
    /// Ends the readers: they see the track end, and keep the groups that they have.
    pub fn close(self) {
        // They look at it under the track's lock, so none falls asleep between the two.
        if let Some(track) = self.track.upgrade() {
            let mut state = track.lock();
            let _ = self.closed.set(self.reason);
            state.readers.wake();
        }
    }

    /// Whether no reader is left.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        Arc::strong_count(&self.closed) == 1
    }
}

impl TrackConsumer {
    /// This reader, and what ends it for `reason`. A reader has one gate; an older one has no hold on it any more.
    #[must_use]
    pub fn gated(mut self, reason: Reason) -> (Self, Gate) {
        let closed = Closed::default();
        self.gate = Some(Arc::clone(&closed));
        let track = Arc::downgrade(&self.shared);
        (self, Gate { track, closed, reason })
    }
}
