//! Fetches: one group for the asking, between two of our own endpoints and against a scripted one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::*;
use moqt_session::{
    Config, FetchOptions, Fetched, GroupError, Handshake, Reason, RequestError, Retention, SubscribeOptions,
    TrackInfo, TrackProducer,
};
use moqt_sim::{Link, Seeds, Settings, for_each_seed, script::Peer};
use moqt_wire::{
    Feature, GroupSequence, Priority, Version,
    transfork::{Fetch, FetchUpdate, StreamKind, code},
};

/// The rows with a fetch.
const WITH_FETCH: [Version; 2] = [Version::TRANSFORK_03, Version::TRANSFORK_04];

fn from(first_frame: u64) -> FetchOptions {
    FetchOptions { first_frame, ..FetchOptions::default() }
}

fn ranked(priority: u8) -> FetchOptions {
    FetchOptions { priority: Priority(priority), ..FetchOptions::default() }
}

async fn fetch(side: &Side, group: u64, options: FetchOptions) -> Fetched {
    side.session.subscriber().fetch(name("cam/video"), group, options).await.unwrap()
}

/// All that a fetch brings.
async fn whole(mut fetched: Fetched) -> (Vec<Bytes>, Result<(), GroupError>) {
    frames_of(fetched.group()).await
}

/// What a scripted peer asks.
fn wanted(group: u64, frame: u64) -> Fetch {
    Fetch { track: name("cam/video"), priority: Priority(128), group: GroupSequence(group), frame }
}

fn reset(reason: Reason) -> Result<(), GroupError> {
    Err(GroupError::Reset(reason))
}

#[test]
fn a_whole_group_is_fetched_without_a_subscription() {
    for version in WITH_FETCH {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm().loss(0.02), version).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            write_group(&live, &[b"hello", b"", b"world!"]);
            write_group(&live, &[b"newer"]);
            let mut fetched = fetch(&subscriber, 0, FetchOptions::default()).await;
            assert_eq!((fetched.group().sequence(), fetched.first_frame()), (0, 0));
            assert_eq!(whole(fetched).await, (vec!["hello".into(), "".into(), "world!".into()], Ok(())));
            // Only the one that is published.
            assert_eq!(live.readers(), 1);
        });
    }
}

#[test]
fn a_group_is_fetched_from_a_frame_on() {
    for version in WITH_FETCH {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm(), version).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            write_group(&live, &[b"a", b"b", b"c"]);
            let fetched = fetch(&subscriber, 0, from(1)).await;
            assert_eq!(fetched.first_frame(), 1);
            assert_eq!(whole(fetched).await, (vec!["b".into(), "c".into()], Ok(())));
        });
    }
}

#[test]
fn behind_the_last_frame_there_is_nothing_and_further_on_it_is_out_of_range() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        write_group(&live, &[b"a", b"b"]);
        write_group(&live, &[]);
        for (group, frame, end) in [
            (0, 2, Ok(())),
            (0, 3, reset(Reason::OutOfRange)),
            (0, (1 << 62) - 1, reset(Reason::OutOfRange)),
            (1, 0, Ok(())),
            (1, 1, reset(Reason::OutOfRange)),
        ] {
            let fetched = fetch(&subscriber, group, from(frame)).await;
            assert_eq!(whole(fetched).await, (vec![], end), "{group} from {frame}");
        }
    });
}

#[test]
fn on_the_wire_an_index_too_large_is_11_and_an_empty_answer_is_a_finish() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        write_group(&live, &[b"a", b"b"]);
        let mut stream = peer.request(StreamKind::Fetch, &wanted(0, 2)).await;
        stream.expect_finish().await;
        let mut stream = peer.request(StreamKind::Fetch, &wanted(0, 3)).await;
        stream.expect_reset(code::BOUNDS).await;
        stream.expect_stop(code::BOUNDS).await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_running_group_is_followed_to_its_end_before_its_frames_are_whole() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let mut group = live.append_group();
        group.write_frame("first").unwrap();
        let mut frame = group.create_frame(sized(10)).unwrap();
        frame.write(Bytes::from_static(b"early")).unwrap();

        let mut fetched = fetch(&subscriber, 0, FetchOptions::default()).await;
        // Its first frame is yet to come.
        let mut later = fetch(&subscriber, 0, from(2)).await;
        let incoming = fetched.group();
        assert_eq!(incoming.read_frame().await.unwrap().unwrap(), "first");
        let mut reading = incoming.next_frame().await.unwrap().unwrap();
        assert_eq!(reading.meta().size, 10);
        assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "early");
        // While it is followed, it counts as read.
        assert_eq!(live.readers(), 3);

        frame.write(Bytes::from_static(b"later")).unwrap();
        frame.finish().unwrap();
        group.write_frame("last").unwrap();
        assert_eq!(reading.read_chunk().await.unwrap().unwrap(), "later");
        assert_eq!(reading.read_chunk().await.unwrap(), None);
        assert_eq!(later.group().read_frame().await.unwrap().unwrap(), "last");
        sim.sleep(secs(60)).await;
        group.finish().unwrap();
        assert_eq!(whole(fetched).await, (vec!["last".into()], Ok(())));
        assert_eq!(whole(later).await, (vec![], Ok(())));
        sim.sleep(secs(1)).await;
        assert_eq!(live.readers(), 1);
    });
}

#[test]
fn a_running_group_that_ends_before_the_frame_asked_for_is_out_of_range() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let mut group = live.append_group();
        let fetched = fetch(&subscriber, 0, from(2)).await;
        sim.sleep(secs(1)).await;
        group.write_frame("only").unwrap();
        group.finish().unwrap();
        assert_eq!(whole(fetched).await, (vec![], reset(Reason::OutOfRange)));
    });
}

#[test]
fn a_missing_track_and_a_missing_group_are_not_found() {
    for version in WITH_FETCH {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm(), version).await;
            let subscriber_role = subscriber.session.subscriber();
            let unknown = subscriber_role.fetch(name("nobody"), 0, FetchOptions::default()).await.unwrap();
            assert_eq!(whole(unknown).await, (vec![], reset(Reason::NotFound)));
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            write_group(&live, &[b"a"]);
            let fetched = fetch(&subscriber, 1, FetchOptions::default()).await;
            assert_eq!(whole(fetched).await, (vec![], reset(Reason::NotFound)));
            let fetched = fetch(&subscriber, 0, FetchOptions::default()).await;
            assert_eq!(whole(fetched).await, (vec!["a".into()], Ok(())));
        });
    }
}

#[test]
fn on_the_wire_a_missing_group_is_13() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let mut stream = peer.request(StreamKind::Fetch, &wanted(0, 0)).await;
        stream.expect_reset(code::NOT_FOUND).await;
        let _published = side.tracks.publish(track("cam/video").consume()).unwrap();
        let mut stream = peer.request(StreamKind::Fetch, &wanted(0, 0)).await;
        stream.expect_reset(code::NOT_FOUND).await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_group_given_up_or_expired_ends_the_fetch_with_its_reason() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let retention = Retention { max_groups: 1, ..Retention::default() };
        let live = TrackProducer::new(name("cam/video"), TrackInfo::default(), retention);
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let mut group = live.append_group();
        group.write_frame("whole").unwrap();
        let fetched = fetch(&subscriber, 0, FetchOptions::default()).await;
        sim.sleep(secs(1)).await;
        group.abort(Reason::App(7));
        assert_eq!(whole(fetched).await, (vec!["whole".into()], reset(Reason::App(7))));
        // And one that was given up before.
        let fetched = fetch(&subscriber, 0, FetchOptions::default()).await;
        let (_, end) = whole(fetched).await;
        assert_eq!(end, reset(Reason::App(7)));

        let mut group = live.append_group();
        group.write_frame("whole").unwrap();
        let fetched = fetch(&subscriber, 1, FetchOptions::default()).await;
        sim.sleep(secs(1)).await;
        write_group(&live, &[b"pushes it out"]);
        assert_eq!(whole(fetched).await, (vec!["whole".into()], reset(Reason::Expired)));
    });
}

#[test]
fn a_fetch_is_made_of_one_message_and_answered_by_bare_frames() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let options = FetchOptions { priority: Priority(200), first_frame: 3, ..FetchOptions::default() };
        let fetched = fetch(&side, 42, options).await;
        let (mut stream, asked) = peer.serve::<Fetch>(StreamKind::Fetch).await;
        assert_eq!(asked, Fetch { priority: Priority(200), ..wanted(42, 3) });
        stream.send_raw(&b"\x05hello\x00\x06world!"[..]).await;
        stream.finish();
        // Our half ends when the answer has.
        stream.expect_finish().await;
        assert_eq!(whole(fetched).await, (vec!["hello".into(), "".into(), "world!".into()], Ok(())));
    });
}

#[test]
fn the_answer_begins_with_the_first_frame_and_ends_with_a_finish() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        write_group(&live, &[b"hello", b"", b"world!"]);
        let mut stream = peer.request(StreamKind::Fetch, &wanted(0, 0)).await;
        assert_eq!(stream.expect_raw(14).await, &b"\x05hello\x00\x06world!"[..]);
        stream.expect_finish().await;
    });
}

#[test]
fn a_fetch_is_answered_whether_or_not_the_stream_is_finished_behind_it() {
    for finish in [true, false] {
        for_each_seed(move |sim| async move {
            let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
            let live = track("cam/video");
            let _published = side.tracks.publish(live.consume()).unwrap();
            let mut group = live.append_group();
            let mut stream = peer.request(StreamKind::Fetch, &wanted(0, 0)).await;
            if finish {
                stream.finish();
            }
            sim.sleep(secs(20)).await;
            group.write_frame("late").unwrap();
            group.finish().unwrap();
            assert_eq!(stream.expect_frame().await, "late");
            stream.expect_finish().await;
            still_answers(&peer).await;
        });
    }
}

#[test]
fn our_cancel_resets_and_stops_with_0_and_the_session_lives() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        // Before any answer, and in the middle of one.
        for frames in [0, 2] {
            let mut fetched = fetch(&side, 0, FetchOptions::default()).await;
            let (mut stream, _) = peer.serve::<Fetch>(StreamKind::Fetch).await;
            for _ in 0..frames {
                stream.send_frame(&b"x"[..]).await;
                assert_eq!(fetched.group().read_frame().await.unwrap().unwrap(), "x");
            }
            // Another reader keeps it going.
            let kept = fetched.group().clone();
            drop(fetched);
            stream.expect_quiet(secs(1)).await;
            drop(kept);
            stream.expect_reset(code::CANCEL).await;
            stream.expect_stop(code::CANCEL).await;
        }
        still_answers(&peer).await;
    });
}

#[test]
fn a_call_that_is_given_up_gives_the_fetch_up() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let wanted = side.session.subscriber();
        {
            let mut asking = std::pin::pin!(wanted.fetch(name("cam/video"), 0, FetchOptions::default()));
            let asked =
                std::future::poll_fn(|cx| std::task::Poll::Ready(asking.as_mut().poll(cx).is_ready()));
            assert!(!asked.await);
        }
        let mut stream = peer.accept_bi().await;
        stream.expect_stop(code::CANCEL).await;
        still_answers(&peer).await;
    });
}

#[test]
fn the_peers_cancel_is_answered_with_0_and_the_session_lives() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut group = live.append_group();
        group.write_frame("x").unwrap();
        for stop in [true, false] {
            let mut stream = peer.request(StreamKind::Fetch, &wanted(0, 0)).await;
            assert_eq!(stream.expect_frame().await, "x");
            assert_eq!(live.readers(), 2);
            if stop {
                // Whatever the code.
                stream.stop(code::DECODE);
                stream.expect_stop(code::CANCEL).await;
            } else {
                stream.reset(code::DECODE);
                stream.expect_reset(code::CANCEL).await;
            }
            sim.sleep(secs(1)).await;
            assert_eq!(live.readers(), 1);
        }
        still_answers(&peer).await;
    });
}

#[test]
fn a_peer_that_loses_interest_is_noticed_by_an_origin_that_has_not_answered() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let (peer, session) = tokio::join!(
            Peer::client(near).handshake(Version::TRANSFORK_04),
            Handshake::accept(far, config(Version::TRANSFORK_04))
        );
        let origin = Arc::new(Silent::default());
        let _session = session.unwrap().start(origin.clone());
        let mut stream = peer.request(StreamKind::Fetch, &wanted(3, 1)).await;
        sim.sleep(secs(1)).await;
        let mut asked = origin.fetches.lock().unwrap().pop().unwrap();
        assert_eq!((asked.group, asked.first_frame), (3, 1));
        stream.reset(code::CANCEL);
        tokio::time::timeout(secs(1), asked.cancelled()).await.unwrap();
        stream.expect_reset(code::CANCEL).await;
        asked.accept_from(&track("a").consume());
        // One that is dropped without an answer is refused.
        let mut stream = peer.request(StreamKind::Fetch, &wanted(3, 1)).await;
        sim.sleep(secs(1)).await;
        origin.fetches.lock().unwrap().clear();
        stream.expect_reset(code::INTERNAL).await;
        peer.expect_quiet(secs(1)).await;
    });
}

#[test]
fn a_change_of_priority_is_said_while_the_fetch_runs_and_not_after() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let mut fetched = fetch(&side, 0, FetchOptions::default()).await;
        fetched.update_priority(Priority(10)).await.unwrap();
        let (mut stream, _) = peer.serve::<Fetch>(StreamKind::Fetch).await;
        assert_eq!(stream.expect::<FetchUpdate>().await, FetchUpdate { priority: Priority(10) });
        fetched.update_priority(Priority(20)).await.unwrap();
        assert_eq!(stream.expect::<FetchUpdate>().await, FetchUpdate { priority: Priority(20) });
        stream.finish();
        stream.expect_finish().await;
        assert_eq!(frames_of(fetched.group()).await, (vec![], Ok(())));
        fetched.update_priority(Priority(30)).await.unwrap();
        peer.expect_quiet(secs(1)).await;
        side.session.close().await;
        assert!(matches!(fetched.update_priority(Priority(1)).await, Err(RequestError::Session(_))));
    });
}

/// Fetches groups of 100 kB, does `meanwhile` after a while, and says in which order the groups were whole.
async fn order_of_ends(
    sim: &moqt_sim::Sim,
    priorities: [u8; 2],
    update: Option<(usize, u8)>,
    settings: Settings,
) -> Vec<u64> {
    let (near, far) = sim.connect_with(Link::delay(ms(20)).rate(2_000_000), settings.clone(), settings);
    let (publisher, subscriber) = pair(near, far, Version::TRANSFORK_04).await;
    let live = track("cam/video");
    let _published = publisher.tracks.publish(live.consume()).unwrap();
    for _ in priorities {
        write_group(&live, &[&[7; 100_000]]);
    }
    let ends = Arc::new(Mutex::new(Vec::new()));
    let mut fetches = Vec::new();
    let mut reading = Vec::new();
    for (group, priority) in priorities.into_iter().enumerate() {
        let mut fetched = fetch(&subscriber, group as u64, ranked(priority)).await;
        let mut frames = fetched.group().clone();
        let ends = Arc::clone(&ends);
        reading.push(sim.spawn(async move {
            frames_of(&mut frames).await.1.unwrap();
            ends.lock().unwrap().push(frames.sequence());
        }));
        fetches.push(fetched);
    }
    sim.sleep(ms(150)).await;
    if let Some((fetch, priority)) = update {
        fetches[fetch].update_priority(Priority(priority)).await.unwrap();
    }
    for reading in reading {
        reading.await.unwrap();
    }
    let ends = ends.lock().unwrap();
    ends.clone()
}

#[test]
fn on_a_starved_link_the_fetch_of_higher_priority_is_through_first() {
    for_each_seed(|sim| async move {
        assert_eq!(order_of_ends(&sim, [100, 200], None, Settings::default()).await, [1, 0]);
        assert_eq!(order_of_ends(&sim, [200, 100], None, Settings::default()).await, [0, 1]);
    });
}

#[test]
fn on_a_starved_link_a_change_of_priority_reorders_two_fetches() {
    // What is not sent is held by us, or by the transport.
    for settings in [Settings::default().send_buffer(20_000), Settings::default()] {
        for_each_seed(move |sim| {
            let settings = settings.clone();
            async move {
                assert_eq!(order_of_ends(&sim, [200, 100], Some((1, 255)), settings.clone()).await, [1, 0]);
                assert_eq!(order_of_ends(&sim, [100, 200], Some((1, 50)), settings).await, [0, 1]);
            }
        });
    }
}

#[test]
fn fetches_and_subscriptions_are_on_one_scale() {
    for (fetch_priority, first) in [(200, "fetch"), (50, "subscription")] {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) =
                connected(&sim, Link::delay(ms(20)).rate(2_000_000), Version::TRANSFORK_04).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            write_group(&live, &[&[7; 100_000]]);
            write_group(&live, &[&[7; 100_000]]);
            let wanted = subscriber.session.subscriber();
            let options = SubscribeOptions { priority: Priority(100), ..SubscribeOptions::default() };
            let (fetched, subscription) = tokio::join!(
                fetch(&subscriber, 0, ranked(fetch_priority)),
                wanted.subscribe(name("cam/video"), options)
            );
            let mut subscribed = subscription.unwrap().into_track().next_group().await.unwrap().unwrap();
            let through = tokio::select! {
                biased;
                _ = whole(fetched) => "fetch",
                _ = frames_of(&mut subscribed) => "subscription",
            };
            assert_eq!(through, first);
        });
    }
}

#[test]
fn a_version_without_fetch_refuses_on_the_spot_and_sends_nothing() {
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        for_each_seed(move |sim| async move {
            let (near, far) = sim.connect(calm());
            let counting = near.clone();
            let (_publisher, subscriber) = pair(far, near, version).await;
            sim.sleep(secs(1)).await;
            let before = counting.counters();
            let error = subscriber
                .session
                .subscriber()
                .fetch(name("cam/video"), 0, FetchOptions::default())
                .await
                .unwrap_err();
            match error {
                RequestError::Unsupported { feature: Feature::Fetch, version: of } => assert_eq!(of, version),
                other => panic!("{other:?}"),
            }
            sim.sleep(secs(2)).await;
            assert_eq!(counting.counters(), before);
        });
    }
}

#[test]
fn fetches_beyond_the_limit_are_refused_with_69_until_one_leaves() {
    Seeds::default().count(2).run(|sim| async move {
        let ends = sim.connect_with(calm(), wide(), wide());
        let (side, peer) =
            against_client_with(ends, Version::TRANSFORK_04, config(Version::TRANSFORK_04)).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut group = live.append_group();
        group.write_frame("x").unwrap();
        let limit = Config::default().limits.fetches;
        let mut streams = Vec::new();
        for _ in 0..limit {
            let mut stream = peer.request(StreamKind::Fetch, &wanted(0, 0)).await;
            assert_eq!(stream.expect_frame().await, "x");
            streams.push(stream);
        }
        for _ in 0..3 {
            let mut refused = peer.request(StreamKind::Fetch, &wanted(0, 0)).await;
            refused.expect_reset(code::TOO_MANY).await;
            refused.expect_stop(code::TOO_MANY).await;
        }
        assert_eq!(live.readers(), limit + 1);
        let mut left = streams.pop().unwrap();
        left.reset(code::CANCEL);
        left.expect_reset(code::CANCEL).await;
        let mut stream = peer.request(StreamKind::Fetch, &wanted(0, 0)).await;
        assert_eq!(stream.expect_frame().await, "x");
        // Those that were there are served to the end, and their leaving makes room.
        group.finish().unwrap();
        for mut stream in streams {
            stream.expect_finish().await;
            stream.finish();
        }
        sim.sleep(secs(1)).await;
        let mut streams = Vec::new();
        for _ in 0..limit - 1 {
            streams.push(peer.request(StreamKind::Fetch, &wanted(0, 0)).await);
        }
        for stream in &mut streams {
            assert_eq!(stream.expect_frame().await, "x");
        }
        still_answers(&peer).await;
    });
}

#[test]
fn the_end_of_the_session_ends_its_fetches() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm());
        let vanishing = near.clone();
        let (publisher, subscriber) = pair(near, far, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let mut group = live.append_group();
        group.write_frame("x").unwrap();
        let mut fetched = fetch(&subscriber, 0, FetchOptions::default()).await;
        assert_eq!(fetched.group().read_frame().await.unwrap().unwrap(), "x");
        vanishing.kill();
        assert_eq!(whole(fetched).await, (vec![], reset(Reason::Transport)));

        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let fetched = fetch(&subscriber, 0, FetchOptions::default()).await;
        subscriber.session.close().await;
        assert_eq!(whole(fetched).await.1, reset(Reason::Transport));
    });
}

#[test]
fn flushed_waits_for_what_is_being_fetched() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) =
            connected(&sim, Link::delay(ms(20)).rate(2_000_000), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        write_group(&live, &[&[7; 100_000]]);
        let fetched = fetch(&subscriber, 0, FetchOptions::default()).await;
        sim.sleep(ms(100)).await;
        publisher.session.publisher().flushed().await;
        publisher.session.close().await;
        let (frames, end) = whole(fetched).await;
        assert_eq!((frames.len(), end), (1, Ok(())));
    });
}
