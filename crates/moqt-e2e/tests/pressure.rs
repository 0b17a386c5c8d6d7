//! Delivery under pressure: whole sessions over the real QUIC stack, on a network in virtual time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod virtual_net;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{BufMut, BytesMut};
use moqt::{
    Carrier, Congestion, GroupOrder, Priority, Retention, SessionConfig, SubscribeOptions, SubscribeUpdate,
    TrackConsumer, TrackEvent, TrackInfo, TrackProducer,
};
use tokio::{task::JoinSet, time::Instant};
use virtual_net::{Link, Net, Server, percentile, virtually};

const CARRIERS: [Carrier; 2] = [Carrier::Quic, Carrier::WebTransport];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[expect(clippy::disallowed_methods, reason = "the paused clock of the test")]
fn now() -> Instant {
    Instant::now()
}

/// A stream of frames at a steady pace, with the time of each in its first bytes.
#[derive(Clone, Copy)]
struct Shape {
    frames_per_second: u32,
    frame_bytes: usize,
    frames_per_group: u32,
}

impl Shape {
    /// 30 frames a second, a group a second.
    fn video(bits_per_second: usize) -> Self {
        Self { frames_per_second: 30, frame_bytes: bits_per_second / 8 / 30, frames_per_group: 30 }
    }

    async fn write(self, track: &TrackProducer, start: Instant, groups: u32) {
        let mut clock = tokio::time::interval(Duration::from_secs(1) / self.frames_per_second);
        for _ in 0..groups {
            let mut group = track.append_group();
            for _ in 0..self.frames_per_group {
                clock.tick().await;
                let mut frame = BytesMut::zeroed(self.frame_bytes);
                let micros = u64::try_from((now() - start).as_micros()).unwrap();
                (&mut frame[..8]).put_u64(micros);
                // Where retention let go of the group, that is all there is to do.
                let _ = group.write_frame(frame.freeze());
            }
            let _ = group.finish();
        }
        track.finish();
    }
}

/// What a viewer saw of a track.
#[derive(Debug, Default)]
struct Seen {
    /// When each frame was written, and how long it took to arrive.
    frames: Vec<(Duration, Duration)>,
    whole: BTreeSet<u64>,
    gaps: BTreeMap<u64, moqt::Reason>,
}

impl Seen {
    /// Latencies of the frames written in this time, in order.
    fn latencies(&self, from: Duration, to: Duration) -> Vec<Duration> {
        let within = self.frames.iter().filter(|(written, _)| (from..to).contains(written));
        let mut latencies: Vec<_> = within.map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        latencies
    }

    /// Groups that neither came whole nor were told of.
    fn unreported(&self, groups: u64) -> Vec<u64> {
        (0..groups).filter(|group| !self.whole.contains(group) && !self.gaps.contains_key(group)).collect()
    }
}

async fn watch(mut track: TrackConsumer, start: Instant) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut groups = JoinSet::new();
    // A track may end with its session: what came until then counts.
    while let Ok(Some(event)) = track.next_event().await {
        match event {
            TrackEvent::Group(mut group) => {
                let seen = Arc::clone(&seen);
                groups.spawn(async move {
                    while let Ok(Some(frame)) = group.read_frame().await {
                        let written =
                            Duration::from_micros(u64::from_be_bytes(frame[..8].try_into().unwrap()));
                        let latency = (now() - start).saturating_sub(written);
                        seen.lock().unwrap().frames.push((written, latency));
                    }
                    if group.is_finished() {
                        seen.lock().unwrap().whole.insert(group.sequence());
                    }
                });
            }
            TrackEvent::Gap { first, last, reason } => {
                let mut seen = seen.lock().unwrap();
                for group in first..=last {
                    seen.gaps.insert(group, reason);
                }
            }
        }
    }
    while groups.join_next().await.is_some() {}
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

fn track(name: &str) -> TrackProducer {
    TrackProducer::new(name.parse().unwrap(), TrackInfo::default(), Retention::default())
}

/// Two tracks of 2 Mbit/s with these priorities, swapped at half time, through a link; each with what was seen of it.
async fn two_tracks(
    seed: u64,
    carrier: Carrier,
    congestion: Congestion,
    down: Link,
    swap: bool,
    seconds: u32,
    both: bool,
) -> [Seen; 2] {
    let net = Net::new(seed);
    let server = Server::new(&net, congestion);
    let up = Link::delay(down.delay);
    let (viewer, _served, tracks) = server.session(carrier, (up, down), SessionConfig::default()).await;
    let sources = [track("one"), track("two")];
    let _published = sources.each_ref().map(|track| tracks.publish(track.consume()).unwrap());
    let mut subscriptions = Vec::new();
    for (source, priority) in sources.iter().zip([200, 100]) {
        let options = SubscribeOptions {
            priority: Priority(priority),
            order: GroupOrder::Descending,
            first: Some(0),
            ..SubscribeOptions::default()
        };
        let subscriber = viewer.subscriber();
        subscriptions.push(subscriber.subscribe(source.name().clone(), options).await.unwrap());
    }
    let start = now();
    let shape = Shape::video(2_000_000);
    let swapping = async {
        if swap {
            tokio::time::sleep(Duration::from_secs(u64::from(seconds)) / 2).await;
            for (subscription, priority) in subscriptions.iter().zip([100, 200]) {
                let (priority, order) = (Priority(priority), GroupOrder::Descending);
                let update = SubscribeUpdate { priority, order, max_age: None, first: None, last: None };
                subscription.update(update).await.unwrap();
            }
        }
    };
    let (first, second, ..) = tokio::join!(
        watch(subscriptions[0].track(), start),
        watch(subscriptions[1].track(), start),
        shape.write(&sources[0], start, seconds),
        shape.write(&sources[1], start, if both { seconds } else { 0 }),
        swapping,
    );
    [first, second]
}

/// A link that is too narrow for both tracks; its queue holds 100 ms.
fn narrow() -> Link {
    Link::delay(ms(10)).rate(2_600_000, QUEUE)
}

const QUEUE: Duration = Duration::from_millis(100);
const ALWAYS: (Duration, Duration) = (Duration::ZERO, Duration::MAX);

/// The 99th percentile of a track's latencies when it has the narrow link to itself.
async fn unloaded(carrier: Carrier) -> Duration {
    let [alone, _] = two_tracks(1, carrier, Congestion::Cubic, narrow(), false, 10, false).await;
    percentile(&alone.latencies(ALWAYS.0, ALWAYS.1), 99)
}

#[test]
fn on_a_starved_link_the_more_important_track_arrives_in_time_and_whole() {
    for carrier in CARRIERS {
        virtually(async {
            let unloaded = unloaded(carrier).await;
            let [high, low] = two_tracks(1, carrier, Congestion::Cubic, narrow(), false, 20, true).await;
            let latencies = high.latencies(ALWAYS.0, ALWAYS.1);
            let p99 = percentile(&latencies, 99);
            println!(
                "{carrier:?}: p99 alone {unloaded:?}; beside the other: p50 {:?}, p99 {p99:?}; the other: {} whole, {} missed",
                percentile(&latencies, 50),
                low.whole.len(),
                low.gaps.len()
            );
            assert_eq!((high.whole.len(), latencies.len()), (20, 600), "{carrier:?}: {:?}", high.gaps);
            assert!(p99 <= unloaded + QUEUE, "{carrier:?}: p99 {p99:?}, alone {unloaded:?}");
            assert!(low.whole.len() < 15, "{carrier:?}: the link cannot carry both");
            assert_eq!(low.unreported(20), [0; 0], "{carrier:?}: {low:?}");
        });
    }
}

#[test]
fn swapping_priorities_swaps_the_picture_within_a_second() {
    for carrier in CARRIERS {
        virtually(async {
            let unloaded = unloaded(carrier).await;
            let [first, second] = two_tracks(1, carrier, Congestion::Cubic, narrow(), true, 20, true).await;
            let (swap, settled) = (Duration::from_secs(10), Duration::from_secs(11));
            for (track, (from, to), from_group) in
                [(&first, (Duration::ZERO, swap), 0), (&second, (settled, Duration::MAX), 11)]
            {
                let latencies = track.latencies(from, to);
                let p99 = percentile(&latencies, 99);
                println!("{carrier:?}: p50 {:?}, p99 {p99:?}", percentile(&latencies, 50));
                assert!(p99 <= unloaded + QUEUE, "{carrier:?}: p99 {p99:?}, alone {unloaded:?}");
                let wanted = from_group..from_group + 9;
                assert!(wanted.clone().all(|group| track.whole.contains(&group)), "{carrier:?}: {track:?}");
            }
            // What was more important before is not any more.
            let after = first.latencies(settled, Duration::MAX);
            assert!(
                after.len() < 270,
                "{carrier:?}: {} frames of the first track came after the swap",
                after.len()
            );
            for track in [first, second] {
                assert_eq!(track.unreported(20), [0; 0], "{carrier:?}");
            }
        });
    }
}

/// One track of 1 Mbit/s for 20 seconds.
async fn lossy(seed: u64, congestion: Congestion, rtt: u64, loss: f64) -> Seen {
    let net = Net::new(seed);
    let server = Server::new(&net, congestion);
    let link = Link::delay(ms(rtt / 2)).rate(10_000_000, QUEUE).loss(loss);
    let (viewer, _served, tracks) =
        server.session(Carrier::Quic, (link, link), SessionConfig::default()).await;
    let source = track("cam");
    let _published = tracks.publish(source.consume()).unwrap();
    let options = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
    let subscription = viewer.subscriber().subscribe("cam".parse().unwrap(), options).await.unwrap();
    let start = now();
    let (seen, ()) = tokio::join!(
        watch(subscription.into_track(), start),
        Shape::video(1_000_000).write(&source, start, 20)
    );
    seen
}

#[test]
fn under_random_loss_every_group_arrives_or_is_told_of() {
    println!("| controller | RTT | loss | p50 | p99 | whole | missed |");
    for congestion in [Congestion::Cubic, Congestion::NewReno, Congestion::Bbr] {
        for (rtt, loss) in [(20, 0.01), (20, 0.05), (100, 0.01), (100, 0.05)] {
            virtually(async {
                let seen = lossy(7, congestion, rtt, loss).await;
                let latencies = seen.latencies(ALWAYS.0, ALWAYS.1);
                println!(
                    "| {congestion:?} | {rtt} ms | {:.0} % | {} ms | {} ms | {} | {} |",
                    loss * 100.0,
                    percentile(&latencies, 50).as_millis(),
                    percentile(&latencies, 99).as_millis(),
                    seen.whole.len(),
                    seen.gaps.len()
                );
                assert_eq!(seen.unreported(20), [0; 0], "{congestion:?}, {rtt} ms, {loss}");
            });
        }
    }
}

/// How long one group of so many bytes takes from the first to the last.
async fn bulk(seed: u64, carrier: Carrier, congestion: Congestion, link: Link, bytes: usize) -> Duration {
    let net = Net::new(seed);
    let server = Server::new(&net, congestion);
    let up = Link::delay(link.delay);
    let (viewer, _served, tracks) = server.session(carrier, (up, link), SessionConfig::default()).await;
    let source = track("bulk");
    let _published = tracks.publish(source.consume()).unwrap();
    let subscription =
        viewer.subscriber().subscribe("bulk".parse().unwrap(), SubscribeOptions::default()).await.unwrap();
    let begin = now();
    let mut group = source.append_group();
    let frame = BytesMut::zeroed(50_000).freeze();
    for _ in 0..bytes / 50_000 {
        group.write_frame(frame.clone()).unwrap();
    }
    group.finish().unwrap();
    let mut track = subscription.into_track();
    let mut group = track.next_group().await.unwrap().unwrap();
    while group.read_frame().await.unwrap().is_some() {}
    now() - begin
}

#[test]
fn a_single_transfer_fills_its_path() {
    for (rate, delay, queue) in [(2_000_000, 10, 100), (10_000_000, 10, 20), (10_000_000, 50, 100)] {
        let link = Link::delay(ms(delay)).rate(rate, ms(queue));
        let bytes = usize::try_from(rate).unwrap() / 8 * 10;
        let took = virtually(bulk(1, Carrier::Quic, Congestion::Cubic, link, bytes));
        assert!(took < Duration::from_secs(12), "{rate} bit/s, {delay} ms: 10 s of data took {took:?}");
    }
}

/// A short path without a queue: what is sent at once arrives at once.
#[test]
fn where_there_is_no_queue_a_large_frame_leaves_in_one_piece() {
    for carrier in CARRIERS {
        virtually(async {
            let net = Net::new(5);
            let server = Server::new(&net, Congestion::Cubic);
            let link = Link::delay(ms(3));
            let (viewer, _served, tracks) =
                server.session(carrier, (link, link), SessionConfig::default()).await;
            let source = track("cam");
            let _published = tracks.publish(source.consume()).unwrap();
            let options = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
            let subscription = viewer.subscriber().subscribe("cam".parse().unwrap(), options).await.unwrap();
            let start = now();
            // Frames of 20 kB, and one of 100 kB now and then.
            let writing = async {
                let shape = Shape { frames_per_second: 30, frame_bytes: 20_000, frames_per_group: 10 };
                let mut clock = tokio::time::interval(Duration::from_secs(1) / shape.frames_per_second);
                for _ in 0..30 {
                    let mut group = source.append_group();
                    for frame in 0..shape.frames_per_group {
                        clock.tick().await;
                        let len = if frame == 0 { 5 * shape.frame_bytes } else { shape.frame_bytes };
                        let mut frame = BytesMut::zeroed(len);
                        (&mut frame[..8]).put_u64(u64::try_from((now() - start).as_micros()).unwrap());
                        group.write_frame(frame.freeze()).unwrap();
                    }
                    group.finish().unwrap();
                }
                source.finish();
            };
            let (seen, ()) = tokio::join!(watch(subscription.into_track(), start), writing);
            let settled = seen.latencies(Duration::from_secs(5), Duration::MAX);
            let (p50, most) = (percentile(&settled, 50), *settled.last().unwrap());
            println!("{carrier:?}: p50 {p50:?}, at most {most:?}");
            // Timers of this network tick each millisecond; a second flight would take 6 ms more.
            assert!(settled.len() > 140 && most < ms(8), "{carrier:?}: p50 {p50:?}, at most {most:?}");
        });
    }
}

/// Reads frames for ever.
async fn read_on(mut track: TrackConsumer) {
    while let Ok(Some(mut group)) = track.next_group().await {
        while let Ok(Some(_)) = group.read_frame().await {}
    }
}

#[test]
fn a_late_joiner_has_its_first_frame_after_a_round_trip() {
    const RTT: Duration = Duration::from_millis(60);
    // One tick of the timers that carry the packets of this network, each way and for the answer.
    const TICKS: Duration = Duration::from_millis(4);
    for (carrier, between_groups) in CARRIERS
        .into_iter()
        .flat_map(|carrier| [Duration::from_secs(2), Duration::from_secs(3600)].map(|every| (carrier, every)))
    {
        virtually(async {
            let net = Net::new(3);
            let server = Server::new(&net, Congestion::Cubic);
            let link = Link::delay(RTT / 2).rate(50_000_000, QUEUE);
            let source = track("cam");
            let mut sessions = Vec::new();
            let mut reading = JoinSet::new();
            for number in 0..5 {
                // A group of 1 kB frames, most of the pause before the next one ago.
                let mut group = source.append_group();
                for _ in 0..10 {
                    group.write_frame(vec![number; 1000]).unwrap();
                }
                group.finish().unwrap();
                tokio::time::sleep(between_groups * 9 / 10).await;
                let (viewer, served, tracks) =
                    server.session(carrier, (link, link), SessionConfig::default()).await;
                let published = tracks.publish(source.consume()).unwrap();
                let begin = now();
                let subscriber = viewer.subscriber();
                let subscription =
                    subscriber.subscribe("cam".parse().unwrap(), SubscribeOptions::default()).await.unwrap();
                let mut track = subscription.into_track();
                let mut group = track.next_group().await.unwrap().unwrap();
                let frame = group.read_frame().await.unwrap().unwrap();
                let took = now() - begin;
                assert_eq!((group.sequence(), frame[0]), (u64::from(number), number));
                assert!(took <= RTT + TICKS, "{carrier:?}, every {between_groups:?}: {took:?}");
                reading.spawn(read_on(track));
                sessions.push((viewer, served, published));
                tokio::time::sleep(between_groups / 10).await;
            }
        });
    }
}
