//! The side that is connected to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use moqt_session::{Allowance, Config, Handshake, Origin, Reason, Session, SessionError};
use moqt_transport::{
    Carrier, Code, Connection as _, ListenOptions, Listener, NetConnection, TransportOptions,
};
use moqt_wire::Version;

use crate::{
    certificate::{Certificate, CertificateError},
    client::alpns,
    error::BindError,
};

/// How a server listens: one UDP port for raw QUIC and WebTransport.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The address; `[::]` means all addresses of both families.
    pub bind: SocketAddr,
    /// What it shows to clients.
    pub certificate: Certificate,
    /// Settings of QUIC.
    pub transport: TransportOptions,
    /// Settings of sessions.
    pub session: Config,
    /// From a client's first packet to the end of its QUIC, TLS and HTTP/3 handshakes.
    pub handshake_timeout: Duration,
    /// Whether there may be other servers on the same port, see [`Server::share`].
    pub shared: bool,
}

impl ServerOptions {
    /// The defaults, on an address and with a certificate.
    #[must_use]
    pub fn new(bind: SocketAddr, certificate: Certificate) -> Self {
        Self {
            bind,
            certificate,
            transport: TransportOptions::default(),
            session: Config::default(),
            handshake_timeout: Listener::HANDSHAKE_TIMEOUT,
            shared: false,
        }
    }
}

/// Accepts sessions over both carriers on one UDP port. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Server {
    listener: Listener,
    address: SocketAddr,
    session: Arc<Config>,
    handshake_timeout: Duration,
}

impl Server {
    /// Listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`BindError`], with a hint.
    pub fn bind(options: ServerOptions) -> Result<Self, BindError> {
        let ServerOptions { bind, certificate, transport, session, handshake_timeout, shared } = options;
        let tls = certificate.server_config().map_err(CertificateError::from)?;
        let listen = ListenOptions { alpns: alpns(&session), webtransport: true, transport, shared };
        let failed = |error| BindError::new(bind, error);
        let listener = Listener::bind(bind, tls, listen).map_err(failed)?;
        let address = listener.local_addr().unwrap_or(bind);
        Ok(Self { listener, address, session: Arc::new(session), handshake_timeout })
    }

    /// Another server on the same port, with a socket of its own, for clients that the system gives to it. Must be
    /// called within a tokio runtime, which may be another one. Of clients whose addresses change, and of the end of
    /// one of the servers, see [`Listener::share`].
    ///
    /// # Errors
    ///
    /// [`BindError`], with a hint; so where this one was bound without [`ServerOptions::shared`].
    pub fn share(&self) -> Result<Self, BindError> {
        let listener = self.listener.share().map_err(|error| BindError::new(self.address, error))?;
        Ok(Self { listener, ..self.clone() })
    }

    /// The address listened on, with the port that the system chose where none was given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The transport's listener, for what this type does not show.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Waits for a client's first packet; `None` once the server is closed. Cancel safe.
    ///
    /// What takes time is [`Incoming::handshake`], which belongs into a task of its own.
    pub async fn accept(&self) -> Option<Incoming> {
        let inner = self.listener.accept().await?;
        let (session, handshake_timeout) = (Arc::clone(&self.session), self.handshake_timeout);
        Some(Incoming { inner, session, handshake_timeout })
    }

    /// Accepts no more and closes all connections.
    pub fn close(&self) {
        self.listener.close(Code::NONE, "");
    }

    /// Waits until no connection is left, so that clients have heard of their ends. Cancel safe.
    pub async fn wait_idle(&self) {
        self.listener.wait_idle().await;
    }
}

/// A client that has sent its first packet. Dropped, it is refused.
#[derive(Debug)]
pub struct Incoming {
    inner: moqt_transport::Incoming,
    session: Arc<Config>,
    handshake_timeout: Duration,
}

/// Why a client got no session.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// There is no connection.
    #[error("no connection")]
    Connection(#[from] moqt_transport::AcceptError),
    /// There is no session on it.
    #[error("no session")]
    Session(#[from] SessionError),
}

impl Incoming {
    /// Where the client says it is; proven only if [`is_validated`](Self::is_validated).
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Whether the client has proven that it receives packets at its address.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.inner.is_validated()
    }

    /// Asks the client to prove its address and to come again; at the cost of a round trip, and of no memory. Refuses
    /// a client that has proven it already.
    pub fn retry(self) {
        self.inner.retry();
    }

    /// Tells the client that it is not wanted.
    pub fn refuse(self) {
        self.inner.refuse();
    }

    /// Does all handshakes: QUIC, TLS, HTTP/3 where it is, and MoQ.
    ///
    /// # Errors
    ///
    /// Why the client did not get that far.
    pub async fn handshake(self) -> Result<Request, AcceptError> {
        let request = self.inner.accept(self.handshake_timeout).await?;
        let remote = request.remote_address();
        let path = request.path().to_owned();
        let host = request.authority().or(request.server_name()).map(str::to_owned);
        let connection = request.accept().await?;
        let handshake = Handshake::accept(connection, (*self.session).clone()).await?;
        let path = handshake.path().map_or(path, str::to_owned);
        Ok(Request { handshake, remote, path, host })
    }
}

/// A client whose handshakes are done and that waits for its session. Dropped, its connection closes.
pub struct Request {
    handshake: Handshake<NetConnection>,
    remote: SocketAddr,
    path: String,
    host: Option<String>,
}

impl Request {
    /// Where the client is.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.remote
    }

    /// Path and query that the client asked for; empty where it named none. Untrusted.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host that the client asked for, as far as the carrier tells it. Untrusted.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// How the bytes travel.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.handshake.connection().carrier()
    }

    /// The version agreed on.
    #[must_use]
    pub fn version(&self) -> Version {
        self.handshake.version()
    }

    /// What the client may bring together with other sessions of its source.
    #[must_use]
    pub fn within(mut self, source: Allowance) -> Self {
        self.handshake = self.handshake.within(source);
        self
    }

    /// Starts the session; the client is served from `origin`.
    #[must_use]
    pub fn start(self, origin: Arc<dyn Origin>) -> Session {
        self.handshake.start(origin)
    }

    /// Turns the client down and closes its connection.
    pub fn refuse(self, reason: Reason) {
        self.handshake.refuse(reason);
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("remote", &self.remote)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
