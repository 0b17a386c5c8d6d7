//! Small values that messages are made of.

use std::fmt;
use std::time::Duration;

/// How urgent a track is: higher is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u8);

impl Priority {
    /// Sent before all others.
    pub const HIGHEST: Self = Self(u8::MAX);
    /// Sent after all others.
    pub const LOWEST: Self = Self(u8::MIN);
}

impl Default for Priority {
    /// The middle, 128.
    fn default() -> Self {
        Self(128)
    }
}

/// Which group of a track is sent first when not all of them fit.
///
/// The numbers on the wire differ between versions; a version without a "default" sends
/// [`Descending`](Self::Descending) for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupOrder {
    /// From a subscriber: the publisher's choice. From a publisher: none in particular.
    #[default]
    Default,
    /// Older groups first: nothing is skipped.
    Ascending,
    /// Newer groups first: low latency.
    Descending,
}

impl fmt::Display for GroupOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Ascending => "ascending",
            Self::Descending => "descending",
        })
    }
}

/// Names a subscription within a session; picked by the subscriber and never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscribeId(pub u64);

/// The place of a group in its track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupSequence(pub u64);

impl GroupSequence {
    /// The largest that every message can name, 2^62 - 2: some fields carry the sequence plus one.
    pub const MAX: Self = Self(crate::varint::MAX - 1);

    /// The following group, or `None` after [`MAX`](Self::MAX).
    pub fn next(self) -> Option<Self> {
        (self < Self::MAX).then(|| Self(self.0 + 1))
    }
}

/// A time span in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Self {
        Self::from_millis(millis.0)
    }
}

impl From<Duration> for Millis {
    /// Rounded up to a whole millisecond, so that a short span does not become none.
    fn from(duration: Duration) -> Self {
        let millis = duration.as_nanos().div_ceil(1_000_000);
        Self(u64::try_from(millis).unwrap_or(u64::MAX).min(crate::varint::MAX))
    }
}

macro_rules! display_inner {
    ($($ty:ident)*) => {$(
        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display_inner! { Priority SubscribeId GroupSequence Millis }
