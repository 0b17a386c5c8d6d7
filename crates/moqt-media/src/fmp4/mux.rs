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
    loc::{Frame, rescale},
};

/// Flags of a key frame, and of one that needs others.
const KEY: u32 = 0x0200_0000;
const DELTA: u32 = 0x0101_0000;

/// A time that goes back by less is that of a picture out of order.
const OUT_OF_ORDER: u64 = 10;

/// Writes a file header, and a fragment for each frame.
///
/// Frames that come from an MP4 get the times they had there. Others are put on a scale that fits; where pictures come
/// out of order and their times of decoding are not known, those are made up so that they rise.
#[derive(Debug)]
pub struct Muxer {
    tracks: Vec<Out>,
    fragments: u32,
}

#[derive(Debug)]
struct Out {
    track: Track,
    timescale: NonZeroU32,
    source: Option<Source>,
    /// The decoding time of the last fragment.
    last: Option<u64>,
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
            let usual = NonZeroU32::new(usual).unwrap_or(crate::loc::MICROSECONDS);
            let timescale = track.source.map_or(usual, |source| source.timescale);
            let source = track.source;
            Out { track, timescale, source, last: None }
        };
        let muxer = Self { tracks: tracks.into_iter().map(out).collect(), fragments: 0 };
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
                media_time: out.source.map_or(0, |source| source.media_time),
            })
            .collect()
    }

    /// What the file begins with.
    #[must_use]
    pub fn header(&self) -> Bytes {
        // Each track was tried when it was added.
        write::header(&self.headers()).unwrap_or_default().into()
    }

    /// The fragment of a frame of the track at this place; `key` if it can be decoded alone.
    ///
    /// # Errors
    ///
    /// When times are out of bounds, or went back so far that the publisher must have begun anew.
    pub fn fragment(&mut self, track: usize, key: bool, frame: &Frame) -> Result<Bytes, Error> {
        let id = u32::try_from(track + 1).unwrap_or(u32::MAX);
        let Some(out) = self.tracks.get_mut(track) else { return Ok(Bytes::new()) };
        let (decode_time, offset) = out.times(frame)?;
        self.fragments = self.fragments.wrapping_add(1);
        let entry = TrunEntry {
            duration: Some(out.duration(frame)),
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
    /// When the frame is to be decoded, and how much later to be shown, in units of the file.
    fn times(&mut self, frame: &Frame) -> Result<(u64, i32), Error> {
        let bounds = || Error::TimeOutOfBounds { track: self.track.name.clone() };
        let scale = |time: u64| rescale(time, frame.scale(), self.timescale);
        let mut shown = i64::try_from(scale(frame.timestamp)).map_err(|_| bounds())?;
        if let Some(source) = self.source {
            let shift = i64::from(source.shift) * i64::from(self.timescale.get());
            let cut = i64::try_from(source.media_time).map_err(|_| bounds())?;
            shown = shown.checked_sub(shift).and_then(|shown| shown.checked_add(cut)).ok_or_else(bounds)?;
        }
        let offset = i64::try_from(scale(frame.offset.unsigned_abs())).map_err(|_| bounds())?;
        let offset = offset * frame.offset.signum();
        let decoded = shown.checked_sub(offset).and_then(|time| u64::try_from(time).ok());
        let mut decoded = decoded.ok_or_else(bounds)?;
        if let Some(last) = self.last.filter(|last| decoded <= *last) {
            if last - decoded > OUT_OF_ORDER * u64::from(self.timescale.get()) {
                return Err(Error::BegunAnew { track: self.track.name.clone() });
            }
            decoded = last + 1;
        }
        let offset = shown.checked_sub_unsigned(decoded).and_then(|offset| i32::try_from(offset).ok());
        let offset = offset.ok_or_else(bounds)?;
        self.last = Some(decoded);
        Ok((decoded, offset))
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
