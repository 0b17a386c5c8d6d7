//! The contract, over both carriers on loopback.

#![cfg(all(feature = "quinn", feature = "conformance"))]

mod common;

use moqt_transport::{
    NetConnection, TransportOptions,
    conformance::{Capabilities, Pair, Setup},
};

use crate::common::Net;

/// The loopback starves as it is: a mebibyte is many times what may be in flight at first.
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
}

#[cfg(feature = "webtransport")]
mod webtransport {
    moqt_transport::conformance_tests!(super::WebTransport);
}

/// With more than one thread what is written may leave before the next line runs, and the order shows nothing.
struct OnThreads<P>(P);

impl<P: Pair> Pair for OnThreads<P> {
    type Connection = P::Connection;

    async fn connect(&self, setup: Setup) -> (P::Connection, P::Connection) {
        self.0.connect(setup).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { starvation: false, ..self.0.capabilities() }
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
