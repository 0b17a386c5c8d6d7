//! Subscribers that are slower than their track: what they get, what they are told they miss, who else notices.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use common::*;
use moqt_session::{
    GroupError, Reason, Retention, SubscribeOptions, TrackConsumer, TrackEvent, TrackInfo, TrackProducer,
};
use moqt_sim::{Link, Settings, Sim, for_each_seed};
use moqt_wire::{GroupOrder, Version};

/// What became of a group at the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Whole,
    Missed(Reason),
}

/// Reads a track to its end: when each group was whole, or was told of as missing, and in which order.
async fn read_all(sim: &Sim, mut track: TrackConsumer) -> Vec<(u64, Fate, Duration)> {
    let begin = sim.elapsed();
    let (tell, mut told) = tokio::sync::mpsc::channel(4096);
    while let Some(event) = track.next_event().await.unwrap() {
        match event {
            TrackEvent::Group(mut group) => {
                let (tell, sim) = (tell.clone(), sim.clone());
                drop(sim.clone().spawn(async move {
                    let whole = frames_of(&mut group).await.1;
                    if whole.is_ok() {
                        tell.try_send((group.sequence(), Fate::Whole, (sim.elapsed() - begin))).unwrap();
                    } else {
                        assert!(matches!(whole, Err(GroupError::Reset(_))), "{whole:?}");
                    }
                }));
            }
            TrackEvent::Gap { first, last, reason } => {
                for group in first..=last {
                    tell.try_send((group, Fate::Missed(reason), (sim.elapsed() - begin))).unwrap();
                }
            }
        }
    }
    drop(tell);
    let mut fates = Vec::new();
    while let Some(fate) = told.recv().await {
        fates.push(fate);
    }
    fates
}

/// Each group once, whole or missed.
fn once_each(fates: &[(u64, Fate, Duration)], groups: u64) -> BTreeMap<u64, (Fate, Duration)> {
    let by_group: BTreeMap<_, _> = fates.iter().map(|&(group, fate, at)| (group, (fate, at))).collect();
    assert_eq!(by_group.len(), fates.len(), "something was told twice: {fates:?}");
    assert_eq!(by_group.keys().copied().collect::<Vec<_>>(), (0..groups).collect::<Vec<_>>());
    by_group
}

/// A group of 20 kB each second.
async fn second_by_second(track: &TrackProducer, groups: u64) {
    let mut clock = tokio::time::interval(secs(1));
    for _ in 0..groups {
        clock.tick().await;
        write_group(track, &[&[7; 20_000]]);
    }
}

/// A publisher whose limits on lag are these, and a subscriber behind a link of 100 kbit/s.
async fn starved(sim: &Sim, lag_age: Duration, lag_bytes: u64) -> (Side, Side) {
    let (near, far) = sim.connect_with(
        Link::delay(ms(20)).rate(100_000),
        Settings::default(),
        Settings::default().send_buffer(1024),
    );
    let (client, mut server) = (config(Version::TRANSFORK_04), config(Version::TRANSFORK_04));
    (server.limits.lag_age, server.limits.lag_bytes) = (lag_age, lag_bytes);
    pair_with(near, far, client, server).await
}

#[test]
fn who_falls_too_far_behind_is_taken_to_the_newest_group_and_told_what_is_missing() {
    let far = secs(1000);
    for (age, bytes, why) in [(secs(4), u64::MAX, Reason::Expired), (far, 50_000, Reason::TooMany)] {
        for order in [GroupOrder::Ascending, GroupOrder::Descending] {
            for_each_seed(|sim| async move {
                let (viewer, source) = starved(&sim, age, bytes).await;
                let kept = Retention::max_age(secs(1000));
                let live = TrackProducer::new(name("cam"), TrackInfo::default(), kept);
                let _published = source.tracks.publish(live.consume()).unwrap();
                let options = SubscribeOptions { order, ..SubscribeOptions::default() };
                let subscription = viewer.session.subscriber().subscribe(name("cam"), options).await.unwrap();
                let writing = async {
                    second_by_second(&live, 30).await;
                    live.finish();
                };
                let (fates, ()) = tokio::join!(read_all(&sim, subscription.into_track()), writing);
                let fates = once_each(&fates, 30);
                let whole = fates.values().filter(|(fate, _)| *fate == Fate::Whole).count();
                // The link takes 12.5 kB a second of 20; some of it is spent on groups that are given up. Newest first,
                // each group has its beginning in time and not its end.
                let expected = if order == GroupOrder::Ascending { 4..20 } else { 1..20 };
                assert!(expected.contains(&whole), "{order:?}: {whole} of 30 whole: {fates:?}");
                for (group, (fate, at)) in &fates {
                    match fate {
                        // Behind by the bound, the interval to the next group and a group's own time at most.
                        Fate::Whole if age < far => {
                            let late = *at - secs(*group);
                            assert!(late < secs(7), "{order:?}: group {group} came {late:?} late");
                        }
                        Fate::Whole => {}
                        Fate::Missed(reason) => assert_eq!(*reason, why, "{order:?}: group {group}"),
                    }
                }
                assert_eq!(fates[&29].0, Fate::Whole, "the newest arrives");
            });
        }
    }
}

#[test]
fn the_past_that_was_asked_for_is_no_lag() {
    for_each_seed(|sim| async move {
        let (viewer, source) = starved(&sim, ms(100), 1).await;
        let live = track("cam");
        let _published = source.tracks.publish(live.consume()).unwrap();
        (0..5).for_each(|_| write_group(&live, &[&[7; 10_000]]));
        let options = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
        let subscription = viewer.session.subscriber().subscribe(name("cam"), options).await.unwrap();
        let writing = async {
            // Newer groups begin while the old ones are still on their way.
            for _ in 0..3 {
                sim.sleep(ms(500)).await;
                write_group(&live, &[b"x"]);
            }
            sim.sleep(secs(10)).await;
            live.finish();
        };
        let (fates, ()) = tokio::join!(read_all(&sim, subscription.into_track()), writing);
        let fates = once_each(&fates, 8);
        assert!((0..5).all(|group| fates[&group].0 == Fate::Whole), "{fates:?}");
    });
}

#[test]
fn a_viewer_behind_by_twenty_groups_gets_them_in_the_order_it_asked_for() {
    for order in [GroupOrder::Ascending, GroupOrder::Descending] {
        for_each_seed(|sim| async move {
            let (viewer, source) = starved(&sim, secs(1000), u64::MAX).await;
            let live = track("cam");
            let _published = source.tracks.publish(live.consume()).unwrap();
            (0..20).for_each(|_| write_group(&live, &[&[7; 5000]]));
            let options = SubscribeOptions { order, first: Some(0), ..SubscribeOptions::default() };
            let subscription = viewer.session.subscriber().subscribe(name("cam"), options).await.unwrap();
            live.finish();
            let fates = read_all(&sim, subscription.into_track()).await;
            once_each(&fates, 20);
            let mut expected: Vec<u64> = (0..20).collect();
            if order == GroupOrder::Descending {
                expected.reverse();
            }
            assert_eq!(fates.iter().map(|(group, ..)| *group).collect::<Vec<_>>(), expected);
        });
    }
}

/// The order in which two groups are whole that go out newest first: one of frames of 1 kB, so many each 100 ms, and a
/// newer one of 10 kB at its end.
async fn newest_first(sim: &Sim, frames_at_once: usize) -> Vec<u64> {
    let (viewer, source) = starved(sim, secs(1000), u64::MAX).await;
    let live = track("cam");
    let _published = source.tracks.publish(live.consume()).unwrap();
    let options =
        SubscribeOptions { order: GroupOrder::Descending, first: Some(0), ..SubscribeOptions::default() };
    let subscription = viewer.session.subscriber().subscribe(name("cam"), options).await.unwrap();
    let writing = async {
        let mut clock = tokio::time::interval(ms(100));
        let mut group = live.append_group();
        for _ in 0..10 {
            clock.tick().await;
            (0..frames_at_once).for_each(|_| group.write_frame(vec![7; 1000]).unwrap());
        }
        group.finish().unwrap();
        write_group(&live, &[&[7; 10_000]]);
        live.finish();
    };
    let (fates, ()) = tokio::join!(read_all(sim, subscription.into_track()), writing);
    once_each(&fates, 2);
    fates.iter().map(|(group, ..)| *group).collect()
}

#[test]
fn a_group_that_has_all_but_left_is_finished_before_a_newer_one() {
    for_each_seed(|sim| async move { assert_eq!(newest_first(&sim, 1).await, [0, 1]) });
}

#[test]
fn a_group_of_which_much_is_left_waits_for_a_newer_one() {
    for_each_seed(|sim| async move { assert_eq!(newest_first(&sim, 2).await, [1, 0]) });
}

#[test]
fn a_subscriber_that_never_reads_costs_the_others_nothing() {
    for_each_seed(|sim| async move {
        let live = track("cam");
        let mut sides = Vec::new();
        let mut fates = Vec::new();
        for _ in 0..5 {
            let (viewer, source) = connected(&sim, calm(), Version::TRANSFORK_04).await;
            let published = source.tracks.publish(live.consume()).unwrap();
            let wanted = viewer.session.subscriber();
            let subscription = wanted.subscribe(name("cam"), SubscribeOptions::default()).await.unwrap();
            let (sim, track) = (sim.clone(), subscription.into_track());
            fates.push(sim.clone().spawn(async move { read_all(&sim, track).await }));
            sides.push((viewer, source, published));
        }
        // One takes the streams and reads none of them.
        let narrow = Settings::default().stream_window(4096).connection_window(20_000);
        let (near, far) = sim.connect_with(calm(), narrow, Settings::default());
        let (stalled, peer) = against_client_with((near, far), Version::TRANSFORK_04, {
            let mut config = config(Version::TRANSFORK_04);
            config.limits.lag_age = secs(2);
            config
        })
        .await;
        let _published = stalled.tracks.publish(live.consume()).unwrap();
        let mut asked = peer.request(moqt_wire::transfork::StreamKind::Subscribe, &wish(0, "cam")).await;
        asked.expect::<moqt_wire::transfork::Info>().await;
        let mut clock = tokio::time::interval(secs(1));
        for _ in 0..60 {
            clock.tick().await;
            let mut group = live.append_group();
            for _ in 0..10 {
                group.write_frame(Bytes::from_static(&[7; 2000])).unwrap();
            }
            group.finish().unwrap();
        }
        live.finish();
        for fate in fates {
            let fates = once_each(&fate.await.unwrap(), 60);
            for (group, (fate, at)) in fates {
                assert_eq!(fate, Fate::Whole);
                assert!(at < secs(group) + ms(500), "{group}: {at:?}");
            }
        }
        // It is told all along what it will not get, a few seconds behind.
        let mut missed = 0;
        while missed < 50 {
            let gap = asked.expect::<moqt_wire::transfork::SubscribeGap>().await;
            assert_eq!(gap.code, moqt_wire::transfork::code::EXPIRED);
            missed += gap.additional + 1;
        }
    });
}

#[test]
fn a_group_that_stands_still_is_given_up_although_the_newer_one_is_through() {
    for_each_seed(|sim| async move {
        let narrow = Settings::default().stream_window(4096);
        let ends = sim.connect_with(calm(), narrow, Settings::default());
        let mut config = config(Version::TRANSFORK_04);
        config.limits.lag_age = secs(2);
        let (side, peer) = against_client_with(ends, Version::TRANSFORK_04, config).await;
        let live = track("cam");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut asked = peer.request(moqt_wire::transfork::StreamKind::Subscribe, &wish(0, "cam")).await;
        asked.expect::<moqt_wire::transfork::Info>().await;
        write_group(&live, &[&[7; 20_000]]);
        sim.sleep(ms(100)).await;
        write_group(&live, &[b"x"]);
        let began = sim.now();
        // Nothing more comes of the track, and the first group is not read.
        let gap = asked.expect::<moqt_wire::transfork::SubscribeGap>().await;
        assert_eq!((gap.first.0, gap.additional, gap.code), (0, 0, moqt_wire::transfork::code::EXPIRED));
        let after = sim.now() - began;
        assert!((secs(2)..secs(3)).contains(&after), "{after:?}");
    });
}

#[test]
fn what_is_missing_above_the_lowest_group_is_told_although_nothing_more_happens() {
    for_each_seed(|sim| async move {
        let ends = sim.connect_with(calm(), Settings::default(), Settings::default());
        let (side, peer) =
            against_client_with(ends, Version::TRANSFORK_04, config(Version::TRANSFORK_04)).await;
        let retention = Retention { max_age: secs(2), ..Retention::default() };
        let live = TrackProducer::new(name("cam"), Default::default(), retention);
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut asked = peer.request(moqt_wire::transfork::StreamKind::Subscribe, &wish(0, "cam")).await;
        asked.expect::<moqt_wire::transfork::Info>().await;
        let began = sim.now();
        // The second one is the lowest from then on, so that two are missing which were not before.
        let _open = [8, 5].map(|sequence| live.create_group(sequence).unwrap());
        let gap = asked.expect::<moqt_wire::transfork::SubscribeGap>().await;
        assert_eq!((gap.first.0, gap.additional), (6, 1));
        let after = sim.now() - began;
        assert!((secs(2)..secs(3)).contains(&after), "{after:?}");
    });
}

/// How long a hundred viewers watch. The whole ten minutes take a while, and an optimised build.
fn watching_time() -> u64 {
    std::env::var("MOQT_LONG").map_or(5, |_| 600)
}

/// Pages of memory that the process holds.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// A hundred viewers of a track of 5 Mbit/s. Returns how much memory it took at most.
async fn a_hundred_viewers(sim: &Sim, stalled: bool) -> u64 {
    let live = track("cam");
    let mut sides = Vec::new();
    let mut whole = Vec::new();
    let viewers = if stalled { 99 } else { 100 };
    for _ in 0..viewers {
        let (viewer, source) = connected(sim, calm(), Version::TRANSFORK_04).await;
        let published = source.tracks.publish(live.consume()).unwrap();
        let wanted = viewer.session.subscriber();
        let subscription = wanted.subscribe(name("cam"), SubscribeOptions::default()).await.unwrap();
        let mut track = subscription.into_track();
        whole.push(sim.spawn(async move {
            let mut whole = 0;
            while let Some(mut group) = track.next_group().await.unwrap() {
                assert!(frames_of(&mut group).await.1.is_ok(), "group {}", group.sequence());
                assert_eq!(group.sequence(), whole);
                whole += 1;
            }
            whole
        }));
        sides.push((viewer, source, published));
    }
    let narrow = Settings::default().stream_window(64 * 1024).connection_window(256 * 1024);
    let far = Settings::default();
    let (side, peer) = against_client_with(
        sim.connect_with(calm(), narrow, far),
        Version::TRANSFORK_04,
        config(Version::TRANSFORK_04),
    )
    .await;
    let _published = stalled.then(|| side.tracks.publish(live.consume()).unwrap());
    let _asked = if stalled {
        let mut asked = peer.request(moqt_wire::transfork::StreamKind::Subscribe, &wish(0, "cam")).await;
        asked.expect::<moqt_wire::transfork::Info>().await;
        Some(asked)
    } else {
        None
    };
    let mut most = 0;
    let mut clock = tokio::time::interval(ms(33));
    for _ in 0..watching_time() {
        let mut group = live.append_group();
        for _ in 0..30 {
            clock.tick().await;
            group.write_frame(Bytes::from(vec![7; 20_833])).unwrap();
        }
        group.finish().unwrap();
        most = most.max(resident_bytes());
    }
    live.finish();
    for viewer in whole {
        assert_eq!(viewer.await.unwrap(), watching_time());
    }
    most
}

#[test]
fn one_stalled_of_a_hundred_is_not_noticed_by_the_others_and_costs_a_bounded_amount() {
    moqt_sim::Seeds::fixed(1..2).limit(secs(7200)).run(|sim| async move {
        let without = a_hundred_viewers(&sim, false).await;
        let with = a_hundred_viewers(&sim, true).await;
        // What the track keeps for its readers is kept once; the stalled one adds what is on its way to it.
        assert!(with < without + (32 << 20), "{} MiB with it, {} MiB without", with >> 20, without >> 20);
    });
}
