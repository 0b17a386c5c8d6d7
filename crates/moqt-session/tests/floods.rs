//! Peers that ask too fast or too much at once: what gives, with which code, what is counted, and who is not hurt.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use common::*;
use moqt_session::{
    Allowance, Config, GroupError, Meters, Reason, SessionError, SubscribeOptions, TrackConsumer,
};
use moqt_sim::{Seeds, Sim, for_each_seed, script::Peer};
use moqt_transport::{Connection as _, SendStream as _};
use moqt_wire::{
    GroupOrder, Priority, Version,
    transfork::{Announce, Info, InfoPlease, StreamKind, SubscribeUpdate, code},
};

/// A scripted client over a transport without narrow limits of its own, and what the session counts.
async fn flooded(sim: &Sim, change: impl FnOnce(&mut moqt_session::Limits)) -> (Side, Peer, Meters) {
    let mut config: Config = config(Version::TRANSFORK_04);
    change(&mut config.limits);
    let meters = config.meters.clone();
    let ends = sim.connect_with(calm(), wide(), wide());
    let (side, peer) = against_client_with(ends, Version::TRANSFORK_04, config).await;
    (side, peer, meters)
}

fn question() -> InfoPlease {
    InfoPlease { track: name("cam/video") }
}

#[test]
fn requests_that_come_too_fast_are_refused_with_69_until_time_has_passed() {
    for_each_seed(|sim| async move {
        let (side, peer, meters) = flooded(&sim, |limits| limits.requests_per_second = 10).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut streams = Vec::new();
        for _ in 0..100 {
            streams.push(peer.request(StreamKind::Info, &question()).await);
        }
        for stream in &mut streams[..40] {
            stream.expect::<Info>().await;
        }
        for stream in &mut streams[40..] {
            stream.expect_reset(code::TOO_MANY).await;
            stream.expect_stop(code::TOO_MANY).await;
        }
        assert_eq!(meters.refused()["requests per second"], 60);
        sim.sleep(secs(1)).await;
        for _ in 0..10 {
            peer.request(StreamKind::Info, &question()).await.expect::<Info>().await;
        }
    });
}

#[test]
fn streams_that_are_opened_and_reset_at_once_count_as_requests() {
    Seeds::default().count(1).run(|sim| async move {
        let (side, peer, meters) = flooded(&sim, |limits| limits.requests_per_second = 100).await;
        for number in 0..20_000 {
            let Ok((mut stream, _answer)) = peer.connection().open_bi().await else { break };
            stream.reset(moqt_transport::Code::NONE);
            if number % 100 == 0 {
                sim.sleep(ms(1)).await;
            }
        }
        let end = side.session.closed().await;
        assert!(matches!(end, SessionError::Peer(_)), "{end:?}");
        assert!(end.to_string().contains("protocol"), "{end}");
        let refused = meters.refused();
        assert!(
            refused["requests per second"] >= 10_000 && refused["refusals per second"] == 1,
            "{refused:?}"
        );
        assert_eq!((meters.serving(), meters.subscribed(), meters.sending()), (0, 0, 0));
    });
}

#[test]
fn a_request_that_brings_too_many_messages_ends_with_69_and_the_others_go_on() {
    for_each_seed(|sim| async move {
        let (side, mut peer, meters) = flooded(&sim, |limits| limits.control_bytes_per_second = 100).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut calm = peer.request(StreamKind::Subscribe, &wish(0, "cam/video")).await;
        calm.expect::<Info>().await;
        let mut noisy = peer.request(StreamKind::Subscribe, &wish(1, "cam/video")).await;
        noisy.expect::<Info>().await;
        let update = SubscribeUpdate {
            priority: Priority(3),
            order: GroupOrder::Default,
            expires: None,
            first: None,
            last: None,
        };
        for _ in 0..1000 {
            noisy.send(&update).await;
        }
        noisy.expect_reset(code::TOO_MANY).await;
        noisy.expect_stop(code::TOO_MANY).await;
        assert_eq!(meters.refused()["control bytes per second"], 1);
        sim.sleep(secs(1)).await;
        calm.send(&update).await;
        write_group(&live, &[b"x"]);
        peer.accept(StreamKind::Group).await;
        still_answers(&peer).await;
        assert_eq!(meters.serving(), 1);
    });
}

#[test]
fn names_times_watches_have_a_limit_and_the_watch_that_exceeds_it_ends_with_69() {
    for_each_seed(|sim| async move {
        let (side, peer, meters) = flooded(&sim, |limits| limits.told = 25).await;
        let published: Vec<_> = (0..10)
            .map(|number| track(&format!("room/{number}")))
            .map(|live| side.tracks.publish(live.consume()).unwrap())
            .collect();
        let mut watches = Vec::new();
        for _ in 0..2 {
            let mut watch = peer.request(StreamKind::Announce, &please("room")).await;
            for _ in 0..10 {
                watch.expect::<Announce>().await;
            }
            assert_eq!(watch.expect::<Announce>().await, caught_up());
            watches.push(watch);
        }
        let mut refused = peer.request(StreamKind::Announce, &please("room")).await;
        refused.expect_reset(code::TOO_MANY).await;
        assert_eq!(meters.refused()["names told"], 1);
        // More names, and one of those that were in time has to go.
        let more: Vec<_> = (10..13)
            .map(|number| track(&format!("room/{number}")))
            .map(|live| side.tracks.publish(live.consume()).unwrap())
            .collect();
        sim.sleep(secs(1)).await;
        assert_eq!(meters.refused()["names told"], 2);
        drop((published, more));
        sim.sleep(secs(1)).await;
        // Names that went make room.
        let live = track("room/new");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut watch = peer.request(StreamKind::Announce, &please("room")).await;
        assert_eq!(watch.expect::<Announce>().await, active("new"));
        still_answers(&peer).await;
    });
}

#[test]
fn at_the_limit_on_group_streams_the_least_important_one_is_stopped_with_69() {
    for_each_seed(|sim| async move {
        let (side, mut peer, meters) = flooded(&sim, |limits| limits.groups = 4).await;
        let options = |priority, order| SubscribeOptions {
            priority: Priority(priority),
            order,
            ..SubscribeOptions::default()
        };
        let low = options(1, GroupOrder::Descending);
        let (low, _low, to_low) = subscribed(&side, &mut peer, low).await;
        let high = options(9, GroupOrder::Ascending);
        let (high, _high, to_high) = subscribed(&side, &mut peer, high).await;
        let mut reader = low.into_track();
        let mut lows = Vec::new();
        for sequence in 0..4 {
            lows.push(peer.group(&header(to_low.id.0, sequence)).await);
        }
        sim.sleep(secs(1)).await;
        // Newer ones matter more there: the oldest gives.
        lows.push(peer.group(&header(to_low.id.0, 4)).await);
        lows[0].expect_stop(code::TOO_MANY).await;
        let mut group = reader.next_group().await.unwrap().unwrap();
        assert_eq!(group.read_frame().await, Err(GroupError::Reset(Reason::TooMany)));
        // One that is older than all is stopped itself.
        lows.push(peer.group(&header(to_low.id.0, 0)).await);
        lows[5].expect_stop(code::TOO_MANY).await;
        // What the subscriber ranks higher displaces all of them.
        let mut highs = Vec::new();
        for (displaced, sequence) in (1..5).zip(0..) {
            highs.push(peer.group(&header(to_high.id.0, sequence)).await);
            lows[displaced].expect_stop(code::TOO_MANY).await;
        }
        let mut refused = peer.group(&header(to_low.id.0, 9)).await;
        refused.expect_stop(code::TOO_MANY).await;
        // Among those, the order of the subscription decides, whichever came last.
        let mut refused = peer.group(&header(to_high.id.0, 4)).await;
        refused.expect_stop(code::TOO_MANY).await;
        assert_eq!(meters.refused()["group streams"], 8);
        for group in &mut highs {
            group.send_frame(&b"x"[..]).await;
        }
        let mut track: TrackConsumer = high.into_track();
        for _ in 0..4 {
            let mut group = track.next_group().await.unwrap().unwrap();
            assert_eq!(group.read_frame().await.unwrap().unwrap(), "x");
        }
        still_answers(&peer).await;
    });
}

#[test]
fn what_is_open_is_counted_and_nothing_is_left_of_it_when_all_have_gone() {
    for_each_seed(|sim| async move {
        let meters = [Meters::default(), Meters::default()];
        let both = [0, 1].map(|side: usize| {
            let mut config = config(Version::TRANSFORK_04);
            config.meters = meters[side].clone();
            config
        });
        let (near, far) = sim.connect(calm());
        let [ours, theirs] = both;
        let (publisher, subscriber) = pair_with(near, far, ours, theirs).await;
        let live = track("cam/video");
        let published = publisher.tracks.publish(live.consume()).unwrap();
        let wanted = subscriber.session.subscriber();
        let mut readers = Vec::new();
        for _ in 0..3 {
            let subscription = wanted.subscribe(name("cam/video"), Default::default()).await.unwrap();
            readers.push(subscription.into_track());
        }
        let counts = |of: &Meters| (of.serving(), of.subscribed(), of.sending());
        assert_eq!((counts(&meters[0]), counts(&meters[1])), ((3, 0, 0), (0, 3, 0)));
        let mut running = live.append_group();
        running.write_frame("12345").unwrap();
        live.gap(7, 9, Reason::Expired);
        sim.sleep(secs(1)).await;
        assert_eq!((counts(&meters[0]), counts(&meters[1])), ((3, 0, 3), (0, 3, 0)));
        assert_eq!((meters[0].groups_sent(), meters[0].bytes_sent()), (3, 15));
        assert_eq!(meters[0].gaps().into_iter().collect::<Vec<_>>(), [("expired", 3)]);
        readers.pop();
        sim.sleep(secs(1)).await;
        assert_eq!((counts(&meters[0]), counts(&meters[1])), ((2, 0, 2), (0, 2, 0)));
        // The rest goes down with its session.
        drop(published);
        subscriber.session.close().await;
        publisher.session.closed().await;
        sim.sleep(secs(1)).await;
        assert_eq!((counts(&meters[0]), counts(&meters[1])), ((0, 0, 0), (0, 0, 0)));
    });
}

#[test]
fn a_group_that_brings_more_than_the_rate_allows_is_stopped_with_69_and_later_ones_come() {
    for_each_seed(|sim| async move {
        let meters = Meters::default();
        let mut config = config(Version::TRANSFORK_04);
        (config.limits.payload_bytes_per_second, config.meters) = (1000, meters.clone());
        let (side, mut peer) = against_server_with(sim.connect(calm()), Version::TRANSFORK_04, config).await;
        let (subscription, _stream, wish) =
            subscribed(&side, &mut peer, SubscribeOptions { first: Some(0), ..Default::default() }).await;
        let mut track = subscription.into_track();
        let mut read = async || frames_of(&mut track.next_group().await.unwrap().unwrap()).await;
        // What four seconds give may come at once, and no more.
        let mut group = peer.group(&header(wish.id.0, 0)).await;
        group.send_frame(vec![7; 3000]).await;
        group.finish();
        let (frames, end) = read().await;
        assert_eq!((frames.len(), end), (1, Ok(())));
        let mut excess = peer.group(&header(wish.id.0, 1)).await;
        excess.send_frame(vec![7; 3000]).await;
        excess.expect_stop(code::TOO_MANY).await;
        assert_eq!(read().await, (vec![], Err(GroupError::Reset(Reason::TooMany))));
        assert_eq!(meters.refused()["payload bytes per second"], 1);
        sim.sleep(secs(4)).await;
        let mut group = peer.group(&header(wish.id.0, 2)).await;
        group.send_frame(vec![7; 3000]).await;
        group.finish();
        let (frames, end) = read().await;
        assert_eq!((frames.len(), end), (1, Ok(())));
    });
}

#[test]
fn sessions_of_one_source_share_what_it_may_ask() {
    for_each_seed(|sim| async move {
        let source = Allowance::new(10, u64::MAX, u64::MAX);
        let mut sides = Vec::new();
        for _ in 0..2 {
            sides.push(flooded(&sim, |limits| limits.source = source.clone()).await);
        }
        let mut asked = Vec::new();
        for _ in 0..30 {
            for (_, peer, _) in &sides {
                asked.push(peer.request(StreamKind::Info, &question()).await);
            }
        }
        sim.sleep(ms(90)).await;
        let told = |meters: &Meters| {
            meters.refused().get("requests per second of a source").copied().unwrap_or_default()
        };
        let refused = sides.iter().map(|(_, _, meters)| told(meters)).collect::<Vec<_>>();
        assert_eq!(refused.iter().sum::<u64>(), 20, "{refused:?}");
        drop(asked);
        sim.sleep(secs(4)).await;
        for (_, peer, _) in &sides {
            still_answers(peer).await;
        }
    });
}

#[test]
fn groups_of_no_subscription_are_stopped_and_too_many_of_them_end_the_session() {
    Seeds::default().count(1).run(|sim| async move {
        let (side, peer, meters) = flooded(&sim, |limits| limits.refusals_per_second = 5).await;
        for sequence in 0..50 {
            let mut group = peer.group(&header(7, sequence)).await;
            group.expect_stop(code::CANCEL).await;
        }
        still_answers(&peer).await;
        let mut groups = Vec::new();
        for sequence in 50..200 {
            groups.push(peer.group(&header(7, sequence)).await);
        }
        let end = side.session.closed().await;
        assert!(end.to_string().contains("protocol"), "{end}");
        assert_eq!(meters.refused()["refusals per second"], 1);
    });
}
