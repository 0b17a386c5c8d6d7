//! How a relay is set up.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use moqt::{CacheBudget, Certificate, Retention, SessionConfig, TransportOptions, Version};

use crate::{
    authorize::Authorize,
    memory::cache_share,
    router::{Redundancy, RouterLimits},
    upstream::Upstream,
};

/// How a relay is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The addresses to listen on, over UDP.
    pub listen: Vec<Listen>,
    /// How many threads serve clients, each with a runtime of its own and a socket of its own on each port, over which
    /// the system spreads clients; tracks are shared between them. With none, all is done where
    /// [`Relay::run`](crate::Relay::run) is. Linux and FreeBSD only.
    ///
    /// A client whose address changes may come to another thread than the one that knows it. Then its connection is
    /// lost, and it learns so at once.
    pub workers: Option<NonZeroUsize>,
    /// What is shown to clients.
    pub certificate: Certificate,
    /// A TCP address on which facts about the relay are served over HTTP.
    pub http: Option<SocketAddr>,
    /// Whether they are served beside each UDP address, too, on the TCP port of the same number.
    pub http_beside: bool,
    /// Whether a page that plays what is on air is served there, too, at `/`.
    pub page: bool,
    /// Settings of QUIC.
    pub transport: TransportOptions,
    /// Settings of sessions.
    pub session: SessionConfig,
    /// What is kept of each track for subscribers that come late or fall behind.
    pub retention: Retention,
    /// Bytes that groups of all tracks may hold together, see [`CacheBudget`](moqt::CacheBudget). Unless it is set, a
    /// quarter of the memory that there is, and at most 1 GiB.
    pub cache_bytes: u64,
    /// The budget itself, where clients of [`upstreams`](Self::upstreams) share it; made of these bytes unless given.
    pub cache: Option<CacheBudget>,
    /// Whether the host that a client asked for is part of its scope, beside the path. Off, a relay that is reached
    /// by several names is one place; on, it serves each name as if it were alone. Addresses are no names.
    pub scope_by_host: bool,
    /// How long a track is still taken from upstream after its last subscriber has left, for those who come next.
    pub linger: Duration,
    /// How many of a track's publishers are subscribed to.
    pub redundancy: Redundancy,
    /// How long the readers of a track that has lost its publishers wait for another to go on with it.
    pub hold: Duration,
    /// Relays above this one, most wanted first. What clients here announce is announced there, and what is announced
    /// there is served here, each scope in the scope of the same path there.
    pub upstreams: Vec<Arc<dyn Upstream>>,
    /// Where chance begins, so that all happens again; unless given, from what the system gives.
    pub seed: Option<u64>,
    /// How long clients may take to move away from a relay that drains, see [`Handle::drain`](crate::Handle::drain).
    pub drain_timeout: Duration,
    /// Who may do what; everybody everything where there is none.
    pub authorize: Option<Arc<dyn Authorize>>,
    /// What peers may make grow.
    pub limits: Limits,
}

impl Options {
    /// The defaults, with a certificate and no address yet.
    #[must_use]
    pub fn new(certificate: Certificate) -> Self {
        Self {
            listen: Vec::new(),
            workers: None,
            certificate,
            http: None,
            http_beside: false,
            page: false,
            // Who only subscribes opens none.
            transport: TransportOptions { unexpected_uni_streams: Some(32), ..TransportOptions::default() },
            session: SessionConfig::default(),
            retention: Retention::default(),
            cache_bytes: cache_share(),
            cache: None,
            scope_by_host: false,
            linger: Duration::from_secs(2),
            redundancy: Redundancy::default(),
            hold: Duration::from_secs(5),
            upstreams: Vec::new(),
            seed: None,
            drain_timeout: Duration::from_secs(10),
            authorize: None,
            limits: Limits::default(),
        }
    }

    pub(crate) fn budget(&self) -> CacheBudget {
        self.cache.clone().unwrap_or_else(|| CacheBudget::new(self.cache_bytes))
    }

    /// Listens on this address too.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(Listen::new(address));
        self
    }

    /// Serves HTTP beside each address.
    #[must_use]
    pub fn http_beside(mut self) -> Self {
        self.http_beside = true;
        self
    }
}

/// One address to listen on: a UDP port for raw QUIC and WebTransport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// The address; `[::]` means all addresses of both families, port 0 any free port.
    pub address: SocketAddr,
    /// Which encoding stands behind version 04 of Transfork for clients that do not say, where it is another
    /// one than that of [`Options::session`].
    pub unmarked_04: Option<Version>,
}

impl Listen {
    /// An address with the settings of the relay.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, unmarked_04: None }
    }
}

/// What peers may make a relay hold. Limits on a single session are in [`Options::session`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Sessions at a time.
    pub sessions: usize,
    /// Sessions at a time from one source: an IPv4 address, or the /64 of an IPv6 address.
    pub sessions_per_address: usize,
    /// Clients that are in their handshakes at a time.
    pub handshakes: usize,
    /// Clients from one source that are in their handshakes at a time, and have proven that it is theirs.
    pub handshakes_per_address: usize,
    /// Clients in their handshakes, of all sources or a quarter of that of one source, from which on a client has to
    /// prove its address first. That costs it a round trip, and the relay no memory.
    pub unproven_handshakes: usize,
    /// Requests of all sessions of one source in a second; those of four seconds may come at once.
    pub requests_per_second_per_address: u64,
    /// Bytes of groups from all sessions of one source in a second; those of four seconds may come at once.
    pub payload_bytes_per_second_per_address: u64,
    /// Names of all sessions of one source that come or go in a second; those of an eighth of one may come at once.
    pub names_per_second_per_address: u64,
    /// Scopes at a time that have sessions with the relays above; further ones are cut off from them.
    pub linked_scopes: usize,
    /// What one scope holds.
    pub router: RouterLimits,
    /// How long an upstream session may take to answer a request.
    pub answer: Duration,
    /// HTTP connections at a time, on each address.
    pub http_connections: usize,
    /// How long one HTTP connection may last.
    pub http_lifetime: Duration,
    /// How long a relay that closes waits for sessions to end.
    pub close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            sessions_per_address: 1000,
            handshakes: 1024,
            handshakes_per_address: 256,
            unproven_handshakes: 128,
            requests_per_second_per_address: 10_000,
            payload_bytes_per_second_per_address: 4 << 30,
            names_per_second_per_address: 16_000,
            linked_scopes: 256,
            router: RouterLimits::default(),
            answer: Duration::from_secs(10),
            http_connections: 256,
            http_lifetime: Duration::from_secs(30),
            close: Duration::from_secs(3),
        }
    }
}
