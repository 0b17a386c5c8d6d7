//! What the conformance suite cannot bring about from outside.

use std::{sync::Arc, time::Duration};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::{Dialer, ListenOptions, Listener, NetConnection, NoVerification, TransportOptions};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A client and a server over raw QUIC.
async fn pair(transport: TransportOptions) -> (NetConnection, NetConnection) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NoVerification::new(provider)))
        .with_no_client_auth();
    let options = ListenOptions {
        alpns: vec![b"x".to_vec()],
        webtransport: false,
        transport: transport.clone(),
        shared: false,
    };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), server, options).unwrap();
    let dialer = Dialer::new(client, transport, TIMEOUT).unwrap();
    let serve =
        async { listener.accept().await.unwrap().accept(TIMEOUT).await.unwrap().accept().await.unwrap() };
    let (addresses, alpns) = ([listener.local_addr().unwrap()], [b"x".to_vec()]);
    let (client, server) = tokio::join!(dialer.connect_quic(&addresses, "localhost", &alpns), serve);
    (client.unwrap(), server)
}

fn header() -> Bytes {
    Bytes::from_static(b"head")
}

#[tokio::test]
async fn a_header_that_leaves_in_parts_is_followed_by_the_payload_whole() {
    // Windows around the header's length.
    for stream_window in 1..=6 {
        let (client, server) = pair(TransportOptions { stream_window, ..TransportOptions::default() }).await;
        let sender = client.quic().open_uni().await.unwrap();
        let mut half = SendHalf::new(sender, Mapping::Plain, header(), Room::of(client.quic()));
        let write = async {
            let mut chunks = ["pay", "", "load"].map(Bytes::from);
            let mut left = 7;
            while left > 0 {
                left -= half.write_chunks(&mut chunks).await.unwrap();
                assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), left);
            }
            half.finish(Some(&Handle::current())).unwrap();
        };
        let read = async { server.quic().accept_uni().await.unwrap().read_to_end(100).await.unwrap() };
        let ((), read) = tokio::join!(write, read);
        assert_eq!(read, b"headpayload");
    }
}

#[tokio::test]
async fn an_empty_stream_without_room_for_its_header_is_finished_by_and_by() {
    let (client, server) = pair(TransportOptions { stream_window: 2, ..TransportOptions::default() }).await;
    let sender = client.quic().open_uni().await.unwrap();
    let mut half = SendHalf::new(sender, Mapping::Plain, header(), Room::of(client.quic()));
    half.finish(Some(&Handle::current())).unwrap();
    assert!(matches!(half.state, SendState::Finishing(_)));
    let read = async { server.quic().accept_uni().await.unwrap().read_to_end(100).await.unwrap() };
    let (stopped, read) = tokio::join!(half.stopped(), read);
    assert_eq!(read, b"head");
    assert_eq!(stopped.unwrap(), None);
}

#[tokio::test]
async fn an_empty_stream_without_room_for_its_header_can_be_reset() {
    let (client, server) = pair(TransportOptions { stream_window: 2, ..TransportOptions::default() }).await;
    let sender = client.quic().open_uni().await.unwrap();
    let mut half = SendHalf::new(sender, Mapping::Plain, header(), Room::of(client.quic()));
    half.finish(Some(&Handle::current())).unwrap();
    half.reset(Code(5));
    let mut recv = server.quic().accept_uni().await.unwrap();
    assert_eq!(recv.received_reset().await.unwrap(), Some(VarInt::from_u32(5)));
}

#[cfg(feature = "webtransport")]
#[tokio::test]
async fn whoever_resets_a_stream_at_once_shows_its_header_first() {
    let (client, server) = pair(TransportOptions::default()).await;
    for payload in ["", "payload"] {
        for is_finished in [false, true] {
            let sender = client.quic().open_uni().await.unwrap();
            let mut half = SendHalf::new(sender, Mapping::Plain, header(), Room::of(client.quic()));
            half.write_chunks(&mut [Bytes::from(payload)]).await.unwrap();
            if is_finished {
                half.finish(Some(&Handle::current())).unwrap();
            }
            half.reset_behind_header(Code(5), &Handle::current());
            let mut recv = server.quic().accept_uni().await.unwrap();
            let mut head = [0; 4];
            recv.read_exact(&mut head).await.unwrap();
            assert_eq!(head, *b"head");
            if !is_finished {
                assert_eq!(recv.received_reset().await.unwrap(), Some(VarInt::from_u32(5)), "{payload:?}");
            }
        }
    }
}

#[cfg(feature = "webtransport")]
#[tokio::test]
async fn a_stream_whose_header_is_known_is_reset_at_once() {
    let (client, server) = pair(TransportOptions::default()).await;
    let sender = client.quic().open_uni().await.unwrap();
    let mut half = SendHalf::new(sender, Mapping::Plain, header(), Room::of(client.quic()));
    half.write_chunks(&mut [Bytes::from("payload")]).await.unwrap();
    let mut recv = server.quic().accept_uni().await.unwrap();
    tokio::time::sleep(HEAD_START).await;
    half.reset_behind_header(Code(5), &Handle::current());
    assert!(matches!(
        recv.read_to_end(100).await,
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_)))
    ));
}
