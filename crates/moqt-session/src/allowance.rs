//! How much a peer may bring in a second, for one session or for all of a source.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{meters::Meters, proto::Limits};

/// Seconds whose payload, or whose requests of a source, may come at once.
const AT_ONCE: u64 = 4;

/// What all sessions of one source, such as an address, may bring together. Clones are the same allowance: give one
/// to each session of the source, as [`Limits::source`].
///
/// What is not used of it is saved for four seconds.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    rates: Option<Arc<(Rate, Rate)>>,
}

impl Allowance {
    /// As much as each session may.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// So many requests, and so many bytes of groups, in a second. One request too many is refused, a group that
    /// brings too much is stopped; both with the code for "too many".
    #[must_use]
    pub fn new(requests_per_second: u64, payload_bytes_per_second: u64) -> Self {
        let rates = (Rate::new(requests_per_second), Rate::new(payload_bytes_per_second));
        Self { rates: Some(Arc::new(rates)) }
    }

    pub(crate) fn request(&self, now: Instant) -> bool {
        self.rates.as_ref().is_none_or(|rates| rates.0.take(now, 1))
    }

    fn payload(&self, now: Instant, bytes: u64) -> bool {
        self.rates.as_ref().is_none_or(|rates| rates.1.take(now, bytes))
    }
}

/// So much a second, without a lock.
#[derive(Debug)]
struct Rate {
    per_second: u64,
    began: OnceLock<Instant>,
    /// How much would be used up at the rate if it had come evenly: never less than what time has given.
    used: AtomicU64,
}

impl Rate {
    fn new(per_second: u64) -> Self {
        Self { per_second, began: OnceLock::new(), used: AtomicU64::new(0) }
    }

    /// Takes `amount`, if there is as much.
    fn take(&self, now: Instant, amount: u64) -> bool {
        let began = *self.began.get_or_init(|| now);
        let since = now.saturating_duration_since(began).as_nanos();
        let given = since.saturating_mul(self.per_second.into()) / Duration::from_secs(1).as_nanos();
        let given = u64::try_from(given).unwrap_or(u64::MAX);
        let most = given.saturating_add(self.per_second.saturating_mul(AT_ONCE));
        let take = |used: u64| Some(used.max(given).saturating_add(amount)).filter(|used| *used <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// What comes in through one session, against its limits.
#[derive(Debug)]
pub(crate) struct Intake {
    session: Rate,
    source: Allowance,
    meters: Meters,
    told: AtomicBool,
}

impl Intake {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            session: Rate::new(limits.payload_bytes_per_second),
            source: limits.source.clone(),
            meters: limits.meters.clone(),
            told: AtomicBool::new(false),
        })
    }

    /// So many bytes of a group came; `false` where they are too many.
    pub(crate) fn take(&self, now: Instant, bytes: u64) -> bool {
        let limit = if !self.session.take(now, bytes) {
            "payload bytes per second"
        } else if !self.source.payload(now, bytes) {
            "payload bytes per second of a source"
        } else {
            return true;
        };
        self.meters.reaches(limit);
        // A flood is worth one line.
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(limit, "limit reached");
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now;

    #[test]
    fn a_rate_gives_what_it_says_and_saves_four_seconds_of_it() {
        let (rate, start) = (Rate::new(10), now());
        let taken = |at: u64| {
            let at = start + Duration::from_millis(at);
            (0..1000).filter(|_| rate.take(at, 1)).count()
        };
        assert_eq!(taken(0), 40);
        assert_eq!(taken(99), 0);
        assert_eq!(taken(100), 1);
        assert_eq!(taken(1100), 10);
        assert_eq!(taken(3_600_000), 40, "it saves no more");
        assert_eq!((3_600_000..=3_610_000).map(taken).sum::<usize>(), 100, "however often one looks");
        assert!(!rate.take(start + Duration::from_secs(9999), 41));
        assert!(rate.take(start + Duration::from_secs(9999), 40));
    }

    #[test]
    fn a_rate_without_bounds_never_runs_dry() {
        let rate = Rate::new(u64::MAX);
        for second in 0..100 {
            assert!(rate.take(now() + Duration::from_secs(second), u64::MAX / 8), "{second}");
        }
    }

    #[test]
    fn clones_of_an_allowance_share_it() {
        let (allowance, start) = (Allowance::new(1, 100), now());
        let other = allowance.clone();
        assert_eq!((0..10).filter(|_| allowance.request(start) | other.request(start)).count(), 2);
        assert!(allowance.payload(start, 300) && !other.payload(start, 101) && other.payload(start, 100));
        assert!(Allowance::unlimited().request(start));
    }
}
