//! Why HTTP/3 could not go on, before the contract's errors put it into words.

use quinn::VarInt;
use wtransport::proto::error::ErrorCode;

use crate::{Code, ConnectionError, wire_code::decode};

/// A rule that the peer broke; the connection closes with the code that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("peer broke a rule of HTTP/3: {what} ({code})")]
pub(super) struct Violation {
    pub(super) code: ErrorCode,
    pub(super) what: &'static str,
}

impl Violation {
    pub(super) fn new(code: ErrorCode, what: &'static str) -> Self {
        Self { code, what }
    }
}

/// Why a stream of HTTP/3 itself could not go on.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The peer broke a rule.
    Violation(Violation),
    /// The peer gave the stream up.
    Reset(VarInt),
    /// The connection ended.
    Lost(quinn::ConnectionError),
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<quinn::ConnectionError> for Failure {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::Lost(error)
    }
}

/// An HTTP/3 error by which the peer ended the connection, or the stream that stands for the session.
#[derive(Debug, thiserror::Error)]
#[error("peer ended the session with HTTP/3 error {code:#x}{}{words}", if words.is_empty() { "" } else { ": " })]
struct Http3Ended {
    code: u64,
    words: String,
}

const NO_ERROR: u64 = 0x100;
const REQUEST_CANCELLED: u64 = 0x10c;

/// The code of an error as `quinn` wants it.
pub(super) fn wire(code: ErrorCode) -> VarInt {
    // Both are integers below 2^62.
    VarInt::from_u64(code.to_code().into_inner()).unwrap_or(VarInt::MAX)
}

/// What the end of the QUIC connection means for the session.
pub(super) fn lost(error: quinn::ConnectionError) -> ConnectionError {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            ended(close.error_code, String::from_utf8_lossy(&close.reason).into_owned())
        }
        error => error.into(),
    }
}

/// What it means that the peer gave up the stream that stands for the session.
pub(super) fn given_up(code: VarInt) -> ConnectionError {
    match code.into_inner() {
        REQUEST_CANCELLED => ConnectionError::Closed { code: Code::NONE, reason: String::new() },
        _ => ended(code, String::new()),
    }
}

fn ended(wire: VarInt, reason: String) -> ConnectionError {
    match wire.into_inner() {
        NO_ERROR => ConnectionError::Closed { code: Code::NONE, reason },
        // The errors of HTTP/3 and of its header compression.
        code @ (0x101..=0x110 | 0x200..=0x202) => {
            ConnectionError::Transport(std::sync::Arc::new(Http3Ended { code, words: reason }))
        }
        _ => ConnectionError::Closed { code: decode(wire), reason },
    }
}
