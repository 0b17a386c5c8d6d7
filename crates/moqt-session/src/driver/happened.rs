//! What comes of futures that go on after it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moqt_transport::Connection;

use super::done::Done;

/// Room that is kept for what happens next.
const ROOM: usize = 4;

/// What has happened, in order. A future that ends with each group would be made anew for each; those that go on tell of
/// it here. They do so within a poll of the driver, which empties it before it waits; so nothing stays, and nothing is
/// allocated for a group.
pub(super) struct Happened<C: Connection>(Arc<Mutex<VecDeque<Done<C>>>>);

/// Takes the first of a queue. One that is empty begins anew, so that a queue of which little is in use stays in few lines
/// of the cache.
pub(super) fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front();
    if queue.is_empty() {
        queue.clear();
    }
    first
}

impl<C: Connection> Clone for Happened<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Connection> Default for Happened<C> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<C: Connection> Happened<C> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Done<C>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Keeps no room for what was once much.
    pub(super) fn shrink(&self) {
        self.lock().shrink_to(ROOM);
    }

    /// What happened first.
    pub(super) fn pop(&self) -> Option<Done<C>> {
        pop(&mut self.lock())
    }

    pub(super) fn push(&self, done: Done<C>) {
        self.lock().push_back(done);
    }
}
