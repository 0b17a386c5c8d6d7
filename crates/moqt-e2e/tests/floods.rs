//! Clients that want everything, against a real relay, while another client goes on as if nothing were.
//!
//! Each flood has its own relay, takes a few seconds, and ends in what the relay says of itself: which limit it was, what
//! is left, and how much memory it took. Wall time is a ratio within one run, with room for a machine that is busy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests may panic, and these run in real time"
)]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use moqt::{
    ClientOptions, Published, Retention, Session, TrackInfo, TrackProducer, Tracks,
    transport::{Code, RecvStream as _, SendStream as _},
};
use moqt_e2e::{
    Relay,
    flood::{Flooder, Target, names, subscribe},
};

/// "Too many" on the wire.
const TOO_MANY: Code = Code(69);
/// What a flood may cost the relay at most, in a build for debugging.
const MEMORY: u64 = 96 << 20;

async fn bounded<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("took too long")
}

/// What the relay counts, by name with labels.
fn numbers(relay: &Relay) -> BTreeMap<String, u64> {
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let lines = page.lines().filter(|line| line.starts_with("moqt_"));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.into(), value.parse().unwrap()))
        .collect()
}

fn refused(relay: &Relay, limit: &str) -> u64 {
    numbers(relay).get(&format!("moqt_refusals_total{{limit=\"{limit}\"}}")).copied().unwrap_or_default()
}

/// Waits until a number is as wanted.
async fn until(relay: &Relay, name: &str, wanted: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let value = numbers(relay).get(name).copied().unwrap_or_default();
        if wanted(value) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} stays at {value}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn target(relay: &Relay) -> Target {
    let [_, _, fingerprint] = relay.pinned("https");
    Target::new(relay.address().parse().unwrap(), fingerprint.parse().unwrap()).unwrap()
}

async fn connect(relay: &Relay) -> Flooder {
    bounded(Flooder::connect(&target(relay))).await.unwrap()
}

/// Somebody who is served all the while, and how long the relay takes to answer.
struct Bystander {
    session: Session,
    _publisher: (Session, TrackProducer, Published),
}

impl Bystander {
    async fn join(relay: &Relay) -> Self {
        let [url, _, fingerprint] = relay.pinned("moqf");
        let client = || {
            let mut options = ClientOptions::default();
            options.tls.fingerprints = vec![fingerprint.parse().unwrap()];
            moqt::Client::new(options).unwrap()
        };
        let url = format!("{url}calm").parse().unwrap();
        let tracks = Tracks::new();
        let publisher = client().connect_with(&url, Arc::new(tracks.clone())).await.unwrap();
        let track = TrackProducer::new("live".parse().unwrap(), TrackInfo::default(), Retention::default());
        let published = tracks.publish(track.consume()).unwrap();
        let session = client().connect(&url).await.unwrap();
        let mut names = session.subscriber().announced("".parse().unwrap()).await.unwrap();
        while names.next().await.unwrap() != moqt::Announced::Active("live".parse().unwrap()) {}
        Self { session, _publisher: (publisher, track, published) }
    }

    /// From question to answer, through the relay to the publisher and back.
    async fn question(&self) -> Duration {
        let before = Instant::now();
        bounded(self.session.subscriber().info("live".parse().unwrap())).await.unwrap();
        before.elapsed()
    }
}

/// Half and all but one in a hundred took no longer than that.
fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Runs a flood, and sees to it that the bystander and the relay's memory hardly notice.
fn flood<F: Future<Output = ()> + Send + 'static>(what: &str, flood: impl FnOnce(Arc<Relay>) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let relay = Arc::new(Relay::start(&["-q"]));
        let bystander = Bystander::join(&relay).await;
        let mut calm = Vec::new();
        for _ in 0..100 {
            calm.push(bystander.question().await);
        }
        let before = relay.process.resident();
        let over = Arc::new(AtomicBool::new(false));
        let running = tokio::spawn({
            let (flood, over) = (flood(Arc::clone(&relay)), Arc::clone(&over));
            async move {
                flood.await;
                over.store(true, Ordering::Relaxed);
            }
        });
        let mut meanwhile = Vec::new();
        let mut most = 0;
        while !running.is_finished() || meanwhile.len() < 20 {
            meanwhile.push(bystander.question().await);
            most = most.max(relay.process.resident().unwrap_or_default());
        }
        running.await.unwrap();
        assert!(over.load(Ordering::Relaxed));
        let (count, (calm, meanwhile)) = (meanwhile.len(), (percentiles(calm), percentiles(meanwhile)));
        let grown = most.saturating_sub(before.unwrap_or(most));
        eprintln!(
            "{what}: {count} answers, median and p99 {calm:?} before, {meanwhile:?} meanwhile; {grown} bytes"
        );
        assert!(grown < MEMORY, "{what}: {grown} bytes");
        // The flood itself takes its part of the same two cores, and others theirs.
        let bound = calm.1 * 2 + Duration::from_millis(30);
        assert!(meanwhile.0 <= bound, "{what}: {meanwhile:?} where it was {calm:?}");
    });
}

#[test]
fn a_hundred_thousand_subscriptions_end_with_69_and_are_counted() {
    flood("subscriptions", async |relay| {
        let flooder = connect(&relay).await;
        let mut open = Vec::new();
        for id in 0..100_000 {
            match flooder.open(subscribe(id, "nobody")).await {
                Ok(streams) if open.len() < 1000 => open.push(streams),
                // Dropped, it is reset and stopped.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        assert_eq!(bounded(flooder.closed()).await, Some(TOO_MANY));
        assert!(refused(&relay, "requests per second") > 1000, "{:?}", numbers(&relay));
        assert_eq!(refused(&relay, "refusals per second"), 1);
        until(&relay, "moqt_subscriptions{side=\"downstream\"}", |open| open == 0).await;
    });
}

#[test]
fn a_hundred_thousand_names_end_that_watch_with_69_and_none_is_left() {
    flood("announcements", async |relay| {
        let flooder = connect(&relay).await;
        let (mut watch, _please) = bounded(flooder.watch()).await.unwrap();
        for first in (0..100_000).step_by(1000) {
            if watch.write_all(names(first)).await.is_err() {
                break;
            }
        }
        assert_eq!(bounded(watch.stopped()).await.unwrap(), Some(TOO_MANY));
        assert_eq!(refused(&relay, "announced names"), 1);
        // All but the bystander's.
        until(&relay, "moqt_names", |names| names == 1).await;
    });
}

#[test]
fn streams_that_stay_half_open_are_refused_beyond_the_limit() {
    flood("half-open streams", async |relay| {
        let flooder = connect(&relay).await;
        let mut streams = Vec::new();
        for _ in 0..3000 {
            // Beyond what the transport gives, it waits.
            let open = tokio::time::timeout(Duration::from_millis(500), flooder.open(vec![0x40])).await;
            let Ok(Ok(open)) = open else { break };
            streams.push(open);
        }
        assert!(streams.len() > 1250, "{}", streams.len());
        let (send, _) = streams.last_mut().unwrap();
        assert_eq!(bounded(send.stopped()).await.unwrap(), Some(TOO_MANY));
        assert!(refused(&relay, "requests") > 50);
        drop((streams, flooder));
        until(&relay, "moqt_sessions{carrier=\"quic\"}", |sessions| sessions == 2).await;
    });
}

#[test]
fn groups_of_unknown_subscriptions_are_stopped_and_forgotten() {
    flood("groups of unknown ids", async |relay| {
        let flooder = connect(&relay).await;
        for sequence in 0..5000_u64 {
            let mut send = bounded(flooder.group(7, sequence, 200)).await.unwrap();
            if sequence % 500 == 0 {
                assert_eq!(bounded(send.stopped()).await.unwrap(), Some(Code(0)));
            }
        }
        until(&relay, "moqt_cache_groups", |groups| groups == 0).await;
    });
}

#[test]
fn frames_of_a_declared_gibibyte_hold_no_memory() {
    flood("declared frames", async |relay| {
        let publisher = connect(&relay).await;
        let (mut watch, _please) = bounded(publisher.watch()).await.unwrap();
        watch.write_all(Bytes::from_static(b"\x01\x01\x04huge")).await.unwrap();
        until(&relay, "moqt_names", |names| names == 2).await;
        let subscriber = connect(&relay).await;
        let _wish = subscriber.open(subscribe(0, "huge")).await.unwrap();
        let (mut info, _wish_of_relay) = bounded(publisher.subscription()).await.unwrap();
        info.write_all(Bytes::from_static(b"\x01\x00\x00")).await.unwrap();
        until(&relay, "moqt_subscriptions{side=\"downstream\"}", |open| open == 1).await;
        let mut groups = Vec::new();
        for sequence in 0..1000_u64 {
            // More than a frame may have, or just as much, and a few bytes of it.
            let size = if sequence % 2 == 0 { 1 << 30 } else { 16 << 20 };
            let mut send = publisher.group(0, sequence, size).await.unwrap();
            if sequence % 100 == 0 {
                assert_eq!(bounded(send.stopped()).await.unwrap(), Some(TOO_MANY));
            }
            groups.push(send);
        }
        let held = numbers(&relay)["moqt_cache_bytes"];
        assert!(held < 2 << 20, "{held}");
        drop((groups, publisher));
        until(&relay, "moqt_cache_bytes", |held| held == 0).await;
    });
}

#[test]
fn handshakes_that_never_end_keep_nobody_out() {
    flood("slow handshakes", async |relay| {
        let target = target(&relay);
        let mut slow = Vec::new();
        for _ in 0..200 {
            slow.push(bounded(target.dial_slowly()).await.unwrap());
        }
        until(&relay, "moqt_handshakes", |count| count > 50).await;
        // From a hundred and twenty-eight on, addresses are proven first.
        assert!(numbers(&relay)["moqt_handshakes_retried_total"] > 0, "{:?}", numbers(&relay));
        let late = connect(&relay).await;
        drop(late);
        drop(slow);
        until(&relay, "moqt_handshakes", |count| count == 0).await;
        assert!(numbers(&relay)["moqt_handshakes_failed_total"] >= 100);
    });
}

#[test]
fn streams_that_are_opened_and_reset_at_once_end_the_session_with_69() {
    flood("rapid reset", async |relay| {
        let flooder = connect(&relay).await;
        for _ in 0..100_000 {
            let Ok((mut send, mut recv)) = flooder.open(vec![4]).await else { break };
            send.reset(Code(4));
            recv.stop(Code(4));
        }
        assert_eq!(bounded(flooder.closed()).await, Some(TOO_MANY));
        assert!(refused(&relay, "requests per second") > 1000, "{:?}", numbers(&relay));
        until(&relay, "moqt_sessions{carrier=\"quic\"}", |sessions| sessions == 2).await;
    });
}
