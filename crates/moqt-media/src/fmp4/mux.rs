//! From frames to a file that players take, also while it is written.

use std::num::NonZeroU32;

use bytes::Bytes;
use mp4_atom::{Mfhd, Tfdt, Tfhd, Trun, TrunEntry};

use super::{
    Error,
    boxes::{put, put_atom},
    write::{self, Header},
};
use crate::{
    catalog::{Kind, Source, Track},
    codec,
    loc::{Frame, MICROSECONDS, rescale},
};

/// Flags of a key frame, and of one that needs others.
const KEY: u32 = 0x0200_0000;
const DELTA: u32 = 0x0101_0000;

/// A time that goes back by no more seconds is that of a picture out of order.
const OUT_OF_ORDER: u64 = 10;
/// The same where what comes can be decoded alone: hardly anything is shown before it that was decoded before.
const OUT_OF_ORDER_KEY: u64 = 1;

/// Writes a file header, and a fragment for each frame.
///
/// Frames that come from an MP4 get the times they had there. Others are put on a scale that fits; where pictures come
/// out of order and their times of decoding are not known, those are made up so that they rise.
#[derive(Debug)]
pub struct Muxer {
    tracks: Vec<Out>,
    fragments: u32,
    /// What comes next may be of another clock.
    anew: bool,
    /// Microseconds by which times in the file are later than those of the frames.
    later: u64,
}

#[derive(Debug)]
struct Out {
    track: Track,
    timescale: NonZeroU32,
    source: Option<Source>,
    /// What the header cuts off the begin.
    cut: u64,
    last: Option<Last>,
}

/// How far a track is written.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// The decoding time of the last fragment.
    decoded: u64,
    /// When that is over, in the order of decoding.
    end: u64,
    /// When all that was shown is over.
    shown: u64,
}

impl Muxer {
    /// A file with these tracks.
    ///
    /// # Errors
    ///
    /// When MP4 has no form for the codec of a track, or the catalog does not say enough of it.
    pub fn new(tracks: Vec<Track>) -> Result<Self, Error> {
        let out = |track: Track| {
            let usual = match (track.kind, track.sample_rate) {
                (Kind::Audio, Some(rate)) => rate,
                _ => 90_000,
            };
            let usual = NonZeroU32::new(usual).unwrap_or(MICROSECONDS);
            let timescale = track.source.map_or(usual, |source| source.timescale);
            let source = track.source;
            let cut = source.map_or(0, |source| source.media_time);
            Out { track, timescale, source, cut, last: None }
        };
        let tracks = tracks.into_iter().map(out).collect();
        let muxer = Self { tracks, fragments: 0, anew: false, later: 0 };
        for track in muxer.headers() {
            write::header(std::slice::from_ref(&track))
                .map_err(|why| Error::Unwritable { track: track.track.name.clone(), why })?;
        }
        Ok(muxer)
    }

    fn headers(&self) -> Vec<Header<'_>> {
        let numbered = self.tracks.iter().zip(1..);
        numbered
            .map(|(out, id)| Header {
                id,
                track: &out.track,
                timescale: out.timescale.get(),
                media_time: out.cut,
            })
            .collect()
    }

    /// What the file begins with.
    #[must_use]
    pub fn header(&self) -> Bytes {
        // Each track was tried when it was added.
        write::header(&self.headers()).unwrap_or_default().into()
    }

    /// Another track goes on in the place of one. Names, sizes and rates may differ; what a decoder is set up with may
    /// not, as it stands in the one header of the file.
    ///
    /// # Errors
    ///
    /// [`Error::AnotherCodec`]: the header says something else. Nothing has changed.
    pub fn replace(&mut self, place: usize, track: Track) -> Result<(), Error> {
        let Some(out) = self.tracks.get_mut(place) else { return Ok(()) };
        let sound =
            |track: &Track| (track.kind == Kind::Audio).then_some((track.sample_rate, track.channels));
        let same = out.track.kind == track.kind
            && sound(&out.track) == sound(&track)
            && write::coding(&out.track) == write::coding(&track);
        if !same {
            let (before, after) = (out.track.codec.clone(), track.codec);
            return Err(Error::AnotherCodec { track: track.name, before, after });
        }
        out.source = track.source;
        out.track = track;
        Ok(())
    }

    /// What comes next may have times of another clock, as of a publisher that was started again. Where those are behind
    /// what is written, all tracks go on from where that ends.
    pub fn begin_anew(&mut self) {
        self.anew = true;
    }

    /// By how many microseconds this frame, and all that follows, has to be later to come after all that is written: as
    /// it is shown, on every track, and in the order of decoding on its own.
    fn lateness(&self, track: usize, frame: &Frame) -> Result<u64, Error> {
        let Some(out) = self.tracks.get(track) else { return Ok(0) };
        let shown = |out: &Out| Some(out.micros(out.last?.shown.saturating_sub(out.cut)));
        let end = self.tracks.iter().filter_map(shown).max().unwrap_or(0);
        let (begin, offset) = out.shown(frame, 0)?;
        let time = |time: i64| u64::try_from(time).unwrap_or(0);
        let later = end.saturating_sub(out.micros(time(begin).saturating_sub(out.cut)));
        let decoded = out.last.map_or(0, |last| out.micros(last.end));
        Ok(later.max(decoded.saturating_sub(out.micros(time(begin.saturating_sub(offset))))))
    }

    /// The fragment of a frame of the track at this place; `key` if it can be decoded alone.
    ///
    /// # Errors
    ///
    /// When times are out of bounds, or went back so far that the publisher must have [begun
    /// anew](Self::begin_anew). Nothing is written then, and what comes next is as good as before.
    pub fn fragment(&mut self, track: usize, key: bool, frame: &Frame) -> Result<Bytes, Error> {
        let id = u32::try_from(track + 1).unwrap_or(u32::MAX);
        if self.anew {
            self.later = self.lateness(track, frame)?;
        }
        let Some(out) = self.tracks.get_mut(track) else { return Ok(Bytes::new()) };
        let (decode_time, offset) = out.times(frame, key, self.later)?;
        let duration = out.duration(frame);
        let end = decode_time.saturating_add(duration.into());
        let shown = end.saturating_add_signed(offset.into()).max(out.last.map_or(0, |last| last.shown));
        out.last = Some(Last { decoded: decode_time, end, shown });
        self.anew = false;
        self.fragments = self.fragments.wrapping_add(1);
        let entry = TrunEntry {
            duration: Some(duration),
            size: u32::try_from(frame.payload.len()).ok(),
            flags: Some(if key { KEY } else { DELTA }),
            cts: Some(offset.into()),
        };
        let mut bytes = Vec::with_capacity(128 + frame.payload.len());
        let sequence_number = self.fragments;
        put(&mut bytes, b"moof", |bytes| {
            put_atom(bytes, &Mfhd { sequence_number });
            put(bytes, b"traf", |bytes| {
                put_atom(bytes, &Tfhd { track_id: id, default_base_is_moof: true, ..Tfhd::default() });
                put_atom(bytes, &Tfdt { base_media_decode_time: decode_time });
                // The data begin behind this fragment's header, of which this box is the last, and that of `mdat`.
                let with = |at| Trun { data_offset: Some(at), samples: vec![entry].into() };
                let mut run = Vec::new();
                put_atom(&mut run, &with(0));
                put_atom(bytes, &with(i32::try_from(bytes.len() + run.len() + 8).unwrap_or_default()));
            });
        });
        put(&mut bytes, b"mdat", |bytes| bytes.extend_from_slice(&frame.payload));
        Ok(bytes.into())
    }
}

impl Out {
    fn micros(&self, time: u64) -> u64 {
        rescale(time, self.timescale, MICROSECONDS)
    }

    /// When the frame is to be shown, and how much earlier to be decoded, in units of the file. `later` is in
    /// microseconds.
    fn shown(&self, frame: &Frame, later: u64) -> Result<(i64, i64), Error> {
        let bounds = || Error::TimeOutOfBounds { track: self.track.name.clone() };
        let scale =
            |time: u64| i64::try_from(rescale(time, frame.scale(), self.timescale)).map_err(|_| bounds());
        let later = i64::try_from(rescale(later, MICROSECONDS, self.timescale)).map_err(|_| bounds())?;
        let shift = self.source.map_or(0, |source| i64::from(source.shift) * i64::from(self.timescale.get()));
        let cut = i64::try_from(self.cut).map_err(|_| bounds())?;
        let shown = scale(frame.timestamp)?.checked_sub(shift).and_then(|shown| shown.checked_add(cut));
        let shown = shown.and_then(|shown| shown.checked_add(later)).ok_or_else(bounds)?;
        Ok((shown, scale(frame.offset.unsigned_abs())? * frame.offset.signum()))
    }

    /// When the frame is to be decoded, and how much later to be shown, in units of the file.
    fn times(&self, frame: &Frame, key: bool, later: u64) -> Result<(u64, i32), Error> {
        let bounds = || Error::TimeOutOfBounds { track: self.track.name.clone() };
        let (shown, offset) = self.shown(frame, later)?;
        let decoded = shown.checked_sub(offset).and_then(|time| u64::try_from(time).ok());
        let mut decoded = decoded.ok_or_else(bounds)?;
        if let Some(last) = self.last.map(|last| last.decoded).filter(|last| decoded <= *last) {
            let most = if key { OUT_OF_ORDER_KEY } else { OUT_OF_ORDER };
            if last - decoded > most * u64::from(self.timescale.get()) {
                return Err(Error::BegunAnew { track: self.track.name.clone() });
            }
            decoded = last + 1;
        }
        let offset = shown.checked_sub_unsigned(decoded).and_then(|offset| i32::try_from(offset).ok());
        Ok((decoded, offset.ok_or_else(bounds)?))
    }

    /// How long the frame lasts, in units of the file: as it says, as its codec says, or as is usual.
    fn duration(&self, frame: &Frame) -> u32 {
        let scale =
            |time: u64, from: u32| NonZeroU32::new(from).map(|from| rescale(time, from, self.timescale));
        let per_second = |rate: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "rounded, and clamped below"
            )]
            let duration = (f64::from(self.timescale.get()) / rate).round() as u64;
            duration
        };
        let rate = self.track.sample_rate.unwrap_or(48_000);
        let known = match frame.duration {
            Some(duration) => Some(rescale(duration.into(), frame.scale(), self.timescale)),
            None => match self.track.codec.as_str() {
                "opus" => {
                    codec::opus_duration(&frame.payload).and_then(|samples| scale(samples.into(), 48_000))
                }
                "pcm-s16" => {
                    let sample = 2 * u64::from(self.track.channels.unwrap_or(2)).max(1);
                    scale(frame.payload.len() as u64 / sample, rate)
                }
                codec if codec.starts_with("mp4a") => scale(1024, rate),
                _ => self.track.framerate.filter(|rate| *rate > 0.0).map(per_second),
            },
        };
        u32::try_from(known.unwrap_or_else(|| per_second(30.0))).unwrap_or(u32::MAX)
    }
}
