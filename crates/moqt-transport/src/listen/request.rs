//! A client after its handshakes, waiting for our answer.

use std::net::SocketAddr;

use super::Reject;
#[cfg(feature = "webtransport")]
use crate::webtransport::{self, Asked};
use crate::{AcceptError, Carrier, Code, Connection, ConnectionError, NetConnection, QuicConnection};

/// A client that waits for our answer. Dropped, its connection closes.
///
/// All texts come from the client and are untrusted.
#[derive(Debug)]
pub struct Request {
    inner: Inner,
    alpn: Vec<u8>,
    server_name: Option<String>,
}

enum Inner {
    Quic(QuicConnection),
    #[cfg(feature = "webtransport")]
    WebTransport(Box<Asked>),
}

impl Request {
    pub(super) fn quic(connection: QuicConnection, alpn: Vec<u8>, server_name: Option<String>) -> Self {
        Self { inner: Inner::Quic(connection), alpn, server_name }
    }

    #[cfg(feature = "webtransport")]
    pub(super) async fn webtransport(
        connecting: quinn::Connecting,
        alpn: Vec<u8>,
        server_name: Option<String>,
    ) -> Result<Self, AcceptError> {
        // A server may speak before the client has proven anything. What HTTP/3 begins with does not depend on the client,
        // and travels with the handshake; otherwise clients would wait a round trip more for it.
        let quic = match connecting.into_0rtt() {
            Ok((quic, _complete)) => quic,
            Err(connecting) => connecting.await?,
        };
        // The client's request comes after its part of the handshake.
        let asked = webtransport::accept(quic).await?;
        Ok(Self { inner: Inner::WebTransport(Box::new(asked)), alpn, server_name })
    }

    /// Where the client is.
    pub fn remote_address(&self) -> SocketAddr {
        match &self.inner {
            Inner::Quic(connection) => connection.inner().remote_address(),
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(asked) => asked.quic().remote_address(),
        }
    }

    /// How its bytes travel.
    pub fn carrier(&self) -> Carrier {
        match &self.inner {
            Inner::Quic(_) => Carrier::Quic,
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(_) => Carrier::WebTransport,
        }
    }

    /// The ALPN agreed on: `h3` for WebTransport.
    pub fn alpn(&self) -> &[u8] {
        &self.alpn
    }

    /// The host name that the client asked TLS for; absent when it used an IP address.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Host and port of the client's URL; `None` over raw QUIC, which does not carry it.
    pub fn authority(&self) -> Option<&str> {
        match &self.inner {
            Inner::Quic(_) => None,
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(asked) => Some(asked.authority()),
        }
    }

    /// Path and query of the client's URL; empty over raw QUIC, which does not carry them.
    pub fn path(&self) -> &str {
        match &self.inner {
            Inner::Quic(_) => "",
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(asked) => asked.path(),
        }
    }

    /// The web page's origin, where a browser calls.
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// The value of a header by its lower-case name; of repeated lines the first.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().into_iter().find(|&(found, _)| found == name).map(|(_, value)| value)
    }

    /// All headers with lower-case names, HTTP/3's own (`:path`) included, in the order sent.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        match &self.inner {
            Inner::Quic(_) => Vec::new(),
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(asked) => asked.headers().collect(),
        }
    }

    /// The protocols that the client offers above WebTransport (`wt-available-protocols`), its favourite first.
    pub fn protocols(&self) -> Vec<String> {
        match &self.inner {
            Inner::Quic(_) => Vec::new(),
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(asked) => asked.protocols(),
        }
    }

    /// Lets the client in.
    ///
    /// # Errors
    ///
    /// When the connection has ended before.
    pub async fn accept(self) -> Result<NetConnection, AcceptError> {
        self.respond(None).await
    }

    /// Lets the client in, and tells it which of its [`protocols`](Self::protocols) is used above WebTransport.
    ///
    /// Over raw QUIC, where ALPN has decided that, and for a name that no header can carry, the same as
    /// [`accept`](Self::accept).
    ///
    /// # Errors
    ///
    /// When the connection has ended before.
    pub async fn accept_protocol(self, protocol: &str) -> Result<NetConnection, AcceptError> {
        self.respond(Some(protocol)).await
    }

    async fn respond(self, protocol: Option<&str>) -> Result<NetConnection, AcceptError> {
        match self.inner {
            Inner::Quic(connection) => {
                let _ = protocol;
                match connection.inner().close_reason() {
                    None => Ok(connection.into()),
                    Some(error) => Err(AcceptError::Connection(ConnectionError::from(error))),
                }
            }
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(asked) => Ok(asked.accept(protocol).await?.into()),
        }
    }

    /// Turns the client down: with an HTTP status over WebTransport, with that number as the code of the close
    /// over raw QUIC. Returns when the client has heard of it, or is too slow.
    pub async fn reject(self, reject: Reject) {
        match self.inner {
            Inner::Quic(connection) => connection.close(Code(reject.status().into()), reject.words()),
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(asked) => asked.reject(reject.status(), reject.headers()).await,
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quic(_) => "Quic",
            #[cfg(feature = "webtransport")]
            Self::WebTransport(_) => "WebTransport",
        })
    }
}
