//! GROUP.

use crate::value::{GroupSequence, SubscribeId};

message! {
    /// The header of a Group stream; frames follow. The same in every version.
    ///
    /// Spec: transfork-03 "GROUP".
    pub struct Group in Transfork {
        /// The subscription it answers.
        subscribe: SubscribeId,
        /// Which group of the track follows.
        sequence: GroupSequence,
    }
}
