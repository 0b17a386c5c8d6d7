//! Whole streams, from their first byte to their last.

use std::fs;

use serde::Deserialize;
use serde_json::Value;

use super::vectors_of;
use crate::group::{FrameDecoder, FrameEvent, frame_header};
use crate::limits::Limits;
use crate::message::Message;
use crate::stream::StreamDecoder;
use crate::testing::{TestMessage, from_hex, to_hex};
use crate::transfork::{self, StreamKind, for_each_message};
use crate::varint;
use crate::version::{Spec, Version};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    id: String,
    description: String,
    /// What the stream opens with; nothing on the way back.
    kind: Option<String>,
    hex: String,
    /// Each an object whose only key is the message's name.
    messages: Vec<Value>,
    /// On streams that carry frames.
    frames: Option<Vec<String>>,
}

/// Reads a message by its name and gives it as JSON, together with what writing it gives.
fn read_named(decoder: &mut StreamDecoder, name: &str) -> (Value, Vec<u8>) {
    fn read<M: TestMessage>(decoder: &mut StreamDecoder) -> (Value, Vec<u8>) {
        let message = decoder.next::<M>().unwrap().expect("it is incomplete");
        (message.to_json(), message.to_bytes(decoder.spec()).unwrap().to_vec())
    }
    macro_rules! find {
        ($($message:ident)*) => {$(
            if name == transfork::$message::NAME {
                return read::<transfork::$message>(decoder);
            }
        )*};
    }
    for_each_message!(find);
    panic!("no message is called {name}");
}

fn check(spec: &'static Spec, stream: &Stream) {
    let mut decoder = StreamDecoder::new(spec, Limits::default());
    decoder.push(from_hex(&stream.hex));
    let mut written = bytes::BytesMut::new();
    if let Some(name) = &stream.kind {
        let number = decoder.next_varint().unwrap().unwrap();
        let read = if name == "group" { StreamKind::uni } else { StreamKind::bidi };
        let kind = read(spec, number).expect("the version has no such stream");
        assert_eq!(kind.name(), name);
        varint::put(kind.to_wire(spec).unwrap(), &mut written).unwrap();
    }
    for message in &stream.messages {
        let (name, content) = message.as_object().unwrap().iter().next().unwrap();
        let (read, bytes) = read_named(&mut decoder, name);
        assert_eq!(read, *content);
        written.extend_from_slice(&bytes);
    }
    let mut decoder_of_frames = FrameDecoder::new(Limits::default());
    if let Some(frames) = &stream.frames {
        decoder_of_frames.extend(decoder.take_rest());
        for frame in frames.iter().map(|frame| from_hex(frame)) {
            let size = frame.len() as u64;
            assert_eq!(decoder_of_frames.next(), Ok(Some(FrameEvent::Begin { size })));
            if size > 0 {
                assert_eq!(decoder_of_frames.next(), Ok(Some(FrameEvent::Payload(frame.clone()))));
            }
            assert_eq!(decoder_of_frames.next(), Ok(Some(FrameEvent::End)));
            frame_header(size, &mut written);
            written.extend_from_slice(&frame);
        }
    }
    assert_eq!(decoder_of_frames.next(), Ok(None));
    assert_eq!(decoder_of_frames.finish(), Ok(()));
    assert_eq!(decoder.expect_end(), Ok(()));
    assert_eq!(to_hex(&written), stream.hex);
}

#[test]
fn every_stream_of_every_version_reads_and_writes_as_it_says() {
    for version in Version::ALL {
        let path = vectors_of(version).join("streams.json");
        let streams: Vec<Stream> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for stream in &streams {
            eprintln!("{version} {}: {}", stream.id, stream.description);
            check(version.spec(), stream);
        }
    }
}
