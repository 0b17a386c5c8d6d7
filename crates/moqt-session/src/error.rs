//! Errors whose type says what has ended: the session, one request, one track, one group.

use moqt_transport::{Code, ConnectionError};
use moqt_wire::{DecodeError, Feature, NameError, Version};

/// Why something ended, in words that all versions share. The integer on the wire comes from the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody wants it any more.
    #[error("cancelled")]
    Cancelled,
    /// There is no such track or group.
    #[error("not found")]
    NotFound,
    /// The peer may not.
    #[error("not allowed")]
    Unauthorized,
    /// It was too old to be kept or sent.
    #[error("expired")]
    Expired,
    /// It took too long.
    #[error("timed out")]
    Timeout,
    /// The endpoint is shutting down.
    #[error("going away")]
    GoingAway,
    /// A limit was reached.
    #[error("too many or too large")]
    TooMany,
    /// The endpoint failed.
    #[error("internal error")]
    Internal,
    /// The version has no such thing.
    #[error("not supported")]
    Unsupported,
    /// The transport underneath failed.
    #[error("transport failed")]
    Transport,
    /// The peer could not decode a message.
    #[error("malformed message")]
    Malformed,
    /// The peer got something twice.
    #[error("duplicate")]
    Duplicate,
    /// A value was out of its range.
    #[error("out of range")]
    OutOfRange,
    /// A frame was shorter or longer than declared.
    #[error("wrong size")]
    WrongSize,
    /// No version in common.
    #[error("no common version")]
    Version,
    /// A stream that does not belong here.
    #[error("unexpected stream")]
    UnexpectedStream,
    /// A rule of the protocol was broken.
    #[error("protocol violation")]
    ProtocolViolation,
    /// An application's own code. On Transfork it is sent as 64 more, and 1 to 6, whose places there are taken, as 48
    /// more. WebTransport and the deployed peers carry it up to `u32::MAX - 64`.
    #[error("application code {0}")]
    App(u32),
    /// A code without a meaning here.
    #[error("code {0}")]
    Unknown(u64),
}

/// A rule that the peer broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// Bytes that are no message. Spec: digest 5.1.
    #[error("malformed {0}")]
    Malformed(#[from] DecodeError),
    /// A stream of a type that the version does not have.
    #[error("unknown stream type {0:#x}")]
    UnknownStreamType(u64),
    /// The first stream was not the Session stream.
    #[error("first stream is of type {0:#x}, not a session stream")]
    NotSessionFirst(u64),
    /// A second Session stream.
    #[error("second session stream")]
    SecondSessionStream,
    /// A Session stream from the server.
    #[error("session stream opened by the server")]
    SessionStreamFromServer,
    /// The server chose a version that was not offered.
    #[error("server selected version {0:#x}, which was not offered")]
    VersionNotOffered(u64),
    /// A path where none may be: from a server, or beside a WebTransport URL.
    #[error("unexpected path extension")]
    UnexpectedPath,
    /// A request to move from a client, or a second one.
    #[error("unexpected drain stream")]
    UnexpectedDrain,
    /// The stream ended before its first message was complete.
    #[error("stream ended before the {0} message")]
    EndedEarly(&'static str),
    /// A stream whose type or first message did not come in time.
    #[error("{0} did not come in time")]
    TooSlow(&'static str),
    /// A subscribe id used before in this session.
    #[error("subscribe id {0} used twice")]
    DuplicateSubscribeId(u64),
    /// A range whose end lies before its start, or an update that widens it.
    #[error("invalid group range")]
    InvalidRange,
    /// A name announced twice without an end in between.
    #[error("announced twice: {0}")]
    DuplicateAnnounce(moqt_wire::Namespace),
    /// The end of a name that was not announced.
    #[error("ended without being announced: {0}")]
    EndedWithoutActive(moqt_wire::Namespace),
    /// A name with too many parts or bytes, prefix and suffix taken together.
    #[error("invalid name: {0}")]
    InvalidName(#[from] NameError),
    /// A message that does not fit the state of its request.
    #[error("{got} while {state}")]
    OutOfOrder {
        /// What the request was doing.
        state: &'static str,
        /// What came.
        got: &'static str,
    },
    /// More of something than the named limit allows.
    #[error("limit reached: {0}")]
    LimitReached(&'static str),
}

/// Why a session ended. Everything inside it ends with a clone of this.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer ended the session and gave a reason.
    #[error("closed by peer: {reason}{}{message}", if message.is_empty() { "" } else { ": " })]
    Closed {
        /// Why.
        reason: Reason,
        /// The peer's words; untrusted.
        message: String,
    },
    /// We ended it.
    #[error("closed locally")]
    LocallyClosed,
    /// The peer broke a rule; we closed the session.
    #[error("peer broke the protocol")]
    Peer(#[from] PeerMisbehaved),
    /// No version in common.
    #[error("no common version: the peer knows {offered:x?}")]
    Version {
        /// What the peer offered, or nothing when it did not say.
        offered: Vec<u64>,
    },
    /// The handshake was not complete in time.
    #[error("handshake timed out")]
    HandshakeTimeout,
    /// The connection failed.
    #[error("connection failed")]
    Transport(#[source] ConnectionError),
}

/// Why one request (subscribe, info, announce) ended without success. The session lives on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The peer turned the request down.
    #[error("refused by peer: {0}")]
    Refused(Reason),
    /// The peer answered against the rules; the request was given up.
    #[error("peer broke the protocol")]
    Peer(#[from] PeerMisbehaved),
    /// The negotiated version has no such request; nothing was sent.
    #[error("{version} has no {feature}")]
    Unsupported {
        /// What was asked for.
        feature: Feature,
        /// The version of the session.
        version: Version,
    },
    /// The name cannot be said in the negotiated version; nothing was sent.
    #[error("name does not fit the version")]
    Name(#[from] NameError),
    /// The request cannot be encoded in the negotiated version; nothing was sent.
    #[error("cannot be said in the negotiated version: {0}")]
    Encode(String),
    /// Too many requests of our own are open.
    #[error("too many requests open")]
    TooMany,
    /// The session ended underneath.
    #[error("session ended")]
    Session(#[from] SessionError),
}

/// Why a track ended other than by its publisher finishing it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// Its publisher, or the relay that carries it, ended it.
    #[error("track ended: {0}")]
    Ended(Reason),
    /// The session that carried it ended.
    #[error("session ended")]
    Session(#[from] SessionError),
}

/// Why a group ended other than by being complete, or an operation on it failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The publisher gave it up.
    #[error("group given up: {0}")]
    Reset(Reason),
    /// It fell out of retention before this reader was through.
    #[error("group expired")]
    Expired,
    /// A frame was cut short, or longer than declared.
    #[error("frame is not of the declared size")]
    WrongSize,
    /// Its frames are not of the sizes that they have in another copy of it, which came before.
    #[error("group differs from another copy of it")]
    Differs,
    /// The group grew past a limit.
    #[error("group too large")]
    TooLarge,
    /// Nothing can be added: the group was finished.
    #[error("group is finished")]
    Finished,
    /// The group never began: its track has ended, or has no number left.
    #[error("track takes no more groups")]
    TrackEnded,
}

impl GroupError {
    /// The reason that a peer is told.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Reset(reason) => *reason,
            Self::Expired => Reason::Expired,
            Self::WrongSize | Self::Differs => Reason::WrongSize,
            Self::TooLarge => Reason::TooMany,
            Self::Finished | Self::TrackEnded => Reason::Internal,
        }
    }
}

impl PeerMisbehaved {
    /// The reason that the peer is told.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) | Self::EndedEarly(_) | Self::InvalidName(_) => Reason::Malformed,
            Self::UnknownStreamType(_)
            | Self::NotSessionFirst(_)
            | Self::SecondSessionStream
            | Self::SessionStreamFromServer
            | Self::UnexpectedDrain => Reason::UnexpectedStream,
            Self::VersionNotOffered(_) => Reason::Version,
            Self::UnexpectedPath | Self::OutOfOrder { .. } | Self::InvalidRange => Reason::ProtocolViolation,
            Self::DuplicateSubscribeId(_) | Self::DuplicateAnnounce(_) => Reason::Duplicate,
            Self::EndedWithoutActive(_) => Reason::NotFound,
            Self::LimitReached(_) => Reason::TooMany,
            Self::TooSlow(_) => Reason::Timeout,
        }
    }
}

impl SessionError {
    /// What is said to the peer when we end the session for this; `None` where it is already gone.
    #[must_use]
    pub(crate) fn farewell(&self) -> Option<Reason> {
        match self {
            Self::Peer(rule) => Some(rule.reason()),
            Self::Version { .. } => Some(Reason::Version),
            Self::HandshakeTimeout => Some(Reason::Timeout),
            Self::LocallyClosed => Some(Reason::Cancelled),
            Self::Closed { .. } => Some(Reason::Cancelled),
            Self::Transport(_) => None,
        }
    }

    pub(crate) fn from_connection(error: ConnectionError, reason: impl Fn(Code) -> Reason) -> Self {
        match error {
            ConnectionError::Closed { code, reason: message } => {
                Self::Closed { reason: reason(code), message }
            }
            ConnectionError::LocallyClosed => Self::LocallyClosed,
            other => Self::Transport(other),
        }
    }
}
