//! What one direction does to packets: a bottleneck with a queue, then loss, then delay.

use std::{str::FromStr, time::Duration};

/// Bytes of IPv4 and UDP before each payload, that a rate and a queue count too.
const OVERHEAD: usize = 28;

/// How one direction is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkOptions {
    /// Share of packets that are lost, from 0 to 1, each on its own.
    pub loss: f64,
    /// How long each packet is on its way, beyond the queue.
    pub delay: Duration,
    /// Bits a second, headers of IPv4 and UDP included; `None` for no bottleneck.
    pub rate: Option<u64>,
    /// Bytes that may wait for the bottleneck. What comes beyond is dropped.
    pub queue: usize,
    /// Decides which packets are lost.
    pub seed: u64,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self { loss: 0.0, delay: Duration::ZERO, rate: None, queue: 64 << 10, seed: 1 }
    }
}

/// `loss=1%,delay=10ms,rate=10M,queue=62500,seed=7`, each part if wanted; nothing at all for a perfect link.
impl FromStr for LinkOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} has no value"))?;
            let wrong = |_| format!("{value:?} is no {name}");
            match name {
                "loss" => options.loss = share(value).ok_or_else(|| wrong(()))?,
                "delay" => options.delay = humantime::parse_duration(value).map_err(|_| wrong(()))?,
                "rate" => options.rate = Some(rate(value).ok_or_else(|| wrong(()))?),
                "queue" => options.queue = value.parse().map_err(|_| wrong(()))?,
                "seed" => options.seed = value.parse().map_err(|_| wrong(()))?,
                _ => return Err(format!("a link has no {name:?}; it has loss, delay, rate, queue and seed")),
            }
        }
        Ok(options)
    }
}

fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

fn rate(text: &str) -> Option<u64> {
    let (number, factor) = match text.strip_suffix(['k', 'M', 'G']) {
        Some(number) if text.ends_with('k') => (number, 1e3),
        Some(number) if text.ends_with('M') => (number, 1e6),
        Some(number) => (number, 1e9),
        None => (text, 1.0),
    };
    let bits = number.parse::<f64>().ok()? * factor;
    (1.0..=1e12).contains(&bits).then_some(bits as u64)
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this time.
    Arrives(Duration),
    /// It is lost on its way.
    Lost,
    /// There was no place in the queue.
    Dropped,
}

/// Packets by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That arrived, or will.
    pub arrived: u64,
    /// Lost on their way.
    pub lost: u64,
    /// Without a place in the queue.
    pub dropped: u64,
}

/// One direction. Times are since whatever moment the caller likes, as long as it is the same.
#[derive(Clone, Debug)]
pub struct Link {
    options: LinkOptions,
    random: u64,
    /// When the bottleneck will be free.
    free: Duration,
    counts: Counts,
}

impl Link {
    /// A link on which nothing was sent yet.
    #[must_use]
    pub fn new(options: LinkOptions) -> Self {
        Self { random: options.seed, options, free: Duration::ZERO, counts: Counts::default() }
    }

    /// A packet with so many bytes of payload comes at `now`.
    pub fn offer(&mut self, now: Duration, len: usize) -> Fate {
        let fate = self.decide(now, len + OVERHEAD);
        match fate {
            Fate::Arrives(_) => self.counts.arrived += 1,
            Fate::Lost => self.counts.lost += 1,
            Fate::Dropped => self.counts.dropped += 1,
        }
        fate
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The link is like this from now on; what is on its way stays so.
    pub fn change(&mut self, options: LinkOptions) {
        self.options = LinkOptions { seed: self.options.seed, ..options };
    }

    fn decide(&mut self, now: Duration, bytes: usize) -> Fate {
        let mut out = now;
        if let Some(rate) = self.options.rate {
            let waits = self.free.saturating_sub(now);
            let waiting = waits.as_secs_f64() * rate as f64 / 8.0;
            if waiting + bytes as f64 > self.options.queue as f64 {
                return Fate::Dropped;
            }
            self.free = self.free.max(now) + Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
            out = self.free;
        }
        if self.options.loss > 0.0 && self.uniform() < self.options.loss {
            return Fate::Lost;
        }
        Fate::Arrives(out + self.options.delay)
    }

    /// From 0 to 1: the generator known as splitmix64.
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        (word >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn link(text: &str) -> Link {
        Link::new(text.parse().unwrap())
    }

    #[test]
    fn a_link_is_written_as_its_parts() {
        let options: LinkOptions = "loss=1%,delay=10ms,rate=2.5M,queue=31250,seed=7".parse().unwrap();
        let expected =
            LinkOptions { loss: 0.01, delay: ms(10), rate: Some(2_500_000), queue: 31_250, seed: 7 };
        assert_eq!(options, expected);
        assert_eq!("".parse(), Ok(LinkOptions::default()));
        for wrong in
            ["loss", "loss=2", "loss=-1%", "delay=10", "rate=0", "rate=fast", "jitter=1ms", "queue=-1"]
        {
            assert!(wrong.parse::<LinkOptions>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn delay_is_the_same_for_each_packet() {
        let mut link = link("delay=50ms");
        for at in [0, 1, 7, 1000] {
            assert_eq!(link.offer(ms(at), 1200), Fate::Arrives(ms(at + 50)));
        }
    }

    #[test]
    fn packets_leave_a_bottleneck_one_after_the_other_at_its_rate() {
        // 1222 bytes and 28 of headers are 10,000 bits: a millisecond each.
        let mut link = link("rate=10M,queue=1000000,delay=5ms");
        for count in 1..=20 {
            assert_eq!(link.offer(ms(0), 1222), Fate::Arrives(ms(count + 5)));
        }
        // After a pause it begins anew.
        assert_eq!(link.offer(ms(100), 1222), Fate::Arrives(ms(106)));
    }

    #[test]
    fn a_full_queue_takes_no_more_until_it_has_drained() {
        let mut link = link("rate=10M,queue=5000");
        let fates: Vec<_> = (0..6).map(|_| link.offer(ms(0), 1222)).collect();
        assert_eq!(fates[3], Fate::Arrives(ms(4)));
        assert_eq!(fates[4..], [Fate::Dropped, Fate::Dropped]);
        assert_eq!(link.offer(ms(1), 1222), Fate::Arrives(ms(5)));
        assert_eq!(link.counts(), Counts { arrived: 5, lost: 0, dropped: 2 });
    }

    #[test]
    fn a_seed_loses_the_same_packets_every_time_and_its_share_of_them() {
        let fates = |seed: u64| {
            let mut link = link(&format!("loss=5%,seed={seed}"));
            (0..100_000).map(|at| link.offer(ms(at), 1) == Fate::Lost).collect::<Vec<_>>()
        };
        let (first, other) = (fates(1), fates(2));
        assert_eq!(first, fates(1));
        assert_ne!(first, other);
        for fates in [first, other] {
            let lost = fates.iter().filter(|lost| **lost).count();
            assert!((4_700..5_300).contains(&lost), "{lost}");
        }
    }

    #[test]
    fn lost_packets_have_taken_their_time_in_the_bottleneck() {
        let mut link = link("rate=10M,queue=1000000,loss=100%");
        assert_eq!(link.offer(ms(0), 1222), Fate::Lost);
        link.change(LinkOptions { rate: Some(10_000_000), queue: 1_000_000, ..LinkOptions::default() });
        assert_eq!(link.offer(ms(0), 1222), Fate::Arrives(ms(2)));
    }
}
