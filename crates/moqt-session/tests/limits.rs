//! Peers that want too much: each named limit is hit, and the session goes on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use common::*;
use moqt_session::{
    Allowance, Announced, Config, GroupError, Handshake, Reason, Retention, SubscribeOptions,
    SubscribeUpdate, TrackError, TrackProducer,
};
use moqt_sim::{Seeds, Sim, for_each_seed, script::Peer};
use moqt_transport::{Connection as _, SendStream as _};
use moqt_wire::{
    FullTrackName, GroupOrder, Message as _, Priority, Version,
    transfork::{Announce, Info, InfoPlease, StreamKind, SubscribeGap, code},
};

/// The default limits, but for those that the test changes.
fn limited(change: impl FnOnce(&mut moqt_session::Limits)) -> Config {
    let mut config = config(Version::TRANSFORK_04);
    change(&mut config.limits);
    config
}

/// A scripted client over a transport without narrow limits of its own.
async fn flooded(sim: &Sim, config: Config) -> (Side, Peer) {
    let ends = sim.connect_with(calm(), wide(), wide());
    against_client_with(ends, Version::TRANSFORK_04, config).await
}

/// The same, and nothing that it asks is ever answered.
async fn flooded_silently(sim: &Sim, config: Config) -> (moqt_session::Session, Arc<Silent>, Peer) {
    let (near, far) = sim.connect_with(calm(), wide(), wide());
    let (peer, session) =
        tokio::join!(Peer::client(near).handshake(Version::TRANSFORK_04), Handshake::accept(far, config));
    let origin = Arc::new(Silent::default());
    (session.unwrap().start(origin.clone()), origin, peer)
}

#[test]
fn subscriptions_beyond_the_limit_are_refused_with_69_until_one_leaves() {
    Seeds::default().count(1).run(|sim| async move {
        let (side, mut peer) = flooded(&sim, config(Version::TRANSFORK_04)).await;
        let limit = Config::default().limits.subscriptions as u64;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut streams = Vec::new();
        for id in 0..limit {
            let mut stream = peer.request(StreamKind::Subscribe, &wish(id, "cam/video")).await;
            stream.expect::<Info>().await;
            streams.push(stream);
        }
        for id in limit..limit + 3 {
            let mut refused = peer.request(StreamKind::Subscribe, &wish(id, "cam/video")).await;
            refused.expect_reset(code::TOO_MANY).await;
        }
        assert_eq!(live.readers() as u64, limit + 1);

        let mut left = streams.pop().unwrap();
        left.reset(code::CANCEL);
        left.expect_reset(code::CANCEL).await;
        let mut stream = peer.request(StreamKind::Subscribe, &wish(limit + 3, "cam/video")).await;
        stream.expect::<Info>().await;
        // Those that were there are served.
        write_group(&live, &[b"x"]);
        for _ in 0..limit {
            peer.accept(StreamKind::Group).await;
        }
        still_answers(&peer).await;
    });
}

#[test]
fn announce_streams_beyond_the_limit_are_refused_with_69() {
    for_each_seed(|sim| async move {
        let (side, peer) = flooded(&sim, config(Version::TRANSFORK_04)).await;
        let mut streams = Vec::new();
        for _ in 0..Config::default().limits.watches {
            let mut stream = peer.request(StreamKind::Announce, &please("")).await;
            assert_eq!(stream.expect::<Announce>().await, caught_up());
            streams.push(stream);
        }
        let mut refused = peer.request(StreamKind::Announce, &please("")).await;
        refused.expect_reset(code::TOO_MANY).await;
        refused.expect_stop(code::TOO_MANY).await;
        let _published = side.tracks.publish(track("a").consume()).unwrap();
        for stream in &mut streams {
            assert_eq!(stream.expect::<Announce>().await, active("a"));
        }
        streams.pop().unwrap().reset(code::CANCEL);
        sim.sleep(ms(100)).await;
        let mut stream = peer.request(StreamKind::Announce, &please("")).await;
        assert_eq!(stream.expect::<Announce>().await, active("a"));
    });
}

#[test]
fn questions_beyond_the_limit_are_refused_with_69_and_those_before_are_answered() {
    Seeds::default().count(1).run(|sim| async move {
        let (_session, origin, peer) = flooded_silently(&sim, config(Version::TRANSFORK_04)).await;
        let mut streams = Vec::new();
        for _ in 0..Config::default().limits.requests {
            streams.push(peer.request(StreamKind::Info, &InfoPlease { track: name("x") }).await);
        }
        let mut refused = peer.request(StreamKind::Info, &InfoPlease { track: name("x") }).await;
        refused.expect_reset(code::TOO_MANY).await;
        let answer = track("x");
        let infos = std::mem::take(&mut *origin.infos.lock().unwrap());
        assert_eq!(infos.len(), streams.len());
        infos.into_iter().for_each(|info| info.answer_from(&answer.consume()));
        for stream in &mut streams {
            stream.expect::<Info>().await;
        }
    });
}

#[test]
fn streams_that_never_say_their_type_count_as_requests() {
    Seeds::default().count(1).run(|sim| async move {
        let (_side, peer) = flooded(&sim, config(Version::TRANSFORK_04)).await;
        let limit = Config::default().limits.requests;
        let mut streams = Vec::new();
        for _ in 0..2000 {
            let mut stream = peer.open_bi().await;
            stream.send_raw(&b"\x40"[..]).await;
            streams.push(stream);
        }
        for stream in &mut streams[limit..] {
            stream.expect_reset(code::TOO_MANY).await;
            stream.expect_stop(code::TOO_MANY).await;
        }
        // The time for a first message makes room.
        sim.sleep(secs(11)).await;
        streams[0].expect_reset(code::TIMEOUT).await;
        still_answers(&peer).await;
    });
}

#[test]
fn group_streams_beyond_the_limit_are_stopped_with_69_until_one_ends() {
    Seeds::default().count(1).run(|sim| async move {
        let (side, mut peer) = flooded(&sim, config(Version::TRANSFORK_04)).await;
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut track = subscription.into_track();
        let limit = Config::default().limits.groups as u64;
        let mut streams = Vec::new();
        for sequence in 0..limit {
            streams.push(peer.group(&header(wish.id.0, sequence)).await);
        }
        let mut refused = peer.group(&header(wish.id.0, limit)).await;
        refused.expect_stop(code::TOO_MANY).await;
        for sequence in 0..limit {
            assert_eq!(track.next_group().await.unwrap().unwrap().sequence(), sequence);
        }
        streams.pop().unwrap().finish();
        sim.sleep(ms(100)).await;
        let mut group = peer.group(&header(wish.id.0, limit)).await;
        group.send_frame(&b"x"[..]).await;
        assert_eq!(track.next_group().await.unwrap().unwrap().sequence(), limit);
        still_answers(&peer).await;
    });
}

#[test]
fn groups_of_no_subscription_do_not_use_up_the_limit() {
    for_each_seed(|sim| async move {
        let ours = limited(|limits| limits.groups = 4);
        let (side, mut peer) = flooded(&sim, ours).await;
        for sequence in 0..20 {
            let mut group = peer.group(&header(99, sequence)).await;
            group.expect_stop(code::CANCEL).await;
        }
        for _ in 0..20 {
            let mut group = peer.open(StreamKind::Group).await;
            group.reset(code::CANCEL);
            sim.sleep(ms(30)).await;
        }
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut group = peer.group(&header(wish.id.0, 0)).await;
        group.send_frame(&b"x"[..]).await;
        assert!(subscription.into_track().next_group().await.unwrap().is_some());
    });
}

#[test]
fn names_beyond_the_limit_end_that_watch_with_69() {
    for_each_seed(|sim| async move {
        let ours = limited(|limits| limits.announced = 100);
        let (side, mut peer) = flooded(&sim, ours).await;
        let (mut watch, mut stream) = watching(&side, &mut peer, "").await;
        for number in 0..100 {
            stream.send(&active(&number.to_string())).await;
            assert!(matches!(watch.next().await, Some(Announced::Active(_))));
        }
        // Names that go make room.
        stream.send(&ended("0")).await;
        stream.send(&active("0")).await;
        assert_eq!(watch.next().await, Some(Announced::Ended(namespace("0"))));
        assert_eq!(watch.next().await, Some(Announced::Active(namespace("0"))));
        stream.send(&active("one too many")).await;
        stream.expect_reset(code::TOO_MANY).await;
        stream.expect_stop(code::TOO_MANY).await;
        for _ in 0..100 {
            assert!(matches!(watch.next().await, Some(Announced::Ended(_))));
        }
        assert_eq!(watch.next().await, None);
        // What was held is free again.
        let (mut watch, mut stream) = watching(&side, &mut peer, "").await;
        stream.send(&active("a")).await;
        assert_eq!(watch.next().await, Some(Announced::Active(namespace("a"))));
        still_answers(&peer).await;
    });
}

#[test]
fn names_that_come_too_fast_are_read_later_and_nothing_else_is() {
    for_each_seed(|sim| async move {
        let ours = limited(|limits| limits.names_per_second = 80);
        let meters = ours.meters.clone();
        let (side, mut peer) = flooded(&sim, ours).await;
        let (mut watch, mut stream) = watching(&side, &mut peer, "").await;
        let start = sim.now();
        for number in 0..100 {
            stream.send(&active(&number.to_string())).await;
            stream.send(&ended(&number.to_string())).await;
        }
        stream.send(&active("last")).await;
        still_answers(&peer).await;
        assert!(sim.now() - start < secs(1), "others waited for {:?}", sim.now() - start);
        while watch.next().await != Some(Announced::Active(namespace("last"))) {}
        // Ten of them may come at once, and 201 did.
        let took = sim.now() - start;
        assert!((secs(191) / 80..secs(210) / 80).contains(&took), "{took:?}");
        assert!(meters.refused()["names per second"] > 0);
    });
}

#[test]
fn sessions_of_one_source_share_the_names_that_it_may_tell() {
    for_each_seed(|sim| async move {
        let source = Allowance::new(u64::MAX, u64::MAX, 80);
        let start = sim.now();
        let mut watches = Vec::new();
        for _ in 0..2 {
            let (side, mut peer) = flooded(&sim, limited(|limits| limits.source = source.clone())).await;
            let (watch, mut stream) = watching(&side, &mut peer, "").await;
            for number in 0..100 {
                stream.send(&active(&number.to_string())).await;
            }
            watches.push((watch, side, peer, stream));
        }
        for (watch, ..) in &mut watches {
            for _ in 0..100 {
                assert!(matches!(watch.next().await, Some(Announced::Active(_))));
            }
        }
        let took = sim.now() - start;
        assert!((secs(190) / 80..secs(210) / 80).contains(&took), "{took:?}");
    });
}

#[test]
fn scattered_subscribe_ids_are_refused_with_69_in_the_end() {
    for_each_seed(|sim| async move {
        let ours = limited(|limits| limits.subscriptions = 20);
        let (_side, peer) = flooded(&sim, ours).await;
        let mut codes = Vec::new();
        for number in 0..40u64 {
            let mut stream = peer.request(StreamKind::Subscribe, &wish(3 * number + 1, "nobody")).await;
            let code = if number <= 20 { code::NOT_FOUND } else { code::TOO_MANY };
            stream.expect_reset(code).await;
            codes.push(code);
        }
        still_answers(&peer).await;
    });
}

#[test]
fn a_subscribe_id_that_never_arrived_does_not_use_up_the_session() {
    Seeds::default().count(1).run(|sim| async move {
        let (_side, peer) = flooded(&sim, limited(|limits| limits.subscriptions = 20)).await;
        // A subscriber that changed its mind before anything had arrived: its id is never seen.
        for id in (1..2000u64).filter(|id| id % 500 != 0) {
            let mut stream = peer.request(StreamKind::Subscribe, &wish(id, "nobody")).await;
            stream.expect_reset(code::NOT_FOUND).await;
        }
        let mut again = peer.request(StreamKind::Subscribe, &wish(1234, "nobody")).await;
        again.expect_reset(code::DUPLICATE).await;
    });
}

/// Payload of a name that says when nobody holds it any more.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

fn counted_track(number: usize, held: &Arc<AtomicUsize>) -> TrackProducer {
    held.fetch_add(1, Ordering::Relaxed);
    let part = Bytes::from_owner(Counted(number.to_string().into_bytes(), held.clone()));
    let name = FullTrackName::from_parts([Bytes::from_static(b"room"), part]).unwrap();
    TrackProducer::new(name, Default::default(), Retention::default())
}

#[test]
fn names_that_come_and_go_are_not_kept_for_a_peer_that_does_not_read() {
    Seeds::default().count(1).run(|sim| async move {
        let narrow = wide().stream_window(256);
        let ends = sim.connect_with(calm(), narrow.clone(), narrow.send_buffer(256));
        let ours = config(Version::TRANSFORK_04);
        let (side, peer) = against_client_with(ends, Version::TRANSFORK_04, ours).await;
        let mut watch = peer.request(StreamKind::Announce, &please("room")).await;
        assert_eq!(watch.expect::<Announce>().await, caught_up());

        let held = Arc::new(AtomicUsize::new(0));
        for number in 0..100_000 {
            let live = counted_track(number, &held);
            let published = side.tracks.publish(live.consume()).unwrap();
            if number % 10 == 0 {
                tokio::task::yield_now().await;
            }
            drop(published);
        }
        sim.sleep(secs(1)).await;
        let kept = held.load(Ordering::Relaxed);
        assert!(kept < 2000, "{kept} names are kept");

        // It reads on at last, and comes to believe what is true.
        let last = counted_track(7, &held);
        let _published = side.tracks.publish(last.consume()).unwrap();
        let mut believes = std::collections::BTreeSet::new();
        while !believes.contains(&namespace("7")) || believes.len() > 1 {
            let said: Announce = watch.expect().await;
            let suffix = said.suffix.clone().unwrap();
            let fits = if said == (Announce { suffix: Some(suffix.clone()), ..active("") }) {
                believes.insert(suffix)
            } else {
                believes.remove(&suffix)
            };
            assert!(fits, "{said:?}");
        }
        still_answers(&peer).await;
    });
}

#[test]
fn ten_thousand_requests_opened_and_reset_leave_nothing_behind() {
    Seeds::default().count(1).run(|sim| async move {
        let (side, mut peer) = flooded(&sim, config(Version::TRANSFORK_04)).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        write_group(&live, &[b"x"]);
        for id in 0..10_000u64 {
            let mut stream = match id % 4 {
                0 => peer.request(StreamKind::Subscribe, &wish(id, "cam/video")).await,
                1 => peer.request(StreamKind::Announce, &please("")).await,
                2 => peer.request(StreamKind::Info, &InfoPlease { track: name("cam/video") }).await,
                _ => peer.group(&header(5, id)).await,
            };
            if id % 3 == 0 {
                sim.sleep(ms(1)).await;
            }
            stream.reset(code::CANCEL);
        }
        sim.sleep(secs(1)).await;
        assert_eq!(live.readers(), 1);
        let mut stream = peer.request(StreamKind::Subscribe, &wish(1_000_000, "cam/video")).await;
        stream.expect::<Info>().await;
        peer.accept(StreamKind::Group).await;
        still_answers(&peer).await;
    });
}

/// Options that keep little.
fn keeping(max_bytes: u64) -> SubscribeOptions {
    let retention = Retention { max_bytes, max_group_bytes: max_bytes, ..Retention::default() };
    SubscribeOptions { retention, ..SubscribeOptions::default() }
}

#[test]
fn groups_that_grow_side_by_side_keep_to_the_limit_on_all_together() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = flooded(&sim, config(Version::TRANSFORK_04)).await;
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, keeping(100_000)).await;
        let track = subscription.into_track();
        let mut streams = Vec::new();
        for sequence in 0..10 {
            let mut stream = peer.connection().open_uni().await.unwrap();
            let header = [&[0][..], &header(wish.id.0, sequence).to_bytes(peer.spec()).unwrap()].concat();
            stream.write_all(header.into()).await.unwrap();
            streams.push(stream);
        }
        sim.sleep(ms(100)).await;
        for _ in 0..8 {
            for stream in &mut streams {
                // A frame of 10,000 bytes; groups that were given up take no more.
                let frame = [&[0x67, 0x10][..], &[1; 10_000]].concat();
                let _ = stream.write_all(frame.into()).await;
            }
            sim.sleep(ms(50)).await;
            assert!(track.held_bytes() <= 110_000, "{} bytes are held", track.held_bytes());
        }
        // The newest is the one that stays.
        assert!(track.group(9).unwrap().read_frame().await.is_ok());
    });
}

#[test]
fn a_group_too_large_is_stopped_with_69_and_the_track_goes_on() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = flooded(&sim, config(Version::TRANSFORK_04)).await;
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, keeping(1000)).await;
        let mut track = subscription.into_track();
        let mut group = peer.group(&header(wish.id.0, 0)).await;
        group.send_frame(vec![1; 600]).await;
        group.send_frame(vec![2; 600]).await;
        group.expect_stop(code::TOO_MANY).await;
        let mut got = track.next_group().await.unwrap().unwrap();
        assert_eq!(frames_of(&mut got).await, (vec![Bytes::from(vec![1; 600])], Err(GroupError::TooLarge)));
        let mut group = peer.group(&header(wish.id.0, 1)).await;
        group.send_frame(&b"x"[..]).await;
        assert_eq!(track.next_group().await.unwrap().unwrap().sequence(), 1);
    });
}

/// So many groups of one frame, each of them in one piece.
async fn burst(peer: &Peer, id: u64, groups: u64) {
    for sequence in 0..groups {
        let mut group = peer.group(&header(id, sequence)).await;
        group.send_frame(&b"x"[..]).await;
        group.finish();
    }
}

#[test]
fn tracks_are_read_while_groups_come_all_the_time() {
    for_each_seed(|sim| async move {
        let ours = config(Version::TRANSFORK_04);
        let meters = ours.meters.clone();
        let (side, mut peer) = flooded(&sim, ours).await;
        let live = track("cam/audio");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut served = peer.request(StreamKind::Subscribe, &wish(0, "cam/audio")).await;
        served.expect::<Info>().await;
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut incoming = subscription.into_track();
        let publishing = async {
            let first = incoming.next_group().await.unwrap().unwrap();
            write_group(&live, &[b"y"]);
            while meters.groups_sent() == 0 {
                tokio::task::yield_now().await;
            }
            let came = incoming.latest().unwrap() - first.sequence();
            // A session has sixty-four turns in a row, and one such row passes before this task sees the first group.
            assert!(came <= 128, "{came} groups came first");
        };
        tokio::join!(burst(&peer, wish.id.0, 400), publishing);
    });
}

#[test]
fn groups_that_are_whole_when_they_come_are_none_that_are_open() {
    for_each_seed(|sim| async move {
        let few = limited(|limits| limits.groups = 4);
        let meters = few.meters.clone();
        let (side, mut peer) = flooded(&sim, few).await;
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut track = subscription.into_track();
        burst(&peer, wish.id.0, 100).await;
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 100 {
            let mut group = track.next_group().await.unwrap().unwrap();
            assert_eq!(frames_of(&mut group).await, (vec![Bytes::from("x")], Ok(())));
            seen.insert(group.sequence());
        }
        assert!(meters.refused().is_empty(), "{:?}", meters.refused());
        still_answers(&peer).await;
    });
}

#[test]
fn declared_sizes_hold_no_memory() {
    Seeds::default().count(1).run(|sim| async move {
        let (side, mut peer) = flooded(&sim, config(Version::TRANSFORK_04)).await;
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut streams = Vec::new();
        // 16 GiB in all, if anybody believed it.
        for sequence in 0..1000 {
            let mut group = peer.group(&header(wish.id.0, sequence)).await;
            group.send_varint(16 << 20).await;
            streams.push(group);
        }
        sim.sleep(secs(1)).await;
        // What it takes to remember that a thousand frames have begun.
        let held = subscription.track().held_bytes();
        assert!(held < 1000 * 600, "{held}");
        still_answers(&peer).await;
    });
}

#[test]
fn a_subscriber_that_reads_nothing_loses_groups_and_is_told_which() {
    for_each_seed(|sim| async move {
        // Two groups are on their way, and nobody reads them.
        let narrow = wide().max_uni_streams(2).stream_window(1000);
        let ends = sim.connect_with(calm(), narrow, wide().send_buffer(1000));
        let (side, peer) =
            against_client_with(ends, Version::TRANSFORK_04, config(Version::TRANSFORK_04)).await;
        let retention = Retention { max_groups: 4, ..Retention::default() };
        let live = TrackProducer::new(name("cam/video"), Default::default(), retention);
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut stream = peer.request(StreamKind::Subscribe, &wish(0, "cam/video")).await;
        stream.expect::<Info>().await;
        let mut told = std::collections::BTreeSet::new();
        for _ in 0..100 {
            write_group(&live, &[&[7; 5000]]);
            sim.sleep(ms(50)).await;
        }
        while told.len() < 90 {
            let gap: SubscribeGap = stream.expect().await;
            assert_eq!(gap.code, code::NOT_FOUND);
            told.extend(gap.first.0..=gap.first.0 + gap.additional);
        }
        assert!(told.iter().all(|&group| group < 96), "{told:?}");
        still_answers(&peer).await;
    });
}

#[test]
fn a_subscriber_that_does_not_read_its_subscription_either_is_refused_with_69() {
    for_each_seed(|sim| async move {
        let narrow = wide().stream_window(100);
        let ends = sim.connect_with(calm(), narrow, wide().send_buffer(100));
        let ours = limited(|limits| limits.outbox_bytes = 1000);
        let (side, peer) = against_client_with(ends, Version::TRANSFORK_04, ours).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut stream = peer.request(StreamKind::Subscribe, &wish(0, "cam/video")).await;
        stream.expect::<Info>().await;
        write_group(&live, &[b"x"]);
        for number in 0..1000 {
            live.gap(2 * number + 10, 2 * number + 10, Reason::NotFound);
            sim.sleep(ms(1)).await;
        }
        stream.expect_reset(code::TOO_MANY).await;
        assert_eq!(live.readers(), 1);
        still_answers(&peer).await;
    });
}

#[test]
fn a_publisher_that_does_not_read_updates_loses_the_subscriber_with_69() {
    for_each_seed(|sim| async move {
        let narrow = wide().stream_window(100);
        let ends = sim.connect_with(calm(), narrow, wide().send_buffer(100));
        let ours = limited(|limits| limits.outbox_bytes = 1000);
        let (side, mut peer) = against_client_with(ends, Version::TRANSFORK_04, ours).await;
        let (subscription, mut stream, _) = subscribed(&side, &mut peer, Default::default()).await;
        let mut track = subscription.track();
        for priority in 0..=255 {
            let update = SubscribeUpdate {
                priority: Priority(priority),
                order: GroupOrder::Default,
                max_age: None,
                first: None,
                last: None,
            };
            for _ in 0..3 {
                let _ = subscription.update(update).await;
            }
        }
        stream.expect_reset(code::TOO_MANY).await;
        stream.expect_stop(code::TOO_MANY).await;
        let ended = tokio::time::timeout(secs(1), track.next_group()).await.expect("nobody told the reader");
        assert!(matches!(ended, Err(TrackError::Ended(Reason::TooMany))), "{ended:?}");
        still_answers(&peer).await;
    });
}

#[test]
fn a_group_that_stands_still_gives_up_its_stream_when_nobody_can_read_it_any_more() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = flooded(&sim, config(Version::TRANSFORK_04)).await;
        let options = SubscribeOptions {
            retention: Retention { max_groups: 2, ..Retention::default() },
            ..SubscribeOptions::default()
        };
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, options).await;
        let _track = subscription.into_track();
        let mut still = peer.group(&header(wish.id.0, 0)).await;
        still.send_raw(&b"\x05hel"[..]).await;
        for sequence in 1..4 {
            let mut group = peer.group(&header(wish.id.0, sequence)).await;
            group.send_frame(&b"x"[..]).await;
            group.finish();
        }
        still.expect_stop(code::CANCEL).await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_finished_group_that_has_not_left_when_it_expires_gives_way() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) =
            connected(&sim, moqt_sim::Link::delay(ms(20)).rate(20_000), Version::TRANSFORK_04).await;
        let retention = Retention { max_groups: 2, ..Retention::default() };
        let live = TrackProducer::new(name("cam/video"), Default::default(), retention);
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let wanted = subscriber.session.subscriber();
        let mut track =
            wanted.subscribe(name("cam/video"), SubscribeOptions::default()).await.unwrap().into_track();
        // Sixteen seconds of the link each; what is written waits in the transport.
        for _ in 0..4 {
            write_group(&live, &[&[7; 40_000]]);
            sim.sleep(ms(100)).await;
        }
        let mut lost = std::collections::BTreeSet::new();
        let deadline = sim.now() + secs(10);
        while lost.len() < 2 {
            let event =
                tokio::time::timeout_at(deadline, track.next_event()).await.expect("gaps are told in time");
            if let Some(moqt_session::TrackEvent::Gap { first, last, reason }) = event.unwrap() {
                // Code 13 stands for groups that are no longer held. Spec: digest 5.4.
                assert!(matches!(reason, Reason::Expired | Reason::NotFound), "{reason}");
                lost.extend(first..=last);
            }
        }
        assert_eq!(lost, [0, 1].into());
    });
}
