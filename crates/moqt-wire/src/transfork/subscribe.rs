//! SUBSCRIBE.

use crate::name::FullTrackName;
use crate::value::{GroupOrder, GroupSequence, Millis, Priority, SubscribeId};

message! {
    /// Opens a subscription; the first message on a Subscribe stream.
    ///
    /// Spec: transfork-03 "SUBSCRIBE"; `expires` left in transfork-04.
    pub struct Subscribe in Transfork {
        /// Picked by the subscriber, never used twice in a session.
        id: SubscribeId,
        /// The track wanted.
        track: FullTrackName,
        /// Higher is sent first under congestion.
        priority: Priority,
        /// Which group is sent first under congestion.
        order: GroupOrder,
        /// How long a finished group stays useful; `None`: as long as the publisher says.
        expires: Option<Millis> [until 4],
        /// `None`: from the publisher's latest group.
        first: Option<GroupSequence> [plus_one],
        /// The last group wanted; `None`: no end.
        last: Option<GroupSequence> [plus_one],
    }
}
