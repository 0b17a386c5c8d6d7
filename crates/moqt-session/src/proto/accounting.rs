//! Accounts for the groups of a subscription: each one of its range is delivered or reported, once.

use crate::model::{Runs, Sorted};

/// What became of each group in the range of a subscription that is served.
///
/// A group is open, under way, or settled: delivered, which means that the peer has acknowledged its stream up to the
/// end, or reported as a gap. Whoever settles a number by a gap is told by the return value what to report.
///
/// Spec: digest 5.3 and 5.4.
#[derive(Debug, Default)]
pub(crate) struct Accounting {
    first: Option<u64>,
    last: Option<u64>,
    /// The lowest group that was sent: where the range begins as long as nothing else says it.
    lowest: Option<u64>,
    /// Few where the peer keeps up.
    under_way: Sorted<u64, ()>,
    settled: Runs,
}

impl Accounting {
    /// Where the subscriber left the start to us: nothing before it is sent or reported.
    pub(crate) fn starts_at(&mut self, first: Option<u64>) {
        self.first = self.first.or(first);
    }

    /// The range is this now, where it is given. Returns the groups under way that it leaves out; they go on until
    /// they are [given up](Self::given_up).
    pub(crate) fn narrow(&mut self, first: Option<u64>, last: Option<u64>) -> Vec<u64> {
        (self.first, self.last) = (first.or(self.first), last.or(self.last));
        self.under_way.keys().filter(|&group| !self.wants(group)).collect()
    }

    fn wants(&self, group: u64) -> bool {
        self.first.is_none_or(|first| group >= first) && self.last.is_none_or(|last| group <= last)
    }

    /// A group is about to be sent. `false` if it may not be: it lies outside, or began or was settled before.
    pub(crate) fn begin(&mut self, group: u64) -> bool {
        if !self.wants(group) || self.settled.contains(group) || self.under_way.insert(group, ()).is_some() {
            return false;
        }
        self.lowest = Some(self.lowest.map_or(group, |lowest| lowest.min(group)));
        true
    }

    /// A group is under way no more; `false` if it was not.
    fn settle(&mut self, group: u64) -> bool {
        self.under_way.remove(group).is_some()
    }

    /// The peer has all of a group.
    pub(crate) fn delivered(&mut self, group: u64) {
        if self.settle(group) {
            self.settled.insert(group, group);
        }
    }

    /// The stream of a group was reset. Returns whether to report it.
    #[must_use]
    pub(crate) fn given_up(&mut self, group: u64) -> bool {
        self.settle(group) && self.settled.insert(group, group)
    }

    /// Groups will not come. Returns what of it to report; what is under way comes to an end of its own.
    #[must_use]
    pub(crate) fn missing(&mut self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let first = self.first.map_or(first, |wanted| first.max(wanted));
        let last = self.last.map_or(last, |wanted| last.min(wanted));
        if last < first {
            return Vec::new();
        }
        let mut report = Vec::new();
        for (mut from, to) in self.settled.missing(first, last) {
            for (group, ()) in self.under_way.range(from..=to) {
                if from < group {
                    report.push((from, group - 1));
                }
                from = group + 1;
            }
            if from <= to {
                report.push((from, to));
            }
        }
        for &(first, last) in &report {
            self.settled.insert(first, last);
        }
        report
    }

    /// Whether the range has an end.
    pub(crate) fn has_end(&self) -> bool {
        self.last.is_some()
    }

    /// Whether the range has an end and each group up to there is settled.
    pub(crate) fn is_complete(&self) -> bool {
        matches!((self.first.or(self.lowest), self.last), (Some(first), Some(last)) if self.settled.covers(first, last))
            && self.under_way.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn within(first: u64, last: u64) -> Accounting {
        let mut accounts = Accounting::default();
        accounts.narrow(Some(first), Some(last));
        accounts
    }

    #[test]
    fn a_range_is_complete_when_each_group_was_delivered_or_reported() {
        let mut accounts = within(3, 6);
        assert!(!accounts.begin(2) && !accounts.begin(7), "outside");
        assert!(accounts.begin(3) && accounts.begin(4) && !accounts.begin(4));
        assert_eq!(accounts.missing(0, 5), [(5, 5)]);
        assert_eq!(accounts.missing(5, 9), [(6, 6)]);
        assert!(!accounts.begin(5), "it was reported");
        accounts.delivered(3);
        assert!(!accounts.is_complete());
        assert!(accounts.given_up(4) && !accounts.given_up(4) && !accounts.given_up(3));
        assert!(accounts.is_complete());
    }

    #[test]
    fn a_range_that_begins_behind_its_end_has_nothing_to_wait_for() {
        let mut accounts = Accounting::default();
        accounts.narrow(None, Some(3));
        assert!(!accounts.is_complete(), "it is not known where it begins");
        accounts.starts_at(Some(9));
        assert!(accounts.is_complete());
    }

    #[test]
    fn a_range_on_a_track_that_was_empty_begins_with_the_first_group_that_comes() {
        let mut accounts = Accounting::default();
        accounts.narrow(None, Some(5));
        accounts.starts_at(None);
        assert!(accounts.begin(4) && accounts.begin(3));
        accounts.delivered(4);
        accounts.delivered(3);
        assert!(!accounts.is_complete());
        assert_eq!(accounts.missing(5, 8), [(5, 5)]);
        assert!(accounts.is_complete());
    }

    #[test]
    fn a_range_that_is_narrowed_leaves_out_groups_under_way() {
        let mut accounts = within(0, 9);
        assert!([0, 4, 8].into_iter().all(|group| accounts.begin(group)));
        assert_eq!(accounts.narrow(Some(2), Some(5)), [0, 8]);
        assert!(accounts.given_up(0) && accounts.given_up(8), "they had begun");
        assert_eq!(accounts.missing(0, 9), [(2, 3), (5, 5)]);
        accounts.delivered(4);
        assert!(accounts.is_complete());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Begin(u64),
        Deliver(u64),
        GiveUp(u64),
        Missing(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let group = 0..24_u64;
        prop_oneof![
            group.clone().prop_map(Step::Begin),
            group.clone().prop_map(Step::Deliver),
            group.clone().prop_map(Step::GiveUp),
            (group, 0..6_u64).prop_map(|(first, more)| Step::Missing(first, first + more)),
        ]
    }

    proptest! {
        #[test]
        fn in_whatever_order_each_group_is_delivered_or_reported_exactly_once(
            steps in proptest::collection::vec(step(), 0..100),
            (first, last) in (0..20_u64, 0..24_u64),
        ) {
            let mut accounts = within(first, last);
            let mut under_way = std::collections::BTreeSet::new();
            let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
            let mut count = |first: u64, last: u64| {
                (first..=last).for_each(|group| *counts.entry(group).or_default() += 1);
            };
            // In the end every stream ends, and the publisher knows of every number.
            let ends = (0..30).map(Step::Deliver).chain([Step::Missing(0, 30)]);
            for step in steps.into_iter().chain(ends) {
                match step {
                    Step::Begin(group) => {
                        if accounts.begin(group) {
                            prop_assert!(under_way.insert(group));
                        }
                    }
                    Step::Deliver(group) => {
                        accounts.delivered(group);
                        if under_way.remove(&group) {
                            count(group, group);
                        }
                    }
                    Step::GiveUp(group) => {
                        let reported = accounts.given_up(group);
                        prop_assert_eq!(reported, under_way.remove(&group));
                        if reported {
                            count(group, group);
                        }
                    }
                    Step::Missing(first, last) => {
                        accounts.missing(first, last).into_iter().for_each(|(first, last)| count(first, last));
                    }
                }
            }
            prop_assert!(accounts.is_complete());
            prop_assert_eq!(counts, (first..=last).map(|group| (group, 1)).collect::<BTreeMap<_, _>>());
        }
    }
}
