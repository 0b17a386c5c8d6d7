//! Both ends of a session against `wtransport` as it is, with its own driver.

#![cfg(feature = "webtransport")]
#![expect(clippy::unwrap_used, reason = "a failing test panics")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use moqt_transport::{
    Code, Connection, ConnectionError, DialError, NetConnection, RecvStream, SendStream, TransportOptions,
};

use crate::common::{Identity, Net, dialer, pinning};

const LEN: usize = 300_000;

/// Our server, and the stock client.
async fn stock_client() -> (wtransport::Connection, NetConnection, Net) {
    let net = Net::new(TransportOptions::default());
    let mut tls = pinning([net.identity.fingerprint()]);
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let config = wtransport::ClientConfig::builder()
        .with_bind_address("127.0.0.1:0".parse().unwrap())
        .build_with_quic_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let endpoint = wtransport::Endpoint::client(config).unwrap();
    let url = format!("https://127.0.0.1:{}/path?query", net.address().port());
    let (theirs, ours) = tokio::join!(endpoint.connect(url), net.serve());
    (theirs.unwrap(), ours, net)
}

type StockServer = wtransport::Endpoint<wtransport::endpoint::endpoint_side::Server>;

fn stock_server(identity: &Identity) -> StockServer {
    let mut tls = identity.server();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let config = wtransport::ServerConfig::builder()
        .with_bind_address("127.0.0.1:0".parse().unwrap())
        .build_with_quic_config(quinn::ServerConfig::with_crypto(Arc::new(crypto)));
    wtransport::Endpoint::server(config).unwrap()
}

/// Our client, and the stock server.
async fn stock_session() -> (wtransport::Connection, NetConnection, StockServer) {
    let identity = Identity::new(&["localhost"]);
    let server = stock_server(&identity);
    let address = server.local_addr().unwrap();
    let dialer = dialer(pinning([identity.fingerprint()]));
    let serve = async {
        let request = server.accept().await.await.unwrap();
        assert_eq!((request.path(), request.authority()), ("/path?query", "localhost"));
        request.accept().await.unwrap()
    };
    let addresses = [address];
    let dial = dialer.connect_webtransport(&addresses, "https://localhost/path?query", &[]);
    let (theirs, ours) = tokio::join!(serve, dial);
    (theirs, ours.unwrap(), server)
}

async fn read_ours(recv: &mut impl RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = recv.read_chunk(usize::MAX).await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    all
}

async fn read_theirs(recv: &mut wtransport::RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = vec![0; 1 << 16];
    while let Some(len) = recv.read(&mut buf).await.unwrap() {
        all.extend_from_slice(buf.get(..len).unwrap());
    }
    all
}

/// Bytes on streams of every kind, opened by either side.
async fn exchange(theirs: &wtransport::Connection, ours: &NetConnection) {
    let payload: Vec<u8> = (0..LEN).map(|i| (i % 251) as u8).collect();
    for _ in 0..3 {
        let write = async {
            let mut send = ours.open_uni().await.unwrap();
            send.write_all(payload.clone().into()).await.unwrap();
            send.finish().unwrap();
            assert_eq!(send.stopped().await.unwrap(), None);
        };
        let read = async { read_theirs(&mut theirs.accept_uni().await.unwrap()).await };
        let ((), read) = tokio::join!(write, read);
        assert!(read == payload);

        let write = async {
            let mut send = theirs.open_uni().await.unwrap().await.unwrap();
            send.write_all(&payload).await.unwrap();
            send.finish().await.unwrap();
        };
        let read = async { read_ours(&mut ours.accept_uni().await.unwrap()).await };
        let ((), read) = tokio::join!(write, read);
        assert!(read == payload);

        let call = async {
            let (mut send, mut recv) = ours.open_bi().await.unwrap();
            send.write_all(Bytes::from_static(b"ping")).await.unwrap();
            send.finish().unwrap();
            read_ours(&mut recv).await
        };
        let echo = async {
            let (mut send, mut recv) = theirs.accept_bi().await.unwrap();
            send.write_all(&read_theirs(&mut recv).await).await.unwrap();
            send.finish().await.unwrap();
        };
        assert_eq!(tokio::join!(call, echo).0, b"ping");

        let call = async {
            let (mut send, mut recv) = theirs.open_bi().await.unwrap().await.unwrap();
            send.write_all(b"ping").await.unwrap();
            send.finish().await.unwrap();
            read_theirs(&mut recv).await
        };
        let echo = async {
            let (mut send, mut recv) = ours.accept_bi().await.unwrap();
            send.write_all(read_ours(&mut recv).await.into()).await.unwrap();
            send.finish().unwrap();
        };
        assert_eq!(tokio::join!(call, echo).0, b"ping");
    }
}

fn check_theirs(end: &wtransport::error::ConnectionError) {
    match end {
        wtransport::error::ConnectionError::ApplicationClosed(close) => {
            assert_eq!((close.code().into_inner(), close.reason()), (7, &b"bye"[..]));
        }
        other => panic!("{other:?}"),
    }
}

fn check_ours(end: &ConnectionError) {
    match end {
        ConnectionError::Closed { code: Code(7), reason } => assert_eq!(reason, "bye"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn streams_of_every_kind_work_with_the_stock_client() {
    let (theirs, ours, _net) = stock_client().await;
    exchange(&theirs, &ours).await;
}

#[tokio::test]
async fn streams_of_every_kind_work_with_the_stock_server() {
    let (theirs, ours, _server) = stock_session().await;
    exchange(&theirs, &ours).await;
}

#[tokio::test]
async fn either_close_is_understood_by_the_other_side() {
    for stock_closes in [false, true] {
        let (client, our_server, _net) = stock_client().await;
        let (server, our_client, _server) = stock_session().await;
        for (theirs, ours) in [(client, our_server), (server, our_client)] {
            if stock_closes {
                theirs.close(wtransport::VarInt::from_u32(7), b"bye");
                check_ours(&ours.closed().await);
            } else {
                ours.close(Code(7), "bye");
                check_theirs(&theirs.accept_uni().await.err().unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_by_the_stock_server_has_its_status() {
    let identity = Identity::new(&["localhost"]);
    let server = stock_server(&identity);
    let addresses = [server.local_addr().unwrap()];
    let dialer = dialer(pinning([identity.fingerprint()]));
    let serve = async { server.accept().await.await.unwrap().not_found().await };
    let dial = dialer.connect_webtransport(&addresses, "https://localhost/", &[]);
    let (dialed, ()) = tokio::join!(dial, serve);
    assert!(matches!(dialed, Err(DialError::Rejected { status: 404, .. })), "{dialed:?}");
}
