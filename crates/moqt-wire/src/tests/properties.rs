//! What is true of every message in every version.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::error::{DecodeErrorKind, EncodeErrorKind};
use crate::limits::Limits;
use crate::stream::StreamDecoder;
use crate::testing::TestMessage;
use crate::transfork::{self, for_each_message};
use crate::varint::LEAST_LEN;
use crate::version::{Spec, Version};

fn spec() -> impl Strategy<Value = &'static Spec> {
    select(&Version::ALL).prop_map(Version::spec)
}

fn decoder(spec: &'static Spec) -> StreamDecoder {
    StreamDecoder::new(spec, Limits::default())
}

/// Runs a property for every message in every version that has it.
macro_rules! for_all {
    ([$property:ident $cases:literal] $($message:ident)*) => {$(
        for version in Version::ALL {
            run_property(version.spec(), $cases, $property::<transfork::$message>);
        }
    )*};
}

fn run_property<M: TestMessage>(
    spec: &'static Spec,
    cases: u32,
    property: fn(&'static Spec, M) -> Result<(), TestCaseError>,
) {
    if !M::KIND.exists_in(spec) {
        return;
    }
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner
        .run(&M::any(spec), |message| property(spec, message))
        .unwrap_or_else(|error| panic!("{} in {}: {error}", M::NAME, spec.name));
}

fn comes_back<M: TestMessage>(spec: &'static Spec, message: M) -> Result<(), TestCaseError> {
    let mut decoder = decoder(spec);
    decoder.push(message.to_bytes(spec).unwrap());
    prop_assert_eq!(decoder.next(), Ok(Some(message)));
    prop_assert_eq!(decoder.expect_end(), Ok(()));
    Ok(())
}

fn prints_and_parses<M: TestMessage>(_: &'static Spec, message: M) -> Result<(), TestCaseError> {
    prop_assert_eq!(M::from_json(&message.to_json()), message);
    Ok(())
}

fn asks_for_more_at_every_prefix<M: TestMessage>(
    spec: &'static Spec,
    message: M,
) -> Result<(), TestCaseError> {
    let bytes = message.to_bytes(spec).unwrap();
    for cut in 0..bytes.len() {
        let mut decoder = decoder(spec);
        decoder.push(bytes.slice(..cut));
        prop_assert_eq!(decoder.next::<M>(), Ok(None), "after {} bytes", cut);
        prop_assert_eq!(decoder.buffered(), cut);
        let ended = decoder.finish().map_err(|error| error.kind);
        prop_assert_eq!(ended, if cut == 0 { Ok(()) } else { Err(DecodeErrorKind::Truncated) });
    }
    Ok(())
}

fn comes_back_byte_by_byte<M: TestMessage>(spec: &'static Spec, message: M) -> Result<(), TestCaseError> {
    let bytes = message.to_bytes(spec).unwrap();
    let mut decoder = decoder(spec);
    let mut found = Vec::new();
    for byte in bytes.iter().chain(&bytes) {
        decoder.push(Bytes::copy_from_slice(&[*byte]));
        found.extend(decoder.next::<M>().unwrap());
    }
    prop_assert_eq!(found, vec![message.clone(), message]);
    prop_assert_eq!(decoder.finish(), Ok(()));
    Ok(())
}

fn leaves_what_was_written_before<M: TestMessage>(
    spec: &'static Spec,
    message: M,
) -> Result<(), TestCaseError> {
    let mut out = BytesMut::from(&b"before"[..]);
    message.encode(spec, &mut out).unwrap();
    prop_assert_eq!(&out[..6], b"before");
    prop_assert_eq!(&out[6..], &message.to_bytes(spec).unwrap()[..]);
    Ok(())
}

fn comes_back_from_long_integers<M: TestMessage>(
    spec: &'static Spec,
    message: M,
) -> Result<(), TestCaseError> {
    for len in [2, 4, 8] {
        let least = LEAST_LEN.replace(len);
        let bytes = message.to_bytes(spec);
        LEAST_LEN.set(least);
        let mut decoder = decoder(spec);
        decoder.push(bytes.unwrap());
        prop_assert_eq!(decoder.next(), Ok(Some(message.clone())), "integers of {} bytes", len);
        prop_assert_eq!(decoder.expect_end(), Ok(()));
    }
    Ok(())
}

#[test]
fn every_message_comes_back_from_integers_longer_than_needed() {
    for_each_message!(for_all, [comes_back_from_long_integers 64]);
}

#[test]
fn every_message_comes_back_from_its_bytes() {
    for_each_message!(for_all, [comes_back 256]);
}

#[test]
fn every_message_comes_back_from_its_json() {
    for_each_message!(for_all, [prints_and_parses 16]);
}

#[test]
fn every_proper_prefix_asks_for_more() {
    for_each_message!(for_all, [asks_for_more_at_every_prefix 64]);
}

#[test]
fn every_message_comes_back_when_it_arrives_byte_by_byte() {
    for_each_message!(for_all, [comes_back_byte_by_byte 64]);
}

#[test]
fn writing_appends() {
    for_each_message!(for_all, [leaves_what_was_written_before 16]);
}

#[test]
fn a_message_that_the_version_lacks_is_not_written() {
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        let mut out = BytesMut::from(&b"before"[..]);
        let error =
            crate::Message::encode(&transfork::SessionUpdate { bitrate: 1 }, version.spec(), &mut out);
        assert_eq!(error.unwrap_err().kind, EncodeErrorKind::Unsupported { version });
        assert_eq!(&out[..], b"before");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (_, target) in crate::fuzz::TARGETS {
            target(&data);
        }
    }

    #[test]
    fn damaged_messages_never_panic(
        spec in spec(),
        (damage, place) in (any::<u8>(), any::<prop::sample::Index>()),
        message in transfork::Subscribe::any(Version::TRANSFORK_04_RS12.spec()),
    ) {
        let mut bytes = crate::Message::to_bytes(&message, spec).unwrap().to_vec();
        let index = place.index(bytes.len());
        bytes[index] = damage;
        crate::fuzz::messages(&bytes);
    }
}
