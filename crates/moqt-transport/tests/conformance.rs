//! The contract, over both carriers on loopback.

#![cfg(all(feature = "quinn", feature = "conformance"))]

mod common;

use moqt_transport::{
    NetConnection, TransportOptions,
    conformance::{Capabilities, Pair, Setup},
};

use crate::common::Net;

/// The loopback cannot be starved by the little that is handed over at once; who goes first on a link that can is shown
/// where the network is a simulated one.
fn on_loopback() -> Capabilities {
    Capabilities { starvation: false, ..Capabilities::default() }
}

fn net(setup: Setup) -> Net {
    let mut transport = TransportOptions::default();
    if let Some(max) = setup.max_streams {
        transport.max_uni_streams = max;
        transport.max_bidi_streams = max;
    }
    Net::new(transport)
}

struct Quic;

impl Pair for Quic {
    type Connection = NetConnection;

    async fn connect(&self, setup: Setup) -> (NetConnection, NetConnection) {
        net(setup).quic().await
    }

    fn capabilities(&self) -> Capabilities {
        on_loopback()
    }
}

mod quic {
    moqt_transport::conformance_tests!(super::Quic);
}

#[cfg(feature = "webtransport")]
struct WebTransport;

#[cfg(feature = "webtransport")]
impl Pair for WebTransport {
    type Connection = NetConnection;

    async fn connect(&self, setup: Setup) -> (NetConnection, NetConnection) {
        net(setup).webtransport().await
    }

    fn capabilities(&self) -> Capabilities {
        on_loopback()
    }
}

#[cfg(feature = "webtransport")]
mod webtransport {
    moqt_transport::conformance_tests!(super::WebTransport);
}

/// The same on a runtime with threads.
struct OnThreads<P>(P);

impl<P: Pair> Pair for OnThreads<P> {
    type Connection = P::Connection;

    async fn connect(&self, setup: Setup) -> (P::Connection, P::Connection) {
        self.0.connect(setup).await
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

mod quic_on_threads {
    moqt_transport::conformance_tests!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        super::OnThreads(super::Quic)
    );
}

#[cfg(feature = "webtransport")]
mod webtransport_on_threads {
    moqt_transport::conformance_tests!(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        super::OnThreads(super::WebTransport)
    );
}
