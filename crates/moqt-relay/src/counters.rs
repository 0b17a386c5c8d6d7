//! What a relay counts of itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use moqt::Carrier;
use tokio::sync::Semaphore;

use crate::shared::Shared;

/// Numbers about a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Sessions that are open.
    pub sessions: usize,
    /// Scopes with at least one session.
    pub scopes: usize,
    /// Names that are announced.
    pub announced: usize,
    /// Tracks that come from upstream for new subscribers to join.
    pub upstream: usize,
    /// Subscriptions made upstream since the start.
    pub upstream_total: u64,
    /// Groups fetched upstream since the start, because they were not held here.
    pub fetched_total: u64,
    /// Names that sessions could not be told since the start, because their versions cannot write them: each counts
    /// once for each such session.
    pub untold_total: u64,
    /// Groups that are held.
    pub cached_groups: u64,
    /// Bytes that they hold; see [`Options::cache_bytes`](crate::Options::cache_bytes).
    pub cache_bytes: u64,
    /// Groups let go of because they held more than that, since the start.
    pub evicted_total: u64,
    /// Clients that were asked to prove their addresses, since the start.
    pub retried_total: u64,
    /// Clients turned away at a limit of the relay, since the start.
    pub refused_total: u64,
    /// Sessions with relays above.
    pub links: u64,
    /// Tracks that went on from another publisher, since the start.
    pub switched_total: u64,
    /// Clients sent off because this relay was above itself by way of them, since the start.
    pub loops_total: u64,
}

impl Shared {
    pub(crate) fn counters(&self) -> Counters {
        let scopes: Vec<_> = self.scopes().values().cloned().collect();
        let mut counters = Counters {
            sessions: self
                .limits
                .sessions
                .min(Semaphore::MAX_PERMITS)
                .saturating_sub(self.sessions.available_permits()),
            scopes: scopes.len(),
            upstream_total: self.settings.subscribed.load(Ordering::Relaxed),
            fetched_total: self.settings.fetched.load(Ordering::Relaxed),
            untold_total: self.settings.untold.load(Ordering::Relaxed),
            cached_groups: self.cache.groups(),
            cache_bytes: self.cache.held(),
            evicted_total: self.cache.evicted(),
            retried_total: self.retried.load(Ordering::Relaxed),
            refused_total: self.refusals.all().map(|(_, count)| count).sum(),
            links: self.settings.links.open(),
            switched_total: self.settings.switched.load(Ordering::Relaxed),
            loops_total: self.settings.links.loops.load(Ordering::Relaxed),
            ..Counters::default()
        };
        for scope in scopes {
            let (announced, upstream) = scope.counts();
            counters.announced += announced;
            counters.upstream += upstream;
        }
        counters
    }

    /// Clients that are in their handshakes.
    pub(crate) fn handshakes_under_way(&self) -> usize {
        let all = self.limits.handshakes.min(Semaphore::MAX_PERMITS);
        all.saturating_sub(self.handshakes.available_permits())
    }
}

/// How often each limit of the relay turned somebody away.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    pub(crate) sessions: AtomicU64,
    pub(crate) sessions_per_address: AtomicU64,
    pub(crate) handshakes: AtomicU64,
    pub(crate) handshakes_per_address: AtomicU64,
    pub(crate) linked_scopes: AtomicU64,
    /// Sessions, names and requests that the hook turned down.
    pub(crate) unauthorized: AtomicU64,
}

impl Refusals {
    /// By the names of the limits.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("sessions", &self.sessions),
            ("sessions_per_address", &self.sessions_per_address),
            ("handshakes", &self.handshakes),
            ("handshakes_per_address", &self.handshakes_per_address),
            ("linked_scopes", &self.linked_scopes),
            ("unauthorized", &self.unauthorized),
        ]
        .into_iter()
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// What became of the sessions with relays above.
#[derive(Debug, Default)]
pub(crate) struct Links {
    open: AtomicU64,
    pub(crate) attempts: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// How often a relay above asked to move.
    pub(crate) moved: AtomicU64,
    /// How often this relay was above itself.
    pub(crate) loops: AtomicU64,
}

impl Links {
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// One more, until it is dropped.
    pub(crate) fn up(self: &Arc<Self>) -> LinkUp {
        self.open.fetch_add(1, Ordering::Relaxed);
        LinkUp(Arc::clone(self))
    }
}

/// A session with a relay above.
#[derive(Debug)]
pub(crate) struct LinkUp(Arc<Links>);

impl Drop for LinkUp {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sessions that are open, by how their bytes travel.
#[derive(Debug, Default)]
pub(crate) struct Carriers {
    quic: AtomicU64,
    webtransport: AtomicU64,
}

impl Carriers {
    fn of(&self, carrier: Carrier) -> &AtomicU64 {
        match carrier {
            Carrier::WebTransport => &self.webtransport,
            _ => &self.quic,
        }
    }

    /// One more, until it is dropped.
    pub(crate) fn enter(self: &Arc<Self>, carrier: Carrier) -> OnCarrier {
        self.of(carrier).fetch_add(1, Ordering::Relaxed);
        OnCarrier(Arc::clone(self), carrier)
    }

    pub(crate) fn open(&self) -> [(&'static str, u64); 2] {
        let [quic, webtransport] =
            [&self.quic, &self.webtransport].map(|count| count.load(Ordering::Relaxed));
        [("quic", quic), ("webtransport", webtransport)]
    }
}

/// A session that is open.
#[derive(Debug)]
pub(crate) struct OnCarrier(Arc<Carriers>, Carrier);

impl Drop for OnCarrier {
    fn drop(&mut self) {
        self.0.of(self.1).fetch_sub(1, Ordering::Relaxed);
    }
}
