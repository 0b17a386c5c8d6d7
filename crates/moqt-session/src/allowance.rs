//! How much a peer may bring in a second, for one session or for all of a source.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::Span;

use crate::{meters::Meters, proto::Limits};

/// Seconds whose payload, or whose requests of a source, may come at once.
const AT_ONCE: u64 = 4;

/// Of the names of a second, the part that may come at once. Those beyond it only wait; what comes at once keeps others
/// waiting.
const NAMES_AT_ONCE: u64 = 8;

/// What all sessions of one source, such as an address, may bring together. Clones are the same allowance: give one
/// to each session of the source, as [`Limits::source`].
///
/// What is not used of it is saved: requests and payload for four seconds, names for an eighth of one.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    rates: Option<Arc<Rates>>,
}

#[derive(Debug)]
struct Rates {
    requests: Rate,
    payload: Rate,
    names: Rate,
}

impl Allowance {
    /// As much as each session may.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// So many requests, bytes of groups, and names that come or go, in a second. One request too many is refused, a
    /// group that brings too much is stopped; both with the code for "too many". Names that come too fast are read
    /// later.
    #[must_use]
    pub fn new(requests_per_second: u64, payload_bytes_per_second: u64, names_per_second: u64) -> Self {
        let rates = Rates {
            requests: Rate::new(requests_per_second),
            payload: Rate::new(payload_bytes_per_second),
            names: Rate::of_names(names_per_second),
        };
        Self { rates: Some(Arc::new(rates)) }
    }

    /// Whether both are clones of one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.rates, &other.rates) {
            (Some(mine), Some(other)) => Arc::ptr_eq(mine, other),
            (mine, other) => mine.is_none() && other.is_none(),
        }
    }

    pub(crate) fn request(&self, now: Instant) -> bool {
        self.rates.as_ref().is_none_or(|rates| rates.requests.take(now, 1))
    }

    fn payload(&self, now: Instant, bytes: u64) -> bool {
        self.rates.as_ref().is_none_or(|rates| rates.payload.take(now, bytes))
    }

    fn name(&self, now: Instant) -> Duration {
        self.rates.as_ref().map_or(Duration::ZERO, |rates| rates.names.owe(now, 1))
    }
}

/// So much a second, without a lock.
#[derive(Debug)]
struct Rate {
    per_second: u64,
    /// How much may be saved.
    at_once: u64,
    began: OnceLock<Instant>,
    /// How much would be used up at the rate if it had come evenly: never less than what time has given.
    used: AtomicU64,
}

impl Rate {
    fn new(per_second: u64) -> Self {
        Self::saving(per_second, per_second.saturating_mul(AT_ONCE))
    }

    fn of_names(per_second: u64) -> Self {
        Self::saving(per_second, (per_second / NAMES_AT_ONCE).max(1))
    }

    fn saving(per_second: u64, at_once: u64) -> Self {
        Self { per_second, at_once, began: OnceLock::new(), used: AtomicU64::new(0) }
    }

    /// What time has given, and what may be used with all that is saved.
    fn bounds(&self, now: Instant) -> (u64, u64) {
        let began = *self.began.get_or_init(|| now);
        let since = now.saturating_duration_since(began).as_nanos();
        let given = since.saturating_mul(self.per_second.into()) / Duration::from_secs(1).as_nanos();
        let given = u64::try_from(given).unwrap_or(u64::MAX);
        (given, given.saturating_add(self.at_once))
    }

    /// Takes `amount`, if there is as much.
    fn take(&self, now: Instant, amount: u64) -> bool {
        let (given, most) = self.bounds(now);
        let take = |used: u64| Some(used.max(given).saturating_add(amount)).filter(|used| *used <= most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Takes `amount` in any case. Returns after which time it would have been there.
    fn owe(&self, now: Instant, amount: u64) -> Duration {
        let (given, most) = self.bounds(now);
        let owe = |used: u64| Some(used.max(given).saturating_add(amount));
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, owe).unwrap_or_default();
        let owed = before.max(given).saturating_add(amount).saturating_sub(most);
        Duration::from_secs_f64(owed as f64 / self.per_second.max(1) as f64)
    }
}

/// What comes in through one session, against its limits.
#[derive(Debug)]
pub(crate) struct Intake {
    payload: Rate,
    names: Rate,
    source: Allowance,
    meters: Meters,
    told: AtomicBool,
    /// The session's.
    span: Span,
}

impl Intake {
    pub(crate) fn new(limits: &Limits, span: Span) -> Arc<Self> {
        Arc::new(Self {
            payload: Rate::new(limits.payload_bytes_per_second),
            names: Rate::of_names(limits.names_per_second.into()),
            source: limits.source.clone(),
            meters: limits.meters.clone(),
            told: AtomicBool::new(false),
            span,
        })
    }

    /// Where a log line of what comes in belongs.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// So many bytes of a group came; `false` where they are too many.
    pub(crate) fn take(&self, now: Instant, bytes: u64) -> bool {
        let limit = if !self.payload.take(now, bytes) {
            "payload bytes per second"
        } else if !self.source.payload(now, bytes) {
            "payload bytes per second of a source"
        } else {
            return true;
        };
        self.reached(limit);
        false
    }

    /// A name came or went. Returns how long what follows has to wait.
    pub(crate) fn name(&self, now: Instant) -> Duration {
        let (mine, all) = (self.names.owe(now, 1), self.source.name(now));
        let wait = mine.max(all);
        if !wait.is_zero() {
            self.reached(if mine >= all { "names per second" } else { "names per second of a source" });
        }
        wait
    }

    fn reached(&self, limit: &'static str) {
        self.meters.reaches(limit);
        // A flood is worth one line.
        if !self.told.swap(true, Ordering::Relaxed) {
            self.span.in_scope(|| tracing::warn!(limit, "limit reached"));
        }
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
            assert_eq!(
                rate.owe(now() + Duration::from_secs(second), u64::MAX / 8),
                Duration::ZERO,
                "{second}"
            );
        }
    }

    #[test]
    fn what_is_owed_is_there_after_the_time_that_is_told() {
        let (rate, start) = (Rate::saving(10, 10), now());
        let after = |at: u64| rate.owe(start + Duration::from_millis(at), 1).as_millis();
        assert_eq!([(); 10].map(|()| after(0)), [0; 10]);
        assert_eq!([after(0), after(0), after(0)], [100, 200, 300]);
        // Who waits as long as told has the rate, and no more.
        assert_eq!([after(300), after(400), after(500)], [100, 100, 100]);
        assert_eq!([(); 11].map(|()| after(3_600_000))[9..], [0, 100], "it saves no more");
        assert!(Rate::of_names(0).owe(start, 5) >= Duration::from_secs(4));
    }

    #[test]
    fn clones_of_an_allowance_share_it() {
        let (allowance, start) = (Allowance::new(1, 100, 80), now());
        let other = allowance.clone();
        assert_eq!((0..10).filter(|_| allowance.request(start) | other.request(start)).count(), 2);
        assert!(allowance.payload(start, 300) && !other.payload(start, 101) && other.payload(start, 100));
        assert_eq!([(); 10].map(|()| allowance.name(start)), [Duration::ZERO; 10]);
        assert_eq!(other.name(start), Duration::from_micros(12_500));
        assert!(Allowance::unlimited().request(start) && Allowance::unlimited().name(start).is_zero());
    }
}
