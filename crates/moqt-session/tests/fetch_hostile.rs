//! Peers that break the rules on Fetch streams, as the one that asks and as the one that answers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::*;
use moqt_session::{FetchOptions, Fetched, GroupError, Reason, Retention};
use moqt_sim::{
    Seeds, for_each_seed,
    script::{Peer, PeerStream},
};
use moqt_wire::{
    GroupSequence, Message as _, Priority, Version,
    transfork::{Fetch, FetchUpdate, StreamKind, code},
};

fn wanted() -> Fetch {
    Fetch { track: name("cam/video"), priority: Priority(128), group: GroupSequence(0), frame: 0 }
}

/// A fetch of the session under test, that the script is about to answer.
async fn fetching(side: &Side, peer: &mut Peer, retention: Retention) -> (Fetched, PeerStream) {
    let options = FetchOptions { retention, ..FetchOptions::default() };
    let fetched = side.session.subscriber().fetch(name("cam/video"), 0, options).await.unwrap();
    let (stream, _) = peer.serve::<Fetch>(StreamKind::Fetch).await;
    (fetched, stream)
}

#[test]
fn garbage_behind_a_fetch_resets_it_with_5_and_nothing_else() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut group = live.append_group();
        group.write_frame("x").unwrap();
        // An update cut short.
        let mut stream = peer.request(StreamKind::Fetch, &wanted()).await;
        assert_eq!(stream.expect_frame().await, "x");
        stream.send_raw(&b"\x40"[..]).await;
        stream.finish();
        stream.expect_reset(code::DECODE).await;
        sim.sleep(secs(1)).await;
        assert_eq!(live.readers(), 1);
        still_answers(&peer).await;
    });
}

#[test]
fn an_update_before_its_fetch_is_no_fetch() {
    for_each_seed(|sim| async move {
        let (_side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let mut stream = peer.request(StreamKind::Fetch, &FetchUpdate { priority: Priority(1) }).await;
        stream.finish();
        stream.expect_reset(code::DECODE).await;
        // And one behind which nothing comes has its time.
        let mut stream = peer.request(StreamKind::Fetch, &FetchUpdate { priority: Priority(1) }).await;
        sim.sleep(secs(11)).await;
        stream.expect_reset(code::TIMEOUT).await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_second_fetch_on_the_stream_changes_priorities_at_most() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        write_group(&live, &[b"x"]);
        let mut stream = peer.open(StreamKind::Fetch).await;
        let fetch = wanted().to_bytes(peer.spec()).unwrap();
        stream.send_raw([&fetch[..], &fetch].concat()).await;
        assert_eq!(stream.expect_frame().await, "x");
        stream.expect_finish().await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_flood_of_updates_changes_nothing_but_the_order() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut group = live.append_group();
        let mut stream = peer.request(StreamKind::Fetch, &wanted()).await;
        for priority in 0..1000u32 {
            stream.send(&FetchUpdate { priority: Priority((priority % 256) as u8) }).await;
        }
        group.write_frame("x").unwrap();
        group.finish().unwrap();
        assert_eq!(stream.expect_frame().await, "x");
        stream.expect_finish().await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_peer_that_does_not_read_what_it_fetches_holds_nothing_up() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let retention = Retention { max_groups: 2, ..Retention::default() };
        let live = moqt_session::TrackProducer::new(name("cam/video"), Default::default(), retention);
        let _published = side.tracks.publish(live.consume()).unwrap();
        // More than the windows take.
        write_group(&live, &[&[7; 3_000_000]]);
        let mut stream = peer.request(StreamKind::Fetch, &wanted()).await;
        sim.sleep(secs(5)).await;
        assert!(live.consume().held_bytes() >= 3_000_000);
        for _ in 0..3 {
            write_group(&live, &[b"x"]);
        }
        stream.expect_reset(code::EXPIRED).await;
        assert!(live.consume().held_bytes() < 2000);
        still_answers(&peer).await;
    });
}

#[test]
fn a_frame_cut_short_is_of_the_wrong_size() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        // Inside a payload, inside a size, behind a size.
        for rest in [&b"\x05hel"[..], b"\x40", b"\x05"] {
            let (mut fetched, mut stream) = fetching(&side, &mut peer, Retention::default()).await;
            stream.send_frame(&b"whole"[..]).await;
            stream.send_raw(rest).await;
            stream.finish();
            let (frames, end) = frames_of(fetched.group()).await;
            assert_eq!((frames, end), (vec![Bytes::from_static(b"whole")], Err(GroupError::WrongSize)));
            stream.expect_reset(code::WRONG_SIZE).await;
        }
        still_answers(&peer).await;
    });
}

#[test]
fn a_huge_frame_is_stopped_with_69_before_it_comes() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (mut fetched, mut stream) = fetching(&side, &mut peer, Retention::default()).await;
        stream.send_frame(&b"small"[..]).await;
        stream.send_varint(1 << 40).await;
        stream.expect_stop(code::TOO_MANY).await;
        let (frames, end) = frames_of(fetched.group()).await;
        assert_eq!((frames, end), (vec![Bytes::from_static(b"small")], Err(GroupError::TooLarge)));
        stream.expect_reset(code::TOO_MANY).await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_group_beyond_what_is_kept_of_one_is_stopped_with_69() {
    let small = Retention { max_group_bytes: 10, ..Retention::default() };
    let few = Retention { max_group_frames: 3, ..Retention::default() };
    for retention in [small, few] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
            let (mut fetched, mut stream) = fetching(&side, &mut peer, retention).await;
            for _ in 0..4 {
                stream.send_frame(&b"xyz"[..]).await;
            }
            stream.expect_stop(code::TOO_MANY).await;
            let (frames, end) = frames_of(fetched.group()).await;
            assert_eq!((frames.len(), end), (3, Err(GroupError::TooLarge)));
            still_answers(&peer).await;
        });
    }
}

#[test]
fn whatever_the_code_of_a_refusal_it_is_seen_and_the_session_lives() {
    for (number, reason) in [
        (code::NOT_FOUND.0, Reason::NotFound),
        (code::GOING_AWAY.0, Reason::GoingAway),
        (1 << 20, Reason::App((1 << 20) - code::APP_BASE.0 as u32)),
        (7, Reason::Unknown(7)),
    ] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
            let (mut fetched, mut stream) = fetching(&side, &mut peer, Retention::default()).await;
            stream.reset(moqt_wire::Code(number));
            assert_eq!(frames_of(fetched.group()).await, (vec![], Err(GroupError::Reset(reason))));
            stream.expect_reset(code::CANCEL).await;
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_peer_that_stops_our_request_may_answer_it_all_the_same() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (mut fetched, mut stream) = fetching(&side, &mut peer, Retention::default()).await;
        stream.stop(code::CANCEL);
        sim.sleep(secs(1)).await;
        fetched.update_priority(Priority(1)).await.unwrap();
        stream.send_frame(&b"x"[..]).await;
        stream.finish();
        assert_eq!(frames_of(fetched.group()).await, (vec![Bytes::from_static(b"x")], Ok(())));
        still_answers(&peer).await;
    });
}

#[test]
fn no_random_bytes_in_answer_to_a_fetch_end_the_session() {
    Seeds::default().count(40).run(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let mut rng = sim.rng();
        for _ in 0..8 {
            let (mut fetched, mut stream) = fetching(&side, &mut peer, Retention::default()).await;
            let bytes: Vec<u8> = (0..rng.range(1..200)).map(|_| rng.next_u64() as u8).collect();
            stream.send_raw(bytes).await;
            if rng.chance(0.5) {
                stream.finish();
            }
            let _ = tokio::time::timeout(secs(1), frames_of(fetched.group())).await;
        }
        still_answers(&peer).await;
    });
}
