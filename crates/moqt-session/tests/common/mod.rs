//! Helpers for tests of whole sessions in virtual time.
#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests; each test file uses its own part")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use moqt_session::{
    AnnounceConsumer, AnnounceProducer, Config, FetchRequest, FrameMeta, GroupConsumer, GroupError,
    Handshake, InfoRequest, Interest, Origin, Retention, Session, SubscribeOptions, Subscription, TrackInfo,
    TrackProducer, TrackRequest, Tracks,
};
use moqt_sim::{
    Link, Settings, Sim, SimConnection,
    script::{Peer, PeerStream},
};
use moqt_wire::{
    FullTrackName, GroupOrder, GroupSequence, Namespace, Priority, SubscribeId, Version,
    transfork::{
        Announce, AnnouncePlease, AnnounceStatus, EXT_ENCODING, Extensions, Group, Info, InfoPlease,
        StreamKind, Subscribe, SubscribeGap, code,
    },
};

/// The rows that a pair of our own endpoints can agree on, with the configuration that leads there.
pub const VERSIONS: [Version; 4] =
    [Version::TRANSFORK_03, Version::TRANSFORK_04, Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9];

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn name(text: &str) -> FullTrackName {
    text.parse().unwrap()
}

pub fn namespace(text: &str) -> Namespace {
    text.parse().unwrap()
}

/// A configuration that ends in `version` when both sides use it.
pub fn config(version: Version) -> Config {
    let mut config = Config::default();
    config.versions = vec![version];
    if version.spec().code == Version::TRANSFORK_04.spec().code {
        config.unmarked_04 = version;
    }
    config
}

/// One side of a session, with the tracks it serves.
pub struct Side {
    pub session: Session,
    pub tracks: Tracks,
}

/// A session between two sides, both ready.
pub async fn pair(near: SimConnection, far: SimConnection, version: Version) -> (Side, Side) {
    pair_with(near, far, config(version), config(version)).await
}

pub async fn pair_with(
    near: SimConnection,
    far: SimConnection,
    client: Config,
    server: Config,
) -> (Side, Side) {
    let (client, server) = tokio::join!(Handshake::connect(near, client), Handshake::accept(far, server));
    (start(client.unwrap()), start(server.unwrap()))
}

pub fn start(handshake: Handshake<SimConnection>) -> Side {
    let tracks = Tracks::new();
    let session = handshake.start(Arc::new(tracks.clone()));
    Side { session, tracks }
}

/// A link with some delay and no loss.
pub fn calm() -> Link {
    Link::delay(ms(20))
}

pub async fn connected(sim: &Sim, link: Link, version: Version) -> (Side, Side) {
    let (near, far) = sim.connect(link);
    pair(near, far, version).await
}

/// A track of its own, with the default retention.
pub fn track(text: &str) -> TrackProducer {
    TrackProducer::new(name(text), TrackInfo::default(), Retention::default())
}

/// Writes a whole group of frames.
pub fn write_group(track: &TrackProducer, frames: &[&[u8]]) {
    let mut group = track.append_group();
    for frame in frames {
        group.write_frame(Bytes::copy_from_slice(frame)).unwrap();
    }
    group.finish().unwrap();
}

/// A frame of `size` with nothing said of it.
pub fn sized(size: u64) -> FrameMeta {
    FrameMeta::sized(size)
}

/// The handshake extension that stands for the encoding of draft 04.
pub fn marked_04() -> Extensions {
    Extensions::from_iter([(EXT_ENCODING, Bytes::from_static(&[1]))])
}

/// A scripted client, and the session under test as its server.
pub async fn against_client(sim: &Sim, version: Version) -> (Side, Peer) {
    against_client_with(sim.connect(calm()), version, config(version)).await
}

pub async fn against_client_with(
    (near, far): (SimConnection, SimConnection),
    version: Version,
    config: Config,
) -> (Side, Peer) {
    let (peer, session) = tokio::join!(Peer::client(near).handshake(version), Handshake::accept(far, config));
    (start(session.unwrap()), peer)
}

/// A scripted server, and the session under test as its client.
pub async fn against_server(sim: &Sim, version: Version) -> (Side, Peer) {
    against_server_with(sim.connect(calm()), version, config(version)).await
}

pub async fn against_server_with(
    (near, far): (SimConnection, SimConnection),
    version: Version,
    config: Config,
) -> (Side, Peer) {
    let (session, peer) =
        tokio::join!(Handshake::connect(near, config), Peer::server(far).handshake(version));
    (start(session.unwrap()), peer)
}

/// Settings under which the transport's own limits on streams are far away.
pub fn wide() -> Settings {
    Settings::default().max_bidi_streams(100_000).max_uni_streams(100_000)
}

/// Asks something harmless and waits for the answer: the session lives.
pub async fn still_answers(peer: &Peer) {
    let mut asked = peer.request(StreamKind::Info, &InfoPlease { track: name("nobody/here") }).await;
    asked.expect_reset(code::NOT_FOUND).await;
}

/// A wish for a track from its newest group on.
pub fn wish(id: u64, text: &str) -> Subscribe {
    Subscribe {
        id: SubscribeId(id),
        track: name(text),
        priority: Priority(128),
        order: GroupOrder::Default,
        expires: None,
        first: None,
        last: None,
    }
}

/// [`wish`] with bounds.
pub fn ranged(id: u64, text: &str, first: impl Into<Option<u64>>, last: impl Into<Option<u64>>) -> Subscribe {
    Subscribe {
        first: first.into().map(GroupSequence),
        last: last.into().map(GroupSequence),
        ..wish(id, text)
    }
}

/// What a publisher says of a track of no particular kind.
pub fn fact(latest: u64) -> Info {
    Info {
        priority: Priority(128),
        order: GroupOrder::Ascending,
        latest: GroupSequence(latest),
        expires: None,
    }
}

/// The header of a Group stream.
pub fn header(subscribe: u64, sequence: u64) -> Group {
    Group { subscribe: SubscribeId(subscribe), sequence: GroupSequence(sequence) }
}

/// A gap in a subscription.
pub fn gap(first: u64, additional: u64, code: moqt_wire::Code) -> SubscribeGap {
    SubscribeGap { first: GroupSequence(first), additional, code }
}

pub fn active(suffix: &str) -> Announce {
    Announce { status: AnnounceStatus::ACTIVE, suffix: Some(namespace(suffix)) }
}

pub fn ended(suffix: &str) -> Announce {
    Announce { status: AnnounceStatus::ENDED, suffix: Some(namespace(suffix)) }
}

pub fn caught_up() -> Announce {
    Announce { status: AnnounceStatus::LIVE, suffix: None }
}

/// Interest in everything below `prefix`.
pub fn please(prefix: &str) -> AnnouncePlease {
    AnnouncePlease { interest: Interest::Prefix(namespace(prefix)) }
}

/// A subscription of the session under test, accepted by the script; and the script's side of it.
pub async fn subscribed(
    side: &Side,
    peer: &mut Peer,
    options: SubscribeOptions,
) -> (Subscription, PeerStream, Subscribe) {
    let wanted = side.session.subscriber();
    let serving = async {
        let (mut stream, wish) = peer.serve::<Subscribe>(StreamKind::Subscribe).await;
        stream.send(&fact(0)).await;
        (stream, wish)
    };
    let (subscription, (stream, wish)) = tokio::join!(wanted.subscribe(name("cam/video"), options), serving);
    (subscription.unwrap(), stream, wish)
}

/// A watch of the session under test, with the script's side of it.
pub async fn watching(side: &Side, peer: &mut Peer, prefix: &str) -> (AnnounceConsumer, PeerStream) {
    let wanted = side.session.subscriber();
    let (watch, (stream, _)) =
        tokio::join!(wanted.announced(namespace(prefix)), peer.serve::<AnnouncePlease>(StreamKind::Announce));
    (watch.unwrap(), stream)
}

/// The frames of a group up to its end.
pub async fn frames_of(group: &mut GroupConsumer) -> (Vec<Bytes>, Result<(), GroupError>) {
    let mut frames = Vec::new();
    loop {
        match group.read_frame().await {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

/// An origin that answers nothing and keeps every request.
#[derive(Debug, Default)]
pub struct Silent {
    pub names: AnnounceProducer,
    pub tracks: Mutex<Vec<TrackRequest>>,
    pub infos: Mutex<Vec<InfoRequest>>,
    pub fetches: Mutex<Vec<FetchRequest>>,
}

impl Origin for Silent {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.names.watch(interest)
    }

    fn track(&self, request: TrackRequest) {
        self.tracks.lock().unwrap().push(request);
    }

    fn info(&self, request: InfoRequest) {
        self.infos.lock().unwrap().push(request);
    }

    fn fetch(&self, request: FetchRequest) {
        self.fetches.lock().unwrap().push(request);
    }
}
