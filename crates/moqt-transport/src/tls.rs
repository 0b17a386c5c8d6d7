//! Ways to trust a server that are not a chain of certificates.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, hash::HashAlgorithm},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// TLS: the two sides have no protocol (ALPN) in common.
pub(crate) const ALERT_NO_PROTOCOL: u8 = 120;

/// The SHA-256 of a certificate in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint of a certificate with the hash of a cryptography provider.
    ///
    /// `None` when the provider has no SHA-256, or reports another length for it.
    pub fn of(certificate: &CertificateDer<'_>, provider: &CryptoProvider) -> Option<Self> {
        let hash = provider
            .cipher_suites
            .iter()
            .filter_map(|suite| suite.tls13())
            .map(|suite| suite.common.hash_provider)
            .find(|hash| hash.algorithm() == HashAlgorithm::SHA256)?
            .hash(certificate);
        hash.as_ref().try_into().ok().map(Self)
    }
}

/// Lower-case hex without separators.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text is not 64 hex digits, colons aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hex digits")]
pub struct ParseFingerprintError;

/// Hex in either case; colons between bytes and space around are ignored.
impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        let mut digits = text.trim().chars().filter(|&c| c != ':').map(|c| c.to_digit(16));
        let mut next = || digits.next().flatten().ok_or(ParseFingerprintError);
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            // Two digits below 16 make one byte.
            *byte = (next()? * 16 + next()?) as u8;
        }
        if digits.next().is_some() { Err(ParseFingerprintError) } else { Ok(Self(bytes)) }
    }
}

/// Accepts a server by the fingerprint of its certificate, whoever issued it, for whatever name and time.
///
/// A certificate that is not pinned fails as [`CertificateProblem::NotPinned`](crate::CertificateProblem).
#[derive(Clone, Debug)]
pub struct PinnedCertificates {
    pins: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl PinnedCertificates {
    /// Pins `pins`, by the cryptography of `provider`.
    pub fn new(pins: impl IntoIterator<Item = Fingerprint>, provider: Arc<CryptoProvider>) -> Self {
        Self { pins: pins.into_iter().collect(), provider }
    }
}

/// Accepts every server. For tests and experiments: anyone on the path can read and change everything.
#[derive(Clone, Debug)]
pub struct NoVerification(Arc<CryptoProvider>);

impl NoVerification {
    /// Verifies nothing but the handshake's own signatures, by the cryptography of `provider`.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for PinnedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match Fingerprint::of(end_entity, &self.provider) {
            Some(found) if self.pins.contains(&found) => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms(&self.provider))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms(&self.provider))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms(&self.provider).supported_schemes()
    }
}

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms(&self.0))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms(&self.0))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms(&self.0).supported_schemes()
    }
}

fn algorithms(provider: &CryptoProvider) -> WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_sha_256_and_survives_its_text() {
        // SHA-256 of "abc", the standard's own example.
        let found = Fingerprint::of(&b"abc"[..].into(), &rustls::crypto::ring::default_provider()).unwrap();
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(found.to_string(), text);
        assert_eq!(text.parse(), Ok(found));
        assert_eq!(text.to_uppercase().replace("BA78", " ba:78:").parse(), Ok(found));
    }

    #[test]
    fn a_text_of_another_length_or_alphabet_is_no_fingerprint() {
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(text.parse::<Fingerprint>(), Err(ParseFingerprintError));
        }
    }
}
