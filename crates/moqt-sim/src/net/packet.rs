//! What travels: packets, frames, and the names of sides and streams.

use std::sync::Arc;

use bytes::Bytes;
use moqt_transport::Code;

/// Stream bytes in one packet.
pub(crate) const PACKET_ROOM: u64 = 1200;
/// What IP, UDP and QUIC headers add to a packet.
pub(crate) const PACKET_HEADER: u64 = 48;
/// What one frame takes beside its data.
pub(crate) const FRAME_HEADER: u64 = 8;
/// What one control frame takes.
pub(crate) const CONTROL_SIZE: u64 = 16;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Something for each side.
#[derive(Debug, Default)]
pub(crate) struct PerSide<T> {
    pub(crate) client: T,
    pub(crate) server: T,
}

impl<T> PerSide<T> {
    pub(crate) fn get(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(crate) fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// Which kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dir {
    Bi,
    Uni,
}

/// Something for each kind of stream.
#[derive(Debug, Default)]
pub(crate) struct PerDir<T> {
    pub(crate) bi: T,
    pub(crate) uni: T,
}

impl<T> PerDir<T> {
    pub(crate) fn get(&self, dir: Dir) -> &T {
        match dir {
            Dir::Bi => &self.bi,
            Dir::Uni => &self.uni,
        }
    }

    pub(crate) fn get_mut(&mut self, dir: Dir) -> &mut T {
        match dir {
            Dir::Bi => &mut self.bi,
            Dir::Uni => &mut self.uni,
        }
    }
}

/// A stream: who opened it, of which kind, the how-manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId {
    pub(crate) index: u64,
    pub(crate) initiator: Side,
    pub(crate) dir: Dir,
}

/// A piece of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamFrame {
    pub(crate) id: StreamId,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    pub(crate) fin: bool,
}

/// Everything else that must arrive.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control {
    /// The sender gave the stream up after `sent` bytes.
    Reset { id: StreamId, code: Code, sent: u64 },
    /// The receiver does not want the rest.
    Stop { id: StreamId, code: Code },
    /// The stream may carry this many bytes.
    MaxStreamData { id: StreamId, max: u64 },
    /// All streams together may carry this many bytes.
    MaxData { max: u64 },
    /// This many streams of the kind may be opened over the life of the connection.
    MaxStreams { dir: Dir, max: u64 },
    /// Are you there?
    Ping,
}

/// Packet numbers received, as half-open ranges in ascending order.
pub(crate) type AckRanges = Vec<(u64, u64)>;

/// The end of a connection on its way.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// Closed, with a code and words.
    Close { code: Code, reason: Arc<str> },
    /// The close has arrived.
    Understood,
    /// We know of no such connection.
    Forgotten,
}

/// One packet.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    /// Set when the packet asks for an acknowledgement.
    pub(crate) number: Option<u64>,
    /// Each earlier packet number is settled: acknowledged or given up.
    pub(crate) floor: u64,
    /// On the wire.
    pub(crate) size: u64,
    pub(crate) ack: Option<AckRanges>,
    pub(crate) control: Vec<Control>,
    pub(crate) frames: Vec<StreamFrame>,
    pub(crate) ending: Option<Ending>,
}
