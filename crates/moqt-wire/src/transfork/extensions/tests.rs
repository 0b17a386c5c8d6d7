//! Tests of extensions.

use super::*;

fn kind<T>(outcome: Result<T, DecodeError>) -> Option<DecodeErrorKind> {
    outcome.err().map(|error| error.kind)
}

#[test]
fn an_absent_extension_is_none_in_every_type() {
    let extensions = Extensions::new();
    assert_eq!(extensions.bytes(EXT_PATH), None);
    assert_eq!(extensions.varint(EXT_PATH), Ok(None));
    assert_eq!(extensions.string(EXT_PATH), Ok(None));
    assert!(extensions.is_empty() && !extensions.contains(EXT_PATH));
}

#[test]
fn a_payload_is_read_as_the_type_asked_for() {
    let mut extensions = Extensions::from_iter([(EXT_PATH, "/room")]);
    extensions.set_varint(EXT_ENCODING, ENCODING_DRAFT_04).unwrap();
    extensions.set(EXT_DRAIN, Bytes::new());
    assert_eq!(extensions.string(EXT_PATH), Ok(Some("/room")));
    assert_eq!(extensions.varint(EXT_ENCODING), Ok(Some(1)));
    assert_eq!(extensions.bytes(EXT_DRAIN), Some(&Bytes::new()));
    assert_eq!(extensions.len(), 3);
}

#[test]
fn an_integer_that_is_too_short_or_too_long_is_refused() {
    for payload in [&b""[..], b"\x01\x00", b"\x40"] {
        let extensions = Extensions::from_iter([(EXT_ENCODING, payload)]);
        let error = extensions.varint(EXT_ENCODING).unwrap_err();
        assert_eq!((error.field, error.kind), ("encoding", DecodeErrorKind::WrongSize), "{payload:?}");
    }
    let long_form = Extensions::from_iter([(EXT_ENCODING, &b"\x40\x01"[..])]);
    assert_eq!(long_form.varint(EXT_ENCODING), Ok(Some(1)));
}

#[test]
fn text_has_to_be_utf8() {
    let extensions = Extensions::from_iter([(EXT_PATH, &b"\xff"[..])]);
    assert_eq!(kind(extensions.string(EXT_PATH)), Some(DecodeErrorKind::NotUtf8));
}

#[test]
fn setting_twice_keeps_the_place_and_the_later_payload() {
    let mut extensions = Extensions::from_iter([(1, "a"), (2, "b")]);
    extensions.set(1, "c");
    let pairs: Vec<_> =
        extensions.iter().map(|extension| (extension.id, extension.payload.clone())).collect();
    assert_eq!(pairs, [(1, "c".into()), (2, "b".into())]);
}

#[test]
fn an_integer_that_does_not_fit_is_not_set() {
    let mut extensions = Extensions::new();
    assert!(extensions.set_varint(5, varint::MAX + 1).is_err());
    assert!(extensions.is_empty());
}

#[test]
fn a_hundred_extensions_are_beyond_the_default_and_within_a_larger_limit() {
    let many: Extensions = (0..100).map(|id| (id, Bytes::new())).collect();
    let mut out = BytesMut::new();
    let spec = crate::Version::TRANSFORK_04.spec();
    many.write(spec, &mut out).unwrap();
    let chunks = [out.freeze()];
    let read =
        |limits: &Limits| Extensions::read(spec, limits, &mut Cursor::new(&chunks, limits.message_bytes));
    let too_many = DecodeErrorKind::TooLarge { value: 100, limit: 64 };
    assert_eq!(read(&Limits::default()), Err(too_many.into()));
    assert_eq!(read(&Limits { extensions: 100, ..Limits::default() }), Ok(many));
}
