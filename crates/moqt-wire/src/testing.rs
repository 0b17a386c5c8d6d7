//! What tests need of every message: a way to make one up, to print it as JSON and to parse it back.
//!
//! Integers are strings in JSON, names have their text form part by part, other bytes are hex.

use std::fmt::Debug;
use std::str::FromStr;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::message::Message;
use crate::name::{FullTrackName, Namespace};
use crate::transfork::{AnnounceStatus, Extensions, Interest, Pattern};
use crate::value::{GroupOrder, GroupSequence, Millis, Priority, SubscribeId};
use crate::varint;
use crate::version::{OrderForm, PathForm, Spec};

/// A message that tests can make, print and parse.
pub(crate) trait TestMessage: Message {
    fn any(spec: &'static Spec) -> BoxedStrategy<Self>;
    fn to_json(&self) -> Value;
    fn from_json(value: &Value) -> Self;
}

/// The same for the type of a field.
pub(crate) trait TestField: Sized + Debug {
    /// Values that `spec` can write and that come back the same.
    fn any(spec: &'static Spec) -> BoxedStrategy<Self>;
    fn to_json(&self) -> Value;
    fn from_json(value: &Value) -> Self;

    /// A value to put where the marks ask for one.
    fn present(self) -> Self {
        self
    }

    /// No value, where the marks leave no room for one.
    fn absent() -> Self {
        unreachable!("only optional fields can be absent")
    }
}

/// Implements [`TestMessage`] from the declaration of a message.
macro_rules! message_testing {
    ($name:ident { $( $field:ident: $ty:ty [$($mark:tt)*], )* }) => {
        impl $crate::testing::TestMessage for $name {
            fn any(spec: &'static $crate::version::Spec) -> ::proptest::strategy::BoxedStrategy<Self> {
                use ::proptest::strategy::Strategy as _;
                ($( <$ty as $crate::testing::TestField>::any(spec), )*)
                    .prop_map(move |($($field,)*)| {
                        let _ = spec;
                        $( let $field: $ty = fit_field!(spec, $field, [$($mark)*]); )*
                        Self { $($field),* }
                    })
                    .boxed()
            }

            fn to_json(&self) -> ::serde_json::Value {
                let mut object = ::serde_json::Map::new();
                $(
                    let value = $crate::testing::TestField::to_json(&self.$field);
                    object.insert(stringify!($field).into(), value);
                )*
                object.into()
            }

            fn from_json(value: &::serde_json::Value) -> Self {
                $crate::testing::assert_keys(value, &[$(stringify!($field)),*]);
                Self {
                    $( $field: <$ty as $crate::testing::TestField>::from_json(&value[stringify!($field)]), )*
                }
            }
        }
    };
}

/// Makes an arbitrary value keep what its marks promise.
macro_rules! fit_field {
    ($spec:ident, $field:ident, [when $condition:expr]) => {
        if $condition {
            $crate::testing::TestField::present($field)
        } else {
            $crate::testing::TestField::absent()
        }
    };
    ($spec:ident, $field:ident, [$word:ident $draft:literal $($rest:tt)*]) => {
        if has_field!($spec, $word $draft) { $field } else { None }
    };
    ($spec:ident, $field:ident, [$($word:ident)?]) => {
        $field
    };
}

pub(crate) fn assert_keys(value: &Value, expected: &[&str]) {
    let keys = value.as_object().expect("a message is an object").keys();
    let unknown: Vec<_> = keys.filter(|key| !expected.contains(&key.as_str())).collect();
    assert!(unknown.is_empty(), "unknown fields {unknown:?}");
    let missing: Vec<_> = expected.iter().filter(|key| value.get(**key).is_none()).collect();
    assert!(missing.is_empty(), "missing fields {missing:?}");
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16).unwrap() as u8).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text}");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn text<T: FromStr<Err: Debug>>(value: &Value) -> T {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).parse().unwrap()
}

/// Integers of every length, and the edges.
fn integers() -> BoxedStrategy<u64> {
    prop_oneof![
        (0..=varint::MAX, 0u32..62).prop_map(|(value, shift)| value >> shift),
        prop_oneof![Just(0), Just(63), Just(64), Just(16_383), Just(16_384), Just(varint::MAX)],
    ]
    .boxed()
}

fn parts(spec: &Spec) -> BoxedStrategy<Namespace> {
    let part = match spec.path {
        PathForm::Parts => vec(any::<u8>(), 0..20).prop_map(Bytes::from).boxed(),
        PathForm::TextParts => "\\PC{0,12}".prop_map(Bytes::from).boxed(),
        PathForm::Joined => "[^/]{0,12}".prop_map(Bytes::from).boxed(),
    };
    let joined = spec.path == PathForm::Joined;
    vec(part, 0..6)
        .prop_map(Namespace::from_parts)
        .prop_filter("a single empty part has no text", move |path| {
            !joined || path.len() != 1 || path.bytes() > 0
        })
        .boxed()
}

macro_rules! integer_fields {
    ($($ty:ident: $strategy:expr;)*) => {$(
        impl TestField for $ty {
            fn any(_: &'static Spec) -> BoxedStrategy<Self> {
                $strategy.prop_map($ty).boxed()
            }

            fn to_json(&self) -> Value {
                json!(self.0.to_string())
            }

            fn from_json(value: &Value) -> Self {
                Self(text(value))
            }
        }
    )*};
}

integer_fields! {
    Priority: any::<u8>();
    SubscribeId: integers();
    GroupSequence: integers();
}

impl TestField for u64 {
    fn any(_: &'static Spec) -> BoxedStrategy<Self> {
        integers()
    }

    fn to_json(&self) -> Value {
        json!(self.to_string())
    }

    fn from_json(value: &Value) -> Self {
        text(value)
    }
}

impl TestField for Code {
    fn any(spec: &'static Spec) -> BoxedStrategy<Self> {
        integers().prop_map(|code| Self(code % (spec.code_max + 1))).boxed()
    }

    fn to_json(&self) -> Value {
        json!(self.to_string())
    }

    fn from_json(value: &Value) -> Self {
        Self(text(value))
    }
}

impl TestField for GroupOrder {
    fn any(spec: &'static Spec) -> BoxedStrategy<Self> {
        match spec.order {
            OrderForm::WithDefault => {
                prop_oneof![Just(Self::Default), Just(Self::Ascending), Just(Self::Descending)].boxed()
            }
            OrderForm::WithoutDefault => prop_oneof![Just(Self::Ascending), Just(Self::Descending)].boxed(),
        }
    }

    fn to_json(&self) -> Value {
        json!(self.to_string())
    }

    fn from_json(value: &Value) -> Self {
        let orders = [Self::Default, Self::Ascending, Self::Descending];
        orders.into_iter().find(|order| order.to_json() == *value).expect("an order has a name")
    }
}

impl TestField for AnnounceStatus {
    fn any(_: &'static Spec) -> BoxedStrategy<Self> {
        prop_oneof![Just(Self::ENDED), Just(Self::ACTIVE), Just(Self::LIVE)].boxed()
    }

    fn to_json(&self) -> Value {
        json!(self.to_string())
    }

    fn from_json(value: &Value) -> Self {
        let all = [Self::ENDED, Self::ACTIVE, Self::LIVE];
        all.into_iter().find(|status| status.to_json() == *value).expect("a status has a name")
    }
}

fn optional_json<T: TestField>(value: Option<&T>) -> Value {
    value.map_or(Value::Null, T::to_json)
}

fn optional_from_json<T: TestField>(value: &Value) -> Option<T> {
    (!value.is_null()).then(|| T::from_json(value))
}

impl TestField for Option<Millis> {
    fn any(_: &'static Spec) -> BoxedStrategy<Self> {
        option::of(integers().prop_map(|value| Millis(value.max(1)))).boxed()
    }

    fn to_json(&self) -> Value {
        optional_json(self.map(|millis| millis.0).as_ref())
    }

    fn from_json(value: &Value) -> Self {
        optional_from_json(value).map(Millis)
    }
}

impl TestField for Option<GroupSequence> {
    fn any(_: &'static Spec) -> BoxedStrategy<Self> {
        let sequences = integers().prop_map(|value| GroupSequence(value).min(GroupSequence::MAX));
        option::of(sequences).boxed()
    }

    fn to_json(&self) -> Value {
        optional_json(self.as_ref())
    }

    fn from_json(value: &Value) -> Self {
        optional_from_json(value)
    }
}

impl TestField for Namespace {
    fn any(spec: &'static Spec) -> BoxedStrategy<Self> {
        parts(spec)
    }

    fn to_json(&self) -> Value {
        self.parts().map(|part| Self::from_parts([part.clone()]).to_string()).collect()
    }

    fn from_json(value: &Value) -> Self {
        let parts = value.as_array().expect("a name is a list of parts");
        parts.iter().fold(Self::EMPTY, |mut name, part| {
            name.push(text::<crate::name::TrackName>(part));
            name
        })
    }
}

impl TestField for Option<Namespace> {
    fn any(spec: &'static Spec) -> BoxedStrategy<Self> {
        parts(spec).prop_map(Some).boxed()
    }

    fn to_json(&self) -> Value {
        optional_json(self.as_ref())
    }

    fn from_json(value: &Value) -> Self {
        optional_from_json(value)
    }

    fn absent() -> Self {
        None
    }
}

impl TestField for FullTrackName {
    fn any(spec: &'static Spec) -> BoxedStrategy<Self> {
        parts(spec).prop_filter_map("a track has a part", |path| path.try_into().ok()).boxed()
    }

    fn to_json(&self) -> Value {
        TestField::to_json(&self.to_namespace())
    }

    fn from_json(value: &Value) -> Self {
        <Namespace as TestField>::from_json(value).try_into().unwrap()
    }
}

impl TestField for Interest {
    fn any(spec: &'static Spec) -> BoxedStrategy<Self> {
        match spec.path {
            PathForm::Parts | PathForm::TextParts => parts(spec).prop_map(Self::Prefix).boxed(),
            PathForm::Joined => "[a-c/*é]{0,12}".prop_map(|text| Self::Pattern(Pattern::new(text))).boxed(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Prefix(prefix) => json!({ "prefix": TestField::to_json(prefix) }),
            Self::Pattern(pattern) => json!({ "pattern": pattern.as_str() }),
        }
    }

    fn from_json(value: &Value) -> Self {
        match (value.get("prefix"), value.get("pattern")) {
            (Some(prefix), None) => Self::Prefix(TestField::from_json(prefix)),
            (None, Some(pattern)) => Self::Pattern(Pattern::new(text::<String>(pattern))),
            _ => panic!("{value} is neither a prefix nor a pattern"),
        }
    }
}

impl TestField for Vec<u64> {
    fn any(_: &'static Spec) -> BoxedStrategy<Self> {
        vec(integers(), 0..8).boxed()
    }

    fn to_json(&self) -> Value {
        self.iter().map(TestField::to_json).collect()
    }

    fn from_json(value: &Value) -> Self {
        value.as_array().expect("a list").iter().map(TestField::from_json).collect()
    }
}

impl TestField for Bytes {
    fn any(_: &'static Spec) -> BoxedStrategy<Self> {
        vec(any::<u8>(), 0..40).prop_map(Self::from).boxed()
    }

    fn to_json(&self) -> Value {
        json!(to_hex(self))
    }

    fn from_json(value: &Value) -> Self {
        from_hex(&text::<String>(value))
    }
}

impl TestField for Extensions {
    fn any(spec: &'static Spec) -> BoxedStrategy<Self> {
        vec((integers(), <Bytes as TestField>::any(spec)), 0..5).prop_map(Self::from_iter).boxed()
    }

    fn to_json(&self) -> Value {
        let object = |id: &u64, payload: &Bytes| {
            Map::from_iter([("id".into(), id.to_json()), ("payload".into(), payload.to_json())])
        };
        self.iter().map(|extension| object(&extension.id, &extension.payload)).collect()
    }

    fn from_json(value: &Value) -> Self {
        let list = value.as_array().expect("a list").iter();
        list.map(|e| (u64::from_json(&e["id"]), Bytes::from_json(&e["payload"]))).collect()
    }
}
