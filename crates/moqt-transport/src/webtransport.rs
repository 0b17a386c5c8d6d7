//! WebTransport over HTTP/3 by `wtransport`.
//!
//! The session driver is `wtransport`'s. Streams are used through the `quinn` streams inside, which move
//! `Bytes`; streams of ours are opened on the QUIC connection directly.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::runtime::Handle;

use crate::{
    Carrier, Code, Connection, ConnectionError, ReadError, RecvStream, SendStream, Stats, WriteError,
    quinn::{
        close,
        half::{Failure, Header, Receiver, RecvHalf, SendHalf, Sender},
        stats,
    },
    wire_code::{Mapping, decode},
};

/// Announces a unidirectional stream of a session.
const UNI_STREAM: u32 = 0x54;
/// Announces a bidirectional stream of a session.
const BIDI_STREAM: u32 = 0x41;

/// A WebTransport session, alone on its QUIC connection; clones are handles to the same one.
///
/// Codes travel in WebTransport's range of the HTTP/3 error space and are 32 bits wide: a larger one is sent
/// as `u32::MAX`. A received code outside of that range stands for itself.
#[derive(Clone, Debug)]
pub struct WebTransportConnection(Arc<Session>);

#[derive(Debug)]
struct Session {
    inner: wtransport::Connection,
    uni_header: Bytes,
    bidi_header: Bytes,
    runtime: Handle,
    end: OnceLock<ConnectionError>,
}

impl WebTransportConnection {
    /// Wraps an established session.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, where there are no sessions either.
    pub fn new(session: wtransport::Connection) -> Self {
        let id = session.session_id().into_varint().into_inner();
        Self(Arc::new(Session {
            inner: session,
            uni_header: stream_header(UNI_STREAM, id),
            bidi_header: stream_header(BIDI_STREAM, id),
            runtime: Handle::current(),
            end: OnceLock::new(),
        }))
    }

    /// The QUIC connection beneath, for what the traits do not offer.
    pub fn quic(&self) -> &quinn::Connection {
        self.0.inner.quic_connection()
    }

    fn sender(&self, sender: Sender, header: Bytes) -> WebTransportSendStream {
        let header = Header { bytes: header, runtime: Some(self.0.runtime.clone()) };
        let half = SendHalf::new(sender, Mapping::WebTransport, header);
        WebTransportSendStream { half, session: self.clone() }
    }

    fn receiver(&self, receiver: Receiver) -> WebTransportRecvStream {
        let half = RecvHalf::new(receiver, Mapping::WebTransport);
        WebTransportRecvStream { half, session: self.clone() }
    }

    /// Waits for the end, and says why.
    ///
    /// The QUIC connection alone does not know: after the peer's closing capsule the driver closes it, as if
    /// we had. The driver tells the truth through its queues; the one of datagrams is used by nobody else.
    async fn end(&self) -> ConnectionError {
        if let Some(end) = self.0.end.get() {
            return end.clone();
        }
        loop {
            if let Err(error) = self.0.inner.receive_datagram().await {
                return self.0.end.get_or_init(|| explain(error, self.quic().close_reason())).clone();
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Before the driver ends its control streams, which the peer would take for an HTTP/3 error.
        let code = Mapping::WebTransport.encode(Code::NONE);
        close(self.inner.quic_connection(), code, "");
    }
}

impl Connection for WebTransportConnection {
    type SendStream = WebTransportSendStream;
    type RecvStream = WebTransportRecvStream;

    async fn open_bi(&self) -> Result<(WebTransportSendStream, WebTransportRecvStream), ConnectionError> {
        match self.quic().open_bi().await {
            Ok((send, recv)) => Ok((
                self.sender(Sender::Own(send), self.0.bidi_header.clone()),
                self.receiver(Receiver::Own(recv)),
            )),
            Err(_) => Err(self.end().await),
        }
    }

    async fn open_uni(&self) -> Result<WebTransportSendStream, ConnectionError> {
        match self.quic().open_uni().await {
            Ok(send) => Ok(self.sender(Sender::Own(send), self.0.uni_header.clone())),
            Err(_) => Err(self.end().await),
        }
    }

    async fn accept_bi(&self) -> Result<(WebTransportSendStream, WebTransportRecvStream), ConnectionError> {
        match self.0.inner.accept_bi().await {
            Ok((send, recv)) => {
                Ok((self.sender(Sender::Session(send), Bytes::new()), self.receiver(Receiver::Session(recv))))
            }
            Err(_) => Err(self.end().await),
        }
    }

    async fn accept_uni(&self) -> Result<WebTransportRecvStream, ConnectionError> {
        match self.0.inner.accept_uni().await {
            Ok(recv) => Ok(self.receiver(Receiver::Session(recv))),
            Err(_) => Err(self.end().await),
        }
    }

    fn close(&self, code: Code, reason: &str) {
        close(self.quic(), Mapping::WebTransport.encode(code), reason);
    }

    async fn closed(&self) -> ConnectionError {
        self.end().await
    }

    fn stats(&self) -> Stats {
        stats(self.quic())
    }

    fn carrier(&self) -> Carrier {
        Carrier::WebTransport
    }

    fn remote_address(&self) -> Option<SocketAddr> {
        Some(self.quic().remote_address())
    }
}

/// The sending half of a WebTransport stream.
#[derive(Debug)]
pub struct WebTransportSendStream {
    half: SendHalf,
    // After the half: the last stream ends before the connection does.
    session: WebTransportConnection,
}

impl SendStream for WebTransportSendStream {
    async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        match self.half.write_chunks(chunks).await {
            Ok(written) => Ok(written),
            Err(Failure::Peer(code)) => Err(WriteError::Stopped(code)),
            Err(Failure::Closed) => Err(WriteError::Closed),
            Err(Failure::Lost(_)) => Err(WriteError::Connection(self.session.end().await)),
        }
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        self.half.finish()
    }

    fn reset(&mut self, code: Code) {
        self.half.reset(code);
    }

    fn set_priority(&mut self, priority: i32) {
        self.half.set_priority(priority);
    }

    async fn stopped(&mut self) -> Result<Option<Code>, ConnectionError> {
        match self.half.stopped().await {
            Ok(code) => Ok(code),
            Err(_) => Err(self.session.end().await),
        }
    }
}

/// The receiving half of a WebTransport stream.
#[derive(Debug)]
pub struct WebTransportRecvStream {
    half: RecvHalf,
    // After the half: the last stream ends before the connection does.
    session: WebTransportConnection,
}

impl RecvStream for WebTransportRecvStream {
    async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        match self.half.read_chunk(max).await {
            Ok(chunk) => Ok(chunk),
            Err(Failure::Peer(code)) => Err(ReadError::Reset(code)),
            Err(Failure::Closed) => Err(ReadError::Closed),
            Err(Failure::Lost(_)) => Err(ReadError::Connection(self.session.end().await)),
        }
    }

    fn stop(&mut self, code: Code) {
        self.half.stop(code);
    }
}

/// An HTTP/3 error by which the peer ended the QUIC connection.
#[derive(Debug, thiserror::Error)]
#[error("peer ended the connection with an HTTP/3 error: {0}")]
struct Http3Closed(quinn::ApplicationClose);

/// Puts the driver's error beside QUIC's, and keeps the one that knows more.
pub(crate) fn explain(
    driver: wtransport::error::ConnectionError,
    quic: Option<quinn::ConnectionError>,
) -> ConnectionError {
    use wtransport::error::ConnectionError as Driver;

    match (driver, quic) {
        // Not a close of the QUIC connection but a capsule, whose code is not mapped.
        (Driver::ApplicationClosed(close), quic) if !is_same_close(&close, quic.as_ref()) => {
            ConnectionError::Closed {
                code: Code(close.code().into_inner()),
                reason: String::from_utf8_lossy(close.reason()).into_owned(),
            }
        }
        (Driver::LocalH3Error(error), _) => ConnectionError::Transport(Arc::new(Driver::LocalH3Error(error))),
        (_, Some(quinn::ConnectionError::ApplicationClosed(close))) => application_close(close),
        (_, Some(error)) => error.into(),
        (Driver::LocallyClosed, None) => ConnectionError::LocallyClosed,
        (Driver::TimedOut, None) => ConnectionError::TimedOut,
        (error, None) => ConnectionError::Transport(Arc::new(error)),
    }
}

fn is_same_close(close: &wtransport::error::ApplicationClose, quic: Option<&quinn::ConnectionError>) -> bool {
    matches!(quic, Some(quinn::ConnectionError::ApplicationClosed(quic))
        if quic.error_code.into_inner() == close.code().into_inner())
}

fn application_close(close: quinn::ApplicationClose) -> ConnectionError {
    let code = match close.error_code.into_inner() {
        // H3_NO_ERROR
        0x100 => Code::NONE,
        // The errors of HTTP/3 and of its header compression.
        0x101..=0x110 | 0x200..=0x202 => return ConnectionError::Transport(Arc::new(Http3Closed(close))),
        _ => decode(close.error_code),
    };
    ConnectionError::Closed { code, reason: String::from_utf8_lossy(&close.reason).into_owned() }
}

/// What every stream of a session starts with: its kind and the session's id, both as QUIC varints.
fn stream_header(kind: u32, session: u64) -> Bytes {
    let mut header = BytesMut::with_capacity(2 + 8);
    put_varint(&mut header, kind.into());
    put_varint(&mut header, session);
    header.freeze()
}

fn put_varint(buf: &mut BytesMut, value: u64) {
    match value {
        0..=0x3f => buf.put_uint(value, 1),
        0x40..=0x3fff => buf.put_uint(value | 0x4000, 2),
        0x4000..=0x3fff_ffff => buf.put_uint(value | 0x8000_0000, 4),
        // The session's id is a stream id, below 2^62.
        _ => buf.put_u64(value | 0xc000_0000_0000_0000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_headers_are_two_varints() {
        assert_eq!(stream_header(UNI_STREAM, 0)[..], [0x40, 0x54, 0x00]);
        assert_eq!(stream_header(BIDI_STREAM, 4)[..], [0x40, 0x41, 0x04]);
        assert_eq!(stream_header(BIDI_STREAM, 15293)[..], [0x40, 0x41, 0x7b, 0xbd]);
        assert_eq!(stream_header(UNI_STREAM, 494_878_333)[2..], [0x9d, 0x7f, 0x3e, 0x7d]);
        assert_eq!(
            stream_header(UNI_STREAM, 151_288_809_941_952_652)[2..],
            [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]
        );
    }
}
