//! What became of each group that one reader of one track was to get.

use std::collections::VecDeque;

/// Groups after which the oldest is counted as it stands. More than any relay keeps.
const LATEST: usize = 1 << 16;

const WHOLE: u8 = 1;
const CUT: u8 = 2;
const GAP: u8 = 4;

/// Totals of groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// That a reader was to get, from its first one on.
    pub expected: u64,
    /// That came whole, each frame as it was written.
    pub whole: u64,
    /// That did not.
    pub lost: u64,
    /// Of the lost, those that had begun to come.
    pub cut: u64,
    /// Of the lost, those that a gap was reported for.
    pub reported: u64,
    /// Of the lost, those that nobody said a word about.
    pub unreported: u64,
    /// Reported as a gap, and whole all the same.
    pub reported_whole: u64,
    /// Neither whole nor lost when the reader had to stop: still on their way, for all it knew.
    pub pending: u64,
}

impl Groups {
    /// Adds those of another reader.
    pub fn add(&mut self, other: Self) {
        self.expected += other.expected;
        self.whole += other.whole;
        self.lost += other.lost;
        self.cut += other.cut;
        self.reported += other.reported;
        self.unreported += other.unreported;
        self.reported_whole += other.reported_whole;
        self.pending += other.pending;
    }
}

/// One reader's book of a track. Numbers are expected without holes, from the first that is heard of.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    first: Option<u64>,
    /// What is known of the groups from `first` on.
    open: VecDeque<u8>,
    settled: Groups,
}

impl Ledger {
    /// The group came, and was whole.
    pub fn whole(&mut self, group: u64) {
        self.mark(group, group, WHOLE);
    }

    /// The group began, and broke off.
    pub fn cut(&mut self, group: u64) {
        self.mark(group, group, CUT);
    }

    /// Groups were reported missing.
    pub fn gap(&mut self, first: u64, last: u64) {
        self.mark(first, last, GAP);
    }

    /// The group began: from it on, all are expected.
    pub fn begun(&mut self, group: u64) {
        self.mark(group, group, 0);
    }

    /// Totals, with all groups up to `last` expected. A reader that was `stopped` before the track's end cannot know
    /// what would have become of those that it has heard nothing final of.
    #[must_use]
    pub fn close(mut self, last: Option<u64>, stopped: bool) -> Groups {
        if let (Some(last), Some(_)) = (last, self.first) {
            self.mark(last, last, 0);
        }
        while let Some(state) = self.open.front() {
            if stopped && *state == 0 {
                self.open.pop_front();
                self.settled.expected += 1;
                self.settled.pending += 1;
            } else {
                self.settle_oldest();
            }
        }
        self.settled
    }

    fn mark(&mut self, first: u64, last: u64, what: u8) {
        let mut start = *self.first.get_or_insert(first);
        // Before anything is settled, an older one may still turn out to be the first.
        while first < start && self.settled.expected == 0 && self.open.len() < LATEST {
            self.open.push_front(0);
            start -= 1;
            self.first = Some(start);
        }
        // A peer may claim any number; what is far ahead is counted up to a bound.
        let last = last.min(start.saturating_add(2 * LATEST as u64));
        for group in first.max(start)..=last {
            let at = (group - start) as usize;
            if self.open.len() <= at {
                self.open.resize(at + 1, 0);
            }
            if let Some(state) = self.open.get_mut(at) {
                *state |= what;
            }
        }
        while self.open.len() > LATEST {
            self.settle_oldest();
        }
    }

    fn settle_oldest(&mut self) -> bool {
        let Some(state) = self.open.pop_front() else { return false };
        self.first = self.first.map(|first| first + 1);
        let groups = &mut self.settled;
        groups.expected += 1;
        if state & WHOLE != 0 {
            groups.whole += 1;
            groups.reported_whole += u64::from(state & GAP != 0);
        } else {
            groups.lost += 1;
            groups.cut += u64::from(state & CUT != 0);
            let reported = state & GAP != 0;
            groups.reported += u64::from(reported);
            groups.unreported += u64::from(!reported);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_is_counted_once_by_its_fate() {
        let mut ledger = Ledger::default();
        for group in 5..=14 {
            match group {
                7 => ledger.cut(7),
                8 => ledger.cut(8),
                9..=11 => {}
                group => ledger.whole(group),
            }
        }
        ledger.gap(8, 10);
        ledger.gap(14, 14);
        let counts = Groups { expected: 12, whole: 5, cut: 2, reported_whole: 1, ..Groups::default() };
        let ended = Groups { lost: 7, reported: 3, unreported: 4, ..counts };
        assert_eq!(ledger.clone().close(Some(16), false), ended);
        // What broke off without a word is unreported all the same; 11, 15 and 16 might have come.
        let stopped = Groups { lost: 4, reported: 3, unreported: 1, pending: 3, ..counts };
        assert_eq!(ledger.close(Some(16), true), stopped);
    }

    #[test]
    fn a_reader_that_heard_of_nothing_was_to_get_nothing() {
        assert_eq!(Ledger::default().close(Some(100), false), Groups::default());
    }

    #[test]
    fn an_older_group_that_comes_second_is_the_first() {
        let mut ledger = Ledger::default();
        ledger.whole(4);
        ledger.whole(2);
        let groups = ledger.close(None, false);
        assert_eq!((groups.expected, groups.whole, groups.unreported), (3, 2, 1));
    }

    #[test]
    fn a_long_run_is_settled_on_the_way() {
        let mut ledger = Ledger::default();
        let count = 3 * LATEST as u64;
        for group in 0..count {
            ledger.whole(group);
        }
        assert!(ledger.open.len() <= LATEST);
        assert_eq!(ledger.close(None, false).whole, count);
    }
}
