//! When to try again.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// When a [`Link`](crate::Link) tries to get back what it has lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconnect {
    /// The first pause; each one after it is twice as long. The real pause is between a half and all of it, so that those
    /// who were cut off together do not come back together.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long to try since the loss; `None` for ever.
    pub patience: Option<Duration>,
    /// Where the randomness of pauses comes from; `None` for the system.
    pub seed: Option<u64>,
    /// How long a session that the server wants to end is kept for what still uses it, beside the new one.
    pub leave: Duration,
    /// How long a subscription that moves waits for the new session to bring what is newest before it leaves the old.
    pub overlap: Duration,
}

impl Default for Reconnect {
    /// From 100 ms to 5 s, for ever; an old session is left after 30 s, an old subscription after 5 s.
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            patience: None,
            seed: None,
            leave: Duration::from_secs(30),
            overlap: Duration::from_secs(5),
        }
    }
}

/// The pauses between attempts.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// `salt` tells those apart that share a policy.
    pub(super) fn new(policy: &Reconnect, salt: u64) -> Self {
        let random = policy.seed.unwrap_or_else(|| RandomState::new().hash_one(salt));
        let random = random ^ salt.wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self { first: policy.first_pause, longest: policy.longest_pause, next: policy.first_pause, random }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2);
        // SplitMix64: which number it is matters little, as long as it differs.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = u32::try_from((mixed ^ (mixed >> 31)) & 0xffff).unwrap_or_default();
        pause / 2 + pause * part / (2 * 0x1_0000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_no_two_clients_keep_step() {
        let policy =
            Reconnect { seed: Some(7), longest_pause: Duration::from_secs(1), ..Reconnect::default() };
        let (mut one, mut other) = (Backoff::new(&policy, 1), Backoff::new(&policy, 2));
        let mut same = 0;
        for round in 0..12_u32 {
            let whole = (policy.first_pause * 2_u32.pow(round.min(10))).min(policy.longest_pause);
            let (a, b) = (one.pause(), other.pause());
            assert!(a >= whole / 2 && a <= whole && b >= whole / 2 && b <= whole, "{round}: {a:?} {b:?}");
            same += u32::from(a == b);
        }
        assert!(same < 3);
        one.reset();
        assert!(one.pause() <= policy.first_pause);
        let again: Vec<_> = {
            let mut again = Backoff::new(&policy, 2);
            (0..12).map(|_| again.pause()).collect()
        };
        let mut other = Backoff::new(&policy, 2);
        assert_eq!(again, (0..12).map(|_| other.pause()).collect::<Vec<_>>(), "a seed repeats itself");
    }
}
