//! Ranges of groups: what lies outside is neither sent nor reported, and everything inside is one of the two.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::*;
use moqt_session::{
    Reason, Retention, SubscribeOptions, SubscribeUpdate as Change, TrackEvent, TrackProducer,
};
use moqt_sim::{
    Sim, for_each_seed,
    script::{Peer, PeerStream},
};
use moqt_wire::{
    GroupSequence, Version,
    transfork::{Group, Info, StreamKind, Subscribe, SubscribeGap, SubscribeUpdate, code},
};

async fn subscribe(sim: &Sim, live: &TrackProducer, wish: &Subscribe) -> (Side, Peer, PeerStream) {
    let (side, peer) = against_client(sim, Version::TRANSFORK_04).await;
    std::mem::forget(side.tracks.publish(live.consume()).unwrap());
    let mut stream = peer.request(StreamKind::Subscribe, wish).await;
    stream.expect::<Info>().await;
    (side, peer, stream)
}

fn narrowed(first: Option<u64>, last: Option<u64>) -> SubscribeUpdate {
    let wish = wish(0, "x");
    let (first, last) = (first.map(GroupSequence), last.map(GroupSequence));
    SubscribeUpdate { priority: wish.priority, order: wish.order, expires: None, first, last }
}

async fn next_group(peer: &mut Peer) -> (PeerStream, u64) {
    let (stream, group) = peer.serve::<Group>(StreamKind::Group).await;
    (stream, group.sequence.0)
}

#[test]
fn gaps_are_reported_as_far_as_they_lie_inside_the_range() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        let (_side, _peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 10, 20)).await;
        for (first, last) in [(0, 9), (8, 11), (14, 15), (19, 30), (21, 21), (100, 200)] {
            live.gap(first, last, Reason::NotFound);
        }
        for (first, additional) in [(10, 1), (14, 1), (19, 1)] {
            assert_eq!(stream.expect::<SubscribeGap>().await, gap(first, additional, code::NOT_FOUND));
        }
        stream.expect_quiet(secs(1)).await;
        live.gap(10, 11, Reason::NotFound);
        stream.expect_quiet(secs(1)).await;
    });
}

#[test]
fn a_range_that_is_narrowed_gives_up_what_lies_outside() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 0, None)).await;
        let running: Vec<_> = (0..5).map(|_| live.append_group()).collect();
        let mut groups = Vec::new();
        for sequence in 0..5 {
            let (group, number) = next_group(&mut peer).await;
            assert_eq!(number, sequence);
            groups.push(group);
        }
        stream.send(&narrowed(Some(1), Some(3))).await;
        for outside in [0, 4] {
            groups[outside].expect_reset(code::CANCEL).await;
            assert_eq!(stream.expect::<SubscribeGap>().await, gap(outside as u64, 0, code::CANCEL));
        }
        for mut group in running {
            // Those given up are still their producer's.
            group.write_frame(&b"more"[..]).unwrap();
            group.finish().unwrap();
        }
        for inside in [1, 2, 3] {
            assert_eq!(groups[inside].expect_frame().await, "more");
            groups[inside].expect_finish().await;
        }
        write_group(&live, &[b"beyond"]);
        peer.expect_quiet(secs(1)).await;
    });
}

#[test]
fn a_new_first_group_leaves_out_those_before_it() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &wish(0, "cam/video")).await;
        stream.send(&narrowed(Some(7), None)).await;
        sim.sleep(ms(100)).await;
        for _ in 0..9 {
            write_group(&live, &[b"x"]);
        }
        let mut seen = vec![next_group(&mut peer).await.1, next_group(&mut peer).await.1];
        seen.sort_unstable();
        assert_eq!(seen, [7, 8]);
        peer.expect_quiet(secs(1)).await;
        stream.expect_quiet(ms(1)).await;
    });
}

#[test]
fn groups_that_are_no_longer_held_are_reported_at_once() {
    for_each_seed(|sim| async move {
        let retention = Retention { max_groups: 3, ..Retention::default() };
        let live = TrackProducer::new(name("cam/video"), Default::default(), retention);
        for number in 0..10u8 {
            write_group(&live, &[&[number]]);
        }
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 4, None)).await;
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(4, 2, code::NOT_FOUND));
        for _ in 7..10 {
            let (mut group, sequence) = next_group(&mut peer).await;
            assert_eq!(group.expect_frame().await, Bytes::from(vec![sequence as u8]));
        }
        stream.expect_quiet(secs(1)).await;
    });
}

#[test]
fn a_range_behind_everything_there_is_waits() {
    for_each_seed(|sim| async move {
        let retention = Retention { max_groups: 3, ..Retention::default() };
        let live = TrackProducer::new(name("cam/video"), Default::default(), retention);
        (0..10).for_each(|_| write_group(&live, &[b"x"]));
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 12, None)).await;
        stream.expect_quiet(secs(1)).await;
        (10..13).for_each(|_| write_group(&live, &[b"x"]));
        assert_eq!(next_group(&mut peer).await.1, 12);
        peer.expect_quiet(secs(1)).await;
        stream.expect_quiet(ms(1)).await;
    });
}

#[test]
fn numbers_that_a_producer_jumps_over_are_reported_once_a_later_group_is_finished() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        write_group(&live, &[b"x"]);
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &wish(0, "cam/video")).await;
        assert_eq!(next_group(&mut peer).await.1, 0);
        let jumped = live.create_group(4).unwrap();
        let (mut group, sequence) = next_group(&mut peer).await;
        assert_eq!(sequence, 4);
        stream.expect_quiet(secs(5)).await;
        jumped.finish().unwrap();
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(1, 2, code::NOT_FOUND));
        group.expect_finish().await;
        stream.expect_quiet(secs(60)).await;
    });
}

#[test]
fn numbers_left_out_without_a_later_group_are_reported_when_they_are_too_old() {
    for_each_seed(|sim| async move {
        let retention = Retention::max_age(secs(3));
        let live = TrackProducer::new(name("cam/video"), Default::default(), retention);
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 0, None)).await;
        let _open = live.create_group(2).unwrap();
        let _group = next_group(&mut peer).await;
        stream.expect_quiet(ms(2800)).await;
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(0, 1, code::NOT_FOUND));
        assert!(sim.elapsed() < ms(3300), "{:?}", sim.elapsed());
    });
}

#[test]
fn numbers_left_out_are_reported_before_the_end_of_their_track() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 0, None)).await;
        let running = live.create_group(2).unwrap();
        let _group = next_group(&mut peer).await;
        live.finish();
        stream.expect_quiet(ms(1)).await;
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(0, 1, code::NOT_FOUND));
        stream.expect_quiet(secs(1)).await;
        running.finish().unwrap();
        stream.expect_finish().await;
    });
}

#[test]
fn groups_evicted_before_they_were_sent_are_reported_as_one() {
    for_each_seed(|sim| async move {
        let retention = Retention { max_groups: 3, ..Retention::default() };
        let live = TrackProducer::new(name("cam/video"), Default::default(), retention);
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 0, None)).await;
        (0..50).for_each(|_| write_group(&live, &[b"x"]));
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(0, 46, code::NOT_FOUND));
        for _ in 47..50 {
            assert!(next_group(&mut peer).await.1 >= 47);
        }
        stream.expect_quiet(secs(1)).await;
    });
}

#[test]
fn neighbours_that_are_given_up_together_are_reported_together_if_the_code_is_the_same() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 0, None)).await;
        let running: Vec<_> = (0..7).map(|_| live.append_group()).collect();
        let mut groups = Vec::new();
        for _ in 0..7 {
            groups.push(next_group(&mut peer).await);
        }
        for (number, group) in running.into_iter().enumerate() {
            group.abort(if number < 4 { Reason::Internal } else { Reason::App(9) });
        }
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(0, 3, code::INTERNAL));
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(4, 2, moqt_wire::Code(73)));
        stream.expect_quiet(secs(1)).await;
    });
}

#[test]
fn a_gap_about_a_group_that_is_being_sent_is_told_when_that_ends() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 0, None)).await;
        let running = live.append_group();
        let (mut group, _) = next_group(&mut peer).await;
        live.gap(0, 1, Reason::Internal);
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(1, 0, code::INTERNAL));
        stream.expect_quiet(secs(1)).await;
        running.abort(Reason::App(9));
        group.expect_reset(73_u64).await;
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(0, 0, moqt_wire::Code(73)));
        // What was said stands: a group that comes after its gap is not sent.
        let _late = live.create_group(1).unwrap();
        peer.expect_quiet(secs(1)).await;
        stream.expect_quiet(ms(1)).await;
    });
}

#[test]
fn a_bounded_range_ends_when_each_of_its_groups_was_delivered_or_reported() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        let (side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 2, 6)).await;
        (0..4).for_each(|_| write_group(&live, &[b"x"]));
        let running = live.append_group();
        live.gap(5, 5, Reason::Expired);
        let mut last = live.create_group(6).unwrap();
        last.write_frame(&b"last"[..]).unwrap();
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(5, 0, code::EXPIRED));
        let mut groups = Vec::new();
        for _ in 0..4 {
            groups.push(next_group(&mut peer).await);
        }
        groups.sort_by_key(|(_, sequence)| *sequence);
        assert_eq!(groups.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>(), [2, 3, 4, 6]);
        last.finish().unwrap();
        stream.expect_quiet(secs(1)).await;
        drop(running);
        groups[2].0.expect_reset(code::CANCEL).await;
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(4, 0, code::CANCEL));
        stream.expect_finish().await;
        assert_eq!(live.readers(), 1, "beside the one that is published");
        stream.finish();
        side.session.publisher().flushed().await;
    });
}

#[test]
fn a_range_that_was_narrowed_to_what_is_through_ends() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        (0..3).for_each(|_| write_group(&live, &[b"x"]));
        let (_side, mut peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", 0, None)).await;
        for _ in 0..3 {
            next_group(&mut peer).await.0.expect_frame().await;
        }
        stream.expect_quiet(secs(1)).await;
        stream.send(&narrowed(None, Some(2))).await;
        stream.expect_finish().await;
    });
}

#[test]
fn a_range_that_ends_before_the_latest_group_is_over_at_once() {
    for_each_seed(|sim| async move {
        let live = track("cam/video");
        (0..5).for_each(|_| write_group(&live, &[b"x"]));
        let (_side, peer, mut stream) = subscribe(&sim, &live, &ranged(0, "cam/video", None, 2)).await;
        stream.expect_finish().await;
        peer.expect_quiet(secs(1)).await;
    });
}

/// What the session under test asks for.
fn from_to(first: u64, last: u64) -> SubscribeOptions {
    SubscribeOptions { first: Some(first), last: Some(last), ..Default::default() }
}

#[test]
fn a_subscriber_leaves_when_its_range_has_come_or_was_reported() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (subscription, mut stream, wish) = subscribed(&side, &mut peer, from_to(3, 6)).await;
        let mut track = subscription.into_track();
        stream.send(&gap(6, 0, code::NOT_FOUND)).await;
        let mut whole = peer.group(&header(wish.id.0, 4)).await;
        whole.finish();
        let mut cut = peer.group(&header(wish.id.0, 3)).await;
        let mut last = peer.group(&header(wish.id.0, 5)).await;
        sim.sleep(ms(100)).await;
        cut.reset(code::INTERNAL);
        stream.expect_quiet(secs(1)).await;
        last.finish();
        stream.expect_quiet(secs(1)).await;
        stream.send(&gap(3, 0, code::INTERNAL)).await;
        stream.expect_finish().await;
        let (mut groups, mut gaps) = (Vec::new(), Vec::new());
        while let Some(event) = track.next_event().await.unwrap() {
            match event {
                TrackEvent::Group(group) => groups.push(group.sequence()),
                TrackEvent::Gap { first, last, .. } => gaps.push((first, last)),
            }
        }
        groups.sort_unstable();
        assert_eq!((groups, gaps), (vec![3, 4, 5], vec![(6, 6), (3, 3)]));
        stream.finish();
        still_answers(&peer).await;
    });
}

#[test]
fn a_subscriber_leaves_a_range_from_the_latest_group_on_or_one_that_it_narrows() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let wanted = side.session.subscriber();
        let options = SubscribeOptions { last: Some(9), ..Default::default() };
        let (subscription, (mut stream, wish)) =
            tokio::join!(wanted.subscribe(name("cam/video"), options), async {
                let (mut stream, wish) = peer.serve::<Subscribe>(StreamKind::Subscribe).await;
                stream.send(&fact(7)).await;
                (stream, wish)
            });
        let subscription = subscription.unwrap();
        for sequence in [8, 7] {
            peer.group(&header(wish.id.0, sequence)).await.finish();
        }
        stream.expect_quiet(secs(1)).await;
        let change = Change {
            priority: Default::default(),
            order: Default::default(),
            max_age: None,
            first: None,
            last: Some(8),
        };
        subscription.update(change).await.unwrap();
        stream.expect::<SubscribeUpdate>().await;
        stream.expect_finish().await;
    });
}

#[test]
fn a_publisher_without_ranges_is_left_in_the_way_that_it_understands() {
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, version).await;
            let (subscription, mut stream, wish) = subscribed(&side, &mut peer, from_to(3, 3)).await;
            let mut track = subscription.into_track();
            peer.group(&header(wish.id.0, 3)).await.finish();
            stream.expect_reset(code::CANCEL).await;
            stream.expect_stop(code::CANCEL).await;
            assert!(track.next_group().await.unwrap().is_some());
            assert!(track.next_group().await.unwrap().is_none());
        });
    }
}

#[test]
fn a_range_ends_where_the_publisher_names_no_gaps() {
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, version).await;
            let (subscription, mut stream, wish) = subscribed(&side, &mut peer, from_to(2, 5)).await;
            let mut track = subscription.into_track();
            // Deployed publishers start with their latest group, whatever they are asked.
            for sequence in [4, 5] {
                peer.group(&header(wish.id.0, sequence)).await.finish();
            }
            stream.expect_quiet(secs(5)).await;
            stream.expect_reset(code::CANCEL).await;
            let mut groups = Vec::new();
            let mut gaps = Vec::new();
            while let Some(event) = track.next_event().await.unwrap() {
                match event {
                    TrackEvent::Group(group) => groups.push(group.sequence()),
                    TrackEvent::Gap { first, last, reason } => gaps.push((first, last, reason)),
                }
            }
            groups.sort_unstable();
            assert_eq!((groups, gaps), (vec![4, 5], vec![(2, 3, Reason::NotFound)]), "{version}");
        });
    }
}

#[test]
fn a_range_from_the_latest_group_on_ends_where_the_relay_did_not_know_which_that_is() {
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, version).await;
            let options = SubscribeOptions { last: Some(5), ..Default::default() };
            let (subscription, mut stream, wish) = subscribed(&side, &mut peer, options).await;
            let mut track = subscription.into_track();
            for sequence in [4, 5] {
                peer.group(&header(wish.id.0, sequence)).await.finish();
                assert!(track.next_group().await.unwrap().is_some());
            }
            stream.expect_reset(code::CANCEL).await;
            assert!(track.next_group().await.unwrap().is_none());
        });
    }
}

#[test]
fn both_sides_finish_a_bounded_subscription_and_nothing_is_left_of_it() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let link = calm().loss(0.1).jitter(ms(60));
            let (publisher, subscriber) = connected(&sim, link, version).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            (0..3).for_each(|_| write_group(&live, &[b"x"]));
            let wanted = subscriber.session.subscriber();
            let subscription = wanted.subscribe(name("cam/video"), from_to(1, 5)).await.unwrap();
            let mut reader = subscription.track();
            (3..9).for_each(|_| write_group(&live, &[b"x"]));
            let mut seen = Vec::new();
            while let Some(group) = reader.next_group().await.unwrap() {
                seen.push(group.sequence());
            }
            seen.sort_unstable();
            assert_eq!(seen, [1, 2, 3, 4, 5], "{version}");
            sim.sleep(secs(5)).await;
            assert_eq!(live.readers(), 1, "{version}: beside the one that is published");
            tokio::time::timeout(secs(1), publisher.session.publisher().flushed()).await.unwrap();
        });
    }
}
