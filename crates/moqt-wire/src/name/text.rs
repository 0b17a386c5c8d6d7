//! Names as text: parts joined by `/`, the rest percent-encoded.

use std::fmt::{self, Write as _};

use bytes::{BufMut, Bytes, BytesMut};

use super::NameError;

/// Writes parts so that [`read_part`] on each piece between slashes gives them back.
pub(super) fn write_parts<'a>(
    parts: impl IntoIterator<Item = &'a Bytes>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            f.write_char('/')?;
        }
        for chunk in part.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_plain(character) {
                    f.write_char(character)?;
                } else {
                    let mut buffer = [0; 4];
                    write_escaped(character.encode_utf8(&mut buffer).as_bytes(), f)?;
                }
            }
            write_escaped(chunk.invalid(), f)?;
        }
    }
    Ok(())
}

/// The bytes of one part.
pub(super) fn read_part(text: &str) -> Result<Bytes, NameError> {
    if !text.contains('%') {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    let mut pieces = text.split('%');
    let mut out = BytesMut::with_capacity(text.len());
    out.put_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let (digits, rest) = piece.as_bytes().split_at_checked(2).ok_or(NameError::BadEscape)?;
        out.put_u8(hex(digits).ok_or(NameError::BadEscape)?);
        out.put_slice(rest);
    }
    Ok(out.freeze())
}

fn write_escaped(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))
}

/// Whether the character stands for itself: printable, and without a meaning in the text form.
fn is_plain(character: char) -> bool {
    match character {
        '/' | '%' => false,
        '"' | '\'' | '\\' => true,
        _ => character.escape_debug().len() == 1,
    }
}

fn hex(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0, |value: u8, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value << 4 | u8::try_from(digit).ok()?)
    })
}
