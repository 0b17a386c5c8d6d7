//! What every message is: a declaration that gives the struct, its codec and its tests.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::cursor::Cursor;
use crate::error::{DecodeError, EncodeError, EncodeErrorKind};
use crate::limits::Limits;
use crate::version::{Family, Feature, Spec};

/// Which message it is, whatever its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageKind {
    /// The protocol whose message it is.
    pub family: Family,
    /// Its name.
    pub name: &'static str,
    /// A version without this feature has no such message.
    pub needs: Option<Feature>,
}

impl MessageKind {
    /// Whether the version has this message.
    pub fn exists_in(&self, spec: &Spec) -> bool {
        self.family == spec.family && self.needs.is_none_or(|feature| spec.supports(feature))
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A message that can be written and read in every version that has it.
pub trait Message: Sized + Clone + fmt::Debug + PartialEq {
    /// Which message this is.
    const KIND: MessageKind;

    /// Its name, as errors and logs call it.
    const NAME: &'static str = Self::KIND.name;

    /// Appends the message to `out`, as `spec` writes it.
    ///
    /// A field that the version lacks is left out.
    ///
    /// # Errors
    ///
    /// [`EncodeErrorKind::Unsupported`] when the version has no such message, and whatever a field that cannot
    /// be written says. `out` is as before then.
    // Left to itself the compiler calls it and the fields' part where all is compiled as one: half as much again for the
    // header of a group.
    #[inline(always)]
    fn encode(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !Self::KIND.exists_in(spec) {
            let kind = EncodeErrorKind::Unsupported { version: spec.version };
            return Err(EncodeError { message: Self::NAME, field: "", kind });
        }
        let start = out.len();
        self.encode_fields(spec, out)
            .inspect_err(|_| out.truncate(start))
            .map_err(|(field, kind)| EncodeError { message: Self::NAME, field, kind })
    }

    /// Reads one message; `None` when its end has not come yet.
    ///
    /// A field that the version lacks is `None`. Versions that lack the message altogether are not refused:
    /// whether the peer may send it is for the caller to say.
    ///
    /// # Errors
    ///
    /// The peer broke the encoding or a limit.
    fn decode(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Option<Self>, DecodeError>;

    /// Writes the fields in order; on failure says which one could not be written.
    #[doc(hidden)]
    fn encode_fields(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), (&'static str, EncodeErrorKind)>;

    /// The message in bytes of its own.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    fn to_bytes(&self, spec: &Spec) -> Result<Bytes, EncodeError> {
        let mut out = BytesMut::new();
        self.encode(spec, &mut out)?;
        Ok(out.freeze())
    }
}

/// Declares a message: the struct, its codec and (in tests) how to make, print and parse one.
///
/// Fields are written in the order they stand. Marks in brackets after the type, separated by commas:
///
/// - `until n`, `since n`: only drafts before `n`, or from `n` on, have the field; it is `None` in the others.
/// - `when condition`: the field is there if earlier fields say so. Its type is an `Option`.
/// - `plus_one`: an optional integer, sent as the value plus one; 0 is `None`.
/// - `plain`: a priority that is a varint in every version.
///
/// `needs Feature` after the family leaves the message to versions with that feature.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $name:ident in $family:ident $(needs $feature:ident)? {
            $( $(#[$field_meta:meta])* $field:ident: $ty:ty $([$($mark:tt)*])?, )*
        }
    ) => {
        message_struct! { $(#[$meta])* pub struct $name { $( $(#[$field_meta])* $field: $ty, )* } }

        impl $crate::message::Message for $name {
            const KIND: $crate::message::MessageKind = message_kind!($name $family $($feature)?);

            #[inline(always)]
            fn encode_fields(
                &self,
                spec: &$crate::version::Spec,
                out: &mut ::bytes::BytesMut,
            ) -> Result<(), (&'static str, $crate::error::EncodeErrorKind)> {
                let Self { $($field),* } = self;
                $( encode_field!(spec, out, $field, [$($($mark)*)?]); )*
                Ok(())
            }

            #[inline]
            fn decode(
                spec: &$crate::version::Spec,
                limits: &$crate::limits::Limits,
                cursor: &mut $crate::cursor::Cursor<'_>,
            ) -> Result<Option<Self>, $crate::error::DecodeError> {
                $( let $field: $ty = decode_field!($name, spec, limits, cursor, $field, [$($($mark)*)?]); )*
                Ok(Some(Self { $($field),* }))
            }
        }

        #[cfg(test)]
        message_testing! { $name { $( $field: $ty [$($($mark)*)?], )* } }
    };
}

/// The struct of a message.
macro_rules! message_struct {
    ($(#[$meta:meta])* pub struct $name:ident { $( $(#[$field_meta:meta])* $field:ident: $ty:ty, )* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }
    };
}

/// The constant that names a message.
macro_rules! message_kind {
    ($name:ident $family:ident $($feature:ident)?) => {
        $crate::message::MessageKind {
            family: $crate::version::Family::$family,
            name: stringify!($name),
            needs: needed_feature!($($feature)?),
        }
    };
}

macro_rules! needed_feature {
    () => {
        None
    };
    ($feature:ident) => {
        Some($crate::version::Feature::$feature)
    };
}

/// Whether a version has a field with these marks.
macro_rules! has_field {
    ($spec:ident, until $draft:literal) => {
        $spec.draft < $draft
    };
    ($spec:ident, since $draft:literal) => {
        $spec.draft >= $draft
    };
}

/// Writes one field.
macro_rules! encode_field {
    ($spec:ident, $out:ident, $field:ident, [when $condition:expr]) => {
        match ($field, $condition) {
            (Some(value), true) => encode_with!($spec, $out, $field, value, $crate::codec::Natural),
            (None, false) => {}
            (None, true) => return Err((stringify!($field), $crate::error::EncodeErrorKind::Missing)),
            (Some(_), false) => return Err((stringify!($field), $crate::error::EncodeErrorKind::Unexpected)),
        }
    };
    ($spec:ident, $out:ident, $field:ident, [$word:ident $draft:literal $(, $($rest:tt)*)?]) => {
        if has_field!($spec, $word $draft) {
            encode_field!($spec, $out, $field, [$($($rest)*)?]);
        }
    };
    ($spec:ident, $out:ident, $field:ident, [plus_one]) => {
        encode_with!($spec, $out, $field, $field, $crate::codec::PlusOne)
    };
    ($spec:ident, $out:ident, $field:ident, [plain]) => {
        encode_with!($spec, $out, $field, $field, $crate::codec::Plain)
    };
    ($spec:ident, $out:ident, $field:ident, []) => {
        encode_with!($spec, $out, $field, $field, $crate::codec::Natural)
    };
}

/// Writes one value with the codec that its marks call for.
macro_rules! encode_with {
    ($spec:ident, $out:ident, $field:ident, $value:expr, $codec:ty) => {
        <$codec as $crate::codec::Codec<_>>::write($value, $spec, $out)
            .map_err(|kind| (stringify!($field), kind))?
    };
}

/// Reads one field, or returns from `decode`.
macro_rules! decode_field {
    ($name:ident, $spec:ident, $limits:ident, $cursor:ident, $field:ident, [when $condition:expr]) => {
        if $condition {
            Some(decode_field!($name, $spec, $limits, $cursor, $field, []))
        } else {
            None
        }
    };
    (
        $name:ident, $spec:ident, $limits:ident, $cursor:ident, $field:ident,
        [$word:ident $draft:literal $(, $($rest:tt)*)?]
    ) => {
        if has_field!($spec, $word $draft) {
            decode_field!($name, $spec, $limits, $cursor, $field, [$($($rest)*)?])
        } else {
            None
        }
    };
    ($name:ident, $spec:ident, $limits:ident, $cursor:ident, $field:ident, [plus_one]) => {
        decode_with!($name, $spec, $limits, $cursor, $field, $crate::codec::PlusOne)
    };
    ($name:ident, $spec:ident, $limits:ident, $cursor:ident, $field:ident, [plain]) => {
        decode_with!($name, $spec, $limits, $cursor, $field, $crate::codec::Plain)
    };
    ($name:ident, $spec:ident, $limits:ident, $cursor:ident, $field:ident, []) => {
        decode_with!($name, $spec, $limits, $cursor, $field, $crate::codec::Natural)
    };
}

/// Reads one value with the codec that its marks call for.
macro_rules! decode_with {
    ($name:ident, $spec:ident, $limits:ident, $cursor:ident, $field:ident, $codec:ty) => {
        match <$codec as $crate::codec::Codec<_>>::read($spec, $limits, $cursor) {
            Ok(value) => value,
            Err($crate::cursor::ReadError::More) => {
                $cursor.stall(stringify!($field));
                return Ok(None);
            }
            Err($crate::cursor::ReadError::Invalid(kind)) => {
                return Err($crate::error::DecodeError {
                    message: stringify!($name),
                    field: stringify!($field),
                    kind,
                });
            }
        }
    };
}
