//! Between the neutral conversation and the bytes of one family of versions.

mod transfork;

use std::fmt::Debug;

use bytes::BytesMut;
use moqt_transport::Code;
use moqt_wire::{DecodeError, EncodeError, Family, StreamDecoder, Version, transfork::Interest};

pub(crate) use transfork::{ClientHandshake, HandshakeError, Negotiated, Offer, ServerHandshake};

use crate::{
    error::{Reason, RequestError},
    proto::{Message, RequestKind, Sender},
};

/// What may be said in a version, and how. Chosen once, at the end of the handshake.
pub(crate) trait Dialect: Debug + Send + Sync + 'static {
    /// The version spoken.
    fn version(&self) -> Version;

    /// What a bidirectional stream of this type is for.
    fn request_kind(&self, stream_type: u64) -> Option<RequestKind>;

    /// The type that opens a stream of this kind; `None` where the version has no such stream.
    fn stream_type(&self, kind: RequestKind) -> Option<u64>;

    /// Whether an unknown stream type ends the session, or only its stream.
    fn unknown_stream_ends_session(&self) -> bool;

    /// How groups travel; asked once a stream, so that the payload's way needs no dialect.
    fn group_format(&self) -> GroupFormat;

    /// The next message that `sender` says on a stream of this kind, the `index`th; `None`: more bytes.
    fn decode(
        &self,
        kind: RequestKind,
        sender: Sender,
        index: u64,
        decoder: &mut StreamDecoder,
    ) -> Result<Option<Message>, DecodeError>;

    /// Appends a message.
    fn encode(&self, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError>;

    /// Whether the message can be said at all.
    fn check(&self, message: &Message) -> Result<(), RequestError>;

    /// What to ask the peer for, so that all names of interest are among its answers. There may be others, too.
    fn asked(&self, interest: Interest) -> Interest;

    /// The integer for a reason.
    fn code(&self, reason: Reason) -> Code;

    /// The reason behind an integer.
    fn reason(&self, code: Code) -> Reason;
}

/// How groups travel on unidirectional streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupFormat {
    /// Stream type 0, GROUP, then frames of a length and a payload.
    Transfork,
}

/// The dialect of a version.
pub(crate) fn of(version: Version) -> &'static dyn Dialect {
    match version.spec().family {
        Family::Transfork => transfork::of(version),
    }
}
