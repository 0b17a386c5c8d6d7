//! Watching names: what is there, what comes and goes, and publishers that announce against the rules.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use moqt_session::{
    AnnounceConsumer, AnnounceProducer, Announced, Handshake, InfoRequest, Interest, Origin, Reason,
    RequestError, TrackRequest,
};
use moqt_sim::{for_each_seed, script::Peer};
use moqt_wire::{
    Version,
    transfork::{Announce, AnnounceStatus, StreamKind, code},
};

/// What the watcher is told, up to "caught up".
async fn initial(watch: &mut AnnounceConsumer) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match watch.next().await.unwrap() {
            Announced::Active(name) => names.push(name.to_string()),
            Announced::CaughtUp => return names,
            Announced::Ended(name) => panic!("{name} ended before the beginning was over"),
        }
    }
}

fn up(text: &str) -> Option<Announced> {
    Some(Announced::Active(namespace(text)))
}

fn down(text: &str) -> Option<Announced> {
    Some(Announced::Ended(namespace(text)))
}

#[test]
fn a_watcher_hears_what_is_there_and_then_what_comes_and_goes() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm(), version).await;
            let publish = |text: &str| publisher.tracks.publish(track(text).consume()).unwrap();
            let (alice, bob) = (publish("meeting/alice"), publish("meeting/bob"));
            let wanted = subscriber.session.subscriber();
            let mut watch = wanted.announced(namespace("meeting")).await.unwrap();
            assert_eq!(initial(&mut watch).await, ["meeting/alice", "meeting/bob"], "{version}");

            let carol = publish("meeting/carol");
            assert_eq!(watch.next().await, up("meeting/carol"));
            drop(alice);
            assert_eq!(watch.next().await, down("meeting/alice"));
            let _alice = publish("meeting/alice");
            assert_eq!(watch.next().await, up("meeting/alice"));
            // Gone and back between two looks is two events.
            drop(bob);
            let _bob = publish("meeting/bob");
            assert_eq!(watch.next().await, down("meeting/bob"));
            assert_eq!(watch.next().await, up("meeting/bob"));
            // What came and went unseen is none.
            sim.sleep(ms(200)).await;
            drop(publish("meeting/dave"));
            drop(carol);
            assert_eq!(watch.next().await, down("meeting/carol"));
        });
    }
}

#[test]
fn a_prefix_is_compared_part_by_part() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm(), version).await;
            let names =
                ["meet", "meeting", "meeting/1234", "meeting-1234", "meeting-1234/x", "other/meeting"];
            let _published = names.map(|text| publisher.tracks.publish(track(text).consume()).unwrap());
            let wanted = subscriber.session.subscriber();
            // The deployed crate's patterns know no parts, and say more than is wanted.
            let below: &[&str] = &["meeting", "meeting/1234"];
            for (prefix, expected) in [("meeting", below), ("", &names), ("nobody", &[])] {
                let mut watch = wanted.announced(namespace(prefix)).await.unwrap();
                assert_eq!(initial(&mut watch).await, expected, "{version} {prefix}");
            }
        });
    }
}

#[test]
fn watches_with_overlapping_prefixes_each_hear_everything() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let wanted = subscriber.session.subscriber();
        let mut watches = Vec::new();
        for prefix in ["", "a", "a", "a/b"] {
            let mut watch = wanted.announced(namespace(prefix)).await.unwrap();
            assert!(initial(&mut watch).await.is_empty());
            watches.push(watch);
        }
        let published = publisher.tracks.publish(track("a/b/c").consume()).unwrap();
        for watch in &mut watches {
            assert_eq!(watch.next().await, up("a/b/c"));
        }
        // One that leaves takes nothing from the others.
        drop(watches.remove(1));
        drop(published);
        for watch in &mut watches {
            assert_eq!(watch.next().await, down("a/b/c"));
        }
    });
}

#[test]
fn a_publisher_that_ends_the_stream_ends_every_name_and_the_watch() {
    for reset in [false, true] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
            let (mut watch, mut stream) = watching(&side, &mut peer, "a").await;
            for suffix in ["x", "y"] {
                stream.send(&active(suffix)).await;
            }
            stream.send(&caught_up()).await;
            assert_eq!(initial(&mut watch).await, ["a/x", "a/y"]);
            if reset {
                stream.reset(code::UNAUTHORIZED);
                stream.expect_reset(code::CANCEL).await;
            } else {
                stream.finish();
                stream.expect_finish().await;
            }
            assert_eq!(watch.next().await, down("a/x"));
            assert_eq!(watch.next().await, down("a/y"));
            assert_eq!(watch.next().await, None);
            assert_eq!(watch.next().await, None);
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_watch_refused_at_once_just_ends() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_server(&sim, Version::TRANSFORK_04).await;
        let (mut watch, mut stream) = watching(&side, &mut peer, "").await;
        stream.reset(code::UNAUTHORIZED);
        stream.stop(code::UNAUTHORIZED);
        assert_eq!(watch.next().await, None);
        still_answers(&peer).await;
    });
}

#[test]
fn caught_up_is_told_once_and_only_if_the_publisher_says_so() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (mut watch, mut stream) = watching(&side, &mut peer, "").await;
        stream.send(&active("a")).await;
        assert_eq!(watch.next().await, up("a"));
        let waited = tokio::time::timeout(secs(60), watch.next()).await;
        assert!(waited.is_err(), "nothing was said: {waited:?}");
        stream.send(&caught_up()).await;
        stream.send(&caught_up()).await;
        stream.send(&active("b")).await;
        assert_eq!(watch.next().await, Some(Announced::CaughtUp));
        assert_eq!(watch.next().await, up("b"));
    });
}

#[test]
fn dropping_the_watch_resets_and_stops_the_stream() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (watch, mut stream) = watching(&side, &mut peer, "").await;
        stream.send(&active("a")).await;
        drop(watch);
        stream.expect_reset(code::CANCEL).await;
        stream.expect_stop(code::CANCEL).await;
        still_answers(&peer).await;
    });
}

#[test]
fn however_a_watcher_leaves_it_is_forgotten() {
    type Leaves = fn(&mut moqt_sim::script::PeerStream);
    let leaves: [Leaves; 3] =
        [|stream| stream.finish(), |stream| stream.reset(code::CANCEL), |stream| stream.stop(code::CANCEL)];
    for (number, leave) in leaves.into_iter().enumerate() {
        for_each_seed(move |sim| async move {
            let (near, far) = sim.connect(calm());
            let (peer, session) = tokio::join!(
                Peer::client(near).handshake(Version::TRANSFORK_04),
                Handshake::accept(far, config(Version::TRANSFORK_04))
            );
            let origin = Arc::new(Silent::default());
            let _session = session.unwrap().start(origin.clone());
            let mut stream = peer.request(StreamKind::Announce, &please("")).await;
            assert_eq!(stream.expect::<Announce>().await, caught_up());
            leave(&mut stream);
            if number == 0 {
                stream.expect_finish().await;
            } else if number == 1 {
                stream.expect_reset(code::CANCEL).await;
            }
            tokio::time::timeout(secs(1), origin.names.unused()).await.unwrap();
            peer.expect_quiet(secs(1)).await;
        });
    }
}

/// Lends its names out until it ends.
#[derive(Debug)]
struct Ending(Mutex<Option<AnnounceProducer>>);

impl Origin for Ending {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.0.lock().unwrap().as_ref().unwrap().watch(interest)
    }

    fn track(&self, _: TrackRequest) {}

    fn info(&self, _: InfoRequest) {}
}

#[test]
fn an_origin_whose_names_end_finishes_the_stream_after_telling_all_of_them() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let (peer, session) = tokio::join!(
            Peer::client(near).handshake(Version::TRANSFORK_04),
            Handshake::accept(far, config(Version::TRANSFORK_04))
        );
        let names = AnnounceProducer::new();
        let origin = Arc::new(Ending(Mutex::new(Some(names.clone()))));
        let _session = session.unwrap().start(origin.clone());
        let mut stream = peer.request(StreamKind::Announce, &please("")).await;
        assert_eq!(stream.expect::<Announce>().await, caught_up());
        names.insert(namespace("a"));
        names.insert(namespace("b"));
        drop(names);
        drop(origin.0.lock().unwrap().take());
        assert_eq!(stream.expect::<Announce>().await, active("a"));
        assert_eq!(stream.expect::<Announce>().await, active("b"));
        stream.expect_finish().await;
    });
}

#[test]
fn an_announcement_against_the_rules_ends_the_watch_with_its_code_and_nothing_else() {
    let prefix = &["p"; 20].join("/");
    let parts = |count: usize| ["s"].repeat(count).join("/");
    let bytes = |count: usize| "x".repeat(count);
    let said = |status, suffix: &str| Announce { status, suffix: Some(namespace(suffix)) };
    let table = [
        (active("a"), code::DUPLICATE),
        (said(AnnounceStatus::ENDED, "b"), code::NOT_FOUND),
        (active(&parts(13)), code::DECODE),
        (active(&bytes(1004)), code::DECODE),
    ];
    for (wrong, code) in table {
        for_each_seed(|sim| {
            let (prefix, wrong, parts, bytes) = (prefix.clone(), wrong.clone(), parts(12), bytes(1003));
            async move {
                let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
                let (mut watch, mut stream) = watching(&side, &mut peer, &prefix).await;
                // The most that is allowed.
                for most in [&parts, &bytes] {
                    stream.send(&active(most)).await;
                    assert_eq!(watch.next().await, up(&format!("{prefix}/{most}")));
                    stream.send(&ended(most)).await;
                    assert_eq!(watch.next().await, down(&format!("{prefix}/{most}")));
                }
                stream.send(&active("a")).await;
                assert_eq!(watch.next().await, up(&format!("{prefix}/a")));
                stream.send(&wrong).await;
                stream.expect_reset(code).await;
                stream.expect_stop(code).await;
                assert_eq!(watch.next().await, down(&format!("{prefix}/a")));
                assert_eq!(watch.next().await, None);
                still_answers(&peer).await;
                // Another watch starts afresh.
                let (mut watch, mut stream) = watching(&side, &mut peer, &prefix).await;
                stream.send(&active("a")).await;
                assert_eq!(watch.next().await, up(&format!("{prefix}/a")));
            }
        });
    }
}

#[test]
fn an_unknown_status_or_half_an_announcement_ends_the_watch_with_5() {
    for (wrong, finish) in [(&b"\x03"[..], false), (b"\x40\x03", false), (b"\x01\x02\x01a", true)] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
            let (mut watch, mut stream) = watching(&side, &mut peer, "").await;
            stream.send_raw(wrong).await;
            if finish {
                stream.finish();
            }
            stream.expect_reset(code::DECODE).await;
            assert_eq!(watch.next().await, None);
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_prefix_is_said_as_a_pattern_to_a_deployed_crate() {
    for (prefix, pattern) in [("", &b""[..]), ("meeting", b"meeting*"), ("meeting/1234", b"meeting/1234*")] {
        for_each_seed(move |sim| async move {
            let (side, peer) = against_server(&sim, Version::TRANSFORK_04_RS12).await;
            let wanted = side.session.subscriber();
            let (watch, mut stream) = tokio::join!(wanted.announced(namespace(prefix)), peer.accept_bi());
            let mut watch = watch.unwrap();
            let expected = [&[1, pattern.len() as u8][..], pattern].concat();
            assert_eq!(stream.expect_raw(expected.len()).await, expected);
            // Active with a capture, live.
            let (capture, full) = match prefix {
                "" => (&b"bob/video"[..], "bob/video".to_owned()),
                _ => (&b"/bob/video"[..], format!("{prefix}/bob/video")),
            };
            stream.send_raw([&[1, capture.len() as u8][..], capture, &[2]].concat()).await;
            assert_eq!(initial(&mut watch).await, [full]);
        });
    }
}

#[test]
fn a_pattern_of_a_deployed_crate_is_answered_with_what_it_captures() {
    let table: [(&str, &[&str]); 7] = [
        ("", &["meeting/1/alice", "meeting/1/bob", "meeting/alice", "meeting-2/1/alice"]),
        ("*", &["meeting/1/alice", "meeting/1/bob", "meeting/alice", "meeting-2/1/alice"]),
        ("meeting/*", &["1/alice", "1/bob", "alice"]),
        ("meeting*", &["/1/alice", "/1/bob", "/alice", "-2/1/alice"]),
        ("*/alice", &["meeting/1", "meeting", "meeting-2/1"]),
        ("meeting/*/alice", &["1"]),
        ("meeting/1/bob", &[""]),
    ];
    for (pattern, captures) in table {
        for_each_seed(move |sim| async move {
            let (side, peer) = against_client(&sim, Version::TRANSFORK_04_RS12).await;
            let _published = ["meeting/1/alice", "meeting/1/bob", "meeting-2/1/alice", "meeting/alice"]
                .map(|text| side.tracks.publish(track(text).consume()).unwrap());
            let mut stream = peer.open(StreamKind::Announce).await;
            stream.send_raw([&[pattern.len() as u8], pattern.as_bytes()].concat()).await;
            for capture in captures {
                let said = [&[1, capture.len() as u8], capture.as_bytes()].concat();
                assert_eq!(stream.expect_raw(said.len()).await, said, "{pattern}");
            }
            assert_eq!(stream.expect_raw(1).await, &[2][..]);
            stream.expect_quiet(secs(1)).await;
        });
    }
}

#[test]
fn a_name_that_the_version_cannot_say_is_left_out_and_cannot_be_watched() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04_RS12).await;
        let _published = ["a%2Fb/x", "%ff/x", "fine/x"]
            .map(|text| publisher.tracks.publish(track(text).consume()).unwrap());
        let wanted = subscriber.session.subscriber();
        let mut watch = wanted.announced(namespace("")).await.unwrap();
        assert_eq!(initial(&mut watch).await, ["fine/x"]);
        for prefix in ["a%2Fb", "a*"] {
            let error = wanted.announced(namespace(prefix)).await.unwrap_err();
            assert!(matches!(error, RequestError::Encode(_)), "{error:?}");
        }
        assert!(wanted.announced(namespace("fine")).await.is_ok());
    });
}

#[test]
fn a_watch_knows_why_it_ended() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_server(&sim, Version::TRANSFORK_04).await;
        let (mut watch, mut stream) = watching(&side, &mut peer, "room").await;
        assert!(watch.ended_with().is_none());
        stream.reset(code::UNAUTHORIZED);
        assert_eq!(watch.next().await, None);
        let error = watch.ended_with().unwrap();
        assert!(matches!(error, RequestError::Refused(Reason::Unauthorized)), "{error:?}");

        let (mut watch, mut stream) = watching(&side, &mut peer, "room").await;
        stream.send(&active("a")).await;
        stream.send(&active("a")).await;
        while watch.next().await.is_some() {}
        assert!(matches!(watch.ended_with(), Some(RequestError::Peer(_))));

        let (mut watch, mut stream) = watching(&side, &mut peer, "room").await;
        stream.finish();
        assert_eq!(watch.next().await, None);
        assert!(watch.ended_with().is_none());

        let (mut watch, _stream) = watching(&side, &mut peer, "room").await;
        side.session.close().await;
        assert_eq!(watch.next().await, None);
        assert!(matches!(watch.ended_with(), Some(RequestError::Session(_))));
    });
}
