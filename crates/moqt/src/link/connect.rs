//! Sessions as those see them who use whichever is the current one.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use moqt_session::{Origin, Session, SessionError};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::Reconnect;
use crate::{Client, Url, error::ConnectError};

/// A session on its way.
pub type Connecting = Pin<Box<dyn Future<Output = Result<Session, ConnectError>> + Send>>;

/// Opens sessions for a [`Link`](crate::Link): a [`Client`], or a function of the same shape.
pub trait Connect: Send + Sync + 'static {
    /// Opens a session that serves the server from `origin`.
    fn connect(&self, url: Url, origin: Arc<dyn Origin>) -> Connecting;
}

impl Connect for Client {
    fn connect(&self, url: Url, origin: Arc<dyn Origin>) -> Connecting {
        let client = self.clone();
        Box::pin(async move { client.connect_with(&url, origin).await })
    }
}

impl<F> Connect for F
where
    F: Fn(Url, Arc<dyn Origin>) -> Connecting + Send + Sync + 'static,
{
    fn connect(&self, url: Url, origin: Arc<dyn Origin>) -> Connecting {
        self(url, origin)
    }
}

/// Why a [`Link`](crate::Link) has no session any more, and will have none.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// We ended it.
    #[error("closed locally")]
    Closed,
    /// The connection was lost, and did not come back within [`Reconnect::patience`].
    #[error("connection lost")]
    GaveUp {
        /// How it was lost.
        #[source]
        lost: SessionError,
        /// What the last attempt came to, if there was one that came to an end.
        last: Option<Arc<ConnectError>>,
    },
}

/// The session of the moment, and what says that somebody uses it.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) session: Session,
    /// Counts sessions.
    pub(super) generation: u64,
    pub(super) _user: mpsc::Sender<Infallible>,
}

/// What the link's task tells of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Current {
    pub(super) lease: Option<Lease>,
    pub(super) over: Option<LinkError>,
}

/// A view of the link that does not keep it open.
#[derive(Clone, Debug)]
pub(super) struct Ears {
    pub(super) current: watch::Receiver<Current>,
    pub(super) policy: Reconnect,
}

impl Ears {
    /// Waits for a session that is not among the first `generation`.
    pub(super) async fn after(&self, generation: u64) -> Result<Lease, LinkError> {
        let mut current = self.current.clone();
        let newer = |current: &Current| {
            current.over.is_some()
                || current.lease.as_ref().is_some_and(|lease| lease.generation > generation)
        };
        match current.wait_for(newer).await {
            Ok(current) => match (&current.over, &current.lease) {
                (None, Some(lease)) => Ok(lease.clone()),
                (over, _) => Err(over.clone().unwrap_or(LinkError::Closed)),
            },
            Err(_) => Err(LinkError::Closed),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tokio's clock, virtual in tests; the facade is part of the shell"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a link lives beside the sessions that it opens, each with a task"
)]
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Waits for `future` until `deadline`, if there is one.
pub(super) async fn until<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
    }
}

pub(super) fn deadline(patience: Option<Duration>) -> Option<Instant> {
    patience.and_then(|patience| now().checked_add(patience))
}
