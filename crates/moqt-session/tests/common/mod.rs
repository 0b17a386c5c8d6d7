//! Helpers for tests of whole sessions in virtual time.
#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests; each test file uses its own part")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use moqt_session::{Config, FrameMeta, Handshake, Retention, Session, TrackInfo, TrackProducer, Tracks};
use moqt_sim::{Link, Sim, SimConnection};
use moqt_wire::{FullTrackName, Namespace, Version};

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
