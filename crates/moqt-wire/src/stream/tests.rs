//! Tests of reading messages out of chunks.

use super::*;
use crate::transfork::{
    Drain, Group, InfoPlease, SessionClient, SessionServer, SessionUpdate, StreamKind, Subscribe,
};
use crate::version::Version;

fn decoder() -> StreamDecoder {
    StreamDecoder::new(Version::TRANSFORK_04.spec(), Limits::default())
}

#[test]
fn messages_of_different_types_follow_each_other() {
    let mut decoder = decoder();
    decoder.push(Bytes::from_static(b"\x00\x01\xc0\x00\x00\x00\xff\x0b\xad\x04\x00\x80"));
    assert_eq!(decoder.next_varint(), Ok(Some(0)));
    let client = decoder.next::<SessionClient>().unwrap().unwrap();
    assert_eq!(client.versions, [0xff0b_ad04]);
    assert_eq!(decoder.next::<SessionUpdate>(), Ok(None));
    decoder.push(Bytes::from_static(b"\x26\x25\xa0"));
    assert_eq!(decoder.next(), Ok(Some(SessionUpdate { bitrate: 2_500_000 })));
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn the_version_can_change_after_the_handshake() {
    let mut decoder = decoder();
    decoder.push(Bytes::from_static(b"\xc0\x00\x00\x00\xff\x0b\xad\x04\x00\x05clock"));
    decoder.next::<SessionServer>().unwrap().unwrap();
    decoder.set_spec(Version::TRANSFORK_04_RS12.spec());
    let please = decoder.next::<InfoPlease>().unwrap().unwrap();
    assert_eq!(please.track.to_string(), "clock");
}

#[test]
fn a_failed_attempt_does_not_stop_one_in_another_version() {
    let mut decoder = decoder();
    // The start of three parts as draft 04 reads it, three characters as 0.12 does.
    decoder.push(Bytes::from_static(b"\x03\x01ab"));
    assert_eq!(decoder.next::<InfoPlease>(), Ok(None));
    decoder.set_spec(Version::TRANSFORK_04_RS12.spec());
    assert!(decoder.next::<InfoPlease>().unwrap().is_some());
}

#[test]
fn a_failed_attempt_does_not_stop_one_at_another_message() {
    let mut decoder = decoder();
    decoder.push(Bytes::from_static(b"\x05"));
    assert_eq!(decoder.next::<Drain>(), Ok(None));
    assert_eq!(decoder.next::<SessionUpdate>(), Ok(Some(SessionUpdate { bitrate: 5 })));
}

#[test]
fn the_rest_is_handed_on_without_a_copy() {
    let mut decoder = decoder();
    let chunk = Bytes::from_static(b"\x00\x07\x43\xe8\x05hello");
    let next = Bytes::from_static(b"\x00");
    decoder.push(chunk.clone());
    decoder.push(next.clone());
    assert_eq!(
        StreamKind::uni(decoder.spec(), decoder.next_varint().unwrap().unwrap()),
        Some(StreamKind::Group)
    );
    decoder.next::<Group>().unwrap().unwrap();
    let rest: Vec<Bytes> = decoder.take_rest().collect();
    assert_eq!(rest, [&b"\x05hello"[..], b"\x00"]);
    assert_eq!(rest[0].as_ptr(), chunk[4..].as_ptr());
    assert_eq!(rest[1].as_ptr(), next.as_ptr());
    assert!(decoder.is_empty());
}

#[test]
fn a_stream_that_ends_inside_a_message_is_truncated() {
    let mut decoder = decoder();
    assert_eq!(decoder.finish(), Ok(()));
    decoder.push(Bytes::from_static(b"\x07\x02\x03cam"));
    assert_eq!(decoder.next::<Subscribe>(), Ok(None));
    let kind = DecodeErrorKind::Truncated;
    assert_eq!(decoder.finish(), Err(DecodeError { message: "Subscribe", field: "track", kind }));
}

#[test]
fn a_stream_that_ends_before_anyone_looked_is_truncated_too() {
    let mut decoder = decoder();
    decoder.push(Bytes::from_static(b"\x40"));
    assert_eq!(decoder.finish().unwrap_err().kind, DecodeErrorKind::Truncated);
    assert_eq!(decoder.next_varint(), Ok(None));
    assert_eq!(decoder.finish().unwrap_err().field, "kind");
}

#[test]
fn bytes_after_the_last_message_are_told() {
    let mut decoder = decoder();
    decoder.push(Bytes::from_static(b"\x01\x01a??"));
    decoder.next::<InfoPlease>().unwrap().unwrap();
    let kind = DecodeErrorKind::TrailingBytes { bytes: 2 };
    assert_eq!(decoder.expect_end().unwrap_err().kind, kind);
}

#[test]
fn an_error_stays() {
    let mut decoder = decoder();
    decoder.push(Bytes::from_static(b"\x21"));
    let error = decoder.next::<InfoPlease>().unwrap_err();
    decoder.push(Bytes::from_static(b"\x01a"));
    assert_eq!(decoder.next::<InfoPlease>(), Err(error));
    assert_eq!(decoder.buffered(), 3);
}

#[test]
fn a_message_beyond_the_limit_is_refused_before_its_bytes_come() {
    let limits = Limits { message_bytes: 100, ..Limits::default() };
    let mut decoder = StreamDecoder::new(Version::TRANSFORK_04.spec(), limits);
    decoder.push(Bytes::from_static(&[0x40, 98]));
    assert_eq!(decoder.next::<Drain>(), Ok(None), "it would just fit");

    let mut decoder = StreamDecoder { chunks: VecDeque::new(), buffered: 0, waiting: None, ..decoder };
    decoder.push(Bytes::from_static(&[0x40, 99]));
    let kind = DecodeErrorKind::TooLarge { value: 101, limit: 100 };
    assert_eq!(decoder.next::<Drain>().unwrap_err().kind, kind);
}

#[test]
fn what_is_waited_for_never_exceeds_the_limit() {
    let limits = Limits { extension_bytes: 60_000, ..Limits::default() };
    let mut decoder = StreamDecoder::new(Version::TRANSFORK_04.spec(), limits.clone());
    decoder.push(Bytes::from_static(&[0, 2, 0, 0x80, 0, 0xea, 0x60]));
    decoder.push(Bytes::from(vec![0; 60_000]));
    decoder.push(Bytes::from_static(&[1, 0x80, 0, 0xea, 0x60]));
    let error = decoder.next::<SessionClient>().unwrap_err();
    let limit = limits.message_bytes as u64;
    assert!(matches!(error.kind, DecodeErrorKind::TooLarge { limit: of, .. } if of == limit), "{error}");
}

#[test]
fn a_message_in_crumbs_leaves_few_chunks() {
    let limits = Limits { url_bytes: 60_000, ..Limits::default() };
    let spec = Version::TRANSFORK_04.spec();
    let drain = Drain { url: (0..60_000u32).map(|n| n as u8).collect() };
    let bytes = drain.to_bytes(spec).unwrap();
    let mut decoder = StreamDecoder::new(spec, limits);
    for at in 0..bytes.len() {
        assert_eq!(decoder.next::<Drain>(), Ok(None));
        decoder.push(bytes.slice(at..=at));
        assert!(decoder.chunks.len() < 32, "{} chunks", decoder.chunks.len());
    }
    assert_eq!(decoder.next(), Ok(Some(drain)));
    assert!(decoder.is_empty());
}

#[test]
fn a_large_chunk_behind_small_ones_is_handed_on_without_a_copy() {
    let mut decoder = decoder();
    let payload = Bytes::from(vec![7; 100_000]);
    for _ in 0..8 {
        decoder.push(Bytes::from_static(b"\x00"));
    }
    decoder.push(payload.clone());
    assert_eq!(decoder.take_rest().last().map(|chunk| chunk.as_ptr()), Some(payload.as_ptr()));
}

#[test]
fn empty_chunks_change_nothing() {
    let mut decoder = decoder();
    decoder.push(Bytes::new());
    assert_eq!(decoder.next_varint(), Ok(None));
    decoder.push(Bytes::from_static(&[0x43]));
    decoder.push(Bytes::new());
    decoder.push(Bytes::from_static(&[0xe8]));
    assert_eq!(decoder.next_varint(), Ok(Some(1000)));
    assert!(decoder.is_empty());
}

#[test]
fn a_field_within_one_chunk_is_a_slice_and_a_field_across_chunks_a_copy() {
    let chunks = [Bytes::from_static(b"abcdef"), Bytes::from_static(b"ghi")];
    let mut cursor = Cursor::new(&chunks, 100);
    assert_eq!(cursor.bytes(2).unwrap().as_ptr(), chunks[0].as_ptr());
    assert_eq!(cursor.bytes(6).unwrap(), "cdefgh");
    assert_eq!(cursor.bytes(1).unwrap().as_ptr(), chunks[1][2..].as_ptr());
    assert_eq!((cursor.position(), cursor.remaining()), (9, 0));
    assert_eq!(cursor.bytes(2), Err(ReadError::More));
    assert_eq!(cursor.needed(), 11);
    assert_eq!(cursor.bytes(0), Ok(Bytes::new()));
}
