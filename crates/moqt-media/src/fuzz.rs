//! Bodies of the fuzz targets: what has to hold for any bytes at all.
//!
//! Each panics when its promise is broken. The libFuzzer wrappers only call them, and a plain test replays the committed
//! corpora through them.

use bytes::Bytes;
use serde_json::Value;

use crate::{
    catalog::{self, Broadcast, Format, Packaging, Reader},
    fmp4::{Demuxer, Error, Event, MAX_SAMPLE, Movie, Muxer, Sample},
    groups::Grouper,
    loc::{self, Frame},
};

/// A fuzz target: its name, which is also that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] =
    &[("demux", demux), ("loc", loc), ("hang", hang), ("msf", msf), ("common", common)];

/// Between the frames of a catalog track in one input.
const NEXT_FRAME: u8 = 0x1e;

/// However a file is cut into pieces, the same comes out of it, and no sample is larger than the input. What comes out
/// can be written again, and comes out of that, too.
///
/// The first byte is the length of the pieces.
pub fn demux(data: &[u8]) {
    let Some((piece, file)) = data.split_first() else { return };
    let whole = read(file, file.len().max(1));
    assert_eq!(read(file, usize::from(*piece) + 1), whole, "it depends on how the file was cut");
    let (movie, samples, _) = whole;
    let total: usize = samples.iter().map(|sample| sample.payload.len()).sum();
    assert!(total <= file.len(), "{total} bytes out of {}", file.len());
    if let Some(movie) = movie {
        write(&movie, samples);
    }
}

fn read(file: &[u8], piece: usize) -> (Option<Movie>, Vec<Sample>, Result<(), Error>) {
    let mut demuxer = Demuxer::new();
    let (mut movie, mut samples) = (None, Vec::new());
    for piece in file.chunks(piece) {
        demuxer.push(piece);
        loop {
            match demuxer.next() {
                Ok(Some(Event::Movie(found))) => movie = Some(found),
                Ok(Some(Event::Sample(sample))) => {
                    assert!(sample.payload.len() <= MAX_SAMPLE as usize);
                    samples.push(sample);
                }
                Ok(None) => break,
                Err(error) => return (movie, samples, Err(error)),
            }
        }
    }
    let end = demuxer.finish();
    (movie, samples, end)
}

/// Puts samples into frames, and those into a file, which has to be one.
fn write(movie: &Movie, samples: Vec<Sample>) {
    let broadcast = movie.to_broadcast();
    let Ok(mut muxer) = Muxer::new(broadcast.tracks.clone()) else { return };
    let mut grouper = Grouper::new(movie, &broadcast);
    let mut file = muxer.header().to_vec();
    let mut written = Vec::new();
    for sample in samples {
        let payload = sample.payload.clone();
        let Ok(Some(grouped)) = grouper.place(sample) else { continue };
        let frame = Frame::parse(&grouped.frame.to_bytes());
        assert_eq!(frame.as_ref(), Ok(&grouped.frame));
        let mut fragment = muxer.fragment(grouped.track, grouped.begins, &grouped.frame);
        if matches!(fragment, Err(Error::BegunAnew { .. })) {
            muxer.begin_anew();
            fragment = muxer.fragment(grouped.track, grouped.begins, &grouped.frame);
            assert!(!matches!(fragment, Err(Error::BegunAnew { .. })), "it begins anew without end");
        }
        if let Ok(fragment) = fragment {
            file.extend_from_slice(&fragment);
            written.push((grouped.track, payload));
        }
    }
    let (again, samples, end) = read(&file, file.len());
    assert_eq!(end, Ok(()), "what was written is no file");
    assert_eq!(again.map(|movie| movie.tracks.len()), Some(movie.tracks.len()));
    let samples: Vec<_> = samples.into_iter().map(|sample| (sample.track, sample.payload)).collect();
    assert_eq!(samples, written);
}

/// A frame that can be read is the same after it was written.
pub fn loc(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(frame) = Frame::parse(&bytes) {
        assert_eq!(Frame::parse(&frame.to_bytes()), Ok(frame));
    }
    if let Ok(frame) = loc::parse_legacy(&bytes) {
        assert_eq!(loc::parse_legacy(&loc::legacy(frame.timestamp, &frame.payload)), Ok(frame));
    }
}

/// The frames of a hang catalog.
pub fn hang(data: &[u8]) {
    follow(Format::Hang, data);
}

/// The frames of an MSF catalog.
pub fn msf(data: &[u8]) {
    follow(Format::Msf, data);
}

/// The frames of a catalog in the Common Catalog Format.
pub fn common(data: &[u8]) {
    follow(Format::Common, data);
}

/// What a player finds in a catalog can be published, and is found again. Nothing in a document is lost by being
/// understood. An update that fails changes nothing.
fn follow(format: Format, data: &[u8]) {
    let mut reader = Reader::new(format);
    for frame in data.split(|byte| *byte == NEXT_FRAME) {
        let before = reader.value().cloned();
        match reader.frame(frame) {
            Ok(broadcast) => {
                check(format, broadcast);
                reader.value().into_iter().for_each(|value| typed(format, value));
            }
            Err(_) => assert_eq!(reader.value(), before.as_ref(), "a failed update changed the catalog"),
        }
    }
}

fn check(format: Format, mut broadcast: Broadcast) {
    // Without a word on its kind, a track of an unknown codec is none.
    broadcast.tracks.retain(|track| catalog::kind_of(&track.codec) == Some(track.kind));
    let Ok(written) = format.write(&broadcast) else { return };
    let again = Reader::new(format).frame(written.as_bytes());
    let again = again.unwrap_or_else(|error| panic!("what was written cannot be read: {error}"));
    let sorted = |broadcast: Broadcast| {
        let mut tracks = broadcast.tracks;
        for track in &mut tracks {
            // Beside another packaging it means nothing.
            track.init.take_if(|_| track.packaging != Packaging::Cmaf);
        }
        tracks.sort_by(|one, other| one.name.cmp(&other.name));
        tracks
    };
    assert_eq!(sorted(again), sorted(broadcast));
}

/// A document as it is understood says all that it said.
fn typed(format: Format, value: &Value) {
    let again = match format {
        Format::Hang => catalog::hang::Catalog::from_value(value).map(serde_json::to_value),
        Format::Msf => catalog::msf::Catalog::from_value(value).map(serde_json::to_value),
        Format::Common => catalog::common::Catalog::from_value(value).map(serde_json::to_value),
    };
    let again = again.unwrap_or_else(|error| panic!("it was read a moment ago: {error}"));
    let again = again.unwrap_or_else(|error| panic!("it cannot be written: {error}"));
    assert_eq!(without_nulls(&again), without_nulls(value));
}

/// A field that is `null` is one that is not there.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let there = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(there.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}
