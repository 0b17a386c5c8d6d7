//! Broadcasts: media published and written, catalog and all.

mod broadcast;
mod test;

use clap::{Args, ValueEnum};
use moqt_media::catalog::Format;

pub(crate) use self::test::publish as publish_test;

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

    /// Whether anything was asked for that only fits media.
    pub(crate) fn is_any(&self) -> bool {
        self.catalog != [Catalog::Hang]
    }
}
