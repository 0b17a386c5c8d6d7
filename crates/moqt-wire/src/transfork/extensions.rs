//! The extensions that the two sides of a handshake offer.

use bytes::{Bytes, BytesMut};

use crate::codec::{Field, write_block};
use crate::cursor::{Cursor, ReadError};
use crate::error::{DecodeError, DecodeErrorKind, EncodeErrorKind};
use crate::limits::Limits;
use crate::varint;
use crate::version::Spec;

#[cfg(test)]
mod tests;

/// The role of the sender; historical (draft 01), understood but not sent.
pub const EXT_ROLE: u64 = 0;
/// The path of the session's URL; only from clients on raw QUIC.
pub const EXT_PATH: u64 = 1;
/// Our own: which encoding stands behind the number of draft 04. See [`ENCODING_DRAFT_04`].
pub const EXT_ENCODING: u64 = 0x0f04;
/// Our own: the sender understands [`Drain`](super::Drain).
pub const EXT_DRAIN: u64 = 0x0f05;

/// The value of [`EXT_ENCODING`] that stands for the encoding of the draft.
pub const ENCODING_DRAFT_04: u64 = 1;

/// Ids with payloads, each id at most once, in the order they were set or received.
///
/// Unknown ids are kept; an extension is in force only if both sides sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Vec<Extension>);

/// One extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// What it is.
    pub id: u64,
    /// What it says; the id tells how to read it.
    pub payload: Bytes,
}

impl Extensions {
    /// No extensions.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Extension> {
        self.0.iter()
    }

    /// Whether `id` is among them.
    pub fn contains(&self, id: u64) -> bool {
        self.bytes(id).is_some()
    }

    /// The payload of `id` as it came.
    pub fn bytes(&self, id: u64) -> Option<&Bytes> {
        self.iter().find(|extension| extension.id == id).map(|extension| &extension.payload)
    }

    /// The payload of `id` as one integer.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::WrongSize`] when the payload is not exactly one integer.
    pub fn varint(&self, id: u64) -> Result<Option<u64>, DecodeError> {
        let Some(payload) = self.bytes(id) else { return Ok(None) };
        match varint::peek(payload) {
            Some((value, len)) if len == payload.len() => Ok(Some(value)),
            _ => Err(error(id, DecodeErrorKind::WrongSize)),
        }
    }

    /// The payload of `id` as text.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::NotUtf8`].
    pub fn string(&self, id: u64) -> Result<Option<&str>, DecodeError> {
        let Some(payload) = self.bytes(id) else { return Ok(None) };
        std::str::from_utf8(payload).map(Some).map_err(|_| error(id, DecodeErrorKind::NotUtf8))
    }

    /// Sets the payload of `id`, in place of an earlier one.
    pub fn set(&mut self, id: u64, payload: impl Into<Bytes>) -> &mut Self {
        let payload = payload.into();
        match self.0.iter_mut().find(|extension| extension.id == id) {
            Some(extension) => extension.payload = payload,
            None => self.0.push(Extension { id, payload }),
        }
        self
    }

    /// Sets the payload of `id` to one integer.
    ///
    /// # Errors
    ///
    /// [`EncodeErrorKind::TooLarge`] above [`varint::MAX`].
    pub fn set_varint(&mut self, id: u64, value: u64) -> Result<&mut Self, EncodeErrorKind> {
        let mut payload = BytesMut::new();
        varint::put(value, &mut payload)?;
        Ok(self.set(id, payload))
    }
}

impl<'a> IntoIterator for &'a Extensions {
    type Item = &'a Extension;
    type IntoIter = std::slice::Iter<'a, Extension>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<P: Into<Bytes>> FromIterator<(u64, P)> for Extensions {
    /// A repeated id keeps its place and takes the later payload.
    fn from_iter<I: IntoIterator<Item = (u64, P)>>(pairs: I) -> Self {
        let mut extensions = Self::new();
        for (id, payload) in pairs {
            extensions.set(id, payload);
        }
        extensions
    }
}

impl Field for Extensions {
    fn write(&self, _: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        varint::put(self.len() as u64, out)?;
        self.iter().try_for_each(|extension| {
            varint::put(extension.id, out)?;
            write_block(&extension.payload, out)
        })
    }

    fn read(_: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        let count = cursor.size(limits.extensions)?;
        // An extension takes at least two bytes, so a declared count buys no memory.
        let mut extensions = Self(Vec::with_capacity(count.min(cursor.remaining())));
        for _ in 0..count {
            let id = cursor.varint()?;
            if extensions.contains(id) {
                return Err(DecodeErrorKind::Duplicate { id }.into());
            }
            let payload = Bytes::copy_from_slice(&cursor.block(limits.extension_bytes)?);
            extensions.0.push(Extension { id, payload });
        }
        Ok(extensions)
    }
}

fn error(id: u64, kind: DecodeErrorKind) -> DecodeError {
    let field = match id {
        EXT_ROLE => "role",
        EXT_PATH => "path",
        EXT_ENCODING => "encoding",
        EXT_DRAIN => "drain",
        _ => "payload",
    };
    DecodeError { message: "Extensions", field, kind }
}
