//! Tests of how values are written, at the edges.

use super::*;
use crate::error::{DecodeError, EncodeError};
use crate::message::Message;
use crate::transfork::{Fetch, Info, InfoPlease, SessionClient, Subscribe, SubscribeGap, SubscribeUpdate};
use crate::version::Version;

fn read<T: Field>(version: Version, limits: &Limits, bytes: &[u8]) -> Result<T, ReadError> {
    let chunks = [Bytes::copy_from_slice(bytes)];
    T::read(version.spec(), limits, &mut Cursor::new(&chunks, limits.message_bytes))
}

fn written<T: Field>(version: Version, value: T) -> Result<Vec<u8>, EncodeErrorKind> {
    let mut out = BytesMut::new();
    value.write(version.spec(), &mut out).map(|()| out.to_vec())
}

fn track(text: &str) -> FullTrackName {
    text.parse().unwrap()
}

fn subscribe() -> Subscribe {
    Subscribe {
        id: SubscribeId(1),
        track: track("a"),
        priority: Priority::default(),
        order: GroupOrder::Descending,
        expires: None,
        first: None,
        last: None,
    }
}

#[test]
fn orders_have_the_numbers_of_the_version() {
    use GroupOrder::{Ascending, Default, Descending};
    for version in [Version::TRANSFORK_03, Version::TRANSFORK_04] {
        let numbers = [Default, Ascending, Descending].map(|order| written(version, order).unwrap());
        assert_eq!(numbers, [[0], [1], [2]]);
    }
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        let numbers = [Default, Ascending, Descending].map(|order| written(version, order).unwrap());
        assert_eq!(numbers, [[1], [0], [1]]);
        let unknown = DecodeErrorKind::Invalid { value: 2 };
        assert_eq!(read::<GroupOrder>(version, &Limits::default(), &[2]), Err(unknown.into()));
    }
}

#[test]
fn priorities_are_the_same_number_as_varint_and_as_byte() {
    for priority in [0, 63, 64, 128, 200, 255].map(Priority) {
        let byte = written(Version::TRANSFORK_04_RS12, priority).unwrap();
        assert_eq!(byte, [priority.0]);
        for version in Version::ALL {
            let bytes = written(version, priority).unwrap();
            assert_eq!(read(version, &Limits::default(), &bytes), Ok(priority));
        }
    }
    assert_eq!(Priority::default(), Priority(128));
}

#[test]
fn a_priority_above_255_counts_as_255() {
    for bytes in [&[0x41, 0x00][..], &[0xff; 8]] {
        assert_eq!(read(Version::TRANSFORK_04, &Limits::default(), bytes), Ok(Priority(255)));
    }
}

#[test]
fn the_priority_of_an_update_is_a_varint_everywhere() {
    for version in Version::ALL {
        let (priority, order) = (Priority(200), GroupOrder::Descending);
        let update = SubscribeUpdate { priority, order, expires: None, first: None, last: None };
        assert_eq!(update.to_bytes(version.spec()).unwrap()[..2], [0x40, 0xc8], "{version}");
    }
}

#[test]
fn a_sequence_that_has_no_successor_does_not_fit_where_one_is_added() {
    let spec = Version::TRANSFORK_04.spec();
    let largest = Subscribe { first: Some(GroupSequence::MAX), ..subscribe() };
    let bytes = largest.to_bytes(spec).unwrap();
    assert_eq!(bytes[bytes.len() - 9..], [255, 255, 255, 255, 255, 255, 255, 255, 0]);

    let too_large = Subscribe { last: Some(GroupSequence(GroupSequence::MAX.0 + 1)), ..subscribe() };
    let kind = EncodeErrorKind::TooLarge { value: varint::MAX, limit: varint::MAX - 1 };
    let expected = EncodeError { message: "Subscribe", field: "last", kind };
    assert_eq!(too_large.to_bytes(spec), Err(expected));
}

#[test]
fn a_failed_message_leaves_no_bytes() {
    let mut out = BytesMut::from(&b"before"[..]);
    let message = Subscribe { last: Some(GroupSequence(u64::MAX)), ..subscribe() };
    assert!(message.encode(Version::TRANSFORK_04.spec(), &mut out).is_err());
    assert_eq!(&out[..], b"before");
}

#[test]
fn an_expiry_is_left_out_where_the_version_has_none() {
    let with = Subscribe { expires: Some(Millis(500)), ..subscribe() };
    let draft_04 = Version::TRANSFORK_04.spec();
    assert_eq!(with.to_bytes(draft_04), subscribe().to_bytes(draft_04));
    let draft_03 = Version::TRANSFORK_03.spec();
    assert_eq!(with.to_bytes(draft_03).unwrap().len(), subscribe().to_bytes(draft_03).unwrap().len() + 1);
}

#[test]
fn codes_above_32_bits_stay_away_from_peers_that_refuse_them() {
    let gap = |code| SubscribeGap { first: GroupSequence(1), additional: 0, code: Code(code) };
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        assert!(gap(u64::from(u32::MAX)).to_bytes(version.spec()).is_ok());
        let error = gap(1 << 32).to_bytes(version.spec()).unwrap_err();
        assert_eq!(
            (error.field, error.kind),
            ("code", EncodeErrorKind::TooLarge { value: 1 << 32, limit: u32::MAX.into() })
        );
    }
    assert!(gap(1 << 32).to_bytes(Version::TRANSFORK_04.spec()).is_ok());
}

#[test]
fn a_path_may_have_32_parts_and_1023_bytes() {
    let limits = Limits::default();
    let of = |parts: usize, bytes: usize| {
        let first = bytes - (parts - 1);
        FullTrackName::from_parts(std::iter::once("a".repeat(first)).chain(vec!["a".into(); parts - 1]))
            .unwrap()
    };
    for version in Version::ALL {
        let back = |name: FullTrackName| {
            let bytes = InfoPlease { track: name }.to_bytes(version.spec()).unwrap();
            read::<FullTrackName>(version, &limits, &bytes)
        };
        assert_eq!(back(of(32, 1023)), Ok(of(32, 1023)), "{version}");
        assert_eq!(back(of(1, 1023)), Ok(of(1, 1023)), "{version}");
        let too_large = |outcome: Result<_, ReadError>| {
            matches!(outcome, Err(ReadError::Invalid(DecodeErrorKind::TooLarge { .. })))
        };
        assert!(too_large(back(of(33, 33))), "{version}");
        assert!(too_large(back(of(1, 1024))), "{version}");
        assert!(too_large(back(of(2, 1024))), "{version}");
    }
}

#[test]
fn a_track_has_at_least_one_part_and_a_prefix_may_have_none() {
    for version in Version::ALL {
        let none = read::<Namespace>(version, &Limits::default(), &[0]);
        assert_eq!(none, Ok(Namespace::EMPTY));
        let none = read::<FullTrackName>(version, &Limits::default(), &[0]);
        assert_eq!(none, Err(DecodeErrorKind::Invalid { value: 0 }.into()));
    }
}

#[test]
fn names_that_cannot_be_joined_are_not_written() {
    let version = Version::TRANSFORK_04_RS12;
    let error = |parts: &[&'static [u8]]| {
        written(version, Namespace::from_parts(parts.iter().copied())).map(|bytes| bytes.len())
    };
    let name = |error| Err(EncodeErrorKind::Name(error));
    assert_eq!(error(&[b"a/b"]), name(NameError::Reserved { character: '/' }));
    assert_eq!(error(&[b"a", b"\xff"]), name(NameError::NotUtf8));
    assert_eq!(error(&[b""]), name(NameError::EmptyPart));
    assert_eq!(error(&[b"", b"a"]), Ok(3), "a leading slash is usual");
    assert_eq!(error(&[b"a*b"]), Ok(4), "a star has a meaning only in patterns");

    let rs9 = written(Version::TRANSFORK_04_RS9, Namespace::from_parts([&b"\xff"[..]]));
    assert_eq!(rs9, Err(EncodeErrorKind::Name(NameError::NotUtf8)));
    assert!(written(Version::TRANSFORK_04, Namespace::from_parts([&b"\xff/"[..]])).is_ok());
}

#[test]
fn a_read_name_does_not_keep_the_receive_buffer() {
    for version in Version::ALL {
        let bytes = InfoPlease { track: track("cam/video") }.to_bytes(version.spec()).unwrap();
        let chunks = [bytes.clone()];
        let mut cursor = Cursor::new(&chunks, 100);
        let name = Namespace::read(version.spec(), &Limits::default(), &mut cursor).unwrap();
        assert!(name.parts().all(|part| !bytes.as_ptr_range().contains(&part.as_ptr())));
    }
}

#[test]
fn a_name_of_any_length_comes_back() {
    for (version, len) in Version::ALL.into_iter().flat_map(|v| (0..1000).step_by(7).map(move |len| (v, len)))
    {
        let name = FullTrackName::from_parts(["cam".to_owned(), "x".repeat(len)]).unwrap();
        let bytes = written(version, name.clone()).unwrap();
        assert_eq!(read(version, &Limits::default(), &bytes), Ok(name), "{version} {len}");
    }
}

#[test]
fn neither_the_end_nor_the_limit_depends_on_where_chunks_end() {
    let message = Subscribe { first: Some(GroupSequence(1000)), track: track("cam/video"), ..subscribe() };
    for version in Version::ALL {
        let (spec, limits) = (version.spec(), Limits::default());
        let all = message.to_bytes(spec).unwrap();
        for (end, limit) in (0..=all.len()).flat_map(|end| (0..=all.len()).map(move |limit| (end, limit))) {
            let read = |chunks: &[Bytes]| {
                let mut cursor = Cursor::new(chunks, limit);
                let outcome = Subscribe::decode(spec, &limits, &mut cursor);
                (outcome, cursor.needed(), cursor.stalled_at())
            };
            let bytes = all.slice(..end);
            let whole = read(std::slice::from_ref(&bytes));
            for cut in 0..=end {
                assert_eq!(
                    read(&[bytes.slice(..cut), bytes.slice(cut..)]),
                    whole,
                    "{version} {end} {limit} {cut}"
                );
            }
            let crumbs: Vec<_> = (0..end).map(|at| bytes.slice(at..=at)).collect();
            assert_eq!(read(&crumbs), whole, "{version} {end} {limit}");
        }
    }
}

/// Were any of these lengths allocated, the process would die.
#[test]
fn a_declared_length_allocates_nothing_even_without_limits() {
    let limits = Limits {
        path_parts: usize::MAX,
        path_bytes: usize::MAX,
        versions: usize::MAX,
        extensions: usize::MAX,
        extension_bytes: usize::MAX,
        url_bytes: usize::MAX,
        message_bytes: usize::MAX,
        frame_bytes: u64::MAX,
    };
    let huge = [0xff; 8];
    for version in Version::ALL {
        assert_eq!(read::<Namespace>(version, &limits, &huge), Err(ReadError::More));
        if version.spec().path != PathForm::Joined {
            let part = [&[1][..], &huge].concat();
            assert_eq!(read::<Namespace>(version, &limits, &part), Err(ReadError::More));
        }
        assert_eq!(read::<Vec<u64>>(version, &limits, &huge), Err(ReadError::More));
        assert_eq!(read::<Bytes>(version, &limits, &huge), Err(ReadError::More));
        assert_eq!(read::<crate::transfork::Extensions>(version, &limits, &huge), Err(ReadError::More));
        let payload = [&[1, 0][..], &huge].concat();
        assert_eq!(read::<crate::transfork::Extensions>(version, &limits, &payload), Err(ReadError::More));
    }
}

#[test]
fn a_declared_length_beyond_the_limits_is_refused_at_once() {
    let huge = [0xff; 8];
    for version in Version::ALL {
        let limits = Limits::default();
        let refused = |outcome: Result<(), ReadError>| {
            assert!(
                matches!(outcome, Err(ReadError::Invalid(DecodeErrorKind::TooLarge { .. }))),
                "{outcome:?}"
            );
        };
        refused(read::<Namespace>(version, &limits, &huge).map(drop));
        refused(read::<Vec<u64>>(version, &limits, &huge).map(drop));
        refused(read::<Bytes>(version, &limits, &huge).map(drop));
        refused(read::<crate::transfork::Extensions>(version, &limits, &huge).map(drop));
    }
}

#[test]
fn an_error_says_message_and_field() {
    let limits = Limits::default();
    let chunks = [Bytes::from_static(&[7, 1, 1, b'a', 1, 3])];
    let mut cursor = Cursor::new(&chunks, limits.message_bytes);
    let error = Subscribe::decode(Version::TRANSFORK_04.spec(), &limits, &mut cursor).unwrap_err();
    let kind = DecodeErrorKind::Invalid { value: 3 };
    assert_eq!(error, DecodeError { message: "Subscribe", field: "order", kind });
    assert_eq!(error.to_string(), "Subscribe.order: 3 has no meaning here");

    let client = SessionClient { versions: vec![u64::MAX], extensions: Default::default() };
    let error = client.to_bytes(Version::TRANSFORK_04.spec()).unwrap_err();
    assert_eq!((error.message, error.field), ("SessionClient", "versions"));

    let (priority, order) = (Priority(1), GroupOrder::Default);
    let info = Info { priority, order, latest: GroupSequence(u64::MAX), expires: None };
    for version in Version::ALL {
        assert_eq!(info.to_bytes(version.spec()).unwrap_err().field, "latest");
    }
}

#[test]
fn a_version_without_fetch_says_so_in_its_own_name() {
    let fetch = Fetch { track: track("a"), priority: Priority(1), group: GroupSequence(1), frame: 0 };
    let error = fetch.to_bytes(Version::TRANSFORK_04_RS12.spec()).unwrap_err();
    assert_eq!(error.to_string(), "Fetch: transfork-04-rs12 has no such thing");
}
