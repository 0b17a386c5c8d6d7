//! A track with several sources, each a session over a network of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use common::*;
use moqt_session::{
    CacheBudget, FetchIntoError, MergedTrack, Reason, RequestError, Retention, Start, SubscribeOptions,
    TrackConsumer, TrackError, TrackEvent, TrackProducer,
};
use moqt_sim::{Link, Seeds, Sim, SimConnection, for_each_seed};
use moqt_wire::{Priority, Version};
use tokio::time::Instant;

#[expect(clippy::disallowed_methods, reason = "virtual time, under a paused runtime")]
fn now() -> Instant {
    Instant::now()
}

fn merged() -> MergedTrack {
    MergedTrack::new(&CacheBudget::unlimited(), name("cam"), Retention::default(), MergedTrack::GRACE)
}

fn from(first: u64) -> SubscribeOptions {
    SubscribeOptions { first: Some(first), ..SubscribeOptions::default() }
}

/// A way to the publisher: what both ends hold, and the connection of the subscriber.
async fn way(sim: &Sim, link: Link, live: &TrackProducer) -> (Side, Side, SimConnection) {
    let (near, far) = sim.connect(link);
    let connection = near.clone();
    let (subscriber, publisher) = pair(near, far, Version::TRANSFORK_04).await;
    std::mem::forget(publisher.tracks.publish(live.consume()).unwrap());
    (subscriber, publisher, connection)
}

const FRAMES: u64 = 10;

fn payload(group: u64, frame: u64) -> Bytes {
    let len = 1 + (group * 977 + frame * 331) % 4000;
    (0..len).map(|at| (group * 31 + frame * 7 + at) as u8).collect()
}

/// Writes a group every 100 ms, a frame every 10 ms; notes when each frame was written.
async fn publish(live: TrackProducer, groups: u64) -> BTreeMap<(u64, u64), Instant> {
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

/// Reads a track to its end: all groups, each whole and once, none a gap. Returns when each frame was there.
async fn read(sim: &Sim, mut track: TrackConsumer) -> BTreeMap<(u64, u64), Instant> {
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

#[test]
fn cutting_one_of_two_ways_at_any_instant_loses_nothing_and_delays_nothing_beyond_the_slower_way() {
    Seeds::default().count(50).run(|sim| async move {
        let mut rng = sim.rng();
        let (quick, slow) = (ms(10 + rng.below(20)), ms(40 + rng.below(40)));
        let live = track("cam");
        let (a, _a, fast) = way(&sim, Link::delay(quick), &live).await;
        let (b, _b, spare) = way(&sim, Link::delay(slow), &live).await;
        let track = merged();
        let reader = track.consume().reader(Start::At(0));
        let (near, far) = (a.session.subscriber(), b.session.subscriber());
        let (one, other) =
            tokio::join!(near.subscribe_into(&track, from(0)), far.subscribe_into(&track, from(0)));
        let (_one, _other) = (one.unwrap(), other.unwrap());
        let reading = sim.spawn({
            let sim = sim.clone();
            async move { read(&sim, reader).await }
        });
        let publishing = sim.spawn(publish(live, 20));
        let cut = sim.rng().duration(secs(2));
        let killed = if rng.chance(0.5) { fast } else { spare };
        let dead = rng.chance(0.5);
        sim.sleep(cut).await;
        if dead {
            killed.kill()
        } else {
            killed.link().cut()
        }
        let (written, came) = (publishing.await.unwrap(), reading.await.unwrap());
        assert_eq!(came.len() as u64, 20 * FRAMES);
        for (frame, at) in came {
            let took = at - written[&frame];
            assert!(took <= slow + ms(2), "{frame:?} took {took:?}, the slower way {slow:?}");
        }
    });
}

#[test]
fn with_loss_on_both_ways_each_byte_comes_once_whichever_way_dies() {
    Seeds::default().count(50).run(|sim| async move {
        let mut rng = sim.rng();
        let live = track("cam");
        let mut ways = Vec::new();
        for _ in 0..2 {
            let link = Link::delay(ms(5 + rng.below(60))).loss(0.05);
            ways.push(way(&sim, link, &live).await);
        }
        let track = merged();
        let reader = track.consume().reader(Start::At(0));
        let mut feeds = Vec::new();
        for (side, ..) in &ways {
            feeds.push(side.session.subscriber().subscribe_into(&track, from(0)).await.unwrap());
        }
        let reading = sim.spawn({
            let sim = sim.clone();
            async move { read(&sim, reader).await }
        });
        let publishing = sim.spawn(publish(live, 20));
        sim.sleep(rng.duration(secs(2))).await;
        ways[rng.below(2) as usize].2.kill();
        publishing.await.unwrap();
        assert_eq!(reading.await.unwrap().len() as u64, 20 * FRAMES);
        assert_eq!(track.mismatches(), 0);
    });
}

#[test]
fn sessions_one_after_the_other_each_cut_at_any_instant_are_one_track_to_its_reader() {
    Seeds::default().count(50).run(|sim| async move {
        let mut rng = sim.rng();
        let live = track("cam");
        let track = merged();
        let reader = track.consume().reader(Start::At(0));
        let reading = sim.spawn({
            let sim = sim.clone();
            async move { read(&sim, reader).await }
        });
        let publishing = sim.spawn(publish(live.clone(), 20));
        while !track.is_ended() {
            let (side, _publisher, connection) = way(&sim, Link::delay(ms(20)).loss(0.02), &live).await;
            let subscriber = side.session.subscriber();
            let first = track.resume_at().unwrap_or(0);
            let cut = track.cut_groups();
            // What is cut is fetched from where it was cut, and everything behind it subscribed.
            let fetches = cut.iter().map(|&group| subscriber.fetch_into(&track, group, Priority(200)));
            let fetches = futures_util::future::join_all(fetches);
            let first = if cut.contains(&first) && rng.chance(0.5) { first + 1 } else { first };
            let feeding = subscriber.subscribe_into(&track, from(first));
            let life = async {
                let (_, feed) = tokio::join!(fetches, feeding);
                match feed {
                    Ok(feed) => feed.ended().await,
                    Err(_) => Err(TrackError::Ended(Reason::Transport)),
                }
            };
            let limit = if publishing.is_finished() { secs(60) } else { rng.duration(ms(400)) };
            match tokio::time::timeout(limit, life).await {
                Ok(Ok(())) => {}
                _ => connection.kill(),
            }
            sim.sleep(rng.duration(ms(200))).await;
        }
        assert_eq!(reading.await.unwrap().len() as u64, 20 * FRAMES);
        assert!(track.is_ended());
        assert_eq!(track.mismatches(), 0);
    });
}

#[test]
fn of_a_cut_group_only_what_is_missing_crosses_the_network_again() {
    for_each_seed(|sim| async move {
        let live = track("cam");
        let mut group = live.append_group();
        for _ in 0..3 {
            group.write_frame(Bytes::from(vec![7; 50_000])).unwrap();
        }
        let (side, _publisher, connection) = way(&sim, Link::delay(ms(20)), &live).await;
        let track = merged();
        let mut reader = track.consume().reader(Start::At(0));
        let feed = side.session.subscriber().subscribe_into(&track, from(0)).await.unwrap();
        let mut incoming = reader.next_group().await.unwrap().unwrap();
        for _ in 0..3 {
            assert_eq!(incoming.read_frame().await.unwrap().unwrap().len(), 50_000);
        }
        connection.kill();
        track.sourceless().await;
        drop(feed);
        assert_eq!((track.cut_groups(), track.resume_at()), (vec![0], Some(0)));
        group.write_frame("the rest").unwrap();
        group.finish().unwrap();
        let (side, _publisher, connection) = way(&sim, Link::delay(ms(20)), &live).await;
        let before = connection.counters();
        let fetched = side.session.subscriber().fetch_into(&track, 0, Priority(128)).await;
        fetched.unwrap();
        assert_eq!(incoming.read_frame().await.unwrap().unwrap(), "the rest");
        assert_eq!(incoming.read_frame().await.unwrap(), None);
        let again = side.session.subscriber().fetch_into(&track, 0, Priority(128)).await;
        assert!(matches!(again, Err(FetchIntoError::NotMissing)), "{again:?}");
        let came = connection.counters().bytes_received - before.bytes_received;
        assert!(came < 5_000, "{came} bytes");
    });
}

#[test]
fn the_old_way_is_left_when_the_new_one_delivers_and_nothing_comes_twice() {
    Seeds::default().count(50).run(|sim| async move {
        let mut rng = sim.rng();
        let live = track("cam");
        let (a, _a, _) = way(&sim, Link::delay(ms(5 + rng.below(60))).loss(0.01), &live).await;
        let track = merged();
        let reader = track.consume().reader(Start::At(0));
        let old = a.session.subscriber().subscribe_into(&track, from(0)).await.unwrap();
        let reading = sim.spawn({
            let sim = sim.clone();
            async move { read(&sim, reader).await }
        });
        let publishing = sim.spawn(publish(live.clone(), 20));
        sim.sleep(rng.duration(secs(1))).await;
        let (b, _b, _) = way(&sim, Link::delay(ms(5 + rng.below(60))).loss(0.01), &live).await;
        let first = track.resume_at().unwrap_or(0);
        let new = b.session.subscriber().subscribe_into(&track, from(first)).await.unwrap();
        tokio::time::timeout(secs(1), new.delivers()).await.unwrap();
        assert_eq!(track.sources(), 2);
        drop(old);
        sim.sleep(ms(1)).await;
        assert_eq!(track.sources(), 1, "only our own side has to know");
        a.session.close().await;
        publishing.await.unwrap();
        assert_eq!(reading.await.unwrap().len() as u64, 20 * FRAMES);
        new.ended().await.unwrap();
    });
}

#[test]
fn a_source_that_is_refused_does_not_end_the_track() {
    for_each_seed(|sim| async move {
        let (side, publisher) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let subscriber = side.session.subscriber();
        let track = merged();
        let mut reader = track.consume();
        let refused = subscriber.subscribe_into(&track, from(0)).await;
        assert!(matches!(refused, Err(RequestError::Refused(Reason::NotFound))), "{refused:?}");
        track.sourceless().await;
        assert!(!track.is_ended());
        let live = common::track("cam");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let feed = subscriber.subscribe_into(&track, from(0)).await.unwrap();
        write_group(&live, &[b"x"]);
        assert_eq!(reader.next_group().await.unwrap().unwrap().sequence(), 0);
        live.abort(Reason::GoingAway);
        assert!(matches!(feed.ended().await, Err(TrackError::Ended(Reason::GoingAway))));
        assert!(!track.is_ended());
        // The owner alone ends it then; and what it asked for ends with it.
        let live = common::track("cam");
        drop(_published);
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let feed = subscriber.subscribe_into(&track, from(1)).await.unwrap();
        track.abort(Reason::Timeout);
        let _ = feed.ended().await;
        assert!(matches!(reader.next_group().await, Err(TrackError::Ended(Reason::Timeout))));
        let mut count = Duration::ZERO;
        while live.readers() > 1 {
            sim.sleep(ms(10)).await;
            count += ms(10);
            assert!(count < secs(5), "still subscribed");
        }
    });
}
