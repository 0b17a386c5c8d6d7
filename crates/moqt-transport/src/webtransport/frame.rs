//! HTTP/3 frames: bytes in whatever pieces to frames, by the rules of the stream that they are on.

use bytes::{Buf, Bytes, BytesMut};
use wtransport::proto::error::ErrorCode;

use super::{
    error::Violation,
    limits::{HEADERS_BYTES, SETTINGS_BYTES},
    varint::{self, Tag},
};

pub(super) const DATA: u64 = 0x00;
pub(super) const HEADERS: u64 = 0x01;
pub(super) const SETTINGS: u64 = 0x04;
const CANCEL_PUSH: u64 = 0x03;
const PUSH_PROMISE: u64 = 0x05;
const GOAWAY: u64 = 0x07;
const MAX_PUSH_ID: u64 = 0x0d;
const WEBTRANSPORT_STREAM: u64 = 0x41;

/// What a stream brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A piece of the payload of a DATA frame, never empty.
    Data(Bytes),
    /// The compressed lines of a HEADERS frame.
    Headers(Bytes),
    /// The payload of the SETTINGS frame.
    Settings(Bytes),
    /// The peer wants no new requests.
    GoAway,
}

/// Whose rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The control stream: SETTINGS come first, and once.
    Control,
    /// A request or its answer: HEADERS come first.
    Message,
    /// What follows on the stream of a session: DATA only.
    Session,
}

/// Cuts a stream into frames. Frames of unknown types are skipped, whatever their size.
#[derive(Debug)]
pub(super) struct FrameReader {
    place: Place,
    tag: Tag,
    state: State,
    has_settings: bool,
}

#[derive(Debug)]
enum State {
    Tag,
    Data { left: u64 },
    Skip { left: u64 },
    Keep { kind: u64, left: usize, payload: BytesMut },
}

impl FrameReader {
    pub(super) fn new(place: Place) -> Self {
        Self { place, tag: Tag::default(), state: State::Tag, has_settings: false }
    }

    /// The request has been made and answered: from here on the stream is the session's.
    pub(super) fn begin_session(&mut self) {
        self.place = Place::Session;
    }

    /// Takes off `input` what the next frame needs; `None` when that is more than there is.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Frame>, Violation> {
        loop {
            match &mut self.state {
                State::Tag => {
                    let Some((kind, length)) = self.tag.read(input) else { return Ok(None) };
                    self.begin(kind, length)?;
                    if kind == GOAWAY {
                        return Ok(Some(Frame::GoAway));
                    }
                }
                State::Skip { left: 0 } | State::Data { left: 0 } => self.state = State::Tag,
                State::Keep { kind, left: 0, payload } => {
                    let (kind, payload) = (*kind, payload.split().freeze());
                    self.state = State::Tag;
                    let frame = if kind == SETTINGS { Frame::Settings } else { Frame::Headers };
                    return Ok(Some(frame(payload)));
                }
                _ if input.is_empty() => return Ok(None),
                State::Skip { left } => drop(piece(input, left)),
                State::Data { left } => return Ok(Some(Frame::Data(piece(input, left)))),
                State::Keep { left, payload, .. } => {
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
        Err(Violation::new(ErrorCode::Frame, "a frame was cut short"))
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<(), Violation> {
        let unexpected = |what| Err(Violation::new(ErrorCode::FrameUnexpected, what));
        if self.place == Place::Control && !self.has_settings {
            if kind != SETTINGS {
                return Err(Violation::new(ErrorCode::MissingSettings, "settings do not come first"));
            }
            self.has_settings = true;
            return self.keep(kind, length, SETTINGS_BYTES);
        }
        self.state = match (kind, self.place) {
            (DATA, Place::Session) => State::Data { left: length },
            (HEADERS, Place::Message) => return self.keep(kind, length, HEADERS_BYTES),
            (CANCEL_PUSH | GOAWAY | MAX_PUSH_ID, Place::Control) => State::Skip { left: length },
            (SETTINGS, Place::Control) => return unexpected("settings came twice"),
            (DATA, Place::Message) => return unexpected("data before headers"),
            (HEADERS, Place::Session) => return unexpected("headers came twice"),
            (WEBTRANSPORT_STREAM, _) => {
                return Err(Violation::new(ErrorCode::Frame, "a stream's beginning in its middle"));
            }
            // Those that HTTP/2 had, too.
            (DATA | HEADERS | SETTINGS | CANCEL_PUSH | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID, _)
            | (0x02 | 0x06 | 0x08 | 0x09, _) => return unexpected("a frame of another stream"),
            _ => State::Skip { left: length },
        };
        Ok(())
    }

    fn keep(&mut self, kind: u64, length: u64, most: usize) -> Result<(), Violation> {
        match usize::try_from(length) {
            // Room is made as the bytes come.
            Ok(left) if left <= most => self.state = State::Keep { kind, left, payload: BytesMut::new() },
            _ => return Err(Violation::new(ErrorCode::ExcessiveLoad, "a frame is too large")),
        }
        Ok(())
    }
}

/// Takes off as much as is there of `left` bytes.
fn piece(input: &mut Bytes, left: &mut u64) -> Bytes {
    let len = usize::try_from(*left).map_or(input.remaining(), |left| left.min(input.remaining()));
    *left -= len as u64;
    input.split_to(len)
}

/// Writes a frame.
pub(super) fn put(out: &mut BytesMut, kind: u64, payload: &[u8]) {
    varint::put(out, kind);
    varint::put(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: &mut FrameReader, bytes: &[u8], step: usize) -> Result<Vec<Frame>, Violation> {
        let mut frames = Vec::new();
        for piece in bytes.chunks(step) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(frame) = reader.next(&mut piece)? {
                frames.push(frame);
            }
            assert!(piece.is_empty());
        }
        Ok(frames)
    }

    fn frames(place: Place, bytes: &[u8]) -> Result<Vec<Frame>, ErrorCode> {
        read(&mut FrameReader::new(place), bytes, bytes.len().max(1)).map_err(|violation| violation.code)
    }

    fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(&mut out, kind, payload);
        out.to_vec()
    }

    #[test]
    fn unknown_frames_are_skipped_in_pieces_of_any_size() {
        let bytes = [
            frame(SETTINGS, b"set"),
            frame(GOAWAY, &[0x40, 0x00]),
            frame(0x21, &[0x01; 300]),
            frame(MAX_PUSH_ID, &[0x05]),
            frame(CANCEL_PUSH, &[0x05]),
            frame(0x1f * 7 + 0x21, &[]),
        ]
        .concat();
        for step in [1, 2, 3, 7, bytes.len()] {
            let mut reader = FrameReader::new(Place::Control);
            let read = read(&mut reader, &bytes, step).unwrap();
            assert_eq!(read, [Frame::Settings(Bytes::from_static(b"set")), Frame::GoAway], "{step}");
            reader.end().unwrap();
        }
    }

    #[test]
    fn data_comes_as_it_arrives_and_headers_come_whole() {
        let mut reader = FrameReader::new(Place::Message);
        assert_eq!(
            read(&mut reader, &frame(HEADERS, b"lines"), 2).unwrap(),
            [Frame::Headers("lines".into())]
        );
        reader.begin_session();
        let bytes = [frame(0x21, b"x"), frame(DATA, b""), frame(DATA, b"abc"), frame(DATA, b"d")].concat();
        let read = read(&mut reader, &bytes, 2).unwrap();
        let data: Vec<u8> = read
            .iter()
            .flat_map(|frame| match frame {
                Frame::Data(piece) => piece.to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(data, b"abcd");
    }

    #[test]
    fn what_does_not_belong_on_a_stream_is_an_error() {
        let settings = frame(SETTINGS, b"");
        let after_settings = |more: &[u8]| frames(Place::Control, &[&settings, more].concat());
        assert_eq!(frames(Place::Control, &frame(GOAWAY, &[0])), Err(ErrorCode::MissingSettings));
        assert_eq!(frames(Place::Control, &frame(0x21, &[0])), Err(ErrorCode::MissingSettings));
        for kind in [SETTINGS, DATA, HEADERS, PUSH_PROMISE, 0x02, 0x06, 0x08, 0x09] {
            assert_eq!(after_settings(&frame(kind, &[])), Err(ErrorCode::FrameUnexpected), "{kind:#x}");
        }
        for kind in [DATA, SETTINGS, GOAWAY, MAX_PUSH_ID, CANCEL_PUSH, PUSH_PROMISE, 0x08] {
            assert_eq!(
                frames(Place::Message, &frame(kind, &[])),
                Err(ErrorCode::FrameUnexpected),
                "{kind:#x}"
            );
        }
        for kind in [HEADERS, SETTINGS, GOAWAY] {
            assert_eq!(
                frames(Place::Session, &frame(kind, &[])),
                Err(ErrorCode::FrameUnexpected),
                "{kind:#x}"
            );
        }
        for place in [Place::Message, Place::Session] {
            assert_eq!(frames(place, &frame(WEBTRANSPORT_STREAM, &[])), Err(ErrorCode::Frame));
        }
    }

    #[test]
    fn frames_that_would_have_to_be_kept_have_a_largest_size() {
        let tag = |kind, length| {
            let mut out = BytesMut::new();
            varint::put(&mut out, kind);
            varint::put(&mut out, length);
            out
        };
        for length in [SETTINGS_BYTES as u64 + 1, (1 << 62) - 1] {
            assert_eq!(frames(Place::Control, &tag(SETTINGS, length)), Err(ErrorCode::ExcessiveLoad));
        }
        for length in [HEADERS_BYTES as u64 + 1, (1 << 62) - 1] {
            assert_eq!(frames(Place::Message, &tag(HEADERS, length)), Err(ErrorCode::ExcessiveLoad));
        }
        assert_eq!(frames(Place::Message, &tag(HEADERS, HEADERS_BYTES as u64)), Ok(vec![]));
        // What is not kept has none.
        assert_eq!(frames(Place::Session, &tag(DATA, (1 << 62) - 1)), Ok(vec![]));
        assert_eq!(frames(Place::Session, &tag(0x21, (1 << 62) - 1)), Ok(vec![]));
    }

    #[test]
    fn an_end_inside_a_frame_is_an_error() {
        let bytes = frame(HEADERS, b"ab");
        for cut in 0..bytes.len() {
            let mut reader = FrameReader::new(Place::Message);
            assert_eq!(read(&mut reader, &bytes[..cut], 1).unwrap(), []);
            assert_eq!(reader.end().is_ok(), cut == 0);
        }
    }
}
