//! Several listeners on one port.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::SocketAddr,
    sync::Arc,
};

use quinn_proto::HashedConnectionIdGenerator;
use socket2::Socket;

use super::{ListenError, ListenOptions, Listener, new_endpoint};
use crate::options;

/// What each listener on a port begins with.
///
/// They have their secrets in common: so a client of one that comes to another, as its address has changed, is told at
/// once that its connection is lost.
#[derive(Debug)]
pub(super) struct Share {
    address: SocketAddr,
    endpoint: quinn::EndpointConfig,
    server: quinn::ServerConfig,
}

impl Share {
    /// The first listener on a port.
    pub(super) fn begin(
        address: SocketAddr,
        server: quinn::ServerConfig,
        options: Arc<ListenOptions>,
    ) -> Result<Listener, ListenError> {
        let address = take(address).map_err(|error| ListenError::bind(address, error))?;
        let key = RandomState::new().hash_one(address);
        let mut endpoint = quinn::EndpointConfig::default();
        endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        Arc::new(Self { address, endpoint, server }).listener(options)
    }

    /// The next one on the port.
    pub(super) fn listener(self: &Arc<Self>, options: Arc<ListenOptions>) -> Result<Listener, ListenError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::Unsupported => ListenError::Unshared,
            _ => ListenError::bind(self.address, error),
        };
        let (socket, buffers) =
            options::bind(self.address, options.transport.socket_buffer, reuse_port).map_err(failed)?;
        let endpoint = new_endpoint(self.endpoint.clone(), self.server.clone(), socket).map_err(failed)?;
        Ok(Listener { endpoint, options, buffers, share: Some(Arc::clone(self)) })
    }
}

/// Takes a port that nobody else has, for several sockets.
fn take(address: SocketAddr) -> io::Result<SocketAddr> {
    // Others that share their port would be joined without a word.
    let (free, _) = options::bind(address, 0, |_| Ok(()))?;
    free.local_addr()
}

/// Linux and FreeBSD spread clients over the sockets; elsewhere one would have them all.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
