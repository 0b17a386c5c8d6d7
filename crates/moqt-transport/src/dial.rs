//! The calling side.

mod error;
mod race;

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::crypto::rustls::QuicClientConfig;

pub use self::error::{CertificateProblem, DialError};
use crate::{
    Code, NetConnection, QuicConnection,
    options::{TransportOptions, bind},
    wire_code::Mapping,
};

/// Opens connections over either carrier; clones are handles to the same one.
///
/// All connections share one socket per address family. Dropping it leaves established connections alone.
#[derive(Clone)]
pub struct Dialer(Arc<Inner>);

struct Inner {
    tls: rustls::ClientConfig,
    transport: TransportOptions,
    timeout: Duration,
    /// Whether the system routes the packets, and can say that there is no route.
    routed: bool,
    v4: Result<quinn::Endpoint, Arc<io::Error>>,
    v6: Result<quinn::Endpoint, Arc<io::Error>>,
    #[cfg(feature = "webtransport")]
    sessions: std::sync::Mutex<Vec<crate::webtransport::WeakSession>>,
}

impl Dialer {
    /// How long one address may take to answer, unless there is a reason for another time.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// Prepares to dial from any local address and port, with the trust and the identity in `tls`.
    ///
    /// The ALPNs in `tls` are replaced call by call. `timeout` is for each address, all handshakes included.
    /// A machine without IPv6, or without IPv4, can dial the other. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When there are sockets of neither family.
    pub fn new(
        tls: rustls::ClientConfig,
        transport: TransportOptions,
        timeout: Duration,
    ) -> io::Result<Self> {
        let v4 = endpoint((Ipv4Addr::UNSPECIFIED, 0).into(), &transport);
        // Only for IPv6: the socket of IPv4 is there for the rest.
        let v6 = endpoint((Ipv6Addr::UNSPECIFIED, 0).into(), &transport);
        if let (Err(error), Err(_)) = (&v4, &v6) {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        Ok(Self(Arc::new(Inner {
            tls,
            transport,
            timeout,
            routed: true,
            v4: v4.map_err(Arc::new),
            v6: v6.map_err(Arc::new),
            #[cfg(feature = "webtransport")]
            sessions: std::sync::Mutex::default(),
        })))
    }

    /// Prepares to dial from one local address, which stands for a network; only to addresses of its family.
    ///
    /// # Errors
    ///
    /// When the address is not one of this machine.
    pub fn from_address(
        local: SocketAddr,
        tls: rustls::ClientConfig,
        transport: TransportOptions,
        timeout: Duration,
    ) -> io::Result<Self> {
        let endpoint = endpoint(local, &transport)?;
        let none = || Err(Arc::new(io::Error::from(io::ErrorKind::Unsupported)));
        let (v4, v6) = if local.is_ipv4() { (Ok(endpoint), none()) } else { (none(), Ok(endpoint)) };
        Ok(Self(Arc::new(Inner {
            tls,
            transport,
            timeout,
            routed: true,
            v4,
            v6,
            #[cfg(feature = "webtransport")]
            sessions: std::sync::Mutex::default(),
        })))
    }

    /// Prepares to dial from a socket of the caller's own making, such as one in a simulation; only to addresses of
    /// its family.
    ///
    /// # Errors
    ///
    /// When the socket does not say its address, or cannot be used.
    pub fn on_socket(
        socket: Arc<dyn quinn::AsyncUdpSocket>,
        endpoint: quinn::EndpointConfig,
        tls: rustls::ClientConfig,
        transport: TransportOptions,
        timeout: Duration,
    ) -> io::Result<Self> {
        let is_v4 = socket.local_addr()?.is_ipv4();
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = quinn::Endpoint::new_with_abstract_socket(endpoint, None, socket, runtime)?;
        let none = || Err(Arc::new(io::Error::from(io::ErrorKind::Unsupported)));
        let (v4, v6) = if is_v4 { (Ok(endpoint), none()) } else { (none(), Ok(endpoint)) };
        Ok(Self(Arc::new(Inner {
            tls,
            transport,
            timeout,
            routed: false,
            v4,
            v6,
            #[cfg(feature = "webtransport")]
            sessions: std::sync::Mutex::default(),
        })))
    }

    /// Finds the addresses of a host: a name, or an IP address with or without brackets.
    ///
    /// # Errors
    ///
    /// [`DialError::Dns`]: the host has none, or nobody knows.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match tokio::net::lookup_host((bare, port)).await {
            Ok(found) => {
                let found: Vec<_> = found.collect();
                if found.is_empty() { Err(DialError::dns(host, io::ErrorKind::NotFound)) } else { Ok(found) }
            }
            Err(error) => Err(DialError::dns(host, error)),
        }
    }

    /// Connects over raw QUIC to whichever of `addresses` answers first, offering `alpns`.
    ///
    /// The addresses are tried in turn, families alternating; the next one starts when the one before failed
    /// or has not answered for 250 ms. `server_name` is what the certificate must be for. The protocol that
    /// the server picked is [`NetConnection::alpn`].
    ///
    /// # Errors
    ///
    /// Of all addresses, that failure which says most. See [`DialError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was begun is given up.
    pub async fn connect_quic(
        &self,
        addresses: &[SocketAddr],
        server_name: &str,
        alpns: &[Vec<u8>],
    ) -> Result<NetConnection, DialError> {
        let config = self.client_config(alpns)?;
        race::race(addresses, self.0.timeout, |address| {
            let config = config.clone();
            async move {
                let endpoint = self.endpoint(address)?;
                self.reachable(address)?;
                let connecting = endpoint
                    .connect_with(config, address, server_name)
                    .map_err(|error| DialError::Invalid(Arc::new(error)))?;
                let connection =
                    connecting.await.map_err(|error| DialError::from_quic(error, self.silence()))?;
                Ok(QuicConnection::new(connection).into())
            }
        })
        .await
    }

    /// Connects over WebTransport to `url` at whichever of `addresses` answers first.
    ///
    /// The addresses are those of the URL's host, tried as in [`connect_quic`](Self::connect_quic). `headers` go into
    /// the request, with lower-case names. What the server said to it is
    /// [`WebTransportConnection::headers`](crate::WebTransportConnection::headers).
    ///
    /// # Errors
    ///
    /// Of all addresses, that failure which says most. See [`DialError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was begun is given up.
    #[cfg(feature = "webtransport")]
    pub async fn connect_webtransport(
        &self,
        addresses: &[SocketAddr],
        url: &str,
        headers: &[(String, String)],
    ) -> Result<NetConnection, DialError> {
        use crate::webtransport::{self, ClientRequest, HandshakeError};

        let config = self.client_config(&[crate::listen::ALPN_HTTP3.to_vec()])?;
        let request =
            ClientRequest::new(url, headers).map_err(|error| DialError::Invalid(Arc::new(error)))?;
        race::race(addresses, self.0.timeout, |address| {
            let (config, request) = (config.clone(), &request);
            async move {
                let endpoint = self.endpoint(address)?;
                self.reachable(address)?;
                let connecting = endpoint
                    .connect_with(config, address, request.host())
                    .map_err(|error| DialError::Invalid(Arc::new(error)))?;
                let session = async {
                    webtransport::connect(connecting.await.map_err(HandshakeError::Quic)?, request).await
                };
                let failed = |error| DialError::from_handshake(error, self.0.timeout, self.silence());
                let session = session.await.map_err(failed)?;
                self.remember(session.downgrade());
                Ok(session.into())
            }
        })
        .await
    }

    /// Moves the connections of the socket's address family to that socket. Servers follow if they allow it.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used; the old one stays.
    pub fn rebind(&self, socket: UdpSocket) -> io::Result<()> {
        let endpoint = self.family(socket.local_addr()?);
        let endpoint = endpoint.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        endpoint.rebind(socket)
    }

    /// Closes all connections that it opened with `code` and `reason`, and opens no more.
    ///
    /// Over WebTransport that ends the QUIC connection at once; closing a session by itself is kinder to browsers.
    pub fn close(&self, code: Code, reason: &str) {
        #[cfg(feature = "webtransport")]
        for session in self.sessions().iter() {
            session.abort(code, reason);
        }
        for endpoint in [&self.0.v4, &self.0.v6].into_iter().flatten() {
            endpoint.close(Mapping::Plain.encode(code), reason.as_bytes());
        }
    }

    /// Waits until none of its connections is left, so that peers have heard of their ends. Cancel safe.
    pub async fn wait_idle(&self) {
        for endpoint in [&self.0.v4, &self.0.v6].into_iter().flatten() {
            endpoint.wait_idle().await;
        }
    }

    /// How long an address may be silent.
    fn silence(&self) -> Duration {
        self.0.transport.idle_timeout.unwrap_or(self.0.timeout).min(self.0.timeout)
    }

    fn client_config(&self, alpns: &[Vec<u8>]) -> Result<quinn::ClientConfig, DialError> {
        let mut tls = self.0.tls.clone();
        tls.alpn_protocols = alpns.to_vec();
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| DialError::Invalid(Arc::new(error)))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.0.transport.to_quinn());
        Ok(config)
    }

    fn family(&self, address: SocketAddr) -> &Result<quinn::Endpoint, Arc<io::Error>> {
        if address.is_ipv4() { &self.0.v4 } else { &self.0.v6 }
    }

    fn endpoint(&self, address: SocketAddr) -> Result<&quinn::Endpoint, DialError> {
        self.family(address)
            .as_ref()
            .map_err(|error| DialError::Unreachable { address, source: error.clone() })
    }

    /// Asks the system for a route, which sends nothing; QUIC itself takes a missing one for packet loss.
    fn reachable(&self, address: SocketAddr) -> Result<(), DialError> {
        if !self.0.routed {
            return Ok(());
        }
        UdpSocket::bind(any(address))
            .and_then(|socket| socket.connect(address))
            .map_err(|error| DialError::unreachable(address, error))
    }

    /// Keeps a session within reach of [`close`](Self::close), and forgets those that are done.
    #[cfg(feature = "webtransport")]
    fn remember(&self, session: crate::webtransport::WeakSession) {
        let mut sessions = self.sessions();
        sessions.retain(|session| !session.is_gone());
        sessions.push(session);
    }

    #[cfg(feature = "webtransport")]
    fn sessions(&self) -> std::sync::MutexGuard<'_, Vec<crate::webtransport::WeakSession>> {
        // No code that can panic runs under this lock.
        self.0.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("v4", &self.0.v4).field("v6", &self.0.v6).finish_non_exhaustive()
    }
}

/// The local side of `address`: any address of its family, any port.
fn any(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn endpoint(local: SocketAddr, transport: &TransportOptions) -> io::Result<quinn::Endpoint> {
    let (socket, _) = bind(local, transport.socket_buffer, |_| Ok(()))?;
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoVerification;

    #[tokio::test]
    async fn a_machine_without_ipv6_says_so_at_once_and_dials_the_rest() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NoVerification::new(provider)))
            .with_no_client_auth();
        let transport = TransportOptions::default();
        let mut dialer = Dialer::new(tls, transport, Duration::from_millis(300)).unwrap();
        let no_family = io::Error::from(io::ErrorKind::Unsupported);
        Arc::get_mut(&mut dialer.0).unwrap().v6 = Err(Arc::new(no_family));

        let (v6, v4) = ("[::1]:9".parse().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        match dialer.connect_quic(&[v6], "localhost", &[b"x".to_vec()]).await {
            Err(DialError::Unreachable { address, .. }) => assert_eq!(address, v6),
            other => panic!("{other:?}"),
        }
        // The other family is tried, though nobody answers there.
        let addresses = [v6, v4.local_addr().unwrap()];
        let dialed = dialer.connect_quic(&addresses, "localhost", &[b"x".to_vec()]).await;
        assert!(matches!(dialed, Err(DialError::TimedOut(_))), "{dialed:?}");
        assert!(v4.recv(&mut [0; 2048]).unwrap() >= 1200, "no first packet came");
        assert!(dialer.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).is_ok());
    }
}
