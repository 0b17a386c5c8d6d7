//! A session with a relay above: kept up for as long as its scope is there.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use moqt::{Announced, Namespace, Session, SessionError};
use tokio::{task::JoinSet, time::Instant};
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::{
    backoff::Backoff,
    counters::LinkUp,
    downstream::Downstream,
    mark::is_mark,
    router::{Level, SessionId},
    scope::Scope,
    shared::Shared,
    upstream::Upstream,
};

/// How long a link waits after its first failure, and at most.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A session that has lasted so long came to something.
const LASTED: Duration = Duration::from_secs(10);

/// A session that was asked to move stays for so long at least, for what is taken from here by way of it.
const STAY: Duration = Duration::from_secs(2);

/// One relay above, as one scope sees it.
pub(crate) struct Link {
    shared: Arc<Shared>,
    scope: Arc<Scope>,
    upstream: Arc<dyn Upstream>,
    /// The scope's path.
    path: String,
    /// Whether it was said once what there is.
    settled: bool,
}

/// Where a session that ended leaves its link.
enum Next {
    /// It is to be opened again.
    Again,
    /// The relay above has asked to move, perhaps to another place.
    Move(Option<String>),
}

impl Link {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        scope: &Arc<Scope>,
        upstream: &Arc<dyn Upstream>,
        path: String,
    ) -> Self {
        let (shared, scope, upstream) = (Arc::clone(shared), Arc::clone(scope), Arc::clone(upstream));
        Self { shared, scope, upstream, path, settled: false }
    }

    /// Keeps it up. Dropped, it ends the session.
    pub(crate) async fn keep(mut self) {
        let name = self.upstream.name();
        let span = info_span!("link", to = name, scope = self.path);
        let (mut backoff, mut leaving) = (Backoff::new(FIRST_WAIT, LONGEST_WAIT), JoinSet::new());
        let (mut moved_to, mut complained) = (None::<String>, false);
        let links = Arc::clone(&self.shared.settings.links);
        async {
            loop {
                while leaving.try_join_next().is_some() {}
                links.attempts.fetch_add(1, Ordering::Relaxed);
                let place = Place::new(&self.scope, self.shared.next_session());
                let origin = Arc::new(Downstream::above(Arc::clone(&self.scope), Arc::clone(&self.shared)));
                let session = self.upstream.connect(&self.path, moved_to.as_deref(), origin).await;
                let moved = moved_to.take().is_some();
                match session {
                    Ok(session) => {
                        complained = false;
                        info!(id = place.id.0, "upstream is there");
                        let since = now();
                        let up = links.up();
                        let end = self.serve(&place, &session).await;
                        if now() - since >= LASTED {
                            backoff.reset();
                        }
                        match end {
                            Next::Again => drop(up),
                            Next::Move(to) => {
                                links.moved.fetch_add(1, Ordering::Relaxed);
                                self.scope.is_leaving(place.id);
                                moved_to = to.filter(|to| !self.is_upstream(to));
                                info!(to = moved_to, "upstream asks to move");
                                leaving.spawn(leave(place, session, up));
                            }
                        }
                    }
                    Err(error) => {
                        links.failed.fetch_add(1, Ordering::Relaxed);
                        drop(place);
                        if moved {
                            warn!(%error, "the place that upstream named cannot be reached");
                        } else if !std::mem::replace(&mut complained, true) {
                            warn!(%error, cause = error.source().map(tracing::field::display), "upstream cannot be reached; trying on");
                        } else {
                            debug!(%error, "upstream cannot be reached");
                        }
                    }
                }
                self.settle();
                tokio::time::sleep(backoff.next(&self.shared.dice)).await;
            }
        }
        .instrument(span)
        .await;
    }

    /// Whether there is a link to this place anyway.
    fn is_upstream(&self, url: &str) -> bool {
        let root = |url: &str| url.parse::<moqt::Url>().ok()?.with_path("/").ok();
        let to = root(url);
        let names = self.shared.settings.upstreams.iter().map(|upstream| upstream.name());
        to.is_some() && names.filter(|name| *name != self.upstream.name()).any(|name| root(&name) == to)
    }

    fn settle(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.scope.settle();
        }
    }

    /// Takes in what the relay above announces, until the session ends or is to be moved.
    async fn serve(&mut self, place: &Place, session: &Session) -> Next {
        let (scope, id) = (Arc::clone(&self.scope), place.id);
        scope.attach(id, session);
        let mut complained = false;
        let learn = async {
            match session.subscriber().announced(Namespace::EMPTY).await {
                Ok(mut names) => {
                    while let Some(event) = names.next().await {
                        match event {
                            // Its own mark comes back from above as everything else does.
                            Announced::Active(name) | Announced::Ended(name) if is_mark(&name) => {}
                            Announced::Active(name) => {
                                let taken = scope.announced(id, name.compact());
                                if taken.is_err() && !std::mem::replace(&mut complained, true) {
                                    warn!("too many names in the scope; some of upstream's are left out");
                                }
                            }
                            Announced::Ended(name) => scope.ended(id, &name),
                            Announced::CaughtUp => self.settle(),
                        }
                    }
                }
                Err(error) => debug!(%error, "upstream announces nothing"),
            }
            scope.all_ended(id).await;
            std::future::pending::<SessionError>().await
        };
        let end = tokio::select! {
            biased;
            drain = session.draining() => match drain {
                Ok(drain) => return Next::Move(drain.url),
                Err(end) => end,
            },
            end = learn => end,
        };
        warn!(id = id.0, reason = %end, "upstream is gone; trying on");
        Next::Again
    }
}

/// A session that was asked to move ends when nothing is taken from it any more.
async fn leave(place: Place, session: Session, _up: LinkUp) {
    let leave = async {
        tokio::time::sleep(STAY).await;
        place.scope.unused(place.id).await;
    };
    tokio::select! {
        biased;
        end = session.closed() => debug!(id = place.id.0, reason = %end, "upstream has ended the session"),
        () = leave => {
            session.close().await;
        }
    }
}

/// A session's place in the scope. Dropped, the session leaves it.
struct Place {
    scope: Arc<Scope>,
    id: SessionId,
}

impl Place {
    fn new(scope: &Arc<Scope>, id: SessionId) -> Self {
        scope.enter(id, Level::Above);
        Self { scope: Arc::clone(scope), id }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.scope.leave(self.id);
    }
}

#[expect(clippy::disallowed_methods, reason = "links are part of the shell")]
fn now() -> Instant {
    Instant::now()
}
