//! A network in memory and in virtual time, under the real `quinn`: packets that are late, lost or queued as a seed
//! says, and sessions over both carriers on it.
#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests; each test file uses its own part")]

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use moqt::{
    Carrier, Congestion, Fingerprint, Retention, Session, SessionConfig, TrackInfo, TrackProducer, Tracks,
    TransportOptions,
    session::Handshake,
    transport::{Dialer, ListenOptions, Listener, NetConnection, PinnedCertificates},
};
use moqt_sim::Rng;
use quinn::{
    AsyncUdpSocket, EndpointConfig, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::time::{Instant, Sleep};

pub const CARRIERS: [Carrier; 2] = [Carrier::Quic, Carrier::WebTransport];

#[expect(clippy::disallowed_methods, reason = "the network's clock is the paused one of the test")]
pub fn now() -> Instant {
    Instant::now()
}

/// A track with what is usual.
pub fn track(name: &str) -> TrackProducer {
    TrackProducer::new(name.parse().unwrap(), TrackInfo::default(), Retention::default())
}

/// What one direction of a path does to packets.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// How long a packet travels after it has left.
    pub delay: Duration,
    /// How fast packets leave; `None` for at once.
    pub bits_per_second: Option<u64>,
    /// How long a packet may wait to leave before it is dropped.
    pub queue: Duration,
    /// The probability of a packet to be lost.
    pub loss: f64,
}

impl Link {
    pub fn delay(delay: Duration) -> Self {
        Self { delay, bits_per_second: None, queue: Duration::ZERO, loss: 0.0 }
    }

    pub fn rate(self, bits_per_second: u64, queue: Duration) -> Self {
        Self { bits_per_second: Some(bits_per_second), queue, ..self }
    }

    pub fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }
}

#[derive(Debug)]
struct LinkState {
    link: Link,
    busy_until: Instant,
}

/// What a socket has sent: how often, and how many datagrams. Those that are short alone, as acknowledgements are, do
/// not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sends {
    pub calls: u64,
    pub datagrams: u64,
}

/// Shorter ones carry no payload to speak of.
const PAYLOAD: usize = 600;

/// All sockets, and what is between them.
#[derive(Clone, Debug)]
pub struct Net(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: Rng,
    ports: BTreeMap<SocketAddr, Arc<Port>>,
    links: BTreeMap<(SocketAddr, SocketAddr), LinkState>,
    next_packet: u64,
    sends: BTreeMap<SocketAddr, Sends>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Net {
    pub fn new(seed: u64) -> Self {
        let (ports, links, sends) = Default::default();
        Self(Arc::new(Mutex::new(State { rng: Rng::new(seed), ports, links, next_packet: 0, sends })))
    }

    /// Sets what becomes of packets from one socket to another; without it they arrive at once.
    pub fn link(&self, from: SocketAddr, to: SocketAddr, link: Link) {
        lock(&self.0).links.insert((from, to), LinkState { link, busy_until: now() });
    }

    /// What the socket of this address has sent so far.
    pub fn sends(&self, address: SocketAddr) -> Sends {
        lock(&self.0).sends.get(&address).copied().unwrap_or_default()
    }

    pub fn socket(&self, address: SocketAddr) -> Arc<Socket> {
        let port = Arc::new(Port { inbox: Mutex::default() });
        lock(&self.0).ports.insert(address, Arc::clone(&port));
        Arc::new(Socket { net: self.clone(), address, port })
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut state = lock(&self.0);
        let State { rng, ports, links, next_packet, .. } = &mut *state;
        let Some(port) = ports.get(&to) else { return };
        let mut arrives = now();
        if let Some(state) = links.get_mut(&(from, to)) {
            let link = state.link;
            if let Some(rate) = link.bits_per_second {
                let leaves = state.busy_until.max(arrives);
                if leaves.saturating_duration_since(arrives) > link.queue {
                    return;
                }
                // Headers of IP and UDP travel along.
                let bits = (bytes.len() as u64 + 28) * 8;
                state.busy_until = leaves + Duration::from_nanos(bits * 1_000_000_000 / rate);
                arrives = state.busy_until;
            }
            if rng.chance(link.loss) {
                return;
            }
            arrives += link.delay;
        }
        *next_packet += 1;
        let mut inbox = lock(&port.inbox);
        inbox.packets.insert((arrives, *next_packet), (from, bytes.to_vec()));
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }
}

#[derive(Debug)]
struct Port {
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    packets: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    timer: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("packets", &self.packets.len()).finish_non_exhaustive()
    }
}

/// A UDP socket of the network.
#[derive(Debug)]
pub struct Socket {
    net: Net,
    address: SocketAddr,
    port: Arc<Port>,
}

#[derive(Debug)]
struct Always;

impl UdpPoller for Always {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Always)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        if transmit.contents.len() >= PAYLOAD {
            let mut state = lock(&self.net.0);
            let sends = state.sends.entry(self.address).or_default();
            sends.calls += 1;
            sends.datagrams += transmit.contents.len().div_ceil(size) as u64;
        }
        for packet in transmit.contents.chunks(size) {
            self.net.send(self.address, transmit.destination, packet);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = lock(&self.port.inbox);
        loop {
            let mut received = 0;
            for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()) {
                let Some(first) = inbox.packets.first_entry().filter(|entry| entry.key().0 <= now()) else {
                    break;
                };
                let (from, bytes) = first.remove();
                let len = bytes.len();
                let Some(room) = buffer.get_mut(..len) else { continue };
                room.copy_from_slice(&bytes);
                *meta = RecvMeta { addr: from, len, stride: len, ecn: None, dst_ip: None };
                received += 1;
            }
            if received > 0 {
                return Poll::Ready(Ok(received));
            }
            inbox.waker = Some(cx.waker().clone());
            let Some(((due, _), _)) = inbox.packets.first_key_value() else { return Poll::Pending };
            let due = *due;
            let mut timer = Box::pin(tokio::time::sleep_until(due));
            let over = timer.as_mut().poll(cx);
            inbox.timer = Some(timer);
            if over.is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        10
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// A server of the network with its certificate.
pub struct Server {
    net: Net,
    listener: Listener,
    address: SocketAddr,
    fingerprint: Fingerprint,
    transport: TransportOptions,
    clients: Mutex<u16>,
    dialers: Mutex<Vec<Dialer>>,
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn endpoint(seed: u8) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([seed; 32]));
    config
}

pub const TIMEOUT: Duration = Duration::from_secs(30);

impl Server {
    pub fn new(net: &Net, congestion: Congestion) -> Self {
        let address: SocketAddr = "10.0.0.1:4443".parse().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["relay".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let transport = TransportOptions { congestion, ..TransportOptions::default() };
        let options = ListenOptions {
            alpns: vec![b"moqf-02".to_vec()],
            webtransport: true,
            transport: transport.clone(),
            ..ListenOptions::default()
        };
        let listener = Listener::on_socket(net.socket(address), endpoint(1), tls, options).unwrap();
        let fingerprint = Fingerprint::of(&certificate, &provider()).unwrap();
        let (clients, dialers) = Default::default();
        Self { net: net.clone(), listener, address, fingerprint, transport, clients, dialers }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection from a new client, whose path has these two directions.
    pub async fn connect(&self, carrier: Carrier, up: Link, down: Link) -> (NetConnection, NetConnection) {
        let number = {
            let mut clients = lock(&self.clients);
            *clients += 1;
            *clients
        };
        let address = SocketAddr::from(([10, 0, 1, 1], number));
        self.net.link(address, self.address, up);
        self.net.link(self.address, address, down);
        let verifier = Arc::new(PinnedCertificates::new([self.fingerprint], provider()));
        let tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let socket = self.net.socket(address);
        let transport = self.transport.clone();
        let dialer = Dialer::on_socket(socket, endpoint(2), tls, transport, TIMEOUT).unwrap();
        lock(&self.dialers).push(dialer.clone());
        let dial = async {
            match carrier {
                Carrier::WebTransport => {
                    dialer.connect_webtransport(&[self.address], "https://relay:4443/", &[]).await.unwrap()
                }
                _ => dialer.connect_quic(&[self.address], "relay", &[b"moqf-02".to_vec()]).await.unwrap(),
            }
        };
        let serve = async {
            let incoming = self.listener.accept().await.unwrap();
            incoming.accept(TIMEOUT).await.unwrap().accept().await.unwrap()
        };
        tokio::join!(dial, serve)
    }

    /// A session from a new client: the client's side, the server's side and the tracks that the server serves it.
    pub async fn session(
        &self,
        carrier: Carrier,
        (up, down): (Link, Link),
        config: SessionConfig,
    ) -> (Session, Session, Tracks) {
        let (near, far) = self.connect(carrier, up, down).await;
        let (client, server) =
            tokio::join!(Handshake::connect(near, config.clone()), Handshake::accept(far, config));
        let tracks = Tracks::new();
        let server = server.unwrap().start(Arc::new(tracks.clone()));
        (client.unwrap().start(Arc::new(Tracks::new())), server, tracks)
    }
}

/// Runs a test in virtual time.
pub fn virtually<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

/// Percentiles of durations.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
