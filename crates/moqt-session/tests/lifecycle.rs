//! Subscriptions from beginning to end, with the codes on the wire.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::*;
use moqt_session::{
    GroupError, OrderedGroups, OrderedItem, Reason, Start, SubscribeOptions, SubscribeUpdate, TrackError,
    TrackEvent, TrackProducer,
};
use moqt_sim::{
    Sim, for_each_seed,
    script::{Peer, PeerStream},
};
use moqt_wire::{
    GroupOrder, Priority, Version,
    transfork::{self, Group, Info, StreamKind, Subscribe, SubscribeGap, code},
};

/// A track served by the session under test to a scripted subscriber.
struct Served {
    side: Side,
    peer: Peer,
    live: TrackProducer,
    stream: PeerStream,
    published: moqt_session::Published,
}

async fn served(sim: &Sim, wish: &Subscribe) -> Served {
    let (side, peer) = against_client(sim, Version::TRANSFORK_04).await;
    let live = track("cam/video");
    let published = side.tracks.publish(live.consume()).unwrap();
    let mut stream = peer.request(StreamKind::Subscribe, wish).await;
    stream.expect::<Info>().await;
    Served { side, peer, live, stream, published }
}

/// The next Group stream and the number of its group.
async fn next_group(peer: &mut Peer) -> (PeerStream, u64) {
    let (stream, group) = peer.serve::<Group>(StreamKind::Group).await;
    (stream, group.sequence.0)
}

#[test]
fn unsubscribed_by_fin_running_groups_go_on_and_no_new_ones_begin() {
    for_each_seed(|sim| async move {
        let Served { side: _side, mut peer, live, mut stream, published: _published } =
            served(&sim, &wish(0, "cam/video")).await;
        let mut running = live.append_group();
        running.write_frame(&b"before"[..]).unwrap();
        let (mut group, _) = next_group(&mut peer).await;
        stream.finish();
        sim.sleep(ms(100)).await;
        running.write_frame(&b"after"[..]).unwrap();
        write_group(&live, &[b"new"]);
        assert_eq!(group.expect_frame().await, "before");
        assert_eq!(group.expect_frame().await, "after");
        group.expect_quiet(secs(5)).await;
        stream.expect_quiet(secs(5)).await;
        running.finish().unwrap();
        group.expect_finish().await;
        stream.expect_finish().await;
        peer.expect_quiet(secs(1)).await;
        assert_eq!(live.readers(), 1);
    });
}

#[test]
fn a_group_given_up_after_a_graceful_end_is_still_reported() {
    for_each_seed(|sim| async move {
        let Served { side: _side, mut peer, live, mut stream, published: _published } =
            served(&sim, &wish(0, "cam/video")).await;
        let running = live.append_group();
        let (mut group, _) = next_group(&mut peer).await;
        stream.finish();
        sim.sleep(ms(100)).await;
        running.abort(Reason::App(30));
        group.expect_reset(94_u64).await;
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(0, 0, moqt_wire::Code(94)));
        stream.expect_finish().await;
    });
}

#[test]
fn unsubscribed_by_reset_or_stop_running_groups_are_reset_with_0() {
    for stop in [false, true] {
        for_each_seed(move |sim| async move {
            let Served { side: _side, mut peer, live, mut stream, published: _published } =
                served(&sim, &wish(0, "cam/video")).await;
            let mut running = [live.append_group(), live.append_group()];
            let (mut one, _) = next_group(&mut peer).await;
            let (mut other, _) = next_group(&mut peer).await;
            if stop {
                stream.stop(code::CANCEL)
            } else {
                stream.reset(code::CANCEL)
            }
            one.expect_reset(code::CANCEL).await;
            other.expect_reset(code::CANCEL).await;
            stream.expect_reset(code::CANCEL).await;
            running[0].write_frame(&b"nobody"[..]).unwrap();
            write_group(&live, &[b"nobody"]);
            peer.expect_quiet(secs(1)).await;
            assert_eq!(live.readers(), 1);
        });
    }
}

#[test]
fn a_group_stopped_by_the_subscriber_becomes_a_gap_with_its_code_and_the_rest_goes_on() {
    for_each_seed(|sim| async move {
        let Served { side: _side, mut peer, live, mut stream, published: _published } =
            served(&sim, &wish(0, "cam/video")).await;
        // While nothing is written, while something is, and after everything was.
        let idle = live.append_group();
        let (mut group, _) = next_group(&mut peer).await;
        group.stop(77_u64);
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(0, 0, moqt_wire::Code(77)));
        drop(idle);

        let mut busy = live.append_group();
        busy.write_frame(vec![0; 3 << 20]).unwrap();
        let (mut group, _) = next_group(&mut peer).await;
        sim.sleep(ms(500)).await;
        group.stop(78_u64);
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(1, 0, moqt_wire::Code(78)));
        drop(busy);

        write_group(&live, &[b"fine"]);
        let (mut group, sequence) = next_group(&mut peer).await;
        assert_eq!((sequence, group.expect_frame().await), (2, Bytes::from_static(b"fine")));
        group.expect_finish().await;
        stream.expect_quiet(secs(1)).await;
    });
}

#[test]
fn a_group_given_up_by_its_producer_is_reset_and_reported_with_the_code() {
    for_each_seed(|sim| async move {
        let Served { side: _side, mut peer, live, mut stream, published: _published } =
            served(&sim, &wish(0, "cam/video")).await;
        let running = live.append_group();
        let (mut group, _) = next_group(&mut peer).await;
        running.abort(Reason::Internal);
        group.expect_reset(code::INTERNAL).await;
        assert_eq!(stream.expect::<SubscribeGap>().await, gap(0, 0, code::INTERNAL));
        stream.expect_quiet(secs(1)).await;
    });
}

#[test]
fn a_gap_and_a_group_given_up_reach_the_reader() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm(), version).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            let wanted = subscriber.session.subscriber();
            let options = SubscribeOptions::default();
            let mut track = wanted.subscribe(name("cam/video"), options).await.unwrap().into_track();
            let mut running = live.append_group();
            running.write_frame(&b"whole"[..]).unwrap();
            let Some(TrackEvent::Group(mut group)) = track.next_event().await.unwrap() else { panic!() };
            assert_eq!(group.read_frame().await.unwrap().unwrap(), "whole");
            running.abort(Reason::App(50));
            assert_eq!(group.read_frame().await, Err(GroupError::Reset(Reason::App(50))));
            live.gap(1, 3, Reason::NotFound);
            let mut gaps = Vec::new();
            while gaps.len() < 2 {
                let Some(TrackEvent::Gap { first, last, reason }) = track.next_event().await.unwrap() else {
                    panic!()
                };
                gaps.push((first, last, reason));
            }
            gaps.sort_by_key(|gap| gap.0);
            assert_eq!(gaps, [(0, 0, Reason::App(50)), (1, 3, Reason::NotFound)]);
        });
    }
}

#[test]
fn groups_that_overtake_the_answer_are_delivered() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let wanted = side.session.subscriber();
        let (subscription, _stream) =
            tokio::join!(wanted.subscribe(name("cam/video"), SubscribeOptions::default()), async {
                let (mut stream, wish) = peer.serve::<Subscribe>(StreamKind::Subscribe).await;
                for sequence in [6, 5] {
                    let mut group = peer.group(&header(wish.id.0, sequence)).await;
                    group.send_frame(&b"early"[..]).await;
                    group.finish();
                }
                sim.sleep(secs(1)).await;
                stream.send(&fact(5)).await;
                stream
            });
        let mut track = subscription.unwrap().into_track();
        for sequence in [6, 5] {
            let mut group = track.next_group().await.unwrap().unwrap();
            assert_eq!(group.sequence(), sequence);
            assert_eq!(frames_of(&mut group).await, (vec![Bytes::from_static(b"early")], Ok(())));
        }
    });
}

#[test]
fn the_end_of_a_track_is_told_after_each_group_has_been_acknowledged() {
    for_each_seed(|sim| async move {
        let Served { side, mut peer, live, mut stream, published: _published } =
            served(&sim, &wish(0, "cam/video")).await;
        // More than the stream's window takes unread.
        write_group(&live, &[&[1; 3 << 20]]);
        live.finish();
        let (mut group, _) = next_group(&mut peer).await;
        stream.expect_quiet(secs(5)).await;
        assert_eq!(group.expect_frame().await.len(), 3 << 20);
        group.expect_finish().await;
        stream.expect_finish().await;
        stream.finish();
        tokio::time::timeout(secs(1), side.session.publisher().flushed()).await.unwrap();
        assert_eq!(live.readers(), 1);
    });
}

#[test]
fn a_track_that_is_given_up_resets_the_subscription_with_its_code() {
    for (end, code, seen) in [
        (Some(Reason::App(9)), 73, Reason::App(9)),
        (Some(Reason::GoingAway), 68, Reason::GoingAway),
        (None, 0, Reason::Cancelled),
    ] {
        for_each_seed(move |sim| async move {
            let Served { side: _side, mut peer, live, mut stream, published: _published } =
                served(&sim, &wish(0, "cam/video")).await;
            write_group(&live, &[b"last"]);
            match end {
                Some(reason) => live.abort(reason),
                None => drop(live),
            }
            let (mut group, _) = next_group(&mut peer).await;
            assert_eq!(group.expect_frame().await, "last");
            group.expect_finish().await;
            stream.expect_reset(code).await;

            let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            let wanted = subscriber.session.subscriber();
            let options = SubscribeOptions::default();
            let mut track = wanted.subscribe(name("cam/video"), options).await.unwrap().into_track();
            match end {
                Some(reason) => live.abort(reason),
                None => drop(live),
            }
            let error = track.next_group().await.unwrap_err();
            assert!(matches!(error, TrackError::Ended(reason) if reason == seen), "{error:?}");
        });
    }
}

#[test]
fn dropping_the_last_reader_resets_and_stops_and_a_clone_keeps_it_going() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (subscription, mut stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut clone = subscription.track();
        drop(subscription);
        sim.sleep(secs(1)).await;
        let mut group = peer.group(&header(wish.id.0, 0)).await;
        assert_eq!(clone.next_group().await.unwrap().unwrap().sequence(), 0);
        drop(clone);
        stream.expect_reset(code::CANCEL).await;
        stream.expect_stop(code::CANCEL).await;
        // What still comes for it is not wanted.
        let mut late = peer.group(&header(wish.id.0, 1)).await;
        late.expect_stop(code::CANCEL).await;
        group.finish();
        still_answers(&peer).await;
    });
}

#[test]
fn two_subscriptions_to_one_track_are_independent() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let wanted = subscriber.session.subscriber();
        let options = SubscribeOptions::default();
        let one = wanted.subscribe(name("cam/video"), options).await.unwrap();
        let mut other = wanted.subscribe(name("cam/video"), options).await.unwrap().into_track();
        assert_eq!(live.readers(), 3);
        drop(one);
        sim.sleep(ms(100)).await;
        assert_eq!(live.readers(), 2);
        write_group(&live, &[b"x"]);
        let mut group = other.next_group().await.unwrap().unwrap();
        assert_eq!(frames_of(&mut group).await, (vec![Bytes::from_static(b"x")], Ok(())));
    });
}

#[test]
fn readers_in_order_get_each_group_once_over_a_link_that_loses_and_reorders() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let link = calm().loss(0.1).jitter(ms(60));
            let (publisher, subscriber) = connected(&sim, link, version).await;
            let live = track("cam/video");
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            let wanted = subscriber.session.subscriber();
            let subscription = wanted.subscribe(name("cam/video"), Default::default()).await.unwrap();
            let mut ordered = OrderedGroups::new(subscription.into_track(), secs(60));
            for number in 0..40u8 {
                write_group(&live, &[&[number], &[number; 3000]]);
                sim.sleep(ms(10)).await;
            }
            live.finish();
            for number in 0..40u8 {
                let Some(OrderedItem::Group(mut group)) = ordered.next().await.unwrap() else { panic!() };
                assert_eq!(group.sequence(), u64::from(number));
                let frames = vec![Bytes::from(vec![number]), Bytes::from(vec![number; 3000])];
                assert_eq!(frames_of(&mut group).await, (frames, Ok(())));
            }
            assert!(ordered.next().await.unwrap().is_none());
        });
    }
}

#[test]
fn an_update_reaches_the_publisher_as_it_was_said() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, version).await;
            let wanted = side.session.subscriber();
            let (subscription, mut stream) =
                tokio::join!(wanted.subscribe(name("cam/video"), Default::default()), async {
                    let (mut stream, _) = peer.serve::<Subscribe>(StreamKind::Subscribe).await;
                    let expires = (version == Version::TRANSFORK_03).then_some(moqt_wire::Millis(0));
                    stream.send(&Info { expires, ..fact(3) }).await;
                    stream
                });
            let update = SubscribeUpdate {
                priority: Priority(50),
                order: GroupOrder::Ascending,
                max_age: None,
                first: None,
                last: Some(69),
            };
            let subscription = subscription.unwrap();
            subscription.update(update).await.unwrap();
            let said = stream.expect::<transfork::SubscribeUpdate>().await;
            assert_eq!((said.priority, said.order), (Priority(50), GroupOrder::Ascending), "{version}");
            assert_eq!((said.first, said.last), (None, Some(moqt_wire::GroupSequence(69))), "{version}");
        });
    }
}

#[test]
fn a_reader_that_starts_at_a_group_gets_what_is_held_from_there() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        (0..10).for_each(|_| write_group(&live, &[b"x"]));
        let wanted = subscriber.session.subscriber();
        let options = SubscribeOptions { first: Some(4), last: Some(11), ..Default::default() };
        let subscription = wanted.subscribe(name("cam/video"), options).await.unwrap();
        assert_eq!(subscription.latest(), Some(9));
        let track = subscription.into_track();
        sim.sleep(ms(200)).await;
        (0..10).for_each(|_| write_group(&live, &[b"x"]));
        live.finish();
        let mut seen = Vec::new();
        let mut track = track.reader(Start::At(0));
        while let Some(group) = track.next_group().await.unwrap() {
            seen.push(group.sequence());
        }
        seen.sort_unstable();
        assert_eq!(seen, (4..=11).collect::<Vec<_>>());
    });
}

#[test]
fn groups_that_begin_to_arrive_after_the_publisher_finished_are_still_read() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (subscription, mut stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut track = subscription.into_track();
        let mut running = peer.group(&header(wish.id.0, 0)).await;
        stream.finish();
        let mut late = peer.group(&header(wish.id.0, 1)).await;
        late.send_frame(&b"late"[..]).await;
        late.finish();
        let mut first = track.next_group().await.unwrap().unwrap();
        let mut second = track.next_group().await.unwrap().unwrap();
        assert_eq!(frames_of(&mut second).await, (vec![Bytes::from_static(b"late")], Ok(())));
        // The end of the track does not wait for a group that takes its time, and does not cut it short.
        assert!(track.next_group().await.unwrap().is_none());
        stream.expect_finish().await;
        sim.sleep(secs(5)).await;
        running.send_frame(&b"slow"[..]).await;
        running.finish();
        assert_eq!(frames_of(&mut first).await, (vec![Bytes::from_static(b"slow")], Ok(())));
        let mut too_late = peer.group(&header(wish.id.0, 2)).await;
        too_late.expect_stop(code::CANCEL).await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_group_that_is_written_but_not_yet_sent_is_reset_too_when_nobody_wants_it() {
    for_each_seed(|sim| async move {
        let (near, far) = sim.connect(calm().rate(200_000));
        let version = Version::TRANSFORK_04;
        let (side, mut peer) = against_client_with((near, far), version, config(version)).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut stream = peer.request(StreamKind::Subscribe, &wish(0, "cam/video")).await;
        stream.expect::<Info>().await;
        write_group(&live, &[&[1; 60_000]]);
        let (mut group, _) = next_group(&mut peer).await;
        sim.sleep(ms(100)).await;
        stream.reset(code::CANCEL);
        group.expect_reset(code::CANCEL).await;
        assert!(sim.elapsed() < secs(1), "{:?}", sim.elapsed());
    });
}
