//! Bodies of the fuzz targets: what has to hold for any bytes at all of a WebTransport peer.
//!
//! Each panics when its promise is broken. The libFuzzer wrappers only call them, and a plain test replays the
//! committed corpora through them.

use bytes::{Bytes, BytesMut};

use super::{
    capsule::{self, Capsule, CapsuleReader},
    error::Violation,
    fields::Fields,
    frame::{self, Frame, FrameReader, Place},
    head::{self, BidiHead, UniHead},
    limits::{FIELDS_BYTES, HEADERS_BYTES, REASON_BYTES, SETTINGS_BYTES},
    message::{self, ServerRequest},
    protocols,
    settings::Settings,
};

/// A fuzz target: its name, which is also that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] =
    &[("http3_frames", http3_frames), ("http3_fields", http3_fields), ("http3_heads", http3_heads)];

/// However a stream is cut into chunks, the same frames and capsules come out, and none is larger than its limit.
///
/// The first byte says whose rules hold and seeds the cuts.
pub fn http3_frames(data: &[u8]) {
    let [seed, data @ ..] = data else { return };
    let data = Bytes::copy_from_slice(data);
    let place = match seed % 3 {
        0 => Place::Control,
        1 => Place::Message,
        _ => Place::Session,
    };
    let whole = read(place, [data.clone()]);
    assert_eq!(read(place, cuts(&data, *seed)), whole, "frames depend on how the stream was cut");
    for frame in &whole.whole {
        match frame {
            Frame::Headers(payload) => {
                assert!(payload.len() <= HEADERS_BYTES);
                let _any = Fields::decode(payload);
            }
            Frame::Settings(payload) => {
                assert!(payload.len() <= SETTINGS_BYTES);
                let _any = Settings::parse(payload);
            }
            Frame::Data(_) | Frame::GoAway => {}
        }
    }
    for said in &whole.capsules {
        let Capsule::Close { code, reason } = said else { continue };
        // What is not UTF-8 becomes longer by being read.
        let is_short = reason.len() <= REASON_BYTES;
        let again = read_capsules(capsule::close(*code, reason).freeze());
        assert!(!is_short || again == Ok(vec![said.clone()]), "a capsule changed on its way");
    }
}

/// Header lines that can be read come back from their own encoding, and bound what they unfold to.
pub fn http3_fields(data: &[u8]) {
    if let Ok(fields) = Fields::decode(data) {
        let size: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(size <= FIELDS_BYTES);
        assert_eq!(Fields::decode(&fields.encode()), Ok(fields.clone()), "lines changed on their way");
        let _any = message::status(&fields);
        if let Ok(request) = ServerRequest::parse(fields) {
            assert!(!request.path().is_empty());
            for name in request.protocols() {
                let written = protocols::string(&name);
                let read = written.as_deref().and_then(protocols::parse_item);
                assert_eq!(read, Some(name), "a name changed on its way");
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let names = protocols::parse(text);
        let borrowed: Vec<_> = names.iter().map(String::as_str).collect();
        let written = protocols::write(&borrowed);
        assert_eq!(written.map(|text| protocols::parse(&text)), Some(names), "a list changed on its way");
    }
}

/// What a stream says it is does not depend on what follows, and its own head reads back.
pub fn http3_heads(data: &[u8]) {
    if let Some((head, len)) = head::uni(data) {
        assert_eq!(data.get(..len).and_then(head::uni), Some((head, len)));
        if let UniHead::Session(id) = head {
            let written = head::write(head::UNI_STREAM, id);
            assert!(written.len() <= len);
            assert_eq!(head::uni(&written), Some((head, written.len())));
        }
    }
    if let Some((head, len)) = head::bidi(data)
        && let BidiHead::Session(id) = head
    {
        assert_eq!(data.get(..len).and_then(head::bidi), Some((head, len)));
        let written = head::write(head::BIDI_STREAM, id);
        assert_eq!(head::bidi(&written), Some((head, written.len())));
    }
    let _any = Settings::parse(data);
}

/// What a stream of HTTP/3 says.
#[derive(Debug, Default, PartialEq)]
struct Said {
    /// The frames that come whole.
    whole: Vec<Frame>,
    data: Vec<u8>,
    capsules: Vec<Capsule>,
    outcome: Option<Violation>,
}

fn read(place: Place, chunks: impl IntoIterator<Item = Bytes>) -> Said {
    let mut said = Said::default();
    let (mut frames, mut capsules) = (FrameReader::new(place), CapsuleReader::default());
    let mut outcome = Ok(());
    for mut chunk in chunks {
        outcome = read_chunk(&mut said, &mut frames, &mut capsules, &mut chunk);
        if outcome.is_err() {
            break;
        }
        assert!(chunk.is_empty(), "bytes were left though nothing came of them");
    }
    said.outcome = outcome.and_then(|()| frames.end()).and_then(|()| capsules.end()).err();
    if said.outcome.is_some() {
        // How much had come by then is a matter of the cuts.
        said.data.clear();
    }
    said
}

fn read_chunk(
    said: &mut Said,
    frames: &mut FrameReader,
    capsules: &mut CapsuleReader,
    chunk: &mut Bytes,
) -> Result<(), Violation> {
    while let Some(frame) = frames.next(chunk)? {
        match frame {
            Frame::Data(mut piece) => {
                assert!(!piece.is_empty(), "data without bytes");
                said.data.extend_from_slice(&piece);
                while let Some(capsule) = capsules.next(&mut piece)? {
                    said.capsules.push(capsule);
                }
            }
            other => {
                if matches!(other, Frame::Headers(_)) {
                    frames.begin_session();
                }
                said.whole.push(other);
            }
        }
    }
    Ok(())
}

fn read_capsules(mut bytes: Bytes) -> Result<Vec<Capsule>, Violation> {
    let mut data = BytesMut::new();
    frame::put(&mut data, frame::DATA, &bytes);
    assert!(data.len() > bytes.len());
    let (mut reader, mut all) = (CapsuleReader::default(), Vec::new());
    while let Some(capsule) = reader.next(&mut bytes)? {
        all.push(capsule);
    }
    reader.end().map(|()| all)
}

/// Cuts `data` into chunks of 0 to 15 bytes, differently for each seed.
fn cuts(data: &Bytes, seed: u8) -> Vec<Bytes> {
    let (mut rest, mut state, mut chunks) = (data.clone(), u32::from(seed) | 0x100, Vec::new());
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = usize::try_from(state >> 28).unwrap_or(1).min(rest.len());
        chunks.push(rest.split_to(len));
    }
    chunks
}
