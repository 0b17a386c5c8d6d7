//! What there is to see and to hear in a broadcast: one model, and three formats of it.
//!
//! Each format has typed documents that keep the fields they do not know ([`hang`], [`msf`], [`common`]).
//! [`Broadcast`] is what a player wants of any of them, and what a publisher writes in all of them.

pub mod common;
mod document;
pub mod hang;
mod model;
pub mod msf;
mod reader;

pub(crate) use self::model::kind_of;
pub use self::{
    document::{Entry, Error, MAX_DEPTH, MAX_DOCUMENT, MAX_STRING, MAX_TRACKS},
    model::{Broadcast, Invalid, Kind, Packaging, Problem, Source, Track},
    reader::{MAX_OPERATIONS, Reader},
};

/// Priorities of tracks among each other: the catalog first, then what is missed most.
pub mod priority {
    /// Of catalogs.
    pub const CATALOG: u8 = 100;
    /// Of audio.
    pub const AUDIO: u8 = 80;
    /// Of video.
    pub const VIDEO: u8 = 60;
}

/// A format of catalogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// hang, of moq-lite and its tools.
    Hang,
    /// MOQT Streaming Format, drafts 00 and 01.
    Msf,
    /// Common Catalog Format, draft 01.
    Common,
}

impl Format {
    /// Each there is, in the order in which a reader looks for them.
    pub const ALL: [Self; 3] = [Self::Hang, Self::Msf, Self::Common];

    /// The name of the track that holds it.
    #[must_use]
    pub const fn track(self) -> &'static str {
        match self {
            Self::Hang => "catalog.json",
            Self::Msf => "catalog",
            Self::Common => ".catalog",
        }
    }

    /// The document of a broadcast, as one frame.
    ///
    /// # Errors
    ///
    /// When readers would not take it; see [`Broadcast::validate`].
    pub fn write(self, broadcast: &Broadcast) -> Result<String, Invalid> {
        broadcast.validate()?;
        let written = match self {
            Self::Hang => serde_json::to_string_pretty(&hang::Catalog::from_broadcast(broadcast)),
            Self::Msf => serde_json::to_string_pretty(&msf::Catalog::from_broadcast(broadcast)),
            Self::Common => serde_json::to_string_pretty(&common::Catalog::from_broadcast(broadcast)),
        };
        let written = written.map_err(|error| Invalid::Unwritable(error.to_string()))?;
        if written.len() > MAX_DOCUMENT {
            return Err(Invalid::TooLong { len: written.len() });
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests;
