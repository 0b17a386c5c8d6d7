//! SUBSCRIBE_UPDATE.

use crate::value::{GroupOrder, GroupSequence, Millis, Priority};

message! {
    /// Changes a subscription; the range can only become narrower.
    ///
    /// Spec: transfork-03 "SUBSCRIBE_UPDATE"; `expires` left in transfork-04. Deployed peers write the priority
    /// as a varint here, though as a byte elsewhere.
    pub struct SubscribeUpdate in Transfork {
        /// Higher is sent first under congestion.
        priority: Priority [plain],
        /// Which group is sent first under congestion.
        order: GroupOrder,
        /// How long a finished group stays useful; `None`: as long as the publisher says.
        expires: Option<Millis> [until 4],
        /// `None`: unchanged.
        first: Option<GroupSequence> [plus_one],
        /// `None`: unchanged.
        last: Option<GroupSequence> [plus_one],
    }
}
