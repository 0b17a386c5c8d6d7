//! How much `quinn` is handed, and how many streams the peer may open.
//!
//! What a stream has given to `quinn` cannot be put behind other streams again, so little of it should wait there:
//! not more than the path takes in a few round trips. `quinn` knows only one bound, on all bytes of a connection that
//! are not acknowledged, those behind a lost packet included; it is moved here. Streams of a session that go before all
//! others need not wait for it: an answer of some bytes must not wait until the payload before it has got through.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
};

use super::rate::{self, Path};

/// What may wait on any path, in bytes: two of `quinn`'s batches.
const LEAST: u64 = 32 * 1024;

/// The bound of a connection at its beginning, in bytes.
pub(crate) const FIRST: u64 = 2 * LEAST;

/// What may wait above the bound for streams that go first, in bytes, until there is room below it again.
const ABOVE: usize = 16 * 1024;

/// How many bidirectional streams the peer of a connection may have open at its beginning.
const FIRST_BIDI: u32 = 64;

/// By how much they become more when the peer has used half of them.
const MORE_BIDI: u32 = 4;

/// The room that a connection has for bytes to send; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Room(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    connection: quinn::Connection,
    path: Mutex<Arc<Path>>,
    bound: AtomicU64,
    /// How many bytes were written above it.
    above: AtomicUsize,
    /// Bidirectional streams that the peer has opened since the beginning.
    opened: AtomicU32,
    /// How many it may have open.
    bidi: AtomicU32,
}

impl Inner {
    fn path(&self) -> MutexGuard<'_, Arc<Path>> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// The room of a connection that was made with our settings; others keep theirs.
    pub(crate) fn of(connection: &quinn::Connection) -> Self {
        Self(rate::path(connection).map(|path| {
            let bound = AtomicU64::new(FIRST.min(path.most));
            let (opened, bidi) = (AtomicU32::new(0), AtomicU32::new(first_bidi(path.bidi_streams)));
            let (connection, path, above) = (connection.clone(), Mutex::new(path), AtomicUsize::new(0));
            Arc::new(Inner { connection, path, bound, above, opened, bidi })
        }))
    }

    /// Lets the peer open as many streams as it may when some are expected.
    pub(crate) fn expect_streams(&self) {
        if let Some(inner) = &self.0 {
            inner.connection.set_max_concurrent_uni_streams(inner.path().uni_streams.into());
        }
    }

    /// The peer has opened a bidirectional stream. One that has opened half of what it may have open, in all its time, is
    /// let open more: `quinn` keeps a place for each that may come.
    pub(crate) fn bidi_opened(&self) {
        let Some(inner) = &self.0 else { return };
        if inner.opened.fetch_add(1, Ordering::Relaxed) < inner.bidi.load(Ordering::Relaxed) / 2 {
            return;
        }
        // Of several at once, one after the other.
        let path = inner.path();
        let may = inner.bidi.load(Ordering::Relaxed);
        let more = next_bidi(may, path.bidi_streams);
        if more > may && inner.opened.load(Ordering::Relaxed) > may / 2 {
            inner.bidi.store(more, Ordering::Relaxed);
            inner.connection.set_max_concurrent_bi_streams(more.into());
        }
    }

    /// Moves the bound; `true` where that made room. For writers that found none.
    fn follow(&self) -> bool {
        let Some(inner) = &self.0 else { return false };
        let mut path = inner.path();
        if Arc::strong_count(&path) == 1
            && let Some(new) = rate::path(&inner.connection)
        {
            // The connection has moved to another path.
            *path = new;
        }
        let wanted = bound(&path);
        let bound = inner.bound.load(Ordering::Relaxed);
        // Small changes are not worth the lock.
        if wanted.abs_diff(bound) <= bound / 16 {
            return false;
        }
        inner.bound.store(wanted, Ordering::Relaxed);
        inner.connection.set_send_window(wanted);
        wanted > bound
    }

    /// Polls a write, which takes the most bytes that it may write and gives how many that were, and again where that found
    /// no room and there is some now. What goes `first` finds a little above the bound, too.
    pub(crate) fn poll<E>(
        &self,
        first: bool,
        mut write: impl FnMut(usize) -> Poll<Result<usize, E>>,
    ) -> Poll<Result<usize, E>> {
        loop {
            match write(usize::MAX) {
                Poll::Pending if self.follow() => {}
                Poll::Pending if first => return self.poll_above(write),
                written => {
                    if let (true, Some(inner)) = (first, &self.0) {
                        inner.above.store(0, Ordering::Relaxed);
                    }
                    return written;
                }
            }
        }
    }

    fn poll_above<E>(&self, write: impl FnOnce(usize) -> Poll<Result<usize, E>>) -> Poll<Result<usize, E>> {
        let Some(inner) = &self.0 else { return Poll::Pending };
        // Nobody moves the bound meanwhile, nor writes above it.
        let path = inner.path();
        let above = inner.above.load(Ordering::Relaxed);
        if above >= ABOVE {
            return Poll::Pending;
        }
        inner.connection.set_send_window(path.most);
        let written = write(ABOVE - above);
        inner.connection.set_send_window(inner.bound.load(Ordering::Relaxed));
        if let Poll::Ready(Ok(bytes)) = written {
            inner.above.store(above + bytes, Ordering::Relaxed);
        }
        written
    }
}

/// How many bidirectional streams the peer may have open at first, of so many at most.
pub(crate) fn first_bidi(most: u32) -> u32 {
    if most > 2 * FIRST_BIDI { FIRST_BIDI } else { most }
}

/// How many it may have open after `may`. The last step is a large one: `quinn` says nothing of less than an eighth.
fn next_bidi(may: u32, most: u32) -> u32 {
    let more = may.saturating_mul(MORE_BIDI);
    if most / 2 <= more { most } else { more }
}

/// How many bytes may be under way and waiting: one window under way, one behind a loss, one to come.
fn bound(path: &Path) -> u64 {
    let window = path.window.load(Ordering::Relaxed);
    window.saturating_mul(3).saturating_add(LEAST).min(path.most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_peer_may_open_grows_to_the_limit_in_steps_that_are_told() {
        for most in 1..=5000 {
            let mut may = first_bidi(most);
            while next_bidi(may, most) > may {
                let next = next_bidi(may, most);
                assert!(next - may > next / 8, "{most}: from {may} to {next}");
                may = next;
            }
            assert_eq!(may, most);
        }
    }
}
