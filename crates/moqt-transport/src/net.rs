//! One connection type for both carriers, by static dispatch.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::{
    Carrier, Code, Connection, ConnectionError, QuicConnection, QuicRecvStream, QuicSendStream, ReadError,
    RecvStream, SendStream, Stats, WriteError,
};
#[cfg(feature = "webtransport")]
use crate::{WebTransportConnection, WebTransportRecvStream, WebTransportSendStream};

/// A connection over either carrier; clones are handles to the same one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NetConnection {
    /// QUIC with an ALPN of its own.
    Quic(QuicConnection),
    /// WebTransport over HTTP/3.
    #[cfg(feature = "webtransport")]
    WebTransport(WebTransportConnection),
}

/// The sending half of a stream of a [`NetConnection`].
#[derive(Debug)]
#[non_exhaustive]
pub enum NetSendStream {
    /// Of a raw QUIC connection.
    Quic(QuicSendStream),
    /// Of a WebTransport session.
    #[cfg(feature = "webtransport")]
    WebTransport(WebTransportSendStream),
}

/// The receiving half of a stream of a [`NetConnection`].
#[derive(Debug)]
#[non_exhaustive]
pub enum NetRecvStream {
    /// Of a raw QUIC connection.
    Quic(QuicRecvStream),
    /// Of a WebTransport session.
    #[cfg(feature = "webtransport")]
    WebTransport(WebTransportRecvStream),
}

/// Runs `$body` on whichever carrier `$this` is.
macro_rules! either {
    ($type:ident, $this:expr, $inner:pat => $body:expr) => {
        match $this {
            $type::Quic($inner) => $body,
            #[cfg(feature = "webtransport")]
            $type::WebTransport($inner) => $body,
        }
    };
}

/// Like [`either!`], and puts the result back into the sum type by `$wrap`.
macro_rules! rewrap {
    ($this:expr, $inner:ident => $body:expr, $result:pat => [$($wrapper:ident $part:expr),+]) => {
        match $this {
            NetConnection::Quic($inner) => {
                let $result = $body;
                Ok(($($wrapper::Quic($part)),+))
            }
            #[cfg(feature = "webtransport")]
            NetConnection::WebTransport($inner) => {
                let $result = $body;
                Ok(($($wrapper::WebTransport($part)),+))
            }
        }
    };
}

impl NetConnection {
    /// The QUIC connection beneath, for what the traits do not offer.
    ///
    /// Closing it, or opening and accepting streams on it, is not for users of this type.
    pub fn quic(&self) -> &quinn::Connection {
        match self {
            Self::Quic(connection) => connection.inner(),
            #[cfg(feature = "webtransport")]
            Self::WebTransport(connection) => connection.quic(),
        }
    }

    /// The ALPN that the two sides agreed on: `h3` for WebTransport.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        let data = self.quic().handshake_data()?;
        data.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?.protocol
    }
}

impl From<QuicConnection> for NetConnection {
    fn from(connection: QuicConnection) -> Self {
        Self::Quic(connection)
    }
}

#[cfg(feature = "webtransport")]
impl From<WebTransportConnection> for NetConnection {
    fn from(connection: WebTransportConnection) -> Self {
        Self::WebTransport(connection)
    }
}

impl Connection for NetConnection {
    type SendStream = NetSendStream;
    type RecvStream = NetRecvStream;

    async fn open_bi(&self) -> Result<(NetSendStream, NetRecvStream), ConnectionError> {
        rewrap!(self, inner => inner.open_bi().await?, (send, recv) => [NetSendStream send, NetRecvStream recv])
    }

    async fn open_uni(&self) -> Result<NetSendStream, ConnectionError> {
        rewrap!(self, inner => inner.open_uni().await?, send => [NetSendStream send])
    }

    async fn accept_bi(&self) -> Result<(NetSendStream, NetRecvStream), ConnectionError> {
        rewrap!(self, inner => inner.accept_bi().await?, (send, recv) => [NetSendStream send, NetRecvStream recv])
    }

    async fn accept_uni(&self) -> Result<NetRecvStream, ConnectionError> {
        rewrap!(self, inner => inner.accept_uni().await?, recv => [NetRecvStream recv])
    }

    fn close(&self, code: Code, reason: &str) {
        either!(NetConnection, self, inner => inner.close(code, reason));
    }

    async fn closed(&self) -> ConnectionError {
        either!(NetConnection, self, inner => inner.closed().await)
    }

    fn expect_streams(&self) {
        either!(NetConnection, self, inner => inner.expect_streams());
    }

    fn stats(&self) -> Stats {
        either!(NetConnection, self, inner => inner.stats())
    }

    fn carrier(&self) -> Carrier {
        either!(NetConnection, self, inner => inner.carrier())
    }

    fn remote_address(&self) -> Option<SocketAddr> {
        either!(NetConnection, self, inner => inner.remote_address())
    }
}

impl SendStream for NetSendStream {
    async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        either!(NetSendStream, self, inner => inner.write_chunks(chunks).await)
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        either!(NetSendStream, self, inner => inner.finish())
    }

    fn reset(&mut self, code: Code) {
        either!(NetSendStream, self, inner => inner.reset(code));
    }

    fn set_priority(&mut self, priority: i32) {
        either!(NetSendStream, self, inner => inner.set_priority(priority));
    }

    async fn stopped(&mut self) -> Result<Option<Code>, ConnectionError> {
        either!(NetSendStream, self, inner => inner.stopped().await)
    }

    fn is_over(&mut self) -> bool {
        either!(NetSendStream, self, inner => inner.is_over())
    }
}

impl RecvStream for NetRecvStream {
    async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        either!(NetRecvStream, self, inner => inner.read_chunk(max).await)
    }

    fn stop(&mut self, code: Code) {
        either!(NetRecvStream, self, inner => inner.stop(code));
    }
}
