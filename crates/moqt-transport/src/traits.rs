//! The contract. Each line of it is a test of the conformance suite.

use std::{future::Future, net::SocketAddr};

use bytes::Bytes;

use crate::{Code, ConnectionError, ReadError, Stats, WriteError};

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Carrier {
    /// QUIC with an ALPN of its own.
    Quic,
    /// WebTransport over HTTP/3.
    WebTransport,
    /// A simulation.
    Simulated,
}

/// A connection; clones are handles to the same one.
///
/// - Dropping the last handle, and all its streams, closes the connection with [`Code::NONE`].
/// - Once it has ended, each pending and each later operation fails with the reason for the end.
pub trait Connection: Clone + Send + Sync + 'static {
    /// The sending half of a stream.
    type SendStream: SendStream;
    /// The receiving half of a stream.
    type RecvStream: RecvStream;

    /// Opens a bidirectional stream; waits while the peer's limit on streams is reached. Cancel safe.
    ///
    /// The peer learns of the stream with its first byte.
    fn open_bi(
        &self,
    ) -> impl Future<Output = Result<(Self::SendStream, Self::RecvStream), ConnectionError>> + Send;

    /// Opens a unidirectional stream; waits while the peer's limit on streams is reached. Cancel safe.
    fn open_uni(&self) -> impl Future<Output = Result<Self::SendStream, ConnectionError>> + Send;

    /// Waits for the next bidirectional stream of the peer. Cancel safe.
    fn accept_bi(
        &self,
    ) -> impl Future<Output = Result<(Self::SendStream, Self::RecvStream), ConnectionError>> + Send;

    /// Waits for the next unidirectional stream of the peer. Cancel safe.
    fn accept_uni(&self) -> impl Future<Output = Result<Self::RecvStream, ConnectionError>> + Send;

    /// Ends the connection at once, telling the peer `code` and `reason`. Unsent data is dropped.
    ///
    /// Later calls do nothing: the first code stands.
    fn close(&self, code: Code, reason: &str);

    /// Waits until the connection has ended, and says why; the peer's code and words where it closed.
    fn closed(&self) -> impl Future<Output = ConnectionError> + Send;

    /// From now on unidirectional streams of the peer are expected: it may have as many open as the settings allow,
    /// where it was few until then. Each that may be opened takes memory. Does nothing a second time, nor where the
    /// backend has no such difference.
    fn expect_streams(&self) {}

    /// What the backend knows of the path.
    fn stats(&self) -> Stats;

    /// How the bytes travel.
    fn carrier(&self) -> Carrier;

    /// Where the peer is, as far as the carrier has addresses.
    fn remote_address(&self) -> Option<SocketAddr>;
}

/// The sending half of a stream. Dropped without [`finish`](Self::finish), it is reset with [`Code::NONE`].
pub trait SendStream: Send + Sync + 'static {
    /// Writes from the front of `chunks` as much as flow control takes, at least one byte, and returns how
    /// many bytes that was.
    ///
    /// Chunks written whole are left empty, the last one touched may be shortened from its front; nothing is
    /// copied. Returns 0 only when every chunk is empty.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: `chunks` says exactly what was not yet written.
    fn write_chunks(
        &mut self,
        chunks: &mut [Bytes],
    ) -> impl Future<Output = Result<usize, WriteError>> + Send;

    /// Writes all of `chunk`.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: an unknown part of it may have been written.
    fn write_all(&mut self, chunk: Bytes) -> impl Future<Output = Result<(), WriteError>> + Send {
        async move {
            let mut chunks = [chunk];
            while chunks.iter().any(|chunk| !chunk.is_empty()) {
                self.write_chunks(&mut chunks).await?;
            }
            Ok(())
        }
    }

    /// Ends the stream; what was written will be delivered. Returns at once.
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`] after an earlier `finish` or `reset`.
    fn finish(&mut self) -> Result<(), WriteError>;

    /// Gives the stream up: bytes not yet delivered may be dropped. Does nothing after `reset`.
    fn reset(&mut self, code: Code);

    /// Of what two streams have handed over, that of the higher priority is sent first; the default is 0.
    ///
    /// A change takes effect on bytes not yet handed to the backend, which takes little more than it can send. Of
    /// writers that find no room, the one that is polled first gets it when there is some: to let the more important
    /// one go first is up to the user, for only the user knows them all. A stream of [`i32::MAX`] need not wait for the
    /// room that others have taken, up to some kB of a connection; it is for the little that controls them.
    fn set_priority(&mut self, priority: i32);

    /// Waits until the peer needs nothing more of this stream: `Some(code)` when it stopped it, `None` when it
    /// has acknowledged everything up to and including the end, and at once after `reset`. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the connection ends before.
    fn stopped(&mut self) -> impl Future<Output = Result<Option<Code>, ConnectionError>> + Send;

    /// Whether [`stopped`](Self::stopped) has its answer, for a stream that is finished or reset. Asking wakes nobody
    /// later: one who looks now and then, at many streams, has it cheaper than by waiting for each.
    ///
    /// Of an ended connection it need not be true.
    fn is_over(&mut self) -> bool;
}

/// The receiving half of a stream. Dropped before its end, it is stopped with [`Code::NONE`].
pub trait RecvStream: Send + Sync + 'static {
    /// Returns the next bytes in order, at most `max` of them, or `None` at the end of the stream.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no bytes are lost.
    fn read_chunk(&mut self, max: usize) -> impl Future<Output = Result<Option<Bytes>, ReadError>> + Send;

    /// Tells the peer that the rest is not wanted. Does nothing after the end or a second time.
    fn stop(&mut self, code: Code);
}
