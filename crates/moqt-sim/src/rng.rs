//! Randomness from a seed, the same on every machine.

use std::{ops::Range, time::Duration};

use bytes::Bytes;

/// A small generator (SplitMix64): fast, seedable, not for secrets.
///
/// Cloning copies the state, so a clone repeats what the original gives; [`fork`](Self::fork) gives an
/// independent one.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// Starts from `seed`; near seeds give unrelated numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Self { state: seed };
        rng.state = rng.next_u64();
        rng
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the high half of a product of two 64-bit numbers fits in 64 bits")
    }

    /// A number in `range`; its start when the range is empty.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// True with `probability` (0 to 1).
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what an f64 holds exactly.
        let unit = (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        unit < probability
    }

    /// A duration below `max`.
    pub fn duration(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos))
    }

    /// `len` bytes of noise.
    pub fn bytes(&mut self, len: usize) -> Bytes {
        let words = std::iter::repeat_with(|| self.next_u64().to_le_bytes());
        words.flatten().take(len).collect()
    }

    /// An independent generator, which this one determines.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_them() {
        let mut rng = Rng::new(3);
        let numbers: Vec<u64> = (0..1000).map(|_| rng.range(10..14)).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&10), Some(&13)));
        assert_eq!(rng.below(0), 0);
        assert!(!rng.chance(0.0) && rng.chance(1.0));
        assert_eq!(rng.bytes(13).len(), 13);
    }

    #[test]
    fn a_fork_is_determined_and_independent() {
        let (mut one, mut other) = (Rng::new(1), Rng::new(1));
        assert_eq!(one.fork().next_u64(), other.fork().next_u64());
        assert_ne!(one.fork().next_u64(), one.next_u64());
    }
}
