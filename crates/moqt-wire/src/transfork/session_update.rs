//! SESSION_UPDATE.

message! {
    /// Tells the peer how much the sender's congestion controller lets through.
    ///
    /// Spec: transfork-03 "SESSION_UPDATE".
    pub struct SessionUpdate in Transfork needs SessionUpdate {
        /// Bits per second; 0 is unknown.
        bitrate: u64,
    }
}
