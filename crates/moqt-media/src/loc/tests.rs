//! Known bytes, limits, and any frame there and back.

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn nal() -> Bytes {
    hex("0000000365b804")
}

fn frame(timestamp: u64, timescale: Option<u32>) -> Frame {
    Frame { timescale: timescale.and_then(NonZeroU32::new), ..Frame::at_micros(timestamp, nal()) }
}

#[test]
fn vectors_of_released_readers_are_read_and_written() {
    let marked = Frame { marking: Some(hex("e0")), ..frame(1_500_000, None) };
    let configured =
        Frame { config: Some(Config::Video(hex("0142c00cffe1"))), ..frame(1_500_000, Some(1_000_000)) };
    let opus = Frame { audio_level: Some(0x9e), payload: hex("fcfffe"), ..frame(72_000, Some(48_000)) };
    let end = Frame::at_micros(1_533_333, Bytes::new());
    for (frame, bytes) in [
        (frame(1_500_000, None), "05108016e360 0000000365b804"),
        (frame(135_000, Some(90_000)), "0a0880015f900880020f58 0000000365b804"),
        (configured, "1208800f424005060142c00cffe1038016e360 0000000365b804"),
        (opus, "0d088000bb8004409e0480011940 fcfffe"),
        (marked, "080901e0078016e360 0000000365b804"),
        (end, "051080176595"),
    ] {
        assert_eq!(frame.to_bytes(), hex(bytes));
        assert_eq!(Frame::parse(&hex(bytes)), Ok(frame));
    }
}

#[test]
fn the_timestamp_of_older_drafts_is_read_unless_there_is_a_newer_one() {
    assert_eq!(Frame::parse(&hex("05068016e360 0000000365b804")), Ok(frame(1_500_000, None)));
    assert_eq!(Frame::parse(&hex("04 0605 0a07")).unwrap().timestamp, 7);
}

#[test]
fn duration_and_offset_come_back_and_others_step_over_them() {
    let frame = Frame { duration: Some(512), offset: -1024, ..frame(20, Some(15_360)) };
    assert_eq!(frame.to_bytes(), hex("0c 08 7c00 08 14 7df2 4200 02 47ff 0000000365b804"));
    assert_eq!(Frame::parse(&frame.to_bytes()), Ok(frame));
}

#[test]
fn broken_blocks_are_refused_with_what_is_wrong() {
    for (bytes, error) in [
        ("", Error::Short("its length is cut off")),
        ("05", Error::Short("it is longer than the frame")),
        ("0061", Error::NoTimestamp),
        ("040800080561", Error::Value { property: 8, value: 0 }),
        ("021080", Error::Short("a property is cut off")),
        ("030d0501", Error::Short("a value is longer than the block")),
        ("050a8016e3600000000365b804", Error::NoTimestamp),
        ("041005000661", Error::Twice(0x10)),
        ("0a0c4100", Error::Short("it is longer than the frame")),
        ("030c4100", Error::Value { property: 0x0c, value: 256 }),
        ("0508bb9aca01", Error::Value { property: 8, value: 1_000_000_001 }),
        ("0910c020000000000000", Error::Value { property: 0x10, value: 1 << 53 }),
    ] {
        assert_eq!(Frame::parse(&hex(bytes)), Err(error), "{bytes}");
    }
}

#[test]
fn limits_hold_to_the_byte() {
    // A block of an unknown property of `len` bytes and a timestamp.
    let padded = |kind: u64, len: usize| {
        let mut block = Block::default();
        block.bytes(kind, &vec![0; len]);
        block.integer(TIMESTAMP, 1);
        let mut out = BytesMut::new();
        put(block.out.len() as u64, &mut out);
        out.extend_from_slice(&block.out);
        out.freeze()
    };
    assert!(Frame::parse(&padded(1, MAX_BLOCK - 5)).is_ok());
    assert!(matches!(Frame::parse(&padded(1, MAX_BLOCK - 4)), Err(Error::TooLong { len: 4097, .. })));
    assert!(Frame::parse(&padded(VIDEO_CONFIG, MAX_BLOCK_WITH_CONFIG - 7)).is_ok());
    let most = padded(VIDEO_CONFIG, MAX_BLOCK_WITH_CONFIG - 6);
    assert!(matches!(Frame::parse(&most), Err(Error::TooLong { len: 65_537, .. })));

    let many = |count: u64| {
        let mut block = Block::default();
        block.integer(TIMESTAMP, 1);
        (1..count).for_each(|at| block.integer(TIMESTAMP + 2 * at, 0));
        let mut out = BytesMut::new();
        put(block.out.len() as u64, &mut out);
        out.extend_from_slice(&block.out);
        out.freeze()
    };
    assert!(Frame::parse(&many(MAX_PROPERTIES as u64)).is_ok());
    assert_eq!(Frame::parse(&many(MAX_PROPERTIES as u64 + 1)), Err(Error::TooMany));
}

#[test]
fn legacy_frames_are_a_time_and_the_rest() {
    assert_eq!(legacy(1_500_000, &nal()), hex("8016e360 0000000365b804"));
    assert_eq!(parse_legacy(&hex("8016e360 0000000365b804")), Ok(frame(1_500_000, None)));
    assert!(parse_legacy(&hex("80")).is_err());
    assert!(parse_legacy(&hex("ffffffffffffffff")).is_err());
}

#[test]
fn times_are_rounded_to_the_nearest() {
    let scale = |scale| NonZeroU32::new(scale).unwrap();
    assert_eq!(rescale(1, scale(3), MICROSECONDS), 333_333);
    assert_eq!(rescale(2, scale(3), MICROSECONDS), 666_667);
    assert_eq!(rescale(u64::MAX, scale(1), MICROSECONDS), u64::MAX);
    assert_eq!(frame(1, Some(15_360)).micros(), 65);
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let bytes = |len| proptest::collection::vec(any::<u8>(), 0..len).prop_map(Bytes::from);
    let config = proptest::option::of((any::<bool>(), bytes(40)));
    let times = (0..=MAX_TIMESTAMP, proptest::option::of(1..=MAX_TIMESCALE), any::<Option<u32>>());
    let rest = (-(1_i64 << 40)..1 << 40, proptest::option::of(bytes(4)), any::<Option<u8>>(), config);
    (times, rest, bytes(200)).prop_map(
        |((timestamp, scale, duration), (offset, marking, audio_level, config), payload)| Frame {
            timestamp,
            timescale: scale.and_then(NonZeroU32::new),
            duration,
            offset,
            marking,
            audio_level,
            config: config.map(|(video, config)| match video {
                true => Config::Video(config),
                false => Config::Audio(config),
            }),
            payload,
        },
    )
}

proptest! {
    #[test]
    fn a_frame_survives_the_wire(frame in any_frame()) {
        prop_assert_eq!(Frame::parse(&frame.to_bytes()), Ok(frame));
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let bytes = Bytes::from(bytes);
        if let Ok(frame) = Frame::parse(&bytes) {
            prop_assert_eq!(Frame::parse(&frame.to_bytes()), Ok(frame));
        }
    }

    #[test]
    fn signs_survive_the_zigzag(value: i64) {
        prop_assert_eq!(unzigzag(zigzag(value)), value);
    }
}
