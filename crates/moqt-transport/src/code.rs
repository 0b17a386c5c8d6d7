//! The integer that says why a stream or a connection ended.

use std::fmt;

/// An application error code, as both carriers deliver it to the application.
///
/// Raw QUIC carries up to 62 bits, WebTransport 32; a larger value is sent as `u32::MAX` over WebTransport.
/// The mapping of WebTransport codes into the HTTP/3 space is the adapter's business and never visible here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u64);

impl Code {
    /// No error: the peer cancelled, or all is done.
    pub const NONE: Self = Self(0);
}

impl From<u32> for Code {
    fn from(code: u32) -> Self {
        Self(u64::from(code))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
