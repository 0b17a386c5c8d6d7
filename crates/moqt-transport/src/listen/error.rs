//! Why nobody can connect, and why one client did not.

use std::{error::Error, io, net::SocketAddr, sync::Arc};

use crate::ConnectionError;

/// Why a [`Listener`](super::Listener) could not be had.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The system did not give us the socket.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address wanted.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The TLS configuration cannot serve QUIC: it lacks TLS 1.3 or a cipher suite.
    #[error("unusable TLS configuration")]
    Tls(#[source] Arc<dyn Error + Send + Sync>),
    /// There is no ALPN to offer.
    #[error("no protocol to offer")]
    NoProtocol,
    /// The port is not one for several listeners, or the system does not spread clients over them.
    #[error("several sockets on one port are not to be had")]
    Unshared,
}

impl ListenError {
    pub(crate) fn bind(address: SocketAddr, error: io::Error) -> Self {
        Self::Bind { address, source: Arc::new(error) }
    }
}

/// Why a client did not get its connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The handshakes took the client too long.
    #[error("handshake timed out")]
    TimedOut,
    /// The client offered none of our ALPNs.
    #[error("no common protocol")]
    NoCommonProtocol,
    /// The connection ended before.
    #[error("connection ended")]
    Connection(#[source] ConnectionError),
}

impl From<ConnectionError> for AcceptError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl From<quinn::ConnectionError> for AcceptError {
    fn from(error: quinn::ConnectionError) -> Self {
        match error {
            quinn::ConnectionError::TransportError(error)
                if error.code == quinn::TransportErrorCode::crypto(crate::tls::ALERT_NO_PROTOCOL) =>
            {
                Self::NoCommonProtocol
            }
            error => Self::Connection(error.into()),
        }
    }
}

#[cfg(feature = "webtransport")]
impl From<crate::webtransport::HandshakeError> for AcceptError {
    fn from(error: crate::webtransport::HandshakeError) -> Self {
        match error {
            crate::webtransport::HandshakeError::TimedOut => Self::TimedOut,
            error => Self::Connection(error.into()),
        }
    }
}
