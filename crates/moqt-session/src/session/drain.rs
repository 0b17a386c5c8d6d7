//! Leaving a session without losing what it carries.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Command, Session};
use crate::error::{RequestError, SessionError};

/// A server's wish that its client moves to another session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Drain {
    /// Where to; `None` for the URL of this session. Untrusted: the peer's words.
    pub url: Option<String>,
}

impl Session {
    /// Leaves the session within `patience`: serves nothing new, lets the peer go, and says why the session ended.
    ///
    /// New subscriptions and fetches are refused with [`Reason::GoingAway`](crate::Reason::GoingAway). Then:
    ///
    /// - A client that knows the signal is asked to move to `url`, `None` for the same place, and goes by itself when
    ///   it has; until then its subscriptions run on.
    /// - Any other peer, a server among them, sees every name of ours end and its subscriptions end after the groups
    ///   that have begun; `url` is not used. When it has those, the session ends.
    ///
    /// After `patience` the session is closed with the code for going away, whatever is left. A second call changes
    /// nothing of the first. Our own subscriptions last as long as the session.
    ///
    /// # Errors
    ///
    /// [`RequestError::Encode`]: the URL is too long to be said; nothing has changed.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it goes on.
    ///
    /// Spec: an extension of ours, `0x0f05`.
    pub async fn drain(&self, url: Option<String>, patience: Duration) -> Result<SessionError, RequestError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Drain { url, patience, reply };
        if self.inner.commands.send(Box::new(command)).await.is_ok()
            && let Ok(Err(error)) = answer.await
        {
            return Err(error);
        }
        Ok(self.closed().await)
    }

    /// Waits until the server asks this client to move. Only servers whose session agreed on it ever do.
    ///
    /// # Errors
    ///
    /// Why the session ended, where it did without that.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn draining(&self) -> Result<Drain, SessionError> {
        let mut state = self.inner.state.clone();
        let asked = state.wait_for(|state| state.drain.is_some() || state.closed.is_some()).await;
        match asked.ok().and_then(|state| state.drain.clone()) {
            Some(drain) => Ok(drain),
            None => Err(self.closed().await),
        }
    }
}
