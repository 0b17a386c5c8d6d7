//! Which servers a client trusts.

use std::{path::PathBuf, sync::Arc};

use moqt_transport::{Fingerprint, NoVerification, PinnedCertificates};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{certificate::CertificateError, error::ConnectError};

/// Which servers a client trusts. By default those that the system's root certificates vouch for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClientTls {
    /// PEM files with root certificates, beside the system's.
    pub roots: Vec<PathBuf>,
    /// Certificates that are trusted by their SHA-256, whoever issued them. Where there are any, nothing else is
    /// trusted.
    pub fingerprints: Vec<Fingerprint>,
    /// Trusts everybody; for experiments only.
    pub disable_verify: bool,
}

impl ClientTls {
    pub(crate) fn config(&self) -> Result<rustls::ClientConfig, ConnectError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| ConnectError::Roots(error.into()))?;
        if self.disable_verify {
            let verifier = Arc::new(NoVerification::new(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
        }
        if !self.fingerprints.is_empty() {
            let pins = PinnedCertificates::new(self.fingerprints.iter().copied(), provider);
            let verifier = Arc::new(pins);
            return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
        }
        let mut roots = RootCertStore::empty();
        // A system without roots still reaches servers that the given files vouch for.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for path in &self.roots {
            let before = roots.len();
            let read = |source| CertificateError::Read { path: path.clone(), source };
            for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
                roots.add(certificate.map_err(read)?).map_err(CertificateError::from)?;
            }
            if roots.len() == before {
                return Err(CertificateError::Empty { path: path.clone() }.into());
            }
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}
