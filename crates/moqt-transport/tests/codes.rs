//! Codes and ends as peers see and send them that are not ours.

#![cfg(feature = "webtransport")]
#![expect(clippy::unwrap_used, reason = "a failing test panics")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use moqt_transport::{
    Code, Connection, ConnectionError, NetConnection, ReadError, RecvStream, SendStream, TransportOptions,
    WriteError,
};
use quinn::VarInt;
use wtransport::proto::{frame::Frame, session::SessionRequest};

use crate::common::{Net, pinning};

/// Code 7 in WebTransport's range of the HTTP/3 error space.
const SEVEN: u64 = 0x52e4_a40f_a8e2;

fn net() -> Net {
    Net::new(TransportOptions::default())
}

fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap()
}

fn client_config(net: &Net, alpn: &[u8]) -> quinn::ClientConfig {
    let mut tls = pinning([net.identity.fingerprint()]);
    tls.alpn_protocols = vec![alpn.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    quinn::ClientConfig::new(Arc::new(crypto))
}

/// A client of `wtransport` as it is, which maps no codes.
async fn stock_client(net: &Net) -> (wtransport::Connection, NetConnection) {
    let config = wtransport::ClientConfig::builder()
        .with_bind_address("127.0.0.1:0".parse().unwrap())
        .build_with_quic_config(client_config(net, b"h3"));
    let endpoint = wtransport::Endpoint::client(config).unwrap();
    let url = format!("https://127.0.0.1:{}/", net.address().port());
    let (client, server) = tokio::join!(endpoint.connect(url), net.serve());
    (client.unwrap(), server)
}

/// A client by hand: its connection, the sending half of its CONNECT stream, and our end.
async fn handmade_client(net: &Net) -> (quinn::Connection, quinn::SendStream, NetConnection) {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client_config(net, b"h3");
    let client = async {
        let connection = endpoint.connect_with(config, net.address(), "localhost").unwrap().await.unwrap();
        let mut control = connection.open_uni().await.unwrap();
        // A control stream with settings: datagrams and WebTransport.
        control.write_all(&[0x00, 0x04, 0x07, 0x33, 0x01, 0xab, 0x60, 0x37, 0x42, 0x01]).await.unwrap();
        std::mem::forget(control);
        let (mut send, recv) = connection.open_bi().await.unwrap();
        let request = SessionRequest::new(net.url("/")).unwrap();
        let mut frame = Vec::new();
        request.headers().generate_frame().write(&mut frame).unwrap();
        send.write_all(&frame).await.unwrap();
        std::mem::forget(recv);
        (connection, send)
    };
    let ((connection, send), server) = tokio::join!(client, net.serve());
    (connection, send, server)
}

async fn read_to_error(recv: &mut impl RecvStream) -> ReadError {
    loop {
        match recv.read_chunk(usize::MAX).await {
            Ok(chunk) => assert!(chunk.is_some(), "a clean end"),
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn over_webtransport_our_codes_leave_mapped() {
    let net = net();
    let (client, server) = stock_client(&net).await;
    let mut send = server.open_uni().await.unwrap();
    send.write_all(Bytes::from_static(b"x")).await.unwrap();
    let mut recv = client.accept_uni().await.unwrap();
    send.reset(Code(7));
    let mut buf = [0; 8];
    let error = loop {
        if let Err(error) = recv.quic_stream_mut().read(&mut buf).await {
            break error;
        }
    };
    assert_eq!(error, quinn::ReadError::Reset(varint(SEVEN)));

    let mut send = client.open_uni().await.unwrap().await.unwrap();
    send.write_all(b"x").await.unwrap();
    let mut recv = server.accept_uni().await.unwrap();
    recv.stop(Code(7));
    assert_eq!(send.quic_stream_mut().stopped().await.unwrap(), Some(varint(SEVEN)));

    let mut send = client.open_uni().await.unwrap().await.unwrap();
    send.write_all(b"x").await.unwrap();
    drop(server.accept_uni().await.unwrap());
    assert_eq!(send.quic_stream_mut().stopped().await.unwrap(), Some(varint(SEVEN - 7)));

    server.close(Code(7), "bye");
    is_told(client.accept_uni().await.err().unwrap(), 7, "bye");
}

/// A session's code is not mapped.
fn is_told(end: wtransport::error::ConnectionError, code: u32, words: &str) {
    match end {
        wtransport::error::ConnectionError::ApplicationClosed(close) => {
            assert_eq!(
                (close.code(), close.reason()),
                (wtransport::VarInt::from_u32(code), words.as_bytes())
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn over_webtransport_dropping_the_last_handle_closes_the_session_with_zero() {
    let net = net();
    let (client, server) = stock_client(&net).await;
    drop(server);
    is_told(client.accept_uni().await.err().unwrap(), 0, "");
}

#[tokio::test]
async fn over_webtransport_plain_codes_stand_for_themselves() {
    let net = net();
    let (client, server) = stock_client(&net).await;
    for code in [0, 7] {
        let mut send = client.open_uni().await.unwrap().await.unwrap();
        send.write_all(b"x").await.unwrap();
        let mut recv = server.accept_uni().await.unwrap();
        send.reset(wtransport::VarInt::from_u32(code)).unwrap();
        assert!(matches!(read_to_error(&mut recv).await, ReadError::Reset(got) if got == code.into()));

        let mut send = server.open_uni().await.unwrap();
        send.write_all(Bytes::from_static(b"x")).await.unwrap();
        client.accept_uni().await.unwrap().stop(wtransport::VarInt::from_u32(code));
        assert_eq!(send.stopped().await.unwrap(), Some(code.into()));
    }
    client.close(wtransport::VarInt::from_u32(7), b"bye");
    match server.closed().await {
        ConnectionError::Closed { code: Code(7), reason } => assert_eq!(reason, "bye"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn over_raw_quic_mapped_codes_are_mapped_back() {
    let net = net();
    let (client, server) = net.quic().await;
    let mut send = client.quic().open_uni().await.unwrap();
    send.write_all(b"x").await.unwrap();
    let mut recv = server.accept_uni().await.unwrap();
    send.reset(varint(SEVEN)).unwrap();
    assert!(matches!(read_to_error(&mut recv).await, ReadError::Reset(Code(7))));

    let mut send = server.open_uni().await.unwrap();
    send.write_all(Bytes::from_static(b"x")).await.unwrap();
    client.quic().accept_uni().await.unwrap().stop(varint(SEVEN)).unwrap();
    assert_eq!(send.stopped().await.unwrap(), Some(Code(7)));
    let written = send.write_all(Bytes::from_static(b"x")).await;
    assert!(matches!(written, Err(WriteError::Stopped(Code(7)))));
}

#[tokio::test]
async fn over_raw_quic_our_codes_leave_plain() {
    let net = net();
    let (client, server) = net.quic().await;
    let mut send = server.open_uni().await.unwrap();
    send.write_all(Bytes::from_static(b"x")).await.unwrap();
    let mut recv = client.quic().accept_uni().await.unwrap();
    send.reset(Code(7));
    assert_eq!(recv.received_reset().await.unwrap(), Some(VarInt::from_u32(7)));
}

#[tokio::test]
async fn a_closing_capsule_ends_everything_with_its_code_and_words() {
    let net = net();
    let (client, mut connect, server) = handmade_client(&net).await;
    // A stream of the session (0), to have something that waits for it.
    let mut stream = client.open_uni().await.unwrap();
    stream.write_all(&[0x40, 0x54, 0x00, b'x']).await.unwrap();
    let mut recv = server.accept_uni().await.unwrap();
    assert_eq!(recv.read_chunk(1).await.unwrap().as_deref(), Some(&b"x"[..]));
    let capsule = [&[0x68, 0x43, 7][..], &42_u32.to_be_bytes(), b"bye"].concat();
    let mut data = Vec::new();
    Frame::new_data(capsule.into()).write(&mut data).unwrap();
    let is_told = |error: &ConnectionError| match error {
        ConnectionError::Closed { code: Code(42), reason } => assert_eq!(reason, "bye"),
        other => panic!("{other:?}"),
    };
    let (closed, accepted, read, ()) =
        tokio::join!(server.closed(), server.accept_bi(), recv.read_chunk(1), async {
            connect.write_all(&data).await.unwrap()
        });
    is_told(&closed);
    is_told(&accepted.err().unwrap());
    match read {
        Err(ReadError::Connection(error)) => is_told(&error),
        other => panic!("{other:?}"),
    }
    is_told(&server.open_uni().await.err().unwrap());
    server.close(Code(1), "too late");
    is_told(&server.closed().await);
}

#[tokio::test]
async fn the_end_of_the_connect_stream_is_a_close_without_blame() {
    let net = net();
    let (_client, mut connect, server) = handmade_client(&net).await;
    connect.finish().unwrap();
    match server.closed().await {
        ConnectionError::Closed { code: Code::NONE, reason } => assert_eq!(reason, ""),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_http_error_of_the_peer_is_a_failure_of_the_transport() {
    let net = net();
    for (wire, blames) in [(0x100, false), (0x104, true), (0x110, true), (0x200, true), (0x111, false)] {
        let (client, _connect, server) = handmade_client(&net).await;
        client.close(varint(wire), b"");
        let end = server.closed().await;
        match end {
            ConnectionError::Transport(_) if blames => {}
            ConnectionError::Closed { code, .. } if !blames => {
                assert_eq!(code, if wire == 0x100 { Code::NONE } else { Code(wire) });
            }
            other => panic!("{wire:#x}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_empty_stream_that_flow_control_holds_back_arrives_later() {
    let net = Net::new(TransportOptions { connection_window: 64 << 10, ..TransportOptions::default() });
    let (client, server) = net.webtransport().await;
    let mut full = client.open_uni().await.unwrap();
    full.write_all(Bytes::from_static(b"x")).await.unwrap();
    let mut unread = server.accept_uni().await.unwrap();
    // Whatever the window takes, until nothing fits for the time of a round trip.
    let (mut ping, _recv) = client.open_bi().await.unwrap();
    ping.write_all(Bytes::from_static(b"p")).await.unwrap();
    server.accept_bi().await.unwrap();
    let blocked = async {
        loop {
            full.write_chunks(&mut [Bytes::from_static(&[0; 1 << 10])]).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        () = blocked => {}
        () = std::future::ready(()) => {}
    }
    let mut empty = client.open_uni().await.unwrap();
    let mut dropped = client.open_uni().await.unwrap();
    let mut given_up = client.open_uni().await.unwrap();
    for send in [&mut empty, &mut dropped, &mut given_up] {
        send.finish().unwrap();
        assert!(matches!(send.finish(), Err(WriteError::Closed)));
    }
    given_up.reset(Code(5));
    drop(dropped);
    drop(full);
    drop(ping);
    let read = async { read_to_error(&mut unread).await };
    let accept = async {
        for _ in 0..2 {
            assert_eq!(server.accept_uni().await.unwrap().read_chunk(1).await.unwrap(), None);
        }
    };
    let (read, (), stopped) = tokio::join!(read, accept, empty.stopped());
    assert!(matches!(read, ReadError::Reset(Code::NONE)));
    assert_eq!(stopped.unwrap(), None);
    assert_eq!(empty.stopped().await.unwrap(), None);
}
