//! One client, from its first packet to its end.

use std::sync::{Arc, atomic::Ordering};

use moqt::{Announced, Incoming, Namespace, Reason, Session};
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::{
    addresses::Source,
    authorize::{Permissions, Visitor},
    downstream::Downstream,
    relay::{HandshakePlace, Membership, Shared},
};

/// Does the handshakes, then serves the session until it is over or the relay closes.
pub(crate) async fn serve(shared: Arc<Shared>, incoming: Incoming, handshake: HandshakePlace) {
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
    let visitor = Visitor {
        remote,
        carrier: request.carrier(),
        version: request.version(),
        authority: request.authority().map(str::to_owned),
        path: request.path().to_owned(),
    };
    let permissions = Permissions::new(shared.authorize.clone(), visitor);
    if let Err(reason) = permissions.begin() {
        debug!(%remote, %reason, "client may not have a session");
        shared.refusals.unauthorized.fetch_add(1, Ordering::Relaxed);
        return request.refuse(reason);
    }
    let membership = Membership::new(&shared, request.authority(), request.path());
    let id = membership.session.0;
    let (carrier, version) = (request.carrier(), request.version());
    let _open = shared.carriers.enter(carrier);
    info!(id, %remote, ?carrier, %version, scope = membership.name(), "session began");
    let session = request.within(place.allowance()).start(Arc::new(Downstream::new(
        Arc::clone(membership.scope()),
        permissions.clone(),
        Arc::clone(&shared),
    )));
    membership.scope().attach(membership.session, &session);
    let end = tokio::select! {
        biased;
        () = closing.wait() => session.close().await,
        end = session.closed() => end,
        end = learn(&membership, &session, &permissions, &shared).instrument(info_span!("relay", id)) => end,
    };
    drop(membership);
    info!(id, %remote, reason = %end, "session ended");
}

/// Takes in what the session announces. Names end with the watch, the session goes on.
async fn learn(
    membership: &Membership,
    session: &Session,
    permissions: &Permissions,
    shared: &Shared,
) -> moqt::SessionError {
    let (scope, id) = (membership.scope(), membership.session);
    let mut complained = false;
    match session.subscriber().announced(Namespace::EMPTY).await {
        Ok(mut names) => {
            while let Some(event) = names.next().await {
                match event {
                    Announced::Active(name) => {
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
                    Announced::Ended(name) => {
                        debug!(%name, "announcement ended");
                        scope.ended(id, &name);
                    }
                    Announced::CaughtUp => {}
                }
            }
        }
        Err(error) => debug!(%error, "session announces nothing"),
    }
    scope.all_ended(id);
    session.closed().await
}
