//! The accepting side: one UDP port for both carriers, told apart by ALPN.

mod error;
mod reject;
mod request;
mod share;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};

use self::share::Share;
pub use self::{
    error::{AcceptError, ListenError},
    reject::Reject,
    request::Request,
};
use crate::{
    Code, QuicConnection,
    options::{SocketBuffers, TransportOptions, bind},
    wire_code::Mapping,
};

/// The ALPN of HTTP/3, and so of WebTransport.
pub(crate) const ALPN_HTTP3: &[u8] = b"h3";

/// What a [`Listener`] offers.
#[derive(Clone, Debug, Default)]
pub struct ListenOptions {
    /// ALPNs for raw QUIC, the preferred one first. Where a client offers several, these go before WebTransport.
    pub alpns: Vec<Vec<u8>>,
    /// Whether to accept WebTransport; needs the feature `webtransport`.
    pub webtransport: bool,
    /// Settings of QUIC and the socket.
    pub transport: TransportOptions,
    /// Whether there may be other listeners on the same port, see [`Listener::share`].
    pub shared: bool,
}

/// Accepts connections over raw QUIC and WebTransport on one UDP port; clones are handles to the same one.
///
/// Dropping it stops accepting, and leaves established connections alone.
#[derive(Clone, Debug)]
pub struct Listener {
    endpoint: quinn::Endpoint,
    options: Arc<ListenOptions>,
    buffers: SocketBuffers,
    /// Where there may be others on the same port.
    share: Option<Arc<Share>>,
}

impl Listener {
    /// How long a handshake may take, unless there is a reason for another time.
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

    /// Listens on `address`; `[::]` means all addresses of both families.
    ///
    /// The ALPNs in `tls` are replaced by those of `options`, and early data is never accepted. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// - [`ListenError::Bind`]: the socket could not be had.
    /// - [`ListenError::Tls`]: `tls` cannot serve QUIC.
    /// - [`ListenError::NoProtocol`]: `options` offer nothing that this build can do.
    /// - [`ListenError::Unshared`]: the port is to be [shared](ListenOptions::shared), and the system cannot do that.
    pub fn bind(
        address: SocketAddr,
        tls: rustls::ServerConfig,
        options: ListenOptions,
    ) -> Result<Self, ListenError> {
        let config = server_config(tls, &options)?;
        if options.shared {
            return Share::begin(address, config, Arc::new(options));
        }
        let failed = |error| ListenError::bind(address, error);
        let (socket, buffers) = bind(address, options.transport.socket_buffer, |_| Ok(())).map_err(failed)?;
        let endpoint = new_endpoint(quinn::EndpointConfig::default(), config, socket).map_err(failed)?;
        Ok(Self { endpoint, options: Arc::new(options), buffers, share: None })
    }

    /// Another listener on the same port, with a socket of its own and what this one began with. The system gives each
    /// client to one of them, by the addresses of both sides. Must be called within a tokio runtime, which may be
    /// another one.
    ///
    /// A client whose address changes may come to another listener than the one that knows it; then its connection is
    /// lost, and it is told so. The same happens to clients of the others when one of the listeners is closed and
    /// dropped: keep them until all are done.
    ///
    /// # Errors
    ///
    /// - [`ListenError::Unshared`]: this one was bound without [`ListenOptions::shared`].
    /// - [`ListenError::Bind`]: the socket could not be had.
    pub fn share(&self) -> Result<Self, ListenError> {
        let share = self.share.as_ref().ok_or(ListenError::Unshared)?;
        share.listener(Arc::clone(&self.options))
    }

    /// Listens on a socket of the caller's own making, such as one in a simulation.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn on_socket(
        socket: Arc<dyn quinn::AsyncUdpSocket>,
        endpoint: quinn::EndpointConfig,
        tls: rustls::ServerConfig,
        options: ListenOptions,
    ) -> Result<Self, ListenError> {
        let config = server_config(tls, &options)?;
        let address = socket.local_addr().unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into());
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = quinn::Endpoint::new_with_abstract_socket(endpoint, Some(config), socket, runtime)
            .map_err(|error| ListenError::bind(address, error))?;
        let buffers = SocketBuffers { send: usize::MAX, receive: usize::MAX };
        Ok(Self { endpoint, options: Arc::new(options), buffers, share: None })
    }

    /// Waits for the next client; `None` once the listener is closed. Cancel safe.
    ///
    /// Returns at a client's first packet: what takes time is [`Incoming::accept`], which belongs into a task
    /// of its own.
    pub async fn accept(&self) -> Option<Incoming> {
        let inner = self.endpoint.accept().await?;
        Some(Incoming { inner, webtransport: self.options.webtransport })
    }

    /// Uses another certificate for the clients to come; others on the same port keep theirs.
    ///
    /// # Errors
    ///
    /// [`ListenError::Tls`]: `tls` cannot serve QUIC; the old certificate stays.
    pub fn set_tls(&self, tls: rustls::ServerConfig) -> Result<(), ListenError> {
        self.endpoint.set_server_config(Some(server_config(tls, &self.options)?));
        Ok(())
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The sizes that the system granted the first socket's buffers.
    pub fn socket_buffers(&self) -> SocketBuffers {
        self.buffers
    }

    /// The number of connections that are open, including those in their handshake.
    pub fn open_connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Moves all connections to another socket. Clients follow if they reach it under the same address.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used; the old one stays.
    pub fn rebind(&self, socket: UdpSocket) -> io::Result<()> {
        self.endpoint.rebind(socket)
    }

    /// Closes all connections with `code` and `reason`, and accepts no more.
    ///
    /// Over WebTransport the code is not mapped: close those connections one by one to have it mapped.
    pub fn close(&self, code: Code, reason: &str) {
        self.endpoint.close(Mapping::Plain.encode(code), reason.as_bytes());
    }

    /// Waits until no connection is left, so that peers have heard of their ends. Cancel safe.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

/// A client that has sent its first packet. Dropped, it is refused.
#[derive(Debug)]
pub struct Incoming {
    inner: quinn::Incoming,
    webtransport: bool,
}

impl Incoming {
    /// Where the client says it is; proven only if [`is_validated`](Self::is_validated).
    pub fn remote_address(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Whether the client has proven that it receives packets at its address.
    pub fn is_validated(&self) -> bool {
        self.inner.remote_address_validated()
    }

    /// Asks the client to prove its address and to come again; at the cost of a round trip, and of no memory.
    ///
    /// Refuses a client that has proven it already.
    pub fn retry(self) {
        // The error carries the client back; dropping it refuses.
        let _ = self.inner.retry();
    }

    /// Tells the client that it is not wanted.
    pub fn refuse(self) {
        self.inner.refuse();
    }

    /// Says nothing at all.
    pub fn ignore(self) {
        self.inner.ignore();
    }

    /// Does the handshakes: QUIC and TLS, and over WebTransport HTTP/3 up to the request for a session.
    ///
    /// # Errors
    ///
    /// - [`AcceptError::TimedOut`]: the client was not done within `timeout`.
    /// - [`AcceptError::NoCommonProtocol`]: it offered none of our ALPNs.
    /// - [`AcceptError::Connection`]: it went away, or broke a rule.
    pub async fn accept(self, timeout: Duration) -> Result<Request, AcceptError> {
        tokio::time::timeout(timeout, self.handshake()).await.map_err(|_| AcceptError::TimedOut)?
    }

    async fn handshake(self) -> Result<Request, AcceptError> {
        let mut connecting = self.inner.accept()?;
        let data = connecting.handshake_data().await?.downcast::<HandshakeData>();
        let Some(HandshakeData { protocol: Some(alpn), server_name, .. }) = data.ok().map(|data| *data)
        else {
            // TLS refuses clients without a common ALPN before.
            return Err(AcceptError::NoCommonProtocol);
        };
        if alpn == ALPN_HTTP3 && self.webtransport {
            #[cfg(feature = "webtransport")]
            return Request::webtransport(connecting, alpn, server_name).await;
        }
        Ok(Request::quic(QuicConnection::new(connecting.await?), alpn, server_name))
    }
}

fn new_endpoint(
    config: quinn::EndpointConfig,
    server: quinn::ServerConfig,
    socket: UdpSocket,
) -> io::Result<quinn::Endpoint> {
    quinn::Endpoint::new(config, Some(server), socket, Arc::new(quinn::TokioRuntime))
}

fn server_config(
    mut tls: rustls::ServerConfig,
    options: &ListenOptions,
) -> Result<quinn::ServerConfig, ListenError> {
    tls.alpn_protocols = options.alpns.clone();
    if options.webtransport && cfg!(feature = "webtransport") {
        tls.alpn_protocols.push(ALPN_HTTP3.to_vec());
    }
    if tls.alpn_protocols.is_empty() {
        return Err(ListenError::NoProtocol);
    }
    // What a client says before it has proven anything may be somebody else's, said again.
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| ListenError::Tls(Arc::new(error)))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(options.transport.to_quinn());
    Ok(config)
}
