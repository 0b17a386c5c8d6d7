//! FETCH.

use crate::name::FullTrackName;
use crate::value::{GroupSequence, Priority};

message! {
    /// Asks for one group, from a frame on; the answer is frames without any header.
    ///
    /// Spec: transfork-03 "FETCH".
    pub struct Fetch in Transfork needs Fetch {
        /// The track it is from.
        track: FullTrackName,
        /// Higher is sent first under congestion.
        priority: Priority,
        /// The group wanted.
        group: GroupSequence,
        /// The index of the first frame wanted, from 0.
        frame: u64,
    }
}
