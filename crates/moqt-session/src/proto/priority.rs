//! Which of two waiting group streams is sent first.

use std::cmp::Ordering;

use moqt_wire::{GroupOrder, Priority};

/// Where a group stream stands among the others of its session. Greater is sent first.
///
/// Spec: digest 5.7, rules 2 to 4; control streams stand above all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendOrder {
    pub(crate) subscriber: Priority,
    pub(crate) publisher: Priority,
    /// Newer groups first.
    pub(crate) descending: bool,
    pub(crate) sequence: u64,
}

impl SendOrder {
    /// The place of a group that has all but left: ahead of those that are newer.
    pub(crate) const ALMOST_OUT: u8 = u8::MAX;
    /// The place of the group that goes first by its order, and of a fetch.
    pub(crate) const FIRST: u8 = Self::ALMOST_OUT - 1;

    /// `order` is the subscriber's wish, the publisher's order decides where it has none.
    pub(crate) fn new(
        subscriber: Priority,
        publisher: Priority,
        order: GroupOrder,
        publishers: GroupOrder,
        sequence: u64,
    ) -> Self {
        let order = if order == GroupOrder::Default { publishers } else { order };
        Self { subscriber, publisher, descending: order == GroupOrder::Descending, sequence }
    }

    /// Compares two groups of one subscription.
    pub(crate) fn within(&self, other: &Self) -> Ordering {
        let order = self.sequence.cmp(&other.sequence);
        if self.descending { order } else { order.reverse() }
    }

    /// The backend's number: levels apart, and inside a level `place` (0 to 255, higher first).
    ///
    /// What nobody chose otherwise, and goes first, has the number that a stream has without being told.
    pub(crate) fn rank(&self, place: u8) -> i32 {
        let number = |subscriber: Priority, publisher: Priority, place: u8| {
            (i32::from(subscriber.0) << 16) | (i32::from(publisher.0) << 8) | i32::from(place)
        };
        let usual = number(Priority::default(), Priority::default(), Self::FIRST);
        number(self.subscriber, self.publisher, place) - usual
    }
}
