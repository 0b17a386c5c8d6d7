//! The relay as a whole: listeners, and the way to its end.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use moqt::{Fingerprint, Reason, Server, ServerOptions, session::Handshake, transport::Connection};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};
use tracing::{error, warn};

use crate::{
    authorize::Visitor,
    counters::Counters,
    error::StartError,
    http,
    options::{Listen, Options},
    serve::{self, serve},
    shared::{Membership, Shared},
    workers::{self, Worker},
};

/// How often another port is tried when UDP has one free that TCP has not.
const PORT_ATTEMPTS: usize = 16;

/// A relay that listens. Dropped, it ends at once with all its sessions.
#[derive(Debug)]
pub struct Relay {
    servers: Vec<Serving>,
    /// The addresses listened on; several servers may share one.
    addresses: Vec<SocketAddr>,
    workers: Vec<Worker>,
    http: Vec<TcpListener>,
    shared: Arc<Shared>,
    /// Dropped when all is over; who waits for the end holds a receiver.
    ended: watch::Sender<()>,
}

/// A server, and where its clients are served.
#[derive(Debug)]
struct Serving {
    server: Server,
    /// Its place among the workers, where there are any.
    worker: usize,
}

impl Relay {
    /// Listens on all addresses. Must be called within a tokio runtime; clients are served by [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// Where it cannot listen, and why; [`StartError::hint`] says what helps.
    pub fn bind(mut options: Options) -> Result<Self, StartError> {
        if options.scope_by_host && !options.upstreams.is_empty() {
            return Err(StartError::HostsUpstream);
        }
        options.session.limits.cache = options.budget();
        let mut servers = Vec::new();
        let mut http = Vec::new();
        let mut addresses = Vec::new();
        let workers = workers::start(options.workers).map_err(StartError::Worker)?;
        for listen in &options.listen {
            let (server, listener) = bind_beside(&options, *listen, workers.first())?;
            addresses.push(server.local_addr());
            for (worker, other) in workers.iter().enumerate().skip(1) {
                let _guard = other.runtime().enter();
                servers.push(Serving { server: server.share()?, worker });
            }
            servers.push(Serving { server, worker: 0 });
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
        let shared = Arc::new(Shared::new(options));
        Ok(Self { servers, addresses, workers, http, shared, ended: watch::Sender::new(()) })
    }

    /// A relay that listens nowhere: sessions are brought to it by [`Handle::serve`], over whatever transport.
    #[must_use]
    pub fn detached(mut options: Options) -> Self {
        options.session.limits.cache = options.budget();
        let shared = Arc::new(Shared::new(options));
        let (servers, addresses) = (Vec::new(), Vec::new());
        let ended = watch::Sender::new(());
        Self { servers, addresses, workers: Vec::new(), http: Vec::new(), shared, ended }
    }

    /// What can be asked of the relay while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            shared: Arc::clone(&self.shared),
            addresses: self.addresses.clone(),
            http: self.http.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
            ended: self.ended.subscribe(),
        }
    }

    /// Serves clients until [`Handle::close`], or until all have left after [`Handle::drain`]. Cancelled, it ends at
    /// once.
    pub async fn run(self) {
        let Self { servers, workers, http, shared, ended, .. } = self;
        let (mut listeners, mut pages) = (JoinSet::new(), JoinSet::new());
        for Serving { server, worker } in &servers {
            let accepting = accept(server.clone(), *worker, Arc::clone(&shared));
            match workers.get(*worker) {
                Some(worker) => listeners.spawn_on(accepting, worker.runtime()),
                None => listeners.spawn(accepting),
            };
        }
        for listener in http {
            pages.spawn(http::serve(listener, Arc::clone(&shared)));
        }
        let cache = shared.cache.clone();
        // The relays above are there before the first client is, and whoever runs the relay sees whether they are.
        let root = (!shared.settings.upstreams.is_empty()).then(|| Membership::new(&shared, None, ""));
        let all = async {
            if listeners.is_empty() {
                let mut closing = shared.closing();
                tokio::select! {
                    biased;
                    () = closing.wait() => {}
                    () = shared.deserted() => {}
                }
            }
            for parts in [&mut listeners, &mut pages] {
                while let Some(part) = parts.join_next().await {
                    if let Err(failure) = part {
                        error!(%failure, "part of the relay failed");
                    }
                }
                // Facts are told for as long as there are clients.
                shared.begin_close();
            }
        };
        tokio::select! {
            biased;
            () = all => {}
            () = cache.sweep() => {}
        }
        drop(root);
        // While one socket of a port has clients, the others stay: without them, clients would be spread anew.
        drop(servers);
        let idle = async {
            for upstream in &shared.settings.upstreams {
                upstream.idle().await;
            }
        };
        let _ = timeout(shared.limits.close, idle).await;
        drop(workers);
        drop(ended);
    }
}

/// The UDP port, and the TCP port of the same number where that is wanted.
fn bind_beside(
    options: &Options,
    listen: Listen,
    worker: Option<&Worker>,
) -> Result<(Server, Option<TcpListener>), StartError> {
    let mut attempts = if listen.address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let mut server = ServerOptions::new(listen.address, options.certificate.clone());
        server.transport = options.transport.clone();
        server.session = options.session.clone();
        server.handshake_timeout = options.session.limits.handshake;
        server.session.unmarked_04 = listen.unmarked_04.unwrap_or(options.session.unmarked_04);
        server.shared = options.workers.is_some_and(|workers| workers.get() > 1);
        let server = {
            let _guard = worker.map(|worker| worker.runtime().enter());
            Server::bind(server)?
        };
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
async fn accept(server: Server, worker: usize, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    let (mut closing, mut draining) = (shared.closing(), shared.draining());
    let mut leaving = false;
    while !leaving || !sessions.is_empty() {
        tokio::select! {
            biased;
            () = closing.wait() => break,
            _ = draining.wait(), if !leaving => leaving = true,
            Some(session) = sessions.join_next() => {
                if let Err(failure) = session {
                    error!(%failure, "session failed");
                }
            }
            incoming = server.accept() => {
                let Some(incoming) = incoming else { break };
                if leaving {
                    incoming.refuse();
                } else if let Some((incoming, place)) = shared.admit(incoming) {
                    sessions.spawn(serve(Arc::clone(&shared), incoming, worker, place));
                }
            }
        }
    }
    let ended = timeout(shared.limits.close, async { while sessions.join_next().await.is_some() {} });
    if ended.await.is_err() {
        warn!(left = sessions.len(), "sessions did not end in time");
        sessions.abort_all();
    }
    // The last words of sessions are still on their way; a close of all connections would overtake them.
    let _ = timeout(shared.limits.close, server.wait_idle()).await;
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

    /// Serves a client that came on a connection of the caller's, until the session is over; its handshake has named
    /// `path`.
    pub async fn serve<C: Connection>(&self, handshake: Handshake<C>, remote: SocketAddr, path: &str) {
        let visitor = Visitor {
            remote,
            carrier: handshake.connection().carrier(),
            version: handshake.version(),
            authority: None,
            path: path.to_owned(),
        };
        if self.shared.is_draining() {
            return handshake.refuse(Reason::GoingAway);
        }
        if let Some(session) = serve::admit(&self.shared, visitor, handshake) {
            session.attend(&self.shared).await;
        }
    }

    /// How many sessions each of the [workers](Options::workers) serves; where there are none, all that came by our own
    /// servers.
    #[must_use]
    pub fn sessions_by_worker(&self) -> Vec<usize> {
        self.shared.workers.iter().map(|sessions| sessions.load(Ordering::Relaxed)).collect()
    }

    /// How much is going on.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Sends all clients away and takes no new ones; when the last has left, the relay ends.
    ///
    /// Clients that know how are asked to move to `url`, `None` for where they came by, and are served until they have.
    /// To others what they are served comes to its end, group by group. Who is still there after
    /// [`Options::drain_timeout`] is sent off. A second call changes nothing of the first.
    ///
    /// From now on `GET /ready` answers 503.
    pub fn drain(&self, url: Option<String>) {
        self.shared.begin_drain(url);
    }

    /// Stops accepting and closes all sessions, within [`Limits::close`](crate::Limits::close).
    pub fn begin_close(&self) {
        self.shared.begin_close();
    }

    /// [`begin_close`](Self::begin_close), and waits for the end of the relay. Cancel safe.
    pub async fn close(&self) {
        self.begin_close();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}
