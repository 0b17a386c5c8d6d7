//! Raw QUIC by `quinn`.

pub(crate) mod half;
pub(crate) mod rate;
pub(crate) mod room;

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use quinn::VarInt;

use self::{
    half::{Failure, RecvHalf, SendHalf},
    room::Room,
};
use crate::{
    Carrier, Code, Connection, ConnectionError, ReadError, RecvStream, SendStream, Stats, WriteError,
    wire_code::{Mapping, decode},
};

/// A connection over raw QUIC; clones are handles to the same one.
///
/// Codes travel as they are. When receiving, a code in WebTransport's range of the HTTP/3 error space is
/// mapped back, because deployed peers map on raw QUIC too.
#[derive(Clone, Debug)]
pub struct QuicConnection {
    quic: quinn::Connection,
    room: Room,
}

impl QuicConnection {
    /// Wraps an established connection; once, as it counts what the peer opens.
    pub fn new(connection: quinn::Connection) -> Self {
        Self { room: Room::of(&connection), quic: connection }
    }

    fn sender(&self, stream: quinn::SendStream) -> QuicSendStream {
        QuicSendStream(SendHalf::new(stream, Mapping::Plain, Bytes::new(), self.room.clone()))
    }

    /// The connection inside, for what the traits do not offer.
    pub fn inner(&self) -> &quinn::Connection {
        &self.quic
    }
}

impl From<quinn::Connection> for QuicConnection {
    fn from(connection: quinn::Connection) -> Self {
        Self::new(connection)
    }
}

impl Connection for QuicConnection {
    type SendStream = QuicSendStream;
    type RecvStream = QuicRecvStream;

    async fn open_bi(&self) -> Result<(QuicSendStream, QuicRecvStream), ConnectionError> {
        let (send, recv) = self.quic.open_bi().await?;
        Ok((self.sender(send), QuicRecvStream::new(recv)))
    }

    async fn open_uni(&self) -> Result<QuicSendStream, ConnectionError> {
        Ok(self.sender(self.quic.open_uni().await?))
    }

    async fn accept_bi(&self) -> Result<(QuicSendStream, QuicRecvStream), ConnectionError> {
        let (send, recv) = self.quic.accept_bi().await?;
        self.room.bidi_opened();
        Ok((self.sender(send), QuicRecvStream::new(recv)))
    }

    async fn accept_uni(&self) -> Result<QuicRecvStream, ConnectionError> {
        Ok(QuicRecvStream::new(self.quic.accept_uni().await?))
    }

    fn close(&self, code: Code, reason: &str) {
        close(&self.quic, Mapping::Plain.encode(code), reason);
    }

    async fn closed(&self) -> ConnectionError {
        self.quic.closed().await.into()
    }

    fn expect_streams(&self) {
        self.room.expect_streams();
    }

    fn stats(&self) -> Stats {
        stats(&self.quic)
    }

    fn carrier(&self) -> Carrier {
        Carrier::Quic
    }

    fn remote_address(&self) -> Option<SocketAddr> {
        Some(self.quic.remote_address())
    }
}

/// The sending half of a stream over raw QUIC.
#[derive(Debug)]
pub struct QuicSendStream(SendHalf);

impl SendStream for QuicSendStream {
    async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        self.0.write_chunks(chunks).await.map_err(|failure| match failure {
            Failure::Peer(code) => WriteError::Stopped(code),
            Failure::Closed => WriteError::Closed,
            Failure::Lost(error) => WriteError::Connection(error.into()),
        })
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        self.0.finish(None)
    }

    fn reset(&mut self, code: Code) {
        self.0.reset(code);
    }

    fn set_priority(&mut self, priority: i32) {
        self.0.set_priority(priority);
    }

    async fn stopped(&mut self) -> Result<Option<Code>, ConnectionError> {
        Ok(self.0.stopped().await?)
    }

    fn is_over(&mut self) -> bool {
        self.0.is_over()
    }
}

/// The receiving half of a stream over raw QUIC.
#[derive(Debug)]
pub struct QuicRecvStream(RecvHalf);

impl QuicRecvStream {
    fn new(stream: quinn::RecvStream) -> Self {
        Self(RecvHalf::new(stream, Mapping::Plain, Bytes::new()))
    }
}

impl RecvStream for QuicRecvStream {
    async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        self.0.read_chunk(max).await.map_err(|failure| match failure {
            Failure::Peer(code) => ReadError::Reset(code),
            Failure::Closed => ReadError::Closed,
            Failure::Lost(error) => ReadError::Connection(error.into()),
        })
    }

    fn stop(&mut self, code: Code) {
        self.0.stop(code);
    }
}

impl From<quinn::ConnectionError> for ConnectionError {
    fn from(error: quinn::ConnectionError) -> Self {
        match error {
            quinn::ConnectionError::ApplicationClosed(close) => Self::Closed {
                code: decode(close.error_code),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            quinn::ConnectionError::LocallyClosed => Self::LocallyClosed,
            quinn::ConnectionError::TimedOut => Self::TimedOut,
            quinn::ConnectionError::Reset => Self::Reset,
            error @ (quinn::ConnectionError::VersionMismatch
            | quinn::ConnectionError::TransportError(_)
            | quinn::ConnectionError::ConnectionClosed(_)
            | quinn::ConnectionError::CidsExhausted) => Self::Transport(Arc::new(error)),
        }
    }
}

/// Closes, unless it is over already: `quinn` would take a late close for the reason of the end.
pub(crate) fn close(connection: &quinn::Connection, code: VarInt, reason: &str) {
    if connection.close_reason().is_none() {
        connection.close(code, reason.as_bytes());
    }
}

/// What `quinn` knows of the path.
pub(crate) fn stats(connection: &quinn::Connection) -> Stats {
    let stats = connection.stats();
    Stats {
        rtt: Some(stats.path.rtt),
        congestion_window: Some(stats.path.cwnd),
        delivery_rate: rate::delivery_rate(connection),
        bytes_sent: Some(stats.udp_tx.bytes),
        bytes_received: Some(stats.udp_rx.bytes),
        packets_sent: Some(stats.path.sent_packets),
        packets_lost: Some(stats.path.lost_packets),
        mtu: Some(stats.path.current_mtu),
    }
}
