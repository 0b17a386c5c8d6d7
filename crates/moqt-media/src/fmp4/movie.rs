//! `moov`: which tracks there are, and the defaults of their fragments.

use std::num::NonZeroU32;

use bytes::Bytes;
use mp4_atom::{Elst, Mdhd, Mvhd, Tkhd, Trex};

use super::{
    Error, MAX_TRACKS,
    boxes::{self, Box, name, read_u32},
    entry,
};
use crate::{
    catalog::{self, Kind, Problem, Source},
    loc::MAX_TIMESCALE,
};

/// The header of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movie {
    /// Tracks that can be used.
    pub tracks: Vec<Track>,
    /// Those that cannot, and why.
    pub left_out: Vec<Problem>,
    /// Units a second of what the header says for all.
    timescale: u32,
}

/// A track of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Its number in the file.
    pub id: u32,
    /// What it is.
    pub kind: Kind,
    /// As WebCodecs has it.
    pub codec: String,
    /// What a decoder has to know beforehand.
    pub description: Option<Bytes>,
    /// Units a second of its times.
    pub timescale: NonZeroU32,
    /// What the edit list cuts off the begin, in these units.
    pub media_time: u64,
    /// How much later than its times it begins, in these units.
    pub delay: u64,
    /// Pixels in a row.
    pub width: Option<u32>,
    /// Rows.
    pub height: Option<u32>,
    /// Samples a second.
    pub sample_rate: Option<u32>,
    /// Channels of audio.
    pub channels: Option<u32>,
    /// Three letters, where the file says it.
    pub lang: Option<String>,
    pub(super) defaults: Defaults,
}

/// What holds for samples that do not say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Defaults {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

impl Movie {
    /// Reads a whole `moov` that begins at this place of the file.
    pub(super) fn read(bytes: &[u8], at: u64) -> Result<Self, Error> {
        let moov = boxes::whole(bytes, at)?;
        let header: Mvhd = moov.needs(b"mvhd")?.decode()?;
        let mut movie = Self { tracks: Vec::new(), left_out: Vec::new(), timescale: header.timescale };
        let mut count = 0;
        for child in moov.children(0) {
            let child = child?;
            if child.kind == *b"trak" {
                count += 1;
                if count > MAX_TRACKS {
                    let (what, limit) = ("a number of tracks", MAX_TRACKS as u64);
                    return Err(Error::TooLarge { what, at, size: count as u64, limit });
                }
                movie.track(&child)?;
            }
        }
        let Some(extends) = moov.child(b"mvex")? else {
            return Err(Error::NotFragmented { why: "its header announces no fragments" });
        };
        for child in extends.children(0) {
            let child = child?;
            if child.kind == *b"trex" {
                let trex: Trex = child.decode()?;
                let defaults = Defaults {
                    duration: trex.default_sample_duration,
                    size: trex.default_sample_size,
                    flags: trex.default_sample_flags,
                };
                let its = movie.tracks.iter_mut().filter(|track| track.id == trex.track_id);
                its.for_each(|track| track.defaults = defaults);
            }
        }
        if movie.tracks.is_empty() {
            let why = |problem: &Problem| format!("; {}: {}", problem.track, problem.why);
            return Err(Error::NoTracks(movie.left_out.iter().map(why).collect()));
        }
        Ok(movie)
    }

    fn track(&mut self, trak: &Box<'_>) -> Result<(), Error> {
        let id = trak.needs(b"tkhd")?.decode::<Tkhd>()?.track_id;
        let media = trak.needs(b"mdia")?;
        let header: Mdhd = media.needs(b"mdhd")?.decode()?;
        let handler = media.needs(b"hdlr")?;
        let problem = |why| Problem { track: format!("track {id}"), why };
        let kind = match boxes::array::<4>(handler.body, 8) {
            Some([b'v', b'i', b'd', b'e']) => Kind::Video,
            Some([b's', b'o', b'u', b'n']) => Kind::Audio,
            Some(other) => {
                let why = format!("it is neither video nor audio, but {}", name(other));
                self.left_out.push(problem(why));
                return Ok(());
            }
            None => return Err(handler.wrong("it is too short")),
        };
        let in_bounds = NonZeroU32::new(header.timescale).filter(|scale| scale.get() <= MAX_TIMESCALE);
        let Some(timescale) = in_bounds else {
            let why = format!("its time scale is {}, and can be from 1 to {MAX_TIMESCALE}", header.timescale);
            return Err(media.wrong(why));
        };
        if self.tracks.iter().any(|track| track.id == id) {
            return Err(trak.wrong(format!("its number {id} is that of another track")));
        }
        let table = media.needs(b"minf")?.needs(b"stbl")?;
        if let Some(sizes) = table.child(b"stsz")?
            && read_u32(sizes.body, 8) != Some(0)
        {
            return Err(Error::NotFragmented { why: "its header holds samples" });
        }
        let (media_time, delay) = self.edits(trak, timescale)?;
        let is_language =
            |text: &String| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_lowercase());
        let mut track = Track {
            id,
            kind,
            codec: String::new(),
            description: None,
            timescale,
            media_time,
            delay,
            width: None,
            height: None,
            sample_rate: None,
            channels: None,
            lang: Some(header.language).filter(is_language).filter(|language| language != "und"),
            defaults: Defaults::default(),
        };
        match entry::read(&table.needs(b"stsd")?, &mut track)? {
            Ok(()) => self.tracks.push(track),
            Err(why) => self.left_out.push(problem(why)),
        }
        Ok(())
    }

    /// What the edit list cuts off, and how much it waits before. More edits than one are not for live media.
    fn edits(&self, trak: &Box<'_>, timescale: NonZeroU32) -> Result<(u64, u64), Error> {
        let Some(list) = trak.child(b"edts")?.map(|edits| edits.child(b"elst")).transpose()?.flatten() else {
            return Ok((0, 0));
        };
        let mut delay = 0_u128;
        for entry in list.decode::<Elst>()?.entries {
            match entry.media_time {
                None => delay += u128::from(entry.segment_duration),
                Some(time) => {
                    let ticks = match self.timescale {
                        0 => 0,
                        movie => delay * u128::from(timescale.get()) / u128::from(movie),
                    };
                    let in_bounds = |ticks: u128| u64::try_from(ticks).ok().filter(|ticks| *ticks < 1 << 53);
                    let (Some(time), Some(delay)) = (in_bounds(time.into()), in_bounds(ticks)) else {
                        return Err(list.wrong("a time in it is out of bounds"));
                    };
                    return Ok((time, delay));
                }
            }
        }
        Ok((0, 0))
    }

    /// The same as a catalog. Tracks are called `video` and `audio`, and `video-2` and so on after the first.
    #[must_use]
    pub fn to_broadcast(&self) -> catalog::Broadcast {
        // No time on the wire is negative, so all are later by what the edit list cuts off most, in whole seconds.
        let cut = |track: &Track| track.media_time.div_ceil(u64::from(track.timescale.get()));
        let shift = self.tracks.iter().map(cut).max().and_then(|shift| u32::try_from(shift).ok());
        let mut broadcast = catalog::Broadcast { problems: self.left_out.clone(), ..Default::default() };
        for from in &self.tracks {
            let word = match from.kind {
                Kind::Video => "video",
                Kind::Audio => "audio",
            };
            let name = match broadcast.of(from.kind).count() {
                0 => word.to_owned(),
                before => format!("{word}-{}", before + 1),
            };
            broadcast.tracks.push(catalog::Track {
                description: from.description.clone(),
                width: from.width,
                height: from.height,
                sample_rate: from.sample_rate,
                channels: from.channels,
                lang: from.lang.clone(),
                source: Some(Source {
                    timescale: from.timescale,
                    media_time: from.media_time,
                    shift: shift.unwrap_or_default(),
                }),
                ..catalog::Track::new(name, from.kind, &from.codec)
            });
        }
        broadcast
    }
}
