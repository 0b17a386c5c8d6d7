//! Peers that break the rules on the streams that they open, and what becomes of the session.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use common::*;
use moqt_session::{Handshake, PeerMisbehaved, SessionError};
use moqt_sim::{Seeds, for_each_seed, script::Peer};
use moqt_wire::{
    Version,
    transfork::{Fetch, Info, InfoPlease, StreamKind, SubscribeUpdate, code},
};

/// The streams that a peer can open to ask for something, in this version.
fn requests(version: Version) -> Vec<StreamKind> {
    let kinds = [StreamKind::Announce, StreamKind::Subscribe, StreamKind::Fetch, StreamKind::Info];
    kinds.into_iter().filter(|kind| kind.to_wire(version.spec()).is_some()).collect()
}

/// Sends bytes on a new stream of this kind and waits until both its halves are given up with `code`.
async fn refused(peer: &Peer, kind: StreamKind, bytes: impl Into<Bytes>, code: moqt_wire::Code) {
    let mut stream = peer.open(kind).await;
    stream.send_raw(bytes).await;
    stream.expect_reset(code).await;
    stream.expect_stop(code).await;
}

fn broke(error: &SessionError, rule: &PeerMisbehaved) -> bool {
    matches!(error, SessionError::Peer(broken) if broken == rule)
}

#[test]
fn garbage_on_a_request_resets_that_stream_with_5_and_nothing_else() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (_side, peer) = against_client(&sim, version).await;
            for kind in requests(version) {
                refused(&peer, kind, vec![0xff; 40], code::DECODE).await;
            }
            still_answers(&peer).await;
        });
    }
}

#[test]
fn no_random_bytes_on_a_request_end_the_session() {
    for version in VERSIONS {
        Seeds::default().count(40).run(move |sim| async move {
            let (side, peer) = against_client(&sim, version).await;
            let mut rng = sim.rng();
            let mut streams = Vec::new();
            for kind in requests(version) {
                for _ in 0..4 {
                    let bytes: Vec<u8> = (0..rng.range(1..60)).map(|_| (rng.next_u64() % 8) as u8).collect();
                    let mut stream = peer.open(kind).await;
                    stream.send_raw(bytes).await;
                    if rng.chance(0.5) {
                        stream.finish();
                    }
                    streams.push(stream);
                }
            }
            for _ in 0..8 {
                let bytes: Vec<u8> = (0..rng.range(1..60)).map(|_| rng.next_u64() as u8).collect();
                let mut stream = peer.open(StreamKind::Group).await;
                stream.send_raw(bytes).await;
                streams.push(stream);
            }
            sim.sleep(secs(15)).await;
            still_answers(&peer).await;
            assert_eq!(side.session.version(), version);
        });
    }
}

#[test]
fn a_request_cut_short_is_reset_with_5() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (_side, peer) = against_client(&sim, version).await;
            for kind in requests(version) {
                // Nothing, half an integer, half a message.
                for part in [&b""[..], b"\xc0\x00", b"\x02\x40"] {
                    let mut stream = peer.open(kind).await;
                    stream.send_raw(part).await;
                    stream.finish();
                    stream.expect_reset(code::DECODE).await;
                }
            }
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_type_cut_short_is_refused_with_5_in_both_directions() {
    for_each_seed(|sim| async move {
        let (_side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let mut stream = peer.open_bi().await;
        stream.send_raw(&b"\x40"[..]).await;
        stream.finish();
        stream.expect_reset(code::DECODE).await;
        let mut stream = peer.open_uni().await;
        stream.send_raw(&b"\x40"[..]).await;
        stream.finish();
        still_answers(&peer).await;
    });
}

#[test]
fn garbage_on_the_session_stream_closes_the_session_with_5() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        peer.session().send_raw(&b"\xc0\x01"[..]).await;
        peer.session().finish();
        peer.expect_close(code::DECODE).await;
        let error = side.session.closed().await;
        assert!(matches!(error, SessionError::Peer(PeerMisbehaved::Malformed(_))), "{error:?}");
    });
}

#[test]
fn an_unknown_bidirectional_stream_ends_the_session_where_a_draft_is_spoken() {
    for version in [Version::TRANSFORK_03, Version::TRANSFORK_04] {
        for stream_type in [5, 63, 1 << 30] {
            for_each_seed(move |sim| async move {
                let (side, peer) = against_client(&sim, version).await;
                let mut stream = peer.open_bi().await;
                stream.send_varint(stream_type).await;
                peer.expect_close(code::UNEXPECTED_STREAM).await;
                let error = side.session.closed().await;
                assert!(broke(&error, &PeerMisbehaved::UnknownStreamType(stream_type)), "{error:?}");
            });
        }
    }
}

#[test]
fn an_unknown_bidirectional_stream_is_reset_with_5_where_a_crate_is_spoken() {
    for (version, stream_type) in [(Version::TRANSFORK_04_RS12, 4), (Version::TRANSFORK_04_RS9, 5)] {
        for_each_seed(move |sim| async move {
            let (_side, peer) = against_client(&sim, version).await;
            let mut stream = peer.open_bi().await;
            stream.send_varint(stream_type).await;
            stream.expect_reset(code::DECODE).await;
            stream.expect_stop(code::DECODE).await;
            still_answers(&peer).await;
        });
    }
}

#[test]
fn an_unknown_unidirectional_stream_is_treated_as_a_bidirectional_one() {
    for version in [Version::TRANSFORK_03, Version::TRANSFORK_04] {
        for_each_seed(move |sim| async move {
            let (side, peer) = against_client(&sim, version).await;
            let mut stream = peer.open_uni().await;
            stream.send_varint(1).await;
            peer.expect_close(code::UNEXPECTED_STREAM).await;
            assert!(broke(&side.session.closed().await, &PeerMisbehaved::UnknownStreamType(1)));
        });
    }
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        for_each_seed(move |sim| async move {
            let (_side, peer) = against_client(&sim, version).await;
            let mut stream = peer.open_uni().await;
            stream.send_varint(1).await;
            stream.expect_stop(code::DECODE).await;
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_second_session_stream_closes_the_session_with_10() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (side, peer) = against_client(&sim, version).await;
            let _second = peer.open(StreamKind::Session).await;
            peer.expect_close(code::UNEXPECTED_STREAM).await;
            assert!(broke(&side.session.closed().await, &PeerMisbehaved::SecondSessionStream));
        });
    }
}

#[test]
fn a_session_stream_from_the_server_closes_the_session_with_10() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (side, peer) = against_server(&sim, version).await;
            let _second = peer.open(StreamKind::Session).await;
            peer.expect_close(code::UNEXPECTED_STREAM).await;
            assert!(broke(&side.session.closed().await, &PeerMisbehaved::SessionStreamFromServer));
        });
    }
}

/// A path on the wire, of parts of these lengths.
fn path(version: Version, lens: &[usize]) -> Bytes {
    let mut bytes = BytesMut::new();
    if version == Version::TRANSFORK_04_RS12 {
        let text = lens.iter().map(|&len| "x".repeat(len)).collect::<Vec<_>>().join("/");
        bytes.put_u16(0x4000 | text.len() as u16);
        bytes.put_slice(text.as_bytes());
    } else {
        bytes.put_u8(lens.len() as u8);
        for &len in lens {
            bytes.put_u16(0x4000 | len as u16);
            bytes.put_bytes(b'x', len);
        }
    }
    bytes.freeze()
}

#[test]
fn a_path_has_at_most_32_parts_and_1023_bytes() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (_side, peer) = against_client(&sim, version).await;
            for (lens, code) in [
                (vec![1; 32], code::NOT_FOUND),
                (vec![1; 33], code::DECODE),
                (vec![500, 523], code::NOT_FOUND),
                (vec![500, 524], code::DECODE),
                (vec![1024], code::DECODE),
            ] {
                refused(&peer, StreamKind::Info, path(version, &lens), code).await;
                let subscribe = [&[lens.len() as u8][..], &path(version, &lens)].concat();
                let mut stream = peer.open(StreamKind::Subscribe).await;
                stream.send_raw(subscribe).await;
                stream.send_raw(&b"\x00\x00\x00\x00\x00"[..]).await;
                if code == code::DECODE {
                    stream.expect_reset(code).await;
                }
            }
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_path_without_parts_names_no_track() {
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (_side, peer) = against_client(&sim, version).await;
            refused(&peer, StreamKind::Info, &b"\x00"[..], code::DECODE).await;
            refused(&peer, StreamKind::Subscribe, &b"\x00\x00\x80\x01\x00\x00"[..], code::DECODE).await;
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_declared_length_is_refused_before_anything_of_it_has_come() {
    const HUGE: &[u8] = b"\xc0\x00\x01\x00\x00\x00\x00\x00";
    for version in VERSIONS {
        for_each_seed(move |sim| async move {
            let (_side, peer) = against_client(&sim, version).await;
            refused(&peer, StreamKind::Info, HUGE, code::DECODE).await;
            refused(&peer, StreamKind::Announce, HUGE, code::DECODE).await;
            refused(&peer, StreamKind::Subscribe, [b"\x00", HUGE].concat(), code::DECODE).await;
            if version != Version::TRANSFORK_04_RS12 {
                refused(&peer, StreamKind::Info, [b"\x01", HUGE].concat(), code::DECODE).await;
            }
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_subscribe_id_used_twice_resets_that_stream_with_12_and_the_first_goes_on() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut first = peer.request(StreamKind::Subscribe, &wish(7, "cam/video")).await;
        first.expect::<Info>().await;
        // Used up also by a subscription that was refused.
        let mut refused = peer.request(StreamKind::Subscribe, &wish(8, "nobody")).await;
        refused.expect_reset(code::NOT_FOUND).await;
        for used in [7, 8] {
            let mut second = peer.request(StreamKind::Subscribe, &wish(used, "cam/video")).await;
            second.expect_reset(code::DUPLICATE).await;
            second.expect_stop(code::DUPLICATE).await;
        }
        write_group(&live, &[b"hello"]);
        let mut group = peer.accept(StreamKind::Group).await;
        assert_eq!(group.expect::<moqt_wire::transfork::Group>().await, header(7, 0));
        assert_eq!(group.expect_frame().await, "hello");
        still_answers(&peer).await;
    });
}

#[test]
fn a_range_that_ends_before_it_starts_is_reset_with_15() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let mut stream = peer.request(StreamKind::Subscribe, &ranged(0, "cam/video", 5, 4)).await;
        stream.expect_reset(code::PROTOCOL_VIOLATION).await;
        let mut stream = peer.request(StreamKind::Subscribe, &ranged(1, "cam/video", 5, 5)).await;
        stream.expect::<Info>().await;
        assert_eq!(live.readers(), 2);
    });
}

fn bounds(first: impl Into<Option<u64>>, last: impl Into<Option<u64>>) -> SubscribeUpdate {
    let ranged = ranged(0, "x", first, last);
    SubscribeUpdate {
        priority: ranged.priority,
        order: ranged.order,
        expires: None,
        first: ranged.first,
        last: ranged.last,
    }
}

#[test]
fn an_update_that_widens_the_range_resets_the_stream_with_15() {
    let table = [
        (ranged(0, "cam/video", 5, 9), bounds(4, None)),
        (ranged(0, "cam/video", 5, 9), bounds(None, 10)),
        (ranged(0, "cam/video", 5, 9), bounds(10, None)),
        (ranged(0, "cam/video", 5, None), bounds(None, 4)),
        (ranged(0, "cam/video", None, 9), bounds(10, None)),
    ];
    for (wish, update) in table {
        for_each_seed(|sim| {
            let wish = wish.clone();
            let update = update.clone();
            async move {
                let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
                let live = track("cam/video");
                let _published = side.tracks.publish(live.consume()).unwrap();
                let mut stream = peer.request(StreamKind::Subscribe, &wish).await;
                stream.expect::<Info>().await;
                // Narrower is fine, and so is nothing at all.
                stream.send(&bounds(None, None)).await;
                stream.expect_quiet(ms(100)).await;
                stream.send(&update).await;
                stream.expect_reset(code::PROTOCOL_VIOLATION).await;
                still_answers(&peer).await;
                assert_eq!(live.readers(), 1);
            }
        });
    }
}

#[test]
fn a_subscription_from_the_latest_group_cannot_be_widened_below_it() {
    for_each_seed(|sim| async move {
        let (side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        (0..10).for_each(|_| write_group(&live, &[b"x"]));
        let mut stream = peer.request(StreamKind::Subscribe, &wish(0, "cam/video")).await;
        assert_eq!(stream.expect::<Info>().await.latest.0, 9);
        stream.send(&bounds(8, None)).await;
        stream.expect_reset(code::PROTOCOL_VIOLATION).await;
        still_answers(&peer).await;
    });
}

#[test]
fn garbage_behind_a_subscription_ends_it_with_5_and_its_groups_with_0() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let live = track("cam/video");
        let _published = side.tracks.publish(live.consume()).unwrap();
        let _running = live.append_group();
        let mut stream = peer.request(StreamKind::Subscribe, &wish(0, "cam/video")).await;
        stream.expect::<Info>().await;
        let mut group = peer.accept(StreamKind::Group).await;
        // An order that there is not.
        stream.send_raw(&b"\x00\x03\x00\x00"[..]).await;
        stream.expect_reset(code::DECODE).await;
        group.expect_reset(code::CANCEL).await;
        still_answers(&peer).await;
        assert_eq!(live.readers(), 1);
    });
}

#[test]
fn a_message_out_of_order_resets_its_stream_with_15() {
    for_each_seed(|sim| async move {
        let (_side, peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let mut stream = peer.request(StreamKind::Announce, &please("meeting")).await;
        stream.send(&please("meeting")).await;
        stream.expect_reset(code::PROTOCOL_VIOLATION).await;
        stream.expect_stop(code::PROTOCOL_VIOLATION).await;
        still_answers(&peer).await;
    });
}

#[test]
fn a_second_question_on_the_same_stream_is_refused_and_so_are_bytes_behind_the_first() {
    for (behind, finish) in
        [(&b"\x01\x01x"[..], false), (b"\x01", false), (b"\x01", true), (b"\xff\xff", true)]
    {
        for_each_seed(move |sim| async move {
            let (near, far) = sim.connect(calm());
            let (peer, session) = tokio::join!(
                Peer::client(near).handshake(Version::TRANSFORK_04),
                Handshake::accept(far, config(Version::TRANSFORK_04))
            );
            let _session = session.unwrap().start(Arc::new(Silent::default()));
            let mut stream = peer.request(StreamKind::Info, &InfoPlease { track: name("x") }).await;
            stream.send_raw(behind).await;
            if finish {
                stream.finish();
            }
            stream.expect_reset(code::DECODE).await;
            peer.expect_quiet(secs(1)).await;
        });
    }
}

#[test]
fn a_fetch_is_refused_as_not_found_where_nothing_can_be_fetched() {
    for version in [Version::TRANSFORK_03, Version::TRANSFORK_04] {
        for_each_seed(move |sim| async move {
            let (_side, peer) = against_client(&sim, version).await;
            let fetch = Fetch {
                track: name("nobody"),
                priority: moqt_wire::Priority(1),
                group: moqt_wire::GroupSequence(3),
                frame: 0,
            };
            let mut stream = peer.request(StreamKind::Fetch, &fetch).await;
            stream.finish();
            stream.expect_reset(code::NOT_FOUND).await;
            still_answers(&peer).await;
        });
    }
}

#[test]
fn a_stream_that_does_not_come_to_its_point_in_time_is_given_up() {
    for_each_seed(|sim| async move {
        let (side, mut peer) = against_client(&sim, Version::TRANSFORK_04).await;
        let mut peer2 = peer.open_bi().await;
        peer2.send_raw(&b"\x40"[..]).await;
        let mut typed = peer.open(StreamKind::Subscribe).await;
        typed.send_raw(&b"\x00\x03"[..]).await;
        let mut group = peer.open(StreamKind::Group).await;
        group.send_raw(&b"\x40"[..]).await;
        // Streams that have said what they are for may stay silent for as long as they like.
        let mut watch = peer.request(StreamKind::Announce, &please("")).await;
        assert_eq!(watch.expect::<moqt_wire::transfork::Announce>().await, caught_up());
        sim.sleep(secs(9)).await;
        typed.expect_quiet(ms(1)).await;
        peer2.expect_quiet(ms(1)).await;
        sim.sleep(secs(2)).await;
        peer2.expect_reset(code::TIMEOUT).await;
        typed.expect_reset(code::TIMEOUT).await;
        group.expect_stop(code::TIMEOUT).await;
        watch.expect_quiet(secs(60)).await;
        still_answers(&peer).await;
        assert!(side.session.peer_bitrate().is_none());
        peer.session();
    });
}
