//! SUBSCRIBE_GAP.

use crate::code::Code;
use crate::value::GroupSequence;

message! {
    /// Tells that groups of a subscription will not come, or not whole.
    ///
    /// Spec: transfork-03 "SUBSCRIBE_GAP".
    pub struct SubscribeGap in Transfork {
        /// The first group that will not come.
        first: GroupSequence,
        /// How many groups after the first; 0 is one group in all.
        additional: u64,
        /// Why. Deployed peers refuse codes of more than 32 bits.
        code: Code,
    }
}
