//! What sessions do, counted over all that share the meters.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::error::Reason;

/// Counts what sessions do. Clones count together: give one to the [`Config`](crate::Config) of each session.
///
/// What a number is counted by is never chosen by a peer, so there are few.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    subscribed: AtomicU64,
    serving: AtomicU64,
    /// What those that go on have counted, and the others together. They count apart, for what comes with every frame
    /// of every session would have all threads at the same place.
    tallies: Mutex<Tallies>,
    gaps: Mutex<BTreeMap<&'static str, u64>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Debug, Default)]
struct Tallies {
    live: BTreeMap<u64, Arc<Counts>>,
    next: u64,
    groups_before: u64,
    bytes_before: u64,
}

/// What one tally has counted.
#[derive(Debug, Default)]
struct Counts {
    sending: AtomicU64,
    groups: AtomicU64,
    bytes: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meters {
    /// Subscriptions of ours that are open.
    #[must_use]
    pub fn subscribed(&self) -> u64 {
        self.inner.subscribed.load(Ordering::Relaxed)
    }

    /// Subscriptions of peers that are open.
    #[must_use]
    pub fn serving(&self) -> u64 {
        self.inner.serving.load(Ordering::Relaxed)
    }

    /// Groups that are being sent.
    #[must_use]
    pub fn sending(&self) -> u64 {
        lock(&self.inner.tallies).live.values().map(|counts| counts.sending.load(Ordering::Relaxed)).sum()
    }

    /// Groups that began to be sent, since the start.
    #[must_use]
    pub fn groups_sent(&self) -> u64 {
        let tallies = lock(&self.inner.tallies);
        let live = tallies.live.values().map(|counts| counts.groups.load(Ordering::Relaxed));
        tallies.groups_before + live.sum::<u64>()
    }

    /// Payload bytes that were taken to be sent, since the start.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        let tallies = lock(&self.inner.tallies);
        let live = tallies.live.values().map(|counts| counts.bytes.load(Ordering::Relaxed));
        tallies.bytes_before + live.sum::<u64>()
    }

    /// Gaps that peers were told of, since the start, by the kind of reason.
    #[must_use]
    pub fn gaps(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.inner.gaps).clone()
    }

    /// How often a limit was reached, since the start, by the limit's name.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.inner.refused).clone()
    }

    pub(crate) fn subscribes(&self) {
        self.inner.subscribed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unsubscribes(&self, count: u64) {
        self.inner.subscribed.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn serves(&self) {
        self.inner.serving.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn served(&self, count: u64) {
        self.inner.serving.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn tells_gap(&self, reason: Reason) {
        *lock(&self.inner.gaps).entry(reason.kind()).or_default() += 1;
    }

    pub(crate) fn reaches(&self, limit: &'static str) {
        *lock(&self.inner.refused).entry(limit).or_default() += 1;
    }

    /// Counts what one session sends.
    pub(crate) fn tally(&self) -> Tally {
        let counts = Arc::new(Counts::default());
        let mut tallies = lock(&self.inner.tallies);
        let id = tallies.next;
        tallies.next += 1;
        tallies.live.insert(id, Arc::clone(&counts));
        drop(tallies);
        Tally(Arc::new(Tallying { counts, id, meters: self.clone() }))
    }
}

/// Counts what one session sends. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Tally(Arc<Tallying>);

#[derive(Debug)]
struct Tallying {
    counts: Arc<Counts>,
    id: u64,
    meters: Meters,
}

impl Tally {
    /// A group begins to be sent.
    pub(crate) fn sends(&self) -> Sending {
        self.0.counts.groups.fetch_add(1, Ordering::Relaxed);
        self.0.counts.sending.fetch_add(1, Ordering::Relaxed);
        Sending(self.clone())
    }
}

/// What was counted stays counted.
impl Drop for Tallying {
    fn drop(&mut self) {
        let mut tallies = lock(&self.meters.inner.tallies);
        tallies.live.remove(&self.id);
        tallies.groups_before += self.counts.groups.load(Ordering::Relaxed);
        tallies.bytes_before += self.counts.bytes.load(Ordering::Relaxed);
    }
}

/// A group that is being sent; dropped when that is over.
#[derive(Debug)]
pub(crate) struct Sending(Tally);

impl Sending {
    pub(crate) fn took(&self, bytes: u64) {
        self.0.0.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.0.counts.sending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reason {
    /// One of few words for it.
    fn kind(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::NotFound => "not found",
            Self::Unauthorized => "unauthorized",
            Self::Expired => "expired",
            Self::Timeout => "timeout",
            Self::GoingAway => "going away",
            Self::TooMany => "too many",
            Self::Internal => "internal",
            Self::Unsupported => "unsupported",
            Self::Transport => "transport",
            Self::Malformed => "malformed",
            Self::Duplicate => "duplicate",
            Self::OutOfRange => "out of range",
            Self::WrongSize => "wrong size",
            Self::Version => "version",
            Self::UnexpectedStream => "unexpected stream",
            Self::ProtocolViolation => "protocol violation",
            Self::App(_) => "application",
            Self::Unknown(_) => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_count_together_and_what_they_counted_stays() {
        let meters = Meters::default();
        let (one, other) = (meters.tally(), meters.clone().tally());
        let (group, more) = (one.sends(), other.sends());
        group.took(5);
        more.took(7);
        assert_eq!((meters.sending(), meters.groups_sent(), meters.bytes_sent()), (2, 2, 12));
        drop(one);
        assert_eq!((meters.sending(), meters.groups_sent(), meters.bytes_sent()), (2, 2, 12));
        drop(group);
        assert_eq!((meters.sending(), meters.groups_sent(), meters.bytes_sent()), (1, 2, 12));
        drop((other.sends(), more, other));
        assert_eq!((meters.sending(), meters.groups_sent(), meters.bytes_sent()), (0, 3, 12));
        assert!(lock(&meters.inner.tallies).live.is_empty());
    }
}
