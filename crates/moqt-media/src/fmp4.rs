//! Fragmented MP4: bytes in, samples out, and the reverse.
//!
//! [`Demuxer`] takes what ffmpeg writes into a pipe, whatever the pieces, and gives out each sample as soon as its bytes
//! are there. [`Muxer`] writes a file header and then a fragment for each frame, for pipes and files. Both are for what
//! players decode: boxes that do not matter to them are stepped over without being kept, and every size that a file can
//! name has a limit.

mod boxes;
mod demux;
mod entry;
mod fragment;
mod movie;
mod mux;
mod write;

pub use self::{
    demux::{Demuxer, Event},
    movie::{Movie, Track},
    mux::Muxer,
};

use bytes::Bytes;

/// Most bytes of a `moov`.
pub const MAX_MOOV: u64 = 4 << 20;
/// Most bytes of a `moof`.
pub const MAX_MOOF: u64 = 1 << 20;
/// Most bytes of a sample: what a frame may have on the wire, and a little less.
pub const MAX_SAMPLE: u32 = (16 << 20) - 1024;
/// Most samples of a fragment.
pub const MAX_SAMPLES: usize = 1 << 16;
/// Most tracks of a file.
pub const MAX_TRACKS: usize = 64;

/// What makes ffmpeg write a file that can be read here.
const FLAGS: &str = "-f mp4 -movflags cmaf+separate_moof+skip_trailer -frag_duration 1";

/// One encoded picture or packet of audio, with its times in the units of its track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The track, by its place in [`Movie::tracks`].
    pub track: usize,
    /// When it is to be decoded, as the file says, before any edit list.
    pub decode_time: u64,
    /// Presentation time less decoding time.
    pub offset: i64,
    /// How long it lasts.
    pub duration: u32,
    /// It can be decoded without those before it.
    pub key: bool,
    /// What the codec wrote.
    pub payload: Bytes,
}

/// Why bytes are no fragmented MP4, or a broadcast cannot become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A box that cannot be what it says.
    #[error("box {kind} at byte {at}: {why}")]
    Box {
        /// Its type.
        kind: String,
        /// Where it begins.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A box or a sample that is beyond a limit.
    #[error("{what} of {size} at byte {at}, where {limit} are the most")]
    TooLarge {
        /// What is so large.
        what: &'static str,
        /// Where it begins.
        at: u64,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// It is an MP4, but its samples are not in fragments.
    #[error("this MP4 is not fragmented from its begin: {why}; write it with ffmpeg {FLAGS}")]
    NotFragmented {
        /// Why it is not.
        why: &'static str,
    },
    /// It is something else altogether.
    #[error("this is no MP4: it begins with {0}; write it with ffmpeg {FLAGS}")]
    NotMp4(String),
    /// Nothing in it can be published.
    #[error("the file has no track that can be used{0}")]
    NoTracks(String),
    /// A second header that says something else.
    #[error("the file begins anew at byte {at} with other tracks or codecs")]
    Changed {
        /// Where.
        at: u64,
    },
    /// A sample that is not later than the one before it.
    #[error(
        "time stands still in track {track} at {time}: some versions of ffmpeg write this with frag_every_frame; use \
         -frag_duration 1 in its place"
    )]
    TimeStandsStill {
        /// The track's number in the file.
        track: u32,
        /// The time in its units.
        time: u64,
    },
    /// A time that no frame can have.
    #[error("track {track}: a time is out of bounds")]
    TimeOutOfBounds {
        /// The track's number in the file, or its name in the broadcast.
        track: String,
    },
    /// The input ends in the middle of something.
    #[error("the input ends within {within}")]
    CutOff {
        /// What.
        within: &'static str,
    },
    /// A track that MP4 cannot hold.
    #[error("track {track:?} cannot be written as MP4: {why}")]
    Unwritable {
        /// Its name.
        track: String,
        /// Why.
        why: String,
    },
    /// A track in the place of another, and of another codec, or of one that is configured otherwise.
    #[error(
        "track {track:?} is coded otherwise now ({before} before, {after} now), and an MP4 has one header: what came \
         before is whole, what comes now is another file"
    )]
    AnotherCodec {
        /// Its name.
        track: String,
        /// The codec that the header has.
        before: String,
        /// That which comes now.
        after: String,
    },
    /// Times went back by more than pictures are put out of order.
    #[error("track {track:?} went back in time: its publisher has begun anew")]
    BegunAnew {
        /// Its name.
        track: String,
    },
}

#[cfg(test)]
mod tests;
