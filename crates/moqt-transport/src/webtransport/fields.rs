//! The lines of a request or an answer, and their compression without a dynamic table.

use bytes::Bytes;
use wtransport::proto::{
    error::ErrorCode,
    qpack::{Decoder, Encoder},
};

use super::{
    error::Violation,
    limits::{FIELD_OVERHEAD, FIELDS_BYTES},
};

/// The start of a section that needs no dynamic table.
const PREFIX: [u8; 2] = [0, 0];
/// Bytes that an integer may have after its first one; lengths and indices that matter need fewer.
const INTEGER_BYTES: usize = 4;

/// Names and values in the order sent; of untrusted origin, but free of control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads the payload of a HEADERS frame.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, Violation> {
        let broken = || Violation::new(ErrorCode::Decompression, "headers cannot be decompressed");
        let malformed = || Violation::new(ErrorCode::Message, "a malformed header");
        let mut cursor = Cursor(payload);
        // No insertions are required, and so the base means nothing.
        if cursor.integer(8) != Some(0) || cursor.integer(7).is_none() {
            return Err(broken());
        }
        let mut lines = Vec::new();
        let mut size = 0;
        while !cursor.0.is_empty() {
            let line = cursor.line().ok_or_else(broken)?;
            // A section of one line: the decoder keeps neither order nor repetitions.
            let section = [&PREFIX[..], line].concat();
            let decoded = Decoder::decode(section).map_err(|_| broken())?;
            let (name, value) = decoded.into_iter().next().ok_or_else(broken)?;
            size += name.len() + value.len() + FIELD_OVERHEAD;
            if size > FIELDS_BYTES {
                return Err(Violation::new(ErrorCode::ExcessiveLoad, "headers are too large"));
            }
            if !is_name(name.strip_prefix(':').unwrap_or(&name)) || !is_value(&value) {
                return Err(malformed());
            }
            lines.push((name, value));
        }
        Ok(Self(lines))
    }

    /// Writes the payload of a HEADERS frame.
    pub(super) fn encode(&self) -> Bytes {
        Encoder::encode(self.iter()).into_vec().into()
    }

    /// Adds a line of our own, if it can be one.
    pub(super) fn push(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        if !is_name(name) || !is_value(value) {
            return Err(InvalidHeader(name.to_owned()));
        }
        self.0.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Adds one of HTTP/3's own lines, which go before all others.
    pub(super) fn push_pseudo(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// The value of the first line of that name.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.iter().find(|&(found, _)| found == name).map(|(_, value)| value)
    }

    /// The values of all lines of that name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter().filter(move |&(found, _)| found == name).map(|(_, value)| value)
    }

    /// All lines of that name as the one that they mean; `None` without any.
    pub(super) fn joined(&self, name: &str) -> Option<String> {
        let all: Vec<_> = self.all(name).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn into_vec(self) -> Vec<(String, String)> {
        self.0
    }
}

/// A header's name or value cannot be sent.
///
/// Names are lower-case tokens, values are without control characters and without space around them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header {0:?} cannot be sent")]
pub struct InvalidHeader(pub String);

fn is_name(name: &str) -> bool {
    let is_token = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(is_token)
}

fn is_value(value: &str) -> bool {
    let is_space = |c| c == ' ' || c == '\t';
    !value.starts_with(is_space)
        && !value.ends_with(is_space)
        && !value.chars().any(|c| c.is_ascii_control() && c != '\t')
}

/// Finds where lines end. The decoder trusts integers more than it should.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Takes one line off, as it is; `None` where it is cut short, or needs a dynamic table.
    fn line(&mut self) -> Option<&'a [u8]> {
        let all = self.0;
        let first = *all.first()?;
        match first {
            // Indexed; name and value from the table
            0xc0.. => drop(self.integer(6)?),
            // Name from the table
            0x50..=0x5f | 0x70..=0x7f => {
                self.integer(4)?;
                self.string(7)?;
            }
            // Both in full
            0x20..=0x3f => {
                self.string(3)?;
                self.string(7)?;
            }
            // The dynamic table
            _ => return None,
        }
        all.get(..all.len() - self.0.len())
    }

    /// Takes off an integer that starts in the lowest `bits` bits of a byte.
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let (&first, mut rest) = self.0.split_first()?;
        let most = (1_usize << bits) - 1;
        let mut value = usize::from(first) & most;
        if value == most {
            let mut shift = 0;
            loop {
                let (&byte, after) = rest.split_first()?;
                rest = after;
                value += usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift >= 7 * INTEGER_BYTES {
                    return None;
                }
            }
        }
        self.0 = rest;
        Some(value)
    }

    /// Takes off a string whose length starts in the lowest `bits` bits.
    fn string(&mut self, bits: u32) -> Option<()> {
        let len = self.integer(bits)?;
        self.0 = self.0.get(len..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        Fields(lines.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn code(payload: &[u8]) -> ErrorCode {
        Fields::decode(payload).unwrap_err().code
    }

    #[test]
    fn lines_keep_their_order_and_their_repetitions() {
        let sent = fields(&[
            (":method", "CONNECT"),
            (":path", "/room?x=y"),
            ("x-one", "1"),
            ("wt-available-protocols", "\"b\""),
            ("x-one", "2"),
            ("empty", ""),
        ]);
        let read = Fields::decode(&sent.encode()).unwrap();
        assert_eq!(read, sent);
        assert_eq!(read.find("x-one"), Some("1"));
        assert_eq!(read.joined("x-one").as_deref(), Some("1, 2"));
        assert_eq!(read.joined("x-two"), None);
    }

    #[test]
    fn huffman_and_names_from_the_table_are_read() {
        // :path (index 1) with "www.example.com" in Huffman's code, an example of HTTP/2's compression.
        let bytes =
            [0x00, 0x00, 0x51, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(Fields::decode(&bytes).unwrap(), fields(&[(":path", "www.example.com")]));
    }

    #[test]
    fn integers_that_overflow_are_refused_before_the_decoder_sees_them() {
        let endless = [&[0x00, 0x00, 0xff][..], &[0xff; 40], &[0x01]].concat();
        assert_eq!(code(&endless), ErrorCode::Decompression);
        let endless = [&[0xff][..], &[0xff; 40], &[0x01]].concat();
        assert_eq!(code(&endless), ErrorCode::Decompression);
        // A string of 2^27 bytes that are not there.
        assert_eq!(code(&[0, 0, 0x50, 0x7f, 0xff, 0xff, 0xff, 0x3f]), ErrorCode::Decompression);
    }

    #[test]
    fn the_dynamic_table_and_every_cut_are_refused() {
        for bytes in
            [&[1, 0][..], &[0, 0, 0x80], &[0, 0, 0x10], &[0, 0, 0x00], &[0, 0, 0x40, 0x00], &[0], &[]]
        {
            assert_eq!(code(bytes), ErrorCode::Decompression, "{bytes:?}");
        }
        let whole = fields(&[("name", "value")]).encode();
        for cut in 3..whole.len() {
            assert_eq!(code(&whole[..cut]), ErrorCode::Decompression);
        }
    }

    #[test]
    fn a_section_that_unfolds_to_more_than_the_limit_is_refused() {
        // One byte a line.
        let bytes = [&[0, 0][..], &[0xc0 | 31; 4000]].concat();
        assert_eq!(code(&bytes), ErrorCode::ExcessiveLoad);
    }

    #[test]
    fn names_and_values_that_cannot_be_are_refused_on_both_sides() {
        for (name, value) in
            [("Upper", "x"), ("", "x"), ("a b", "x"), ("a", "x\r\ny"), ("a", " x"), ("é", "x")]
        {
            assert_eq!(code(&fields(&[(name, value)]).encode()), ErrorCode::Message, "{name:?} {value:?}");
            assert!(Fields::default().push(name, value).is_err());
        }
        assert!(Fields::default().push(":path", "/").is_err());
        assert!(Fields::default().push("x-a", "é ü").is_ok());
    }
}
