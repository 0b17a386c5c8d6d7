//! Errors that a user can do something about, and what.

use std::{net::SocketAddr, sync::Arc};

use moqt_session::SessionError;
use moqt_transport::{CertificateProblem, DialError, ListenError};

use crate::{certificate::CertificateError, url::Url};

/// Why there is no session with a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The trusted roots could not be read.
    #[error("cannot use the trusted certificates")]
    Roots(#[from] CertificateError),
    /// No socket could be had.
    #[error("cannot open a socket")]
    Socket(#[source] Arc<std::io::Error>),
    /// The fingerprint of the server's certificate could not be fetched.
    #[error("cannot fetch the certificate fingerprint from {url}: {message}")]
    Fingerprint {
        /// What was asked.
        url: String,
        /// What went wrong.
        message: String,
    },
    /// There is no connection.
    #[error("cannot connect to {url}")]
    Dial {
        /// Where to.
        url: Url,
        /// Why.
        #[source]
        source: DialError,
    },
    /// The connection is there, the session is not.
    #[error("no session with {url}")]
    Session {
        /// With whom.
        url: Url,
        /// Why.
        #[source]
        source: SessionError,
    },
}

impl ConnectError {
    /// What the user can do about it, in a few words.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Roots(_) => "give a PEM file with certificates",
            Self::Fingerprint { .. } => {
                "is the relay running with --dev or --http, on this host and port? otherwise use https://"
            }
            Self::Dial { source, .. } => match source {
                DialError::Dns { .. } | DialError::NoAddress => "check the host name",
                DialError::TimedOut(_) | DialError::Unreachable { .. } => {
                    "is the relay running there, and is the UDP port reachable?"
                }
                DialError::Certificate { problem: CertificateProblem::NotPinned, .. } => {
                    "the certificate is another one than the pinned; compare the fingerprints"
                }
                DialError::Certificate { problem: CertificateProblem::WrongName, .. } => {
                    "connect by a name that the certificate is for"
                }
                DialError::Certificate { .. } => {
                    "trust it with --tls-root FILE or --tls-fingerprint HEX, or use http:// for a --dev relay"
                }
                DialError::NoCommonProtocol => {
                    "the server does not speak this; try https:// instead of moqf://, or the reverse"
                }
                DialError::Rejected { status: 401 | 403, .. } => {
                    "the server does not let this client in; check path and credentials"
                }
                DialError::Rejected { status: 429 | 503, .. } => {
                    "the server takes nobody now; try again later"
                }
                DialError::Rejected { .. } => "the server turned the request down; check the path",
                _ => return None,
            },
            Self::Session { source: SessionError::Version { .. }, .. } => {
                "the server speaks no version that we do"
            }
            Self::Session { source: SessionError::HandshakeTimeout, .. } => {
                "something answers there, but it does not speak MoQ Transfork"
            }
            _ => return None,
        })
    }
}

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The certificate cannot be used.
    #[error("cannot use the certificate")]
    Certificate(#[from] CertificateError),
    /// Another process has the port.
    #[error("{0} is in use")]
    InUse(SocketAddr),
    /// The socket could not be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: ListenError,
    },
}

impl BindError {
    pub(crate) fn new(address: SocketAddr, source: ListenError) -> Self {
        match &source {
            ListenError::Bind { source: error, .. } if error.kind() == std::io::ErrorKind::AddrInUse => {
                Self::InUse(address)
            }
            _ => Self::Listen { address, source },
        }
    }

    /// What the user can do about it, in a few words.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::InUse(_) => "stop the other process, or choose another port with --bind",
            Self::Certificate(_) => "check the files, or let one be made with --tls-generate",
            Self::Listen { source: ListenError::Unshared, .. } => "let all clients have one socket",
            Self::Listen { .. } => "check the address",
        })
    }
}
