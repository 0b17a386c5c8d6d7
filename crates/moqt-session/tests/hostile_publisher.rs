//! Publishers that break the rules towards a subscriber: on groups, and in their answers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::*;
use moqt_session::{GroupError, PeerMisbehaved, Reason, RequestError, SubscribeOptions, TrackEvent};
use moqt_sim::for_each_seed;
use moqt_wire::{
    Version,
    transfork::{InfoPlease, StreamKind, code},
};

#[test]
fn a_group_of_an_unknown_subscription_is_stopped_with_0() {
    for_each_seed(|sim| async move {
        let (_side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let mut group = peer.group(&header(3, 0)).await;
        group.expect_stop(code::CANCEL).await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_group_twice_is_stopped_with_12_and_a_group_outside_the_range_with_15() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let options = SubscribeOptions { first: Some(3), last: Some(5), ..Default::default() };
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, options).await;
        let mut track = subscription.into_track();
        for (sequence, refused) in [
            (4, None),
            (2, Some(code::PROTOCOL_VIOLATION)),
            (6, Some(code::PROTOCOL_VIOLATION)),
            (4, Some(code::DUPLICATE)),
            (5, None),
        ] {
            let mut group = peer.group(&header(wish.id.0, sequence)).await;
            match refused {
                Some(code) => group.expect_stop(code).await,
                None => {
                    group.send_frame(&b"x"[..]).await;
                    group.finish();
                    let mut got = track.next_group().await.unwrap().unwrap();
                    assert_eq!(got.sequence(), sequence);
                    assert_eq!(frames_of(&mut got).await, (vec![Bytes::from_static(b"x")], Ok(())));
                }
            }
        }
    });
}

#[test]
fn a_frame_cut_short_is_of_the_wrong_size_and_the_track_goes_on() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut track = subscription.into_track();
        // Inside a payload, inside a size, behind a size.
        for (sequence, rest) in [(0, &b"\x05hel"[..]), (1, b"\x40"), (2, b"\x05")] {
            let mut group = peer.group(&header(wish.id.0, sequence)).await;
            group.send_frame(&b"whole"[..]).await;
            group.send_raw(rest).await;
            group.finish();
            let mut got = track.next_group().await.unwrap().unwrap();
            let (frames, end) = frames_of(&mut got).await;
            assert_eq!((frames, end), (vec![Bytes::from_static(b"whole")], Err(GroupError::WrongSize)));
        }
        let mut group = peer.group(&header(wish.id.0, 3)).await;
        group.finish();
        let mut got = track.next_group().await.unwrap().unwrap();
        assert_eq!(frames_of(&mut got).await, (vec![], Ok(())));
    });
}

#[test]
fn a_huge_frame_is_stopped_with_69_before_it_comes_and_the_track_goes_on() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (subscription, _stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut track = subscription.into_track();
        let mut group = peer.group(&header(wish.id.0, 0)).await;
        group.send_frame(&b"small"[..]).await;
        group.send_varint(1 << 40).await;
        group.expect_stop(code::TOO_MANY).await;
        let mut got = track.next_group().await.unwrap().unwrap();
        let (frames, end) = frames_of(&mut got).await;
        assert_eq!((frames, end), (vec![Bytes::from_static(b"small")], Err(GroupError::TooLarge)));
        let mut group = peer.group(&header(wish.id.0, 1)).await;
        group.send_frame(&b"next"[..]).await;
        assert_eq!(track.next_group().await.unwrap().unwrap().read_frame().await.unwrap().unwrap(), "next");
    });
}

#[test]
fn a_question_is_not_answered_by_nonsense() {
    for (answer, expected) in [
        // An order that there is not; nothing; half of it.
        (&b"\x00\x00\x03"[..], "malformed"),
        (b"", "ended early"),
        (b"\x00", "malformed"),
    ] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
            let wanted = side.session.subscriber();
            let (info, mut stream) = tokio::join!(wanted.info(name("cam/video")), async {
                let (mut stream, _) = peer.serve::<InfoPlease>(StreamKind::Info).await;
                stream.send_raw(answer).await;
                stream.finish();
                stream
            });
            let said = match info.unwrap_err() {
                RequestError::Peer(PeerMisbehaved::Malformed(_)) => "malformed",
                RequestError::Peer(PeerMisbehaved::EndedEarly(_)) => "ended early",
                _ => "otherwise",
            };
            assert_eq!(said, expected);
            stream.expect_finish().await;
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_subscription_answered_by_nonsense_fails_alone() {
    for (answer, code) in [(&b"\x00\x00\x03"[..], code::DECODE), (b"", code::CANCEL)] {
        for_each_seed(move |sim| async move {
            let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
            let wanted = side.session.subscriber();
            let (subscription, mut stream) =
                tokio::join!(wanted.subscribe(name("cam/video"), SubscribeOptions::default()), async {
                    let (mut stream, _) =
                        peer.serve::<moqt_wire::transfork::Subscribe>(StreamKind::Subscribe).await;
                    stream.send_raw(answer).await;
                    stream.finish();
                    stream
                });
            let error = subscription.unwrap_err();
            assert!(matches!(error, RequestError::Peer(_)), "{error:?}");
            stream.expect_reset(code).await;
            still_answers(&peer).await;
        });
    }
}

#[test]
fn garbage_behind_an_accepted_subscription_ends_the_track_and_not_the_session() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let (subscription, mut stream, _) = subscribed(&side, &mut peer, Default::default()).await;
        stream.send_raw(&b"\x00\x40"[..]).await;
        stream.finish();
        let error = subscription.into_track().next_group().await.unwrap_err();
        assert!(matches!(error, moqt_session::TrackError::Ended(Reason::ProtocolViolation)), "{error:?}");
        stream.expect_reset(code::DECODE).await;
        still_answers(&peer).await;
    });
}

#[test]
fn the_gap_that_a_deployed_publisher_reports_for_a_group_that_we_stopped_is_told() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04_RS12).await;
        let (subscription, mut stream, wish) = subscribed(&side, &mut peer, Default::default()).await;
        let mut track = subscription.into_track();
        let mut group = peer.group(&header(wish.id.0, 4)).await;
        group.send_varint(1 << 40).await;
        group.expect_stop(code::TOO_MANY).await;
        // Such a publisher passes on every stop as a failure of its transport.
        stream.send(&gap(4, 0, code::TRANSPORT)).await;
        let Some(TrackEvent::Group(mut cut)) = track.next_event().await.unwrap() else { panic!() };
        assert_eq!(frames_of(&mut cut).await.1, Err(GroupError::TooLarge));
        let Some(TrackEvent::Gap { first, last, reason }) = track.next_event().await.unwrap() else {
            panic!()
        };
        assert_eq!((first, last, reason), (4, 4, Reason::Transport));
        stream.expect_quiet(secs(1)).await;
    });
}
