//! Latency, frames and bytes of one kind of track, over all its readers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

use super::{
    frame::Stamp,
    ledger::{Groups, Ledger},
};

/// Intervals of a run; later ones count into the last.
const MAX_INTERVALS: usize = 20_000;

/// Microseconds, by what share of the frames took less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// Half of them.
    pub p50: u64,
    /// 90 of 100.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// All.
    pub max: u64,
}

/// A histogram of durations, exact to a thousandth.
#[derive(Clone, Debug)]
pub struct Durations(Option<Histogram<u64>>);

impl Default for Durations {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 3_600_000_000, 3).ok())
    }
}

impl Durations {
    /// Adds one.
    pub fn record(&mut self, microseconds: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(microseconds.max(1));
        }
    }

    /// What was recorded.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        self.0.as_ref().map_or_else(Percentiles::default, percentiles)
    }
}

fn percentiles<C: hdrhistogram::Counter>(histogram: &Histogram<C>) -> Percentiles {
    let at = |quantile| histogram.value_at_quantile(quantile);
    Percentiles {
        count: histogram.len(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max(),
    }
}

/// What arrived of what was written within one interval.
#[derive(Clone, Debug)]
struct Slot {
    latency: Option<Histogram<u32>>,
    bytes: u64,
}

/// The same, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// When it began, by the common clock.
    pub at_ns: u64,
    /// Payload bytes that arrived, whenever.
    pub bytes: u64,
    /// Of frames.
    pub latency: Percentiles,
}

#[derive(Debug, Default)]
struct State {
    latency: Durations,
    answer: Durations,
    first_ns: Option<u64>,
    last_ns: u64,
    slots: Vec<Slot>,
    totals: Totals,
}

/// Counts of one kind of track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames that came whole.
    pub frames: u64,
    /// Their payload.
    pub bytes: u64,
    /// Frames that were not what was written, or not where they belong.
    pub damaged: u64,
    /// Groups.
    pub groups: Groups,
    /// Readers that got at least one frame.
    pub served: u64,
    /// Readers that saw the track end by an error.
    pub broken: u64,
}

/// How a reader's track ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The publisher finished it.
    Finished,
    /// By an error.
    Broken,
    /// Not at all: the reader had to stop.
    Stopped,
}

/// Counts one kind of track. Shared by its readers.
#[derive(Debug)]
pub struct Meter {
    warmup_ns: u64,
    interval_ns: u64,
    state: Mutex<State>,
}

impl Meter {
    /// Leaves out the latency of frames written within `warmup` of the first; cuts the run into pieces of `interval`
    /// unless it is zero.
    #[must_use]
    pub fn new(warmup: Duration, interval: Duration) -> Self {
        let (warmup_ns, interval_ns) = (warmup.as_nanos() as u64, interval.as_nanos() as u64);
        Self { warmup_ns, interval_ns, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame came whole at `now_ns`.
    pub fn frame(&self, stamp: &Stamp, len: usize, now_ns: u64) {
        let mut state = self.lock();
        let first = *state.first_ns.get_or_insert(stamp.sent_ns);
        let latency = now_ns.saturating_sub(stamp.sent_ns) / 1000;
        state.last_ns = state.last_ns.max(now_ns);
        state.totals.frames += 1;
        state.totals.bytes += len as u64;
        let age = stamp.sent_ns.saturating_sub(first);
        if age >= self.warmup_ns {
            state.latency.record(latency);
        }
        if let Some(at) = age.checked_div(self.interval_ns) {
            let at = usize::try_from(at).unwrap_or(usize::MAX).min(MAX_INTERVALS);
            while state.slots.len() <= at {
                state
                    .slots
                    .push(Slot { latency: Histogram::new_with_bounds(1, 600_000_000, 2).ok(), bytes: 0 });
            }
            if let Some(slot) = state.slots.get_mut(at) {
                slot.bytes += len as u64;
                if let Some(histogram) = &mut slot.latency {
                    histogram.saturating_record(latency.max(1));
                }
            }
        }
    }

    /// A frame came that is not what was written there.
    pub fn damaged(&self) {
        self.lock().totals.damaged += 1;
    }

    /// A reader was told so long after it asked that it gets the track.
    pub fn answered(&self, after: Duration) {
        self.lock().answer.record(after.as_micros() as u64);
    }

    /// A reader had its first frame.
    pub fn served(&self) {
        self.lock().totals.served += 1;
    }

    /// A reader is through, and was to get groups up to `last`.
    pub fn close(&self, ledger: Ledger, last: Option<u64>, end: End) {
        let groups = ledger.close(last, end == End::Stopped);
        let mut state = self.lock();
        state.totals.groups.add(groups);
        state.totals.broken += u64::from(end == End::Broken);
    }

    /// Counts.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Of frames, from write to last byte.
    #[must_use]
    pub fn latency(&self) -> Percentiles {
        self.lock().latency.percentiles()
    }

    /// Of readers, from asking for the track to the answer.
    #[must_use]
    pub fn answer(&self) -> Percentiles {
        self.lock().answer.percentiles()
    }

    /// From the first frame written to the last one read, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let state = self.lock();
        state.first_ns.map_or(0.0, |first| state.last_ns.saturating_sub(first) as f64 / 1e9)
    }

    /// The run in pieces.
    #[must_use]
    pub fn intervals(&self) -> Vec<Interval> {
        let state = self.lock();
        let first = state.first_ns.unwrap_or(0);
        let interval = |(at, slot): (usize, &Slot)| Interval {
            at_ns: first + at as u64 * self.interval_ns,
            bytes: slot.bytes,
            latency: slot.latency.as_ref().map_or_else(Percentiles::default, percentiles),
        };
        state.slots.iter().enumerate().map(interval).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn sent(at_ms: u64) -> Stamp {
        Stamp { sent_ns: at_ms * MS, ..Stamp::default() }
    }

    #[test]
    fn the_warmup_counts_frames_but_not_their_latency() {
        let meter = Meter::new(Duration::from_millis(100), Duration::ZERO);
        meter.frame(&sent(1000), 10, 1500 * MS);
        meter.frame(&sent(1099), 10, 1599 * MS);
        meter.frame(&sent(1100), 10, 1103 * MS);
        assert_eq!(meter.totals().frames, 3);
        let latency = meter.latency();
        assert_eq!(latency.count, 1);
        assert!((2999..=3003).contains(&latency.max), "{latency:?}");
        assert!(meter.intervals().is_empty());
    }

    #[test]
    fn intervals_go_by_when_a_frame_was_written() {
        let meter = Meter::new(Duration::ZERO, Duration::from_millis(200));
        for at in [0, 100, 199, 200, 650] {
            meter.frame(&sent(10_000 + at), 7, (12_000 + at) * MS);
        }
        let intervals = meter.intervals();
        let counts: Vec<_> = intervals.iter().map(|interval| interval.latency.count).collect();
        assert_eq!(counts, [3, 1, 0, 1]);
        assert_eq!(intervals[3].at_ns, 10_600 * MS);
    }
}
