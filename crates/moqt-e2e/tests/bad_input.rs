//! Clients that talk nonsense to a real relay, on both carriers, while others are served.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests may panic, and these run in real time"
)]

use std::{process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use moqt::{
    TransportOptions,
    transport::{
        Code, Connection, ConnectionError, Dialer, Fingerprint, NetConnection, PinnedCertificates, ReadError,
        RecvStream, SendStream,
    },
};
use moqt_e2e::{Process, Relay};

/// SESSION_CLIENT with version 04 and the extension that says that we mean the draft.
const HELLO: &[u8] = b"\x00\x01\xc0\x00\x00\x00\xff\x0b\xad\x04\x01\x4f\x04\x01\x01";

async fn bounded<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("took too long")
}

fn dialer(fingerprint: &str) -> Dialer {
    let provider = Arc::new(rustls_provider());
    let pins = PinnedCertificates::new([fingerprint.parse::<Fingerprint>().unwrap()], Arc::clone(&provider));
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pins))
        .with_no_client_auth();
    Dialer::new(tls, TransportOptions::default(), Dialer::TIMEOUT).unwrap()
}

fn rustls_provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// A session whose handshake is done, by hand.
struct Client {
    connection: NetConnection,
    _session: (<NetConnection as Connection>::SendStream, <NetConnection as Connection>::RecvStream),
}

impl Client {
    async fn connect(dialer: &Dialer, relay: &Relay, web: bool) -> Self {
        let address = relay.address().parse().unwrap();
        let connection = if web {
            let url = format!("https://{}/", relay.address());
            dialer.connect_webtransport(&[address], &url, &[]).await.unwrap()
        } else {
            dialer.connect_quic(&[address], "127.0.0.1", &[b"moqf-02".to_vec()]).await.unwrap()
        };
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(Bytes::from_static(HELLO)).await.unwrap();
        let mut answer = Vec::new();
        while answer.len() < 13 {
            answer.extend_from_slice(&recv.read_chunk(64).await.unwrap().expect("an answer"));
        }
        // The version, and how many extensions there are; ours is the first.
        assert!(answer.starts_with(b"\xc0\x00\x00\x00\xff\x0b\xad\x04"), "{answer:02x?}");
        assert_eq!(answer[9..13], *b"\x4f\x04\x01\x01", "{answer:02x?}");
        Self { connection, _session: (send, recv) }
    }

    /// Writes `bytes` on a new bidirectional stream and finishes it; returns the code of the answer.
    async fn ask(&self, bytes: &[u8]) -> Result<Code, ConnectionError> {
        let (mut send, mut recv) = self.connection.open_bi().await?;
        let _ = send.write_all(Bytes::copy_from_slice(bytes)).await;
        let _ = send.finish();
        loop {
            match recv.read_chunk(4096).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{bytes:02x?} was answered"),
                Err(ReadError::Reset(code)) => return Ok(code),
                Err(ReadError::Connection(error)) => return Err(error),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Writes `bytes` on a new unidirectional stream; returns the code that it is stopped with.
    async fn push(&self, bytes: &[u8]) -> Result<Code, ConnectionError> {
        let mut send = self.connection.open_uni().await?;
        let _ = send.write_all(Bytes::copy_from_slice(bytes)).await;
        Ok(send.stopped().await?.expect("not finished"))
    }
}

/// A path of `parts` parts of `len` bytes, as SUBSCRIBE id 9 on a Subscribe stream.
fn subscribe(parts: usize, len: usize) -> Vec<u8> {
    let varint = |value: usize| [0x40 | (value >> 8) as u8, value as u8];
    let mut bytes = vec![2, 9];
    bytes.extend(varint(parts));
    for _ in 0..parts {
        bytes.extend(varint(len));
        bytes.extend(std::iter::repeat_n(b'x', len));
    }
    bytes.extend([0x40, 0x80, 0, 0, 0]);
    bytes
}

#[test]
fn nonsense_gets_its_code_and_the_relay_serves_on_within_its_memory() {
    let relay = Relay::start(&[]);
    let url = relay.url();
    let mut publisher = Process::start_with(
        &["pub", &url, "demo/text", "--format", "lines", "--wait-subscriber"],
        Stdio::piped(),
    );
    publisher.write(b"before\n");
    let subscriber = Process::start(&["sub", &url, "demo/text", "--format", "lines"]);
    assert_eq!(subscriber.writes(7), b"before\n");
    let before = relay.process.resident();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [_, _, fingerprint] = relay.pinned("https");
        let dialer = dialer(&fingerprint);
        for web in [false, true] {
            let client = bounded(Client::connect(&dialer, &relay, web)).await;
            let cases: [(&str, Vec<u8>, u64); 8] = [
                ("garbage for a subscribe", vec![2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 5),
                ("garbage for a watch", vec![1, 0x21, 0xff, 0xff, 0xff], 5),
                ("garbage for a question", vec![4, 0x00], 5),
                ("a path of 33 parts", subscribe(33, 1), 5),
                ("a path of 1024 bytes", subscribe(2, 512), 5),
                ("a varint cut short", vec![2, 0xc0, 0x00], 5),
                (
                    "a length that nothing could have",
                    vec![1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                    5,
                ),
                ("an unknown track", subscribe(2, 4), 13),
            ];
            for (what, bytes, code) in &cases {
                let answered = bounded(client.ask(bytes)).await;
                assert_eq!(answered.unwrap(), Code(*code), "{what}");
            }
            // Groups that nobody asked for are not wanted; how much they declare does not matter.
            for _ in 0..200 {
                let huge = b"\x00\x07\x05\xff\xff\xff\xff\xff\xff\xff\xffpayload";
                assert_eq!(bounded(client.push(huge)).await.unwrap(), Code(0));
            }
            // And still the session lives.
            assert_eq!(bounded(client.ask(&subscribe(1, 4))).await.unwrap(), Code(12), "the id was used");

            // An unknown type of stream is the end of it, with a code.
            let end = bounded(client.ask(&[0x33])).await;
            let closed = bounded(client.connection.closed()).await;
            assert!(
                matches!(closed, ConnectionError::Closed { code: Code(10), .. }),
                "{web}: {end:?} {closed:?}"
            );
        }
    });

    if let (Some(before), Some(after)) = (before, relay.process.resident()) {
        assert!(after < before + (32 << 20), "from {before} to {after} bytes");
    }
    publisher.write(b"after\n");
    assert_eq!(subscriber.writes(13), b"before\nafter\n");
    // One line each: seven malformed requests, an id used twice and an unknown type, on each carrier.
    let said = relay.process.stderr();
    let warnings =
        |about: &str| said.lines().filter(|line| line.contains("WARN") && line.contains(about)).count();
    assert_eq!((warnings("used twice"), warnings("unknown stream type 0x33")), (2, 2), "{said}");
    assert_eq!(warnings(""), 2 * 9, "{said}");
    assert!(!relay.process.stderr().contains("payload"), "no payload in logs");
}
