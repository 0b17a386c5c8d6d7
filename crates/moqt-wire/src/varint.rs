//! Variable-length integers.
//!
//! The form is QUIC's: the two top bits of the first byte give the size (1, 2, 4 or 8 bytes), the rest is the
//! value, big-endian. Any form is accepted, the shortest is sent. Families with another form get it beside this
//! one.
//!
//! Spec: RFC 9000 section 16.

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::error::EncodeErrorKind;

/// The largest value that fits, 2^62 - 1.
pub const MAX: u64 = (1 << 62) - 1;

/// The most bytes one integer takes.
pub const MAX_LEN: usize = 8;

#[cfg(test)]
thread_local! {
    /// Makes this thread send longer forms, as other implementations may.
    pub(crate) static LEAST_LEN: std::cell::Cell<usize> = const { std::cell::Cell::new(1) };
}

/// An integer that is known to fit, 0 to 2^62 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VarInt(u64);

impl VarInt {
    /// The largest value.
    pub const MAX: Self = Self(MAX);

    /// Wraps `value`, or gives `None` when it is above [`MAX`].
    #[inline]
    pub const fn new(value: u64) -> Option<Self> {
        if value <= MAX { Some(Self(value)) } else { None }
    }

    /// The integer.
    pub const fn into_inner(self) -> u64 {
        self.0
    }

    /// How many bytes the shortest form takes.
    #[expect(clippy::len_without_is_empty, reason = "an integer is never empty")]
    #[inline]
    pub const fn len(self) -> usize {
        match self.0 {
            0..0x40 => 1,
            0x40..0x4000 => 2,
            0x4000..0x4000_0000 => 4,
            _ => 8,
        }
    }

    /// How many bytes are sent: the fewest, unless a test wants more.
    #[inline]
    fn sent_len(self) -> usize {
        #[cfg(test)]
        return self.len().max(LEAST_LEN.get());
        #[cfg(not(test))]
        self.len()
    }

    /// Writes the shortest form.
    #[inline]
    pub fn put(self, out: &mut BytesMut) {
        #[expect(clippy::cast_possible_truncation, reason = "the length was chosen by the value")]
        match self.sent_len() {
            1 => out.put_u8(self.0 as u8),
            2 => out.put_u16(self.0 as u16 | 0x4000),
            _ => self.put_wide(out),
        }
    }

    /// Writes one of the two longest forms; apart, so that the short ones are small enough to be inlined.
    #[inline(never)]
    fn put_wide(self, out: &mut BytesMut) {
        #[expect(clippy::cast_possible_truncation, reason = "the length was chosen by the value")]
        match self.sent_len() {
            4 => out.put_u32(self.0 as u32 | 0x8000_0000),
            _ => out.put_u64(self.0 | 0xc000_0000_0000_0000),
        }
    }
}

impl From<u8> for VarInt {
    fn from(value: u8) -> Self {
        Self(value.into())
    }
}

impl From<u16> for VarInt {
    fn from(value: u16) -> Self {
        Self(value.into())
    }
}

impl From<u32> for VarInt {
    fn from(value: u32) -> Self {
        Self(value.into())
    }
}

impl TryFrom<u64> for VarInt {
    type Error = EncodeErrorKind;

    #[inline]
    fn try_from(value: u64) -> Result<Self, Self::Error> {
        Self::new(value).ok_or(EncodeErrorKind::TooLarge { value, limit: MAX })
    }
}

impl From<VarInt> for u64 {
    fn from(value: VarInt) -> Self {
        value.0
    }
}

impl fmt::Display for VarInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes `value` in the shortest form.
///
/// # Errors
///
/// [`EncodeErrorKind::TooLarge`] above [`MAX`]; nothing is written then.
#[inline]
pub fn put(value: u64, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
    VarInt::try_from(value).map(|value| value.put(out))
}

/// Reads the integer at the start of `bytes`: its value and how many bytes it took.
///
/// `None` when there are too few bytes to tell.
#[inline]
pub fn peek(bytes: &[u8]) -> Option<(u64, usize)> {
    split(bytes).map(|(value, rest)| (value, bytes.len() - rest.len()))
}

/// Reads the integer at the start of `bytes`: its value and what follows it.
#[inline]
pub(crate) fn split(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x40 {
        return Some((u64::from(*first), rest));
    }
    Some(match *first >> 6 {
        1 => bytes
            .split_first_chunk()
            .map(|(all, rest)| (u64::from(u16::from_be_bytes(*all) & 0x3fff), rest))?,
        2 => bytes
            .split_first_chunk()
            .map(|(all, rest)| (u64::from(u32::from_be_bytes(*all) & 0x3fff_ffff), rest))?,
        _ => bytes.split_first_chunk().map(|(all, rest)| (u64::from_be_bytes(*all) & MAX, rest))?,
    })
}

/// How many bytes an integer takes whose first byte is `first`.
#[inline]
pub const fn len_from_first(first: u8) -> usize {
    1 << (first >> 6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(value: u64) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(value, &mut out).unwrap();
        out.to_vec()
    }

    #[test]
    fn known_values_have_their_known_bytes() {
        let table: &[(u64, &[u8])] = &[
            (0, &[0]),
            (37, &[0x25]),
            (63, &[0x3f]),
            (64, &[0x40, 0x40]),
            (15_293, &[0x7b, 0xbd]),
            (16_383, &[0x7f, 0xff]),
            (16_384, &[0x80, 0x00, 0x40, 0x00]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            ((1 << 30) - 1, &[0xbf, 0xff, 0xff, 0xff]),
            (1 << 30, &[0xc0, 0, 0, 0, 0x40, 0, 0, 0]),
            (0xff0b_ad04, &[0xc0, 0, 0, 0, 0xff, 0x0b, 0xad, 0x04]),
            (MAX, &[0xff; 8]),
        ];
        for (value, bytes) in table {
            assert_eq!(bytes_of(*value), *bytes, "{value}");
            assert_eq!(peek(bytes), Some((*value, bytes.len())));
        }
    }

    #[test]
    fn longer_forms_are_read() {
        for bytes in [&[0x40, 0x25][..], &[0x80, 0, 0, 0x25], &[0xc0, 0, 0, 0, 0, 0, 0, 0x25]] {
            assert_eq!(peek(bytes), Some((37, bytes.len())));
        }
    }

    #[test]
    fn a_value_of_63_bits_is_refused_and_leaves_no_bytes() {
        let mut out = BytesMut::from(&b"x"[..]);
        assert_eq!(put(MAX + 1, &mut out), Err(EncodeErrorKind::TooLarge { value: MAX + 1, limit: MAX }));
        assert_eq!(&out[..], b"x");
        assert_eq!(VarInt::new(MAX + 1), None);
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value in 0..=MAX, shift in 0u32..62) {
            let value = value >> shift;
            let bytes = bytes_of(value);
            prop_assert_eq!(bytes.len(), VarInt::new(value).unwrap().len());
            prop_assert_eq!(peek(&bytes), Some((value, bytes.len())));
            for cut in 0..bytes.len() {
                prop_assert_eq!(peek(&bytes[..cut]), None);
            }
        }
    }
}
