//! One client, from its first packet to its end.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use moqt::{
    Allowance, Announced, Incoming, Namespace, Origin, Reason, Request, Session, SessionError,
    session::Handshake, transport::Connection,
};
use tokio::{sync::OwnedSemaphorePermit, time::Sleep};
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use crate::{
    addresses::{Place, Source},
    authorize::{Permissions, Visitor},
    counters::OnCarrier,
    downstream::Downstream,
    mark::is_mark,
    scope::AT_ONCE,
    shared::{Going, HandshakePlace, Membership, Shared},
};

/// Does the handshakes, then serves the session until it is over or the relay closes.
///
/// What is only for the beginning has a box of its own: the rest is there for as long as the session.
pub(crate) fn serve(
    shared: Arc<Shared>,
    incoming: Incoming,
    worker: usize,
    handshake: HandshakePlace,
) -> impl Future<Output = ()> + Send {
    let knocking = Box::pin(knock(Arc::clone(&shared), incoming, handshake));
    async move {
        let Some(session) = knocking.await else { return };
        let _at = shared.at_worker(worker);
        session.attend(&shared).await;
    }
}

/// Does the handshakes, and lets the client in.
async fn knock(shared: Arc<Shared>, incoming: Incoming, handshake: HandshakePlace) -> Option<Box<Admitted>> {
    let remote = incoming.remote_address();
    let mut closing = shared.closing();
    let request = tokio::select! {
        biased;
        () = closing.wait() => return None,
        request = incoming.handshake() => request,
    };
    drop(handshake);
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            shared.failed_handshakes.fetch_add(1, Ordering::Relaxed);
            let cause = std::error::Error::source(&error).map(tracing::field::display);
            debug!(%remote, %error, cause, "client got no session");
            return None;
        }
    };
    let visitor = Visitor {
        remote,
        carrier: request.carrier(),
        version: request.version(),
        authority: request.authority().map(str::to_owned),
        path: request.path().to_owned(),
    };
    admit(&shared, visitor, request)
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

/// A client that was let in, and what it takes up.
pub(crate) struct Admitted {
    remote: SocketAddr,
    session: Session,
    permissions: Permissions,
    membership: Membership,
    _open: OnCarrier,
    _place: Place,
    _permit: OwnedSemaphorePermit,
}

/// Lets a client in, if there is room for it and it may.
///
/// A relay that began to drain meanwhile lets it in, too: it believes to have a session, and is told where to go.
pub(crate) fn admit(shared: &Arc<Shared>, visitor: Visitor, request: impl Knock) -> Option<Box<Admitted>> {
    let (remote, carrier, version) = (visitor.remote, visitor.carrier, visitor.version);
    let Ok(permit) = Arc::clone(&shared.sessions).try_acquire_owned() else {
        warn!(%remote, limit = shared.limits.sessions, "too many sessions");
        shared.refusals.sessions.fetch_add(1, Ordering::Relaxed);
        request.refuse(Reason::TooMany);
        return None;
    };
    let limit = shared.limits.sessions_per_address;
    let Some(place) = shared.session_addresses.enter(Source::from(remote.ip()), limit) else {
        warn!(%remote, limit, "too many sessions from one address");
        shared.refusals.sessions_per_address.fetch_add(1, Ordering::Relaxed);
        request.refuse(Reason::TooMany);
        return None;
    };
    let (authority, path) = (visitor.authority.clone(), visitor.path.clone());
    let permissions = Permissions::new(shared.authorize.clone(), visitor);
    if let Err(reason) = permissions.begin() {
        debug!(%remote, %reason, "client may not have a session");
        shared.refusals.unauthorized.fetch_add(1, Ordering::Relaxed);
        request.refuse(reason);
        return None;
    }
    let membership = Membership::new(shared, authority.as_deref(), &path);
    let id = membership.session.0;
    let open = shared.carriers.enter(carrier);
    info!(id, %remote, ?carrier, %version, scope = membership.name(), "session began");
    let session = request.start(
        place.allowance(),
        Arc::new(Downstream::new(Arc::clone(membership.scope()), permissions.clone(), Arc::clone(shared))),
    );
    membership.scope().attach(membership.session, &session);
    let admitted =
        Admitted { remote, session, permissions, membership, _open: open, _place: place, _permit: permit };
    Some(Box::new(admitted))
}

impl Admitted {
    /// Serves the client until the session is over or the relay closes.
    pub(crate) async fn attend(self: Box<Self>, shared: &Shared) {
        let Self { remote, session, permissions, membership, .. } = &*self;
        let (id, remote) = (membership.session.0, *remote);
        let mut closing = shared.closing();
        let learning = learn(membership, session, permissions, shared).instrument(info_span!("relay", id));
        let end = tokio::select! {
            biased;
            () = closing.wait() => Box::pin(session.close()).await,
            end = session.closed() => end,
            end = leave(session, shared) => end,
            end = learning => end,
        };
        membership.scope().all_ended(membership.session).await;
        drop(self);
        info!(id, %remote, reason = %end, "session ended");
    }
}

/// Once the relay drains, sends the client away.
async fn leave(session: &Session, shared: &Shared) -> SessionError {
    let Going { url, patience } = shared.draining().wait().await;
    let leaving = async {
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
    };
    Box::pin(leaving).await
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
    match Box::pin(session.subscriber().announced(Namespace::EMPTY)).await {
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
                    return Box::pin(session.close()).await;
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
