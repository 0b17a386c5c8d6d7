//! Certificates, listeners and pairs on loopback.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use moqt_transport::{
    Dialer, Fingerprint, ListenOptions, Listener, NetConnection, NoVerification, PinnedCertificates,
    TransportOptions,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};

pub const ALPN: &[u8] = b"moqf-02";
pub const TIMEOUT: Duration = Duration::from_secs(10);

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A server's certificate and key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Identity {
    pub fn new(names: &[&str]) -> Self {
        Self::with(names, |_| {})
    }

    pub fn with(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap().der().clone(), key }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate, &provider()).unwrap()
    }

    pub fn server(&self) -> rustls::ServerConfig {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key.into())
            .unwrap()
    }
}

fn client() -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier> {
    rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
}

/// A client that accepts these fingerprints.
pub fn pinning(pins: impl IntoIterator<Item = Fingerprint>) -> rustls::ClientConfig {
    let verifier = Arc::new(PinnedCertificates::new(pins, provider()));
    client().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

/// A client that accepts everybody.
pub fn trusting_all() -> rustls::ClientConfig {
    let verifier = Arc::new(NoVerification::new(provider()));
    client().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

/// A client that accepts these authorities.
pub fn trusting(roots: &[&CertificateDer<'static>]) -> rustls::ClientConfig {
    let mut store = rustls::RootCertStore::empty();
    for &root in roots {
        store.add(root.clone()).unwrap();
    }
    client().with_root_certificates(store).with_no_client_auth()
}

/// A listener on loopback for both carriers, and a dialer that trusts it.
pub struct Net {
    pub identity: Identity,
    pub listener: Listener,
    pub dialer: Dialer,
}

impl Net {
    pub fn new(transport: TransportOptions) -> Self {
        let identity = Identity::new(&["localhost"]);
        let options = ListenOptions {
            alpns: vec![ALPN.to_vec()],
            webtransport: cfg!(feature = "webtransport"),
            transport: transport.clone(),
            ..ListenOptions::default()
        };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), identity.server(), options).unwrap();
        let dialer = Dialer::new(pinning([identity.fingerprint()]), transport, TIMEOUT).unwrap();
        Self { identity, listener, dialer }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address().port())
    }

    pub async fn serve(&self) -> NetConnection {
        let incoming = self.listener.accept().await.unwrap();
        incoming.accept(TIMEOUT).await.unwrap().accept().await.unwrap()
    }

    pub async fn quic(&self) -> (NetConnection, NetConnection) {
        let addresses = [self.address()];
        let alpns = [ALPN.to_vec()];
        let dial = self.dialer.connect_quic(&addresses, "localhost", &alpns);
        let (client, server) = tokio::join!(dial, self.serve());
        (client.unwrap(), server)
    }

    #[cfg(feature = "webtransport")]
    pub async fn webtransport(&self) -> (NetConnection, NetConnection) {
        let addresses = [self.address()];
        let url = self.url("/");
        let dial = self.dialer.connect_webtransport(&addresses, &url, &[]);
        let (client, server) = tokio::join!(dial, self.serve());
        (client.unwrap(), server)
    }
}

/// A listener for both carriers by `identity`.
pub fn listen(identity: &Identity) -> Listener {
    let options = ListenOptions {
        alpns: vec![ALPN.to_vec()],
        webtransport: cfg!(feature = "webtransport"),
        ..ListenOptions::default()
    };
    Listener::bind("127.0.0.1:0".parse().unwrap(), identity.server(), options).unwrap()
}

/// A dialer with the trust in `tls`.
pub fn dialer(tls: rustls::ClientConfig) -> Dialer {
    Dialer::new(tls, TransportOptions::default(), TIMEOUT).unwrap()
}
