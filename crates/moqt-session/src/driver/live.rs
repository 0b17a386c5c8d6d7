//! The groups of one subscription that are being sent, and their places among each other.

use std::time::Duration;

use tokio::time::Instant;

use super::{egress::Rank, queue::ROOM};
use crate::{
    model::{GroupSize, Sorted},
    proto::SendOrder,
};

/// A group stream that is open, or waits to be.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) rank: Rank,
    size: GroupSize,
    begun: Instant,
    /// Since when there is a newer group.
    pub(super) superseded: Option<Instant>,
    /// Whether it had all but left when a newer group began.
    almost_out: bool,
}

/// How much of a group may be left for it to be finished before a newer one begins: what came within this time.
const ALMOST_OUT: Duration = Duration::from_millis(100);

/// How much payload groups of a subscription may have together that share a place.
///
/// With a place each, those of a track of many small groups stand below the one group of another track of the same
/// rank, all but the first: on a link that the other one fills they would wait for ever. So they stand beside the
/// first, and the order among them is lost for no longer than it takes to send so much.
const SHARING: u64 = 4 << 10;

impl Live {
    pub(super) fn new(rank: Rank, size: GroupSize, begun: Instant) -> Self {
        Self { rank, size, begun, superseded: None, almost_out: false }
    }

    /// What the connection has not taken yet; at least 1 where it has not taken the stream's header.
    pub(super) fn bytes_left(&self) -> u64 {
        let sent = self.rank.bytes_sent();
        self.size.payload().saturating_sub(sent).max(u64::from(sent == 0))
    }

    /// There is a newer group, or one more. Near saturation that one leaves little room, in which the end of this one
    /// would starve although nearly all of it is there; so what has all but left goes ahead, and stays there unless it
    /// grows on.
    fn supersede(&mut self, at: Instant) {
        if self.superseded.is_some() && !self.almost_out {
            return;
        }
        let (sent, left) = (u128::from(self.rank.bytes_sent()), u128::from(self.bytes_left()));
        let age = || at.saturating_duration_since(self.begun).as_millis();
        let little = left == 0 || left <= sent && left * age() <= (sent + left) * ALMOST_OUT.as_millis();
        self.almost_out = little && (self.almost_out || self.superseded.is_none());
        self.superseded.get_or_insert(at);
    }
}

/// Group streams that are open, by number.
#[derive(Debug, Default)]
pub(super) struct LiveGroups(Sorted<u64, Live>);

impl LiveGroups {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a newer group than the oldest.
    pub(super) fn are_behind(&self) -> bool {
        self.0.first().is_some_and(|(_, oldest)| oldest.superseded.is_some())
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.0.contains(sequence)
    }

    /// The number of the newest one.
    fn newest(&self) -> Option<u64> {
        self.0.last().map(|(sequence, _)| sequence)
    }

    pub(super) fn get_mut(&mut self, sequence: u64) -> Option<&mut Live> {
        self.0.get_mut(sequence)
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Live> {
        self.0.remove(sequence)
    }

    /// All, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Live)> {
        self.0.iter()
    }

    /// Those from this number on.
    pub(super) fn from(&self, sequence: u64) -> impl Iterator<Item = (u64, &Live)> {
        self.0.from(sequence)
    }

    /// One more is about to be sent: those below it are not the newest any more.
    pub(super) fn begin(&mut self, sequence: u64, mut live: Live) {
        let at = live.begun;
        self.0.below_mut(sequence).for_each(|(_, live)| live.supersede(at));
        live.superseded = self.newest().is_some_and(|newest| newest > sequence).then_some(at);
        // In the place of one of the same number.
        self.0.insert(sequence, live);
    }

    /// Keeps no room for what was once much.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to(ROOM);
    }

    /// Gives each its place among the others, on the level of `order`.
    pub(super) fn rank(&mut self, order: &SendOrder) {
        // What stands at this place has so much payload.
        let (mut place, mut together) = (SendOrder::FIRST, None);
        let next = |live: &mut Live| {
            if order.descending && live.almost_out {
                return live.rank.set(order.rank(SendOrder::ALMOST_OUT));
            }
            // One that has just begun is small, too: what has been handed to the connection keeps the place that it had.
            let payload = live.size.settle();
            let sum = together.map_or(payload, |before: u64| before.saturating_add(payload));
            if together.is_some() && sum > SHARING {
                (place, together) = (place.saturating_sub(1), Some(payload));
            } else {
                together = Some(sum);
            }
            live.rank.set(order.rank(place));
        };
        if order.descending {
            self.0.values_mut().rev().for_each(next);
        } else {
            self.0.values_mut().for_each(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use moqt_wire::{GroupOrder, Priority};
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Retention, TrackInfo, TrackProducer, now};

    fn order(order: GroupOrder) -> SendOrder {
        SendOrder::new(Priority(1), Priority(1), order, GroupOrder::Default, 0)
    }

    /// The places of groups with so much payload, which are whole or grow, from the one that goes first.
    fn places(sizes: &[(usize, bool)], how: GroupOrder) -> Vec<u8> {
        let track = TrackProducer::new("a".parse().unwrap(), TrackInfo::default(), Retention::default());
        let (mut live, mut ranks, mut open) = (LiveGroups::default(), Vec::new(), Vec::new());
        for (sequence, &(size, whole)) in (0..).zip(sizes) {
            let mut group = track.append_group();
            group.write_frame(vec![0; size]).unwrap();
            if whole {
                group.finish().unwrap();
            } else {
                open.push(group);
            }
            let (rank, reader) = (Rank::default(), track.consume().group(sequence).unwrap());
            ranks.push(rank.clone());
            live.0.insert(sequence, Live::new(rank, reader.size(), now()));
        }
        live.rank(&order(how));
        let first = order(how).rank(SendOrder::FIRST);
        let place = |rank: &Rank| u8::try_from(first - rank.value()).unwrap();
        ranks.iter().map(place).collect()
    }

    #[test]
    fn small_groups_stand_side_by_side_and_large_ones_alone() {
        const WHOLE: bool = true;
        let ascending = |sizes: &[(usize, bool)]| places(sizes, GroupOrder::Ascending);
        assert_eq!(ascending(&[(160, WHOLE); 30]), [[0; 25].as_slice(), &[1; 5]].concat());
        assert_eq!(ascending(&[(160, WHOLE), (160, WHOLE), (1, false)]), [0, 0, 0], "one has just begun");
        assert_eq!(ascending(&[(5000, false), (160, WHOLE), (160, WHOLE), (5000, false)]), [0, 1, 1, 2]);
        assert_eq!(ascending(&[(100, WHOLE), (1_000_000, WHOLE), (100, WHOLE)]), [0, 1, 2]);
        assert_eq!(ascending(&[(5000, WHOLE), (5000, WHOLE)]), [0, 1]);
        let mut newest_first = places(&[(5000, WHOLE), (160, WHOLE), (160, false)], GroupOrder::Descending);
        newest_first.reverse();
        assert_eq!(newest_first, [0, 0, 1]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Remove(u64),
        Find(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = 0_u64..20;
        prop_oneof![
            number.clone().prop_map(Step::Insert),
            number.clone().prop_map(Step::Remove),
            number.prop_map(Step::Find),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_order(steps in proptest::collection::vec(step(), 1..60)) {
            let track = TrackProducer::new("a".parse().unwrap(), TrackInfo::default(), Retention::default());
            let _group = track.append_group();
            let size = track.consume().group(0).unwrap().size();
            let (mut live, mut model) = (LiveGroups::default(), BTreeMap::new());
            for (at, step) in (0..).zip(steps) {
                match step {
                    Step::Insert(sequence) => {
                        let rank = Rank::default();
                        rank.set(at);
                        live.0.insert(sequence, Live::new(rank, size.clone(), now()));
                        model.insert(sequence, at);
                    }
                    Step::Remove(sequence) => {
                        let removed = live.remove(sequence).map(|live| live.rank.value());
                        prop_assert_eq!(removed, model.remove(&sequence));
                    }
                    Step::Find(sequence) => {
                        prop_assert_eq!(live.contains(sequence), model.contains_key(&sequence));
                        let found = live.get_mut(sequence).map(|live| live.rank.value());
                        prop_assert_eq!(found, model.get(&sequence).copied());
                        let from: Vec<_> = live.from(sequence).map(|(number, _)| number).collect();
                        let expected: Vec<_> = model.range(sequence..).map(|(&number, _)| number).collect();
                        prop_assert_eq!(from, expected);
                    }
                }
                prop_assert_eq!(live.newest(), model.last_key_value().map(|(&number, _)| number));
                prop_assert_eq!(live.is_empty(), model.is_empty());
                let all: Vec<_> = live.iter().map(|(number, live)| (number, live.rank.value())).collect();
                prop_assert_eq!(all, model.iter().map(|(&number, &at)| (number, at)).collect::<Vec<_>>());
            }
        }
    }
}
