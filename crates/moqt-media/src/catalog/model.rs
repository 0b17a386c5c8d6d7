//! The one model behind the formats.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::document::{MAX_DOCUMENT, MAX_STRING, MAX_TRACKS};

/// What a broadcast consists of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Broadcast {
    /// Its tracks. Those of a kind are alternatives of one another, best first as far as the format can say.
    pub tracks: Vec<Track>,
    /// Nothing will be added any more. Only some formats can say so.
    pub complete: bool,
    /// Tracks that were left out in reading, and why.
    pub problems: Vec<Problem>,
}

/// A track that a player cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which, by its name or its place.
    pub track: String,
    /// What is wrong with it.
    pub why: String,
}

/// One track of media.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Its name in the namespace of the broadcast.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What a frame of it is.
    pub packaging: Packaging,
    /// As WebCodecs has it, for example `avc1.42c00d`.
    pub codec: String,
    /// What a decoder has to know beforehand: WebCodecs' `description`.
    pub description: Option<Bytes>,
    /// `ftyp` and `moov` of this track alone, for [`Packaging::Cmaf`].
    pub init: Option<Bytes>,
    /// Pixels in a row.
    pub width: Option<u32>,
    /// Rows.
    pub height: Option<u32>,
    /// Pictures a second.
    pub framerate: Option<f64>,
    /// Samples a second.
    pub sample_rate: Option<u32>,
    /// Channels of audio.
    pub channels: Option<u32>,
    /// At most so many bits a second.
    pub bitrate: Option<u64>,
    /// For people.
    pub label: Option<String>,
    /// Its language, as in BCP 47. hang cannot say it.
    pub lang: Option<String>,
    /// Where its times come from.
    pub source: Option<Source>,
}

/// What a track is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// What the bytes of a frame are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packaging {
    /// A block of properties and the codec's bytes; see [`loc`](crate::loc).
    Loc,
    /// A time in microseconds and the codec's bytes.
    Legacy,
    /// `moof` and `mdat`.
    Cmaf,
    /// One that is not known here.
    Other(String),
}

/// How the times of frames relate to those of the file they are from, so that the same file can be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Units a second in the file.
    pub timescale: NonZeroU32,
    /// The edit list cuts off that much of the beginning, in these units.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub media_time: u64,
    /// Seconds by which the frames' times are later than the file's, so that none is negative.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub shift: u32,
}

impl Source {
    /// The field of a catalog that holds it.
    pub const FIELD: &'static str = "com.github.moqt.source";
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

/// Why a broadcast cannot be published as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// More than [`MAX_TRACKS`].
    #[error("a catalog has at most {MAX_TRACKS} tracks, and this one {0}")]
    TooManyTracks(usize),
    /// The document is larger than readers take.
    #[error("a catalog has at most {MAX_DOCUMENT} bytes, and this one {len}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Two tracks of one name.
    #[error("two tracks are named {0:?}")]
    Twice(String),
    /// Something about one track.
    #[error("track {track:?}: {why}")]
    Track {
        /// Its name.
        track: String,
        /// What readers would not take.
        why: &'static str,
    },
    /// JSON cannot say it.
    #[error("the catalog cannot be written: {0}")]
    Unwritable(String),
}

impl Broadcast {
    /// Tracks of a kind, best first.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(move |track| track.kind == kind)
    }

    /// Looks for what readers of any format would not take.
    ///
    /// # Errors
    ///
    /// The first thing found.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.tracks.len() > MAX_TRACKS {
            return Err(Invalid::TooManyTracks(self.tracks.len()));
        }
        for (at, track) in self.tracks.iter().enumerate() {
            if self.tracks.iter().take(at).any(|before| before.name == track.name) {
                return Err(Invalid::Twice(track.name.clone()));
            }
            if let Err(why) = track.check() {
                return Err(Invalid::Track { track: track.name.clone(), why });
            }
        }
        Ok(())
    }
}

impl Track {
    /// A track of this kind in LOC, of which nothing else is known.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: Kind, codec: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind,
            packaging: Packaging::Loc,
            codec: codec.into(),
            description: None,
            init: None,
            width: None,
            height: None,
            framerate: None,
            sample_rate: None,
            channels: None,
            bitrate: None,
            label: None,
            lang: None,
            source: None,
        }
    }

    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let words = [Some(&self.codec), self.label.as_ref(), self.lang.as_ref()];
        if self.name.is_empty() {
            return Err("it has no name");
        }
        if self.name.split('/').any(|part| part == ".." || part == ".") {
            return Err("its name leads elsewhere");
        }
        if self.name.len() > 1024 || words.into_iter().flatten().any(|word| word.len() > 1024) {
            return Err("a text of it has more than 1024 bytes");
        }
        if self.codec.is_empty() {
            return Err("it has no codec");
        }
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        if bytes(&self.description).max(bytes(&self.init)) > MAX_STRING / 2 {
            return Err("its configuration is too long");
        }
        if self.packaging == Packaging::Cmaf && self.init.is_none() {
            return Err("its packaging is cmaf, and its init segment is missing");
        }
        if self.kind == Kind::Audio && (self.sample_rate.is_none() || self.channels.is_none()) {
            return Err("it is audio without its sample rate and number of channels");
        }
        if self.framerate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err("its frame rate is none");
        }
        Ok(())
    }

    /// What stands in the one field for binary that CCF and MSF have.
    pub(crate) fn init_base64(&self) -> Option<String> {
        let bytes = if self.packaging == Packaging::Cmaf { &self.init } else { &self.description };
        bytes.as_ref().map(|bytes| STANDARD.encode(bytes))
    }

    /// The reverse.
    pub(crate) fn set_init_base64(&mut self, text: Option<&str>) -> Result<(), String> {
        let Some(text) = text else { return Ok(()) };
        let bytes = Bytes::from(base64(text)?);
        if self.packaging == Packaging::Cmaf {
            self.init = Some(bytes);
        } else {
            self.description = Some(bytes);
        }
        Ok(())
    }
}

pub(crate) fn base64(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("its init data is no base64: {error}"))
}

impl Packaging {
    /// Its name in catalogs.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Loc => "loc",
            Self::Legacy => "legacy",
            Self::Cmaf => "cmaf",
            Self::Other(name) => name,
        }
    }

    /// The packaging of that name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "loc" => Self::Loc,
            "legacy" => Self::Legacy,
            "cmaf" => Self::Cmaf,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What a codec's name says of its kind.
pub(crate) fn kind_of(codec: &str) -> Option<Kind> {
    let family = codec.split('.').next().unwrap_or(codec);
    match family {
        "avc1" | "avc3" | "hvc1" | "hev1" | "av01" | "vp8" | "vp08" | "vp09" | "jpeg" => Some(Kind::Video),
        "mp4a" | "opus" | "Opus" | "flac" | "fLaC" | "mp3" | "ac-3" | "ec-3" | "pcm" | "ulaw" | "alaw" => {
            Some(Kind::Audio)
        }
        _ if family.starts_with("pcm-") => Some(Kind::Audio),
        _ => None,
    }
}
