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
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    while let Some(event) = track.next_event().await.unwrap() {
        match event {
            TrackEvent::Group(mut group) => {
                let (tell, sim) = (tell.clone(), sim.clone());
                drop(sim.clone().spawn(async move {
                    let whole = frames_of(&mut group).await.1;
                    if whole.is_ok() {
                        tell.send((group.sequence(), Fate::Whole, (sim.elapsed() - begin))).unwrap();
                    } else {
                        assert!(matches!(whole, Err(GroupError::Reset(_))), "{whole:?}");
                    }
                }));
            }
            TrackEvent::Gap { first, last, reason } => {
                for group in first..=last {
                    tell.send((group, Fate::Missed(reason), (sim.elapsed() - begin))).unwrap();
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
