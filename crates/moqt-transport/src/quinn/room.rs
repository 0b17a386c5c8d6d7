//! How much `quinn` is handed, and how many streams the peer may open.
//!
//! What a stream has given to `quinn` cannot be put behind other streams again, so little of it should wait there:
//! not more than the path takes in a few round trips. `quinn` knows only one bound, on all bytes of a connection that
//! are not acknowledged, those behind a lost packet included; it is moved here.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::Poll,
};

use super::rate::{self, Path};

/// What may wait on any path, in bytes: two of `quinn`'s batches.
const LEAST: u64 = 32 * 1024;

/// The bound of a connection at its beginning, in bytes.
pub(crate) const FIRST: u64 = 2 * LEAST;

/// How many bidirectional streams the peer of a connection may have open at its beginning.
pub(crate) const FIRST_BIDI: u32 = 64;

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
    /// Bidirectional streams that the peer has opened, and how many it may have open.
    opened: AtomicU32,
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
            let (opened, bidi) = (AtomicU32::new(0), AtomicU32::new(FIRST_BIDI.min(path.bidi_streams)));
            Arc::new(Inner { connection: connection.clone(), path: Mutex::new(path), bound, opened, bidi })
        }))
    }

    /// Lets the peer open as many streams as it may when some are expected.
    pub(crate) fn expect_streams(&self) {
        if let Some(inner) = &self.0 {
            inner.connection.set_max_concurrent_uni_streams(inner.path().uni_streams.into());
        }
    }

    /// The peer has opened a bidirectional stream. One that uses what it may open is let open more: `quinn` keeps a
    /// place for each that may come.
    pub(crate) fn bidi_opened(&self) {
        let Some(inner) = &self.0 else { return };
        let may = inner.bidi.load(Ordering::Relaxed);
        if inner.opened.fetch_add(1, Ordering::Relaxed) < may / 2 {
            return;
        }
        let most = inner.path().bidi_streams;
        let more = may.saturating_mul(MORE_BIDI).min(most);
        if more > may && inner.bidi.compare_exchange(may, more, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            inner.connection.set_max_concurrent_bi_streams(more.into());
        }
    }

    /// Moves the bound; `true` where that made room. For writers that found none.
    fn follow(&self) -> bool {
        let Some(inner) = &self.0 else { return false };
        let wanted = {
            let mut path = inner.path();
            if Arc::strong_count(&path) == 1
                && let Some(new) = rate::path(&inner.connection)
            {
                // The connection has moved to another path.
                *path = new;
            }
            bound(&path)
        };
        let bound = inner.bound.load(Ordering::Relaxed);
        // Small changes are not worth the lock.
        if wanted.abs_diff(bound) <= bound / 16 {
            return false;
        }
        inner.bound.store(wanted, Ordering::Relaxed);
        inner.connection.set_send_window(wanted);
        wanted > bound
    }

    /// Polls a write, and again where that found no room and there is some now.
    pub(crate) fn poll<T>(&self, mut write: impl FnMut() -> Poll<T>) -> Poll<T> {
        loop {
            match write() {
                Poll::Pending if self.follow() => {}
                written => return written,
            }
        }
    }
}

/// How many bytes may be under way and waiting: one window under way, one behind a loss, one to come.
fn bound(path: &Path) -> u64 {
    let window = path.window.load(Ordering::Relaxed);
    window.saturating_mul(3).saturating_add(LEAST).min(path.most)
}
