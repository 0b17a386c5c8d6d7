//! A session, as its scope knows it.

use moqt::{Namespace, Subscriber, Version};
use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinSet},
};
use tracing::{debug, warn};

use crate::router::{Level, SessionId};

/// One session, with what it is asked: dropped, all of it ends.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) level: Level,
    /// Known once the session has begun.
    pub(super) subscriber: Option<Subscriber>,
    /// What its peer can be told depends on it; known once the session has begun.
    pub(super) version: Option<Version>,
    /// Whether a name was left out that its version cannot write.
    pub(super) left_out: bool,
    /// Requests under way. They are started under the lock of the state, so what they hold must not need it
    /// when it is dropped.
    pub(super) asks: JoinSet<()>,
    pub(super) runtime: Handle,
}

impl Member {
    /// Whether the session's version has no way to write the name. Nobody else would say so: to its peer there is
    /// no such track.
    pub(super) fn leaves_out(&mut self, id: SessionId, name: &Namespace) -> bool {
        let Some(version) = self.version else { return false };
        let Err(error) = name.fits(version.spec()) else { return false };
        if std::mem::replace(&mut self.left_out, true) {
            debug!(to = id.0, %version, %name, %error, "name cannot be written in the session's version");
        } else {
            warn!(
                to = id.0, %version, %name, %error,
                "name cannot be written in the session's version: left out there, as are others like it"
            );
        }
        true
    }

    pub(super) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        // Nobody waits for them, so those that are done are cleared away here.
        while self.asks.try_join_next().is_some() {}
        self.asks.spawn_on(work, &self.runtime)
    }
}
