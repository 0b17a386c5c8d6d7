//! Subscriptions between two of our own endpoints, over a simulated network.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use common::*;
use moqt_session::{
    Config, Handshake, Reason, RequestError, Session, SubscribeOptions, TrackError, TrackRequest, Tracks,
};
use moqt_sim::{Sim, Sink, Tally, for_each_seed};
use moqt_wire::Version;

#[test]
fn a_group_reaches_the_subscriber_in_every_version() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm(), version).await;
            let live = track("meeting/1234/alice");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            write_group(&live, &[b"hello", b"", b"world!"]);

            let wanted = subscriber.session.subscriber();
            let subscription =
                wanted.subscribe(name("meeting/1234/alice"), SubscribeOptions::default()).await.unwrap();
            assert_eq!(subscription.latest(), Some(0), "{version}");
            let mut track = subscription.into_track();
            let mut group = track.next_group().await.unwrap().unwrap();
            assert_eq!(group.sequence(), 0);
            for frame in [&b"hello"[..], b"", b"world!"] {
                assert_eq!(group.read_frame().await.unwrap().unwrap(), frame);
            }
            assert_eq!(group.read_frame().await.unwrap(), None);

            live.finish();
            assert!(track.next_group().await.unwrap().is_none());
        });
    }
}

#[test]
fn bytes_of_a_frame_arrive_before_the_frame_is_complete() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let mut group = live.append_group();
        let mut frame = group.create_frame(sized(10)).unwrap();
        frame.write(Bytes::from_static(b"first")).unwrap();

        let wanted = subscriber.session.subscriber();
        let mut track =
            wanted.subscribe(name("cam/video"), SubscribeOptions::default()).await.unwrap().into_track();
        let mut incoming = track.next_group().await.unwrap().unwrap();
        let mut reading = incoming.next_frame().await.unwrap().unwrap();
        assert_eq!(reading.meta().size, 10);
        assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "first");

        frame.write(Bytes::from_static(b"later")).unwrap();
        frame.finish().unwrap();
        group.finish().unwrap();
        assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "later");
        assert_eq!(reading.read_chunk().await.unwrap(), None);
        assert!(incoming.next_frame().await.unwrap().is_none());
    });
}

#[test]
fn a_late_joiner_starts_at_the_latest_group() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        for number in 0..5u8 {
            write_group(&live, &[&[number]]);
        }
        let wanted = subscriber.session.subscriber();
        let mut track =
            wanted.subscribe(name("cam/video"), SubscribeOptions::default()).await.unwrap().into_track();
        assert_eq!(track.next_group().await.unwrap().unwrap().sequence(), 4);
    });
}

#[test]
fn an_unknown_track_is_refused_as_not_found() {
    for_each_seed(|sim| async move {
        let (_publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let wanted = subscriber.session.subscriber();
        let error = wanted.subscribe(name("nobody"), SubscribeOptions::default()).await.unwrap_err();
        assert!(matches!(error, RequestError::Refused(Reason::NotFound)), "{error:?}");
    });
}

#[test]
fn dropping_the_last_reader_unsubscribes() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let held = live.consume();
        let _published = publisher.tracks.publish(held).unwrap();
        let wanted = subscriber.session.subscriber();
        let subscription = wanted.subscribe(name("cam/video"), SubscribeOptions::default()).await.unwrap();
        // The one that is published, and the one that serves the subscription.
        assert_eq!(live.readers(), 2);
        drop(subscription);
        sim.sleep(ms(200)).await;
        assert_eq!(live.readers(), 1);
    });
}

#[test]
fn a_publisher_that_vanishes_ends_the_track_with_the_session() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let vanishing = near.clone();
        let (publisher, subscriber) = pair(near, far, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let wanted = subscriber.session.subscriber();
        let mut track =
            wanted.subscribe(name("cam/video"), SubscribeOptions::default()).await.unwrap().into_track();
        vanishing.kill();
        let error = track.next_group().await.unwrap_err();
        assert!(matches!(error, TrackError::Session(_)), "{error:?}");
    });
}

#[test]
fn what_is_flushed_was_read_before_the_session_closes() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm().loss(0.05), version).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            let wanted = subscriber.session.subscriber();
            let mut track =
                wanted.subscribe(name("cam/video"), SubscribeOptions::default()).await.unwrap().into_track();
            for number in 0..200u8 {
                write_group(&live, &[&[number]]);
            }
            live.finish();
            publisher.session.publisher().flushed().await;
            publisher.session.close().await;
            let mut seen = 0;
            while let Some(mut group) = track.next_group().await.unwrap() {
                assert!(group.read_frame().await.unwrap().is_some(), "{version}");
                seen += 1;
            }
            assert_eq!(seen, 200, "{version}");
        });
    }
}

#[test]
fn a_group_without_frames_arrives_empty_and_finished() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm(), version).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            write_group(&live, &[]);
            let wanted = subscriber.session.subscriber();
            let mut track =
                wanted.subscribe(name("cam/video"), SubscribeOptions::default()).await.unwrap().into_track();
            let mut group = track.next_group().await.unwrap().unwrap();
            assert_eq!(group.sequence(), 0, "{version}");
            assert_eq!(group.read_frame().await, Ok(None), "{version}");
        });
    }
}

#[test]
fn two_tracks_flow_side_by_side() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let lives = ["cam/video", "cam/audio"].map(track);
        let _published = lives.each_ref().map(|live| publisher.tracks.publish(live.consume()).unwrap());
        let wanted = subscriber.session.subscriber();
        let mut readers = Vec::new();
        for live in &lives {
            let subscription =
                wanted.subscribe(live.name().clone(), SubscribeOptions::default()).await.unwrap();
            readers.push(subscription.into_track());
        }
        for number in 0..10u8 {
            write_group(&lives[0], &[&[number, 0]]);
            write_group(&lives[1], &[&[number, 1]]);
        }
        for (which, reader) in readers.iter_mut().enumerate() {
            let mut seen = Vec::new();
            while seen.len() < 10 {
                let mut group = reader.next_group().await.unwrap().unwrap();
                let frame = group.read_frame().await.unwrap().unwrap();
                assert_eq!(frame[..], [group.sequence() as u8, which as u8]);
                seen.push(group.sequence());
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
    });
}

#[test]
fn many_groups_grow_at_once_and_again_and_some_are_given_up() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let wanted = subscriber.session.subscriber();
        let mut track =
            wanted.subscribe(name("cam/video"), SubscribeOptions::default()).await.unwrap().into_track();
        for _ in 0..3 {
            let mut growing: Vec<_> = (0..12).map(|_| live.append_group()).collect();
            let mut reading = Vec::new();
            for group in &mut growing {
                group.write_frame(format!("begin {}", group.sequence())).unwrap();
                reading.push(track.next_group().await.unwrap().unwrap());
            }
            for group in &mut reading {
                assert_eq!(group.read_frame().await.unwrap().unwrap(), format!("begin {}", group.sequence()));
            }
            for mut group in growing {
                if group.sequence() % 3 == 0 {
                    group.abort(Reason::TooMany);
                } else {
                    group.write_frame(format!("end {}", group.sequence())).unwrap();
                    group.finish().unwrap();
                }
            }
            for group in &mut reading {
                let sequence = group.sequence();
                let next = group.read_frame().await;
                if sequence % 3 == 0 {
                    assert_eq!(next.unwrap_err().reason(), Reason::TooMany, "{sequence}");
                } else {
                    assert_eq!(next.unwrap().unwrap(), format!("end {sequence}"));
                    assert_eq!(group.read_frame().await.unwrap(), None);
                }
            }
        }
    });
}

/// A peer that has asked for a track with a group in it, and what was done with our streams; the request waits for its
/// answer, which is the caller's to give.
async fn asked(sim: &Sim) -> (Session, Session, Arc<Tally>, TrackRequest) {
    let (near, far) = sim.connect(calm());
    let tally = Tally::with_room(1);
    let far = Sink::new(far, Arc::clone(&tally));
    let (near, far) =
        tokio::join!(Handshake::connect(near, Config::default()), Handshake::accept(far, Config::default()));
    let origin = Arc::new(Silent::default());
    let ours = far.unwrap().start(origin.clone());
    let peer = near.unwrap().start(Arc::new(Tracks::new()));
    let wish = peer.subscriber();
    drop(sim.spawn(async move { wish.subscribe(name("cam/video"), SubscribeOptions::default()).await }));
    sim.sleep(secs(1)).await;
    let request = origin.tracks.lock().unwrap().pop().unwrap();
    (ours, peer, tally, request)
}

#[test]
fn the_answer_to_a_subscription_is_written_before_its_groups() {
    for_each_seed(|sim| async move {
        let (_ours, _peer, tally, request) = asked(&sim).await;
        let live = track("cam/video");
        write_group(&live, &[b"here already"]);
        let before = tally.answers.load(Ordering::Relaxed);
        request.accept(live.consume());
        sim.sleep(ms(1)).await;
        assert_eq!(tally.writes.load(Ordering::Relaxed), 1);
        assert_eq!(tally.answers_first.load(Ordering::Relaxed), before + 1);
    });
}

#[test]
fn a_flush_waits_for_groups_of_a_subscription_that_is_only_just_answered() {
    for_each_seed(|sim| async move {
        let (ours, _peer, tally, request) = asked(&sim).await;
        let live = track("cam/video");
        write_group(&live, &[b"here already"]);
        request.accept(live.consume());
        let before = sim.elapsed();
        ours.publisher().flushed().await;
        assert_eq!(tally.finished.load(Ordering::Relaxed), 1);
        let took = sim.elapsed() - before;
        assert!(took >= ms(10), "flushed after {took:?}, before the group was acknowledged");
    });
}
