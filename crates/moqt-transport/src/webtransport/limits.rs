//! What a peer may make us keep, and how long it may make us wait.

use std::time::Duration;

/// Bytes of the payload of a SETTINGS frame.
pub(super) const SETTINGS_BYTES: usize = 4 << 10;
/// Bytes of the payload of a HEADERS frame, compressed.
pub(super) const HEADERS_BYTES: usize = 16 << 10;
/// Bytes of all names and values of a field section, each line counting [`FIELD_OVERHEAD`] more. Announced to the peer.
pub(super) const FIELDS_BYTES: usize = 64 << 10;
/// What HTTP counts for a line of a field section beside its name and value.
pub(super) const FIELD_OVERHEAD: usize = 32;
/// Bytes of the words in a capsule that closes a session.
pub(super) const REASON_BYTES: usize = 1024;
/// Streams of each kind that the peer has begun without saying yet what they are. The oldest has to go then.
pub(super) const PENDING_HEADS: usize = 1024;
/// Streams of each kind that are kept for a session which is still to be made.
pub(super) const EARLY_STREAMS: usize = 64;
/// Answers of the class 1xx before the one that counts.
pub(super) const INTERIM_ANSWERS: usize = 8;
/// Bytes to take at once from a stream whose kind is not known yet, or that carries HTTP/3 itself.
pub(super) const READ_BYTES: usize = 2 << 10;
/// How long the peer may take for its part of the end of a session.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
/// How long the peer may take to make room for our answer to its request.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
