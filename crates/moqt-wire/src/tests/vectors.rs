//! The golden vectors: what each message looks like in each version, and what is refused.

use std::collections::BTreeSet;
use std::fs;

use serde::Deserialize;
use serde_json::Value;

use super::{file_name, vectors_of};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::limits::Limits;
use crate::stream::StreamDecoder;
use crate::testing::{TestMessage, from_hex, to_hex};
use crate::transfork::{self, MESSAGES, for_each_message};
use crate::version::{Spec, Version};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    id: String,
    description: String,
    hex: String,
    /// What the bytes say.
    decoded: Option<Value>,
    /// Why they are refused.
    error: Option<Refusal>,
    /// The bytes are understood, but ours would be others.
    #[serde(default)]
    lenient: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Refusal {
    field: String,
    kind: String,
}

impl Refusal {
    fn of(error: &DecodeError) -> Self {
        let kind = match error.kind {
            DecodeErrorKind::Truncated => "Truncated",
            DecodeErrorKind::Invalid { .. } => "Invalid",
            DecodeErrorKind::TooLarge { .. } => "TooLarge",
            DecodeErrorKind::NotUtf8 => "NotUtf8",
            DecodeErrorKind::Duplicate { .. } => "Duplicate",
            DecodeErrorKind::WrongSize => "WrongSize",
            DecodeErrorKind::TrailingBytes { .. } => "TrailingBytes",
        };
        Self { field: error.field.into(), kind: kind.into() }
    }
}

/// Reads the bytes as a stream with this one message.
fn decode<M: TestMessage>(spec: &'static Spec, hex: &str) -> Result<Option<M>, DecodeError> {
    let mut decoder = StreamDecoder::new(spec, Limits::default());
    decoder.push(from_hex(hex));
    let message = decoder.next()?;
    decoder.finish()?;
    Ok(message)
}

fn check<M: TestMessage>(spec: &'static Spec, vector: &Vector) {
    let outcome = decode::<M>(spec, &vector.hex);
    match (&vector.decoded, &vector.error) {
        (Some(decoded), None) => {
            let message = outcome.expect("it is refused").expect("it is incomplete");
            assert_eq!(message.to_json(), *decoded);
            assert_eq!(message, M::from_json(decoded));
            let written = to_hex(&message.to_bytes(spec).expect("it cannot be written"));
            assert_eq!(written != vector.hex, vector.lenient, "it is written as {written}");
        }
        (None, Some(refusal)) => {
            let error = outcome.expect_err("it is accepted");
            assert_eq!((error.message, &Refusal::of(&error)), (M::NAME, refusal));
        }
        _ => panic!("it has to have either `decoded` or `error`"),
    }
}

fn load(version: Version, message: &str) -> Vec<Vector> {
    let path = vectors_of(version).join(file_name(message));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn check_all<M: TestMessage>(version: Version) {
    if !M::KIND.exists_in(version.spec()) {
        return;
    }
    let vectors = load(version, M::NAME);
    for vector in &vectors {
        eprintln!("{version} {} {}: {}", M::NAME, vector.id, vector.description);
        check::<M>(version.spec(), vector);
    }
    let count = |is: fn(&Vector) -> bool| vectors.iter().filter(|vector| is(vector)).count();
    let kind = |vector: &Vector| vector.error.as_ref().map(|error| error.kind.clone());
    let refused = vectors.iter().filter_map(kind).collect::<Vec<_>>();
    assert!(count(|vector| vector.decoded.is_some()) > 0, "{version} {} has no valid vector", M::NAME);
    assert!(refused.contains(&"Truncated".into()), "{version} {} has no truncated vector", M::NAME);
    let ids: BTreeSet<_> = vectors.iter().map(|vector| &vector.id).collect();
    assert_eq!(ids.len(), vectors.len(), "{version} {} uses an id twice", M::NAME);
}

/// Messages without a field that could be out of range or beyond a limit.
const CANNOT_BE_WRONG: [&str; 3] = ["SessionUpdate", "FetchUpdate", "Group"];

#[test]
fn every_vector_of_every_message_reads_and_writes_as_it_says() {
    for version in Version::ALL {
        macro_rules! check_each {
            ($($message:ident)*) => { $( check_all::<transfork::$message>(version); )* };
        }
        for_each_message!(check_each);
    }
}

#[test]
fn every_message_that_can_be_wrong_has_a_vector_that_is() {
    for version in Version::ALL {
        let kinds = MESSAGES.iter().filter(|kind| kind.exists_in(version.spec()));
        for kind in kinds.filter(|kind| !CANNOT_BE_WRONG.contains(&kind.name)) {
            let wrong =
                |vector: &Vector| vector.error.as_ref().is_some_and(|error| error.kind != "Truncated");
            if kind.name == "SubscribeGap" && version.spec().code_max == crate::varint::MAX {
                continue; // every integer is a valid code there
            }
            assert!(load(version, kind.name).iter().any(wrong), "{version} {kind} has no invalid vector");
        }
    }
}

#[test]
fn there_is_no_vector_for_a_message_that_the_version_lacks() {
    for version in Version::ALL {
        let kinds = MESSAGES.iter().filter(|kind| kind.exists_in(version.spec()));
        let expected = kinds.map(|kind| file_name(kind.name)).chain(["streams.json".into()]);
        let found = fs::read_dir(vectors_of(version)).unwrap();
        let found = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(found.collect::<BTreeSet<_>>(), expected.collect(), "{version}");
    }
}
