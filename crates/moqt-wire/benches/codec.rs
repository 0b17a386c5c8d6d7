//! What a header costs beside the least that it could cost: writing and reading its integers by hand.
//!
//! `cargo bench -p moqt-wire --bench codec`. Ratios in one run are the result; times depend on the machine.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use moqt_wire::{
    FrameDecoder, FrameEvent, FullTrackName, GroupOrder, GroupSequence, Limits, Message, Priority,
    StreamDecoder, SubscribeId, Version, frame_header,
    transfork::{Group, Subscribe},
    varint,
};

const REPEATS: usize = 7;
const ROUNDS: u32 = 200_000;

/// The median time of one round.
fn time(mut round: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..REPEATS)
        .map(|_| {
            let start = now();
            (0..ROUNDS).for_each(|_| round());
            start.elapsed() / ROUNDS
        })
        .collect();
    times.sort_unstable();
    times.get(REPEATS / 2).copied().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn row(what: &str, floor: Duration, ours: Duration) {
    let ratio = ours.as_secs_f64() / floor.as_secs_f64().max(1e-12);
    println!("{what:<28} {floor:>10?} {ours:>10?} {ratio:>8.2}");
}

fn main() {
    let spec = Version::TRANSFORK_04.spec();
    println!("{:<28} {:>10} {:>10} {:>8}", "per message", "floor", "ours", "ratio");

    let mut out = BytesMut::with_capacity(1 << 16);
    let header = Group { subscribe: SubscribeId(7), sequence: GroupSequence(1000) };
    let floor = time(|| {
        out.clear();
        let _ = varint::put(black_box(7), &mut out);
        let _ = varint::put(black_box(1000), &mut out);
    });
    let ours = time(|| {
        out.clear();
        let _ = black_box(&header).encode(spec, &mut out);
    });
    row("group header, encode", floor, ours);

    let bytes = Bytes::from_static(b"\x07\x43\xe8");
    let floor = time(|| {
        let first = varint::peek(black_box(&bytes));
        black_box(varint::peek(bytes.get(first.map_or(0, |(_, len)| len)..).unwrap_or_default()));
    });
    let mut decoder = StreamDecoder::new(spec, Limits::default());
    let ours = time(|| {
        decoder.push(bytes.clone());
        let _ = black_box(decoder.next::<Group>());
    });
    row("group header, decode", floor, ours);

    let floor = time(|| {
        out.clear();
        let _ = varint::put(black_box(20_833), &mut out);
    });
    let ours = time(|| {
        out.clear();
        frame_header(black_box(20_833), &mut out);
    });
    row("frame header, encode", floor, ours);

    let frame = Bytes::from([&b"\x43\xe8"[..], &[0; 1000]].concat());
    let mut payload = frame.clone();
    let floor = time(|| {
        payload = black_box(&frame).slice(2..);
    });
    let mut frames = FrameDecoder::new(Limits::default());
    let ours = time(|| {
        frames.push(frame.clone());
        while let Ok(Some(event)) = frames.next() {
            if event == FrameEvent::End {
                break;
            }
        }
    });
    row("frame of 1000 bytes, decode", floor, ours);

    let Ok(track) = "meeting/1234/alice".parse::<FullTrackName>() else { return };
    let subscribe = Subscribe {
        id: SubscribeId(7),
        track,
        priority: Priority(200),
        order: GroupOrder::Descending,
        expires: None,
        first: None,
        last: None,
    };
    let Ok(bytes) = subscribe.to_bytes(spec) else { return };
    let floor = time(|| {
        out.clear();
        out.extend_from_slice(black_box(&bytes));
    });
    let ours = time(|| {
        out.clear();
        let _ = black_box(&subscribe).encode(spec, &mut out);
    });
    row("subscribe, encode", floor, ours);
    let floor = time(|| {
        black_box(Bytes::copy_from_slice(black_box(&bytes)));
    });
    let ours = time(|| {
        decoder.push(bytes.clone());
        let _ = black_box(decoder.next::<Subscribe>());
    });
    row("subscribe, decode", floor, ours);
}
