//! Single groups through a relay on loopback: from what it holds, or from upstream.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use bytes::Bytes;
use common::*;
use moqt::{
    FetchOptions, FrameMeta, GroupConsumer, GroupError, Reason, SubscribeOptions, TrackConsumer, Version,
};

async fn fetch(peer: &Peer, group: u64, first_frame: u64) -> GroupConsumer {
    let options = FetchOptions { first_frame, ..FetchOptions::default() };
    peer.session.subscriber().fetch(name("cam"), group, options).await.unwrap().into_group()
}

/// All that comes of a group.
async fn whole(mut group: GroupConsumer) -> (Vec<Bytes>, Result<(), GroupError>) {
    let mut frames = Vec::new();
    loop {
        match group.read_frame().await {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

async fn fetched(peer: &Peer, group: u64, first_frame: u64) -> (Vec<Bytes>, Result<(), GroupError>) {
    whole(fetch(peer, group, first_frame).await).await
}

fn frames(frames: &[&'static str]) -> (Vec<Bytes>, Result<(), GroupError>) {
    (frames.iter().copied().map(Bytes::from).collect(), Ok(()))
}

fn refused(reason: Reason) -> (Vec<Bytes>, Result<(), GroupError>) {
    (vec![], Err(GroupError::Reset(reason)))
}

/// Subscriptions and fetches made upstream.
fn asked(relay: &TestRelay) -> (u64, u64) {
    let counters = relay.counters();
    (counters.upstream_total, counters.fetched_total)
}

async fn subscribe_from(peer: &Peer, first: u64) -> TrackConsumer {
    peer.sees("cam").await;
    let options = SubscribeOptions { first: Some(first), ..SubscribeOptions::default() };
    peer.session.subscriber().subscribe(name("cam"), options).await.unwrap().into_track()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_group_is_served_without_a_word_upstream() {
    bounded(async {
        for (publishing, fetching) in [("moqf", "https"), ("https", "moqf")] {
            let relay = TestRelay::start();
            let publisher = relay.connect(publishing).await;
            let (cam, _published) = publisher.publish("cam");
            let early = relay.connect(publishing).await;
            let mut track = early.subscribe("cam").await;
            for group in [&[&b"a"[..], b"", b"c"][..], &[b"newer"]] {
                write(cam.append_group(), group);
                read(&mut track).await;
            }
            let late = relay.connect(fetching).await;
            assert_eq!(fetched(&late, 0, 0).await, frames(&["a", "", "c"]), "{fetching}");
            assert_eq!(fetched(&late, 0, 2).await, frames(&["c"]));
            assert_eq!(fetched(&late, 0, 3).await, frames(&[]));
            assert_eq!(fetched(&late, 0, 4).await, refused(Reason::OutOfRange));
            assert_eq!(asked(&relay), (1, 0));
            assert_eq!(cam.readers(), 2);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_group_is_served_from_here_even_when_its_subscriber_leaves() {
    bounded(async {
        for scheme in SCHEMES {
            let relay = TestRelay::start();
            let publisher = relay.connect(scheme).await;
            let (cam, _published) = publisher.publish("cam");
            let early = relay.connect(scheme).await;
            let mut track = early.subscribe("cam").await;
            let mut running = cam.append_group();
            running.write_frame("first").unwrap();
            let mut subscribed = track.next_group().await.unwrap().unwrap();
            assert_eq!(subscribed.read_frame().await.unwrap().unwrap(), "first");

            let late = relay.connect(scheme).await;
            let mut group = fetch(&late, 0, 0).await;
            assert_eq!(group.read_frame().await.unwrap().unwrap(), "first");
            drop((subscribed, track, early));
            until("the subscriber has left", || relay.counters().sessions == 2).await;
            let mut frame = running.create_frame(FrameMeta::sized(10)).unwrap();
            frame.write(Bytes::from_static(b"early")).unwrap();
            let mut reading = group.next_frame().await.unwrap().unwrap();
            assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "early");
            frame.write(Bytes::from_static(b"later")).unwrap();
            frame.finish().unwrap();
            running.finish().unwrap();
            assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "later");
            assert_eq!(group.read_frame().await.unwrap(), None);
            assert_eq!(asked(&relay), (1, 0));
            until("released at the publisher", || cam.readers() == 1).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_a_track_that_nobody_reads_is_fetched_upstream() {
    bounded(async {
        for (publishing, fetching) in [("moqf", "https"), ("https", "moqf")] {
            let relay = TestRelay::start();
            let publisher = relay.connect(publishing).await;
            let (cam, _published) = publisher.publish("cam");
            write(cam.append_group(), &[b"a", b"b", b"c"]);
            let peer = relay.connect(fetching).await;
            peer.sees("cam").await;
            assert_eq!(fetched(&peer, 0, 0).await, frames(&["a", "b", "c"]), "{fetching}");
            assert_eq!(fetched(&peer, 0, 1).await, frames(&["b", "c"]));
            assert_eq!(fetched(&peer, 0, 3).await, frames(&[]));
            assert_eq!(asked(&relay), (0, 3));

            // One that runs, before its frames are whole.
            let mut running = cam.append_group();
            let mut group = fetch(&peer, 1, 0).await;
            let mut frame = running.create_frame(FrameMeta::sized(10)).unwrap();
            frame.write(Bytes::from_static(b"early")).unwrap();
            let mut reading = group.next_frame().await.unwrap().unwrap();
            assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "early");
            frame.write(Bytes::from_static(b"later")).unwrap();
            frame.finish().unwrap();
            running.finish().unwrap();
            assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "later");
            assert_eq!(group.read_frame().await.unwrap(), None);
            until("released at the publisher", || cam.readers() == 1).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_who_want_the_same_group_at_once_all_get_it() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let mut running = cam.append_group();
        running.write_frame("first").unwrap();
        let mut groups = Vec::new();
        for scheme in SCHEMES.into_iter().cycle().take(6) {
            let peer = relay.connect(scheme).await;
            peer.sees("cam").await;
            let mut group = fetch(&peer, 0, 0).await;
            assert_eq!(group.read_frame().await.unwrap().unwrap(), "first");
            groups.push((peer, group));
        }
        running.write_frame("second").unwrap();
        running.finish().unwrap();
        for (_peer, group) in groups {
            assert_eq!(whole(group).await, frames(&["second"]));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_older_than_what_is_held_is_fetched_upstream() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        write(cam.append_group(), &[b"old"]);
        write(cam.append_group(), &[b"new"]);
        let peer = relay.connect("https").await;
        let mut track = peer.subscribe("cam").await;
        assert_eq!(read(&mut track).await.0, 1);
        assert_eq!(fetched(&peer, 0, 0).await, frames(&["old"]));
        assert_eq!(asked(&relay), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_was_cut_on_its_way_here_is_fetched_upstream() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let peer = relay.connect("moqf").await;
        let mut track = subscribe_from(&peer, 0).await;
        let mut cut = cam.append_group();
        cut.write_frame("first").unwrap();
        let mut group = track.next_group().await.unwrap().unwrap();
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "first");
        cut.abort(Reason::App(7));
        assert_eq!(group.read_frame().await, Err(GroupError::Reset(Reason::App(7))));
        // Here it is not whole either, and says why.
        let (_, end) = fetched(&peer, 0, 0).await;
        assert_eq!(end, Err(GroupError::Reset(Reason::App(7))));
        assert_eq!(asked(&relay), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_from_upstream_come_through() {
    bounded(async {
        for scheme in SCHEMES {
            let relay = TestRelay::start();
            let peer = relay.connect(scheme).await;
            assert_eq!(fetched(&peer, 0, 0).await, refused(Reason::NotFound));
            assert_eq!(asked(&relay), (0, 0));
            let publisher = relay.connect(scheme).await;
            let (cam, _published) = publisher.publish("cam");
            write(cam.append_group(), &[b"a"]);
            peer.sees("cam").await;
            assert_eq!(fetched(&peer, 7, 0).await, refused(Reason::NotFound));
            assert_eq!(fetched(&peer, 0, 2).await, refused(Reason::OutOfRange));
            assert_eq!(asked(&relay), (0, 2));
            // The session lives on.
            let mut track = peer.try_subscribe("cam").await.unwrap();
            assert_eq!(read(&mut track).await.0, 0);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_interest_gives_up_the_fetch_upstream() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let mut running = cam.append_group();
        running.write_frame("first").unwrap();
        let peer = relay.connect("https").await;
        peer.sees("cam").await;
        let mut group = fetch(&peer, 0, 0).await;
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "first");
        assert_eq!(cam.readers(), 2);
        drop(group);
        until("released at the publisher", || cam.readers() == 1).await;
        let mut group = fetch(&peer, 0, 0).await;
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "first");
        peer.vanish();
        until("released at the publisher", || cam.readers() == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_publisher_is_asked_where_one_has_not_the_group_or_no_fetch() {
    bounded(async {
        let relay = TestRelay::start();
        let deployed = relay.connect_as(relay.client_of(Some(Version::TRANSFORK_04_RS12)), "moqf", "/").await;
        let (_deployed, _published) = deployed.publish("cam");
        let peer = relay.connect("moqf").await;
        peer.sees("cam").await;
        assert_eq!(fetched(&peer, 0, 0).await, refused(Reason::NotFound));
        let without = relay.connect("moqf").await;
        let (_without, _published) = without.publish("cam");
        let with = relay.connect("https").await;
        let (cam, _published) = with.publish("cam");
        write(cam.append_group(), &[b"a", b"b"]);
        // When the relay has taken the announcements in is not to be seen from here.
        while fetched(&peer, 0, 1).await != frames(&["b"]) {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_without_fetch_is_not_asked_and_its_live_groups_are_served() {
    bounded(async {
        for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_03] {
            let relay = TestRelay::start();
            let publisher = relay.connect_as(relay.client_of(Some(version)), "moqf", "/").await;
            let (cam, _published) = publisher.publish("cam");
            write(cam.append_group(), &[b"old"]);
            let peer = relay.connect("moqf").await;
            peer.sees("cam").await;
            let has_fetch = version == Version::TRANSFORK_03;
            let expected = if has_fetch { frames(&["old"]) } else { refused(Reason::NotFound) };
            assert_eq!(fetched(&peer, 0, 0).await, expected, "{version}");
            assert_eq!(asked(&relay), (0, u64::from(has_fetch)));
            let mut track = peer.try_subscribe("cam").await.unwrap();
            assert_eq!(read(&mut track).await.0, 0);
            write(cam.append_group(), &[b"new"]);
            assert_eq!(read(&mut track).await.0, 1);
            assert_eq!(fetched(&peer, 0, 0).await, frames(&["old"]));
        }
    })
    .await;
}
