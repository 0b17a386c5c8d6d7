//! Questions about tracks, requests that nobody waits for any more, and what the session itself says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::sync::Arc;

use common::*;
use moqt_session::{Handshake, Reason, RequestError, Retention, SubscribeOptions, TrackInfo, TrackProducer};
use moqt_sim::{for_each_seed, script::Peer};
use moqt_wire::{
    Feature, GroupOrder, Priority, Version,
    transfork::{Info, InfoPlease, SessionUpdate, StreamKind, Subscribe, code},
};

#[test]
fn a_question_about_a_track_is_answered_or_refused_in_every_version() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm(), version).await;
            let expires = (version == Version::TRANSFORK_03).then_some(secs(3));
            let info =
                TrackInfo { priority: Priority(200), order: GroupOrder::Descending, max_age: Some(secs(3)) };
            let live = TrackProducer::new(name("cam/video"), info, Retention::default());
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            (0..8).for_each(|_| write_group(&live, &[b"x"]));
            let wanted = subscriber.session.subscriber();
            let known = wanted.info(name("cam/video")).await.unwrap();
            assert_eq!((known.latest, known.track), (Some(7), TrackInfo { max_age: expires, ..info }));
            let unknown = wanted.info(name("cam/audio")).await.unwrap_err();
            assert!(matches!(unknown, RequestError::Refused(Reason::NotFound)), "{unknown:?}");
            // Nothing was subscribed for it.
            assert_eq!(live.readers(), 1);
        });
    }
}

#[test]
fn a_question_is_answered_whether_or_not_the_stream_is_finished_behind_it() {
    for (finish, version, number) in [
        (true, Version::TRANSFORK_04, 4),
        (false, Version::TRANSFORK_04, 4),
        (true, Version::TRANSFORK_04_RS12, 3),
        (false, Version::TRANSFORK_04_RS12, 3),
    ] {
        for_each_seed(move |sim| async move {
            let (side, peer) = against_client(&sim, version).await;
            let _published = side.tracks.publish(track("cam/video").consume()).unwrap();
            let mut stream = peer.open_bi().await;
            stream.send_varint(number).await;
            stream.send(&InfoPlease { track: name("cam/video") }).await;
            if finish {
                stream.finish();
            }
            assert_eq!(stream.expect::<Info>().await.latest.0, 0);
            stream.expect_finish().await;
        });
    }
}

#[test]
fn our_question_is_finished_behind_the_request() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_server(&sim, Version::TRANSFORK_04).await;
        let wanted = side.session.subscriber();
        let (info, ()) = tokio::join!(wanted.info(name("cam/video")), async {
            let (mut stream, asked) = peer.serve::<InfoPlease>(StreamKind::Info).await;
            assert_eq!(asked.track, name("cam/video"));
            stream.expect_finish().await;
            sim.sleep(secs(3)).await;
            stream.send(&fact(42)).await;
            stream.finish();
        });
        assert_eq!(info.unwrap().latest, Some(42));
    });
}

#[test]
fn bitrates_of_the_peer_are_seen_and_0_is_unknown() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, version).await;
            // Crates that lack the message are not known to send it; from one that does, it is taken.
            for (said, seen) in [(b"\x80\x26\x25\xa0".as_slice(), Some(2_500_000)), (b"\x00", None)] {
                peer.session().send_raw(said).await;
                sim.sleep(ms(100)).await;
                assert_eq!(side.session.peer_bitrate(), seen, "{version}");
            }
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_request_that_its_caller_gives_up_is_cancelled_though_the_peer_never_answers() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let wanted = side.session.subscriber();
        let options = SubscribeOptions::default();
        let gave_up = tokio::time::timeout(secs(1), wanted.subscribe(name("a"), options)).await;
        assert!(gave_up.is_err());
        let (mut stream, _) = peer.serve::<Subscribe>(StreamKind::Subscribe).await;
        stream.expect_reset(code::CANCEL).await;
        stream.expect_stop(code::CANCEL).await;

        let gave_up = tokio::time::timeout(secs(1), wanted.info(name("a"))).await;
        assert!(gave_up.is_err());
        let (mut stream, _) = peer.serve::<InfoPlease>(StreamKind::Info).await;
        stream.expect_stop(code::CANCEL).await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_subscriber_that_loses_interest_is_noticed_by_an_origin_that_has_not_answered() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let (peer, session) = tokio::join!(
            Peer::client(near).handshake(Version::TRANSFORK_04),
            Handshake::accept(far, config(Version::TRANSFORK_04))
        );
        let origin = Arc::new(Silent::default());
        let _session = session.unwrap().start(origin.clone());
        let mut stream = peer.request(StreamKind::Subscribe, &wish(0, "a")).await;
        sim.sleep(secs(1)).await;
        let mut asked = origin.tracks.lock().unwrap().pop().unwrap();
        stream.reset(code::CANCEL);
        tokio::time::timeout(secs(1), asked.cancelled()).await.unwrap();
        // An answer that comes too late is no trouble.
        asked.accept(track("a").consume());
        peer.expect_quiet(secs(1)).await;
    });
}

#[test]
fn a_subscriber_learns_the_bitrate_that_gets_through_where_the_version_can_say_it() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm().rate(2_000_000), version).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            let wanted = subscriber.session.subscriber();
            let _subscription =
                wanted.subscribe(name("cam/video"), SubscribeOptions::default()).await.unwrap();
            assert_eq!(subscriber.session.peer_bitrate(), None);
            for _ in 0..50 {
                write_group(&live, &[&[1; 30_000]]);
                sim.sleep(ms(100)).await;
            }
            let rate = subscriber.session.peer_bitrate();
            if version.spec().supports(Feature::SessionUpdate) {
                assert!((1_500_000..2_500_000).contains(&rate.unwrap()), "{version}: {rate:?}");
            } else {
                assert_eq!(rate, None, "{version}");
            }
            assert_eq!(publisher.session.peer_bitrate(), None, "who sends nothing has no estimate");
        });
    }
}

#[test]
fn an_applications_bitrate_is_told_at_most_once_a_second() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (publisher, session) = (side.session.publisher(), peer.session());
        for bits in [1_000_000, 1_050_000, 3_000_000, 2_000_000] {
            publisher.set_bitrate(Some(bits)).await;
        }
        assert_eq!(session.expect::<SessionUpdate>().await.bitrate, 1_000_000);
        session.expect_quiet(ms(900)).await;
        assert_eq!(session.expect::<SessionUpdate>().await.bitrate, 2_000_000);
        publisher.set_bitrate(Some(2_100_000)).await;
        session.expect_quiet(secs(60)).await;
        publisher.set_bitrate(None).await;
        let measured = session.expect::<SessionUpdate>().await.bitrate;
        assert!(measured < 1_000_000, "the connection's own, that hardly sent anything: {measured}");
        session.expect_quiet(secs(60)).await;
    });
}

#[test]
fn no_bitrate_is_told_to_peers_that_would_misread_it() {
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, version).await;
            let live = track("cam/video");
            let _published = side.tracks.publish(live.consume()).unwrap();
            let mut stream = peer.request(StreamKind::Subscribe, &wish(0, "cam/video")).await;
            stream.expect::<Info>().await;
            side.session.publisher().set_bitrate(Some(2_500_000)).await;
            for _ in 0..30 {
                write_group(&live, &[&[1; 30_000]]);
                sim.sleep(ms(100)).await;
            }
            peer.session().expect_quiet(secs(5)).await;
        });
    }
}
