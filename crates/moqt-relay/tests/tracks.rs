//! Tracks through a relay on loopback: fan-out, sharing, late joiners, cut-through, release.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::*;
use moqt::{
    AnnounceConsumer, AnnounceProducer, FrameMeta, GroupOrder, InfoRequest, Interest, Origin, Priority,
    Reason, RequestError, Retention, SubscribeOptions, Subscriber, TrackInfo, TrackProducer, TrackRequest,
    Version,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_publisher_reaches_many_subscribers_over_both_carriers_with_one_upstream_subscription() {
    bounded(async {
        for publishing in SCHEMES {
            let relay = TestRelay::start();
            let publisher = relay.connect(publishing).await;
            let (cam, _published) = publisher.publish("meeting/1234/alice");
            let mut peers = Vec::new();
            for scheme in SCHEMES.into_iter().cycle().take(6) {
                let peer = relay.connect(scheme).await;
                peer.sees("meeting/1234/alice").await;
                peers.push(peer);
            }
            let mut joining = tokio::task::JoinSet::new();
            for peer in peers {
                joining.spawn(async move {
                    let track = peer.try_subscribe("meeting/1234/alice").await.unwrap();
                    (peer, track)
                });
            }
            let mut subscribers = joining.join_all().await;
            let hello: &[&[u8]] = &[b"hello", b"", b"world"];
            for (sequence, frames) in [(0, hello), (1, &[b"again"])] {
                write(cam.append_group(), frames);
                for (_, track) in &mut subscribers {
                    assert_eq!(
                        read(track).await,
                        (sequence, frames.iter().copied().map(Bytes::from).collect())
                    );
                }
            }
            let counters = relay.counters();
            assert_eq!((counters.upstream, counters.upstream_total), (1, 1), "{publishing}");
            // The one that is published, and the one that serves the relay.
            assert_eq!(cam.readers(), 2, "{publishing}");
            cam.finish();
            for (_, track) in &mut subscribers {
                assert!(track.next_group().await.unwrap().is_none());
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_joiner_gets_the_live_group_from_its_first_frame() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        write(cam.append_group(), &[b"old"]);
        let mut live = cam.append_group();
        live.write_frame("first").unwrap();

        let early = relay.connect("moqf").await;
        let mut track = early.subscribe("cam").await;
        let mut group = track.next_group().await.unwrap().unwrap();
        assert_eq!(group.sequence(), 1);
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "first");
        live.write_frame("second").unwrap();
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "second");

        let late = relay.connect("https").await;
        let mut track = late.subscribe("cam").await;
        let mut group = track.next_group().await.unwrap().unwrap();
        assert_eq!(group.sequence(), 1);
        for frame in ["first", "second"] {
            assert_eq!(group.read_frame().await.unwrap().unwrap(), frame);
        }
        live.write_frame("third").unwrap();
        live.finish().unwrap();
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "third");
        assert_eq!(group.read_frame().await.unwrap(), None);
        assert_eq!(relay.counters().upstream_total, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_half_of_a_frame_arrives_before_the_second_is_written() {
    bounded(async {
        for scheme in SCHEMES {
            let relay = TestRelay::start();
            let publisher = relay.connect(scheme).await;
            let (cam, _published) = publisher.publish("cam");
            let subscriber = relay.connect(scheme).await;
            let mut track = subscriber.subscribe("cam").await;

            let mut group = cam.append_group();
            let mut frame = group.create_frame(FrameMeta::sized(10)).unwrap();
            frame.write(Bytes::from_static(b"first")).unwrap();
            let mut incoming = track.next_group().await.unwrap().unwrap();
            let mut reading = incoming.next_frame().await.unwrap().unwrap();
            assert_eq!(reading.meta().size, 10);
            assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "first");

            frame.write(Bytes::from_static(b"later")).unwrap();
            frame.finish().unwrap();
            group.finish().unwrap();
            assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "later");
            assert_eq!(reading.read_chunk().await.unwrap(), None);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payload_comes_through_untouched() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let subscriber = relay.connect("https").await;
        let mut track = subscriber.subscribe("cam").await;
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let frames: Vec<Bytes> = [0, 1, 63, 64, 1199, 16_384, 1 << 20]
            .into_iter()
            .map(|size| {
                let byte = || {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    random.to_be_bytes()[0]
                };
                std::iter::repeat_with(byte).take(size).collect()
            })
            .collect();
        let mut group = cam.create_group(1000).unwrap();
        for frame in &frames {
            group.write_frame(frame.clone()).unwrap();
        }
        group.finish().unwrap();
        let (sequence, received) = read(&mut track).await;
        assert_eq!(sequence, 1000);
        assert!(received == frames);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_subscriber_to_leave_releases_the_track_upstream() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let (one, two) = (relay.connect("moqf").await, relay.connect("https").await);
        let (first, second) = (one.subscribe("cam").await, two.subscribe("cam").await);
        assert_eq!(cam.readers(), 2);
        drop(first);
        // The other one still gets what is written.
        let mut second = second;
        write(cam.append_group(), &[b"x"]);
        assert_eq!(read(&mut second).await.0, 0);
        assert_eq!(cam.readers(), 2);
        drop(second);
        until("released at the publisher", || cam.readers() == 1).await;
        until("forgotten by the relay", || relay.counters().upstream == 0).await;

        // And it can be had again.
        write(cam.append_group(), &[b"y"]);
        let mut again = one.try_subscribe("cam").await.unwrap();
        assert_eq!(read(&mut again).await, (1, vec!["y".into()]));
        assert_eq!(relay.counters().upstream_total, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_vanishes_releases_its_tracks_upstream() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let subscriber = relay.connect("https").await;
        let _track = subscriber.subscribe("cam").await;
        subscriber.vanish();
        until("released at the publisher", || cam.readers() == 1).await;
        until("one session left", || relay.counters().sessions == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_track_is_not_found() {
    bounded(async {
        let relay = TestRelay::start();
        let peer = relay.connect("moqf").await;
        assert_eq!(refused(peer.try_subscribe("nobody").await), Reason::NotFound);
        assert_eq!(refused(peer.info("nobody").await), Reason::NotFound);
        // The session lives on.
        let (_cam, _published) = peer.publish("cam");
        peer.subscribe("cam").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn info_is_asked_upstream_without_subscribing() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        write(cam.create_group(41).unwrap(), &[b"x"]);
        let peer = relay.connect("https").await;
        peer.sees("cam").await;
        assert_eq!(peer.info("cam").await.unwrap().latest, Some(41));
        assert_eq!(relay.counters().upstream_total, 0);
        assert_eq!(cam.readers(), 1);

        // Once the track is there, it is answered from it.
        let mut track = peer.try_subscribe("cam").await.unwrap();
        assert_eq!(read(&mut track).await.0, 41);
        assert_eq!(peer.info("cam").await.unwrap().latest, Some(41));
    })
    .await;
}

/// Carries the questions of one relay to another.
#[derive(Debug)]
struct Bridge {
    names: AnnounceProducer,
    to: Subscriber,
}

impl Origin for Bridge {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.names.watch(interest)
    }

    fn track(&self, request: TrackRequest) {
        request.refuse(Reason::NotFound);
    }

    #[expect(clippy::disallowed_methods, reason = "the test ends, and so does the task")]
    fn info(&self, request: InfoRequest) {
        let to = self.to.clone();
        tokio::spawn(async move {
            match to.info(request.name.clone()).await {
                Ok(info) => request.answer(info),
                Err(RequestError::Refused(reason)) => request.refuse(reason),
                Err(_) => request.refuse(Reason::Transport),
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn info_passes_through_a_chain_of_two_relays() {
    bounded(async {
        for (scheme, other) in [("moqf", "https"), ("https", "moqf")] {
            let (near, far) = (TestRelay::start(), TestRelay::start());
            let publisher = far.connect(scheme).await;
            let info = TrackInfo { priority: Priority(77), order: GroupOrder::Descending, max_age: None };
            let cam = TrackProducer::new(name("cam"), info, Retention::default());
            let _published = publisher.tracks.publish(cam.consume()).unwrap();
            write(cam.create_group(41).unwrap(), &[b"x"]);

            let middle = far.connect(other).await;
            middle.sees("cam").await;
            let bridge = Bridge { names: AnnounceProducer::new(), to: middle.session.subscriber() };
            bridge.names.insert("cam".parse().unwrap());
            bridge.names.insert("nobody".parse().unwrap());
            let client = near.client();
            let _bridged = client.connect_with(&near.url(other, "/"), Arc::new(bridge)).await.unwrap();

            let peer = near.connect(scheme).await;
            peer.sees("nobody").await;
            let answer = peer.info("cam").await.unwrap();
            assert_eq!((answer.latest, answer.track), (Some(41), info));
            assert_eq!(refused(peer.info("nobody").await), Reason::NotFound);
            for relay in [near, far] {
                assert_eq!(relay.counters().upstream_total, 0);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_subscriber_may_begin_with_an_older_group() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        for _ in 0..4 {
            write(cam.append_group(), &[b"x"]);
        }
        let peer = relay.connect("moqf").await;
        peer.sees("cam").await;
        let subscribe = async |first| {
            let options = SubscribeOptions { first: Some(first), ..SubscribeOptions::default() };
            let subscription = peer.session.subscriber().subscribe(name("cam"), options).await;
            subscription.unwrap().into_track()
        };
        let mut track = subscribe(1).await;
        let mut groups = [read(&mut track).await.0, read(&mut track).await.0, read(&mut track).await.0];
        groups.sort_unstable();
        assert_eq!(groups, [1, 2, 3]);
        drop(track);
        until("released", || cam.readers() == 1).await;

        // A wish for the future keeps nobody from the present.
        let mut future = subscribe(5).await;
        let mut present = peer.try_subscribe("cam").await.unwrap();
        assert_eq!(read(&mut present).await.0, 3);
        write(cam.append_group(), &[b"x"]);
        write(cam.append_group(), &[b"x"]);
        assert_eq!(read(&mut future).await.0, 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_of_different_versions_meet() {
    bounded(async {
        let versions = [Version::TRANSFORK_04, Version::TRANSFORK_04_RS12, Version::TRANSFORK_03];
        for publishing in versions {
            let relay = TestRelay::start();
            let publisher = relay.connect_as(relay.client_of(Some(publishing)), "moqf", "/").await;
            let (cam, _published) = publisher.publish("meeting/1234/alice");
            for subscribing in versions {
                let client = relay.client_of(Some(subscribing));
                let subscriber = relay.connect_as(client, "https", "/").await;
                assert_eq!(subscriber.session.version(), subscribing);
                let mut track = subscriber.subscribe("meeting/1234/alice").await;
                write(cam.append_group(), &[b"x"]);
                assert_eq!(read(&mut track).await.1, ["x"], "{publishing} to {subscribing}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_soon_after_the_last_subscriber_finds_the_track_going() {
    bounded(async {
        let mut options = options();
        options.linger = std::time::Duration::from_secs(20);
        let relay = TestRelay::with(options);
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        write(cam.append_group(), &[b"x"]);
        for _ in 0..3 {
            let peer = relay.connect("https").await;
            let mut track = peer.subscribe("cam").await;
            assert_eq!(read(&mut track).await.0, 0);
            drop(track);
            peer.session.close().await;
            until("the peer is gone", || relay.counters().sessions == 1).await;
        }
        assert_eq!(relay.counters().upstream_total, 1);
        // With its publisher the track goes at once.
        drop(publisher);
        until("all is gone", || relay.counters().upstream == 0 && relay.counters().scopes == 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_groups_than_a_lingering_track_has_come_from_its_publisher() {
    bounded(async {
        let mut options = options();
        options.linger = std::time::Duration::from_secs(20);
        let meters = options.session.meters.clone();
        let relay = TestRelay::with(options);
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        for _ in 0..10 {
            write(cam.append_group(), &[b"x"]);
        }
        let peer = relay.connect("https").await;
        peer.sees("cam").await;
        let subscriber = peer.session.subscriber();
        for (first, last) in [(6, 8), (2, 5), (7, 7)] {
            let options =
                SubscribeOptions { first: Some(first), last: Some(last), ..SubscribeOptions::default() };
            let mut track = subscriber.subscribe(name("cam"), options).await.unwrap().into_track();
            let mut groups = Vec::new();
            while let Some(group) = track.next_group().await.unwrap() {
                groups.push(group.sequence());
            }
            groups.sort_unstable();
            assert_eq!(groups, (first..=last).collect::<Vec<_>>());
            drop(track);
            until("the subscriber has left", || meters.serving() == 0).await;
            until("the track that began too late is let go of", || cam.readers() == 2).await;
        }
        assert_eq!(relay.counters().upstream_total, 2, "the second one began early enough for the third");
    })
    .await;
}

#[expect(clippy::disallowed_methods, reason = "a relay on loopback runs by the real clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_is_told_what_its_track_matters_to_those_who_read_it() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let preferences = cam.preferences();
        let highest = |priority| {
            let preferences = &preferences;
            async move { until("the publisher knows", || preferences.highest() == priority).await }
        };
        let mut subscriptions = Vec::new();
        for (scheme, priority) in [("moqf", 50), ("https", 200), ("moqf", 100)] {
            let peer = relay.connect(scheme).await;
            peer.sees("cam").await;
            let options = SubscribeOptions { priority: Priority(priority), ..SubscribeOptions::default() };
            let subscription = peer.session.subscriber().subscribe(name("cam"), options).await.unwrap();
            subscriptions.push((peer, subscription, priority));
            highest(subscriptions.iter().map(|(_, _, priority)| Priority(*priority)).max()).await;
        }
        let update = |priority| moqt::SubscribeUpdate {
            priority: Priority(priority),
            order: GroupOrder::Default,
            max_age: None,
            first: None,
            last: None,
        };
        // However often viewers change their minds, the publisher hears of it now and then, and of the last word.
        let changes = std::sync::atomic::AtomicU32::new(0);
        let counting = async {
            let mut known = Priority(200);
            loop {
                known = preferences.changed(known).await;
                changes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        };
        let changing = async {
            let begun = now();
            for change in 0..100 {
                subscriptions[1].1.update(update(150 + change % 100)).await.unwrap();
            }
            highest(Some(Priority(249))).await;
            begun.elapsed()
        };
        let took = tokio::select! {
            () = counting => unreachable!(),
            took = changing => took,
        };
        let (changes, most) = (changes.into_inner(), 2 + took.as_millis() / 100);
        assert!(u128::from(changes) <= most, "{changes} changes in {took:?}");
        subscriptions[1].1.update(update(99)).await.unwrap();
        highest(Some(Priority(100))).await;
        subscriptions.pop();
        highest(Some(Priority(99))).await;
        subscriptions.clear();
        highest(None).await;
        assert_eq!(relay.counters().upstream_total, 1);
    })
    .await;
}
