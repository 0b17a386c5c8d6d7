//! Tests of names.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn namespace(text: &str) -> Namespace {
    text.parse().unwrap()
}

#[test]
fn prefixes_are_compared_part_by_part() {
    let meeting = namespace("meeting");
    assert!(namespace("meeting/1234").starts_with(&meeting));
    assert!(meeting.starts_with(&meeting));
    assert!(meeting.starts_with(&Namespace::EMPTY));
    assert!(!namespace("meeting-1234").starts_with(&meeting));
    assert!(!meeting.starts_with(&namespace("meeting/1234")));
}

#[test]
fn a_prefix_comes_off_and_goes_back_on() {
    let (path, prefix) = (namespace("meeting/1234/alice"), namespace("meeting"));
    let suffix = path.strip_prefix(&prefix).unwrap();
    assert_eq!(suffix, namespace("1234/alice"));
    assert_eq!(prefix.join(&suffix), path);
    assert_eq!(path.strip_prefix(&path), Some(Namespace::EMPTY));
    assert_eq!(path.strip_prefix(&Namespace::EMPTY), Some(path.clone()));
    assert_eq!(path.strip_prefix(&namespace("other")), None);
    assert_eq!(Namespace::EMPTY.join(&path), path);
    assert_eq!(path.join(&Namespace::EMPTY), path);
}

#[test]
fn pushing_leaves_clones_alone() {
    let mut path = namespace("a");
    let before = path.clone();
    path.push("b");
    assert_eq!((path.to_string().as_str(), before.to_string().as_str()), ("a/b", "a"));
    assert_eq!((path.len(), path.bytes(), path.is_empty()), (2, 2, false));
    assert!(Namespace::default().is_empty());
}

#[test]
fn a_track_is_the_last_part() {
    let track = FullTrackName::from_parts(["meeting", "1234", "alice"]).unwrap();
    assert_eq!(track, FullTrackName::new(namespace("meeting/1234"), "alice"));
    assert_eq!(track.to_namespace(), namespace("meeting/1234/alice"));
    assert_eq!(FullTrackName::try_from(namespace("alice")).unwrap().namespace, Namespace::EMPTY);
    assert_eq!(FullTrackName::try_from(Namespace::EMPTY), Err(NameError::NoParts));
    assert_eq!(track.parts().count(), 3);
}

#[test]
fn text_has_its_known_forms() {
    let table: [(&[&[u8]], &str); 8] = [
        (&[], ""),
        (&[b"meeting", b"1234", b"alice"], "meeting/1234/alice"),
        (&[b"a/b", b"50%"], "a%2Fb/50%25"),
        (&[b"\xff\x00"], "%FF%00"),
        (&["grün\u{202e}".as_bytes(), b"two words"], "grün%E2%80%AE/two words"),
        (&[b"", b"clock"], "/clock"),
        (&[b"", b""], "/"),
        (&[b"'quoted\"\\"], "'quoted\"\\"),
    ];
    for (parts, text) in table {
        let name = Namespace::from_parts(parts.iter().map(|part| Bytes::copy_from_slice(part)));
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
    }
}

#[test]
fn text_that_is_no_name_is_refused() {
    for text in ["%", "a%2", "a%zz", "%+f"] {
        assert_eq!(text.parse::<Namespace>(), Err(NameError::BadEscape), "{text}");
    }
    assert_eq!("%é".parse::<Namespace>(), Err(NameError::BadEscape));
    assert_eq!("".parse::<FullTrackName>(), Err(NameError::NoParts));
    for text in ["/a", "a/", "a//b", "/"] {
        assert_eq!(text.parse::<FullTrackName>(), Err(NameError::EmptyPart), "{text}");
    }
    assert_eq!("a/b".parse::<TrackName>(), Err(NameError::Reserved { character: '/' }));
    assert_eq!("a%2fb".parse::<TrackName>(), Ok(TrackName::from("a/b")));
}

#[test]
fn limits_count_parts_and_bytes() {
    let limits = Limits::default();
    let of = |parts: usize, bytes: usize| {
        let first = bytes - (parts - 1);
        Namespace::from_parts(std::iter::once("a".repeat(first)).chain(vec!["a".into(); parts - 1]))
    };
    assert_eq!(of(32, 1023).validate(&limits), Ok(()));
    assert_eq!(of(33, 33).validate(&limits), Err(NameError::TooManyParts { parts: 33, limit: 32 }));
    assert_eq!(of(2, 1024).validate(&limits), Err(NameError::TooLong { bytes: 1024, limit: 1023 }));
    assert_eq!(Namespace::EMPTY.validate(&limits), Ok(()));
    let track = |parts, bytes| FullTrackName::try_from(of(parts, bytes)).unwrap().validate(&limits);
    assert_eq!(track(32, 1023), Ok(()));
    assert_eq!(track(33, 33), Err(NameError::TooManyParts { parts: 33, limit: 32 }));
    assert_eq!(track(1, 1024), Err(NameError::TooLong { bytes: 1024, limit: 1023 }));
}

#[test]
fn equal_names_are_one_in_a_set() {
    let set =
        HashSet::from([namespace("a/b"), namespace("a/b").compact(), namespace("a%2Fb"), Namespace::EMPTY]);
    assert_eq!(set.len(), 3);
    let mut sorted: Vec<_> = set.into_iter().collect();
    sorted.sort();
    assert_eq!(sorted, [Namespace::EMPTY, namespace("a/b"), namespace("a%2Fb")]);
}

#[test]
fn a_compact_name_leaves_the_receive_buffer() {
    let buffer = Bytes::from(vec![b'x'; 65_536]);
    let inside = |part: &Bytes| buffer.as_ptr_range().contains(&part.as_ptr());
    let name = Namespace::from_parts([buffer.slice(..3), buffer.slice(7..9)]);
    assert!(name.parts().all(inside));
    assert!(!name.compact().parts().any(inside));
}

proptest! {
    #[test]
    fn every_name_comes_back_from_its_text(parts in vec(vec(any::<u8>(), 0..9), 0..5)) {
        let name = Namespace::from_parts(parts);
        prop_assume!(name.len() != 1 || name.bytes() > 0);
        prop_assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn every_track_comes_back_from_its_text(parts in vec(vec(any::<u8>(), 1..9), 1..5)) {
        let track = FullTrackName::from_parts(parts).unwrap();
        prop_assert_eq!(track.to_string().parse(), Ok(track.clone()));
        prop_assert_eq!(track.name.to_string().parse(), Ok(track.name));
    }

    #[test]
    fn every_unicode_name_comes_back_from_its_text(parts in vec(".{1,9}", 1..5)) {
        let name = Namespace::from_parts(parts);
        prop_assert_eq!(name.to_string().parse(), Ok(name));
    }
}

#[test]
fn what_fits_a_version_is_what_it_can_write() {
    use bytes::BytesMut;

    use crate::{Version, codec::Field as _};

    for (text, fitting) in [
        ("meeting/1234", [true, true, true, true]),
        ("a%2Fb/c", [true, false, true, true]),
        ("a/%FF", [true, false, true, false]),
        ("", [true, true, true, true]),
    ] {
        let name = namespace(text);
        // In the order of `ALL`: 04, 04-rs12, 03, 04-rs9.
        assert_eq!(Version::ALL.map(|version| name.fits(version.spec()).is_ok()), fitting, "{text}");
        for version in Version::ALL {
            let written = name.write(version.spec(), &mut BytesMut::new());
            assert_eq!(written.is_ok(), name.fits(version.spec()).is_ok(), "{text} in {version}");
        }
    }
}
