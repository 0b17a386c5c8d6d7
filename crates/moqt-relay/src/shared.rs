//! What the tasks of a relay have in common: its limits and scopes, and the word that it ends.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use moqt::{CacheBudget, Fingerprint, Incoming, Meters, Namespace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::warn;

use crate::{
    addresses::{Addresses, Place, Rates, Source},
    authorize::Authorize,
    backoff::Dice,
    counters::{Carriers, Refusals},
    link::Link,
    mark::Mark,
    options::{Limits, Options},
    router::{Level, SessionId},
    scope::{Scope, Settings},
};

/// What tasks of a relay have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) sessions: Arc<Semaphore>,
    pub(crate) handshakes: Arc<Semaphore>,
    /// Sessions, and clients in their handshakes, by source.
    pub(crate) session_addresses: Arc<Addresses>,
    handshake_addresses: Arc<Addresses>,
    pub(crate) cache: CacheBudget,
    pub(crate) meters: Meters,
    pub(crate) carriers: Arc<Carriers>,
    /// Sessions that each worker serves.
    pub(crate) workers: Box<[AtomicUsize]>,
    pub(crate) refusals: Refusals,
    /// Clients that were asked to prove their addresses.
    pub(crate) retried: AtomicU64,
    /// Clients that did not come through their handshakes.
    pub(crate) failed_handshakes: AtomicU64,
    pub(crate) settings: Arc<Settings>,
    pub(crate) dice: Dice,
    linked_scopes: Arc<Semaphore>,
    scopes: Mutex<BTreeMap<String, Arc<Scope>>>,
    next_session: AtomicU64,
    scope_by_host: bool,
    pub(crate) authorize: Option<Arc<dyn Authorize>>,
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Whether the page is served that plays what is on air.
    pub(crate) page: bool,
    /// Set once the relay drains.
    draining: watch::Sender<Option<Going>>,
    drain_timeout: Duration,
    closing: watch::Sender<bool>,
}

/// Where clients of a relay that drains are sent.
#[derive(Clone, Debug)]
pub(crate) struct Going {
    /// `None` for where they came by.
    pub(crate) url: Option<String>,
    /// How long they may take.
    pub(crate) patience: Duration,
}

/// Room for one client to do its handshakes in.
#[derive(Debug)]
pub(crate) struct HandshakePlace {
    _place: OwnedSemaphorePermit,
    _from: Place,
}

/// One session of a worker; dropped when it is over.
pub(crate) struct AtWorker<'a>(&'a AtomicUsize);

impl Drop for AtWorker<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the relay to drain.
#[derive(Clone, Debug)]
pub(crate) struct Draining(watch::Receiver<Option<Going>>);

impl Draining {
    /// Cancel safe.
    pub(crate) async fn wait(&mut self) -> Going {
        match self.0.wait_for(Option::is_some).await.ok().and_then(|going| going.clone()) {
            Some(going) => going,
            // The relay is gone, and tells its tasks otherwise.
            None => std::future::pending().await,
        }
    }
}

/// Waits for the relay to close.
#[derive(Clone, Debug)]
pub(crate) struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Cancel safe.
    pub(crate) async fn wait(&mut self) {
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}

impl Shared {
    /// What a relay with these options begins with.
    pub(crate) fn new(options: Options) -> Self {
        let cache = options.session.limits.cache.clone();
        let meters = options.session.meters.clone();
        let Options { certificate, limits, scope_by_host, authorize, drain_timeout, .. } = options;
        let dice = Dice::new(options.seed);
        let settings = Settings {
            retention: options.retention,
            linger: options.linger,
            hold: options.hold,
            answer: limits.answer,
            router: limits.router,
            redundancy: options.redundancy,
            cache: cache.clone(),
            upstreams: options.upstreams,
            mark: Mark::new(&dice),
            links: Arc::default(),
            subscribed: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            switched: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        };
        let places = |limit: usize| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Self {
            sessions: places(limits.sessions),
            handshakes: places(limits.handshakes),
            session_addresses: Arc::new(Addresses::with_rates(Rates {
                requests: limits.requests_per_second_per_address,
                payload_bytes: limits.payload_bytes_per_second_per_address,
                names: limits.names_per_second_per_address,
            })),
            handshake_addresses: Arc::default(),
            cache,
            meters,
            carriers: Arc::default(),
            workers: (0..options.workers.map_or(1, NonZeroUsize::get)).map(|_| AtomicUsize::new(0)).collect(),
            refusals: Refusals::default(),
            retried: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
            linked_scopes: places(limits.linked_scopes),
            limits,
            settings: Arc::new(settings),
            dice,
            scopes: Mutex::default(),
            next_session: AtomicU64::new(0),
            scope_by_host,
            authorize,
            fingerprint: certificate.fingerprint(),
            page: options.page,
            draining: watch::Sender::new(None),
            drain_timeout,
            closing: watch::Sender::new(false),
        }
    }

    pub(crate) fn closing(&self) -> Closing {
        Closing(self.closing.subscribe())
    }

    pub(crate) fn draining(&self) -> Draining {
        Draining(self.draining.subscribe())
    }

    pub(crate) fn begin_close(&self) {
        self.closing.send_replace(true);
    }

    /// A second call changes nothing of the first.
    pub(crate) fn begin_drain(&self, url: Option<String>) {
        self.draining.send_if_modified(|going| {
            let first = going.is_none();
            going.get_or_insert(Going { url, patience: self.drain_timeout });
            first
        });
    }

    /// Counts a session of a worker.
    pub(crate) fn at_worker(&self, worker: usize) -> Option<AtWorker<'_>> {
        let sessions = self.workers.get(worker)?;
        sessions.fetch_add(1, Ordering::Relaxed);
        Some(AtWorker(sessions))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.borrow().is_some()
    }

    /// Waits until the relay drains and no client is left.
    pub(crate) async fn deserted(&self) {
        self.draining().wait().await;
        let all = self.limits.sessions.min(Semaphore::MAX_PERMITS);
        // The semaphore is never closed.
        let _ = self.sessions.acquire_many(u32::try_from(all).unwrap_or(u32::MAX)).await;
    }

    /// Whether a client may begin its handshakes; otherwise it is told.
    pub(crate) fn admit(&self, incoming: Incoming) -> Option<(Incoming, HandshakePlace)> {
        let source = Source::from(incoming.remote_address().ip());
        let limits = &self.limits;
        if !incoming.is_validated()
            && (self.handshakes_under_way() >= limits.unproven_handshakes
                || self.handshake_addresses.count(source) >= limits.unproven_handshakes / 4)
        {
            // Whose address it is has to be known before it counts against anybody.
            self.retried.fetch_add(1, Ordering::Relaxed);
            incoming.retry();
            return None;
        }
        let place = Arc::clone(&self.handshakes).try_acquire_owned().ok();
        let Some(place) = place else {
            self.refusals.handshakes.fetch_add(1, Ordering::Relaxed);
            incoming.refuse();
            return None;
        };
        let Some(from) = self.handshake_addresses.enter(source, limits.handshakes_per_address) else {
            self.refusals.handshakes_per_address.fetch_add(1, Ordering::Relaxed);
            incoming.refuse();
            return None;
        };
        Some((incoming, HandshakePlace { _place: place, _from: from }))
    }

    /// Opens a new scope's sessions with the relays above.
    fn link(self: &Arc<Self>, scope: &Arc<Scope>, name: &str) {
        let upstreams = &self.settings.upstreams;
        if upstreams.is_empty() {
            return;
        }
        let Ok(place) = Arc::clone(&self.linked_scopes).try_acquire_owned() else {
            warn!(
                scope = name,
                limit = self.limits.linked_scopes,
                "too many scopes with sessions upstream; this one is cut off from there"
            );
            self.refusals.linked_scopes.fetch_add(1, Ordering::Relaxed);
            return upstreams.iter().for_each(|_| scope.settle());
        };
        let path = if name.is_empty() { "/" } else { name };
        let place = Arc::new(place);
        for upstream in upstreams {
            let link = Link::new(self, scope, upstream, path.to_owned());
            let place = Arc::clone(&place);
            scope.link(async move {
                link.keep().await;
                drop(place);
            });
        }
    }

    pub(crate) fn scopes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Scope>>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// The names of one scope: `/path`, or `host/path` where hosts count.
    pub(crate) fn names(&self, scope: &str) -> Vec<Namespace> {
        let (host, path) = scope.split_at(scope.find('/').unwrap_or(scope.len()));
        let scope = self.scopes().get(&(host.to_owned() + &scope_name(path))).cloned();
        scope.map(|scope| scope.names()).unwrap_or_default()
    }
}

/// The scope that a URL's path, with its query, leads to.
fn scope_name(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The name of a host, without its port; `None` for addresses, which raw QUIC does not carry.
fn host_name(authority: &str) -> Option<String> {
    let bare = authority.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(authority);
    if bare.parse::<IpAddr>().is_ok() || authority.parse::<SocketAddr>().is_ok() {
        return None;
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

/// A session's place in its scope. Dropped, the session leaves, and takes everything of its own with it.
#[derive(Debug)]
pub(crate) struct Membership {
    shared: Arc<Shared>,
    scope: Arc<Scope>,
    name: String,
    pub(crate) session: SessionId,
}

impl Membership {
    /// A new session, come by this host, path and query.
    pub(crate) fn new(shared: &Arc<Shared>, authority: Option<&str>, path: &str) -> Self {
        let session = shared.next_session();
        let host = if shared.scope_by_host { authority.and_then(host_name) } else { None };
        // Neither a host nor a path that begins with `/` can be taken for the other.
        let name = host.unwrap_or_default() + &scope_name(path);
        let mut scopes = shared.scopes();
        let scope = match scopes.get(&name) {
            Some(scope) => Arc::clone(scope),
            None => {
                let scope = Scope::new(Arc::clone(&shared.settings));
                scopes.insert(name.clone(), Arc::clone(&scope));
                shared.link(&scope, &name);
                scope
            }
        };
        scope.enter(session, Level::Below);
        drop(scopes);
        Self { shared: Arc::clone(shared), scope, name, session }
    }

    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// The scope's name as a path.
    pub(crate) fn name(&self) -> &str {
        if self.name.is_empty() { "/" } else { &self.name }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.scope.leave(self.session) {
            let mut scopes = self.shared.scopes();
            // Others may have come meanwhile, or the last of them have made room for another scope of the name.
            let ours = scopes.get(&self.name).is_some_and(|scope| Arc::ptr_eq(scope, &self.scope));
            if ours && self.scope.is_empty() {
                scopes.remove(&self.name);
                self.scope.unlink();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{host_name, scope_name};

    #[test]
    fn a_host_counts_by_its_name_and_addresses_do_not() {
        for (authority, name) in [
            ("relay.example", Some("relay.example")),
            ("Relay.Example.:4443", Some("relay.example")),
            ("127.0.0.1:4443", None),
            ("[::1]:4443", None),
            ("::1", None),
            ("", None),
        ] {
            assert_eq!(host_name(authority).as_deref(), name, "{authority}");
        }
    }

    #[test]
    fn a_scope_is_the_path_without_query_and_last_slash() {
        for (path, scope) in [
            ("", ""),
            ("/", ""),
            ("/?x=y", ""),
            ("/room/1", "/room/1"),
            ("/room/1/?x=/", "/room/1"),
            ("/room//", "/room/"),
            ("room/1", "/room/1"),
        ] {
            assert_eq!(scope_name(path), scope, "{path}");
        }
    }
}
