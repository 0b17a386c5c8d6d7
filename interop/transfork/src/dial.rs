//! Connections, raw QUIC and WebTransport, as client and as server.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{bail, Context as _, Result};
use url::Url;
use web_transport_quinn::{
    quinn::{self, crypto::rustls::HandshakeData, rustls},
    Request, Session,
};

/// ALPN of raw QUIC in every release.
const QUIC: &[u8] = b"moqf-02";

fn transport() -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(Duration::from_secs(10).try_into().ok());
    transport.keep_alive_interval(Some(Duration::from_secs(4)));
    // As in the released relays and clients.
    transport.congestion_controller_factory(Arc::new(quinn::congestion::BbrConfig::default()));
    transport.mtu_discovery_config(None);
    Arc::new(transport)
}

/// Connects, and trusts whoever answers: both sides are on this machine.
pub async fn connect(url: &Url) -> Result<(quinn::Endpoint, Session)> {
    let alpn = match url.scheme() {
        "https" => web_transport_quinn::ALPN,
        "moqf" => QUIC,
        scheme => bail!("unknown scheme {scheme}"),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut config =
        quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    let host = url.host_str().context("a URL with a host")?;
    let address = tokio::net::lookup_host((host, url.port().unwrap_or(443))).await?;
    let address = address.into_iter().next().context("no address")?;
    let local: SocketAddr = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }.parse()?;
    let endpoint = quinn::Endpoint::client(local)?;
    let connection = endpoint.connect_with(config, address, host)?.await?;
    let session = match url.scheme() {
        "https" => Session::connect(connection, url).await?,
        _ => connection.into(),
    };
    Ok((endpoint, session))
}

/// Listens with a certificate of its own.
pub fn listen(address: SocketAddr) -> Result<quinn::Endpoint> {
    let generated = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(generated.key_pair.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![generated.cert.der().clone()], key.into())?;
    tls.alpn_protocols = vec![web_transport_quinn::ALPN.to_vec(), QUIC.to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport());
    Ok(quinn::Endpoint::server(config, address)?)
}

/// The next connection, whichever carrier it is on.
pub async fn accept(endpoint: &quinn::Endpoint) -> Result<Session> {
    let connection = endpoint.accept().await.context("closed")?.await?;
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let alpn = data.and_then(|data| data.protocol).context("no ALPN")?;
    Ok(if alpn == QUIC { connection.into() } else { Request::accept(connection).await?.ok().await? })
}

/// Why a session ended: the code that the peer closed it with, without the mapping of WebTransport, or other words.
pub fn end(error: &quinn::ConnectionError) -> String {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            const FIRST: u64 = 0x52e4_a40f_a8db;
            const LAST: u64 = 0x52e5_ac98_3162;
            let code = close.error_code.into_inner();
            let code = match code {
                FIRST..=LAST => code - FIRST - (code - FIRST) / 31,
                code => code,
            };
            code.to_string()
        }
        quinn::ConnectionError::LocallyClosed => "locally".to_owned(),
        other => format!("lost: {other}"),
    }
}

#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
