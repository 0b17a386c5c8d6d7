//! What one direction of a path does to packets.

use std::time::Duration;

use crate::{Rng, net::Time};

/// One direction of a path: how long packets take, how fast they leave and how many are lost.
///
/// Starts from [`Link::ideal`] or [`Link::delay`]; the other settings chain:
///
/// ```
/// # use std::time::Duration;
/// # use moqt_sim::Link;
/// let bad = Link::delay(Duration::from_millis(40)).loss(0.01).rate(2_000_000).queue(32 * 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) rate: Option<u64>,
    pub(crate) queue: u64,
    pub(crate) loss: f64,
}

impl Link {
    /// No delay, no loss, no limit on the rate.
    #[must_use]
    pub const fn ideal() -> Self {
        Self::delay(Duration::ZERO)
    }

    /// Each packet arrives `delay` after it has left; otherwise ideal.
    #[must_use]
    pub const fn delay(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, rate: None, queue: 64 * 1024, loss: 0.0 }
    }

    /// Adds to each packet a random delay below `jitter`; packets may overtake one another.
    #[must_use]
    pub const fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Lets packets leave one after the other at `bits_per_second`.
    ///
    /// # Panics
    ///
    /// When it is 0: [`LinkControl::cut`](crate::LinkControl::cut) is the way to let nothing through.
    #[must_use]
    pub const fn rate(mut self, bits_per_second: u64) -> Self {
        assert!(bits_per_second > 0, "a link needs a rate; cut it to let nothing through");
        self.rate = Some(bits_per_second);
        self
    }

    /// Drops packets that find `bytes` waiting before them (tail drop). Only a link with a rate has a queue;
    /// its default is 64 KiB.
    #[must_use]
    pub const fn queue(mut self, bytes: u64) -> Self {
        self.queue = bytes;
        self
    }

    /// Loses each packet with `probability`.
    #[must_use]
    pub const fn loss(mut self, probability: f64) -> Self {
        self.loss = probability;
        self
    }

    /// How long `bytes` take to leave.
    pub(crate) fn serialisation(&self, bytes: u64) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_nanos(bytes.saturating_mul(8_000_000_000).checked_div(rate).unwrap_or(u64::MAX))
        })
    }

    /// How many bytes leave in `time`.
    pub(crate) fn bytes_in(&self, time: Duration) -> Option<u64> {
        let nanos = time.as_nanos();
        self.rate.map(|rate| {
            u64::try_from(u128::from(rate).saturating_mul(nanos) / 8_000_000_000).unwrap_or(u64::MAX)
        })
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::ideal()
    }
}

/// Both directions of a path. A single [`Link`] stands for both; a pair is (client to server, server to
/// client).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Links {
    /// From the client to the server.
    pub up: Link,
    /// From the server to the client.
    pub down: Link,
}

impl From<Link> for Links {
    fn from(link: Link) -> Self {
        Self { up: link, down: link }
    }
}

impl From<(Link, Link)> for Links {
    fn from((up, down): (Link, Link)) -> Self {
        Self { up, down }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives at this time.
    Arrives(Time),
    /// Chance or a cut took it.
    Lost,
    /// The queue was full.
    Overflowed,
}

/// A link in use.
#[derive(Debug)]
pub(crate) struct LinkState {
    pub(crate) link: Link,
    pub(crate) cut: bool,
    /// When the last packet accepted so far has left.
    busy_until: Time,
}

impl LinkState {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, cut: false, busy_until: Time::ZERO }
    }

    /// Takes a packet; says when it has left (or would have) and what becomes of it.
    pub(crate) fn send(&mut self, now: Time, size: u64, rng: &mut Rng) -> (Time, Fate) {
        let waiting = self.busy_until.saturating_sub(now);
        let backlog = self.link.bytes_in(waiting).unwrap_or(0);
        if backlog > 0 && backlog + size > self.link.queue {
            return (self.busy_until, Fate::Overflowed);
        }
        let departs = self.busy_until.max(now) + self.link.serialisation(size);
        self.busy_until = departs;
        let lost = self.link.loss > 0.0 && rng.chance(self.link.loss);
        if lost || self.cut {
            return (departs, Fate::Lost);
        }
        let jitter = if self.link.jitter.is_zero() { Duration::ZERO } else { rng.duration(self.link.jitter) };
        (departs, Fate::Arrives(departs + self.link.delay + jitter))
    }

    /// A sender that knows the link keeps little in its queue: the time to wait for before sending more,
    /// or `None` for now.
    pub(crate) fn room_at(&self, now: Time) -> Option<Time> {
        const PACKET: u64 = 1250;
        let most = self.link.bytes_in(Duration::from_millis(8))?.clamp(2 * PACKET, 32 * PACKET);
        let most = most.min(self.link.queue.saturating_sub(PACKET));
        let waiting = self.busy_until.saturating_sub(now);
        (waiting > self.link.serialisation(most.saturating_sub(PACKET)))
            .then(|| now + waiting.saturating_sub(self.link.serialisation(most / 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn packets_leave_one_after_the_other_and_the_queue_has_an_end() {
        // One byte each millisecond.
        let mut state = LinkState::new(Link::delay(10 * MS).rate(8000).queue(250));
        let mut rng = Rng::new(0);
        let mut send = |now| state.send(now, 100, &mut rng);
        assert_eq!(send(Time::ZERO), (100 * MS, Fate::Arrives(110 * MS)));
        assert_eq!(send(Time::ZERO), (200 * MS, Fate::Arrives(210 * MS)));
        assert_eq!(send(Time::ZERO).1, Fate::Overflowed);
        assert_eq!(send(100 * MS), (300 * MS, Fate::Arrives(310 * MS)));
        assert_eq!(send(1000 * MS), (1100 * MS, Fate::Arrives(1110 * MS)));
    }

    #[test]
    fn loss_is_about_what_was_asked_for() {
        let mut state = LinkState::new(Link::ideal().loss(0.2));
        let mut rng = Rng::new(7);
        let lost = (0..10_000).filter(|_| state.send(Time::ZERO, 1, &mut rng).1 == Fate::Lost).count();
        assert!((1900..2100).contains(&lost), "{lost}");
    }
}
