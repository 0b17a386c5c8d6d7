//! Who may do what: a hook for those who embed the relay.

use std::{fmt::Debug, net::SocketAddr, sync::Arc};

use moqt::{Carrier, FullTrackName, Namespace, Reason, Version};

/// A client, as it came. All texts are its own words and prove nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Visitor {
    /// Where it is.
    pub remote: SocketAddr,
    /// How its bytes travel.
    pub carrier: Carrier,
    /// The version that it speaks.
    pub version: Version,
    /// The host that it asked for, with a port over WebTransport; `None` where the carrier does not say.
    pub authority: Option<String>,
    /// Path and query that it asked for; the place for a token.
    pub path: String,
}

/// Decides what clients may do. Asked on the sessions' tasks, so answers must not wait for anything: what takes time,
/// such as keys, is to be fetched before.
///
/// The reason of a refusal is what the client is told; [`Reason::Unauthorized`] is the ordinary one. Names are not
/// hidden from clients that may not subscribe to them: scopes are what keeps names apart.
pub trait Authorize: Debug + Send + Sync + 'static {
    /// Whether the client may have a session at all.
    ///
    /// # Errors
    ///
    /// Why not; the session is closed with it.
    fn begin(&self, visitor: &Visitor) -> Result<(), Reason> {
        let _ = visitor;
        Ok(())
    }

    /// Whether the client may subscribe to the track, fetch of it, and ask about it.
    ///
    /// # Errors
    ///
    /// Why not; the request is refused with it.
    fn subscribe(&self, visitor: &Visitor, name: &FullTrackName) -> Result<(), Reason> {
        let _ = (visitor, name);
        Ok(())
    }

    /// Whether the client may publish under the name.
    ///
    /// # Errors
    ///
    /// Why not; the announcement is ignored, since announcements have no answer, and counted.
    fn publish(&self, visitor: &Visitor, name: &Namespace) -> Result<(), Reason> {
        let _ = (visitor, name);
        Ok(())
    }
}

/// What one client may do.
#[derive(Clone, Debug)]
pub(crate) struct Permissions {
    hook: Option<Arc<dyn Authorize>>,
    visitor: Arc<Visitor>,
}

impl Permissions {
    pub(crate) fn new(hook: Option<Arc<dyn Authorize>>, visitor: Visitor) -> Self {
        Self { hook, visitor: Arc::new(visitor) }
    }

    fn ask(
        &self,
        question: impl FnOnce(&dyn Authorize, &Visitor) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.hook.as_deref().map_or(Ok(()), |hook| question(hook, &self.visitor))
    }

    pub(crate) fn begin(&self) -> Result<(), Reason> {
        self.ask(|hook, visitor| hook.begin(visitor))
    }

    pub(crate) fn subscribe(&self, name: &FullTrackName) -> Result<(), Reason> {
        self.ask(|hook, visitor| hook.subscribe(visitor, name))
    }

    pub(crate) fn publish(&self, name: &Namespace) -> Result<(), Reason> {
        self.ask(|hook, visitor| hook.publish(visitor, name))
    }
}
