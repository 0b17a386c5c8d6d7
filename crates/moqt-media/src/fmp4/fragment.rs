//! `moof`: where the samples of a fragment are, and when.

use mp4_atom::{Tfdt, Tfhd, Trun, TrunSamples};

use super::{
    Error, MAX_SAMPLE, MAX_SAMPLES,
    boxes::{self, Box},
    movie::{Defaults, Movie},
};

/// A bit of the flags of samples that are no key frames.
const NON_SYNC: u32 = 0x0001_0000;

/// A sample whose bytes are still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// By its place in the movie.
    pub(super) track: usize,
    /// Where it begins in the file.
    pub(super) at: u64,
    pub(super) size: u32,
    pub(super) decode_time: u64,
    pub(super) offset: i64,
    pub(super) duration: u32,
    pub(super) key: bool,
}

/// When the next samples of each track are due, for fragments that do not say it.
pub(super) type Clocks = Vec<u64>;

/// Reads a whole `moof` that begins at this place of the file; its samples in the order of their bytes.
pub(super) fn read(bytes: &[u8], at: u64, movie: &Movie, clocks: &mut Clocks) -> Result<Vec<Place>, Error> {
    let moof = boxes::whole(bytes, at)?;
    let mut places = Vec::new();
    let mut end = None;
    for child in moof.children(0) {
        let child = child?;
        if child.kind == *b"traf" {
            let base = end.unwrap_or(at);
            end = Some(fragment(&child, (at, base), movie, clocks, &mut places)?);
        }
    }
    places.sort_by_key(|place| place.at);
    Ok(places)
}

/// One `traf`; gives the end of its bytes. `base` is where they begin unless it says otherwise.
fn fragment(
    traf: &Box<'_>,
    (moof, base): (u64, u64),
    movie: &Movie,
    clocks: &mut Clocks,
    places: &mut Vec<Place>,
) -> Result<u64, Error> {
    let header: Tfhd = traf.needs(b"tfhd")?.decode()?;
    let track = movie.tracks.iter().position(|track| track.id == header.track_id);
    let usual =
        track.and_then(|track| movie.tracks.get(track)).map(|track| track.defaults).unwrap_or_default();
    let defaults = Defaults {
        duration: header.default_sample_duration.unwrap_or(usual.duration),
        size: header.default_sample_size.unwrap_or(usual.size),
        flags: header.default_sample_flags.unwrap_or(usual.flags),
    };
    let base = header.base_data_offset.unwrap_or(if header.default_base_is_moof { moof } else { base });
    let clock = track.and_then(|track| clocks.get_mut(track));
    let mut time = clock.as_deref().copied().unwrap_or_default();
    if let Some(begin) = traf.child(b"tfdt")? {
        time = begin.decode::<Tfdt>()?.base_media_decode_time;
    }
    let mut next = base;
    for child in traf.children(0) {
        let child = child?;
        if child.kind != *b"trun" {
            continue;
        }
        let run: Trun = child.decode()?;
        let count = places.len().saturating_add(run.samples.len());
        if count > MAX_SAMPLES {
            let (what, limit) = ("a fragment with a number of samples", MAX_SAMPLES as u64);
            return Err(Error::TooLarge { what, at: child.at, size: count as u64, limit });
        }
        if let Some(offset) = run.data_offset {
            let begin = base.checked_add_signed(offset.into());
            next = begin.ok_or_else(|| child.wrong("its data are before the file"))?;
        }
        let signed = signed(&child);
        if matches!(&run.samples, TrunSamples::Explicit(entries) if entries.is_empty()) {
            continue;
        }
        for entry in &run.samples {
            let size = entry.size.unwrap_or(defaults.size);
            if size > MAX_SAMPLE {
                let (what, limit) = ("a sample", u64::from(MAX_SAMPLE));
                return Err(Error::TooLarge { what, at: child.at, size: size.into(), limit });
            }
            let duration = entry.duration.unwrap_or(defaults.duration);
            // Tracks that are left out only move the place of what comes behind.
            if let Some(track) = track {
                if size == 0 {
                    return Err(child.wrong("a sample in it has no bytes"));
                }
                places.push(Place {
                    track,
                    at: next,
                    size,
                    decode_time: time,
                    offset: signed(entry.cts.unwrap_or_default()),
                    duration,
                    key: entry.flags.unwrap_or(defaults.flags) & NON_SYNC == 0,
                });
            }
            next = next.checked_add(size.into()).ok_or_else(|| child.wrong("its data are out of bounds"))?;
            time = time
                .checked_add(duration.into())
                .ok_or_else(|| child.wrong("its times are out of bounds"))?;
        }
    }
    if let Some(clock) = clock {
        *clock = time;
    }
    Ok(next)
}

/// Offsets of version 0 have no sign, but some files have them with one.
fn signed(run: &Box<'_>) -> impl Fn(i64) -> i64 {
    let old = run.body.first() == Some(&0);
    move |offset| match u32::try_from(offset) {
        Ok(offset) if old => i64::from(offset.cast_signed()),
        _ => offset,
    }
}
