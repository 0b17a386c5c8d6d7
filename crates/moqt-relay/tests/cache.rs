//! What the relay holds of all tracks together, and for how long.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::*;
use moqt::{Reason, Retention, SubscribeOptions, TrackConsumer, TrackEvent};

async fn subscribe_from(peer: &Peer, text: &str, first: u64) -> TrackConsumer {
    peer.sees(text).await;
    let options = SubscribeOptions { first: Some(first), ..SubscribeOptions::default() };
    peer.session.subscriber().subscribe(name(text), options).await.unwrap().into_track()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_subscriber_with_min_gets_old_groups_without_upstream_traffic() {
    bounded(async {
        for (first, second) in [("moqf", "https"), ("https", "moqf")] {
            let relay = TestRelay::start();
            let publisher = relay.connect(first).await;
            let (cam, _published) = publisher.publish("cam");
            let early = relay.connect(first).await;
            let mut track = early.subscribe("cam").await;
            for number in 0..5_u8 {
                write(cam.append_group(), &[&[number], b"x"]);
                read(&mut track).await;
            }
            let before = relay.counters();
            let late = relay.connect(second).await;
            let mut old = subscribe_from(&late, "cam", 1).await;
            let mut got = Vec::new();
            for _ in 1..5 {
                let (sequence, frames) = read(&mut old).await;
                assert_eq!(frames, [Bytes::from(vec![sequence as u8]), Bytes::from("x")]);
                got.push(sequence);
            }
            got.sort_unstable();
            assert_eq!(got, [1, 2, 3, 4]);
            let after = relay.counters();
            assert_eq!((after.upstream_total, after.fetched_total), (before.upstream_total, 0), "{second}");
            assert_eq!(cam.readers(), 2, "the relay, and what is published");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_a_quiet_track_expire_and_an_expired_range_is_reported_as_a_gap() {
    bounded(async {
        let mut options = options();
        options.retention = Retention::max_age(Duration::from_millis(300));
        let relay = TestRelay::with(options);
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let early = relay.connect("moqf").await;
        let mut track = early.subscribe("cam").await;
        for _ in 0..5 {
            write(cam.append_group(), &[b"x"]);
            read(&mut track).await;
        }
        // Nothing more happens on the track.
        until("the old ones go", || relay.counters().cached_groups == 1).await;
        let late = relay.connect("https").await;
        let mut old = subscribe_from(&late, "cam", 1).await;
        let mut learned = Vec::new();
        while learned.len() < 2 {
            learned.push(match old.next_event().await.unwrap().unwrap() {
                TrackEvent::Group(group) => (group.sequence(), group.sequence(), None),
                TrackEvent::Gap { first, last, reason } => (first, last, Some(reason)),
            });
        }
        learned.sort_by_key(|(first, ..)| *first);
        assert_eq!(learned, [(1, 3, Some(Reason::NotFound)), (4, 4, None)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_scopes_share_one_budget_and_a_greedy_track_does_not_empty_the_others() {
    bounded(async {
        let mut options = options();
        options.cache_bytes = 4 << 20;
        let relay = TestRelay::with(options);
        let (modest, greedy) = (relay.connect_to("moqf", "/a").await, relay.connect_to("moqf", "/b").await);
        let (small, _small) = modest.publish("cam");
        let (large, _large) = greedy.publish("cam");
        let mut readers = Vec::new();
        for (path, track, groups, size) in [("/a", small, 10, 100_000), ("/b", large, 200, 100_000)] {
            let peer = relay.connect_to("https", path).await;
            let mut reader = peer.subscribe("cam").await;
            for _ in 0..groups {
                write(track.append_group(), &[&vec![7; size]]);
                read(&mut reader).await;
                let held = relay.counters().cache_bytes;
                assert!(held <= (4 << 20) + (256 << 10), "{held} bytes are held");
            }
            readers.push((peer, reader, track));
        }
        let counters = relay.counters();
        assert!(counters.evicted_total > 150, "{counters:?}");
        assert!(counters.cache_bytes > 3 << 20, "{counters:?}");
        // What the modest one has is a quarter of the budget, and all of it is still there.
        let late = relay.connect_to("moqf", "/a").await;
        let mut old = subscribe_from(&late, "cam", 0).await;
        let mut got = Vec::new();
        for _ in 0..10 {
            got.push(read(&mut old).await.0);
        }
        got.sort_unstable();
        assert_eq!(got, (0..10).collect::<Vec<_>>());
        drop((readers, late, old, modest, greedy, _small, _large));
        until("nothing is held", || {
            let counters = relay.counters();
            (counters.cache_bytes, counters.cached_groups, counters.sessions) == (0, 0, 0)
        })
        .await;
    })
    .await;
}
