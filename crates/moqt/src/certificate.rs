//! A server's certificate and its key.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use moqt_transport::Fingerprint;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// A certificate chain and the private key of its first certificate.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// As PEM, where we made it.
    pem: Option<(String, String)>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file could not be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file holds no certificate.
    #[error("{path} holds no certificate in PEM", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// No certificate could be made for these hosts and this time.
    #[error("cannot make a certificate")]
    Generate(#[from] rcgen::Error),
    /// The key does not fit the certificate, or the library cannot use it.
    #[error("certificate and key cannot be used together")]
    Unusable(#[from] rustls::Error),
}

impl Certificate {
    /// Longest time for which browsers accept a self-signed certificate by its fingerprint, in days.
    pub const MAX_DAYS: u32 = 14;

    /// Makes a self-signed certificate with an ECDSA P-256 key for `hosts` (names and IP addresses), valid from
    /// now for `days`.
    ///
    /// Browsers accept it by its fingerprint as long as `days` is at most [`MAX_DAYS`](Self::MAX_DAYS).
    ///
    /// # Errors
    ///
    /// [`CertificateError::Generate`]: a host is neither a name nor an address.
    pub fn generate(hosts: &[String], days: u32) -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(hosts.to_vec())?;
        params.distinguished_name = DistinguishedName::new();
        // No two have the same subject: of a namesake among the trusted roots TLS would say that the signature is bad,
        // not that the issuer is unknown.
        let mark: String =
            key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
        let host = hosts.first().map_or("moqt", String::as_str);
        params.distinguished_name.push(DnType::CommonName, format!("{host} {mark}"));
        let now = now();
        // Clocks differ; browsers count the whole span, so the hour comes off its end.
        params.not_before = now - rcgen_hours(1);
        params.not_after = params.not_before + rcgen_hours(24 * i64::from(days));
        let certificate = params.self_signed(&key)?;
        let pem = (certificate.pem(), key.serialize_pem());
        let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(Self(Arc::new(Inner { chain: vec![certificate.der().clone()], key: der, pem: Some(pem) })))
    }

    /// Reads a chain and a key from PEM files.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be used.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, CertificateError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            |source| CertificateError::Read { path, source }
        };
        let certificates = CertificateDer::pem_file_iter(chain)
            .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
            .map_err(read(chain))?;
        if certificates.is_empty() {
            return Err(CertificateError::Empty { path: chain.to_owned() });
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(read(key))?;
        Ok(Self(Arc::new(Inner { chain: certificates, key, pem: None })))
    }

    /// The SHA-256 of the certificate, by which clients can pin it.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let provider = rustls::crypto::ring::default_provider();
        self.0.chain.first().and_then(|certificate| Fingerprint::of(certificate, &provider))
    }

    /// The certificate as PEM; `None` for a loaded one.
    #[must_use]
    pub fn certificate_pem(&self) -> Option<&str> {
        self.0.pem.as_ref().map(|(certificate, _)| certificate.as_str())
    }

    /// The private key as PEM; `None` for a loaded one.
    #[must_use]
    pub fn key_pem(&self) -> Option<&str> {
        self.0.pem.as_ref().map(|(_, key)| key.as_str())
    }

    /// A TLS configuration that shows this certificate to everybody.
    pub(crate) fn server_config(&self) -> Result<rustls::ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(self.0.chain.clone(), self.0.key.clone_key())?;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_methods, reason = "a certificate begins now")]
fn now() -> time::OffsetDateTime {
    std::time::SystemTime::now().into()
}

fn rcgen_hours(hours: i64) -> time::Duration {
    time::Duration::hours(hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_certificate_reads_back_from_its_files() {
        let made =
            Certificate::generate(&["localhost".into(), "127.0.0.1".into(), "::1".into()], 10).unwrap();
        let folder = std::env::temp_dir().join(format!("moqt-certificate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&chain, made.certificate_pem().unwrap()).unwrap();
        std::fs::write(&key, made.key_pem().unwrap()).unwrap();
        let loaded = Certificate::load(&chain, &key).unwrap();
        assert_eq!(loaded.fingerprint(), made.fingerprint());
        loaded.server_config().unwrap();

        let swapped = Certificate::load(&key, &chain).unwrap_err();
        assert!(matches!(swapped, CertificateError::Empty { .. }), "{swapped}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Certificate::load(Path::new("no-such.pem"), Path::new("no-such.key")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read no-such.pem");
    }
}
