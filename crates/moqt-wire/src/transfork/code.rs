//! The error codes of Transfork: on reset and stopped streams, on closed connections and in gaps.
//!
//! The drafts define none; up to 15 these are the codes of the deployed peers, from 64 on the application's
//! space holds what they lack. What a peer means by a code is a hint, never a reason to act.

use crate::code::Code;

macro_rules! codes {
    ($( $(#[$meta:meta])* $name:ident = $value:literal, $text:literal; )*) => {
        $( $(#[$meta])* pub const $name: Code = Code($value); )*

        /// What the code is called, if it has a name.
        pub fn name(code: Code) -> Option<&'static str> {
            match code {
                $( $name => Some($text), )*
                _ => None,
            }
        }
    };
}

codes! {
    /// Nobody wants it any more; also an ordinary end.
    CANCEL = 0, "cancelled";
    /// An extension that one side insists on is missing.
    REQUIRED_EXTENSION = 1, "required extension missing";
    /// The transport below failed.
    TRANSPORT = 4, "transport failed";
    /// A message could not be read.
    DECODE = 5, "malformed message";
    /// No version in common.
    VERSION = 9, "no common version";
    /// A stream that may not be opened, or not now.
    UNEXPECTED_STREAM = 10, "unexpected stream";
    /// A value is out of range.
    BOUNDS = 11, "out of bounds";
    /// The same thing twice.
    DUPLICATE = 12, "duplicate";
    /// No such track or group.
    NOT_FOUND = 13, "not found";
    /// A frame was shorter or longer than announced.
    WRONG_SIZE = 14, "wrong size";
    /// A rule was broken.
    PROTOCOL_VIOLATION = 15, "protocol violation";
    /// Where the application's own codes begin.
    APP_BASE = 64, "application error";
    /// Something broke on the sender's side.
    INTERNAL = 65, "internal error";
    /// Not allowed.
    UNAUTHORIZED = 66, "unauthorized";
    /// It took too long.
    TIMEOUT = 67, "timeout";
    /// The endpoint is about to leave.
    GOING_AWAY = 68, "going away";
    /// A limit on resources was reached.
    TOO_MANY = 69, "too many";
    /// The group is no longer kept.
    EXPIRED = 70, "expired";
}
