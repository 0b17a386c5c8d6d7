//! The null relay: what a relay on `quinn` costs that does nothing but pass bytes on.
//!
//! It has no protocol: a publisher opens a unidirectional stream for each group, that begins with the number of its
//! track; the relay opens one to each subscriber of that number and passes the bytes on as they come. A subscriber
//! says the numbers on a bidirectional stream and gets one byte back once it is in. What a real relay costs beyond
//! this is what it does for it, so the ratio of the two is what a change can make better or worse.
//!
//! Its settings are those of [`moqt::TransportOptions`], read from there, on a `quinn` of its own.

pub mod bench;
pub mod relay;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use moqt::{TransportOptions, transport::NoVerification};
use quinn::{
    IdleTimeout, VarInt,
    congestion::{BbrConfig, CubicConfig, NewRenoConfig},
};
use socket2::{Domain, Protocol, Socket, Type};

/// Protocols (ALPN) of the two kinds of clients.
const PUBLISHER: &[u8] = b"null-pub";
const SUBSCRIBER: &[u8] = b"null-sub";

/// Bytes before the frames of a group's stream: the track's number and the group's.
const GROUP_HEADER: usize = 12;

/// The group number that stands for the end of a track.
const END: u64 = u64::MAX;

/// How fast to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Congestion {
    /// As `moqt --congestion cubic`.
    #[default]
    Cubic,
    /// As `moqt --congestion newreno`.
    Newreno,
    /// As `moqt --congestion bbr`.
    Bbr,
}

fn transport(congestion: Congestion, options: &TransportOptions) -> Arc<quinn::TransportConfig> {
    let mut config = quinn::TransportConfig::default();
    config
        .max_concurrent_uni_streams(options.max_uni_streams.into())
        .max_concurrent_bidi_streams(options.max_bidi_streams.into())
        .max_idle_timeout(
            options
                .idle_timeout
                .map(|idle| IdleTimeout::try_from(idle).unwrap_or_else(|_| VarInt::MAX.into())),
        )
        .keep_alive_interval(options.keep_alive)
        .stream_receive_window(options.stream_window.into())
        .receive_window(options.connection_window.into())
        .send_window(options.send_window);
    match congestion {
        Congestion::Cubic => config.congestion_controller_factory(Arc::new(CubicConfig::default())),
        Congestion::Newreno => config.congestion_controller_factory(Arc::new(NewRenoConfig::default())),
        Congestion::Bbr => config.congestion_controller_factory(Arc::new(BbrConfig::default())),
    };
    Arc::new(config)
}

fn socket(address: SocketAddr) -> Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&address.into()).with_context(|| format!("cannot listen on {address}"))?;
    let buffer = TransportOptions::default().socket_buffer;
    let _ = socket.set_send_buffer_size(buffer);
    let _ = socket.set_recv_buffer_size(buffer);
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn server(
    address: SocketAddr,
    congestion: Congestion,
    options: &TransportOptions,
) -> Result<quinn::Endpoint> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    tls.alpn_protocols = vec![PUBLISHER.to_vec(), SUBSCRIBER.to_vec()];
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(transport(congestion, options));
    let runtime = Arc::new(quinn::TokioRuntime);
    Ok(quinn::Endpoint::new(quinn::EndpointConfig::default(), Some(config), socket(address)?, runtime)?)
}

fn client(congestion: Congestion, alpn: &[u8]) -> Result<quinn::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(NoVerification::new(Arc::clone(&provider)));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(transport(congestion, &TransportOptions::default()));
    Ok(config)
}

/// Longest wait for anything that is answered at once.
const ANSWER: Duration = Duration::from_secs(10);
