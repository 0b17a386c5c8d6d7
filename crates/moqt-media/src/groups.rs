//! Samples of a file as frames in groups: a group of pictures begins with a key frame, audio is cut along with it.

use crate::{
    catalog::{Broadcast, Kind, Source},
    fmp4::{Error, Movie, Sample},
    loc::{Frame, MAX_TIMESTAMP, MICROSECONDS, rescale},
};

/// Longest group of audio beside video, in microseconds.
const BESIDE: u64 = 2_000_000;
/// Longest group of audio alone.
const ALONE: u64 = 1_000_000;

/// Cuts the tracks of a file into groups.
#[derive(Debug)]
pub struct Grouper {
    tracks: Vec<Cutting>,
    /// The video track whose key frames cut all others.
    leader: Option<usize>,
    /// Seconds that are added to all times, because the file is played again.
    again: u64,
    /// When everything so far is over, in microseconds.
    end: u64,
}

#[derive(Debug)]
struct Cutting {
    name: String,
    kind: Kind,
    source: Source,
    delay: u64,
    /// When the group that runs began, in microseconds; `None` before the first.
    began: Option<u64>,
    /// The leader has begun a group since.
    cut: bool,
}

/// A frame and whether it begins a group of its track.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouped {
    /// By its place in the broadcast, and in the file.
    pub track: usize,
    /// It begins a group.
    pub begins: bool,
    /// With it all tracks of audio begin one, too: nothing that went before is continued, but for other video.
    pub leads: bool,
    /// With its times.
    pub frame: Frame,
    /// When it is to be decoded, in microseconds of media time.
    pub due: u64,
}

impl Grouper {
    /// For the tracks of a file, as its broadcast names them.
    #[must_use]
    pub fn new(movie: &Movie, broadcast: &Broadcast) -> Self {
        let cutting = |(from, to): (&crate::fmp4::Track, &crate::catalog::Track)| Cutting {
            name: to.name.clone(),
            kind: to.kind,
            source: to.source.unwrap_or(Source { timescale: from.timescale, media_time: 0, shift: 0 }),
            delay: from.delay,
            began: None,
            cut: false,
        };
        let tracks: Vec<_> = movie.tracks.iter().zip(&broadcast.tracks).map(cutting).collect();
        let leader = tracks.iter().position(|track| track.kind == Kind::Video);
        Self { tracks, leader, again: 0, end: 0 }
    }

    /// The file begins again: what comes now is later than all so far.
    pub fn again(&mut self) {
        self.again = self.end;
    }

    /// A sample as a frame. `None` for pictures before the first key frame: nobody can decode them.
    ///
    /// # Errors
    ///
    /// When its time is one that no frame can have.
    pub fn place(&mut self, sample: Sample) -> Result<Option<Grouped>, Error> {
        let alone = self.leader.is_none();
        let Some(track) = self.tracks.get_mut(sample.track) else { return Ok(None) };
        let bounds = || Error::TimeOutOfBounds { track: track.name.clone() };
        let scale = track.source.timescale;
        let later = u64::from(track.source.shift) * u64::from(scale.get())
            + track.delay
            + rescale(self.again, MICROSECONDS, scale);
        let shown = |offset: i64| {
            let time = i128::from(sample.decode_time) + i128::from(offset) + i128::from(later);
            let time = time - i128::from(track.source.media_time);
            u64::try_from(time).ok().filter(|time| *time <= MAX_TIMESTAMP)
        };
        let timestamp = shown(sample.offset).ok_or_else(bounds)?;
        let micros = |time| rescale(time, scale, MICROSECONDS);
        let at = micros(timestamp);
        let begins = match track.kind {
            Kind::Video => sample.key,
            Kind::Audio => {
                let longest = if alone { ALONE } else { BESIDE };
                let over = track.began.is_none_or(|began| at.saturating_sub(began) >= longest);
                std::mem::take(&mut track.cut) || over
            }
        };
        if track.began.is_none() && !begins {
            return Ok(None);
        }
        if begins {
            track.began = Some(at);
        }
        let due = micros(shown(0).unwrap_or_default());
        self.end = self.end.max(at.saturating_add(micros(sample.duration.into())));
        let leads = begins && self.leader.is_none_or(|leader| leader == sample.track);
        if leads && !alone {
            self.tracks
                .iter_mut()
                .filter(|track| track.kind == Kind::Audio)
                .for_each(|track| track.cut = true);
        }
        let frame = Frame {
            timestamp,
            // Never left out: without it, times are those of the wall clock.
            timescale: Some(scale),
            duration: Some(sample.duration),
            offset: sample.offset,
            payload: sample.payload,
            ..Frame::default()
        };
        Ok(Some(Grouped { track: sample.track, begins, leads, frame, due }))
    }
}

#[cfg(test)]
mod tests;
