//! From the bytes of a file or pipe to samples.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

use super::{
    Error, MAX_MOOF, MAX_MOOV, Sample,
    boxes::{Header, name},
    fragment::{self, Clocks, Place},
    movie::Movie,
};

/// What comes out of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its header, once.
    Movie(Movie),
    /// The next sample, in the order of the file.
    Sample(Sample),
}

/// Takes the bytes of a fragmented MP4 as they come.
///
/// Keeps no more than a header, or a sample, and what was pushed and not yet asked for. After an error it gives out
/// nothing more.
#[derive(Debug, Default)]
pub struct Demuxer {
    buffer: BytesMut,
    /// Where the buffer begins in the file.
    at: u64,
    /// Bytes to step over; `None` for all that come.
    skip: Option<u64>,
    movie: Option<Movie>,
    clocks: Clocks,
    /// When the last sample of each track was.
    last: Vec<Option<u64>>,
    /// Samples of the last `moof`, in the order of their bytes.
    places: VecDeque<Place>,
    /// The end of the `mdat` that is being read.
    data_end: Option<u64>,
    /// A `moof` was read and its `mdat` did not come.
    waiting: bool,
}

impl Demuxer {
    /// At the begin of a file.
    #[must_use]
    pub fn new() -> Self {
        Self { skip: Some(0), ..Self::default() }
    }

    /// Takes more bytes. Take out what they bring with [`next`](Self::next) before more are pushed.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next that the bytes so far bring; `None` if more are needed.
    ///
    /// # Errors
    ///
    /// When the bytes are no fragmented MP4, or something in it is beyond a limit.
    #[expect(clippy::should_implement_trait, reason = "more may come after `None`")]
    pub fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if !self.step_over() {
                return Ok(None);
            }
            if let Some(end) = self.data_end {
                match self.places.front() {
                    Some(place) => {
                        let Some(sample) = self.sample(place.clone())? else { return Ok(None) };
                        self.places.pop_front();
                        return Ok(Some(Event::Sample(sample)));
                    }
                    None => {
                        self.data_end = None;
                        self.skip = Some(end.saturating_sub(self.at));
                        continue;
                    }
                }
            }
            let Some(header) = Header::read(&self.buffer, self.at)? else { return Ok(None) };
            if self.at == 0 && !is_first(header.kind) {
                return Err(Error::NotMp4(
                    self.buffer.get(..8).unwrap_or_default().escape_ascii().to_string(),
                ));
            }
            match &header.kind {
                b"moov" => {
                    let Some(bytes) = self.collect(header, MAX_MOOV, "a moov")? else { return Ok(None) };
                    let (bytes, at) = bytes;
                    let movie = Movie::read(&bytes, at)?;
                    match &self.movie {
                        Some(before) if *before == movie => continue,
                        Some(_) => return Err(Error::Changed { at }),
                        None => {}
                    }
                    self.clocks = vec![0; movie.tracks.len()];
                    self.last = vec![None; movie.tracks.len()];
                    self.movie = Some(movie.clone());
                    return Ok(Some(Event::Movie(movie)));
                }
                b"moof" => {
                    let Some((bytes, at)) = self.collect(header, MAX_MOOF, "a moof")? else {
                        return Ok(None);
                    };
                    let Some(movie) = &self.movie else {
                        let (kind, why) = ("moof".to_owned(), "it comes before the header moov".to_owned());
                        return Err(Error::Box { kind, at, why });
                    };
                    if self.waiting {
                        let why = "the fragment before it has no data".to_owned();
                        return Err(Error::Box { kind: "moof".to_owned(), at, why });
                    }
                    self.places = fragment::read(&bytes, at, movie, &mut self.clocks)?.into();
                    self.waiting = !self.places.is_empty();
                }
                b"mdat" => self.data(header)?,
                _ => self.skip = header.size,
            }
        }
    }

    /// The input has ended.
    ///
    /// # Errors
    ///
    /// When it ended in the middle of something. What came out before stands.
    pub fn finish(&self) -> Result<(), Error> {
        let within = match () {
            () if self.data_end.is_some() && !self.places.is_empty() => "a sample",
            () if self.waiting => "a fragment, before its data",
            () if !self.buffer.is_empty()
                && Header::read(&self.buffer, self.at).is_ok_and(|header| header.is_none()) =>
            {
                "the header of a box"
            }
            () if !self.buffer.is_empty() || self.skip.is_some_and(|left| left > 0) => "a box",
            () if self.movie.is_none() => "its header, before any moov",
            () => return Ok(()),
        };
        Err(Error::CutOff { within })
    }

    /// Drops what is of no interest. `false` if more of it is to come.
    fn step_over(&mut self) -> bool {
        let left = self.skip.unwrap_or(u64::MAX);
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
        self.advance(here);
        if let Some(left) = &mut self.skip {
            *left -= here as u64;
        }
        self.skip == Some(0)
    }

    fn advance(&mut self, len: usize) {
        self.buffer.advance(len);
        self.at += len as u64;
    }

    /// Takes a whole box; `None` if more of it is to come.
    fn collect(
        &mut self,
        header: Header,
        limit: u64,
        what: &'static str,
    ) -> Result<Option<(Bytes, u64)>, Error> {
        let at = self.at;
        let Some(size) = header.size else {
            let why = "it goes on to the end of the file".to_owned();
            return Err(Error::Box { kind: name(header.kind), at, why });
        };
        if size > limit {
            return Err(Error::TooLarge { what, at, size, limit });
        }
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        if self.buffer.len() < len {
            return Ok(None);
        }
        self.at += size;
        Ok(Some((self.buffer.split_to(len).freeze(), at)))
    }

    /// An `mdat` begins. Checks that the samples are in it, and none in another.
    fn data(&mut self, header: Header) -> Result<(), Error> {
        let begin = self.at + u64::from(header.len);
        let end = header.size.map_or(Some(u64::MAX), |size| self.at.checked_add(size));
        let at = self.at;
        let wrong = |why: &str| Error::Box { kind: "mdat".to_owned(), at, why: why.to_owned() };
        let end = end.ok_or_else(|| wrong("its size is out of bounds"))?;
        if self.movie.is_none() {
            return Err(Error::NotFragmented { why: "its data come before its header" });
        }
        let mut free = begin;
        for place in &self.places {
            if place.at < free {
                return Err(wrong("a sample begins before it, or within another one"));
            }
            free = place.at.saturating_add(place.size.into());
            if free > end {
                return Err(wrong("a sample goes on behind its end"));
            }
        }
        self.waiting = false;
        self.advance(usize::from(header.len));
        if self.places.is_empty() {
            self.skip = header.size.map(|size| size - u64::from(header.len));
        } else {
            self.data_end = Some(end);
        }
        Ok(())
    }

    /// Takes the bytes of a sample; `None` if more are to come.
    fn sample(&mut self, place: Place) -> Result<Option<Sample>, Error> {
        let before = place.at.saturating_sub(self.at);
        if before > 0 {
            self.skip = Some(before);
            if !self.step_over() {
                return Ok(None);
            }
        }
        let Place { track, decode_time, offset, duration, key, .. } = place;
        let size = usize::try_from(place.size).unwrap_or(usize::MAX);
        if self.buffer.len() < size {
            return Ok(None);
        }
        self.at += u64::from(place.size);
        let payload = self.buffer.split_to(size).freeze();
        let id = || self.movie.as_ref().and_then(|movie| movie.tracks.get(track)).map_or(0, |track| track.id);
        if let Some(last) = self.last.get_mut(track) {
            if last.is_some_and(|last| decode_time <= last) {
                return Err(Error::TimeStandsStill { track: id(), time: decode_time });
            }
            *last = Some(decode_time);
        }

        Ok(Some(Sample { track, decode_time, offset, duration, key, payload }))
    }
}

/// What an MP4, or a piece of one, begins with.
fn is_first(kind: [u8; 4]) -> bool {
    matches!(
        &kind,
        b"ftyp" | b"styp" | b"moov" | b"moof" | b"mdat" | b"free" | b"skip" | b"sidx" | b"wide" | b"prft"
    )
}
