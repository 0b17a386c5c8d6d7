//! Capsules: what the two ends of a session say to each other on the stream that stands for it.

use bytes::{Buf, Bytes, BytesMut};
use wtransport::proto::error::ErrorCode;

use super::{
    error::Violation,
    limits::REASON_BYTES,
    varint::{self, Tag},
};

const CLOSE_SESSION: u64 = 0x2843;
const DRAIN_SESSION: u64 = 0x78ae;
/// Bytes of the code in front of the words.
const CODE_BYTES: usize = 4;

/// What the peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Capsule {
    /// The session ends.
    Close {
        /// The application's code.
        code: u32,
        /// The peer's words, lossily read as UTF-8.
        reason: String,
    },
    /// The session should end soon.
    Drain,
}

/// Cuts the payload of DATA frames into capsules. Capsules of unknown types are skipped, whatever their size.
#[derive(Debug, Default)]
pub(super) struct CapsuleReader {
    tag: Tag,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Tag,
    Skip {
        left: u64,
    },
    Close {
        left: usize,
        payload: BytesMut,
    },
}

impl CapsuleReader {
    /// Takes off `input` what the next capsule needs; `None` when that is more than there is.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Capsule>, Violation> {
        loop {
            match &mut self.state {
                State::Tag => {
                    let Some((kind, length)) = self.tag.read(input) else { return Ok(None) };
                    self.state = match kind {
                        CLOSE_SESSION => State::Close { left: close_len(length)?, payload: BytesMut::new() },
                        _ => State::Skip { left: length },
                    };
                    if kind == DRAIN_SESSION {
                        return Ok(Some(Capsule::Drain));
                    }
                }
                State::Skip { left: 0 } => self.state = State::Tag,
                State::Close { left: 0, payload } => {
                    let mut payload = payload.split();
                    self.state = State::Tag;
                    let code = payload.get_u32();
                    let reason = String::from_utf8_lossy(&payload).into_owned();
                    return Ok(Some(Capsule::Close { code, reason }));
                }
                _ if input.is_empty() => return Ok(None),
                State::Skip { left } => {
                    let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    input.advance(len);
                    *left -= len as u64;
                }
                State::Close { left, payload } => {
                    let piece = input.split_to(input.len().min(*left));
                    *left -= piece.len();
                    payload.extend_from_slice(&piece);
                }
            }
        }
    }

    /// The stream has come to its end.
    pub(super) fn end(&self) -> Result<(), Violation> {
        if matches!(self.state, State::Tag) && !self.tag.is_begun() {
            return Ok(());
        }
        Err(Violation::new(ErrorCode::Message, "a capsule was cut short"))
    }
}

/// The length of a closing capsule's payload, if it can be one.
fn close_len(length: u64) -> Result<usize, Violation> {
    match usize::try_from(length) {
        Ok(len) if (CODE_BYTES..=CODE_BYTES + REASON_BYTES).contains(&len) => Ok(len),
        _ => Err(Violation::new(ErrorCode::Message, "a closing capsule of an impossible size")),
    }
}

/// The capsule that closes a session. Words that are too long lose their end.
pub(super) fn close(code: u32, reason: &str) -> BytesMut {
    let mut len = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(len) {
        len -= 1;
    }
    let reason = reason.get(..len).unwrap_or_default();
    let mut out = BytesMut::new();
    varint::put(&mut out, CLOSE_SESSION);
    varint::put(&mut out, (CODE_BYTES + reason.len()) as u64);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
    out
}

/// The capsule that asks for an end.
pub(super) fn drain() -> BytesMut {
    let mut out = BytesMut::new();
    varint::put(&mut out, DRAIN_SESSION);
    varint::put(&mut out, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> Result<Vec<Capsule>, Violation> {
        let mut reader = CapsuleReader::default();
        let mut capsules = Vec::new();
        for piece in bytes.chunks(step) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(capsule) = reader.next(&mut piece)? {
                capsules.push(capsule);
            }
        }
        reader.end().map(|()| capsules)
    }

    #[test]
    fn capsules_are_read_in_pieces_of_any_size_and_unknown_ones_are_skipped() {
        let unknown = [0x21, 0x43, 0xe8].into_iter().chain([0x68; 1000]).collect::<Vec<u8>>();
        let bytes = [&unknown[..], &drain(), &[0x00, 0x00], &close(42, "ende, schluß")].concat();
        let expected = [Capsule::Drain, Capsule::Close { code: 42, reason: "ende, schluß".into() }];
        for step in [1, 2, 3, 5, 1000, bytes.len()] {
            assert_eq!(read(&bytes, step).unwrap(), expected, "{step}");
        }
    }

    #[test]
    fn a_reason_is_cut_at_a_character_and_no_longer_one_is_read() {
        let long = "ß".repeat(600);
        let cut = read(&close(u32::MAX, &long), 7).unwrap();
        assert_eq!(cut, [Capsule::Close { code: u32::MAX, reason: "ß".repeat(512) }]);
        let odd = format!("x{long}");
        let cut = read(&close(0, &odd), 7).unwrap();
        assert_eq!(cut, [Capsule::Close { code: 0, reason: format!("x{}", "ß".repeat(511)) }]);
        for length in [0, 3, 1029, (1 << 62) - 1] {
            let mut bytes = Vec::new();
            varint::put(&mut bytes, CLOSE_SESSION);
            varint::put(&mut bytes, length);
            assert_eq!(read(&bytes, 1).unwrap_err().code, ErrorCode::Message, "{length}");
        }
    }

    #[test]
    fn an_end_inside_a_capsule_is_an_error() {
        let bytes = close(1, "x");
        for cut in 1..bytes.len() {
            assert_eq!(read(&bytes[..cut], 1).unwrap_err().code, ErrorCode::Message, "{cut}");
        }
        assert_eq!(read(&[], 1), Ok(vec![]));
    }
}
