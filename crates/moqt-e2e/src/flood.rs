//! A client that wants everything, by hand: sessions whose handshake is done and that then break every measure.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use moqt::{
    Fingerprint, TransportOptions, Version,
    transport::{
        Code, Connection as _, ConnectionError, Dialer, NetConnection, PinnedCertificates, RecvStream as _,
        SendStream as _,
    },
    wire::{Message as _, transfork},
};

/// The half of a stream that sends.
pub type Send = <NetConnection as moqt::transport::Connection>::SendStream;
/// The half of a stream that receives.
pub type Recv = <NetConnection as moqt::transport::Connection>::RecvStream;

/// SESSION_CLIENT with version 04 and the extension that says that we mean the draft.
const HELLO: &[u8] = b"\x00\x01\xc0\x00\x00\x00\xff\x0b\xad\x04\x01\x4f\x04\x01\x01";

/// Announce, Subscribe and Info streams begin with these.
const ANNOUNCE: u8 = 1;
const SUBSCRIBE: u8 = 2;
const INFO: u8 = 4;

/// A relay to be flooded.
#[derive(Clone, Debug)]
pub struct Target {
    address: SocketAddr,
    dialer: Arc<Dialer>,
}

impl Target {
    /// The relay at this address whose certificate has this fingerprint.
    ///
    /// # Errors
    ///
    /// When no socket can be had.
    pub fn new(address: SocketAddr, fingerprint: Fingerprint) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pins = PinnedCertificates::new([fingerprint], Arc::clone(&provider));
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pins))
            .with_no_client_auth();
        let dialer = Dialer::new(tls, TransportOptions::default(), Dialer::TIMEOUT)?;
        Ok(Self { address, dialer: Arc::new(dialer) })
    }

    /// A QUIC connection without a session.
    ///
    /// # Errors
    ///
    /// When the relay does not want it.
    pub async fn dial(&self) -> Result<NetConnection> {
        let host = self.address.ip().to_string();
        let alpn = [b"moqf-02".to_vec()];
        Ok(self.dialer.connect_quic(&[self.address], &host, &alpn).await?)
    }

    /// A connection of which QUIC and TLS are done, and of MoQ comes one byte.
    ///
    /// # Errors
    ///
    /// When the relay does not want it.
    pub async fn dial_slowly(&self) -> Result<(NetConnection, Send, Recv)> {
        let connection = self.dial().await?;
        let (mut send, recv) = connection.open_bi().await?;
        send.write_all(Bytes::from_static(b"\x00")).await?;
        Ok((connection, send, recv))
    }
}

/// A session whose handshake is done.
#[derive(Debug)]
pub struct Flooder {
    /// Its connection.
    pub connection: NetConnection,
    _session: (Send, Recv),
}

impl Flooder {
    /// Opens a session.
    ///
    /// # Errors
    ///
    /// When the relay does not want it.
    pub async fn connect(target: &Target) -> Result<Self> {
        let connection = target.dial().await?;
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(Bytes::from_static(HELLO)).await?;
        let mut answered = 0;
        while answered < 13 {
            answered += recv.read_chunk(64).await?.context("no answer")?.len();
        }
        Ok(Self { connection, _session: (send, recv) })
    }

    /// Opens a stream and writes what it begins with, as far as the relay takes it.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub async fn open(&self, bytes: Vec<u8>) -> Result<(Send, Recv), ConnectionError> {
        let (mut send, recv) = self.connection.open_bi().await?;
        let _ = send.write_all(bytes.into()).await;
        Ok((send, recv))
    }

    /// A stream that the relay opens, behind its type, which is that wanted.
    async fn accept(&self, kind: u8) -> Result<(Send, Recv)> {
        loop {
            let (send, mut recv) = self.connection.accept_bi().await?;
            if recv.read_chunk(1).await?.is_some_and(|said| said[..] == [kind]) {
                return Ok((send, recv));
            }
        }
    }

    /// The stream on which the relay wants to hear of names.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub async fn watch(&self) -> Result<(Send, Recv)> {
        self.accept(ANNOUNCE).await
    }

    /// The relay's next subscription.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub async fn subscription(&self) -> Result<(Send, Recv)> {
        self.accept(SUBSCRIBE).await
    }

    /// A group of a subscription, with the declared size of its first frame and a hundred bytes of it or less.
    ///
    /// # Errors
    ///
    /// When the connection has ended, or the relay does not take it.
    pub async fn group(&self, subscription: u8, sequence: u64, frame: u64) -> Result<Send> {
        let mut send = self.connection.open_uni().await?;
        let mut bytes = vec![0, subscription];
        bytes.extend(varint(sequence));
        bytes.extend(varint(frame));
        bytes.extend(std::iter::repeat_n(5, frame.min(100) as usize));
        send.write_all(bytes.into()).await?;
        Ok(send)
    }

    /// The code that the relay closed with, if it did.
    pub async fn closed(&self) -> Option<Code> {
        match self.connection.closed().await {
            ConnectionError::Closed { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// A number in eight bytes.
#[must_use]
pub fn varint(value: u64) -> [u8; 8] {
    (value | 3 << 62).to_be_bytes()
}

/// SUBSCRIBE of a track of one part, on its stream.
#[must_use]
pub fn subscribe(id: u64, name: &str) -> Vec<u8> {
    let mut bytes = vec![SUBSCRIBE];
    bytes.extend(varint(id));
    bytes.extend([1, name.len() as u8]);
    bytes.extend(name.as_bytes());
    bytes.extend([0x40, 0x80, 0, 0, 0]);
    bytes
}

/// A thousand announcements of names of their own.
#[must_use]
pub fn names(first: u64) -> Bytes {
    let mut bytes = BytesMut::new();
    for number in first..first + 1000 {
        let suffix = format!("names/{number}").parse().ok();
        let announce = transfork::Announce { status: transfork::AnnounceStatus::ACTIVE, suffix };
        let _ = announce.encode(Version::TRANSFORK_04.spec(), &mut bytes);
    }
    bytes.freeze()
}

/// Ways to flood a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Subscriptions of a track that nobody has
    Subscriptions,
    /// Names
    Announcements,
    /// Streams that do not say what they are for
    HalfOpen,
    /// Groups of subscriptions that nobody made
    UnknownGroups,
    /// Frames of a declared gibibyte
    DeclaredFrames,
    /// Handshakes that never end
    Handshakes,
    /// Streams that are reset as soon as they are open
    RapidReset,
}

impl Kind {
    /// Floods once, with a session of its own, until the relay has had enough or the flood is over. Returns how many
    /// streams, names or handshakes it came to.
    ///
    /// # Errors
    ///
    /// When the relay does not want the session to begin with.
    pub async fn flood(self, target: &Target) -> Result<u64> {
        let mut count = 0;
        match self {
            Self::Handshakes => {
                let mut slow = Vec::new();
                while let Ok(connection) = target.dial_slowly().await {
                    slow.push(connection);
                    count += 1;
                    if count == 200 {
                        break;
                    }
                }
                // What is dropped is closed.
            }
            Self::Subscriptions => {
                let flooder = Flooder::connect(target).await?;
                let mut open = Vec::new();
                while let Ok(streams) = flooder.open(subscribe(count, "nobody")).await {
                    count += 1;
                    if open.len() < 1000 {
                        open.push(streams);
                    }
                }
            }
            Self::Announcements => {
                let flooder = Flooder::connect(target).await?;
                let (mut watch, _please) = flooder.watch().await?;
                while watch.write_all(names(count)).await.is_ok() {
                    count += 1000;
                }
            }
            Self::HalfOpen => {
                let flooder = Flooder::connect(target).await?;
                let mut streams = std::collections::VecDeque::new();
                while let Ok(stream) = flooder.open(vec![0x40]).await {
                    count += 1;
                    streams.push_back(stream);
                    // The transport gives no more, and who holds them all waits for ever.
                    if streams.len() > 1100 {
                        streams.pop_front();
                    }
                    if count == 100_000 {
                        break;
                    }
                }
            }
            Self::UnknownGroups => {
                let flooder = Flooder::connect(target).await?;
                while flooder.group(7, count, 200).await.is_ok() {
                    count += 1;
                }
            }
            Self::DeclaredFrames => {
                let flooder = Flooder::connect(target).await?;
                let mut groups = Vec::new();
                while count < 1000
                    && let Ok(group) = flooder.group(0, count, 1 << 30).await
                {
                    groups.push(group);
                    count += 1;
                }
                // What the relay has not read may take the end of the session along.
                if let Some(last) = groups.last_mut() {
                    let _ = tokio::time::timeout(Duration::from_secs(1), last.stopped()).await;
                }
            }
            Self::RapidReset => {
                let flooder = Flooder::connect(target).await?;
                while let Ok((mut send, mut recv)) = flooder.open(vec![INFO]).await {
                    send.reset(Code(4));
                    recv.stop(Code(4));
                    count += 1;
                }
            }
        }
        Ok(count)
    }
}
