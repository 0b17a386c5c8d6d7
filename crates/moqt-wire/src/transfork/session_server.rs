//! SESSION_SERVER.

use super::Extensions;

message! {
    /// Ends the handshake: what the server chose. The same in every version.
    ///
    /// Spec: transfork-03 "SESSION_SERVER".
    pub struct SessionServer in Transfork {
        /// The number of one of the offered versions.
        version: u64,
        /// What else the server can do.
        extensions: Extensions,
    }
}
