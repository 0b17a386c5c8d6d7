//! Media over QUIC sessions: the data model, the conversation, and the shell that drives it.
//!
//! - [`TrackProducer`] and [`TrackConsumer`], with groups and frames below them, are the data: written once, read
//!   by many, payload shared. A [`MergedTrack`] is fed by several sessions.
//! - [`Handshake`] makes a [`Session`] of a connection; [`Subscriber`] asks the peer for tracks, names and
//!   facts, and an [`Origin`] answers what the peer asks.
//! - Errors say by their type what has ended: [`SessionError`], [`RequestError`], [`TrackError`],
//!   [`GroupError`].
//!
//! Inside, the conversation is a state machine without I/O, a dialect for each family of versions maps it to
//! the wire, and one task a session carries bytes between the two.

mod allowance;
mod dialect;
mod driver;
mod error;
mod meters;
mod model;
mod origin;
mod proto;
mod session;

pub use allowance::Allowance;
pub use error::{GroupError, PeerMisbehaved, Reason, RequestError, SessionError, TrackError};
pub use meters::Meters;
pub use model::{
    AnnounceConsumer, AnnounceProducer, Announced, CacheBudget, CreateGroupError, FrameConsumer, FrameMeta,
    FrameProducer, Gate, GroupConsumer, GroupKey, GroupProducer, Interest, MergedTrack, OrderedGroups,
    OrderedItem, Preferences, Retention, Start, TrackConsumer, TrackEvent, TrackInfo, TrackProducer,
    WeakTrack,
};
pub use origin::{AlreadyPublished, FetchRequest, InfoRequest, Origin, Published, TrackRequest, Tracks};
pub use proto::{Gap, Info, Limits, Subscribe, SubscribeUpdate};
pub use session::{
    Config, Drain, Feed, FetchIntoError, FetchOptions, Fetched, Handshake, Publisher, Session,
    SubscribeOptions, Subscriber, Subscription,
};
