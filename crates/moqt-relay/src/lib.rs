//! A relay for live Media over QUIC tracks.
//!
//! Every session may publish and subscribe. What one session announces, all sessions of the same *scope* see; a
//! track that several want is asked for once. Payload goes through untouched and before a frame is complete.
//!
//! - [`Relay`] is the relay in a process: bind it, run it, watch it through its [`Handle`].
//! - [`run`] is the relay as a program, with [`Args`] for its command line. `moqt-relay` and `moqt relay` are
//!   both this.
//! - [`router`] decides, without clock, task or socket, who is asked for what.
//!
//! ```no_run
//! use moqt::Certificate;
//! use moqt_relay::{Options, Relay};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let certificate = Certificate::generate(&["localhost".into()], 10)?;
//! let relay = Relay::bind(Options::new(certificate).listen("127.0.0.1:0".parse()?))?;
//! let handle = relay.handle();
//! let address = handle.addresses()[0];
//! // In a task of its own: relay.run().await
//! # drop(relay);
//! handle.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! **Scope**: the path of the URL that a session came with, without its query and without one `/` at its end.
//! Sessions of different scopes see nothing of each other. A client over raw QUIC that names no path is in the
//! scope of `/`.
//!
//! **Echo**: a session is told of all names in its scope, its own among them, as deployed relays do.
//!
//! **Trees**: a relay may have others above it ([`Options::upstreams`]). What its clients announce goes up to all of
//! them and down to all clients; what they announce goes down alone. So nothing goes round in any arrangement in which no
//! relay is above itself, directly or by way of others. Where one is, the loop is found and cut: a client by way of which
//! a relay is above itself is sent off, with an error in the log, whenever it comes back.
//!
//! **Redundancy**: a name that several sessions announce is one track; clients come before relays above, and among those
//! of a kind the first before the others. When one is lost, the next goes on from the group that is not whole.
//!
//! **Ranges**: an upstream subscription runs from the latest group on, or from where the first of its
//! subscribers wants it to begin. Subscribers that come later and want older groups get those that are held
//! ([`Options::retention`]).
//!
//! **Priorities**: an upstream subscription has the highest priority that a subscriber here gives the track, and is
//! changed with it, at most ten times a second. So what viewers say matters most is sent first by a publisher whose own
//! link is narrow, too.
//!
//! **Fetches**: a group that is held, or runs, of a track that comes from upstream is served from here. Another one is
//! fetched from the session that announced the track, and not kept.

mod addresses;
mod args;
mod authorize;
mod backoff;
mod counters;
mod downstream;
mod error;
mod http;
mod limit;
mod link;
mod log;
mod mark;
mod memory;
mod metrics;
mod options;
mod page;
mod relay;
pub mod router;
mod run;
mod scope;
mod serve;
mod shared;
mod upstream;
mod welcome;
mod workers;

pub use self::{
    args::{Args, Bind, CongestionArg, Publishers, Transfork04},
    authorize::{Authorize, Visitor},
    counters::Counters,
    error::{Interrupted, StartError, Usage, exit_code},
    limit::LimitArg,
    log::LogArgs,
    options::{Limits, Listen, Options},
    relay::{Handle, Relay},
    router::Redundancy,
    run::run,
    upstream::{Later, Upstream, UpstreamUrl},
};
