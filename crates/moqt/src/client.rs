//! The side that connects.

use std::{net::IpAddr, sync::Arc, time::Duration};

use moqt_session::{Config, Handshake, Origin, Session, Tracks};
use moqt_transport::{Code, Dialer, Fingerprint, NetConnection, TransportOptions};

use crate::{
    error::ConnectError,
    fingerprint,
    trust::ClientTls,
    url::{Scheme, Url},
};

/// How a client connects.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Which servers it trusts.
    pub tls: ClientTls,
    /// Settings of QUIC.
    pub transport: TransportOptions,
    /// Settings of the session.
    pub session: Config,
    /// How long one address of a host may take to answer.
    pub connect_timeout: Duration,
    /// The local address to send from, which stands for a network; `None` for whichever the system takes. Two clients
    /// with an address each use two networks at once.
    pub local: Option<IpAddr>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            tls: ClientTls::default(),
            transport: TransportOptions::default(),
            session: Config::default(),
            connect_timeout: Dialer::TIMEOUT,
            local: None,
        }
    }
}

/// Connects to servers. Clones share sockets and settings.
#[derive(Clone)]
pub struct Client {
    options: Arc<ClientOptions>,
    dialer: Dialer,
    /// Dialers by the fetched fingerprint that they pin, the newest last.
    pinned: Arc<std::sync::Mutex<Pinned>>,
}

type Pinned = Vec<(Fingerprint, Dialer)>;

/// Most dialers that are kept for certificates by their fingerprint.
const MAX_PINNED: usize = 8;

impl Client {
    /// Reads the trusted roots and opens sockets. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Roots`], [`ConnectError::Socket`].
    pub fn new(options: ClientOptions) -> Result<Self, ConnectError> {
        let dialer = dialer(&options, &options.tls)?;
        Ok(Self { options: Arc::new(options), dialer, pinned: Arc::default() })
    }

    /// Opens a session that serves nothing: a subscriber's.
    ///
    /// # Errors
    ///
    /// Where it failed, and why; [`ConnectError::hint`] says what helps.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it gives up what it had begun.
    pub async fn connect(&self, url: &Url) -> Result<Session, ConnectError> {
        self.connect_with(url, Arc::new(Tracks::new())).await
    }

    /// Opens a session that serves the server from `origin`.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with(&self, url: &Url, origin: Arc<dyn Origin>) -> Result<Session, ConnectError> {
        let (connection, config) = self.connection(url).await?;
        let handshake = Handshake::connect(connection, config)
            .await
            .map_err(|source| ConnectError::Session { url: url.clone(), source })?;
        Ok(handshake.start(origin))
    }

    /// Opens a connection alone, for a session that is made by hand: with something between the two, for example.
    /// The settings are those for [`Handshake::connect`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Self::connect).
    pub async fn connection(&self, url: &Url) -> Result<(NetConnection, Config), ConnectError> {
        let connection = self.dial(url).await?;
        let mut config = self.options.session.clone();
        if config.path.is_none() && url.path_and_query() != "/" {
            // Raw QUIC has no URL of its own; over WebTransport the request carries it.
            config.path = Some(url.path_and_query().to_owned());
        }
        Ok((connection, config))
    }

    /// Waits until no connection is left, so that the servers have heard of their ends. Cancel safe.
    pub async fn wait_idle(&self) {
        self.dialer.wait_idle().await;
        let pinned = std::mem::take(&mut *self.pinned());
        for (_, dialer) in pinned {
            dialer.wait_idle().await;
        }
    }

    /// Moves the connections of the socket's address family to another socket, as after a change of network.
    ///
    /// Sessions and their subscriptions go on: the server learns the new address from the next packet. Connections
    /// that trust a fetched fingerprint (`http://`) stay where they are.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used; connections stay where they are then.
    pub fn rebind(&self, socket: std::net::UdpSocket) -> std::io::Result<()> {
        self.dialer.rebind(socket)
    }

    /// Closes all connections at once.
    pub fn close(&self) {
        self.dialer.close(Code::NONE, "");
        for (_, dialer) in self.pinned().iter() {
            dialer.close(Code::NONE, "");
        }
    }

    fn pinned(&self) -> std::sync::MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The dialer that trusts this certificate; each costs sockets, so it is made once.
    fn pin(&self, fingerprint: Fingerprint) -> Result<Dialer, ConnectError> {
        let mut pinned = self.pinned();
        if let Some((_, dialer)) = pinned.iter().find(|(known, _)| *known == fingerprint) {
            return Ok(dialer.clone());
        }
        let tls = ClientTls { fingerprints: vec![fingerprint], ..ClientTls::default() };
        let dialer = dialer(&self.options, &tls)?;
        if pinned.len() >= MAX_PINNED {
            // Its connections live on without it.
            pinned.remove(0);
        }
        pinned.push((fingerprint, dialer.clone()));
        Ok(dialer)
    }

    async fn dial(&self, url: &Url) -> Result<NetConnection, ConnectError> {
        let failed = |source| ConnectError::Dial { url: url.clone(), source };
        let dialer = if url.scheme() == Scheme::Fingerprint && !self.options.tls.disable_verify {
            let fingerprint = fingerprint::fetch(url, self.options.connect_timeout).await?;
            self.pin(fingerprint)?
        } else {
            self.dialer.clone()
        };
        let addresses = dialer.resolve(url.host(), url.port()).await.map_err(failed)?;
        match url.scheme() {
            Scheme::Quic => {
                let alpns = alpns(&self.options.session);
                dialer.connect_quic(&addresses, url.server_name(), &alpns).await.map_err(failed)
            }
            Scheme::WebTransport | Scheme::Fingerprint => {
                dialer.connect_webtransport(&addresses, &url.webtransport(), &[]).await.map_err(failed)
            }
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.options).finish_non_exhaustive()
    }
}

fn dialer(options: &ClientOptions, tls: &ClientTls) -> Result<Dialer, ConnectError> {
    let (tls, transport, timeout) = (tls.config()?, options.transport.clone(), options.connect_timeout);
    let dialer = match options.local {
        None => Dialer::new(tls, transport, timeout),
        Some(local) => Dialer::from_address((local, 0).into(), tls, transport, timeout),
    };
    dialer.map_err(|error| ConnectError::Socket(Arc::new(error)))
}

/// The raw QUIC protocols of the configured versions, each once, in order.
pub(crate) fn alpns(config: &Config) -> Vec<Vec<u8>> {
    let mut alpns: Vec<Vec<u8>> = Vec::new();
    for alpn in config.versions.iter().flat_map(|version| version.spec().alpns) {
        if !alpns.iter().any(|known| known == alpn) {
            alpns.push(alpn.to_vec());
        }
    }
    alpns
}
