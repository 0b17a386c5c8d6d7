//! Relays as processes that are restarted and killed, and clients that notice nothing.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests may panic, and these run in real time"
)]

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use moqt::{
    Client, ClientOptions, FollowOptions, Link, Reconnect, Retention, SubscribeOptions, TrackConsumer,
    TrackEvent, TrackInfo, TrackProducer, Tracks,
};
use moqt_e2e::{PATIENCE, Process, Relay, free_address};
use tokio::task::JoinHandle;

/// A group lasts so long, and has so many frames.
const GROUP: Duration = Duration::from_secs(3);
const FRAMES: u32 = 30;

/// When each frame, by group and number, was written or was there.
type Times = BTreeMap<(u64, u64), Instant>;

/// Relays at fixed addresses, some below others.
struct Site {
    relays: Vec<Relay>,
    addresses: Vec<String>,
    options: Vec<Vec<String>>,
}

impl Site {
    /// Two origins and two edges below both, in this order; each sends its clients to the other of its kind.
    fn two_by_two(more: &[&str]) -> Self {
        let addresses: Vec<_> = (0..4).map(|_| free_address()).collect();
        let url = |at: usize| format!("http://{}/", addresses[at]);
        let options = (0..4)
            .map(|at| {
                let mut options = vec!["--drain-to".to_owned(), url(at ^ 1)];
                if at >= 2 {
                    options.extend(["--upstream".into(), url(0), "--upstream".into(), url(1)]);
                }
                options.extend(more.iter().map(|option| (*option).to_owned()));
                options
            })
            .collect();
        let mut site = Self { relays: Vec::new(), addresses, options };
        for at in 0..4 {
            site.relays.push(site.start(at));
        }
        site
    }

    fn start(&self, at: usize) -> Relay {
        let options: Vec<_> = self.options[at].iter().map(String::as_str).collect();
        Relay::start_at(&self.addresses[at], &options)
    }

    fn url(&self, at: usize) -> moqt::Url {
        format!("http://{}/", self.addresses[at]).parse().unwrap()
    }
}

fn payload(group: u64, frame: u64) -> Bytes {
    let len = 1 + (group * 977 + frame * 331) % 3000;
    (0..len).map(|at| (group * 31 + frame * 7 + at) as u8).collect()
}

fn client() -> Client {
    let mut options = ClientOptions::default();
    options.transport.idle_timeout = Some(Duration::from_secs(1));
    options.transport.keep_alive = Some(Duration::from_millis(300));
    Client::new(options).unwrap()
}

fn track() -> TrackProducer {
    TrackProducer::new("cam".parse().unwrap(), TrackInfo::default(), Retention::default())
}

async fn link(client: &Client, site: &Site, at: usize, tracks: Tracks) -> Link {
    Link::connect(client.clone(), site.url(at), Arc::new(tracks), Reconnect::default()).await.unwrap()
}

/// Publishes a track at a relay, whatever happens there.
async fn publisher(client: &Client, site: &Site, at: usize, live: &TrackProducer) -> Link {
    let tracks = Tracks::new();
    std::mem::forget(tracks.publish(live.consume()).unwrap());
    link(client, site, at, tracks).await
}

/// Follows the track at a relay from its first group on, and reads it to its end.
async fn subscriber(client: &Client, site: &Site, at: usize) -> JoinHandle<Times> {
    let link = link(client, site, at, Tracks::new()).await;
    let mut options = FollowOptions::default();
    options.subscribe = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
    let track = link.follow("cam".parse().unwrap(), options).await.unwrap().into_track();
    tokio::spawn(async move {
        let came = read(track).await;
        drop(link);
        came
    })
}

/// Each group whole, once and as it was written, none a gap.
async fn read(mut track: TrackConsumer) -> Times {
    let mut reading = Vec::new();
    while let Some(event) = track.next_event().await.unwrap() {
        let TrackEvent::Group(mut group) = event else { panic!("{event:?}") };
        reading.push(tokio::spawn(async move {
            let mut came = Vec::new();
            while let Some(frame) = group.read_frame().await.unwrap() {
                let number = came.len() as u64;
                assert_eq!(frame, payload(group.sequence(), number));
                came.push(((group.sequence(), number), Instant::now()));
            }
            assert_eq!(came.len(), FRAMES as usize);
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

/// Writes groups until it is told to end, and two more.
fn publish(live: TrackProducer, over: Arc<AtomicBool>) -> JoinHandle<Times> {
    tokio::spawn(async move {
        let mut written = BTreeMap::new();
        let mut clock = tokio::time::interval(GROUP / FRAMES);
        let mut left = 2;
        for sequence in 0.. {
            if over.load(Ordering::SeqCst) {
                if left == 0 {
                    break;
                }
                left -= 1;
            }
            let mut group = live.append_group();
            for frame in 0..u64::from(FRAMES) {
                clock.tick().await;
                group.write_frame(payload(sequence, frame)).unwrap();
                written.insert((sequence, frame), Instant::now());
            }
            group.finish().unwrap();
        }
        live.finish();
        written
    })
}

/// All that was written came to everybody; returns the longest silence and how late the latest frame was.
async fn all_came(written: &Times, subscribers: Vec<JoinHandle<Times>>) -> (Duration, Duration) {
    let (mut silence, mut late) = (Duration::ZERO, Duration::ZERO);
    for subscriber in subscribers {
        let came = tokio::time::timeout(PATIENCE, subscriber).await.expect("the track ends").unwrap();
        assert!(came.keys().eq(written.keys()), "{} of {} frames", came.len(), written.len());
        let mut times: Vec<_> = came.values().collect();
        times.sort_unstable();
        silence = times.windows(2).map(|pair| *pair[1] - *pair[0]).fold(silence, Duration::max);
        late = came.iter().map(|(frame, at)| *at - written[frame]).fold(late, Duration::max);
    }
    (silence, late)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_relay_process_is_restarted_by_sigterm_and_twenty_subscribers_notice_nothing() {
    let mut site = Site::two_by_two(&[]);
    let (client, live) = (client(), track());
    let _publisher = publisher(&client, &site, 0, &live).await;
    let mut subscribers = Vec::new();
    for at in [2, 3].into_iter().cycle().take(20) {
        subscribers.push(subscriber(&client, &site, at).await);
    }
    let over = Arc::new(AtomicBool::new(false));
    let publishing = publish(live, Arc::clone(&over));
    for at in 0..4 {
        tokio::time::sleep(GROUP / 4).await;
        site.relays[at].process.terminate();
        let status = tokio::task::block_in_place(|| site.relays[at].process.ends());
        assert_eq!(status.code(), Some(0), "{}", site.relays[at].process.stderr());
        site.relays[at] = tokio::task::block_in_place(|| site.start(at));
        // Edges are given the time to see that it is back.
        tokio::time::sleep(GROUP).await;
    }
    over.store(true, Ordering::SeqCst);
    let written = publishing.await.unwrap();
    let (silence, late) = all_came(&written, subscribers).await;
    println!("rolling restart: longest silence {silence:?}, latest frame {late:?}");
    assert!(silence <= 2 * GROUP, "nothing for {silence:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_relay_processes_cost_no_group() {
    let mut site = Site::two_by_two(&["--idle-timeout", "1s", "--upstream-timeout", "1s"]);
    let (client, live) = (client(), track());
    let _publishers = [publisher(&client, &site, 0, &live).await, publisher(&client, &site, 1, &live).await];
    let mut subscribers = Vec::new();
    for at in [2, 3, 2, 3] {
        subscribers.push(subscriber(&client, &site, at).await);
    }
    let over = Arc::new(AtomicBool::new(false));
    let publishing = publish(live, Arc::clone(&over));
    // An origin, then an edge.
    for at in [0, 2] {
        tokio::time::sleep(GROUP / 2).await;
        site.relays[at].process.kill();
        site.relays[at] = tokio::task::block_in_place(|| site.start(at));
        tokio::time::sleep(2 * GROUP).await;
    }
    over.store(true, Ordering::SeqCst);
    let written = publishing.await.unwrap();
    let (silence, late) = all_came(&written, subscribers).await;
    println!("killed relays: longest silence {silence:?}, latest frame {late:?}");
    assert!(late <= GROUP, "late by {late:?}");
}

#[test]
fn a_killed_publisher_process_is_followed_by_the_other_and_no_line_is_lost() {
    for publishers in ["best", "all"] {
        let relay = Relay::start(&["--idle-timeout", "1s", "--publishers", publishers]);
        let url = relay.url();
        let publisher = || {
            let args = ["pub", &url, "cam", "--format", "lines"];
            Process::start_with(&args, Stdio::piped())
        };
        let mut first = publisher();
        let mut seen = Process::start(&["announced", &url]);
        seen_says(&mut seen, "+ cam");
        let mut second = publisher();
        let subscriber = Process::start(&["sub", &url, "cam", "--format", "lines", "--from", "0"]);
        let mut expected = String::new();
        let mut killed = false;
        for line in 0..60 {
            let text = format!("line {line}\n");
            if !killed {
                first.write(text.as_bytes());
            }
            second.write(text.as_bytes());
            expected.push_str(&text);
            if line == 30 {
                assert_eq!(String::from_utf8_lossy(&subscriber.writes(expected.len())), expected);
                first.kill();
                killed = true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(String::from_utf8_lossy(&subscriber.writes(expected.len())), expected);
        assert!(!subscriber.stderr().contains("missing"), "{}", subscriber.stderr());
    }
}

fn seen_says(process: &mut Process, text: &str) {
    let mut len = 1;
    loop {
        let written = process.writes(len);
        if String::from_utf8_lossy(&written).contains(text) {
            return;
        }
        len = written.len() + 1;
    }
}
