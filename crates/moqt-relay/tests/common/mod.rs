//! A relay on loopback, and clients for it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "for tests; each suite uses a part"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use moqt::{
    Announced, Certificate, Client, ClientOptions, FullTrackName, GroupProducer, Info, Namespace, Published,
    Reason, RequestError, Retention, Session, SubscribeOptions, TrackConsumer, TrackInfo, TrackProducer,
    Tracks, Url, Version,
};
use moqt_relay::{Counters, Handle, Options, Relay, Upstream, UpstreamUrl};
use tokio::task::JoinSet;

/// Both carriers.
pub const SCHEMES: [&str; 2] = ["moqf", "https"];

/// No test takes longer.
pub async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), test).await.expect("test took too long")
}

/// Comes back once the condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

pub fn name(text: &str) -> FullTrackName {
    text.parse().unwrap()
}

pub fn active(text: &str) -> Announced {
    Announced::Active(text.parse().unwrap())
}

pub fn ended(text: &str) -> Announced {
    Announced::Ended(text.parse().unwrap())
}

/// Writes a whole group.
pub fn write(mut group: GroupProducer, frames: &[&[u8]]) {
    for frame in frames {
        group.write_frame(Bytes::copy_from_slice(frame)).unwrap();
    }
    group.finish().unwrap();
}

/// Reads a whole group.
pub async fn read(track: &mut TrackConsumer) -> (u64, Vec<Bytes>) {
    let mut group = track.next_group().await.unwrap().expect("track ended");
    let mut frames = Vec::new();
    while let Some(frame) = group.read_frame().await.unwrap() {
        frames.push(frame);
    }
    (group.sequence(), frames)
}

/// A relay that runs until it is dropped.
pub struct TestRelay {
    pub handle: Handle,
    running: JoinSet<()>,
}

pub fn options() -> Options {
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = Certificate::generate(&hosts, 10).unwrap();
    Options::new(certificate).listen("127.0.0.1:0".parse().unwrap()).http_beside()
}

/// A relay with others above it.
pub fn below(above: &[&TestRelay]) -> Options {
    let mut options = options();
    options.upstreams = above.iter().map(|relay| relay.as_upstream()).collect();
    options
}

/// A port of this machine that is free.
pub fn free_port() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The relay at this address, whoever that is, and how to reach it.
pub fn upstream(address: SocketAddr) -> Arc<dyn Upstream> {
    let mut options = ClientOptions::default();
    options.tls.disable_verify = true;
    let client = Client::new(options).unwrap();
    Arc::new(UpstreamUrl::new(client, format!("moqf://{address}/").parse().unwrap()))
}

impl TestRelay {
    pub fn as_upstream(&self) -> Arc<dyn Upstream> {
        upstream(self.address())
    }

    /// Ends it without a word.
    pub fn kill(mut self) {
        self.running.abort_all();
    }

    pub fn start() -> Self {
        Self::with(options())
    }

    pub fn with(options: Options) -> Self {
        let relay = Relay::bind(options).unwrap();
        let handle = relay.handle();
        let mut running = JoinSet::new();
        running.spawn(relay.run());
        Self { handle, running }
    }

    pub fn counters(&self) -> Counters {
        self.handle.counters()
    }

    /// Waits until it has ended by itself.
    pub async fn ends(&mut self) {
        while self.running.join_next().await.is_some() {}
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    pub fn url(&self, scheme: &str, path: &str) -> Url {
        format!("{scheme}://{}{path}", self.address()).parse().unwrap()
    }

    pub fn client(&self) -> Client {
        self.client_of(None)
    }

    /// A client that speaks one version only.
    pub fn client_of(&self, version: Option<Version>) -> Client {
        let mut options = ClientOptions::default();
        options.tls.fingerprints = vec![self.handle.fingerprint().unwrap()];
        if let Some(version) = version {
            options.session.versions = vec![version];
            if version.spec().code == Version::TRANSFORK_04.spec().code {
                options.session.unmarked_04 = version;
            }
        }
        Client::new(options).unwrap()
    }

    pub async fn connect(&self, scheme: &str) -> Peer {
        self.connect_to(scheme, "/").await
    }

    pub async fn connect_to(&self, scheme: &str, path: &str) -> Peer {
        self.connect_as(self.client(), scheme, path).await
    }

    pub async fn connect_as(&self, client: Client, scheme: &str, path: &str) -> Peer {
        self.connect_by(client, self.url(scheme, path)).await
    }

    /// Connects by another name than the address.
    pub async fn connect_by(&self, client: Client, url: Url) -> Peer {
        let tracks = Tracks::new();
        let session = client.connect_with(&url, Arc::new(tracks.clone())).await.unwrap();
        Peer { client, session, tracks }
    }
}

/// A client with its session.
pub struct Peer {
    pub client: Client,
    pub session: Session,
    pub tracks: Tracks,
}

impl Peer {
    /// Publishes a track, until the guard is dropped.
    pub fn publish(&self, text: &str) -> (TrackProducer, Published) {
        let track = TrackProducer::new(name(text), TrackInfo::default(), Retention::default());
        let published = self.tracks.publish(track.consume()).unwrap();
        (track, published)
    }

    /// Waits until the relay announces a name.
    pub async fn sees(&self, text: &str) {
        let mut names = self.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
        while names.next().await.expect("watch ended") != active(text) {}
    }

    pub async fn try_subscribe(&self, text: &str) -> Result<TrackConsumer, RequestError> {
        let subscriber = self.session.subscriber();
        Ok(subscriber.subscribe(name(text), SubscribeOptions::default()).await?.into_track())
    }

    /// Waits for the name, then subscribes.
    pub async fn subscribe(&self, text: &str) -> TrackConsumer {
        self.sees(text).await;
        self.try_subscribe(text).await.unwrap()
    }

    pub async fn info(&self, text: &str) -> Result<Info, RequestError> {
        self.session.subscriber().info(name(text)).await
    }

    /// Cuts the connection without a word of goodbye on the session's streams.
    pub fn vanish(self) {
        self.client.close();
    }
}

pub fn refused<T: std::fmt::Debug>(result: Result<T, RequestError>) -> Reason {
    match result {
        Err(RequestError::Refused(reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}
