//! Control messages in words that all versions share. A dialect maps them to the wire and back.

use std::time::Duration;

use moqt_transport::Code;
use moqt_wire::{FullTrackName, GroupOrder, Namespace, Priority};

use crate::model::{Interest, TrackInfo};

/// A wish for a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The subscriber's number for it, never used twice in a session.
    pub id: u64,
    /// The track.
    pub name: FullTrackName,
    /// Higher is sent first, among all of the session's requests.
    pub priority: Priority,
    /// Which groups of the track are sent first.
    pub order: GroupOrder,
    /// How long a finished group stays useful to the subscriber.
    pub max_age: Option<Duration>,
    /// First group; `None` from the latest on.
    pub first: Option<u64>,
    /// Last group; `None` without end.
    pub last: Option<u64>,
}

/// A change of a [`Subscribe`] on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeUpdate {
    /// The priority from now on.
    pub priority: Priority,
    /// The order from now on.
    pub order: GroupOrder,
    /// How long a finished group stays useful from now on.
    pub max_age: Option<Duration>,
    /// A new first group, not below the one before; `None` leaves it.
    pub first: Option<u64>,
    /// A new last group, not above the one before; `None` leaves it.
    pub last: Option<u64>,
}

/// What a publisher says of a track at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// What stays.
    pub track: TrackInfo,
    /// The newest group. Wires that cannot say "none" say 0, so do not conclude that group 0 exists.
    pub latest: Option<u64>,
}

/// Groups of a subscription that will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Why, as a code of the session's version.
    pub code: Code,
}

/// The state of one announced name, or of the whole watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnnounceStatus {
    Ended,
    Active,
    CaughtUp,
}

/// One control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Subscribe(Subscribe),
    SubscribeUpdate(SubscribeUpdate),
    /// The answer to a subscription.
    Accepted(Info),
    Gap(Gap),
    Watch(Interest),
    Announce {
        status: AnnounceStatus,
        /// What is behind the watch's prefix; empty for [`AnnounceStatus::CaughtUp`].
        suffix: Namespace,
    },
    AskInfo(FullTrackName),
    Info(Info),
    /// Bits per second that the sender expects to get through; 0 is unknown.
    Bitrate(u64),
    Fetch(Fetch),
    FetchUpdate(Priority),
    /// Leave for this URL; `None` for the same.
    Drain(Option<String>),
}

/// A wish for one past group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) name: FullTrackName,
    pub(crate) priority: Priority,
    pub(crate) group: u64,
    /// Index of the first frame wanted.
    pub(crate) frame: u64,
}

impl Message {
    /// The message's name, for errors and traces.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Subscribe(_) => "subscribe",
            Self::SubscribeUpdate(_) => "subscribe update",
            Self::Accepted(_) => "accepted",
            Self::Gap(_) => "gap",
            Self::Watch(_) => "watch",
            Self::Announce { .. } => "announce",
            Self::AskInfo(_) => "ask info",
            Self::Info(_) => "info",
            Self::Bitrate(_) => "bitrate",
            Self::Fetch(_) => "fetch",
            Self::FetchUpdate(_) => "fetch update",
            Self::Drain(_) => "drain",
        }
    }
}
