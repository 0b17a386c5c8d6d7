//! What the futures of a session come to.

use moqt_transport::{Connection, ConnectionError};
use moqt_wire::StreamDecoder;
use tokio::sync::{mpsc, oneshot};
use tracing::level_filters::LevelFilter;

use super::{
    control::{Read, Reader, TypeError},
    egress::Sent,
    ingest,
    outbox::{Outbox, Wrote},
};
use crate::{
    error::{GroupError, Reason},
    model::{AnnounceConsumer, Announced, TrackConsumer},
    origin::FetchAnswer,
    proto::{Info, RequestId},
    session::Command,
};

/// Both halves of a bidirectional stream.
pub(super) type Streams<C> = Box<(<C as Connection>::SendStream, <C as Connection>::RecvStream)>;

/// What one of the session's futures came to. It is moved about for every group, so what is large and rare is boxed.
pub(super) enum Done<C: Connection> {
    Closed(ConnectionError),
    Command(mpsc::Receiver<Box<Command>>, Option<Box<Command>>),
    AcceptedBi(Result<Streams<C>, ConnectionError>),
    AcceptedUni(C::RecvStream),
    /// A bidirectional stream of the peer said its type, or did not.
    Typed(Streams<C>, Result<(u64, Box<StreamDecoder>), TypeError>),
    /// A stream for a request of ours is open.
    Opened(RequestId, Outbox, Result<Streams<C>, ConnectionError>),
    Read(Box<Reader<C::RecvStream>>, Read),
    Wrote(RequestId, Box<Wrote<C::SendStream>>),
    GroupOpened(ingest::Opened<C::RecvStream>),
    /// A group stream is through, with the whole group or not.
    Ingested(RequestId, u64, bool),
    TrackAnswer(RequestId, Result<Box<TrackConsumer>, Reason>),
    /// A track that is served has something new, or something of it may have been missing for too long.
    TrackCalled(RequestId),
    TrackDue(RequestId),
    GroupSent(RequestId, u64, Sent),
    /// All of the group that comes next out of the finished ones has left the driver; the peer need not have it.
    GroupFinished(RequestId),
    /// A subscriber may be behind for too long.
    LagDue(RequestId),
    NamesChanged(RequestId, AnnounceConsumer, Option<Announced>),
    InfoAnswer(RequestId, Result<Info, Reason>),
    FetchAnswer(RequestId, Result<Box<FetchAnswer>, Reason>),
    FetchSent(RequestId, Sent),
    /// The frames of our fetch have ended.
    Fetched(RequestId, Result<(), GroupError>),
    /// Nobody reads what our request brings.
    Unused(RequestId),
    /// Whoever asked does not wait any more.
    CallerLeft(RequestId),
    /// No group of a finished subscription has begun for a while; it had so many then.
    LateOver(RequestId, u64),
    /// Groups of a subscription may have been missing for too long.
    Settle(RequestId),
    /// The peer had its time to agree to the end.
    CloseTimeout,
    /// The peer had its time to go by itself.
    DrainOver,
    /// Time to look at the bitrate, and at what has arrived.
    Sample,
    /// What was ready before a wish to flush has been taken in.
    Flush(oneshot::Sender<()>),
    /// Of no further consequence.
    Nothing,
}

impl<C: Connection> Done<C> {
    /// Whether it comes with every group, and what is logged of it above debug, if anything, enters the session's span by
    /// itself.
    pub(super) fn is_quiet(&self) -> bool {
        let often = matches!(
            self,
            Self::TrackCalled(_)
                | Self::GroupFinished(_)
                | Self::GroupSent(.., Sent::Whole)
                | Self::AcceptedUni(_)
                | Self::Ingested(..)
        );
        often && LevelFilter::current() < LevelFilter::DEBUG
    }
}
