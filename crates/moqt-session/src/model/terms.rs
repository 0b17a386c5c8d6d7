//! What is said of a track: by its publisher, by whoever keeps it, and to and by a reader.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moqt_wire::{GroupOrder, Priority};
use tokio::time::Instant;

use super::group::GroupConsumer;
use crate::error::Reason;

/// What a publisher says of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// Breaks ties between tracks that the subscriber ranks equal; higher is sent first.
    pub priority: Priority,
    /// The order of groups where the subscriber has no wish of its own.
    pub order: GroupOrder,
    /// How long a finished group stays useful; `None` where the wire does not say.
    pub max_age: Option<Duration>,
}

impl Default for TrackInfo {
    fn default() -> Self {
        Self { priority: Priority::default(), order: GroupOrder::Default, max_age: None }
    }
}

/// What a track keeps for readers that come late or fall behind. The newest group is kept, unless the newest groups of
/// all tracks alone exceed their [`CacheBudget`](crate::CacheBudget).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long after its end a group is kept, and how long a group behind the newest may stand still; less where
    /// the publisher says so in [`TrackInfo::max_age`].
    pub max_age: Duration,
    /// Most groups kept.
    pub max_groups: usize,
    /// Most bytes kept in all groups together: payload, and what it takes to keep it in order.
    pub max_bytes: u64,
    /// Most payload bytes of one group; a group that grows past it is aborted.
    pub max_group_bytes: u64,
    /// Most frames of one group; a group that grows past it is aborted.
    pub max_group_frames: usize,
    /// Whether payload is let go of as soon as it has been read, and a group once its reader is dropped, whether or not
    /// that has read all of it; what is still to come of such a group is not wanted. For tracks with one reader. Another
    /// reader of a group finds it [expired](crate::GroupError::Expired) where it comes too late; as long as there is one,
    /// what is read stays.
    pub read_once: bool,
}

impl Retention {
    /// The default, but finished groups are kept for `age`.
    #[must_use]
    pub fn max_age(age: Duration) -> Self {
        Self { max_age: age, ..Self::default() }
    }

    /// The default for a track that is read once: what has been read is not kept.
    #[must_use]
    pub fn read_once() -> Self {
        Self { read_once: true, ..Self::default() }
    }
}

impl Default for Retention {
    /// Ten seconds, 1024 groups, 64 MiB; one group at most 32 MiB and 65,536 frames; kept when they have been read, too.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(10),
            max_groups: 1024,
            max_bytes: 64 << 20,
            max_group_bytes: 32 << 20,
            max_group_frames: 1 << 16,
            read_once: false,
        }
    }
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the newest group there is, or the first to come.
    #[default]
    Latest,
    /// At this group; groups no longer held are reported as a gap.
    At(u64),
}

/// Why a group cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateGroupError {
    /// The number is taken.
    #[error("group {0} exists already")]
    Duplicate(u64),
    /// The track has ended.
    #[error("track has ended")]
    Ended,
}

/// How long after its end a group is of use to one reader. Clones change together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifetime(Arc<AtomicU64>);

impl Lifetime {
    /// `None` for as long as it is kept.
    pub(crate) fn set(&self, age: Option<Duration>) {
        let millis = age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self.0.store(millis, Ordering::Relaxed);
    }

    /// Whether groups are of use for as long as they are kept.
    pub(super) fn is_unlimited(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// When a group that ended at `end` is too old.
    pub(super) fn after(&self, end: Instant) -> Option<Instant> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            millis => end.checked_add(Duration::from_millis(millis)),
        }
    }
}

/// What a reader of a track meets, in the order in which it came.
#[derive(Debug)]
pub enum TrackEvent {
    /// A group began.
    Group(GroupConsumer),
    /// Groups that will not come.
    Gap {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// Why.
        reason: Reason,
    },
}
