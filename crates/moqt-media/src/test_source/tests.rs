//! What comes when, and what it looks and sounds like.

use super::*;
use crate::catalog::Format;

const START: Duration = Duration::from_secs(1_795_752_000);

fn pieces(count: usize) -> Vec<(Duration, Piece)> {
    let mut source = TestSource::new(START);
    std::iter::repeat_with(|| (source.due(), source.make())).take(count).collect()
}

#[test]
fn a_second_has_thirty_pictures_and_fifty_packets_in_groups_that_begin_together() {
    let all: Vec<_> = pieces(80);
    let video = all.iter().filter(|(_, piece)| piece.frames[0].0 == 0).collect::<Vec<_>>();
    let audio = all.iter().filter(|(_, piece)| piece.frames[0].0 == 2).collect::<Vec<_>>();
    assert_eq!((video.len(), audio.len()), (30, 50));
    let begins = |pieces: &[&(Duration, Piece)]| {
        pieces.iter().filter(|(_, piece)| piece.begins).map(|(due, _)| *due).collect::<Vec<_>>()
    };
    assert_eq!(begins(&video), [Duration::ZERO, Duration::from_millis(500)]);
    assert_eq!(begins(&audio), begins(&video));
    assert!(all.is_sorted_by_key(|(due, _)| *due));
}

#[test]
fn times_are_those_of_the_wall_clock_without_a_scale() {
    for (due, piece) in pieces(20) {
        for (_, frame) in piece.frames {
            assert_eq!(frame.timestamp, micros(START + due));
            assert_eq!(frame.timescale, None);
        }
    }
}

#[test]
fn pictures_are_whole_and_small_and_none_is_like_another() {
    let mut seen = std::collections::BTreeSet::new();
    for (_, piece) in pieces(60).into_iter().filter(|(_, piece)| piece.frames.len() == 2) {
        for (track, frame) in piece.frames {
            let jpeg = frame.payload;
            assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]));
            assert!(jpeg.len() < [40_000, 16_000][track], "{} bytes", jpeg.len());
            assert!(seen.insert(jpeg));
        }
    }
}

#[test]
fn the_beep_begins_with_the_second_and_is_over_after_a_tenth() {
    let loud = |at: u64| {
        let packet = tone::packet(START + Duration::from_millis(at));
        assert_eq!(packet.len(), 1920);
        packet
            .chunks(2)
            .map(|sample| i16::from_le_bytes([sample[0], sample[1]]).unsigned_abs())
            .max()
            .unwrap()
    };
    assert!(loud(0) > 9_000 && loud(80) > 9_000 && loud(1000) > 9_000);
    assert_eq!((loud(100), loud(500), loud(980)), (0, 0, 0));
}

#[test]
fn what_was_due_long_ago_can_be_left_out() {
    let mut source = TestSource::new(START);
    let first = source.make();
    assert!(first.begins);
    source.skip_to(Duration::from_secs(3));
    assert_eq!(source.due(), Duration::from_secs(3));
    let piece = source.make();
    assert!(piece.begins, "a group that was left out does not keep the next one from beginning");
    assert_eq!(piece.frames[0].1.timestamp, micros(START + Duration::from_secs(3)));
}

#[test]
fn its_catalog_can_be_written_in_each_format() {
    for format in Format::ALL {
        assert!(format.write(&TestSource::broadcast()).unwrap().contains("pcm-s16"));
    }
}
