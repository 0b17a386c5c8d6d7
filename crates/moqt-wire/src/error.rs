//! What was wrong with bytes that came in, or with a message that cannot go out.

use crate::name::NameError;
use crate::version::Version;

/// The peer sent bytes that are not a message of this version, or that break a limit.
///
/// Running out of bytes is not an error while the stream is open: decoders return `Ok(None)` then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}.{field}: {kind}")]
pub struct DecodeError {
    /// The message that was being read, by its name in the drafts' vocabulary.
    pub message: &'static str,
    /// The field in it.
    pub field: &'static str,
    /// What was wrong with it.
    pub kind: DecodeErrorKind,
}

/// What was wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The stream ended inside a message or a frame header.
    #[error("stream ended inside it")]
    Truncated,
    /// A value that the version does not define.
    #[error("{value} has no meaning here")]
    Invalid {
        /// The integer that was read.
        value: u64,
    },
    /// A size, count or value above a limit of the protocol or of [`Limits`](crate::Limits).
    #[error("{value} is above the limit of {limit}")]
    TooLarge {
        /// What the peer asked for.
        value: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// Bytes that have to be UTF-8 are not.
    #[error("not UTF-8")]
    NotUtf8,
    /// An id that may stand only once stands twice.
    #[error("{id} stands twice")]
    Duplicate {
        /// The id.
        id: u64,
    },
    /// The payload has another length than its type or its header says.
    #[error("wrong size")]
    WrongSize,
    /// Bytes after the end of the last message.
    #[error("{bytes} bytes after the end")]
    TrailingBytes {
        /// How many have arrived.
        bytes: usize,
    },
}

/// A message cannot be written in this version. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}{field}: {kind}", if field.is_empty() { "" } else { "." })]
pub struct EncodeError {
    /// The message that was being written.
    pub message: &'static str,
    /// The field in it; empty when the message itself is the problem.
    pub field: &'static str,
    /// Why it cannot be written.
    pub kind: EncodeErrorKind,
}

/// Why a field cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// The value does not fit its encoding.
    #[error("{value} is above the limit of {limit}")]
    TooLarge {
        /// The value.
        value: u64,
        /// The largest that fits.
        limit: u64,
    },
    /// The version has no such message or no such form of the field.
    #[error("{version} has no such thing")]
    Unsupported {
        /// The version.
        version: Version,
    },
    /// The name cannot be written in the version's form of names.
    #[error("{0}")]
    Name(NameError),
    /// The other fields call for a value here, and there is none.
    #[error("has to be there")]
    Missing,
    /// The other fields leave no room for a value here.
    #[error("cannot be there")]
    Unexpected,
    /// An id that may stand only once stands twice.
    #[error("{id} stands twice")]
    Duplicate {
        /// The id.
        id: u64,
    },
}

impl From<NameError> for EncodeErrorKind {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}
