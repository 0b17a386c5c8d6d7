//! What forwarding takes, for counting instructions: `cargo xtask bench --instructions`.
//!
//! With the name of one part and a number, that part is done so many times. Counted for two numbers, the difference
//! is what it takes, without what it takes to begin.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails panics")]

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use moqt_session::{
    Config, Handshake, Retention, SubscribeOptions, TrackEvent, TrackInfo, TrackProducer, Tracks,
};
use moqt_sim::{Link, Sim, Sink, Tally};
use moqt_wire::{
    FrameDecoder, FrameEvent, FullTrackName, GroupOrder, GroupSequence, Limits, Message, Priority,
    StreamDecoder, SubscribeId, Version, frame_header,
    transfork::{Group, Subscribe},
};

mod floor;

/// One thing to count.
struct Part {
    name: &'static str,
    /// The part that is the least this one could take.
    floor: Option<&'static str>,
    /// How often a round does it.
    times: u64,
    /// Rounds in which it is done often enough for a count.
    rounds: u64,
    work: fn(u64),
}

const fn part(name: &'static str, times: u64, rounds: u64, work: fn(u64)) -> Part {
    Part { name, floor: None, times, rounds, work }
}

impl Part {
    const fn over(self, floor: &'static str) -> Self {
        Self { floor: Some(floor), ..self }
    }
}

const PARTS: &[Part] = &[
    part("floor-group-header-encode", 1, 1000, floor::group_header_encode),
    part("group-header-encode", 1, 1000, group_header_encode).over("floor-group-header-encode"),
    part("floor-group-header-decode", 1, 1000, floor::group_header_decode),
    part("group-header-decode", 1, 1000, group_header_decode).over("floor-group-header-decode"),
    part("floor-frame-header-encode", 1, 1000, floor::frame_header_encode),
    part("frame-header-encode", 1, 1000, frame_header_encode).over("floor-frame-header-encode"),
    part("floor-frame-header-decode", FRAMES_OF_GROUP, 100, floor_frame_header_decode),
    part("frame-header-decode", FRAMES_OF_GROUP, 100, frame_header_decode).over("floor-frame-header-decode"),
    part("floor-frame-decode", 1, 1000, floor_frame_decode),
    part("frame-decode", 1, 1000, frame_decode).over("floor-frame-decode"),
    part("floor-subscribe-encode", 1, 1000, floor_subscribe_encode),
    part("floor-subscribe-encode-fields", 1, 1000, floor::subscribe_encode_fields),
    part("subscribe-encode", 1, 1000, subscribe_encode).over("floor-subscribe-encode"),
    part("floor-subscribe-decode", 1, 1000, floor_subscribe_decode),
    part("subscribe-decode", 1, 1000, subscribe_decode).over("floor-subscribe-decode"),
    part("frame-append", FRAMES_OF_GROUP, 100, frame_append),
    part("fan-out-frame", SUBSCRIBERS * FRAMES_OF_GROUP, 10, fan_out_frames),
    part("fan-out-group", SUBSCRIBERS, 200, fan_out_groups),
];

const FRAMES_OF_GROUP: u64 = 60;
const SUBSCRIBERS: u64 = 20;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let name = args.next();
    let part = name.and_then(|name| PARTS.iter().find(|part| part.name == name));
    match (part, args.next().and_then(|rounds| rounds.parse().ok())) {
        (Some(part), Some(rounds)) => (part.work)(rounds),
        _ => PARTS.iter().for_each(|part| {
            println!("{} {} {} {}", part.name, part.times, part.rounds, part.floor.unwrap_or("-"));
        }),
    }
}

fn group_header_encode(rounds: u64) {
    let mut out = BytesMut::with_capacity(64);
    let header = Group { subscribe: SubscribeId(7), sequence: GroupSequence(1000) };
    for _ in 0..rounds {
        out.clear();
        black_box(&header).encode(Version::TRANSFORK_04.spec(), &mut out).unwrap();
        black_box(&out);
    }
}

fn group_header_decode(rounds: u64) {
    let bytes = Bytes::from_static(b"\x07\x43\xe8");
    let mut decoder = StreamDecoder::new(Version::TRANSFORK_04.spec(), Limits::default());
    for _ in 0..rounds {
        decoder.push(black_box(&bytes).clone());
        black_box(&decoder.next::<Group>().unwrap().unwrap());
    }
}

fn frame_header_encode(rounds: u64) {
    let mut out = BytesMut::with_capacity(64);
    for _ in 0..rounds {
        out.clear();
        frame_header(black_box(20_833), &mut out);
        black_box(&out);
    }
}

/// A group of frames without payload.
fn headers() -> Bytes {
    b"\x00".repeat(usize::try_from(FRAMES_OF_GROUP).unwrap()).into()
}

fn floor_frame_header_decode(rounds: u64) {
    floor::frame_header_decode(rounds, &headers());
}

fn frame_header_decode(rounds: u64) {
    let headers = headers();
    let mut frames = FrameDecoder::new(Limits::default());
    for _ in 0..rounds {
        frames.push(black_box(&headers).clone());
        take(&mut frames);
    }
}

/// Takes what there is, as whoever puts frames into a group does.
fn take(frames: &mut FrameDecoder) {
    while let Some(event) = frames.next().unwrap() {
        match event {
            FrameEvent::Begin { size } => {
                black_box(size);
            }
            FrameEvent::Payload(payload) => drop(black_box(payload)),
            FrameEvent::End => {}
        }
    }
}

fn frame() -> Bytes {
    Bytes::from([&b"\x43\xe8"[..], &[0; 1000]].concat())
}

fn floor_frame_decode(rounds: u64) {
    floor::frame_decode(rounds, &frame());
}

fn frame_decode(rounds: u64) {
    let frame = frame();
    let mut frames = FrameDecoder::new(Limits::default());
    for _ in 0..rounds {
        frames.push(black_box(&frame).clone());
        take(&mut frames);
    }
}

fn subscribe() -> Subscribe {
    Subscribe {
        id: SubscribeId(7),
        track: "meeting/1234/alice".parse::<FullTrackName>().unwrap(),
        priority: Priority(200),
        order: GroupOrder::Descending,
        expires: None,
        first: None,
        last: None,
    }
}

fn subscribe_bytes() -> Bytes {
    subscribe().to_bytes(Version::TRANSFORK_04.spec()).unwrap()
}

fn floor_subscribe_encode(rounds: u64) {
    floor::subscribe_encode(rounds, &subscribe_bytes());
}

fn floor_subscribe_decode(rounds: u64) {
    floor::subscribe_decode(rounds, &subscribe_bytes());
}

fn subscribe_encode(rounds: u64) {
    let (subscribe, mut out) = (subscribe(), BytesMut::with_capacity(256));
    for _ in 0..rounds {
        out.clear();
        black_box(&subscribe).encode(Version::TRANSFORK_04.spec(), &mut out).unwrap();
        black_box(&out);
    }
}

fn subscribe_decode(rounds: u64) {
    let bytes = subscribe_bytes();
    let mut decoder = StreamDecoder::new(Version::TRANSFORK_04.spec(), Limits::default());
    for _ in 0..rounds {
        decoder.push(black_box(&bytes).clone());
        black_box(&decoder.next::<Subscribe>().unwrap().unwrap());
    }
}

/// A runtime in virtual time.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn track() -> TrackProducer {
    TrackProducer::new("cam/video".parse().unwrap(), TrackInfo::default(), Retention::default())
}

/// Groups of frames, written to a track that one reader follows.
fn frame_append(rounds: u64) {
    runtime().block_on(async {
        let track = track();
        let mut reader = track.consume();
        let payload = Bytes::from(vec![7; 1000]);
        for _ in 0..rounds {
            let mut group = track.append_group();
            (0..FRAMES_OF_GROUP).for_each(|_| group.write_frame(payload.clone()).unwrap());
            group.finish().unwrap();
            let event = reader.next_event().await;
            assert!(matches!(black_box(event), Ok(Some(TrackEvent::Group(_)))));
        }
    });
}

fn fan_out_frames(rounds: u64) {
    fan_out(rounds, 4000, FRAMES_OF_GROUP);
}

fn fan_out_groups(rounds: u64) {
    fan_out(rounds, 160, 1);
}

/// So many groups from a publisher's session through that of a relay to those of its subscribers.
fn fan_out(groups: u64, size: usize, frames: u64) {
    const PAUSE: Duration = Duration::from_millis(33);
    runtime().block_on(async {
        let sim = Sim::new(1);
        let link = || Link::delay(Duration::from_millis(5));
        let (near, far) = sim.connect(link());
        let (near, far) = tokio::join!(
            Handshake::connect(near, Config::default()),
            Handshake::accept(far, Config::default())
        );
        let (origin, relayed) = (Tracks::new(), Tracks::new());
        let track = track();
        let published = origin.publish(track.consume()).unwrap();
        let publisher = near.unwrap().start(Arc::new(origin));
        let upstream = far.unwrap().start(Arc::new(Tracks::new()));
        let wish = SubscribeOptions::default();
        let taken = upstream.subscriber().subscribe(track.name().clone(), wish).await.unwrap();
        let relaying = relayed.publish(taken.into_track()).unwrap();
        let mut held = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let (near, far) = sim.connect(link());
            let far = Sink::new(far, Tally::with_room(usize::try_from(groups * frames).unwrap()));
            let (near, far) = tokio::join!(
                Handshake::connect(near, Config::default()),
                Handshake::accept(far, Config::default())
            );
            let far = far.unwrap().start(Arc::new(relayed.clone()));
            let near = near.unwrap().start(Arc::new(Tracks::new()));
            let wish = SubscribeOptions::default();
            let subscription = near.subscriber().subscribe(track.name().clone(), wish).await.unwrap();
            held.push((near, far, subscription));
        }
        let payload = Bytes::from(vec![7; size]);
        for _ in 0..groups {
            let mut group = track.append_group();
            for frame in 1..=frames {
                group.write_frame(payload.clone()).unwrap();
                if frame < frames {
                    sim.sleep(PAUSE).await;
                }
            }
            group.finish().unwrap();
            sim.sleep(PAUSE).await;
        }
        drop((published, publisher, relaying, held));
    });
}
