//! Relays, publishers and subscribers in simulated networks: who is up, who is killed, what arrives when.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use moqt::{
    Certificate, ConnectError, Connecting, FollowOptions, FullTrackName, Link, Origin, Reconnect, Retention,
    Session, SessionConfig, SessionError, SubscribeOptions, TrackConsumer, TrackEvent, TrackInfo,
    TrackProducer, Tracks, Url, session::Handshake,
};
use moqt_relay::{Handle, Later, Options, Redundancy, Relay, Upstream};
use moqt_sim::{Settings, Sim, SimConnection};
use tokio::{task::JoinHandle, time::Instant};

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn name(text: &str) -> FullTrackName {
    text.parse().unwrap()
}

pub fn track(text: &str) -> TrackProducer {
    TrackProducer::new(name(text), TrackInfo::default(), Retention::default())
}

#[expect(clippy::disallowed_methods, reason = "virtual time, under a paused runtime")]
pub fn now() -> Instant {
    Instant::now()
}

/// Silence after which a peer counts as gone.
pub const IDLE: Duration = Duration::from_secs(1);

/// A group lasts so long, and has so many frames.
pub const GROUP: Duration = Duration::from_secs(2);
pub const FRAMES: u64 = 20;

pub fn payload(group: u64, frame: u64) -> Bytes {
    let len = 1 + (group * 977 + frame * 331) % 3000;
    (0..len).map(|at| (group * 31 + frame * 7 + at) as u8).collect()
}

/// When each frame, by group and number, was written or was there.
pub type Times = BTreeMap<(u64, u64), Instant>;

/// Writes the same to all of these tracks, as publishers do that have one source.
pub async fn publish(tracks: Vec<TrackProducer>, groups: u64) -> Times {
    let mut written = BTreeMap::new();
    for sequence in 0..groups {
        let mut open: Vec<_> = tracks.iter().map(TrackProducer::append_group).collect();
        for frame in 0..FRAMES {
            for group in &mut open {
                group.write_frame(payload(sequence, frame)).unwrap();
            }
            written.insert((sequence, frame), now());
            tokio::time::sleep(GROUP / u32::try_from(FRAMES).unwrap()).await;
        }
        open.into_iter().for_each(|group| group.finish().unwrap());
    }
    tracks.iter().for_each(TrackProducer::finish);
    written
}

/// A relay as it runs now, and what it needs to run again.
struct Host {
    above: Vec<String>,
    redundancy: Redundancy,
    link: moqt_sim::Link,
    running: Option<Running>,
    runs: u64,
}

struct Running {
    handle: Handle,
    relay: JoinHandle<()>,
    /// Connections that begin or end here.
    connections: Vec<SimConnection>,
}

/// Relays by the hosts of their URLs.
#[derive(Clone)]
pub struct World {
    pub sim: Sim,
    hosts: Arc<Mutex<BTreeMap<String, Host>>>,
    /// Connections of clients by what they are called; `None` for those that are gone for good.
    clients: Arc<Mutex<BTreeMap<String, Option<Vec<SimConnection>>>>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// A relay of the world, as others below it see it.
#[derive(Debug)]
struct Above {
    world: World,
    below: String,
    host: String,
}

impl Upstream for Above {
    fn name(&self) -> String {
        format!("moqf://{}:443/", self.host)
    }

    fn connect<'a>(
        &'a self,
        path: &'a str,
        moved_to: Option<&'a str>,
        origin: Arc<dyn Origin>,
    ) -> Later<'a, Result<Session, Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            let url: Url = moved_to.unwrap_or(&self.name()).parse()?;
            Ok(self.world.connect(Some(&self.below), &url.with_path(path)?, origin).await?)
        })
    }
}

fn certificate() -> Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| Certificate::generate(&["relay".into()], 10).unwrap()).clone()
}

impl World {
    pub fn new(sim: &Sim) -> Self {
        Self { sim: sim.clone(), hosts: Arc::default(), clients: Arc::default() }
    }

    /// A relay with others above it, reached over this link; it runs from now on.
    pub fn relay(&self, host: &str, above: &[&str], link: moqt_sim::Link) {
        self.relay_with(host, above, link, Redundancy::Best);
    }

    pub fn relay_with(&self, host: &str, above: &[&str], link: moqt_sim::Link, redundancy: Redundancy) {
        let above = above.iter().map(|host| (*host).to_owned()).collect();
        let place = Host { above, redundancy, link, running: None, runs: 0 };
        self.hosts.lock().unwrap().insert(host.to_owned(), place);
        self.up(host);
    }

    /// Starts the relay, anew if it was there before.
    pub fn up(&self, host: &str) {
        let mut hosts = self.hosts.lock().unwrap();
        let place = hosts.get_mut(host).unwrap();
        let mut options = Options::new(certificate());
        options.redundancy = place.redundancy;
        options.seed = Some(self.sim.rng().next_u64());
        options.upstreams = place
            .above
            .iter()
            .map(|above| {
                let (world, below, host) = (self.clone(), host.to_owned(), above.clone());
                Arc::new(Above { world, below, host }) as Arc<dyn Upstream>
            })
            .collect();
        let relay = Relay::detached(options);
        let handle = relay.handle();
        let relay = self.sim.spawn(relay.run());
        place.runs += 1;
        place.running = Some(Running { handle, relay, connections: Vec::new() });
    }

    /// The relay is gone in the middle of a word, and nobody is told.
    pub fn kill(&self, host: &str) {
        let running = self.hosts.lock().unwrap().get_mut(host).unwrap().running.take().unwrap();
        running.connections.iter().for_each(SimConnection::kill);
        running.handle.begin_close();
        running.relay.abort();
    }

    /// Whoever runs the relay asks it to end, with a word on where to go, and waits for that.
    pub async fn drain(&self, host: &str, to: Option<&str>) {
        let handle = self.handle(host);
        handle.drain(to.map(|host| format!("moqf://{host}:443/")));
        let running = {
            let mut hosts = self.hosts.lock().unwrap();
            hosts.get_mut(host).unwrap().running.take().unwrap()
        };
        running.relay.await.unwrap();
    }

    /// A client is gone in the middle of a word, for good.
    pub fn kill_client(&self, client: &str) {
        let connections = self.clients.lock().unwrap().insert(client.to_owned(), None).flatten().unwrap();
        connections.iter().for_each(SimConnection::kill);
    }

    pub fn handle(&self, host: &str) -> Handle {
        self.hosts.lock().unwrap()[host].running.as_ref().unwrap().handle.clone()
    }

    /// Opens a session with a relay, from another one or from a client.
    pub fn connect(&self, from: Option<&str>, url: &Url, origin: Arc<dyn Origin>) -> Connecting {
        let (world, url, from) = (self.clone(), url.clone(), from.map(str::to_owned));
        Box::pin(async move {
            let failed = |source| ConnectError::Session { url: url.clone(), source };
            let found = {
                let hosts = world.hosts.lock().unwrap();
                let host = hosts.get(url.host());
                host.and_then(|host| Some((host.running.as_ref()?.handle.clone(), host.link, host.runs)))
            };
            let Some((relay, link, runs)) = found else {
                // Nobody says that nobody is there.
                tokio::time::sleep(ms(200)).await;
                return Err(failed(SessionError::HandshakeTimeout));
            };
            if from.as_ref().is_some_and(|from| matches!(world.clients.lock().unwrap().get(from), Some(None)))
            {
                return std::future::pending().await;
            }
            let settings = Settings::default().idle_timeout(IDLE).keep_alive(IDLE / 4);
            let (near, far) = world.sim.connect_with(link, settings.clone(), settings);
            if let Some(from) = &from
                && let Some(Some(connections)) = world.clients.lock().unwrap().get_mut(from)
            {
                connections.push(near.clone());
            }
            for (host, connection) in [(Some(url.host()), &far), (from.as_deref(), &near)] {
                let mut hosts = world.hosts.lock().unwrap();
                let place = host.and_then(|host| hosts.get_mut(host));
                if let Some(Host { running: Some(running), .. }) = place {
                    running.connections.push(connection.clone());
                }
            }
            let (host, path) = (url.host().to_owned(), url.path_and_query().to_owned());
            let served = world.clone();
            drop(world.sim.spawn(async move {
                let connection = far.clone();
                let Ok(handshake) = Handshake::accept(far, SessionConfig::default()).await else { return };
                let same = served.hosts.lock().unwrap()[&host].runs == runs;
                if !same {
                    return connection.kill();
                }
                relay.serve(handshake, "192.0.2.1:1".parse().unwrap(), &path).await;
            }));
            let handshake = Handshake::connect(near, SessionConfig::default()).await.map_err(failed)?;
            Ok(handshake.start(origin))
        })
    }

    /// A client that comes back.
    pub async fn client(&self, host: &str, name: &str, origin: Arc<dyn Origin>) -> Link {
        let (world, name) = (self.clone(), name.to_owned());
        self.clients.lock().unwrap().insert(name.clone(), Some(Vec::new()));
        let connect = move |url: Url, origin: Arc<dyn Origin>| world.connect(Some(&name), &url, origin);
        let mut policy = Reconnect::default();
        policy.seed = Some(self.sim.rng().next_u64());
        Link::connect(connect, format!("moqf://{host}:443/").parse().unwrap(), origin, policy).await.unwrap()
    }

    /// A client that publishes a track.
    pub async fn publisher(&self, host: &str, name: &str, live: &TrackProducer) -> Link {
        let tracks = Tracks::new();
        std::mem::forget(tracks.publish(live.consume()).unwrap());
        self.client(host, name, Arc::new(tracks)).await
    }

    /// A client that follows a track from its first group on, and reads it to its end.
    pub async fn subscriber(&self, host: &str) -> JoinHandle<Times> {
        let link = self.client(host, "subscriber", Arc::new(Tracks::new())).await;
        let mut options = FollowOptions::default();
        options.subscribe = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
        let followed = link.follow(name("cam"), options).await.unwrap();
        let (sim, track) = (self.sim.clone(), followed.into_track());
        self.sim.spawn(async move {
            let came = read(&sim, track).await;
            drop(link);
            came
        })
    }
}

/// Reads a track to its end: all groups, each whole, once and byte by byte as it was written, none a gap.
async fn read(sim: &Sim, mut track: TrackConsumer) -> Times {
    let mut reading = Vec::new();
    while let Some(event) = track.next_event().await.unwrap() {
        let TrackEvent::Group(mut group) = event else { panic!("{event:?}") };
        reading.push(sim.spawn(async move {
            let mut came = Vec::new();
            while let Some(frame) = group.read_frame().await.unwrap() {
                let number = came.len() as u64;
                assert_eq!(frame, payload(group.sequence(), number));
                came.push(((group.sequence(), number), now()));
            }
            assert_eq!(came.len() as u64, FRAMES);
            came
        }));
    }
    let mut all = BTreeMap::new();
    for group in reading {
        for (frame, at) in group.await.unwrap() {
            assert!(all.insert(frame, at).is_none(), "{frame:?} twice");
        }
    }
    all
}

/// The longest time without a frame.
pub fn longest_silence(came: &Times) -> Duration {
    let mut times: Vec<_> = came.values().collect();
    times.sort_unstable();
    times.windows(2).map(|pair| *pair[1] - *pair[0]).max().unwrap_or_default()
}

/// The longest time from a frame's writing to its arrival.
pub fn latest(written: &Times, came: &Times) -> Duration {
    came.iter().map(|(frame, at)| *at - written[frame]).max().unwrap_or_default()
}
