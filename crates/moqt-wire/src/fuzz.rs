//! Bodies of the fuzz targets: what has to hold for any bytes at all.
//!
//! Each panics when its promise is broken. The libFuzzer wrappers only call them, and a plain test replays the
//! committed corpora through them.

use bytes::{Bytes, BytesMut};

use crate::cursor::Cursor;
use crate::error::DecodeError;
use crate::group::{FrameDecoder, FrameEvent, frame_header};
use crate::limits::Limits;
use crate::message::Message;
use crate::name::{FullTrackName, NameError, Namespace};
use crate::stream::StreamDecoder;
use crate::transfork::{Pattern, for_each_message};
use crate::version::{Spec, Version};

/// A fuzz target: its name, which is also that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] =
    &[("messages", messages), ("streams", streams), ("frames", frames), ("names", names)];

/// A message that can be read from these bytes, in any version, comes back from its own encoding.
pub fn messages(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    for version in Version::ALL {
        let spec = version.spec();
        macro_rules! check_each {
            ($($message:ident)*) => { $( check_message::<crate::transfork::$message>(spec, &data); )* };
        }
        for_each_message!(check_each);
    }
}

/// However a stream is cut into chunks, the same messages come out, and the same bytes are left.
///
/// The first byte says which message, the second which version; the third seeds the cuts.
pub fn streams(data: &[u8]) {
    let [message, version, seed, data @ ..] = data else { return };
    let versions = Version::ALL.len();
    let Some(version) = Version::ALL.get(usize::from(*version) % versions) else { return };
    let (spec, data) = (version.spec(), Bytes::copy_from_slice(data));
    let mut index = *message % count_messages();
    macro_rules! check_one {
        ($($message:ident)*) => {$(
            if index == 0 {
                return check_chunks::<crate::transfork::$message>(spec, &data, *seed);
            }
            index -= 1;
        )*};
    }
    for_each_message!(check_one);
}

/// However a stream of frames is cut into chunks, the same frames come out, and writing them gives a stream
/// that reads the same.
///
/// The first byte seeds the cuts.
pub fn frames(data: &[u8]) {
    let [seed, data @ ..] = data else { return };
    let data = Bytes::copy_from_slice(data);
    let whole = read_frames([data.clone()]);
    assert_eq!(read_frames(cuts(&data, *seed)), whole, "frames depend on how the stream was cut");

    let mut written = BytesMut::new();
    for frame in &whole.0 {
        frame_header(frame.len() as u64, &mut written);
        written.extend_from_slice(frame);
    }
    let again = read_frames([written.freeze()]);
    assert_eq!(again, (whole.0, Ok(())), "written frames read differently");
}

/// Names survive being printed and parsed, and prefixes and patterns being taken off and put back.
pub fn names(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(name) = text.parse::<Namespace>() {
            assert_eq!(name.to_string().parse(), Ok(name), "a parsed name prints differently");
        }
        let _any: Result<FullTrackName, NameError> = text.parse();
    }
    if let Some((pattern, path)) = std::str::from_utf8(data).ok().and_then(|text| text.split_once('\n')) {
        check_pattern(&Pattern::new(pattern), path);
    }
    let name = Namespace::from_parts(data.split(|byte| *byte == 0).map(Bytes::copy_from_slice));
    assert_eq!(name.compact(), name);
    if name.len() > 1 || name.bytes() > 0 {
        assert_eq!(name.to_string().parse(), Ok(name.clone()), "a name does not survive its text");
    }
    let limits = Limits::default();
    if let Ok(track) = FullTrackName::try_from(name.clone()) {
        assert_eq!(track.to_namespace(), name);
        assert_eq!(track.validate(&limits), name.validate(&limits));
        assert_eq!(track.to_namespace().strip_prefix(&track.namespace).map(|rest| rest.len()), Some(1));
        assert!(name.starts_with(&track.namespace));
    }
}

fn check_pattern(pattern: &Pattern, path: &str) {
    assert_eq!(Pattern::new(pattern.as_str()), *pattern, "a pattern changed on its way");
    let Ok(path) = path.parse::<Namespace>() else { return };
    if let Some(capture) = pattern.matches(&path) {
        assert_eq!(pattern.full_path(&capture), Ok(path), "a capture does not lead back to its path");
    }
}

fn check_message<M: Message>(spec: &'static Spec, data: &Bytes) {
    let limits = Limits::default();
    let chunks = [data.clone()];
    let mut cursor = Cursor::new(&chunks, limits.message_bytes);
    let Ok(Some(message)) = M::decode(spec, &limits, &mut cursor) else { return };
    assert!(cursor.position() <= data.len());
    if !M::KIND.exists_in(spec) {
        assert!(message.to_bytes(spec).is_err(), "{} was written in {}", M::NAME, spec.name);
        return;
    }
    let written = message.to_bytes(spec);
    let written = written.unwrap_or_else(|error| panic!("{message:?} cannot be written: {error}"));
    assert!(written.len() <= cursor.position(), "{} grew from one trip to the next", M::NAME);
    let mut decoder = StreamDecoder::new(spec, limits);
    decoder.push(written);
    assert_eq!(decoder.next::<M>(), Ok(Some(message)), "{} changed on its way", M::NAME);
    assert_eq!(decoder.expect_end(), Ok(()));
}

fn check_chunks<M: Message>(spec: &'static Spec, data: &Bytes, seed: u8) {
    let whole = read_messages::<M>(spec, [data.clone()]);
    let parts = read_messages::<M>(spec, cuts(data, seed));
    assert_eq!(parts, whole, "{} depends on how the stream was cut", M::NAME);
}

/// The messages of a stream, what stopped it, and what was left.
fn read_messages<M: Message>(
    spec: &'static Spec,
    chunks: impl IntoIterator<Item = Bytes>,
) -> (Vec<M>, Result<(), DecodeError>, Vec<u8>) {
    let mut decoder = StreamDecoder::new(spec, Limits::default());
    let (mut messages, mut outcome) = (Vec::new(), Ok(()));
    for chunk in chunks {
        decoder.push(chunk);
        while outcome.is_ok() {
            match decoder.next::<M>() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => outcome = Err(error),
            }
        }
    }
    outcome = outcome.and_then(|()| decoder.finish());
    let left = decoder.take_rest().collect::<Vec<_>>().concat();
    (messages, outcome, left)
}

/// The whole frames of a stream and how it ended.
fn read_frames(chunks: impl IntoIterator<Item = Bytes>) -> (Vec<Bytes>, Result<(), DecodeError>) {
    let mut decoder = FrameDecoder::new(Limits::default());
    let (mut frames, mut frame, mut expected) = (Vec::new(), BytesMut::new(), None);
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next() {
                Ok(Some(FrameEvent::Begin { size })) => {
                    assert_eq!(expected.replace(size), None, "a frame began inside another");
                }
                Ok(Some(FrameEvent::Payload(payload))) => {
                    assert!(!payload.is_empty(), "payload without bytes");
                    frame.extend_from_slice(&payload);
                }
                Ok(Some(FrameEvent::End)) => {
                    assert_eq!(expected.take(), Some(frame.len() as u64), "a frame has another size");
                    frames.push(frame.split().freeze());
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(), Err(error.clone()), "an error went away by itself");
                    return (frames, Err(error));
                }
            }
        }
    }
    (frames, decoder.finish())
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

fn count_messages() -> u8 {
    u8::try_from(crate::transfork::MESSAGES.len()).unwrap_or(u8::MAX)
}
