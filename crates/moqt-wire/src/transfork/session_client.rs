//! SESSION_CLIENT.

use bytes::BytesMut;

use super::Extensions;
use crate::codec::Field;
use crate::cursor::{Cursor, ReadError};
use crate::error::EncodeErrorKind;
use crate::limits::Limits;
use crate::varint;
use crate::version::Spec;

message! {
    /// Opens the handshake: what the client can speak. The same in every version.
    ///
    /// Spec: transfork-03 "SESSION_CLIENT".
    pub struct SessionClient in Transfork {
        /// The numbers of the versions, the preferred first.
        versions: Vec<u64>,
        /// What else the client can do.
        extensions: Extensions,
    }
}

impl Field for Vec<u64> {
    fn write(&self, _: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        varint::put(self.len() as u64, out)?;
        self.iter().try_for_each(|version| varint::put(*version, out))
    }

    fn read(_: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        let count = cursor.size(limits.versions)?;
        let mut versions = Self::with_capacity(count.min(cursor.remaining()));
        for _ in 0..count {
            versions.push(cursor.varint()?);
        }
        Ok(versions)
    }
}
