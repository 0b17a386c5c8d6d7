//! Where groups begin, and what becomes of times.

use bytes::Bytes;

use super::*;
use crate::{
    catalog::Track,
    fmp4::{Demuxer, Event, Muxer},
};

/// A grouper for a file with these tracks, in thousandths of a second.
fn grouper(kinds: &[Kind], media_time: u64) -> Grouper {
    let source = Source { timescale: 1000.try_into().unwrap(), media_time, shift: 0 };
    let track = |kind: &Kind| match kind {
        Kind::Video => Track { source: Some(source), ..Track::new("v", Kind::Video, "vp8") },
        Kind::Audio => Track {
            sample_rate: Some(48_000),
            channels: Some(1),
            source: Some(source),
            ..Track::new("a", Kind::Audio, "opus")
        },
    };
    let mut demuxer = Demuxer::new();
    demuxer.push(&Muxer::new(kinds.iter().map(track).collect()).unwrap().header());
    let Ok(Some(Event::Movie(movie))) = demuxer.next() else { panic!("no movie") };
    Grouper::new(&movie, &movie.to_broadcast())
}

fn sample(track: usize, decode_time: u64, key: bool) -> Sample {
    Sample { track, decode_time, offset: 0, duration: 20, key, payload: Bytes::from_static(b"x") }
}

/// Which samples begin a group, by their times.
fn begins(grouper: &mut Grouper, samples: impl IntoIterator<Item = Sample>) -> Vec<(usize, u64)> {
    let placed = samples.into_iter().filter_map(|sample| grouper.place(sample).unwrap());
    placed.filter(|placed| placed.begins).map(|placed| (placed.track, placed.frame.timestamp)).collect()
}

#[test]
fn audio_is_cut_with_the_pictures_and_after_two_seconds_at_the_latest() {
    let mut grouper = grouper(&[Kind::Video, Kind::Audio], 0);
    let samples = (0..300).flat_map(|at| {
        let time = at * 20;
        [sample(0, time, time == 0 || time == 500 || time == 5000), sample(1, time, true)]
    });
    let begun = begins(&mut grouper, samples);
    assert_eq!(begun, [(0, 0), (1, 0), (0, 500), (1, 500), (1, 2500), (1, 4500), (0, 5000), (1, 5000)]);
}

#[test]
fn audio_alone_has_groups_of_a_second() {
    let mut grouper = grouper(&[Kind::Audio], 0);
    let begun = begins(&mut grouper, (0..150).map(|at| sample(0, at * 20, true)));
    assert_eq!(begun, [(0, 0), (0, 1000), (0, 2000)]);
}

#[test]
fn pictures_before_the_first_key_frame_are_left_out() {
    let mut grouper = grouper(&[Kind::Video], 0);
    assert_eq!(grouper.place(sample(0, 0, false)), Ok(None));
    assert!(grouper.place(sample(0, 20, true)).unwrap().unwrap().begins);
    assert!(!grouper.place(sample(0, 40, false)).unwrap().unwrap().begins);
}

#[test]
fn times_are_shifted_by_whole_seconds_where_the_edit_list_would_make_them_negative() {
    let mut grouper = grouper(&[Kind::Video], 40);
    let frame = |placed: Option<Grouped>| placed.unwrap().frame;
    assert_eq!(frame(grouper.place(sample(0, 0, true)).unwrap()).timestamp, 960);
    let late = Sample { offset: 60, ..sample(0, 20, false) };
    let late = frame(grouper.place(late).unwrap());
    assert_eq!((late.timestamp, late.offset, late.duration), (1040, 60, Some(20)));
    let early = Sample { offset: -2000, ..sample(0, 40, false) };
    assert!(matches!(grouper.place(early), Err(Error::TimeOutOfBounds { .. })));
}

#[test]
fn a_file_that_begins_again_goes_on_after_its_end() {
    let mut grouper = grouper(&[Kind::Video, Kind::Audio], 0);
    let file = || (0..5).map(|at| sample(0, at * 20, at == 0)).chain([sample(1, 90, true)]);
    begins(&mut grouper, file());
    grouper.again();
    assert_eq!(begins(&mut grouper, file()), [(0, 110), (1, 200)]);
}
