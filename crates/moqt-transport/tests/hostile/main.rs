//! HTTP/3 peers that break rules, are slow, or say what nobody has heard of, on plain QUIC connections.

#![cfg(all(feature = "webtransport", feature = "conformance"))]
#![expect(clippy::unwrap_used, reason = "a failing test panics")]

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod handshakes;
mod raw;
mod rules;
mod streams;

use bytes::Bytes;
use moqt_transport::{
    Code, Connection, ConnectionError, NetConnection, RecvStream, SendStream, TransportOptions,
    WebTransportConnection,
};

use crate::{
    common::Net,
    raw::{RawClient, UNI},
};

const NO_ERROR: u64 = 0x100;
const STREAM_CREATION: u64 = 0x103;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const FRAME_ERROR: u64 = 0x106;
const EXCESSIVE_LOAD: u64 = 0x107;
const ID_ERROR: u64 = 0x108;
const SETTINGS_ERROR: u64 = 0x109;
const MISSING_SETTINGS: u64 = 0x10a;
const REQUEST_REJECTED: u64 = 0x10b;
const MESSAGE_ERROR: u64 = 0x10e;
const DECOMPRESSION_FAILED: u64 = 0x200;
const BUFFERED_STREAM_REJECTED: u64 = 0x3994_bd84;
/// Code 7 in WebTransport's range of the HTTP/3 error space.
const SEVEN: u64 = 0x52e4_a40f_a8e2;

fn net() -> Net {
    Net::new(TransportOptions::default())
}

fn session(connection: &NetConnection) -> &WebTransportConnection {
    match connection {
        NetConnection::WebTransport(session) => session,
        other => panic!("{other:?}"),
    }
}

/// The session works in both directions.
async fn lives(client: &mut RawClient, server: &NetConnection) {
    let mut sent = client.uni(&[&UNI[..], b"hello"].concat()).await;
    sent.finish().unwrap();
    let mut recv = server.accept_uni().await.unwrap();
    assert_eq!(recv.read_chunk(100).await.unwrap().as_deref(), Some(&b"hello"[..]));
    let mut send = server.open_uni().await.unwrap();
    send.write_all(Bytes::from_static(b"there")).await.unwrap();
    send.finish().unwrap();
    assert_eq!(client.read_uni().await, [&UNI[..], b"there"].concat());
}

fn is_closed(end: &ConnectionError, code: u64, words: &str) {
    match end {
        ConnectionError::Closed { code: got, reason } => {
            assert_eq!((*got, reason.as_str()), (Code(code), words));
        }
        other => panic!("{other:?}"),
    }
}
