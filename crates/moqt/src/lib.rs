//! Media over QUIC: live tracks from publishers through relays to many subscribers.
//!
//! [`Client`] and [`Server`] make a [`Session`] of a URL or an address, over raw QUIC or WebTransport. A session
//! asks its peer for tracks through [`Subscriber`] and answers from an [`Origin`], most simply [`Tracks`].
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use moqt::{Client, ClientOptions, Retention, SubscribeOptions, TrackInfo, TrackProducer, Tracks};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(ClientOptions::default())?;
//! let url = "https://relay.example/".parse()?;
//!
//! // Publish: whoever asks for `demo/clock` gets it from here on.
//! let tracks = Tracks::new();
//! let track = TrackProducer::new("demo/clock".parse()?, TrackInfo::default(), Retention::default());
//! let _published = tracks.publish(track.consume())?;
//! let _session = client.connect_with(&url, Arc::new(tracks)).await?;
//! let mut group = track.append_group();
//! group.write_frame("tick")?;
//! group.finish()?;
//!
//! // Subscribe, here on another session.
//! let session = client.connect(&url).await?;
//! let subscription =
//!     session.subscriber().subscribe("demo/clock".parse()?, SubscribeOptions::default()).await?;
//! let mut track = subscription.into_track();
//! while let Some(mut group) = track.next_group().await? {
//!     while let Some(frame) = group.read_frame().await? {
//!         println!("group {}: {} bytes", group.sequence(), frame.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The layers below can be used alone: [`session`], [`transport`], [`wire`].

mod broadcast;
mod certificate;
mod client;
mod error;
mod fingerprint;
mod link;
mod server;
mod trust;
mod url;

pub use moqt_session as session;
pub use moqt_transport as transport;
pub use moqt_wire as wire;

pub use moqt_session::{
    Allowance, AlreadyPublished, AnnounceConsumer, AnnounceProducer, Announced, CacheBudget,
    Config as SessionConfig, CreateGroupError, Drain, Feed, FetchIntoError, FetchOptions, FetchRequest,
    Fetched, FrameConsumer, FrameMeta, FrameProducer, Gate, GroupConsumer, GroupError, GroupKey,
    GroupProducer, Info, InfoRequest, Interest, Limits, MergedTrack, Meters, OrderedGroups, OrderedItem,
    Origin, PeerMisbehaved, Preferences, Published, Publisher, Reason, RequestError, Retention, Session,
    SessionError, Start, SubscribeOptions, SubscribeUpdate, Subscriber, Subscription, TrackConsumer,
    TrackError, TrackEvent, TrackInfo, TrackProducer, TrackRequest, Tracks, WeakTrack,
};
pub use moqt_transport::{Carrier, Code, Congestion, Fingerprint, Stats, TransportOptions};
pub use moqt_wire::{FullTrackName, GroupOrder, NameError, Namespace, Priority, TrackName, Version};

pub use self::{
    broadcast::Broadcast,
    certificate::{Certificate, CertificateError},
    client::{Client, ClientOptions},
    error::{BindError, ConnectError},
    link::{
        Connect, Connecting, FollowEnd, FollowError, FollowOptions, FollowState, Followed, Link, LinkError,
        LinkEvent, LinkEvents, Reconnect, follow,
    },
    server::{AcceptError, Incoming, Request, Server, ServerOptions},
    trust::ClientTls,
    url::{Scheme, Url, UrlError},
};

/// The README's example has to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
