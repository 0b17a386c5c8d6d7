//! The end of a session: in every way, from each side, with everything that waits told why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::*;
use moqt_session::{
    Announced, GroupError, Reason, RequestError, SessionError, SubscribeOptions, SubscribeUpdate, TrackError,
    TrackProducer,
};
use moqt_sim::{
    Sim, for_each_seed,
    script::{Peer, PeerStream},
};
use moqt_transport::Code;
use moqt_wire::{
    GroupOrder, Priority, Version,
    transfork::{Group, Info, InfoPlease, SessionUpdate, StreamKind, Subscribe, code},
};
use tokio::task::JoinHandle;

/// Everything that can wait on a session, waiting.
struct Waiting {
    closed: JoinHandle<SessionError>,
    track: JoinHandle<TrackError>,
    group: JoinHandle<GroupError>,
    names: JoinHandle<()>,
    requests: Vec<JoinHandle<RequestError>>,
    subscription: moqt_session::Subscription,
    live: TrackProducer,
    _published: moqt_session::Published,
}

/// The script's ends of it all.
struct Script {
    peer: Peer,
    _streams: Vec<PeerStream>,
}

/// Brings a session into the middle of everything. With `handles`, its handles are held by waiting requests.
async fn busy(sim: &Sim, side: &Side, mut peer: Peer, handles: bool) -> (Waiting, Script) {
    let mut streams = Vec::new();
    // Publishing, with a group that runs.
    let live = track("our/track");
    let published = side.tracks.publish(live.consume()).unwrap();
    let mut asked = peer.request(StreamKind::Subscribe, &wish(0, "our/track")).await;
    asked.expect::<Info>().await;
    let running = live.append_group();
    let (group, _) = peer.serve::<Group>(StreamKind::Group).await;
    std::mem::forget(running);
    streams.extend([asked, group]);
    // Subscribed, in the middle of a frame.
    let (subscription, stream, wish) = subscribed(side, &mut peer, SubscribeOptions::default()).await;
    let mut theirs = peer.group(&header(wish.id.0, 0)).await;
    theirs.send_frame(&b"whole"[..]).await;
    theirs.send_raw(&b"\x0ahalf"[..]).await;
    let mut reader = subscription.track();
    let mut half = reader.next_group().await.unwrap().unwrap();
    assert_eq!(half.read_frame().await.unwrap().unwrap(), "whole");
    streams.extend([stream, theirs]);
    // Watching.
    let (mut watch, mut stream) = watching(side, &mut peer, "").await;
    stream.send(&active("a")).await;
    assert_eq!(watch.next().await, Some(Announced::Active(namespace("a"))));
    streams.push(stream);
    // Asking.
    let mut requests = Vec::new();
    if handles {
        let wanted = side.session.subscriber();
        requests.push(sim.spawn(async move {
            wanted.subscribe(name("their/track"), SubscribeOptions::default()).await.unwrap_err()
        }));
        let (stream, _) = peer.serve::<Subscribe>(StreamKind::Subscribe).await;
        streams.push(stream);
        let wanted = side.session.subscriber();
        requests.push(sim.spawn(async move { wanted.info(name("their/track")).await.unwrap_err() }));
        let (stream, _) = peer.serve::<InfoPlease>(StreamKind::Info).await;
        streams.push(stream);
    }
    let session = side.session.clone();
    let waiting = Waiting {
        closed: if handles {
            sim.spawn(async move { session.closed().await })
        } else {
            sim.spawn(std::future::ready(SessionError::LocallyClosed))
        },
        track: sim.spawn(async move { reader.next_group().await.unwrap_err() }),
        group: sim.spawn(async move { half.read_frame().await.unwrap_err() }),
        names: sim.spawn(async move { while watch.next().await.is_some() {} }),
        requests,
        subscription,
        live,
        _published: published,
    };
    sim.sleep(ms(200)).await;
    (waiting, Script { peer, _streams: streams })
}

impl Waiting {
    /// Waits until everything has heard, and checks that it was this.
    async fn all_hear(self, patience: Duration, expected: impl Fn(&SessionError) -> bool) {
        let all = async {
            let error = self.closed.await.unwrap();
            assert!(expected(&error), "closed: {error:?}");
            let error = self.track.await.unwrap();
            assert!(matches!(&error, TrackError::Session(why) if expected(why)), "track: {error:?}");
            let error = self.group.await.unwrap();
            assert!(matches!(error, GroupError::Reset(_)), "group: {error:?}");
            self.names.await.unwrap();
            for request in self.requests {
                let error = request.await.unwrap();
                assert!(matches!(&error, RequestError::Session(why) if expected(why)), "request: {error:?}");
            }
            let update = SubscribeUpdate {
                priority: Priority(1),
                order: GroupOrder::Default,
                max_age: None,
                first: None,
                last: None,
            };
            let error = self.subscription.update(update).await.unwrap_err();
            assert!(matches!(&error, RequestError::Session(why) if expected(why)), "update: {error:?}");
            // The one that is published.
            while self.live.readers() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(patience, all).await.expect("not everything has heard");
    }
}

/// The session under test as either side, and a scripted peer.
async fn both(sim: &Sim, server: bool, version: Version) -> (Side, Peer) {
    if server { against_client(sim, version).await } else { against_server(sim, version).await }
}

type Way = fn(&mut Script);
type Expected = fn(&SessionError) -> bool;

#[test]
fn whatever_the_peer_does_to_end_the_session_everything_hears_of_it() {
    let cancelled: Expected = |error| matches!(error, SessionError::Closed { reason: Reason::Cancelled, .. });
    let going: Expected = |error| matches!(error, SessionError::Closed { reason: Reason::GoingAway, .. });
    let ways: [(&str, Way, Expected, Duration); 7] = [
        ("finishes the session stream", |script| script.peer.session().finish(), cancelled, secs(1)),
        ("resets the session stream", |script| script.peer.session().reset(code::GOING_AWAY), going, secs(1)),
        ("stops the session stream", |script| script.peer.session().stop(code::GOING_AWAY), going, secs(1)),
        (
            "closes",
            |script| script.peer.close(code::UNAUTHORIZED, "your time is up"),
            |error| {
                matches!(error, SessionError::Closed { reason: Reason::Unauthorized, message }
                    if message == "your time is up")
            },
            secs(1),
        ),
        (
            "closes with a code of its own",
            |script| script.peer.close(Code(64 + 4242), ""),
            |error| matches!(error, SessionError::Closed { reason: Reason::App(4242), .. }),
            secs(1),
        ),
        (
            "vanishes",
            |script| script.peer.connection().kill(),
            |error| matches!(error, SessionError::Transport(_)),
            secs(40),
        ),
        (
            "forgets",
            |script| script.peer.connection().forget(),
            |error| matches!(error, SessionError::Transport(_)),
            secs(40),
        ),
    ];
    for (what, way, expected, patience) in ways {
        for server in [true, false] {
            for_each_seed(move |sim| async move {
                let (side, peer) = both(&sim, server, Version::TRANSFORK_04).await;
                let (waiting, mut script) = busy(&sim, &side, peer, true).await;
                way(&mut script);
                waiting.all_hear(patience, expected).await;
                let error = side.session.closed().await;
                assert!(expected(&error), "{what}: {error:?}");
                // And so does everything that is asked later.
                let wanted = side.session.subscriber();
                let late = wanted.subscribe(name("x"), SubscribeOptions::default()).await.unwrap_err();
                assert!(matches!(&late, RequestError::Session(why) if expected(why)), "{what}: {late:?}");
                let late = wanted.announced(namespace("")).await.unwrap_err();
                assert!(matches!(&late, RequestError::Session(why) if expected(why)), "{what}: {late:?}");
                side.session.publisher().flushed().await;
            });
        }
    }
}

#[test]
fn a_session_stream_that_the_peer_ends_closes_the_connection_with_0() {
    for server in [true, false] {
        for_each_seed(move |sim| async move {
            let (_side, mut peer) = both(&sim, server, Version::TRANSFORK_04).await;
            peer.session().finish();
            peer.expect_close(code::CANCEL).await;
        });
    }
}

#[test]
fn closing_tells_everything_and_the_peer() {
    for server in [true, false] {
        for_each_seed(move |sim| async move {
            let (side, peer) = both(&sim, server, Version::TRANSFORK_04).await;
            let (waiting, mut script) = busy(&sim, &side, peer, true).await;
            let session = side.session.clone();
            let closing = sim.spawn(async move { session.close().await });
            script.peer.session().expect_finish().await;
            script.peer.session().finish();
            script.peer.expect_close(code::CANCEL).await;
            assert!(matches!(closing.await.unwrap(), SessionError::LocallyClosed));
            waiting.all_hear(secs(1), |error| matches!(error, SessionError::LocallyClosed)).await;
        });
    }
}

#[test]
fn a_peer_that_does_not_agree_to_a_close_is_left_after_a_second() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let begun = sim.elapsed();
        let (error, ()) = tokio::join!(side.session.close(), peer.session().expect_finish());
        assert!(matches!(error, SessionError::LocallyClosed), "{error:?}");
        assert!((ms(1000)..ms(1100)).contains(&(sim.elapsed() - begun)), "{:?}", sim.elapsed() - begun);
        peer.expect_close(code::CANCEL).await;
        // Again is no different.
        assert!(matches!(side.session.close().await, SessionError::LocallyClosed));
    });
}

#[test]
fn dropping_the_last_handle_closes_and_readers_of_tracks_hold_none() {
    for server in [true, false] {
        for_each_seed(move |sim| async move {
            let (side, peer) = both(&sim, server, Version::TRANSFORK_04).await;
            let (waiting, mut script) = busy(&sim, &side, peer, false).await;
            let clone = side.session.clone();
            drop(side);
            sim.sleep(secs(1)).await;
            drop(clone);
            script.peer.session().expect::<SessionUpdate>().await;
            script.peer.session().expect_finish().await;
            script.peer.expect_close(code::CANCEL).await;
            waiting.all_hear(secs(1), |error| matches!(error, SessionError::LocallyClosed)).await;
        });
    }
}

#[test]
fn a_pair_of_sessions_ends_together_with_0() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (near, far) = sim.connect(calm());
            let watched = [near.clone(), far.clone()];
            let (client, server) = pair(near, far, version).await;
            let live = track("cam/video");
            let _published = server.tracks.publish(live.consume()).unwrap();
            let wanted = client.session.subscriber();
            let options = SubscribeOptions::default();
            let mut track = wanted.subscribe(name("cam/video"), options).await.unwrap().into_track();
            let error = server.session.close().await;
            assert!(matches!(error, SessionError::LocallyClosed), "{error:?}");
            let error = client.session.closed().await;
            assert!(matches!(error, SessionError::Closed { reason: Reason::Cancelled, .. }), "{error:?}");
            assert!(matches!(track.next_group().await, Err(TrackError::Session(_))));
            assert_eq!(live.readers(), 1);
            for connection in watched {
                moqt_transport::Connection::closed(&connection).await;
            }
        });
    }
}

#[test]
fn what_was_flushed_before_the_close_arrives() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm().loss(0.2), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let wanted = subscriber.session.subscriber();
        let options = SubscribeOptions::default();
        let mut track = wanted.subscribe(name("cam/video"), options).await.unwrap().into_track();
        write_group(&live, &[&[7; 100_000]]);
        live.readers_above(1).await;
        sim.sleep(ms(1)).await;
        publisher.session.publisher().flushed().await;
        publisher.session.close().await;
        let mut group = track.next_group().await.unwrap().unwrap();
        assert_eq!(frames_of(&mut group).await, (vec![Bytes::from(vec![7; 100_000])], Ok(())));
    });
}

#[test]
fn a_session_that_is_idle_for_long_lives() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let (client, server) = pair(near, far, Version::TRANSFORK_04).await;
        sim.sleep(secs(1000)).await;
        assert!(tokio::time::timeout(ms(1), client.session.closed()).await.is_err());
        assert!(tokio::time::timeout(ms(1), server.session.closed()).await.is_err());
    });
}
