//! The integer that says why a stream or session ended.

use std::fmt;

/// An application error code as it stands on the wire; what it means is up to the protocol family.
///
/// The codes of Transfork are named in [`transfork::code`](crate::transfork::code).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u64);

impl From<u32> for Code {
    fn from(code: u32) -> Self {
        Self(code.into())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
