//! Sets of group numbers, as runs of neighbours.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Numbers, as runs: one left out for ever costs one run, not all that come after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// The run of the highest numbers, mostly the only one.
    newest: Option<(u64, u64)>,
    /// The last number of each run below it, by its first.
    below: BTreeMap<u64, u64>,
}

impl Runs {
    /// Adds `first` to `last`. `false` if all of them were there before.
    pub(crate) fn insert(&mut self, first: u64, last: u64) -> bool {
        // Mostly numbers go on from the newest.
        if let Some((start, end)) = &mut self.newest
            && *start <= first
            && first <= end.saturating_add(1)
        {
            let grows = last > *end;
            *end = last.max(*end);
            return grows;
        }
        if let Some((start, end)) = self.newest.take() {
            self.below.insert(start, end);
        }
        let new = self.insert_below(first, last);
        self.newest = self.below.pop_last();
        new
    }

    /// The same where all runs are below the newest.
    fn insert_below(&mut self, mut first: u64, mut last: u64) -> bool {
        // All that overlap or touch, from above; runs do not touch each other.
        while let Some((start, end)) = self.before(last.saturating_add(1)) {
            if end.saturating_add(1) < first {
                break;
            }
            if start <= first && end >= last {
                return false;
            }
            self.below.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.below.insert(first, last);
        true
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.before(number).is_some_and(|(_, end)| number <= end)
    }

    /// Which of `first` to `last` are not there, as runs in order.
    pub(crate) fn missing(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut from = first;
        for (start, end) in self.from(first) {
            if start > last || from > last {
                break;
            }
            if start > from {
                missing.push((from, start - 1));
            }
            match end.checked_add(1) {
                Some(after) => from = from.max(after),
                None => return missing,
            }
        }
        if from <= last {
            missing.push((from, last));
        }
        missing
    }

    /// Whether all of `first` to `last` are there.
    pub(crate) fn covers(&self, first: u64, last: u64) -> bool {
        first > last || self.before(first).is_some_and(|(_, end)| end >= last)
    }

    /// Which of `first` to `last` are there, as runs in order.
    pub(crate) fn within(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        self.from(first)
            .take_while(|(start, _)| *start <= last)
            .map(|(start, end)| (start.max(first), end.min(last)))
            .filter(|(start, end)| start <= end)
            .collect()
    }

    /// Adds whatever lies between the two lowest runs, so that there is one run less.
    pub(crate) fn join_lowest(&mut self) {
        let mut ends = self.iter();
        if let (Some((first, _)), Some((_, last))) = (ends.next(), ends.next()) {
            drop(ends);
            self.insert(first, last);
        }
    }

    /// The runs in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.below.iter().map(|(&first, &last)| (first, last)).chain(self.newest)
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.below.len() + usize::from(self.newest.is_some())
    }

    /// The run that starts last at or below `number`.
    fn before(&self, number: u64) -> Option<(u64, u64)> {
        self.newest
            .filter(|(first, _)| *first <= number)
            .or_else(|| self.below.range(..=number).next_back().map(|(&first, &last)| (first, last)))
    }

    /// The run that starts last at or below `number`, and all above it.
    fn from(&self, number: u64) -> impl Iterator<Item = (u64, u64)> {
        let start = self.before(number).map_or(number, |(start, _)| start);
        let newest = self.newest.filter(|(first, _)| *first >= start);
        self.below.range(start..).map(|(&first, &last)| (first, last)).chain(newest)
    }
}

/// Which numbers are settled, from 0 to the highest: all but the holes, which may still be filled.
#[derive(Debug, Default)]
pub(super) struct Holes {
    highest: Option<u64>,
    /// The last number of each hole and since when it gapes, by its first. New ones open at the top, so the lowest
    /// is the oldest.
    open: BTreeMap<u64, (u64, Instant)>,
}

impl Holes {
    /// The highest number that is settled.
    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// The number above the highest; `None` where numbers end.
    fn next(&self) -> Option<u64> {
        self.highest.map_or(Some(0), |highest| highest.checked_add(1))
    }

    /// The numbers from `first` to `last` are settled; those between them and the highest before become a hole.
    pub(super) fn settle(&mut self, first: u64, last: u64, now: Instant) {
        if let Some(next) = self.next().filter(|next| *next < first) {
            self.open.insert(next, (first - 1, now));
        }
        while let Some((&start, &(end, since))) = self.open.range(..=last).next_back() {
            if end < first {
                break;
            }
            self.open.remove(&start);
            if end > last {
                self.open.insert(last + 1, (end, since));
            }
            if start < first {
                self.open.insert(start, (first - 1, since));
            }
        }
        self.highest = self.highest.max(Some(last));
    }

    /// Whether a number is settled.
    pub(super) fn is_settled(&self, number: u64) -> bool {
        let hole = || self.open.range(..=number).next_back();
        self.highest >= Some(number) && hole().is_none_or(|(_, &(last, _))| last < number)
    }

    /// Settles the lowest hole, if `when` says so of its last number and its beginning.
    pub(super) fn give_up(&mut self, when: impl FnOnce(u64, Instant) -> bool) -> Option<(u64, u64)> {
        let (&first, &(last, since)) = self.open.first_key_value()?;
        when(last, since).then(|| self.open.remove(&first)).flatten().map(|(last, _)| (first, last))
    }

    /// Since when the oldest hole gapes.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.open.first_key_value().map(|(_, &(_, since))| since)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Which of `first` to `last` are not settled, as runs in order.
    pub(super) fn within(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let start = self.open.range(..=first).next_back().map_or(first, |(&start, _)| start);
        let above = self.next().map(|next| next.max(first)).filter(|above| *above <= last);
        self.open
            .range(start..)
            .take_while(|(start, _)| **start <= last)
            .map(|(&start, &(end, _))| (start.max(first), end.min(last)))
            .filter(|(start, end)| start <= end)
            .chain(above.map(|above| (above, last)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::clock::now;

    fn runs(numbers: &BTreeSet<u64>, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &number in numbers.range(first..=last) {
            match runs.last_mut() {
                Some((_, end)) if *end + 1 == number => *end = number,
                _ => runs.push((number, number)),
            }
        }
        runs
    }

    fn spans() -> impl Strategy<Value = Vec<(u64, u64)>> {
        proptest::collection::vec(
            (0..60_u64, 0..8_u64).prop_map(|(first, more)| (first, first + more)),
            0..30,
        )
    }

    proptest! {
        #[test]
        fn runs_are_the_set_that_they_stand_for(spans in spans(), (first, last) in (0..70_u64, 0..70_u64)) {
            let (mut set, mut model) = (Runs::default(), BTreeSet::new());
            for (first, last) in spans {
                let new = (first..=last).any(|number| !model.contains(&number));
                prop_assert_eq!(set.insert(first, last), new);
                model.extend(first..=last);
            }
            prop_assert_eq!(set.len(), runs(&model, 0, 100).len());
            let absent = (0..100).filter(|number| !model.contains(number)).collect();
            if first <= last {
                prop_assert_eq!(set.missing(first, last), runs(&absent, first, last));
                prop_assert_eq!(set.within(first, last), runs(&model, first, last));
            }
            let mut joined = set.clone();
            joined.join_lowest();
            prop_assert_eq!(joined.len(), set.len().max(2) - 1 - usize::from(set.len() == 0));
            prop_assert!(model.iter().all(|&number| joined.contains(number)));
            prop_assert_eq!(set.contains(first), model.contains(&first));
            prop_assert_eq!(set.covers(first, last), (first..=last).all(|number| model.contains(&number)));
        }

        #[test]
        fn holes_are_what_is_not_settled(spans in spans(), (first, last) in (0..70_u64, 0..70_u64)) {
            let (mut holes, mut model) = (Holes::default(), BTreeSet::new());
            for (first, last) in spans {
                holes.settle(first, last, now());
                model.extend(first..=last);
            }
            prop_assert_eq!(holes.highest(), model.last().copied());
            let absent: BTreeSet<u64> = (0..100).filter(|number| !model.contains(number)).collect();
            prop_assert_eq!(holes.len(), runs(&absent, 0, model.last().copied().unwrap_or(0)).len() - usize::from(model.is_empty()));
            let found: Vec<u64> = holes.within(first, last).into_iter().flat_map(|(first, last)| first..=last).collect();
            let expected: Vec<u64> = absent.iter().copied().filter(|number| (first..=last).contains(number)).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(holes.is_settled(first), model.contains(&first));
        }
    }

    #[test]
    fn the_ends_of_the_number_space_are_no_trouble() {
        let mut set = Runs::default();
        assert!(set.insert(u64::MAX, u64::MAX) && set.insert(0, 0) && !set.insert(u64::MAX, u64::MAX));
        assert_eq!(set.missing(0, u64::MAX), [(1, u64::MAX - 1)]);
        assert!(set.insert(0, u64::MAX) && set.covers(0, u64::MAX));
        assert_eq!((set.len(), set.missing(5, u64::MAX)), (1, vec![]));
        let mut holes = Holes::default();
        holes.settle(u64::MAX, u64::MAX, now());
        holes.settle(3, 3, now());
        assert_eq!(holes.within(0, u64::MAX), [(0, 2), (4, u64::MAX - 1)]);
    }
}
