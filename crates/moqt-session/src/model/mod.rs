//! Tracks, groups and frames: written once, read by many, each with a cursor of its own.
//!
//! Nothing here knows a wire or a connection. Payload is [`Bytes`](bytes::Bytes) that writer and readers
//! share; a reader costs a cursor, whatever the bitrate.

mod announced;
mod budget;
mod clock;
mod frame;
mod group;
mod ordered;
mod ranges;
mod sorted;
mod terms;
#[cfg(test)]
mod tests;
mod track;
mod wait;

pub(crate) use announced::Withdrawal;
pub use announced::{AnnounceConsumer, AnnounceProducer, Announced, Interest};
pub use budget::CacheBudget;
pub(crate) use clock::now;
pub use frame::{FrameConsumer, FrameMeta, FrameProducer};
pub use group::{GroupConsumer, GroupKey, GroupProducer};
pub(crate) use group::{GroupSize, HeaderForm, Part, Pen, Preamble};
pub use ordered::{OrderedGroups, OrderedItem};
pub(crate) use ranges::Runs;
pub(crate) use sorted::Sorted;
pub(crate) use terms::Lifetime;
pub use terms::{CreateGroupError, Retention, Start, TrackEvent, TrackInfo};
pub(crate) use track::{Coverage, FeedState, Mending, Next, Notice, Preference, TrackSource};
pub use track::{Gate, MergedTrack, Preferences, TrackConsumer, TrackProducer, WeakTrack};
