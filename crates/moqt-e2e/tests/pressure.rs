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
    Carrier, Congestion, GroupOrder, Priority, SessionConfig, SubscribeOptions, SubscribeUpdate,
    TrackConsumer, TrackEvent, TrackProducer,
};
use tokio::{task::JoinSet, time::Instant};
use virtual_net::{CARRIERS, Link, Net, Server, now, percentile, track, virtually};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
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

/// Two tracks of 2 Mbit/s of different priority, swapped at half time if wanted, through a link; each with what was seen
/// of it. The frames of the second one come so much later than those of the first, if at all.
async fn two_tracks(
    second: Option<Duration>,
    carrier: Carrier,
    down: Link,
    swap: bool,
    seconds: u32,
) -> [Seen; 2] {
    let net = Net::new(1);
    let server = Server::new(&net, Congestion::Cubic);
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
        async {
            tokio::time::sleep(second.unwrap_or_default()).await;
            shape.write(&sources[1], start, second.map_or(0, |_| seconds)).await;
        },
        swapping,
    );
    [first, second]
}

/// What the links carry that are too narrow for both tracks, in bit/s.
const NARROW: [u64; 5] = [2_200_000, 2_500_000, 2_800_000, 3_100_000, 3_500_000];
/// How much later the frames of the second track come than those of the first, in milliseconds.
const LATER: [u64; 2] = [0, 15];
const QUEUE: Duration = Duration::from_millis(100);
const ALWAYS: (Duration, Duration) = (Duration::ZERO, Duration::MAX);

/// A link whose queue holds 100 ms.
fn narrow(bits_per_second: u64) -> Link {
    Link::delay(ms(10)).rate(bits_per_second, QUEUE)
}

/// Runs two tracks through links that are too narrow for both, for each rate and pause, and hands on what was seen of
/// each, together with the latest that the 99th percentile of the more important one may be: what it is for a track
/// that has the link to itself, and one queue more.
fn on_narrow_links(
    carrier: Carrier,
    seconds: u32,
    swap: bool,
    check: impl Fn(&str, Duration, [Seen; 2]) + Sync,
) {
    std::thread::scope(|scope| {
        for rate in NARROW {
            let check = &check;
            scope.spawn(move || {
                let [alone, _] = virtually(two_tracks(None, carrier, narrow(rate), false, 10));
                let bound = percentile(&alone.latencies(ALWAYS.0, ALWAYS.1), 99) + QUEUE;
                for later in LATER {
                    let seen = two_tracks(Some(ms(later)), carrier, narrow(rate), swap, seconds);
                    check(&format!("{carrier:?}, {rate} bit/s, {later} ms"), bound, virtually(seen));
                }
            });
        }
    });
}

fn the_more_important_track_arrives(carrier: Carrier) {
    on_narrow_links(carrier, 12, false, |at, bound, [high, low]| {
        let latencies = high.latencies(ALWAYS.0, ALWAYS.1);
        let (p50, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
        let (whole, missed) = (low.whole.len(), low.gaps.len());
        println!("{at}: p50 {p50:?}, p99 {p99:?} of {bound:?}; the other: {whole} whole, {missed} missed");
        assert_eq!((high.whole.len(), latencies.len()), (12, 360), "{at}: {:?}", high.gaps);
        assert!(p99 <= bound, "{at}: p99 {p99:?}, at most {bound:?}");
        assert!(whole < 10, "{at}: the link cannot carry both");
        assert_eq!(low.unreported(12), [0; 0], "{at}: {low:?}");
    });
}

#[test]
fn on_a_starved_link_the_more_important_track_arrives_in_time_and_whole() {
    the_more_important_track_arrives(Carrier::Quic);
}

#[test]
fn on_a_starved_link_the_more_important_track_arrives_over_webtransport_too() {
    the_more_important_track_arrives(Carrier::WebTransport);
}

fn swapping_priorities_swaps_the_picture(carrier: Carrier) {
    on_narrow_links(carrier, 12, true, |at, bound, [first, second]| {
        let (swap, settled) = (Duration::from_secs(6), Duration::from_secs(7));
        for (track, (from, to), from_group) in
            [(&first, (Duration::ZERO, swap), 0), (&second, (settled, Duration::MAX), 7)]
        {
            let latencies = track.latencies(from, to);
            let (p50, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
            println!("{at}: p50 {p50:?}, p99 {p99:?} of {bound:?}");
            assert!(p99 <= bound, "{at}: p99 {p99:?}, at most {bound:?}");
            let wanted = from_group..from_group + 5;
            assert!(wanted.clone().all(|group| track.whole.contains(&group)), "{at}: {track:?}");
        }
        // What was more important before is not any more.
        let in_time = first.latencies(settled, Duration::MAX).iter().filter(|late| **late <= bound).count();
        assert!(in_time < 80, "{at}: {in_time} of 150 frames of the first track came in time after the swap");
        for track in [first, second] {
            assert_eq!(track.unreported(12), [0; 0], "{at}");
        }
    });
}

#[test]
fn swapping_priorities_swaps_the_picture_within_a_second() {
    swapping_priorities_swaps_the_picture(Carrier::Quic);
}

#[test]
fn swapping_priorities_swaps_the_picture_over_webtransport_too() {
    swapping_priorities_swaps_the_picture(Carrier::WebTransport);
}

/// One track of so many bits a second, for so many seconds over a link.
async fn one_track(
    server: &Server,
    carrier: Carrier,
    link: Link,
    bits_per_second: usize,
    seconds: u32,
) -> Seen {
    let (viewer, _served, tracks) = server.session(carrier, (link, link), SessionConfig::default()).await;
    let source = track("cam");
    let _published = tracks.publish(source.consume()).unwrap();
    let options = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
    let subscription = viewer.subscriber().subscribe("cam".parse().unwrap(), options).await.unwrap();
    let start = now();
    let shape = Shape::video(bits_per_second);
    let (seen, ()) =
        tokio::join!(watch(subscription.into_track(), start), shape.write(&source, start, seconds));
    seen
}

/// One track of 1 Mbit/s for 20 seconds.
async fn lossy(seed: u64, congestion: Congestion, rtt: u64, loss: f64) -> Seen {
    let server = Server::new(&Net::new(seed), congestion);
    let link = Link::delay(ms(rtt / 2)).rate(10_000_000, QUEUE).loss(loss);
    one_track(&server, Carrier::Quic, link, 1_000_000, 20).await
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

/// One track of 5 Mbit/s for 6 seconds over a link of 6 Mbit/s with a queue of so much time.
async fn starts(carrier: Carrier, congestion: Congestion, queue: Duration) -> Seen {
    let server = Server::new(&Net::new(1), congestion);
    one_track(&server, carrier, Link::delay(ms(20)).rate(6_000_000, queue), 5_000_000, 6).await
}

#[test]
fn a_track_that_begins_on_a_new_connection_is_in_time_at_once() {
    for carrier in CARRIERS {
        for congestion in [Congestion::Cubic, Congestion::NewReno] {
            for queue in [50, 100, 200] {
                let seen = virtually(starts(carrier, congestion, ms(queue)));
                let latencies = seen.latencies(ALWAYS.0, ALWAYS.1);
                let (p50, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
                let at = format!("{carrier:?}, {congestion:?}, queue of {queue} ms");
                println!("{at}: p50 {p50:?}, p99 {p99:?}");
                assert_eq!(seen.whole.len(), 6, "{at}: {:?}", seen.gaps);
                // A frame takes 28 ms to leave and 20 on its way; the first ones wait for the window to open.
                assert!(p50 <= ms(54) && p99 <= ms(100), "{at}: p50 {p50:?}, p99 {p99:?}");
            }
        }
    }
}
