//! The relay as a whole: listeners, scopes, and the way to its end.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use moqt::{CacheBudget, Fingerprint, Incoming, Meters, Namespace, Server, ServerOptions};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::{error, warn};

use crate::{
    addresses::{Addresses, Place, Source},
    authorize::Authorize,
    counters::{Carriers, Counters, Refusals},
    error::StartError,
    http,
    options::{Limits, Listen, Options},
    router::SessionId,
    scope::{Scope, Settings},
    serve::serve,
};

/// How often another port is tried when UDP has one free that TCP has not.
const PORT_ATTEMPTS: usize = 16;

/// A relay that listens. Dropped, it ends at once with all its sessions.
#[derive(Debug)]
pub struct Relay {
    servers: Vec<Server>,
    http: Vec<TcpListener>,
    shared: Arc<Shared>,
    /// Dropped when all is over; who waits for the end holds a receiver.
    ended: watch::Sender<()>,
}

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
    pub(crate) refusals: Refusals,
    /// Clients that were asked to prove their addresses.
    pub(crate) retried: AtomicU64,
    /// Clients that did not come through their handshakes.
    pub(crate) failed_handshakes: AtomicU64,
    pub(crate) settings: Arc<Settings>,
    scopes: Mutex<BTreeMap<String, Arc<Scope>>>,
    next_session: AtomicU64,
    scope_by_host: bool,
    pub(crate) authorize: Option<Arc<dyn Authorize>>,
    pub(crate) fingerprint: Option<Fingerprint>,
    closing: watch::Sender<bool>,
}

/// Room for one client to do its handshakes in.
#[derive(Debug)]
pub(crate) struct HandshakePlace {
    _place: OwnedSemaphorePermit,
    _from: Place,
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
    pub(crate) fn closing(&self) -> Closing {
        Closing(self.closing.subscribe())
    }

    /// Whether a client may begin its handshakes; otherwise it is told.
    fn admit(&self, incoming: Incoming) -> Option<(Incoming, HandshakePlace)> {
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

    pub(crate) fn scopes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Scope>>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
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
        let session = SessionId(shared.next_session.fetch_add(1, Ordering::Relaxed));
        let host = if shared.scope_by_host { authority.and_then(host_name) } else { None };
        // Neither a host nor a path that begins with `/` can be taken for the other.
        let name = host.unwrap_or_default() + &scope_name(path);
        let mut scopes = shared.scopes();
        let scope = scopes.entry(name.clone()).or_insert_with(|| Scope::new(Arc::clone(&shared.settings)));
        let scope = Arc::clone(scope);
        scope.enter(session);
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
            }
        }
    }
}

impl Relay {
    /// Listens on all addresses. Must be called within a tokio runtime; clients are served by [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// Where it cannot listen, and why; [`StartError::hint`] says what helps.
    pub fn bind(mut options: Options) -> Result<Self, StartError> {
        let cache = CacheBudget::new(options.cache_bytes);
        options.session.limits.cache = cache.clone();
        let mut servers = Vec::new();
        let mut http = Vec::new();
        for listen in &options.listen {
            let (server, listener) = bind_beside(&options, *listen)?;
            servers.push(server);
            http.extend(listener);
        }
        if servers.is_empty() {
            return Err(StartError::NoAddress);
        }
        let is_bound =
            |address| http.iter().any(|bound: &TcpListener| bound.local_addr().ok() == Some(address));
        if let Some(address) = options.http.filter(|address| !is_bound(*address)) {
            http.push(http::bind(address)?);
        }
        let meters = options.session.meters.clone();
        let Options { certificate, retention, limits, scope_by_host, linger, authorize, .. } = options;
        let settings = Settings {
            retention,
            linger,
            answer: limits.answer,
            router: limits.router,
            subscribed: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        };
        let shared = Shared {
            sessions: Arc::new(Semaphore::new(limits.sessions.min(Semaphore::MAX_PERMITS))),
            handshakes: Arc::new(Semaphore::new(limits.handshakes.min(Semaphore::MAX_PERMITS))),
            session_addresses: Arc::default(),
            handshake_addresses: Arc::default(),
            cache,
            meters,
            carriers: Arc::default(),
            refusals: Refusals::default(),
            retried: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
            limits,
            settings: Arc::new(settings),
            scopes: Mutex::default(),
            next_session: AtomicU64::new(0),
            scope_by_host,
            authorize,
            fingerprint: certificate.fingerprint(),
            closing: watch::Sender::new(false),
        };
        Ok(Self { servers, http, shared: Arc::new(shared), ended: watch::Sender::new(()) })
    }

    /// What can be asked of the relay while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            shared: Arc::clone(&self.shared),
            addresses: self.servers.iter().map(Server::local_addr).collect(),
            http: self.http.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
            ended: self.ended.subscribe(),
        }
    }

    /// Serves clients until [`Handle::close`]. Cancelled, it ends at once.
    pub async fn run(self) {
        let Self { servers, http, shared, ended } = self;
        let mut parts = JoinSet::new();
        for server in servers {
            parts.spawn(accept(server, Arc::clone(&shared)));
        }
        for listener in http {
            parts.spawn(http::serve(listener, Arc::clone(&shared)));
        }
        let cache = shared.cache.clone();
        drop(shared);
        let all = async {
            while let Some(part) = parts.join_next().await {
                if let Err(failure) = part {
                    error!(%failure, "part of the relay failed");
                }
            }
        };
        tokio::select! {
            biased;
            () = all => {}
            () = cache.sweep() => {}
        }
        drop(ended);
    }
}

/// The UDP port, and the TCP port of the same number where that is wanted.
fn bind_beside(options: &Options, listen: Listen) -> Result<(Server, Option<TcpListener>), StartError> {
    let mut attempts = if listen.address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let mut server = ServerOptions::new(listen.address, options.certificate.clone());
        server.transport = options.transport.clone();
        server.session = options.session.clone();
        server.session.unmarked_04 = listen.unmarked_04.unwrap_or(options.session.unmarked_04);
        let server = Server::bind(server)?;
        let wanted = options.transport.socket_buffer;
        if let Some(granted) = server.listener().socket_buffers().short_of(wanted) {
            warn!(granted, wanted, "small socket buffers: raise net.core.rmem_max and net.core.wmem_max");
        }
        if !options.http_beside {
            return Ok((server, None));
        }
        match http::bind(server.local_addr()) {
            Ok(listener) => return Ok((server, Some(listener))),
            Err(error) if attempts == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// Accepts and hands off.
async fn accept(server: Server, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    let mut closing = shared.closing();
    loop {
        tokio::select! {
            biased;
            () = closing.wait() => break,
            Some(session) = sessions.join_next() => {
                if let Err(failure) = session {
                    error!(%failure, "session failed");
                }
            }
            incoming = server.accept() => {
                let Some(incoming) = incoming else { break };
                if let Some((incoming, place)) = shared.admit(incoming) {
                    sessions.spawn(serve(Arc::clone(&shared), incoming, place));
                }
            }
        }
    }
    let ended = timeout(shared.limits.close, async { while sessions.join_next().await.is_some() {} });
    if ended.await.is_err() {
        warn!(left = sessions.len(), "sessions did not end in time");
        sessions.abort_all();
    }
    server.close();
    let _ = timeout(shared.limits.close, server.wait_idle()).await;
}

/// What can be asked of a relay while it runs. Clones are handles to the same relay.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    ended: watch::Receiver<()>,
}

impl Handle {
    /// The UDP addresses listened on, in the order of the options.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The TCP addresses on which HTTP is served.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.shared.fingerprint
    }

    /// How much is going on.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Stops accepting and closes all sessions, within [`Limits::close`].
    pub fn begin_close(&self) {
        self.shared.closing.send_replace(true);
    }

    /// [`begin_close`](Self::begin_close), and waits for the end of the relay. Cancel safe.
    pub async fn close(&self) {
        self.begin_close();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
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
