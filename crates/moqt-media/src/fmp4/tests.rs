//! Files that are not as they should be, limits to the byte, and times that are not known.

use std::num::NonZeroU32;

use super::{boxes::put, *};
use crate::{
    catalog::{self, Kind, Source},
    loc::Frame,
};

const AVCC: &[u8] = &[1, 0x42, 0xc0, 0x0d, 0xff, 0xe1, 0, 1, 0x67, 1, 0, 1, 0x68];

fn video() -> catalog::Track {
    let source = Source { timescale: NonZeroU32::new(1000).unwrap(), media_time: 0, shift: 0 };
    catalog::Track {
        description: Some(Bytes::from_static(AVCC)),
        source: Some(source),
        ..catalog::Track::new("video", Kind::Video, "avc1.42c00d")
    }
}

fn audio(codec: &str) -> catalog::Track {
    catalog::Track {
        sample_rate: Some(48_000),
        channels: Some(1),
        ..catalog::Track::new("audio", Kind::Audio, codec)
    }
}

fn header() -> Vec<u8> {
    Muxer::new(vec![video()]).unwrap().header().to_vec()
}

fn frame(millis: u64, payload: &'static [u8]) -> Frame {
    Frame { timescale: NonZeroU32::new(1000), duration: Some(10), ..Frame::at_micros(millis, payload.into()) }
}

/// A fragment of one track: its `tfdt`, and a run of samples whose sizes are in it.
fn fragment(time: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let moof = 8 + 16 + 8 + 16 + 16 + 20 + 4 * sizes.len();
    put(&mut out, b"moof", |out| {
        put(out, b"mfhd", |out| out.extend_from_slice(&[0; 8]));
        put(out, b"traf", |out| {
            put(out, b"tfhd", |out| out.extend_from_slice(&[0, 2, 0, 0, 0, 0, 0, 1]));
            put(out, b"tfdt", |out| out.extend_from_slice(&[&[0; 4], &time.to_be_bytes()[..]].concat()));
            put(out, b"trun", |out| {
                out.extend_from_slice(&[0, 0, 2, 1]);
                out.extend_from_slice(&u32::try_from(sizes.len()).unwrap().to_be_bytes());
                out.extend_from_slice(&u32::try_from(moof + 8).unwrap().to_be_bytes());
                sizes.iter().for_each(|size| out.extend_from_slice(&size.to_be_bytes()));
            });
        });
    });
    assert_eq!(out.len(), moof);
    put(&mut out, b"mdat", |out| out.extend_from_slice(data));
    out
}

fn read(file: &[u8]) -> Result<Vec<Sample>, Error> {
    let mut demuxer = Demuxer::new();
    demuxer.push(file);
    let mut samples = Vec::new();
    while let Some(event) = demuxer.next()? {
        if let Event::Sample(sample) = event {
            samples.push(sample);
        }
    }
    demuxer.finish().map(|()| samples)
}

fn error(file: &[u8]) -> String {
    read(file).unwrap_err().to_string()
}

#[test]
fn a_sample_comes_out_before_the_fragment_is_whole() {
    let file = [header(), fragment(0, &[3, 4], b"abcdefg")].concat();
    let mut demuxer = Demuxer::new();
    demuxer.push(&file[..file.len() - 4]);
    assert!(matches!(demuxer.next(), Ok(Some(Event::Movie(_)))));
    let Ok(Some(Event::Sample(sample))) = demuxer.next() else { panic!("no sample") };
    assert_eq!(sample.payload, "abc");
    assert_eq!(demuxer.next(), Ok(None));
    assert_eq!(demuxer.finish(), Err(Error::CutOff { within: "a sample" }));
}

#[test]
fn samples_outside_of_their_data_are_refused() {
    let header = header();
    for (fragment, words) in [
        (fragment(0, &[3, 5], b"abcdefg"), "a sample goes on behind its end"),
        (fragment(0, &[0], b""), "a sample in it has no bytes"),
        (fragment(0, &[u32::MAX], b""), "a sample of 4294967295"),
        (fragment(0, &[3], b"abc")[..92].to_vec(), "the input ends within a fragment, before its data"),
    ] {
        let error = error(&[header.clone(), fragment].concat());
        assert!(error.contains(words), "{error}");
    }
    // In front of its data.
    let mut before = fragment(0, &[3], b"abc");
    before[8 + 16 + 8 + 16 + 16 + 16 + 3] = 8;
    let error = error(&[header.clone(), before].concat());
    assert!(error.contains("a sample begins before it"), "{error}");
    let twice = [header, fragment(0, &[3], b"abc")[..96 - 8].to_vec(), fragment(9, &[3], b"abc")].concat();
    assert!(read(&twice).is_err());
}

#[test]
fn limits_hold_to_the_byte() {
    let header = header();
    let boxed = |kind: &[u8; 4], size: u64| {
        [header.as_slice(), &u32::try_from(size).unwrap().to_be_bytes(), kind].concat()
    };
    assert_eq!(read(&boxed(b"moof", MAX_MOOF)), Err(Error::CutOff { within: "a box" }));
    assert!(matches!(read(&boxed(b"moof", MAX_MOOF + 1)), Err(Error::TooLarge { what: "a moof", .. })));
    assert_eq!(read(&boxed(b"moov", MAX_MOOV)), Err(Error::CutOff { within: "a box" }));
    assert!(matches!(read(&boxed(b"moov", MAX_MOOV + 1)), Err(Error::TooLarge { what: "a moov", .. })));
    // What does not matter may have any size, and is not kept.
    assert_eq!(read(&boxed(b"free", u64::from(u32::MAX))), Err(Error::CutOff { within: "a box" }));

    let sizes = vec![1; MAX_SAMPLES];
    let data = vec![7; MAX_SAMPLES + 1];
    assert!(matches!(
        read(&[header.clone(), fragment(0, &[&sizes[..], &[1]].concat(), &data)].concat()),
        Err(Error::TooLarge { what: "a fragment with a number of samples", .. })
    ));
    // Without durations they are all at one time; the first comes out.
    let error = read(&[header, fragment(0, &sizes, &data)].concat()).unwrap_err();
    assert!(matches!(error, Error::TimeStandsStill { track: 1, time: 0 }));
}

#[test]
fn a_run_that_names_no_sizes_cannot_name_billions() {
    let mut run = Vec::new();
    put(&mut run, b"moof", |out| {
        put(out, b"mfhd", |out| out.extend_from_slice(&[0; 8]));
        put(out, b"traf", |out| {
            // Each of one byte.
            put(out, b"tfhd", |out| out.extend_from_slice(&[0, 2, 0, 0x10, 0, 0, 0, 1, 0, 0, 0, 1]));
            put(out, b"trun", |out| out.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
        });
    });
    let error = error(&[header(), run].concat());
    assert!(error.contains("a fragment with a number of samples of 4294967295"), "{error}");
}

#[test]
fn a_time_scale_that_no_frame_can_have_is_refused() {
    let scaled = |scale: u32| {
        let source = Source { timescale: NonZeroU32::new(scale).unwrap(), media_time: 0, shift: 0 };
        Muxer::new(vec![catalog::Track { source: Some(source), ..video() }]).unwrap().header()
    };
    assert_eq!(read(&scaled(1_000_000_000)), Ok(vec![]));
    let error = error(&scaled(1_000_000_001));
    assert!(error.contains("its time scale is 1000000001"), "{error}");
}

#[test]
fn too_many_tracks_are_refused() {
    let file = |count| Muxer::new(vec![video(); count]).unwrap().header();
    assert_eq!(read(&file(MAX_TRACKS)), Ok(vec![]));
    assert!(matches!(read(&file(MAX_TRACKS + 1)), Err(Error::TooLarge { what: "a number of tracks", .. })));
}

#[test]
fn time_that_stands_still_names_the_flag_to_use() {
    let file = [header(), fragment(5, &[3], b"abc"), fragment(5, &[3], b"abc")].concat();
    let error = error(&file);
    assert!(
        error.contains("time stands still in track 1 at 5") && error.contains("-frag_duration 1"),
        "{error}"
    );
}

#[test]
fn a_second_header_may_only_say_the_same() {
    let file = [header(), fragment(0, &[1], b"a"), header(), fragment(9, &[1], b"b")].concat();
    assert_eq!(read(&file).unwrap().len(), 2);
    let other = Muxer::new(vec![video(), audio("opus")]).unwrap().header();
    let file = [header(), fragment(0, &[1], b"a"), other.to_vec()].concat();
    assert!(matches!(read(&file), Err(Error::Changed { .. })));
}

#[test]
fn tracks_that_are_not_known_are_left_out_and_named() {
    let mut file = Muxer::new(vec![video(), audio("opus")]).unwrap().header().to_vec();
    let at = file.windows(4).position(|kind| kind == b"Opus").unwrap();
    file[at..at + 4].copy_from_slice(b"enca");
    let mut demuxer = Demuxer::new();
    demuxer.push(&file);
    let Ok(Some(Event::Movie(movie))) = demuxer.next() else { panic!("no movie") };
    assert_eq!((movie.tracks.len(), movie.left_out.len()), (1, 1));
    assert_eq!(movie.left_out[0].why, "it is encrypted");
    let at = file.windows(4).position(|kind| kind == b"avc1").unwrap();
    file[at..at + 4].copy_from_slice(b"zzzz");
    let error = error(&file);
    assert!(error.contains("track 1: its codec zzzz is not known here; track 2: it is encrypted"), "{error}");
}

#[test]
fn each_codec_can_be_written_and_read_again() {
    let described = |codec: &str, kind, description: &[u8]| {
        let track = if kind == Kind::Audio { audio(codec) } else { catalog::Track::new("v", kind, codec) };
        let description = (!description.is_empty()).then(|| Bytes::copy_from_slice(description));
        catalog::Track { description, ..track }
    };
    let hvcc = [&[1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93][..], &[0; 10]].concat();
    let flac = [&b"fLaC\x80\0\0\x22"[..], &[0; 34]].concat();
    for track in [
        described("avc1.42c00d", Kind::Video, AVCC),
        described("avc3.42c00d", Kind::Video, AVCC),
        described("hvc1.1.6.L93.90", Kind::Video, &hvcc),
        described("av01.0.05M.08", Kind::Video, &[]),
        described("vp09.00.10.08", Kind::Video, &[]),
        described("vp8", Kind::Video, &[]),
        described("mp4a.40.2", Kind::Audio, &[0x11, 0x88, 0x56, 0xe5, 0]),
        described("mp3", Kind::Audio, &[]),
        described("opus", Kind::Audio, b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0"),
        described("flac", Kind::Audio, &flac),
    ] {
        let mut demuxer = Demuxer::new();
        demuxer.push(&Muxer::new(vec![track.clone()]).unwrap().header());
        let Ok(Some(Event::Movie(movie))) = demuxer.next() else { panic!("{track:?}") };
        let [read] = movie.tracks.as_slice() else { panic!("{movie:?}") };
        assert_eq!((&read.codec, &read.description), (&track.codec, &track.description));
    }
    for (codec, words) in [
        ("theora", "has no form in MP4 here"),
        ("avc1.42c00d", "no description"),
        ("av01.x", "be understood"),
    ] {
        let error = Muxer::new(vec![described(codec, Kind::Video, &[])]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Times of decoding, and by how much those of showing are later.
fn written(track: catalog::Track, frames: &[Frame]) -> Vec<(u64, i64, u32)> {
    let mut muxer = Muxer::new(vec![track]).unwrap();
    let mut file = muxer.header().to_vec();
    frames.iter().for_each(|frame| file.extend_from_slice(&muxer.fragment(0, true, frame).unwrap()));
    read(&file)
        .unwrap()
        .into_iter()
        .map(|sample| (sample.decode_time, sample.offset, sample.duration))
        .collect()
}

#[test]
fn pictures_out_of_order_whose_decoding_times_are_not_known_get_some_that_rise() {
    let track = catalog::Track { source: None, framerate: Some(30.0), ..video() };
    let frames =
        [0, 100_000, 33_333, 66_667, 133_333].map(|at| Frame::at_micros(at, Bytes::from_static(b"x")));
    let times = written(track, &frames);
    assert_eq!(
        times.iter().map(|(time, offset, _)| time.cast_signed() + offset).collect::<Vec<_>>(),
        [0, 9000, 3000, 6000, 12000]
    );
    assert!(times.is_sorted_by(|before, after| before.0 < after.0), "{times:?}");
    assert!(times.iter().all(|(_, _, duration)| *duration == 3000));
}

#[test]
fn durations_that_are_not_said_are_those_of_the_codec() {
    let opus = [
        Frame::at_micros(0, Bytes::from_static(&[0xfc, 1])),
        Frame::at_micros(20_000, Bytes::from_static(&[0xf8, 1])),
    ];
    assert_eq!(written(audio("opus"), &opus), [(0, 0, 960), (960, 0, 960)]);
}

#[test]
fn what_the_edit_list_cuts_off_comes_back() {
    let source = Source { timescale: NonZeroU32::new(1000).unwrap(), media_time: 40, shift: 1 };
    let track = catalog::Track { source: Some(source), ..video() };
    // Shown 40 before the begin of time, decoded 20 before that: 960 and 1000, less a second, and 40 cut off.
    let frames = [frame(980, b"a"), Frame { offset: 15, ..frame(1015, b"b") }];
    assert_eq!(written(track, &frames), [(20, 0, 10), (40, 15, 10)]);
}

#[test]
fn a_publisher_that_begins_anew_is_told_from_pictures_out_of_order() {
    let mut muxer = Muxer::new(vec![video()]).unwrap();
    muxer.fragment(0, true, &frame(20_000, b"a")).unwrap();
    assert!(muxer.fragment(0, false, &frame(10_000, b"a")).is_ok());
    assert!(muxer.fragment(0, true, &frame(19_001, b"a")).is_ok());
    for (key, millis) in [(false, 10_000), (true, 19_000)] {
        let anew = muxer.fragment(0, key, &frame(millis, b"a")).unwrap_err();
        assert_eq!(anew, Error::BegunAnew { track: "video".to_owned() });
    }
}

/// When each sample of a file is decoded, by its track.
fn times(file: &[u8]) -> Vec<(usize, u64)> {
    read(file).unwrap().iter().map(|sample| (sample.track, sample.decode_time)).collect()
}

#[test]
fn what_begins_anew_behind_what_is_written_goes_on_from_its_end_on_all_tracks() {
    let mut muxer = Muxer::new(vec![video(), audio("opus")]).unwrap();
    let mut file = muxer.header().to_vec();
    let opus = |millis: u64| Frame::at_micros(millis * 1000, Bytes::from_static(&[0xfc, 1]));
    let mut write = |muxer: &mut Muxer, track: usize, frame: &Frame| {
        file.extend_from_slice(&muxer.fragment(track, true, frame).unwrap());
    };
    write(&mut muxer, 0, &frame(50_000, b"a"));
    write(&mut muxer, 1, &opus(50_000));
    muxer.begin_anew();
    // The audio lasts until 50.02 s: 0.5 s of the new clock is that.
    write(&mut muxer, 0, &frame(500, b"b"));
    write(&mut muxer, 1, &opus(510));
    write(&mut muxer, 0, &frame(510, b"c"));
    // Ahead of what is written, times are left as they are.
    muxer.begin_anew();
    write(&mut muxer, 0, &frame(90_000, b"d"));
    let rate = 48;
    assert_eq!(
        times(&file),
        [(0, 50_000), (1, 50_000 * rate), (0, 50_020), (1, 50_030 * rate), (0, 50_030), (0, 90_000)]
    );
}

#[test]
fn what_begins_anew_is_shown_after_a_picture_that_waited_for_those_before_it() {
    let mut muxer = Muxer::new(vec![video()]).unwrap();
    let mut file = muxer.header().to_vec();
    // The first of these is shown after two others that never came.
    for (time, offset) in [(1000, 0), (1040, 30), (20, 20), (50, 40), (30, 10)] {
        if time == 20 {
            muxer.begin_anew();
        }
        let frame = Frame { offset, ..frame(time, b"a") };
        file.extend_from_slice(&muxer.fragment(0, offset != 40, &frame).unwrap());
    }
    let shown: Vec<_> =
        read(&file).unwrap().iter().map(|one| one.decode_time.cast_signed() + one.offset).collect();
    assert_eq!(shown, [1000, 1040, 1050, 1080, 1060]);
}

#[test]
fn a_track_takes_the_place_of_one_that_is_decoded_alike_and_of_no_other() {
    let mut muxer = Muxer::new(vec![video(), audio("opus")]).unwrap();
    let mut file = muxer.header().to_vec();
    file.extend_from_slice(&muxer.fragment(0, true, &frame(10, b"a")).unwrap());
    // From a file with other units and another edit list: its times are put on those of the header.
    let source = Source { timescale: NonZeroU32::new(90_000).unwrap(), media_time: 900, shift: 1 };
    let other = catalog::Track { name: "low".into(), bitrate: Some(1), source: Some(source), ..video() };
    muxer.replace(0, other).unwrap();
    let later = Frame { timescale: NonZeroU32::new(90_000), ..Frame::at_micros(91_800, "b".into()) };
    file.extend_from_slice(&muxer.fragment(0, true, &later).unwrap());
    assert_eq!(times(&file), [(0, 10), (0, 20)]);
    let mut described = AVCC.to_vec();
    described[3] = 0x0e;
    for (place, track) in [
        (0, catalog::Track { description: Some(described.into()), ..video() }),
        (0, catalog::Track::new("video", Kind::Video, "vp8")),
        (1, audio("pcm-s16")),
        (1, catalog::Track { channels: Some(2), ..audio("opus") }),
        (1, catalog::Track { sample_rate: Some(44_100), ..audio("opus") }),
        (1, video()),
    ] {
        let error = muxer.replace(place, track).unwrap_err();
        assert!(matches!(error, Error::AnotherCodec { .. }), "{error}");
    }
    assert!(muxer.fragment(0, true, &frame(1040, b"c")).is_ok(), "nothing has changed");
}

#[test]
fn what_the_test_source_has_can_be_read_from_the_file_it_became() {
    let broadcast = crate::test_source::TestSource::broadcast();
    let tracks: Vec<_> =
        [Kind::Video, Kind::Audio].map(|kind| broadcast.of(kind).next().unwrap().clone()).into();
    let mut demuxer = Demuxer::new();
    demuxer.push(&Muxer::new(tracks.clone()).unwrap().header());
    let Ok(Some(Event::Movie(movie))) = demuxer.next() else { panic!("no header") };
    for (read, written) in movie.tracks.iter().zip(&tracks) {
        assert_eq!((read.kind, &read.codec), (written.kind, &written.codec));
        assert_eq!((read.width, read.height), (written.width, written.height));
        assert_eq!((read.sample_rate, read.channels), (written.sample_rate, written.channels));
    }
    assert_eq!(movie.tracks.len(), 2);
}
