//! Why a connection could not be opened.

use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};

use crate::{ConnectionError, tls::ALERT_NO_PROTOCOL};

/// Why a connection could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host's addresses could not be found.
    #[error("cannot resolve {host}")]
    Dns {
        /// The host as given.
        host: String,
        /// What the resolver said.
        source: Arc<io::Error>,
    },
    /// There was no address to try.
    #[error("no address to connect to")]
    NoAddress,
    /// This machine has no way to the address, for example no IPv6.
    #[error("{address} is unreachable from here")]
    Unreachable {
        /// The address tried.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Nothing listens there, packets get lost, or the server is too slow: QUIC cannot tell.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The server is there and takes no connection now.
    #[error("connection refused by server")]
    Refused,
    /// We do not trust the server's certificate.
    #[error("server certificate not accepted: {problem}")]
    Certificate {
        /// What is wrong with it.
        problem: CertificateProblem,
        /// The TLS library's words.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The server speaks none of the offered protocols (ALPN).
    #[error("no common protocol with server")]
    NoCommonProtocol,
    /// TLS failed in another way. By the server's alert it may want a certificate of ours.
    #[error("TLS handshake failed with alert {alert}")]
    Tls {
        /// The number of the TLS alert, whichever side sent it.
        alert: u8,
        /// What the transport said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The server answered the request for a WebTransport session with a refusal.
    #[error("rejected by server with status {status}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The lines of its answer, in the order sent; untrusted.
        headers: Vec<(String, String)>,
    },
    /// The server name, the URL, a header or the TLS configuration cannot be used.
    #[error("invalid connection parameters")]
    Invalid(#[source] Arc<dyn Error + Send + Sync>),
    /// The connection ended during its handshakes.
    #[error("connection ended during handshake")]
    Connection(#[source] ConnectionError),
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// No trusted authority stands behind it.
    #[error("unknown issuer")]
    UnknownIssuer,
    /// Its time is over, or has not come.
    #[error("expired or not yet valid")]
    Expired,
    /// It is for other names.
    #[error("not valid for this name")]
    WrongName,
    /// Its fingerprint is not among the pinned ones.
    #[error("fingerprint not pinned")]
    NotPinned,
    /// It was revoked.
    #[error("revoked")]
    Revoked,
    /// Malformed, wrongly signed, or made for another purpose.
    #[error("unusable")]
    Unusable,
}

impl DialError {
    pub(super) fn dns(host: &str, error: impl Into<io::Error>) -> Self {
        Self::Dns { host: host.to_owned(), source: Arc::new(error.into()) }
    }

    pub(super) fn unreachable(address: SocketAddr, error: io::Error) -> Self {
        Self::Unreachable { address, source: Arc::new(error) }
    }

    /// Keeps of two failures the one that got further, of equals the earlier.
    pub(super) fn or(self, other: Self) -> Self {
        if other.progress() > self.progress() { other } else { self }
    }

    fn progress(&self) -> u8 {
        match self {
            Self::NoAddress => 0,
            Self::Dns { .. } | Self::Unreachable { .. } | Self::Invalid(_) => 1,
            Self::TimedOut(_) => 2,
            Self::Refused | Self::Connection(_) => 3,
            Self::Certificate { .. } | Self::NoCommonProtocol | Self::Tls { .. } => 4,
            Self::Rejected { .. } => 5,
        }
    }

    /// `silence` is how long an end may be quiet.
    pub(super) fn from_quic(error: quinn::ConnectionError, silence: Duration) -> Self {
        use quinn::{ConnectionError as Quic, TransportErrorCode};

        match &error {
            Quic::TimedOut => return Self::TimedOut(silence),
            Quic::TransportError(ours) => {
                if let Some(alert) = alert(ours.code.into()) {
                    return Self::from_our_alert(alert, &ours.reason.clone(), error);
                }
            }
            Quic::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                return Self::Refused;
            }
            Quic::ConnectionClosed(close) => {
                if let Some(alert) = alert(close.error_code.into()) {
                    return Self::from_their_alert(alert, error);
                }
            }
            _ => {}
        }
        Self::Connection(error.into())
    }

    #[cfg(feature = "webtransport")]
    pub(super) fn from_handshake(
        error: crate::webtransport::HandshakeError,
        timeout: Duration,
        silence: Duration,
    ) -> Self {
        use crate::webtransport::HandshakeError;

        match error {
            HandshakeError::Quic(error) => Self::from_quic(error, silence),
            HandshakeError::Http3(error) => Self::Connection(error),
            HandshakeError::Rejected { status, headers } => Self::Rejected { status, headers },
            HandshakeError::TimedOut => Self::TimedOut(timeout),
        }
    }

    /// Of an alert that we sent; TLS gives each kind of problem its number.
    fn from_our_alert(alert: u8, words: &str, source: impl Error + Send + Sync + 'static) -> Self {
        let source = Arc::new(source);
        let problem = match alert {
            // bad_certificate stands for names and for encodings.
            42 if words.contains("not valid for") || words.contains("NotValidForName") => {
                CertificateProblem::WrongName
            }
            // unsupported_certificate, certificate_unknown, decrypt_error
            42 | 43 | 46 | 51 => CertificateProblem::Unusable,
            // certificate_revoked
            44 => CertificateProblem::Revoked,
            // certificate_expired
            45 => CertificateProblem::Expired,
            // unknown_ca
            48 => CertificateProblem::UnknownIssuer,
            // access_denied: the verifier's own rule
            49 => CertificateProblem::NotPinned,
            ALERT_NO_PROTOCOL => return Self::NoCommonProtocol,
            alert => return Self::Tls { alert, source },
        };
        Self::Certificate { problem, source }
    }

    /// Of an alert that the server sent: whatever it is, it is not about the server's certificate.
    fn from_their_alert(alert: u8, source: impl Error + Send + Sync + 'static) -> Self {
        match alert {
            ALERT_NO_PROTOCOL => Self::NoCommonProtocol,
            alert => Self::Tls { alert, source: Arc::new(source) },
        }
    }
}

/// The TLS alert in a QUIC transport error code.
fn alert(code: u64) -> Option<u8> {
    code.checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}
