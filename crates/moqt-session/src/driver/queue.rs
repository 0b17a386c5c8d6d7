//! What futures that go on hand to the driver.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::done::Done;

/// Room that is kept for what comes next.
pub(super) const ROOM: usize = 4;

/// What others hand to the driver, in order; clones are the same queue. A future that ends with each group would be made
/// anew for each. The driver empties it before it waits; so little stays, and nothing is allocated for a group.
pub(super) struct Queue<T>(Arc<Mutex<VecDeque<T>>>);

/// What has happened.
pub(super) type Happened<C> = Queue<Done<C>>;

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes what came first.
    pub(super) fn pop(&self) -> Option<T> {
        pop(&mut self.lock())
    }

    pub(super) fn push(&self, next: T) {
        self.lock().push_back(next);
    }

    pub(super) fn shrink(&self) {
        shrink(&mut self.lock());
    }
}

/// Takes the first of a queue. One that is empty begins anew, so that a queue of which little is in use stays in few lines
/// of the cache.
pub(super) fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front();
    if queue.is_empty() {
        queue.clear();
    }
    first
}

/// Keeps room for what is usual, and not for what was much.
pub(super) fn shrink<T>(queue: &mut VecDeque<T>) {
    queue.shrink_to(ROOM);
}
