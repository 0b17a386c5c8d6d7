//! A simulated transport in virtual time, for tests of Media over QUIC sessions.
//!
//! [`for_each_seed`] runs a test in a few worlds that differ only by their seed. A world ([`Sim`]) has a
//! clock that jumps from event to event, and makes pairs of connections over links with delay, jitter, rate
//! and loss ([`Link`]). Everything that happens follows from the seed, which a failure names.
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use moqt_sim::Link;
//! use moqt_transport::{Connection, RecvStream, SendStream};
//!
//! moqt_sim::for_each_seed(|sim| async move {
//!     let (client, server) = sim.connect(Link::delay(Duration::from_millis(40)).loss(0.05));
//!     let mut send = client.open_uni().await.unwrap();
//!     send.write_all(Bytes::from_static(b"hello")).await.unwrap();
//!     send.finish().unwrap();
//!
//!     let mut recv = server.accept_uni().await.unwrap();
//!     assert_eq!(recv.read_chunk(usize::MAX).await.unwrap().unwrap(), "hello");
//!     assert!(recv.read_chunk(usize::MAX).await.unwrap().is_none());
//!     assert!(sim.elapsed() >= Duration::from_millis(40));
//! });
//! ```
//!
//! The model is QUIC's, without its wire format: packets of up to 1200 bytes of stream data, acknowledgements,
//! loss found by round-trip time, retransmission at the stream's priority, windows for streams and
//! connections, limits on streams, idle timeout. What it leaves out: handshakes, path changes, datagrams.

mod connection;
mod control;
mod counters;
mod link;
mod net;
mod rng;
pub mod script;
mod seeds;
mod settings;
mod sim;
mod sink;
mod stream;

pub use connection::SimConnection;
pub use control::LinkControl;
pub use counters::Counters;
pub use link::{Link, Links};
pub use net::Side;
pub use rng::Rng;
pub use seeds::{Outcome, Seeds, for_each_seed, run};
pub use settings::{Congestion, Settings};
pub use sim::Sim;
pub use sink::{Sink, SinkStream, Tally};
pub use stream::{SimRecvStream, SimSendStream};
