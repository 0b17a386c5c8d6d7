//! HTTP/3 peers made by hand on plain QUIC, which say whatever a test wants.

use std::{net::SocketAddr, sync::Arc};

use moqt_transport::NetConnection;
use quinn::{RecvStream, SendStream, VarInt};
use wtransport::proto::qpack::Encoder;

use crate::common::{Identity, Net, TIMEOUT, pinning};

pub const DATA: u64 = 0x00;
pub const HEADERS: u64 = 0x01;
pub const SETTINGS: u64 = 0x04;
pub const GOAWAY: u64 = 0x07;
/// A type that nobody will ever define.
pub const GREASE: u64 = 0x1f * 5 + 0x21;
pub const CLOSE: u64 = 0x2843;
pub const DRAIN: u64 = 0x78ae;

/// The start of a unidirectional, and of a bidirectional stream of session 0.
pub const UNI: [u8; 3] = [0x40, 0x54, 0x00];
pub const BIDI: [u8; 3] = [0x40, 0x41, 0x00];

pub fn varint(value: u64) -> Vec<u8> {
    match value {
        0..=0x3f => vec![value as u8],
        0x40..=0x3fff => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..=0x3fff_ffff => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A frame, or a capsule.
pub fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [&varint(kind)[..], &varint(payload.len() as u64), payload].concat()
}

pub fn closing(code: u32, words: &str) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes()[..], words.as_bytes()].concat())
}

pub fn settings(pairs: &[(u64, u64)]) -> Vec<u8> {
    let payload: Vec<u8> =
        pairs.iter().flat_map(|&(id, value)| [varint(id), varint(value)].concat()).collect();
    frame(SETTINGS, &payload)
}

/// Datagrams, and WebTransport by its names of drafts 2 and 7.
pub const USUAL: [(u64, u64); 3] = [(0x33, 1), (0x2b60_3742, 1), (0xc671_706a, 1)];

pub fn headers(lines: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, &Encoder::encode(lines.iter().copied()))
}

pub fn connect(protocol: &str) -> Vec<u8> {
    headers(&[
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
        (":protocol", protocol),
    ])
}

/// The application code by which a connection was closed by the peer.
pub async fn code_of_close(quic: &quinn::Connection) -> u64 {
    match quic.closed().await {
        quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other:?}"),
    }
}

/// A client by hand.
pub struct RawClient {
    pub quic: quinn::Connection,
    pub control: SendStream,
    pub send: SendStream,
    pub recv: RecvStream,
    peer_control: Option<RecvStream>,
    // Keeps the connection's socket.
    _endpoint: quinn::Endpoint,
}

pub fn client_config(identity: &Identity, alpn: &[u8]) -> quinn::ClientConfig {
    let mut tls = pinning([identity.fingerprint()]);
    tls.alpn_protocols = vec![alpn.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    quinn::ClientConfig::new(Arc::new(crypto))
}

/// A connection, and nothing said on it.
pub async fn quic_client(identity: &Identity, address: SocketAddr) -> (quinn::Endpoint, quinn::Connection) {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client_config(identity, b"h3");
    let quic = endpoint.connect_with(config, address, "localhost").unwrap().await.unwrap();
    (endpoint, quic)
}

impl RawClient {
    /// Says `control` on the control stream, and `request` on the first bidirectional one.
    pub async fn say(net: &Net, control: &[u8], request: &[u8]) -> Self {
        let (_endpoint, quic) = quic_client(&net.identity, net.address()).await;
        let mut stream = quic.open_uni().await.unwrap();
        stream.write_all(&[&[0x00], control].concat()).await.unwrap();
        let (mut send, recv) = quic.open_bi().await.unwrap();
        send.write_all(request).await.unwrap();
        Self { quic, control: stream, send, recv, peer_control: None, _endpoint }
    }

    /// A client in its session, and our end of it.
    pub async fn in_session(net: &Net) -> (Self, NetConnection) {
        let request = connect("webtransport");
        let control = settings(&USUAL);
        let (mut client, server) = tokio::join!(Self::say(net, &control, &request), net.serve());
        client.expect(&headers(&[(":status", "200")])).await;
        (client, server)
    }

    /// Reads the next unidirectional stream of a session to its end.
    pub async fn read_uni(&mut self) -> Vec<u8> {
        if self.peer_control.is_none() {
            // Comes first, and stays.
            self.peer_control = Some(self.quic.accept_uni().await.unwrap());
        }
        self.quic.accept_uni().await.unwrap().read_to_end(1000).await.unwrap()
    }

    /// Reads exactly that from the stream of the session.
    pub async fn expect(&mut self, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        self.recv.read_exact(&mut read).await.unwrap();
        assert_eq!(read, bytes);
    }

    pub async fn uni(&self, bytes: &[u8]) -> SendStream {
        let mut send = self.quic.open_uni().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send
    }

    pub async fn bidi(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, recv) = self.quic.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, recv)
    }
}

/// Writes byte by byte, each on its way before the next.
pub async fn drip(send: &mut SendStream, bytes: &[u8]) {
    for byte in bytes {
        send.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// A server by hand.
pub struct RawServer {
    pub identity: Identity,
    pub endpoint: quinn::Endpoint,
}

impl RawServer {
    pub fn new() -> Self {
        let identity = Identity::new(&["localhost"]);
        let mut tls = identity.server();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        Self { identity, endpoint }
    }

    pub fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    pub fn dialer(&self) -> moqt_transport::Dialer {
        let tls = pinning([self.identity.fingerprint()]);
        moqt_transport::Dialer::new(tls, moqt_transport::TransportOptions::default(), TIMEOUT).unwrap()
    }

    pub async fn dial(&self) -> Result<NetConnection, moqt_transport::DialError> {
        self.dialer().connect_webtransport(&[self.address()], "https://localhost/", &[]).await
    }

    pub async fn quic(&self) -> quinn::Connection {
        self.endpoint.accept().await.unwrap().await.unwrap()
    }

    /// Says `control`, reads a request, and says `answer`.
    pub async fn serve(
        &self,
        control: &[u8],
        answer: &[u8],
    ) -> (quinn::Connection, SendStream, (SendStream, RecvStream)) {
        let quic = self.quic().await;
        let mut stream = quic.open_uni().await.unwrap();
        stream.write_all(&[&[0x00], control].concat()).await.unwrap();
        let (mut send, recv) = quic.accept_bi().await.unwrap();
        send.write_all(answer).await.unwrap();
        (quic, stream, (send, recv))
    }
}

pub fn quic_varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap()
}
