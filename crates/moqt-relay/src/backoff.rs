//! How long to wait before the next attempt.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Where chance comes from: for spreading things out and telling things apart, not for secrets.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    /// From this beginning always the same; without one, from a beginning that the system gives.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(AtomicU64::new(seed.unwrap_or_else(|| RandomState::new().hash_one(0))))
    }

    /// Some number. SplitMix64.
    pub(crate) fn roll(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Some time up to this.
    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.roll() % micros.saturating_add(1).max(1))
    }
}

/// Doubles from attempt to attempt, and is spread, so that those who lost the same peer do not come back as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, attempts: 0 }
    }

    /// From the beginning, after an attempt that came to something.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How long to wait now: between half and all of what it has come to.
    pub(crate) fn next(&mut self, dice: &Dice) -> Duration {
        let whole = self.first.saturating_mul(1 << self.attempts.min(20)).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        whole / 2 + dice.up_to(whole / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_are_spread() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(10));
        let (mut backoff, dice) = (Backoff::new(first, most), Dice::new(None));
        for attempt in 0..100 {
            let whole = first.saturating_mul(1 << attempt.min(10)).min(most);
            let wait = backoff.next(&dice);
            assert!(whole / 2 <= wait && wait <= whole, "{attempt}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next(&dice) <= first);
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| dice.up_to(most)).collect();
        assert!(waits.len() > 40, "{waits:?}");
    }
}
