//! INFO_PLEASE.

use crate::name::FullTrackName;

message! {
    /// Asks about a track; the only message of the subscriber on an Info stream.
    ///
    /// Spec: transfork-03 "INFO_PLEASE".
    pub struct InfoPlease in Transfork {
        /// The track in question.
        track: FullTrackName,
    }
}
