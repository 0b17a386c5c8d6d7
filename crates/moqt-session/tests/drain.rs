//! Leaving a session: the signal, who is sent it, and what those see that cannot be told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::*;
use moqt_session::{
    Announced, Drain, Handshake, PeerMisbehaved, Reason, RequestError, Session, SessionError,
    SubscribeOptions, TrackError,
};
use moqt_sim::{Sim, for_each_seed, script::Peer};
use moqt_wire::{
    Version,
    transfork::{
        self as wire, EXT_DRAIN, Extensions, Group, Info, SessionClient, SessionServer, StreamKind, code,
    },
};
use tokio::task::JoinHandle;

const DRAFTS: [Version; 2] = [Version::TRANSFORK_03, Version::TRANSFORK_04];

/// The extensions of a peer that can be asked to move.
fn movable() -> Extensions {
    let mut extensions = marked_04();
    extensions.set(EXT_DRAIN, Bytes::new());
    extensions
}

/// A scripted client of draft 04 with these extensions, and what the server answered to them.
async fn client(sim: &Sim, extensions: Extensions) -> (Side, Peer, SessionServer) {
    let (near, far) = sim.connect(calm());
    let mut peer = Peer::client(near);
    let hello = SessionClient { versions: vec![Version::TRANSFORK_04.spec().code], extensions };
    let config = config(Version::TRANSFORK_04);
    let (answer, session) = tokio::join!(peer.offer(&hello), Handshake::accept(far, config));
    (start(session.unwrap()), peer, answer)
}

/// A scripted server of draft 04 with these extensions, and what the client offered.
async fn server(sim: &Sim, extensions: Extensions) -> (Side, Peer, SessionClient) {
    let (near, far) = sim.connect(calm());
    let mut peer = Peer::server(far);
    let answering = async {
        let offer = peer.expect_offer().await;
        peer.answer(&SessionServer { version: Version::TRANSFORK_04.spec().code, extensions }).await;
        offer
    };
    let (session, offer) = tokio::join!(Handshake::connect(near, config(Version::TRANSFORK_04)), answering);
    (start(session.unwrap()), peer, offer)
}

fn drain(sim: &Sim, session: &Session, url: Option<&str>, patience: u64) -> JoinHandle<SessionError> {
    let (session, url) = (session.clone(), url.map(str::to_owned));
    sim.spawn(async move { session.drain(url, secs(patience)).await.unwrap() })
}

fn url(url: &'static str) -> wire::Drain {
    wire::Drain { url: Bytes::from_static(url.as_bytes()) }
}

#[test]
fn a_client_is_told_where_to_move_and_its_subscription_runs_until_it_goes() {
    for version in DRAFTS {
        for to in [None, Some("moqf://other:4443/room?x=y")] {
            for_each_seed(|sim| async move {
                let (near, far) = connected(&sim, calm(), version).await;
                let live = track("cam");
                let _published = far.tracks.publish(live.consume()).unwrap();
                let wanted = SubscribeOptions { first: Some(0), ..Default::default() };
                let subscription = near.session.subscriber().subscribe(name("cam"), wanted).await.unwrap();
                let mut reader = subscription.into_track();
                write_group(&live, &[b"before"]);
                reader.next_group().await.unwrap().unwrap();

                let gone = drain(&sim, &far.session, to, 30);
                let asked = near.session.draining().await.unwrap();
                assert_eq!(asked.url.as_deref(), to);
                // What runs goes on, what is new is turned away.
                write_group(&live, &[b"after"]);
                let mut group = reader.next_group().await.unwrap().unwrap();
                assert_eq!(group.read_frame().await.unwrap().unwrap(), "after");
                let subscriber = near.session.subscriber();
                let refused = subscriber.subscribe(name("cam"), SubscribeOptions::default()).await;
                assert!(matches!(refused, Err(RequestError::Refused(Reason::GoingAway))), "{refused:?}");
                // The client may take its time, and then goes as it always does.
                sim.sleep(secs(20)).await;
                assert!(!gone.is_finished());
                near.session.close().await;
                let end = gone.await.unwrap();
                assert!(matches!(end, SessionError::Closed { reason: Reason::Cancelled, .. }), "{end:?}");
            });
        }
    }
}

#[test]
fn the_server_opens_one_stream_with_one_url_and_refuses_what_is_new() {
    for_each_seed(|sim| async move {
        let (side, mut peer, answer) = client(&sim, movable()).await;
        assert!(answer.extensions.contains(EXT_DRAIN));
        let _gone = drain(&sim, &side.session, Some("https://b/"), 30);
        let _again = drain(&sim, &side.session, Some("https://c/"), 1);
        let (mut stream, told) = peer.serve::<wire::Drain>(StreamKind::Drain).await;
        assert_eq!(told, url("https://b/"));
        stream.expect_finish().await;
        stream.finish();
        for (id, kind) in [StreamKind::Subscribe, StreamKind::Fetch].into_iter().enumerate() {
            let mut asked = match kind {
                StreamKind::Subscribe => peer.request(kind, &wish(id as u64, "cam")).await,
                _ => peer.open(kind).await,
            };
            asked.expect_reset(code::GOING_AWAY).await;
        }
        // A question costs nothing and is answered.
        still_answers(&peer).await;
        peer.expect_quiet(secs(2)).await;
    });
}

#[test]
fn who_does_not_go_is_closed_at_the_deadline() {
    for_each_seed(|sim| async move {
        let (side, mut peer, _) = client(&sim, movable()).await;
        let begin = sim.elapsed();
        let gone = drain(&sim, &side.session, None, 7);
        let (_stream, told) = peer.serve::<wire::Drain>(StreamKind::Drain).await;
        assert_eq!(told, url(""));
        assert!(matches!(gone.await.unwrap(), SessionError::LocallyClosed));
        assert_eq!((sim.elapsed() - begin).as_secs(), 7);
        peer.expect_close(code::GOING_AWAY).await;
    });
}

#[test]
fn a_client_without_the_extension_never_sees_the_stream() {
    for_each_seed(|sim| async move {
        let (side, mut peer, _) = client(&sim, marked_04()).await;
        let live = track("cam");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut watch = peer.request(StreamKind::Announce, &please("")).await;
        assert_eq!(watch.expect::<wire::Announce>().await, active("cam"));
        assert_eq!(watch.expect::<wire::Announce>().await, caught_up());
        let mut asked = peer.request(StreamKind::Subscribe, &wish(0, "cam")).await;
        asked.expect::<Info>().await;
        let mut running = live.append_group();
        running.write_frame(Bytes::from_static(b"first")).unwrap();
        let (mut group, _) = peer.serve::<Group>(StreamKind::Group).await;
        assert_eq!(group.expect_frame().await, "first");

        let gone = drain(&sim, &side.session, Some("https://elsewhere/"), 30);
        // Every name ends, and so does the watch.
        assert_eq!(watch.expect::<wire::Announce>().await, ended("cam"));
        watch.expect_finish().await;
        watch.finish();
        let mut late = peer.request(StreamKind::Subscribe, &wish(1, "cam")).await;
        late.expect_reset(code::GOING_AWAY).await;
        // A watch that comes now has nothing to tell of.
        let mut late = peer.request(StreamKind::Announce, &please("")).await;
        assert_eq!(late.expect::<wire::Announce>().await, caught_up());
        late.expect_finish().await;
        late.finish();
        // The group that has begun comes whole; a new one does not begin.
        write_group(&live, &[b"too late"]);
        sim.sleep(secs(3)).await;
        assert!(!gone.is_finished());
        running.write_frame(Bytes::from_static(b"last")).unwrap();
        running.finish().unwrap();
        assert_eq!(group.expect_frame().await, "last");
        group.expect_finish().await;
        asked.expect_reset(code::GOING_AWAY).await;
        peer.session().expect_reset(code::GOING_AWAY).await;
        gone.await.unwrap();
        peer.expect_close(code::GOING_AWAY).await;
    });
}

#[test]
fn a_group_that_never_ends_does_not_hold_the_session_beyond_the_deadline() {
    for version in VERSIONS {
        for_each_seed(|sim| async move {
            let (side, mut peer) = against_client(&sim, version).await;
            let live = track("cam");
            let _published = side.tracks.publish(live.consume()).unwrap();
            let mut asked = peer.request(StreamKind::Subscribe, &wish(0, "cam")).await;
            asked.expect::<Info>().await;
            let _running = live.append_group();
            let _group = peer.serve::<Group>(StreamKind::Group).await;
            let begin = sim.elapsed();
            let gone = drain(&sim, &side.session, None, 5);
            assert!(matches!(gone.await.unwrap(), SessionError::LocallyClosed));
            assert_eq!((sim.elapsed() - begin).as_secs(), 5, "{version}");
            peer.expect_close(code::GOING_AWAY).await;
        });
    }
}

#[test]
fn a_client_that_leaves_withdraws_what_it_published() {
    for version in VERSIONS {
        for_each_seed(|sim| async move {
            let (near, far) = connected(&sim, calm(), version).await;
            let live = track("cam");
            let _published = near.tracks.publish(live.consume()).unwrap();
            let mut watch = far.session.subscriber().announced(namespace("")).await.unwrap();
            assert_eq!(watch.next().await, Some(Announced::Active(namespace("cam"))));
            assert_eq!(watch.next().await, Some(Announced::CaughtUp));
            let wanted = SubscribeOptions::default();
            let subscription = far.session.subscriber().subscribe(name("cam"), wanted).await.unwrap();
            let mut reader = subscription.into_track();
            let mut running = live.append_group();
            running.write_frame(Bytes::from_static(b"first")).unwrap();
            let mut group = reader.next_group().await.unwrap().unwrap();
            let gone = drain(&sim, &near.session, None, 30);
            assert_eq!(watch.next().await, Some(Announced::Ended(namespace("cam"))));
            running.write_frame(Bytes::from_static(b"last")).unwrap();
            running.finish().unwrap();
            assert_eq!(group.read_frame().await.unwrap().unwrap(), "first");
            assert_eq!(group.read_frame().await.unwrap().unwrap(), "last");
            assert_eq!(group.read_frame().await.unwrap(), None);
            let error = reader.next_group().await.unwrap_err();
            assert!(matches!(error, TrackError::Ended(Reason::GoingAway)), "{version}: {error:?}");
            let end = far.session.closed().await;
            assert!(
                matches!(end, SessionError::Closed { reason: Reason::GoingAway, .. }),
                "{version}: {end:?}"
            );
            let begin = sim.elapsed();
            gone.await.unwrap();
            assert!((sim.elapsed() - begin) < secs(2), "{version}: {:?}", (sim.elapsed() - begin));
        });
    }
}

#[test]
fn an_idle_session_that_cannot_be_told_is_left_at_once() {
    for_each_seed(|sim| async move {
        let (side, mut peer, _) = client(&sim, marked_04()).await;
        let gone = drain(&sim, &side.session, None, 30);
        peer.session().expect_reset(code::GOING_AWAY).await;
        let begin = sim.elapsed();
        gone.await.unwrap();
        assert!((sim.elapsed() - begin) < secs(2));
    });
}

#[test]
fn the_extension_is_offered_by_drafts_and_not_where_a_deployed_peer_is_meant() {
    for_each_seed(|sim| async move {
        let (_side, _peer, offer) = server(&sim, movable()).await;
        assert_eq!(offer.extensions.bytes(EXT_DRAIN), Some(&Bytes::new()));
        for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
            let (near, far) = sim.connect(calm());
            let mut peer = Peer::server(far);
            let code = Version::TRANSFORK_04.spec().code;
            let answering = async {
                let offer = peer.expect_offer().await;
                assert!(!offer.extensions.contains(EXT_DRAIN), "{version}");
                peer.answer(&SessionServer { version: code, extensions: Extensions::new() }).await;
            };
            let (session, ()) = tokio::join!(Handshake::connect(near, config(version)), answering);
            session.unwrap();
        }
    });
}

#[test]
fn without_agreement_the_stream_is_of_an_unknown_type() {
    for_each_seed(|sim| async move {
        let (side, peer, _) = server(&sim, marked_04()).await;
        let _stream = peer.request(StreamKind::Drain, &url("https://evil/")).await;
        peer.expect_close(code::UNEXPECTED_STREAM).await;
        let end = side.session.draining().await.unwrap_err();
        let rule = PeerMisbehaved::UnknownStreamType(0x0f05);
        assert!(matches!(&end, SessionError::Peer(broken) if *broken == rule), "{end:?}");
    });
}

#[test]
fn a_client_must_not_ask_the_server_to_move() {
    for_each_seed(|sim| async move {
        let (side, peer, _) = client(&sim, movable()).await;
        let _stream = peer.request(StreamKind::Drain, &url("https://evil/")).await;
        let end = side.session.closed().await;
        assert!(matches!(end, SessionError::Peer(PeerMisbehaved::UnexpectedDrain)), "{end:?}");
        peer.expect_close(code::UNEXPECTED_STREAM).await;
    });
}

#[test]
fn a_second_wish_to_move_breaks_the_rules() {
    for_each_seed(|sim| async move {
        let (side, peer, _) = server(&sim, movable()).await;
        let mut stream = peer.request(StreamKind::Drain, &url("https://b/")).await;
        stream.finish();
        let asked = side.session.draining().await.unwrap();
        assert_eq!(asked.url.as_deref(), Some("https://b/"));
        assert_ne!(asked, Drain::default());
        stream.expect_finish().await;
        let _second = peer.request(StreamKind::Drain, &url("https://c/")).await;
        let end = side.session.closed().await;
        assert!(matches!(end, SessionError::Peer(PeerMisbehaved::UnexpectedDrain)), "{end:?}");
        peer.expect_close(code::UNEXPECTED_STREAM).await;
    });
}

#[test]
fn a_wish_to_move_that_is_cut_short_or_is_no_text_ends_its_stream_alone() {
    for_each_seed(|sim| async move {
        for bad in [&b"\x05http"[..], b"\x02\xff\xfe", b"\x01ab", b""] {
            let (side, peer, _) = server(&sim, movable()).await;
            let mut stream = peer.open(StreamKind::Drain).await;
            stream.send_raw(bad).await;
            stream.finish();
            if bad != b"\x01ab" {
                // Where the URL itself is whole, it was already told.
                stream.expect_reset(code::DECODE).await;
            }
            still_answers(&peer).await;
            drop(side);
        }
    });
}

#[test]
fn a_url_that_cannot_be_said_is_the_callers_error_and_changes_nothing() {
    for_each_seed(|sim| async move {
        let (side, peer, _) = client(&sim, movable()).await;
        let long = "x".repeat(1 << 24);
        let error = side.session.drain(Some(long), secs(1)).await.unwrap_err();
        assert!(matches!(error, RequestError::Encode(_)), "{error:?}");
        sim.sleep(secs(2)).await;
        still_answers(&peer).await;
    });
}
