//! Decodes captured streams with nothing but the wire crate: no sockets, no runtime.
//!
//! `cargo run --example decode`

use bytes::Bytes;
use moqt_wire::{
    FrameDecoder, FrameEvent, Limits, StreamDecoder, Version,
    transfork::{Group, StreamKind, Subscribe},
};

/// A Subscribe stream of draft 04, as its opener wrote it.
const SUBSCRIBE: &[u8] = b"\x02\x07\x03\x07meeting\x041234\x05alice\x40\xc8\x02\x00\x00";
/// A Group stream with three frames, one of them empty.
const GROUP: &[u8] = b"\x00\x07\x43\xe8\x05hello\x00\x06world!";

fn main() -> anyhow::Result<()> {
    let spec = Version::TRANSFORK_04.spec();

    let mut stream = StreamDecoder::new(spec, Limits::default());
    // A capture comes in pieces that end anywhere; too few bytes are no error.
    let (first, second) = SUBSCRIBE.split_at(9);
    stream.push(Bytes::from_static(first));
    let kind = stream.next_varint()?.and_then(|number| StreamKind::bidi(spec, number));
    println!("a {} stream", kind.map_or("unknown", StreamKind::name));
    assert_eq!(stream.next::<Subscribe>()?, None);
    stream.push(Bytes::from_static(second));
    if let Some(subscribe) = stream.next::<Subscribe>()? {
        println!("  {} wants {} at priority {}", subscribe.id, subscribe.track, subscribe.priority);
    }
    stream.finish()?;

    let mut stream = StreamDecoder::new(spec, Limits::default());
    stream.push(Bytes::from_static(GROUP));
    let kind = stream.next_varint()?.and_then(|number| StreamKind::uni(spec, number));
    println!("a {} stream", kind.map_or("unknown", StreamKind::name));
    if let Some(group) = stream.next::<Group>()? {
        println!("  group {} of subscription {}", group.sequence, group.subscribe);
    }
    // From here on it is payload, passed on as slices of what came in.
    let mut frames = FrameDecoder::new(Limits::default());
    frames.extend(stream.take_rest());
    while let Some(event) = frames.next()? {
        match event {
            FrameEvent::Begin { size } => print!("  frame of {size} bytes:"),
            FrameEvent::Payload(payload) => print!(" {:?}", String::from_utf8_lossy(&payload)),
            FrameEvent::End => println!(),
        }
    }
    frames.finish()?;
    Ok(())
}
