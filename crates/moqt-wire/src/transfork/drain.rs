//! DRAIN, our own extension.

use bytes::{Bytes, BytesMut};

use crate::codec::{Field, write_block};
use crate::cursor::{Cursor, ReadError};
use crate::error::EncodeErrorKind;
use crate::limits::Limits;
use crate::version::Spec;

message! {
    /// Asks the client to move to another session; sent only if both sides offered
    /// [`EXT_DRAIN`](super::EXT_DRAIN).
    pub struct Drain in Transfork {
        /// Where to; empty: the same place.
        url: Bytes,
    }
}

impl Field for Bytes {
    fn write(&self, _: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        write_block(self, out)
    }

    fn read(_: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        cursor.block(limits.url_bytes).map(|url| Self::copy_from_slice(&url))
    }
}
