//! A client after its handshakes, waiting for our answer.

use std::net::SocketAddr;

use crate::{AcceptError, Carrier, Code, Connection, ConnectionError, NetConnection, QuicConnection};

/// How long a refused client may take to hear of it.
#[cfg(feature = "webtransport")]
const REJECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// How to turn a client down, in HTTP's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// 403: this client may not.
    Forbidden,
    /// 404: there is nothing at this path.
    NotFound,
    /// 429: not now.
    TooManyRequests,
}

impl Reject {
    /// The number of the status.
    pub fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::TooManyRequests => 429,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::NotFound => "not found",
            Self::TooManyRequests => "too many requests",
        }
    }
}

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
    WebTransport(Box<wtransport::endpoint::SessionRequest>),
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
        let session = wtransport::endpoint::IncomingSessionFuture::with_quic_connecting(connecting)
            .await
            .map_err(|error| crate::webtransport::explain(error, None))?;
        Ok(Self { inner: Inner::WebTransport(Box::new(session)), alpn, server_name })
    }

    /// Where the client is.
    pub fn remote_address(&self) -> SocketAddr {
        match &self.inner {
            Inner::Quic(connection) => connection.inner().remote_address(),
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(session) => session.remote_address(),
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
            Inner::WebTransport(session) => Some(session.authority()),
        }
    }

    /// Path and query of the client's URL; empty over raw QUIC, which does not carry them.
    pub fn path(&self) -> &str {
        match &self.inner {
            Inner::Quic(_) => "",
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(session) => session.path(),
        }
    }

    /// The web page's origin, where a browser calls.
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// The value of a header by its lower-case name; of repeated lines only one is known.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().into_iter().find(|&(found, _)| found == name).map(|(_, value)| value)
    }

    /// All headers with lower-case names, HTTP/3's own (`:path`) included, in order of their names.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        match &self.inner {
            Inner::Quic(_) => Vec::new(),
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(session) => {
                let headers = session.headers().iter();
                let mut headers: Vec<_> =
                    headers.map(|(name, value)| (name.as_str(), value.as_str())).collect();
                headers.sort_unstable();
                headers
            }
        }
    }

    /// The protocols that the client offers above WebTransport (`wt-available-protocols`), its favourite first.
    pub fn protocols(&self) -> Vec<String> {
        self.header("wt-available-protocols").map(super::protocols::parse).unwrap_or_default()
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
        self.respond(super::protocols::string(protocol)).await
    }

    async fn respond(self, protocol: Option<String>) -> Result<NetConnection, AcceptError> {
        match self.inner {
            Inner::Quic(connection) => {
                let _ = protocol;
                match connection.inner().close_reason() {
                    None => Ok(connection.into()),
                    Some(error) => Err(AcceptError::Connection(ConnectionError::from(error))),
                }
            }
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(session) => {
                let headers = protocol.map(|protocol| ("wt-protocol", protocol));
                match session.accept_with_headers(headers).await {
                    Ok(session) => Ok(crate::WebTransportConnection::new(session).into()),
                    Err(error) => Err(AcceptError::Connection(crate::webtransport::explain(error, None))),
                }
            }
        }
    }

    /// Turns the client down: with an HTTP status over WebTransport, with that number as the code of the close
    /// over raw QUIC. Returns when the client has heard of it, or is too slow.
    pub async fn reject(self, reject: Reject) {
        match self.inner {
            Inner::Quic(connection) => connection.close(Code(reject.status().into()), reject.words()),
            #[cfg(feature = "webtransport")]
            Inner::WebTransport(session) => {
                let answer = async {
                    match reject {
                        Reject::Forbidden => session.forbidden().await,
                        Reject::NotFound => session.not_found().await,
                        Reject::TooManyRequests => session.too_many_requests().await,
                    }
                };
                // A client that does not acknowledge has no right to more of our time.
                let _ = tokio::time::timeout(REJECT_TIMEOUT, answer).await;
            }
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
