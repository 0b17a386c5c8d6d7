//! What Media over QUIC needs of a connection, and adapters that provide it.
//!
//! The traits [`Connection`], [`SendStream`] and [`RecvStream`] describe a QUIC-shaped connection: many
//! streams in both directions, each reliable and ordered, each with a priority and able to be given up
//! with a [`Code`]. This crate moves bytes and knows nothing of MoQ.
//!
//! - feature `quinn`: raw QUIC;
//! - feature `webtransport`: WebTransport over HTTP/3, on the same UDP port as raw QUIC;
//! - feature `conformance`: the suite that every adapter passes, one test for each line of the contract; and
//!   the bodies of the fuzz targets.

mod code;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "quinn")]
mod dial;
mod error;
#[cfg(feature = "quinn")]
mod listen;
#[cfg(feature = "quinn")]
mod net;
#[cfg(feature = "quinn")]
mod options;
#[cfg(feature = "quinn")]
mod quinn;
mod stats;
#[cfg(feature = "quinn")]
mod tls;
mod traits;
#[cfg(feature = "webtransport")]
mod webtransport;
#[cfg(feature = "quinn")]
mod wire_code;

#[cfg(all(feature = "webtransport", feature = "conformance"))]
pub use self::webtransport::fuzz;
#[cfg(feature = "webtransport")]
pub use self::webtransport::{
    InvalidHeader, WebTransportConnection, WebTransportRecvStream, WebTransportSendStream,
};
pub use self::{
    code::Code,
    error::{ConnectionError, ReadError, WriteError},
    stats::Stats,
    traits::{Carrier, Connection, RecvStream, SendStream},
};
#[cfg(feature = "quinn")]
pub use self::{
    dial::{CertificateProblem, DialError, Dialer},
    listen::{AcceptError, Incoming, ListenError, ListenOptions, Listener, Reject, Request},
    net::{NetConnection, NetRecvStream, NetSendStream},
    options::{Congestion, SocketBuffers, TransportOptions},
    quinn::{QuicConnection, QuicRecvStream, QuicSendStream},
    tls::{Fingerprint, NoVerification, ParseFingerprintError, PinnedCertificates},
};
