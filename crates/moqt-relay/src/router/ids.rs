//! What a router calls things by.

/// One session, for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Somebody who waits for an answer; picked by the caller, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// One request to an upstream session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// One track that comes from upstream, from the first request to its end. A name may have several, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u64);

/// Where a session is in a tree of relays.
///
/// What comes from below goes everywhere; what comes from above goes down alone, never to another one above. So nothing
/// goes round as long as no relay is above itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A client of ours: a publisher, a subscriber, or a relay that has us as its upstream.
    #[default]
    Below,
    /// A relay that is our upstream.
    Above,
}

impl Level {
    /// Whether what a session at this level has may be had by one at the other.
    pub(super) fn serves(self, whom: Self) -> bool {
        self == Self::Below || whom == Self::Below
    }
}

/// How many of the publishers of one track are subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Redundancy {
    /// One; the next takes over when it leaves or breaks off.
    #[default]
    Best,
    /// All; the copy that is here first counts.
    All,
}
