//! QUIC's variable-length integers, and the pairs of type and length that frames and capsules start with.

use bytes::{Buf, BufMut, Bytes};
use wtransport::proto::bytes::BytesReader;

/// Bytes of the longest integer.
const LONGEST: usize = 8;

/// Writes an integer below 2^62 in its shortest form.
pub(super) fn put(out: &mut impl BufMut, value: u64) {
    match value {
        0..=0x3f => out.put_uint(value, 1),
        0x40..=0x3fff => out.put_uint(value | 0x4000, 2),
        0x4000..=0x3fff_ffff => out.put_uint(value | 0x8000_0000, 4),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

/// Takes an integer off the front; `None` while it is not there whole.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    bytes.get_varint().map(|value| value.into_inner())
}

/// A type and a length, as they come in.
#[derive(Debug, Default)]
pub(super) struct Tag {
    bytes: [u8; 2 * LONGEST],
    len: usize,
}

impl Tag {
    /// Takes as much off `input` as it needs; gives the two once they are there, and is ready for the next.
    pub(super) fn read(&mut self, input: &mut Bytes) -> Option<(u64, u64)> {
        while input.has_remaining() {
            // Two integers are never longer, so there is room for each byte.
            *self.bytes.get_mut(self.len)? = input.get_u8();
            self.len += 1;
            let mut have = self.bytes.get(..self.len)?;
            if let (Some(kind), Some(length)) = (take(&mut have), take(&mut have)) {
                self.len = 0;
                return Some((kind, length));
            }
        }
        None
    }

    /// Whether a part of them has come in.
    pub(super) fn is_begun(&self) -> bool {
        self.len > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of QUIC's specification.
    const EXAMPLES: [(u64, &[u8]); 4] = [
        (37, &[0x25]),
        (15_293, &[0x7b, 0xbd]),
        (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
        (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
    ];

    #[test]
    fn integers_are_written_and_read_as_the_specification_has_them() {
        for (value, bytes) in EXAMPLES {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(take(&mut &bytes[..]), Some(value));
            assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn a_tag_is_read_from_single_bytes_and_leaves_what_follows() {
        let mut tag = Tag::default();
        let mut bytes = Bytes::from_static(&[0xc0, 0, 0, 0, 0, 0, 0, 7, 0x40, 9, 0xff]);
        for _ in 0..9 {
            assert_eq!(tag.read(&mut bytes.split_to(1)), None);
            assert!(tag.is_begun());
        }
        assert_eq!(tag.read(&mut bytes), Some((7, 9)));
        assert!(!tag.is_begun());
        assert_eq!(bytes[..], [0xff]);
    }
}
