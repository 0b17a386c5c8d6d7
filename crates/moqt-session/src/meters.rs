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
    sending: AtomicU64,
    groups_sent: AtomicU64,
    bytes_sent: AtomicU64,
    gaps: Mutex<BTreeMap<&'static str, u64>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
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
        self.inner.sending.load(Ordering::Relaxed)
    }

    /// Groups that began to be sent, since the start.
    #[must_use]
    pub fn groups_sent(&self) -> u64 {
        self.inner.groups_sent.load(Ordering::Relaxed)
    }

    /// Payload bytes that were taken to be sent, since the start.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.inner.bytes_sent.load(Ordering::Relaxed)
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

    /// A group begins to be sent.
    pub(crate) fn sends(&self) -> Sending {
        self.inner.groups_sent.fetch_add(1, Ordering::Relaxed);
        self.inner.sending.fetch_add(1, Ordering::Relaxed);
        Sending(self.clone())
    }
}

/// A group that is being sent; dropped when that is over.
#[derive(Debug)]
pub(crate) struct Sending(Meters);

impl Sending {
    pub(crate) fn took(&self, bytes: u64) {
        self.0.inner.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.inner.sending.fetch_sub(1, Ordering::Relaxed);
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
