//! Broadcasts: media published and written, catalog and all.

mod broadcast;
mod file;
mod merge;
mod reader;
mod test;
mod watch;

use std::time::Duration;

use clap::{Args, ValueEnum, builder::FalseyValueParser};
use moqt_media::catalog::{Format, Kind};

pub(crate) use self::{file::publish as publish_file, test::publish as publish_test, watch::Watch};
use crate::units;

/// What `moqt pub` is told of media.
#[derive(Args, Clone, Debug)]
pub(crate) struct MediaPubArgs {
    /// The catalogs that tell players what there is; several are separated by commas
    #[arg(
        long,
        help_heading = "Media",
        value_name = "FORMAT,…",
        env = "MOQT_PUB_CATALOG",
        value_delimiter = ',',
        default_value = "hang"
    )]
    pub(crate) catalog: Vec<Catalog>,

    /// At the end of the file, go on with its begin
    #[arg(long = "loop", help_heading = "Media", env = "MOQT_PUB_LOOP", value_parser = FalseyValueParser::new())]
    pub(crate) repeat: bool,

    /// Send each frame when its time has come, instead of as fast as it can be read
    #[arg(long, help_heading = "Media", env = "MOQT_PUB_REALTIME", value_parser = FalseyValueParser::new())]
    pub(crate) realtime: bool,
}

/// What `moqt sub` is told of media.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MediaSubArgs {
    /// The track of video, or none [default: the first of the catalog]
    #[arg(long, help_heading = "Media", value_name = "NAME", env = "MOQT_SUB_VIDEO")]
    pub(crate) video: Option<String>,

    /// The track of audio, or none [default: the first of the catalog]
    #[arg(long, help_heading = "Media", value_name = "NAME", env = "MOQT_SUB_AUDIO")]
    pub(crate) audio: Option<String>,

    /// A track of any kind; may be repeated. Nothing else is written unless it is asked for, too
    #[arg(
        long = "track",
        help_heading = "Media",
        value_name = "NAME",
        env = "MOQT_SUB_TRACK",
        value_delimiter = ','
    )]
    pub(crate) tracks: Vec<String>,

    /// Leave a group for the next one when it has stood still for so long [default: 2s]
    #[arg(long, help_heading = "Media", value_name = "DURATION", env = "MOQT_SUB_LATENCY", value_parser = units::duration)]
    pub(crate) latency: Option<Duration>,
}

impl MediaSubArgs {
    /// Whether tracks of this kind are written without being named.
    fn wants(&self, kind: Kind) -> bool {
        let named = match kind {
            Kind::Video => &self.video,
            Kind::Audio => &self.audio,
        };
        named.is_none() && self.tracks.is_empty()
    }

    /// Whether anything was asked for that only fits media.
    pub(crate) fn is_any(&self) -> bool {
        self.video.is_some() || self.audio.is_some() || !self.tracks.is_empty() || self.latency.is_some()
    }
}

/// A catalog's format, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Catalog {
    /// The track catalog.json, as hang and moq-lite have it
    Hang,
    /// The track catalog: MOQT Streaming Format
    Msf,
    /// The track .catalog: Common Catalog Format
    Common,
}

impl From<Catalog> for Format {
    fn from(catalog: Catalog) -> Self {
        match catalog {
            Catalog::Hang => Self::Hang,
            Catalog::Msf => Self::Msf,
            Catalog::Common => Self::Common,
        }
    }
}

impl MediaPubArgs {
    /// The formats, each once.
    fn formats(&self) -> Vec<Format> {
        let wanted = |format: &Format| self.catalog.iter().any(|catalog| Format::from(*catalog) == *format);
        Format::ALL.into_iter().filter(wanted).collect()
    }

    /// Whether anything was asked for that only fits a file of media.
    pub(crate) fn is_of_files(&self) -> bool {
        self.repeat || self.realtime
    }

    /// Whether anything was asked for that only fits media.
    pub(crate) fn is_any(&self) -> bool {
        self.is_of_files() || self.catalog != [Catalog::Hang]
    }
}
