//! Carries packets between clients and a target, each as its link decides.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Counts, Fate, Link, LinkOptions};

/// How often a thread that waits for packets looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A client that has been silent for so long is forgotten.
const SILENCE: Duration = Duration::from_secs(60);

/// Clients at a time, each with a socket and a thread; others are not heard.
const MAX_CLIENTS: usize = 256;

/// Packets on their way at a time, in both directions; more are dropped.
const MAX_PACKETS: usize = 1 << 18;

/// Asked of the system for each socket, so that bursts wait here rather than be lost there.
const BUFFER: usize = 4 << 20;

/// A UDP proxy. Dropped, it is gone, with all packets on their way.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Up,
    Down,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    over: AtomicBool,
    up: Mutex<Link>,
    down: Mutex<Link>,
    on_their_way: Mutex<OnTheirWay>,
    earlier: Condvar,
    clients: Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>>,
}

#[derive(Debug, Default)]
struct OnTheirWay {
    packets: BinaryHeap<Reverse<Packet>>,
    count: u64,
}

#[derive(Debug)]
struct Packet {
    at: Duration,
    /// Among those of one time, first come, first served.
    order: u64,
    socket: Arc<UdpSocket>,
    /// `None` where the socket is connected.
    to: Option<SocketAddr>,
    bytes: Box<[u8]>,
}

impl Packet {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.order)
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Packet {}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packet {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[expect(clippy::disallowed_methods, reason = "real packets live in real time")]
fn now() -> Instant {
    Instant::now()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

impl Proxy {
    /// Listens on `address` and carries what comes to `target` and back. `up` is the way to the target.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub fn start(
        address: SocketAddr,
        target: SocketAddr,
        up: LinkOptions,
        down: LinkOptions,
    ) -> io::Result<Self> {
        let socket = Arc::new(bind(address)?);
        let address = socket.local_addr()?;
        // Two links with one seed do not lose the same packets.
        let down = LinkOptions { seed: down.seed.wrapping_add(1 << 32), ..down };
        let shared = Arc::new(Shared {
            began: now(),
            over: AtomicBool::new(false),
            up: Mutex::new(Link::new(up)),
            down: Mutex::new(Link::new(down)),
            on_their_way: Mutex::default(),
            earlier: Condvar::new(),
            clients: Mutex::default(),
        });
        let (listening, sending) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || listening.listen(&socket, target)),
            thread::spawn(move || sending.send()),
        ];
        Ok(Self { address, shared, threads })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What became of packets to the target, and of those from it.
    #[must_use]
    pub fn counts(&self) -> (Counts, Counts) {
        (lock(&self.shared.up).counts(), lock(&self.shared.down).counts())
    }

    /// The way to the target, and the way back, are like this from now on.
    pub fn change(&self, up: LinkOptions, down: LinkOptions) {
        lock(&self.shared.up).change(up);
        lock(&self.shared.down).change(down);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.earlier.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Takes packets of clients.
    fn listen(self: &Arc<Self>, socket: &Arc<UdpSocket>, target: SocketAddr) {
        let mut buffer = vec![0; 1 << 16];
        while !self.is_over() {
            let Ok((len, client)) = socket.recv_from(&mut buffer) else { continue };
            let known = lock(&self.clients).get(&client).map(Arc::clone);
            let upstream = match known {
                Some(upstream) => upstream,
                None => match self.welcome(client, socket, target) {
                    Some(upstream) => upstream,
                    None => continue,
                },
            };
            self.carry(Direction::Up, upstream, None, buffer.get(..len).unwrap_or_default());
        }
    }

    /// A socket for a new client, and a thread that takes what comes back.
    fn welcome(
        self: &Arc<Self>,
        client: SocketAddr,
        socket: &Arc<UdpSocket>,
        target: SocketAddr,
    ) -> Option<Arc<UdpSocket>> {
        let mut clients = lock(&self.clients);
        if clients.len() >= MAX_CLIENTS {
            return None;
        }
        let any: SocketAddr =
            if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let upstream = bind(any).ok()?;
        upstream.connect(target).ok()?;
        let upstream = Arc::new(upstream);
        clients.insert(client, Arc::clone(&upstream));
        let (shared, socket, back) = (Arc::clone(self), Arc::clone(socket), Arc::clone(&upstream));
        // Ends by itself when the proxy is over, or the client silent.
        thread::spawn(move || shared.answer(&back, &socket, client));
        Some(upstream)
    }

    /// Takes packets of the target for one client.
    fn answer(&self, upstream: &UdpSocket, socket: &Arc<UdpSocket>, client: SocketAddr) {
        let mut buffer = vec![0; 1 << 16];
        let mut heard = now();
        while !self.is_over() && heard.elapsed() < SILENCE {
            // Nobody there is an error of the socket; a target may yet come.
            let Ok(len) = upstream.recv(&mut buffer) else { continue };
            heard = now();
            self.carry(
                Direction::Down,
                Arc::clone(socket),
                Some(client),
                buffer.get(..len).unwrap_or_default(),
            );
        }
        lock(&self.clients).remove(&client);
    }

    fn carry(&self, direction: Direction, socket: Arc<UdpSocket>, to: Option<SocketAddr>, bytes: &[u8]) {
        let link = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        let fate = lock(link).offer(self.began.elapsed(), bytes.len());
        let Fate::Arrives(at) = fate else { return };
        let mut on_their_way = lock(&self.on_their_way);
        if on_their_way.packets.len() >= MAX_PACKETS {
            return;
        }
        on_their_way.count += 1;
        let order = on_their_way.count;
        let first = on_their_way.packets.peek().is_none_or(|Reverse(first)| at < first.at);
        on_their_way.packets.push(Reverse(Packet { at, order, socket, to, bytes: bytes.into() }));
        drop(on_their_way);
        if first {
            self.earlier.notify_one();
        }
    }

    /// Sends each packet when it is time.
    fn send(&self) {
        let mut on_their_way = lock(&self.on_their_way);
        while !self.is_over() {
            let wait = on_their_way
                .packets
                .peek()
                .map_or(LOOK, |Reverse(packet)| packet.at.saturating_sub(self.began.elapsed()).min(LOOK));
            if !wait.is_zero() || on_their_way.packets.is_empty() {
                on_their_way =
                    self.earlier.wait_timeout(on_their_way, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let Some(Reverse(packet)) = on_their_way.packets.pop() else { continue };
            drop(on_their_way);
            // An end that has gone does not stop the others.
            let _ = match packet.to {
                Some(to) => packet.socket.send_to(&packet.bytes, to),
                None => packet.socket.send(&packet.bytes),
            };
            on_their_way = lock(&self.on_their_way);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    /// A target that sends everything back, and a client of a proxy before it.
    fn echo(up: &str, down: &str) -> (Proxy, UdpSocket) {
        let target = bind(local()).unwrap();
        let address = target.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 2000];
            let began = now();
            while began.elapsed() < Duration::from_secs(20) {
                if let Ok((len, from)) = target.recv_from(&mut buffer) {
                    target.send_to(&buffer[..len], from).unwrap();
                }
            }
        });
        let proxy = Proxy::start(local(), address, up.parse().unwrap(), down.parse().unwrap()).unwrap();
        let client = bind(local()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.connect(proxy.address()).unwrap();
        (proxy, client)
    }

    #[test]
    fn a_packet_takes_its_delay_there_and_back() {
        let (proxy, client) = echo("delay=30ms", "delay=20ms");
        let mut buffer = [0; 2000];
        for round in 0..5_u8 {
            let sent = now();
            client.send(&[round; 1200]).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), 1200);
            assert_eq!(buffer[0], round);
            let took = sent.elapsed();
            // Never early; how late depends on how busy the machine is.
            assert!(took >= Duration::from_millis(50), "{took:?}");
        }
        let expected = Counts { arrived: 5, lost: 0, dropped: 0 };
        assert_eq!(proxy.counts(), (expected, expected));
    }

    #[test]
    fn packets_keep_their_order_and_lost_ones_do_not_arrive() {
        let (proxy, client) = echo("delay=5ms,loss=50%,seed=3", "");
        for number in 0..200_u8 {
            client.send(&[number]).unwrap();
        }
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut buffer = [0; 10];
        let mut came = Vec::new();
        while client.recv(&mut buffer).is_ok() {
            came.push(buffer[0]);
        }
        assert!(came.is_sorted(), "{came:?}");
        let (up, down) = proxy.counts();
        assert_eq!(up.arrived + up.lost, 200);
        assert_eq!((up.arrived, down.arrived), (came.len() as u64, came.len() as u64));
        assert!((60..140).contains(&up.lost), "{up:?}");
    }

    #[test]
    fn a_proxy_that_is_dropped_ends() {
        let (proxy, client) = echo("delay=10s", "");
        client.send(&[1]).unwrap();
        let began = now();
        drop(proxy);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
