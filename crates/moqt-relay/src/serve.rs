//! One client, from its first packet to its end.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use moqt::{
    Allowance, Announced, Incoming, Namespace, Origin, Reason, Request, Session, SessionError,
    session::Handshake, transport::Connection,
};
use tokio::time::Sleep;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use crate::{
    addresses::Source,
    authorize::{Permissions, Visitor},
    downstream::Downstream,
    mark::is_mark,
    scope::AT_ONCE,
    shared::{Going, HandshakePlace, Membership, Shared},
};

/// Does the handshakes, then serves the session until it is over or the relay closes.
pub(crate) async fn serve(shared: Arc<Shared>, incoming: Incoming, worker: usize, handshake: HandshakePlace) {
    let remote = incoming.remote_address();
    let mut closing = shared.closing();
    let request = tokio::select! {
        biased;
        () = closing.wait() => return,
        request = incoming.handshake() => request,
    };
    drop(handshake);
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            shared.failed_handshakes.fetch_add(1, Ordering::Relaxed);
            let cause = std::error::Error::source(&error).map(tracing::field::display);
            return debug!(%remote, %error, cause, "client got no session");
        }
    };
    let visitor = Visitor {
        remote,
        carrier: request.carrier(),
        version: request.version(),
        authority: request.authority().map(str::to_owned),
        path: request.path().to_owned(),
    };
    let _at = shared.at_worker(worker);
    admit(&shared, visitor, request).await;
}

/// A client whose handshakes are done.
pub(crate) trait Knock {
    /// Lets it in; it is served from `origin`, and may bring what others of its source leave of the allowance.
    fn start(self, source: Allowance, origin: Arc<dyn Origin>) -> Session;

    /// Turns it down.
    fn refuse(self, reason: Reason);
}

impl Knock for Request {
    fn start(self, source: Allowance, origin: Arc<dyn Origin>) -> Session {
        Self::start(self.within(source), origin)
    }

    fn refuse(self, reason: Reason) {
        Self::refuse(self, reason);
    }
}

impl<C: Connection> Knock for Handshake<C> {
    fn start(self, source: Allowance, origin: Arc<dyn Origin>) -> Session {
        Self::start(self.within(source), origin)
    }

    fn refuse(self, reason: Reason) {
        Self::refuse(self, reason);
    }
}

/// Lets a client in, if there is room for it and it may, and serves it until the session is over.
///
/// A relay that began to drain meanwhile lets it in, too: it believes to have a session, and is told where to go.
pub(crate) async fn admit(shared: &Arc<Shared>, visitor: Visitor, request: impl Knock) {
    let (remote, carrier, version) = (visitor.remote, visitor.carrier, visitor.version);
    let Ok(_permit) = Arc::clone(&shared.sessions).try_acquire_owned() else {
        warn!(%remote, limit = shared.limits.sessions, "too many sessions");
        shared.refusals.sessions.fetch_add(1, Ordering::Relaxed);
        return request.refuse(Reason::TooMany);
    };
    let limit = shared.limits.sessions_per_address;
    let Some(place) = shared.session_addresses.enter(Source::from(remote.ip()), limit) else {
        warn!(%remote, limit, "too many sessions from one address");
        shared.refusals.sessions_per_address.fetch_add(1, Ordering::Relaxed);
        return request.refuse(Reason::TooMany);
    };
    let (authority, path) = (visitor.authority.clone(), visitor.path.clone());
    let permissions = Permissions::new(shared.authorize.clone(), visitor);
    if let Err(reason) = permissions.begin() {
        debug!(%remote, %reason, "client may not have a session");
        shared.refusals.unauthorized.fetch_add(1, Ordering::Relaxed);
        return request.refuse(reason);
    }
    let membership = Membership::new(shared, authority.as_deref(), &path);
    let id = membership.session.0;
    let _open = shared.carriers.enter(carrier);
    info!(id, %remote, ?carrier, %version, scope = membership.name(), "session began");
    let session = request.start(
        place.allowance(),
        Arc::new(Downstream::new(Arc::clone(membership.scope()), permissions.clone(), Arc::clone(shared))),
    );
    membership.scope().attach(membership.session, &session);
    let mut closing = shared.closing();
    let end = tokio::select! {
        biased;
        () = closing.wait() => session.close().await,
        end = session.closed() => end,
        end = leave(&session, shared) => end,
        end = learn(&membership, &session, &permissions, shared).instrument(info_span!("relay", id)) => end,
    };
    membership.scope().all_ended(membership.session).await;
    drop(membership);
    info!(id, %remote, reason = %end, "session ended");
}

/// Once the relay drains, sends the client away.
async fn leave(session: &Session, shared: &Shared) -> SessionError {
    let Going { url, patience } = shared.draining().wait().await;
    match session.drain(url, patience).await {
        Ok(end) => end,
        Err(error) => {
            warn!(%error, "cannot send clients to another place; to where they came by, then");
            match session.drain(None, patience).await {
                Ok(end) => end,
                Err(_) => session.close().await,
            }
        }
    }
}

/// How long a relay that finds itself above itself waits before it cuts the loop. Where several find it, one comes first.
const LOOP_WAIT: Duration = Duration::from_secs(1);

/// Takes in what the session announces. Names end with the watch, the session goes on.
async fn learn(
    membership: &Membership,
    session: &Session,
    permissions: &Permissions,
    shared: &Shared,
) -> SessionError {
    let (scope, id) = (membership.scope(), membership.session);
    let settings = &shared.settings;
    let mut complained = false;
    let mut looped = None;
    let mut count = 0_usize;
    match session.subscriber().announced(Namespace::EMPTY).await {
        Ok(mut names) => loop {
            count += 1;
            if count.is_multiple_of(AT_ONCE) {
                tokio::task::yield_now().await;
            }
            let event = tokio::select! {
                biased;
                event = names.next() => event,
                () = wait_for(&mut looped) => {
                    error!(
                        "this relay is above itself, by way of this client, which is sent off; \
                         check the upstreams of both"
                    );
                    settings.links.loops.fetch_add(1, Ordering::Relaxed);
                    return session.close().await;
                }
            };
            match event {
                Some(Announced::Active(name) | Announced::Ended(name))
                    if is_mark(&name) && settings.upstreams.is_empty() => {}
                Some(Announced::Active(name)) if is_mark(&name) => {
                    if settings.mark.is(&name) {
                        let wait = shared.dice.up_to(LOOP_WAIT);
                        looped = Some(Box::pin(tokio::time::sleep(wait)));
                    }
                    scope.marked(id, &name.compact(), true);
                }
                Some(Announced::Ended(name)) if is_mark(&name) => {
                    if settings.mark.is(&name) {
                        looped = None;
                    }
                    scope.marked(id, &name, false);
                }
                Some(Announced::Active(name)) => {
                    debug!(%name, "announced");
                    if let Err(reason) = permissions.publish(&name) {
                        debug!(%name, %reason, "may not be published by this client");
                        shared.refusals.unauthorized.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    // The name outlives the buffer in which it came.
                    let taken = scope.announced(id, name.compact());
                    if taken.is_err() && !std::mem::replace(&mut complained, true) {
                        warn!("too many names in the scope; this session's are left out");
                    }
                }
                Some(Announced::Ended(name)) => {
                    debug!(%name, "announcement ended");
                    scope.ended(id, &name);
                }
                Some(Announced::CaughtUp) => {}
                None => break,
            }
        },
        Err(error) => debug!(%error, "session announces nothing"),
    }
    scope.all_ended(id).await;
    session.closed().await
}

/// Waits for the moment, if there is one.
async fn wait_for(moment: &mut Option<Pin<Box<Sleep>>>) {
    match moment {
        Some(moment) => moment.await,
        None => std::future::pending().await,
    }
}
