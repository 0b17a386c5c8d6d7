//! WebTransport over HTTP/3, on connections of `quinn`.
//!
//! Sessions have a driver of their own, on the protocol layer of `wtransport`: what the bytes mean is decided
//! without I/O (`frame`, `capsule`, `settings`, `fields`, `message`, `head`), and one task per session carries
//! them (`driver`). Streams of a session are `quinn`'s, with nothing in between.

mod accept;
mod capsule;
mod driver;
mod end;
mod error;
mod fields;
mod frame;
#[cfg(feature = "conformance")]
pub mod fuzz;
mod handshake;
mod head;
mod limits;
mod message;
mod protocols;
mod session;
mod settings;
mod stream;
mod varint;
mod wake;

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
};

use bytes::Bytes;

pub use self::fields::InvalidHeader;
use self::session::Session;
pub(crate) use self::{
    handshake::{Asked, HandshakeError, accept, connect},
    message::ClientRequest,
};
use crate::{
    Carrier, Code, Connection, ConnectionError, ReadError, RecvStream, SendStream, Stats, WriteError,
    quinn::{
        half::{Failure, RecvHalf, SendHalf},
        stats,
    },
    wire_code::Mapping,
};

/// A WebTransport session, alone on its QUIC connection; clones are handles to the same one.
///
/// Codes travel in WebTransport's range of the HTTP/3 error space and are 32 bits wide: a larger one is sent
/// as `u32::MAX`. A received code outside of that range stands for itself.
///
/// A close is said within the session, with up to 1024 bytes of its words. The QUIC connection follows when the peer
/// has agreed, or after a second.
#[derive(Clone, Debug)]
pub struct WebTransportConnection(Arc<Session>);

impl WebTransportConnection {
    fn new(session: Session) -> Self {
        Self(Arc::new(session))
    }

    /// The QUIC connection beneath, for what the traits do not offer.
    pub fn quic(&self) -> &quinn::Connection {
        &self.0.quic
    }

    /// The lines of the peer's half of the handshake, in the order sent: of the request where we are the server, of
    /// the answer where we are the client. Untrusted.
    pub fn headers(&self) -> &[(String, String)] {
        &self.0.headers
    }

    /// The protocol above WebTransport that both sides agreed on (`wt-protocol`), if they did.
    pub fn protocol(&self) -> Option<&str> {
        self.0.protocol.as_deref()
    }

    /// The header by which a client offers protocols above WebTransport, its favourite first; for
    /// [`Dialer::connect_webtransport`](crate::Dialer::connect_webtransport).
    ///
    /// `None` for a name that no header can carry.
    pub fn offer(protocols: &[&str]) -> Option<(String, String)> {
        Some((message::OFFERED_PROTOCOLS.to_owned(), protocols::write(protocols)?))
    }

    /// Tells the peer that the session should come to an end soon. Nothing ends by that.
    pub fn drain(&self) {
        self.0.shared.order(|orders| orders.drain = true);
    }

    /// Waits until the peer has said that the session should come to an end soon, or until the session has ended.
    /// Cancel safe.
    pub async fn draining(&self) {
        self.0.shared.draining().await;
    }

    /// A handle that does not keep the session alive.
    pub(crate) fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.0))
    }

    fn sender(&self, stream: quinn::SendStream, head: Bytes) -> WebTransportSendStream {
        let half = SendHalf::new(stream, Mapping::WebTransport, head, self.0.room.clone());
        WebTransportSendStream { half, session: self.clone() }
    }

    fn receiver(&self, stream: quinn::RecvStream, ahead: Bytes) -> WebTransportRecvStream {
        let half = RecvHalf::new(stream, Mapping::WebTransport, ahead);
        WebTransportRecvStream { half, session: self.clone() }
    }
}

/// Whether a header of ours can be sent.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), InvalidHeader> {
    fields::Fields::default().push(name, value)
}

/// A session that may be gone.
#[derive(Debug)]
pub(crate) struct WeakSession(Weak<Session>);

impl WeakSession {
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Ends session and connection at once.
    pub(crate) fn abort(&self, code: Code, reason: &str) {
        if let Some(session) = self.0.upgrade() {
            session.abort(code, reason);
        }
    }
}

impl Connection for WebTransportConnection {
    type SendStream = WebTransportSendStream;
    type RecvStream = WebTransportRecvStream;

    async fn open_bi(&self) -> Result<(WebTransportSendStream, WebTransportRecvStream), ConnectionError> {
        let (send, recv) = self.0.or_end(async { Ok(self.0.quic.open_bi().await?) }).await?;
        Ok((self.sender(send, self.0.bidi_head.clone()), self.receiver(recv, Bytes::new())))
    }

    async fn open_uni(&self) -> Result<WebTransportSendStream, ConnectionError> {
        let send = self.0.or_end(async { Ok(self.0.quic.open_uni().await?) }).await?;
        Ok(self.sender(send, self.0.uni_head.clone()))
    }

    async fn accept_bi(&self) -> Result<(WebTransportSendStream, WebTransportRecvStream), ConnectionError> {
        // In a box: whoever waits for a request keeps room for it all the while.
        let (send, recv, ahead) = Box::pin(self.0.next_bidi()).await?;
        Ok((self.sender(send, Bytes::new()), self.receiver(recv, ahead)))
    }

    async fn accept_uni(&self) -> Result<WebTransportRecvStream, ConnectionError> {
        let (recv, ahead) = self.0.next_uni().await?;
        Ok(self.receiver(recv, ahead))
    }

    fn close(&self, code: Code, reason: &str) {
        self.0.close(code, reason);
    }

    async fn closed(&self) -> ConnectionError {
        self.0.shared.ended().await
    }

    fn expect_streams(&self) {
        self.0.room.expect_streams();
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

impl Drop for WebTransportSendStream {
    fn drop(&mut self) {
        if !self.session.0.shared.keep_sender(|| self.half.take()) {
            self.half.give_up_behind_header(Code::NONE, &self.session.0.runtime);
        }
    }
}

impl SendStream for WebTransportSendStream {
    async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        let shared = &self.session.0.shared;
        if let Some(end) = shared.end() {
            return Err(WriteError::Connection(end));
        }
        match shared.until_end(self.half.write_chunks(chunks)).await {
            Some(Ok(written)) => Ok(written),
            Some(Err(Failure::Peer(code))) => Err(WriteError::Stopped(code)),
            Some(Err(Failure::Closed)) => Err(WriteError::Closed),
            Some(Err(Failure::Lost(_))) | None => Err(WriteError::Connection(shared.ended().await)),
        }
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        self.half.finish(Some(&self.session.0.runtime))
    }

    fn reset(&mut self, code: Code) {
        if !self.session.0.shared.keep_sender(|| self.half.take()) {
            self.half.reset_behind_header(code, &self.session.0.runtime);
        }
    }

    fn set_priority(&mut self, priority: i32) {
        self.half.set_priority(priority);
    }

    async fn stopped(&mut self) -> Result<Option<Code>, ConnectionError> {
        let shared = &self.session.0.shared;
        match shared.until_end(self.half.stopped()).await {
            Some(Ok(code)) => Ok(code),
            Some(Err(_)) | None => Err(shared.ended().await),
        }
    }

    fn is_over(&mut self) -> bool {
        self.half.is_over()
    }
}

/// The receiving half of a WebTransport stream.
#[derive(Debug)]
pub struct WebTransportRecvStream {
    half: RecvHalf,
    // After the half: the last stream ends before the connection does.
    session: WebTransportConnection,
}

impl Drop for WebTransportRecvStream {
    fn drop(&mut self) {
        self.stop(Code::NONE);
    }
}

impl RecvStream for WebTransportRecvStream {
    async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        let shared = &self.session.0.shared;
        // What has arrived before the end may still be read.
        match shared.until_end(self.half.read_chunk(max)).await {
            Some(Ok(chunk)) => Ok(chunk),
            Some(Err(Failure::Peer(code))) => Err(ReadError::Reset(code)),
            Some(Err(Failure::Closed)) => Err(ReadError::Closed),
            Some(Err(Failure::Lost(_))) | None => Err(ReadError::Connection(shared.ended().await)),
        }
    }

    fn stop(&mut self, code: Code) {
        if !self.session.0.shared.keep_receiver(|| self.half.take()) {
            self.half.stop(code);
        }
    }
}
