//! Names, scopes and ends: who sees whom, and what is left when somebody goes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use common::*;
use moqt::{Announced, Namespace, Reason, RequestError, TrackError, TrackEvent, Version};
use moqt_relay::Listen;
use moqt_relay::Redundancy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_forwarded_below_the_prefix_that_is_watched() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let _tracks = ["meeting/1234/alice", "meeting", "meeting-1234/bob", "other/meeting"]
            .map(|name| publisher.publish(name));
        for scheme in SCHEMES {
            let watcher = relay.connect(scheme).await;
            watcher.sees("other/meeting").await;
            let prefix: Namespace = "meeting".parse().unwrap();
            let mut names = watcher.session.subscriber().announced(prefix).await.unwrap();
            assert_eq!(names.next().await.unwrap(), active("meeting"));
            assert_eq!(names.next().await.unwrap(), active("meeting/1234/alice"));
            assert_eq!(names.next().await.unwrap(), Announced::CaughtUp);
            let later = publisher.publish("meeting/5678/carol");
            assert_eq!(names.next().await.unwrap(), active("meeting/5678/carol"));
            drop(later);
            assert_eq!(names.next().await.unwrap(), ended("meeting/5678/carol"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_told_of_its_own_names() {
    bounded(async {
        let relay = TestRelay::start();
        let peer = relay.connect("moqf").await;
        let (cam, _published) = peer.publish("cam");
        let mut track = peer.subscribe("cam").await;
        write(cam.append_group(), &[b"x"]);
        assert_eq!(read(&mut track).await, (0, vec!["x".into()]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_publisher_dies_its_track_ends_and_a_new_one_of_the_name_is_served() {
    bounded(async {
        for scheme in SCHEMES {
            let relay = TestRelay::start();
            let subscriber = relay.connect("moqf").await;
            let mut names = subscriber.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
            assert_eq!(names.next().await.unwrap(), Announced::CaughtUp);

            let publisher = relay.connect(scheme).await;
            let (cam, _published) = publisher.publish("cam");
            assert_eq!(names.next().await.unwrap(), active("cam"));
            let mut track = subscriber.try_subscribe("cam").await.unwrap();
            let mut group = cam.append_group();
            group.write_frame("x").unwrap();
            let mut incoming = track.next_group().await.unwrap().unwrap();
            assert_eq!(incoming.read_frame().await.unwrap().unwrap(), "x");
            publisher.vanish();
            // What was under way is cut off, not taken for complete.
            incoming.read_frame().await.unwrap_err();
            let error = track.next_group().await.unwrap_err();
            assert!(matches!(error, TrackError::Ended(_)), "{error:?}");
            assert_eq!(names.next().await.unwrap(), ended("cam"));
            assert_eq!(refused(subscriber.try_subscribe("cam").await), Reason::NotFound);

            let publisher = relay.connect(scheme).await;
            let (cam, _published) = publisher.publish("cam");
            assert_eq!(names.next().await.unwrap(), active("cam"));
            let mut track = subscriber.try_subscribe("cam").await.unwrap();
            write(cam.append_group(), &[b"y"]);
            assert_eq!(read(&mut track).await.1, ["y"]);
        }
    })
    .await;
}

/// One publisher with two sessions, from two sockets; one after the other is given up, with and without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_with_two_sessions_may_drop_either_and_nothing_is_lost_or_doubled_downstream() {
    bounded(async {
        for redundancy in [Redundancy::Best, Redundancy::All] {
            for says_so in [true, false] {
                let mut options = options();
                options.redundancy = redundancy;
                let relay = TestRelay::with(options);
                let subscriber = relay.connect("moqf").await;
                let mut names = subscriber.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
                assert_eq!(names.next().await.unwrap(), Announced::CaughtUp);
                let first = relay.connect("moqf").await;
                let (cam, published) = first.publish("cam");
                assert_eq!(names.next().await.unwrap(), active("cam"));
                let mut track = subscriber.try_subscribe("cam").await.unwrap();
                write(cam.append_group(), &[b"0"]);
                let mut group = cam.append_group();
                group.write_frame("1a").unwrap();

                // The network changes: the same tracks over another session.
                let second = relay.connect("moqf").await;
                let _again = second.tracks.publish(cam.consume()).unwrap();
                let (_mark, _marked) = second.publish("mark");
                assert_eq!(names.next().await.unwrap(), active("mark"));
                // One reader here for each session's announcement, and one for what is asked for by it.
                if redundancy == Redundancy::All {
                    until("the other session is asked, too", || cam.readers() == 4).await;
                }
                if says_so {
                    drop(published);
                    let asked = if redundancy == Redundancy::All { 3 } else { 2 };
                    until("the first session is left", || cam.readers() <= asked).await;
                } else {
                    first.vanish();
                    until("the first session is gone", || relay.counters().sessions == 2).await;
                }
                group.write_frame("1b").unwrap();
                group.finish().unwrap();
                write(cam.append_group(), &[b"2"]);
                cam.finish();
                assert_eq!(read(&mut track).await, (0, vec!["0".into()]));
                assert_eq!(read(&mut track).await, (1, vec!["1a".into(), "1b".into()]));
                assert_eq!(read(&mut track).await, (2, vec!["2".into()]));
                assert!(track.next_group().await.unwrap().is_none());
                // No word about the name meanwhile.
                let (_mark, _marked) = second.publish("last");
                assert_eq!(names.next().await.unwrap(), active("last"));
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_publisher_takes_over_and_the_name_stays_announced() {
    bounded(async {
        let relay = TestRelay::start();
        let subscriber = relay.connect("moqf").await;
        let mut names = subscriber.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
        assert_eq!(names.next().await.unwrap(), Announced::CaughtUp);
        let first = relay.connect("moqf").await;
        let (cam, _published) = first.publish("cam");
        assert_eq!(names.next().await.unwrap(), active("cam"));
        let second = relay.connect("https").await;
        let (spare, _published) = second.publish("cam");
        // Names come in order, so the relay knows the other one by now.
        let (_mark, _marked) = second.publish("mark");
        assert_eq!(names.next().await.unwrap(), active("mark"));

        let mut track = subscriber.try_subscribe("cam").await.unwrap();
        assert_eq!((cam.readers(), spare.readers()), (2, 1));
        for track in [&cam, &spare] {
            write(track.append_group(), &[b"0"]);
        }
        assert_eq!(read(&mut track).await, (0, vec!["0".into()]));
        // The one is cut off in the middle of a group, and the other goes on with it.
        let mut cut = cam.append_group();
        cut.write_frame("1a").unwrap();
        let mut group = track.next_group().await.unwrap().unwrap();
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "1a");
        first.vanish();
        until("the other one is asked", || spare.readers() == 2).await;
        write(spare.append_group(), &[b"1a", b"1b"]);
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "1b");
        assert_eq!(group.read_frame().await.unwrap(), None);
        write(spare.append_group(), &[b"2"]);
        assert_eq!(read(&mut track).await, (2, vec!["2".into()]));
        assert_eq!(relay.counters().switched_total, 1);
        // No word about the name meanwhile: the next one is about another.
        let (_mark, _marked) = second.publish("last");
        assert_eq!(names.next().await.unwrap(), active("last"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_do_not_see_each_other() {
    bounded(async {
        let relay = TestRelay::start();
        for scheme in SCHEMES {
            let rooms = ["/room/1?token=x", "/room/2"];
            let publishers =
                [relay.connect_to(scheme, rooms[0]).await, relay.connect_to(scheme, rooms[1]).await];
            let tracks = [publishers[0].publish("cam"), publishers[1].publish("cam")];
            let only = publishers[0].publish("only/here");

            for (path, track) in [("/room/1/", &tracks[0].0), ("/room/2", &tracks[1].0)] {
                // Another carrier, another spelling, the same scope.
                for scheme in SCHEMES {
                    let peer = relay.connect_to(scheme, path).await;
                    let mut reader = peer.subscribe("cam").await;
                    write(track.append_group(), &[path.as_bytes()]);
                    assert_eq!(read(&mut reader).await.1, [path]);
                }
            }
            let stranger = relay.connect_to(scheme, "/room/2").await;
            let mut names = stranger.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
            assert_eq!(names.next().await.unwrap(), active("cam"));
            assert_eq!(names.next().await.unwrap(), Announced::CaughtUp);
            assert_eq!(refused(stranger.try_subscribe("only/here").await), Reason::NotFound);
            drop(only);
            drop((publishers, stranger));
            until("all have left", || relay.counters().sessions == 0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_name_is_part_of_the_scope_where_that_is_wanted() {
    bounded(async {
        for by_host in [false, true] {
            let mut options = options();
            options.scope_by_host = by_host;
            let relay = TestRelay::with(options);
            for scheme in SCHEMES {
                let by_name = |path: &str| -> moqt::Url {
                    format!("{scheme}://localhost:{}{path}", relay.address().port()).parse().unwrap()
                };
                let publisher = relay.connect_by(relay.client(), by_name("/room")).await;
                let (cam, _published) = publisher.publish("cam");
                let inside = relay.connect_by(relay.client(), by_name("/room/")).await;
                let mut reader = inside.subscribe("cam").await;
                write(cam.append_group(), &[b"seen"]);
                assert_eq!(read(&mut reader).await.1, ["seen"]);

                let by_address = relay.connect_to(scheme, "/room").await;
                match (by_host, by_address.try_subscribe("cam").await) {
                    (false, Ok(_)) => {}
                    (true, result) => assert_eq!(refused(result), Reason::NotFound, "{scheme}"),
                    (false, Err(error)) => panic!("{scheme}: {error}"),
                }
                drop((publisher, inside, by_address));
                until("all have left", || relay.counters().sessions == 0).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_sessions_that_are_over() {
    bounded(async {
        let relay = TestRelay::start();
        for _ in 0..3 {
            let publisher = relay.connect("moqf").await;
            let (_cam, _published) = publisher.publish("cam");
            let subscriber = relay.connect("https").await;
            let _track = subscriber.subscribe("cam").await;
            let counters = relay.counters();
            assert_eq!((counters.sessions, counters.scopes, counters.announced), (2, 1, 1));
            publisher.vanish();
            drop(subscriber);
            until("all is over", || {
                let counters = relay.counters();
                (counters.sessions, counters.scopes, counters.announced, counters.upstream) == (0, 0, 0, 0)
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_all_sessions_and_the_relay() {
    bounded(async {
        let relay = TestRelay::start();
        let peers = [relay.connect("moqf").await, relay.connect("https").await];
        relay.handle.close().await;
        for peer in peers {
            peer.session.closed().await;
        }
        assert_eq!(relay.counters().sessions, 0);
        let (udp, tcp) = (relay.address(), relay.handle.http_addresses()[0]);
        until("the UDP port is free again", || std::net::UdpSocket::bind(udp).is_ok()).await;
        until("the TCP port is free again", || std::net::TcpListener::bind(tcp).is_ok()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_too_many_is_turned_down_until_there_is_room() {
    bounded(async {
        let mut options = options();
        options.limits.sessions = 1;
        let relay = TestRelay::with(options);
        let only = relay.connect("moqf").await;
        until("counted", || relay.counters().sessions == 1).await;
        let client = relay.client();
        if let Ok(session) = client.connect(&relay.url("moqf", "/")).await {
            session.closed().await;
        }
        assert_eq!(relay.counters().sessions, 1);
        only.vanish();
        until("room again", || relay.counters().sessions == 0).await;
        let next = relay.connect("moqf").await;
        let (_cam, _published) = next.publish("cam");
        next.sees("cam").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_listener_can_have_an_encoding_of_its_own() {
    bounded(async {
        let mut options = options();
        let mut listen = Listen::new("127.0.0.1:0".parse().unwrap());
        listen.unmarked_04 = Some(Version::TRANSFORK_04_RS9);
        options.listen.push(listen);
        let relay = TestRelay::with(options);
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");

        let client = relay.client_of(Some(Version::TRANSFORK_04_RS9));
        let url = format!("moqf://{}/", relay.handle.addresses()[1]).parse().unwrap();
        let session = client.connect(&url).await.unwrap();
        assert_eq!(session.version(), Version::TRANSFORK_04_RS9);
        let peer = Peer { client, session, tracks: moqt::Tracks::new() };
        let mut track = peer.subscribe("cam").await;
        write(cam.append_group(), &[b"x"]);
        assert_eq!(read(&mut track).await.1, ["x"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_so_many_sessions_and_others_are_not_kept_out() {
    bounded(async {
        let mut options = options();
        options.limits.sessions_per_address = 2;
        options = options.listen("127.0.0.2:0".parse().unwrap());
        let relay = TestRelay::with(options);
        let first = relay.connect("moqf").await;
        let _second = relay.connect("https").await;
        let mut refused = 0;
        for scheme in SCHEMES {
            let url = relay.url(scheme, "/");
            let Ok(session) = relay.client().connect(&url).await else {
                refused += 1;
                continue;
            };
            let end = session.closed().await;
            assert!(matches!(end, moqt::SessionError::Closed { reason: Reason::TooMany, .. }), "{end:?}");
            refused += 1;
        }
        assert_eq!((refused, relay.counters().refused_total, relay.counters().sessions), (2, 2, 2));
        drop(first);
        until("one is gone", || relay.counters().sessions == 1).await;
        let third = relay.connect("moqf").await;
        assert_eq!(relay.counters().sessions, 2);
        drop(third);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_one_address_share_what_it_may_ask_and_send_in_a_second() {
    bounded(async {
        let mut options = options();
        // Of both, four seconds' worth may come at once, and hardly more comes while the test runs.
        options.limits.requests_per_second_per_address = 5;
        options.limits.payload_bytes_per_second_per_address = 1000;
        let meters = options.session.meters.clone();
        let relay = TestRelay::with(options);
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let peer = relay.connect("https").await;
        let mut track = peer.subscribe("cam").await;
        write(cam.append_group(), &[&[7; 3000]]);
        assert_eq!(read(&mut track).await.1[0].len(), 3000);
        write(cam.append_group(), &[&[7; 100_000]]);
        // The group is stopped, and whoever reads it is told.
        let gap = loop {
            match track.next_event().await.unwrap().expect("the track goes on") {
                TrackEvent::Gap { first, last, reason } => break (first, last, reason),
                TrackEvent::Group(mut group) => while let Ok(Some(_)) = group.read_frame().await {},
            }
        };
        assert_eq!(gap, (1, 1, Reason::TooMany));
        let told = |limit: &str| meters.refused().get(limit).copied().unwrap_or_default();
        assert_eq!(told("payload bytes per second of a source"), 1);
        let other = relay.connect("moqf").await;
        let ask = async |peer: &Peer| {
            let mut refused = 0_u64;
            for _ in 0..200 {
                refused +=
                    u64::from(matches!(peer.info("cam").await, Err(RequestError::Refused(Reason::TooMany))));
            }
            refused
        };
        let (mine, others) = tokio::join!(ask(&peer), ask(&other));
        assert!(mine > 0 && others > 0, "{mine} and {others}");
        assert_eq!(told("requests per second of a source"), mine + others);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_many_are_in_their_handshakes_a_client_has_to_prove_its_address() {
    bounded(async {
        let mut options = options();
        options.limits.unproven_handshakes = 0;
        let relay = TestRelay::with(options);
        for (sessions, scheme) in (1..).zip(SCHEMES) {
            let peer = relay.connect(scheme).await;
            let (_cam, _published) = peer.publish("cam");
            peer.sees("cam").await;
            assert_eq!(relay.counters().retried_total, sessions);
        }

        // Beyond what one address may have, it is turned away.
        let mut options = self::options();
        options.limits.unproven_handshakes = 0;
        options.limits.handshakes_per_address = 0;
        let relay = TestRelay::with(options);
        assert!(relay.client().connect(&relay.url("moqf", "/")).await.is_err());
        assert_eq!(relay.counters().refused_total, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_a_version_cannot_write_is_left_out_there_and_counted() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let deployed = relay.connect_as(relay.client_of(Some(Version::TRANSFORK_04_RS12)), "moqf", "/").await;
        let ours = relay.connect("moqf").await;
        let mut names = deployed.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
        assert_eq!(names.next().await.unwrap(), Announced::CaughtUp);

        let _tracks = ["odd/a%2Fb", "odd/%FF", "plain/x"].map(|name| publisher.publish(name));
        assert_eq!(names.next().await.unwrap(), active("plain/x"));
        ours.sees("odd/a%2Fb").await;
        ours.sees("odd/%FF").await;
        assert_eq!(relay.counters().untold_total, 2);
        // Asked for all the same, they are refused before anything is sent.
        assert!(matches!(deployed.try_subscribe("odd/%FF").await, Err(RequestError::Encode(_))));

        // Who comes later is told no more, and what it misses counts, too.
        let later = relay.connect_as(relay.client_of(Some(Version::TRANSFORK_04_RS12)), "https", "/").await;
        later.sees("plain/x").await;
        assert_eq!(relay.counters().untold_total, 4);
    })
    .await;
}
