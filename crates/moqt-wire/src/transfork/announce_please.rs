//! ANNOUNCE_PLEASE.

use super::Interest;

message! {
    /// Asks to be told about tracks; the only message of the subscriber on an Announce stream.
    ///
    /// Spec: transfork-03 "ANNOUNCE_PLEASE".
    pub struct AnnouncePlease in Transfork {
        /// Which tracks.
        interest: Interest,
    }
}
