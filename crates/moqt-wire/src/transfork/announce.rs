//! ANNOUNCE.

use std::fmt;

use bytes::BytesMut;

use crate::codec::Field;
use crate::cursor::{Cursor, ReadError};
use crate::error::{DecodeErrorKind, EncodeErrorKind};
use crate::limits::Limits;
use crate::name::Namespace;
use crate::version::Spec;

message! {
    /// Tells about one track, or that all present tracks have been told.
    ///
    /// Spec: transfork-03 "ANNOUNCE".
    pub struct Announce in Transfork {
        /// What has happened.
        status: AnnounceStatus,
        /// What follows the prefix of the interest, or what its pattern captured; absent exactly with
        /// [`AnnounceStatus::LIVE`].
        suffix: Option<Namespace> [when status.has_suffix()],
    }
}

/// What has happened to the track.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnounceStatus(u64);

impl AnnounceStatus {
    /// The track is gone.
    pub const ENDED: Self = Self(0);
    /// The track is there.
    pub const ACTIVE: Self = Self(1);
    /// All tracks that are there have been told; no track belongs to this.
    pub const LIVE: Self = Self(2);

    /// The number on the wire.
    pub fn value(self) -> u64 {
        self.0
    }

    /// Whether a suffix follows.
    pub fn has_suffix(self) -> bool {
        self != Self::LIVE
    }
}

impl fmt::Display for AnnounceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::ENDED => "ended",
            Self::ACTIVE => "active",
            _ => "live",
        })
    }
}

impl fmt::Debug for AnnounceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnnounceStatus({self})")
    }
}

/// An unknown status is refused: whether a suffix follows could not be told.
impl Field for AnnounceStatus {
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        self.0.write(spec, out)
    }

    fn read(_: &Spec, _: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        let status = Self(cursor.varint()?);
        match status {
            Self::ENDED | Self::ACTIVE | Self::LIVE => Ok(status),
            Self(value) => Err(DecodeErrorKind::Invalid { value }.into()),
        }
    }
}
