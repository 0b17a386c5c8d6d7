//! What viewers say matters most, on its way up: a publisher whose own link is too narrow, a relay, and a viewer, over
//! the real QUIC stack on a network in virtual time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod virtual_net;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{BufMut, BytesMut};
use moqt::{
    Carrier, Certificate, Congestion, Priority, Retention, SessionConfig, SubscribeOptions, TrackConsumer,
    TrackInfo, TrackProducer, Tracks, session::Handshake,
};
use moqt_relay::{Handle, Options, Relay};
use tokio::{task::JoinSet, time::Instant};
use virtual_net::{CARRIERS, Link, Net, Server, now, percentile, virtually};

const DELAY: Duration = Duration::from_millis(10);
const QUEUE: Duration = Duration::from_millis(100);
const SECONDS: u32 = 10;

/// A session from a new client of the relay, that serves these tracks there.
async fn client(
    (server, relay, tasks): (&Server, &Handle, &mut JoinSet<()>),
    carrier: Carrier,
    links: (Link, Link),
    tracks: Tracks,
) -> moqt::Session {
    let (near, far) = server.connect(carrier, links.0, links.1).await;
    let relay = relay.clone();
    tasks.spawn(async move {
        let handshake = Handshake::accept(far, SessionConfig::default()).await.unwrap();
        relay.serve(handshake, "192.0.2.1:1".parse().unwrap(), "/").await;
    });
    Handshake::connect(near, SessionConfig::default()).await.unwrap().start(Arc::new(tracks))
}

/// Frames at a steady pace, with the time of each in its first bytes.
#[derive(Clone, Copy)]
struct Shape {
    frames_per_second: u32,
    frame_bytes: usize,
    frames_per_group: u32,
}

/// 64 kbit/s, a group a frame.
const AUDIO: Shape = Shape { frames_per_second: 50, frame_bytes: 160, frames_per_group: 1 };
/// 3 Mbit/s, a group a second.
const VIDEO: Shape = Shape { frames_per_second: 30, frame_bytes: 12_500, frames_per_group: 30 };

impl Shape {
    async fn write(self, track: &TrackProducer, start: Instant) {
        let mut clock = tokio::time::interval(Duration::from_secs(1) / self.frames_per_second);
        for _ in 0..SECONDS * self.frames_per_second / self.frames_per_group {
            let mut group = track.append_group();
            for _ in 0..self.frames_per_group {
                clock.tick().await;
                let mut frame = BytesMut::zeroed(self.frame_bytes);
                (&mut frame[..8]).put_u64(u64::try_from((now() - start).as_micros()).unwrap());
                // Where retention let go of the group, that is all there is to do.
                let _ = group.write_frame(frame.freeze());
            }
            let _ = group.finish();
        }
        track.finish();
    }
}

/// How long the frames took that came, in order.
async fn latencies(mut track: TrackConsumer, start: Instant) -> Vec<Duration> {
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let mut groups = JoinSet::new();
    while let Ok(Some(mut group)) = track.next_group().await {
        let latencies = Arc::clone(&latencies);
        groups.spawn(async move {
            while let Ok(Some(frame)) = group.read_frame().await {
                let written = Duration::from_micros(u64::from_be_bytes(frame[..8].try_into().unwrap()));
                latencies.lock().unwrap().push((now() - start).saturating_sub(written));
            }
        });
    }
    while groups.join_next().await.is_some() {}
    let mut latencies = Arc::into_inner(latencies).unwrap().into_inner().unwrap();
    latencies.sort_unstable();
    latencies
}

/// Latencies of the audio, where the link of the publisher is too narrow for the video beside it.
async fn audio_beside_video(carrier: Carrier, up: Link, priorities: [u8; 2]) -> Vec<Duration> {
    let net = Net::new(1);
    let server = Server::new(&net, Congestion::Cubic);
    let relay = Relay::detached(Options::new(Certificate::generate(&["relay".into()], 10).unwrap()));
    let handle = relay.handle();
    let mut tasks = JoinSet::new();
    tasks.spawn(relay.run());
    let fast = Link::delay(DELAY);
    let tracks = Tracks::new();
    let sources = ["live/audio", "live/video"]
        .map(|name| TrackProducer::new(name.parse().unwrap(), TrackInfo::default(), Retention::default()));
    let _published = sources.each_ref().map(|track| tracks.publish(track.consume()).unwrap());
    let _publisher = client((&server, &handle, &mut tasks), carrier, (up, fast), tracks).await;
    let viewer = client((&server, &handle, &mut tasks), carrier, (fast, fast), Tracks::new()).await;
    let mut subscriptions = Vec::new();
    for (source, priority) in sources.iter().zip(priorities) {
        let options = SubscribeOptions { priority: Priority(priority), ..SubscribeOptions::default() };
        subscriptions.push(viewer.subscriber().subscribe(source.name().clone(), options).await.unwrap());
    }
    let start = now();
    let (audio, _video, ..) = tokio::join!(
        latencies(subscriptions[0].track(), start),
        latencies(subscriptions[1].track(), start),
        AUDIO.write(&sources[0], start),
        VIDEO.write(&sources[1], start),
    );
    audio
}

/// On its way audio waits for the queue of the link, and for no more than `ahead` of the video.
fn check(carrier: Carrier, priorities: [u8; 2], ahead: u32) {
    for rate in [1_000_000, 2_000_000, 2_800_000] {
        let link = Link::delay(DELAY).rate(rate, QUEUE);
        let latencies = virtually(audio_beside_video(carrier, link, priorities));
        let (p50, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
        let frame = Duration::from_secs(1) * (VIDEO.frame_bytes as u32 * 8) / rate as u32;
        let bound = 2 * DELAY + QUEUE + ahead * frame + Duration::from_millis(50);
        println!(
            "{carrier:?}, {rate} bit/s: {} frames, p50 {p50:?}, p99 {p99:?} of {bound:?}",
            latencies.len()
        );
        assert_eq!(latencies.len(), 500, "{carrier:?}, {rate} bit/s");
        assert!(p99 <= bound, "{carrier:?}, {rate} bit/s: p99 {p99:?}, at most {bound:?}");
    }
}

#[test]
fn what_a_viewer_says_matters_most_is_sent_first_by_the_publisher_too() {
    CARRIERS.into_iter().for_each(|carrier| check(carrier, [200, 100], 0));
}

#[test]
fn audio_of_the_same_rank_does_not_wait_for_the_video_beside_it() {
    CARRIERS.into_iter().for_each(|carrier| check(carrier, [128, 128], 1));
}
