//! Why a relay does not start, or how it ended.

use std::{error::Error, fmt::Write as _, io, net::SocketAddr};

use moqt::BindError;

/// Why a relay cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The UDP port cannot be had.
    #[error(transparent)]
    Udp(#[from] BindError),
    /// The TCP port for HTTP is in use.
    #[error("{0} is in use over TCP")]
    HttpInUse(SocketAddr),
    /// The TCP port for HTTP cannot be had.
    #[error("cannot listen on {address} over TCP")]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Hosts keep scopes apart here, and relays above would not know them.
    #[error("scopes by host and relays above do not go together")]
    HostsUpstream,
    /// A thread for clients could not be started.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
    /// There is no address to listen on.
    #[error("no address to listen on")]
    NoAddress,
}

impl StartError {
    /// What the user can do about it, in a few words.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Udp(error) => error.hint(),
            Self::HttpInUse(_) => {
                Some("stop the other process, or choose another address with --http (with --dev: --bind)")
            }
            Self::Http { .. } => Some("check the address"),
            Self::HostsUpstream => Some("drop --scope-by-host or --upstream"),
            Self::Worker(_) => Some("take fewer --workers"),
            Self::NoAddress => Some("give one with --bind"),
        }
    }
}

/// The command line is wrong in a way that its grammar does not show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The user pressed Ctrl-C, and everything was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// The exit status for what [`run`](crate::run) failed with: 2 for wrong usage, 130 for Ctrl-C, else 1.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        2
    } else if error.is::<Interrupted>() {
        130
    } else {
        1
    }
}

/// One line: what went wrong, what was underneath, and what to do.
pub(crate) fn explain(error: &dyn Error, hint: Option<&str>) -> anyhow::Error {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(line, ": {error}");
        cause = error.source();
    }
    if let Some(hint) = hint {
        let _ = write!(line, "; {hint}");
    }
    anyhow::Error::msg(line)
}
