//! Handles to one end of a simulated connection.

use std::{
    fmt,
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use moqt_transport::{Carrier, Code, Connection, ConnectionError, Stats};

use crate::{
    Counters, LinkControl, Side, SimRecvStream, SimSendStream,
    net::{Endpoint, driver::Shared, packet::Dir},
};

/// One end, held by connections and streams; closes when the last of them goes.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) side: Side,
}

impl Handle {
    /// Does something to this end.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Endpoint) -> R) -> R {
        self.shared.with(|pair| act(pair.ends.get_mut(self.side)))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.with(|end| end.close(Code::NONE, ""));
    }
}

/// One end of a simulated connection; clones are handles to the same one.
///
/// Beside what [`Connection`] says: streams appear at the peer in the order of their opening, and the first
/// byte of a stream makes those opened before it appear too, as in QUIC.
#[derive(Clone)]
pub struct SimConnection {
    handle: Arc<Handle>,
}

impl SimConnection {
    pub(crate) fn new(shared: Arc<Shared>, side: Side) -> Self {
        Self { handle: Arc::new(Handle { shared, side }) }
    }

    /// Which end this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.handle.side
    }

    /// Vanishes without a word, as a process that is killed.
    ///
    /// The peer sees [`ConnectionError::TimedOut`] after its idle timeout; operations on this end fail with
    /// [`ConnectionError::LocallyClosed`].
    pub fn kill(&self) {
        self.handle.with(Endpoint::kill);
    }

    /// Forgets the connection, as a process that was killed and started again.
    ///
    /// The peer sees [`ConnectionError::Reset`] soon after it next sends something; operations on this end
    /// fail with [`ConnectionError::LocallyClosed`].
    pub fn forget(&self) {
        self.handle.with(Endpoint::forget);
    }

    /// What this end has sent and received so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.handle.with(|end| end.counters)
    }

    /// Both directions of the path, to change while it is in use.
    #[must_use]
    pub fn link(&self) -> LinkControl {
        LinkControl::new(Arc::clone(&self.handle.shared), vec![Side::Client, Side::Server])
    }

    /// The direction that carries what this end sends.
    #[must_use]
    pub fn outgoing(&self) -> LinkControl {
        LinkControl::new(Arc::clone(&self.handle.shared), vec![self.handle.side])
    }

    /// The direction that carries what the peer sends.
    #[must_use]
    pub fn incoming(&self) -> LinkControl {
        LinkControl::new(Arc::clone(&self.handle.shared), vec![self.handle.side.other()])
    }
}

impl fmt::Debug for SimConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimConnection").field("side", &self.handle.side).finish_non_exhaustive()
    }
}

impl Connection for SimConnection {
    type SendStream = SimSendStream;
    type RecvStream = SimRecvStream;

    async fn open_bi(&self) -> Result<(SimSendStream, SimRecvStream), ConnectionError> {
        let id = poll_fn(|cx| self.handle.with(|end| end.poll_open(Dir::Bi, cx.waker()))).await?;
        Ok((SimSendStream::new(&self.handle, id), SimRecvStream::new(&self.handle, id)))
    }

    async fn open_uni(&self) -> Result<SimSendStream, ConnectionError> {
        let id = poll_fn(|cx| self.handle.with(|end| end.poll_open(Dir::Uni, cx.waker()))).await?;
        Ok(SimSendStream::new(&self.handle, id))
    }

    async fn accept_bi(&self) -> Result<(SimSendStream, SimRecvStream), ConnectionError> {
        let id = poll_fn(|cx| self.handle.with(|end| end.poll_accept(Dir::Bi, cx.waker()))).await?;
        Ok((SimSendStream::new(&self.handle, id), SimRecvStream::new(&self.handle, id)))
    }

    async fn accept_uni(&self) -> Result<SimRecvStream, ConnectionError> {
        let id = poll_fn(|cx| self.handle.with(|end| end.poll_accept(Dir::Uni, cx.waker()))).await?;
        Ok(SimRecvStream::new(&self.handle, id))
    }

    fn close(&self, code: Code, reason: &str) {
        self.handle.with(|end| end.close(code, reason));
    }

    async fn closed(&self) -> ConnectionError {
        poll_fn(|cx| self.handle.with(|end| end.poll_closed(cx.waker()))).await
    }

    fn stats(&self) -> Stats {
        self.handle.with(|end| end.stats())
    }

    fn carrier(&self) -> Carrier {
        Carrier::Simulated
    }

    /// A made-up loopback address, different for each side.
    fn remote_address(&self) -> Option<SocketAddr> {
        let port = match self.handle.side {
            Side::Client => 443,
            Side::Server => 50_000,
        };
        Some((Ipv4Addr::LOCALHOST, port).into())
    }
}
