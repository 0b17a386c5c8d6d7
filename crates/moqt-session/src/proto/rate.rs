//! How fast a peer may ask, and what happens to one that asks too fast.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::{
    endpoint::{Endpoint, Refused},
    limits::Limits,
    request::RequestId,
};
use crate::error::{PeerMisbehaved, Reason};

/// So much a second, and what was not used of it for so many seconds at once.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: u64,
    /// Billionths of what may be taken, so that none is lost however often one looks.
    level: u128,
    most: u128,
    at: Option<Instant>,
}

const WHOLE: u128 = 1_000_000_000;

impl Bucket {
    fn new(rate: u64, seconds: u32) -> Self {
        let most = u128::from(rate) * u128::from(seconds) * WHOLE;
        Self { rate, level: most, most, at: None }
    }

    /// Takes `amount`, if there is as much.
    fn take(&mut self, now: Instant, amount: u64) -> bool {
        let since = self.at.replace(now).map_or(0, |at| now.saturating_duration_since(at).as_nanos());
        self.level = self.most.min(self.level.saturating_add(since.saturating_mul(u128::from(self.rate))));
        let amount = u128::from(amount) * WHOLE;
        let enough = amount <= self.level;
        if enough {
            self.level -= amount;
        }
        enough
    }
}

/// What the peer may still ask.
#[derive(Debug)]
pub(super) struct Rates {
    requests: Bucket,
    control: Bucket,
    refusals: Bucket,
    /// The time by the latest input.
    now: Option<Instant>,
    /// Limits that were reached and told of.
    complained: BTreeSet<&'static str>,
    /// Names that wait for, or were told to, each watch of the peer.
    names: BTreeMap<RequestId, usize>,
}

/// Seconds whose requests may come at once.
const REQUESTS_AT_ONCE: u32 = 4;
/// Seconds whose control bytes may come at once, such as those of all names of a session.
const CONTROL_AT_ONCE: u32 = 16;
/// Seconds whose refusals may come at once.
const REFUSALS_AT_ONCE: u32 = 10;

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            requests: Bucket::new(limits.requests_per_second.into(), REQUESTS_AT_ONCE),
            control: Bucket::new(limits.control_bytes_per_second, CONTROL_AT_ONCE),
            refusals: Bucket::new(limits.refusals_per_second.into(), REFUSALS_AT_ONCE),
            now: None,
            complained: BTreeSet::new(),
            names: BTreeMap::new(),
        }
    }

    pub(super) fn forget(&mut self, id: RequestId) {
        self.names.remove(&id);
    }
}

impl Endpoint {
    /// The peer opened a bidirectional stream, and has `untyped` more that have not said what they are for.
    ///
    /// # Errors
    ///
    /// The code to reset and stop the stream with. The session may end as well, by an output.
    pub(crate) fn admit(&mut self, now: Instant, untyped: usize) -> Result<(), Refused> {
        self.rates.now = Some(now);
        if self.counts.requests + untyped >= self.limits.requests {
            return Err(self.turn_down("requests"));
        }
        if !self.rates.requests.take(now, 1) {
            return Err(self.turn_down("requests per second"));
        }
        if !self.limits.source.request(now) {
            return Err(self.turn_down("requests per second of a source"));
        }
        Ok(())
    }

    /// So many bytes of control messages came.
    ///
    /// # Errors
    ///
    /// The rule that is broken by as many.
    pub(crate) fn control(&mut self, now: Instant, bytes: u64) -> Result<(), PeerMisbehaved> {
        self.rates.now = Some(now);
        if self.rates.control.take(now, bytes) {
            return Ok(());
        }
        Err(PeerMisbehaved::LimitReached("control bytes per second"))
    }

    /// So many names wait for, or were told to, a watch of the peer. `false` where those of all its watches are too
    /// many; this one is ended then.
    pub(crate) fn watch_holds(&mut self, id: RequestId, names: usize) -> bool {
        self.rates.names.insert(id, names);
        // At most so many as there may be watches.
        if self.rates.names.values().sum::<usize>() <= self.limits.told {
            return true;
        }
        let _ = self.turn_down("names told");
        self.refuse(id, Reason::TooMany);
        false
    }

    /// The peer opened a group stream that is one too many; it, or another one, is not taken.
    pub(crate) fn too_many_groups(&mut self, now: Instant) -> Refused {
        self.rates.now = Some(now);
        self.turn_down("group streams")
    }

    /// A group came that belongs to no subscription. Some do after one has ended; many are a flood.
    pub(crate) fn stray_group(&mut self, now: Instant) {
        self.rates.now = Some(now);
        self.strike();
    }

    /// A limit was reached: something of the peer is not taken.
    pub(super) fn turn_down(&mut self, limit: &'static str) -> Refused {
        self.limits.meters.reaches(limit);
        // A flood is worth one line.
        if self.rates.complained.insert(limit) {
            tracing::warn!(limit, "limit reached");
        }
        self.strike();
        Refused(self.code(Reason::TooMany))
    }

    /// Something of the peer was refused, which costs time too.
    pub(super) fn strike(&mut self) {
        let Some(now) = self.rates.now else { return };
        if !self.rates.refusals.take(now, 1) {
            self.limits.meters.reaches("refusals per second");
            self.close(PeerMisbehaved::LimitReached("refusals per second").into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::now;

    #[test]
    fn one_that_is_refused_again_and_again_is_sent_away() {
        let mut limits = Limits::default();
        (limits.requests_per_second, limits.refusals_per_second) = (10, 5);
        let meters = limits.meters.clone();
        let dialect = crate::dialect::of(moqt_wire::Version::TRANSFORK_04);
        let mut endpoint = Endpoint::new(dialect, super::super::Side::Server, limits);
        let start = now();
        let refused = |endpoint: &mut Endpoint, after, count: usize| {
            (0..count).filter(|_| endpoint.admit(start + Duration::from_secs(after), 0).is_err()).count()
        };
        assert_eq!(refused(&mut endpoint, 0, 80), 40, "those of four seconds at once");
        // Slowly enough, for ever.
        for second in 1..100 {
            assert_eq!(refused(&mut endpoint, second, 15), 5);
        }
        assert!(endpoint.poll_output().is_none());
        assert_eq!(refused(&mut endpoint, 100, 100), 90);
        let closed = endpoint.poll_output();
        assert!(matches!(closed, Some(super::super::Output::Close(_))), "{closed:?}");
        assert_eq!(meters.refused()["requests per second"], 40 + 99 * 5 + 90);
    }

    #[test]
    fn a_bucket_gives_its_rate_and_what_was_saved() {
        let start = now();
        let mut bucket = Bucket::new(10, 2);
        let taken = |bucket: &mut Bucket, at| (0..100).filter(|_| bucket.take(start + at, 1)).count();
        assert_eq!(taken(&mut bucket, Duration::ZERO), 20);
        assert_eq!(taken(&mut bucket, Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut bucket, Duration::from_millis(100)), 1);
        assert_eq!(taken(&mut bucket, Duration::from_millis(1100)), 10);
        assert_eq!(taken(&mut bucket, Duration::from_secs(3600)), 20, "it holds no more");
        // However often one looks, nothing is lost.
        let taken: usize = (0..=1000)
            .map(|ms| taken(&mut bucket, Duration::from_secs(3600) + Duration::from_millis(ms)))
            .sum();
        assert_eq!(taken, 10);
        assert!(!bucket.take(start + Duration::from_secs(9999), 21) && bucket.take(start, 20));
    }
}
