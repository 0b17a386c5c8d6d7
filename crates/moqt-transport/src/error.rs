//! One error for each kind of operation: connection, write, read.

use std::{error::Error, sync::Arc};

use crate::Code;

/// Why a connection ended. Every operation pending on it ends with a clone of this.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer closed the connection, with its code and its words.
    #[error("closed by peer with code {code}{}{reason}", if reason.is_empty() { "" } else { ": " })]
    Closed {
        /// The application code that the peer gave.
        code: Code,
        /// The peer's words, lossily read as UTF-8; untrusted.
        reason: String,
    },
    /// We closed it.
    #[error("closed locally")]
    LocallyClosed,
    /// Nothing was heard from the peer for the idle timeout, or the handshake took too long.
    #[error("timed out")]
    TimedOut,
    /// The peer forgot this connection, for example because it restarted.
    #[error("reset by peer")]
    Reset,
    /// The carrier failed: QUIC, TLS or HTTP/3 broke a rule or refused the other side.
    #[error("transport failed")]
    Transport(#[source] Arc<dyn Error + Send + Sync>),
}

/// Why bytes could not be written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The peer does not want the rest of this stream.
    #[error("stopped by peer with code {0}")]
    Stopped(Code),
    /// The stream was already finished or reset on our side.
    #[error("stream is closed")]
    Closed,
    /// The connection ended.
    #[error("connection ended")]
    Connection(#[from] ConnectionError),
}

/// Why bytes could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The peer gave the stream up; bytes not yet read are lost.
    #[error("reset by peer with code {0}")]
    Reset(Code),
    /// We stopped this stream before.
    #[error("stream is closed")]
    Closed,
    /// The connection ended.
    #[error("connection ended")]
    Connection(#[from] ConnectionError),
}
