//! Servers that go and come back, in virtual time.
#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use moqt::transport::Connection as _;
use moqt::{
    AnnounceConsumer, ConnectError, Connecting, FullTrackName, InfoRequest, Interest, Link, Origin,
    Reconnect, Retention, Session, SessionConfig, SessionError, TrackConsumer, TrackEvent, TrackInfo,
    TrackProducer, TrackRequest, Tracks, Url, session::Handshake,
};
use moqt_sim::{Settings, Sim, SimConnection};
use tokio::{task::JoinHandle, time::Instant};

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn name(text: &str) -> FullTrackName {
    text.parse().unwrap()
}

pub fn track(text: &str) -> TrackProducer {
    TrackProducer::new(name(text), TrackInfo::default(), Retention::default())
}

pub fn calm() -> moqt_sim::Link {
    moqt_sim::Link::delay(ms(20))
}

pub fn lossy(sim: &Sim) -> moqt_sim::Link {
    let mut rng = sim.rng();
    moqt_sim::Link::delay(ms(5 + rng.below(60))).loss(0.03)
}

#[expect(clippy::disallowed_methods, reason = "virtual time, under a paused runtime")]
fn now() -> Instant {
    Instant::now()
}

/// How long a silence may be.
pub const IDLE: Duration = Duration::from_secs(2);

pub const FRAMES: u64 = 10;

fn payload(group: u64, frame: u64) -> Bytes {
    let len = 1 + (group * 977 + frame * 331) % 4000;
    (0..len).map(|at| (group * 31 + frame * 7 + at) as u8).collect()
}

/// When each frame, by group and number, was written or was there.
pub type Times = BTreeMap<(u64, u64), Instant>;

/// Writes a group every 100 ms, a frame every 10 ms.
pub async fn publish(live: TrackProducer, groups: u64) -> Times {
    let mut written = BTreeMap::new();
    for sequence in 0..groups {
        let mut group = live.append_group();
        for frame in 0..FRAMES {
            group.write_frame(payload(sequence, frame)).unwrap();
            written.insert((sequence, frame), now());
            tokio::time::sleep(ms(10)).await;
        }
        group.finish().unwrap();
    }
    live.finish();
    written
}

/// What deployed peers are like: they serve no fetches.
struct Unfetched(Tracks);

impl Origin for Unfetched {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.0.watch(interest)
    }

    fn track(&self, request: TrackRequest) {
        self.0.track(request);
    }

    fn info(&self, request: InfoRequest) {
        self.0.info(request);
    }
}

struct Server {
    link: moqt_sim::Link,
    tracks: Tracks,
    up: bool,
    serves_fetches: bool,
    sessions: Vec<(Session, SimConnection)>,
}

/// Servers by the hosts of their URLs.
#[derive(Clone)]
pub struct World {
    sim: Sim,
    servers: Arc<Mutex<BTreeMap<String, Server>>>,
    changed: Arc<tokio::sync::Notify>,
}

impl World {
    pub fn new(sim: &Sim) -> Self {
        Self { sim: sim.clone(), servers: Arc::default(), changed: Arc::default() }
    }

    /// A server without tracks.
    pub fn hear(&self, host: &str, link: moqt_sim::Link) {
        self.add(host, link, Tracks::new());
    }

    fn add(&self, host: &str, link: moqt_sim::Link, tracks: Tracks) {
        let server = Server { link, tracks, up: true, serves_fetches: true, sessions: Vec::new() };
        self.servers.lock().unwrap().insert(host.to_owned(), server);
    }

    /// A server that has the track `cam`.
    pub fn serve(&self, host: &str, link: moqt_sim::Link) -> TrackProducer {
        self.hear(host, link);
        let live = track("cam");
        std::mem::forget(self.tracks(host).publish(live.consume()).unwrap());
        live
    }

    /// From now on it refuses to serve parts of groups.
    pub fn serves_no_fetches(&self, host: &str) {
        self.servers.lock().unwrap().get_mut(host).unwrap().serves_fetches = false;
    }

    /// What a server has sent on its last connection, in bytes.
    pub fn bytes_sent(&self, host: &str) -> u64 {
        self.servers.lock().unwrap()[host].sessions.last().unwrap().1.counters().bytes_sent
    }

    /// A server that has what another has.
    pub fn also(&self, host: &str, link: moqt_sim::Link, other: &str) {
        self.add(host, link, self.tracks(other));
    }

    pub fn tracks(&self, host: &str) -> Tracks {
        self.servers.lock().unwrap()[host].tracks.clone()
    }

    /// The server dies: with a word, or in the middle of one.
    pub fn down(&self, host: &str) {
        let silent = self.sim.rng().chance(0.5);
        let mut servers = self.servers.lock().unwrap();
        let server = servers.get_mut(host).unwrap();
        server.up = false;
        for (_, connection) in &server.sessions {
            if silent {
                connection.kill();
            } else {
                connection.close(moqt::Code(0), "restart");
            }
        }
    }

    pub fn up(&self, host: &str) {
        self.servers.lock().unwrap().get_mut(host).unwrap().up = true;
    }

    /// Drains the last session of a server.
    pub async fn drain(&self, host: &str, url: Option<&str>, patience: Duration) -> SessionError {
        let session = self.servers.lock().unwrap()[host].sessions.last().unwrap().0.clone();
        session.drain(url.map(str::to_owned), patience).await.unwrap()
    }

    /// The session of a server that came after `known` others.
    pub async fn next_session(&self, host: &str, known: usize) -> Session {
        loop {
            let changed = self.changed.notified();
            if let Some((session, _)) = self.servers.lock().unwrap()[host].sessions.get(known) {
                return session.clone();
            }
            changed.await;
        }
    }

    fn connect(&self, url: &Url, origin: Arc<dyn Origin>) -> Connecting {
        let (world, url) = (self.clone(), url.clone());
        Box::pin(async move {
            let failed = |source| ConnectError::Session { url: url.clone(), source };
            let link = {
                let servers = world.servers.lock().unwrap();
                servers.get(url.host()).filter(|server| server.up).map(|server| server.link)
            };
            let Some(link) = link else {
                tokio::time::sleep(ms(200)).await;
                return Err(failed(SessionError::HandshakeTimeout));
            };
            // As a client that wants to notice soon: what a server that is killed does not say.
            let settings = Settings::default().idle_timeout(IDLE).keep_alive(IDLE / 4);
            let (near, far) = world.sim.connect_with(link, settings.clone(), settings);
            let host = url.host().to_owned();
            let server = world.clone();
            drop(world.sim.spawn(async move {
                let connection = far.clone();
                let Ok(handshake) = Handshake::accept(far, SessionConfig::default()).await else { return };
                let mut servers = server.servers.lock().unwrap();
                let place = servers.get_mut(&host).unwrap();
                let tracks = place.tracks.clone();
                let session = match place.serves_fetches {
                    true => handshake.start(Arc::new(tracks)),
                    false => handshake.start(Arc::new(Unfetched(tracks))),
                };
                if !place.up {
                    connection.kill();
                }
                place.sessions.push((session, connection));
                server.changed.notify_waiters();
            }));
            let handshake = Handshake::connect(near, SessionConfig::default()).await.map_err(failed)?;
            Ok(handshake.start(origin))
        })
    }

    /// A link that publishes nothing.
    pub async fn link(&self, host: &str) -> Link {
        self.link_with(host, |_| {}).await
    }

    pub async fn link_with(&self, host: &str, change: impl FnOnce(&mut Reconnect)) -> Link {
        self.open(host, Arc::new(Tracks::new()), change).await
    }

    pub async fn publish(&self, host: &str, origin: Arc<dyn Origin>) -> Link {
        self.open(host, origin, |_| {}).await
    }

    async fn open(&self, host: &str, origin: Arc<dyn Origin>, change: impl FnOnce(&mut Reconnect)) -> Link {
        let world = self.clone();
        let connect = move |url: Url, origin: Arc<dyn Origin>| world.connect(&url, origin);
        let mut policy = Reconnect::default();
        policy.seed = Some(self.sim.rng().next_u64());
        change(&mut policy);
        Link::connect(connect, format!("moqf://{host}/").parse().unwrap(), origin, policy).await.unwrap()
    }

    /// Reads a track to its end: all groups, each whole and once, none a gap.
    pub fn read(&self, mut track: TrackConsumer) -> JoinHandle<Times> {
        let sim = self.sim.clone();
        self.sim.spawn(async move {
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
        })
    }
}
