//! Which names are there: a set that many readers watch.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use moqt_wire::Namespace;

use super::wait::{Place, WaitList};

/// What a watcher of names learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Announced {
    /// The name is there. On wires that announce tracks it is all parts of a
    /// [`FullTrackName`](moqt_wire::FullTrackName), on others a namespace.
    Active(Namespace),
    /// The name is gone.
    Ended(Namespace),
    /// Everything that was there when the watch began has been named. Comes once.
    CaughtUp,
}

/// Which names a watcher wants to hear of.
pub use moqt_wire::transfork::Interest;

#[derive(Debug, Default)]
struct State {
    /// Names that are there, with the number of the announcement that brought them.
    active: BTreeMap<Namespace, u64>,
    announcements: u64,
    watchers: BTreeMap<u64, Watcher>,
    next_watcher: u64,
    closed: bool,
    /// The set is still being learned from elsewhere.
    learning: bool,
    unused: WaitList,
}

#[derive(Debug)]
struct Watcher {
    interest: Interest,
    /// Names to look at again; each once, so a burst costs at most one place a name.
    pending: VecDeque<Namespace>,
    queued: BTreeSet<Namespace>,
    /// What this watcher believes to be there.
    told: BTreeMap<Namespace, u64>,
    initial: Initial,
    waker: Option<Waker>,
}

/// How far a watcher is with the names that were there at its beginning.
#[derive(Debug, PartialEq, Eq)]
enum Initial {
    /// The set itself does not know them all yet.
    Learning,
    /// So many are still to be told.
    Left(usize),
    /// It was told that it has caught up.
    Told,
}

impl Watcher {
    fn look(&mut self, name: &Namespace) {
        if self.queued.insert(name.clone()) {
            self.pending.push_back(name.clone());
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A set of announced names. Clones change the same set; when the last is dropped, watchers see the end.
#[derive(Clone, Debug)]
pub struct AnnounceProducer {
    shared: Arc<Shared>,
    /// Ends the watches when the last producer is gone.
    _alive: Arc<Alive>,
}

impl Default for AnnounceProducer {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Alive(Weak<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            let mut state = shared.lock();
            state.closed = true;
            for watcher in state.watchers.values_mut() {
                if let Some(waker) = watcher.waker.take() {
                    waker.wake();
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AnnounceProducer {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let alive = Arc::new(Alive(Arc::downgrade(&shared)));
        Self { shared, _alive: alive }
    }

    /// An empty set that is still being learned from elsewhere: watchers are told that they have caught up
    /// only after [`caught_up`](Self::caught_up).
    #[must_use]
    pub fn learning() -> Self {
        let producer = Self::new();
        producer.shared.lock().learning = true;
        producer
    }

    /// Everything that was there at the beginning is in the set now.
    pub fn caught_up(&self) {
        let mut state = self.shared.lock();
        state.learning = false;
        for watcher in state.watchers.values_mut() {
            if watcher.initial == Initial::Learning {
                watcher.initial = Initial::Left(watcher.pending.len());
                if let Some(waker) = watcher.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    /// Waits until nobody watches. Cancel safe.
    pub async fn unused(&self) {
        let mut place = Place::default();
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.watchers.is_empty() {
                state.unused.leave(&mut place);
                return Poll::Ready(());
            }
            state.unused.wait(&mut place, cx);
            Poll::Pending
        })
        .await;
    }

    /// Adds a name; `false` if it is there already.
    pub fn insert(&self, name: Namespace) -> bool {
        let mut state = self.shared.lock();
        if state.active.contains_key(&name) {
            return false;
        }
        state.announcements += 1;
        let number = state.announcements;
        for watcher in state.watchers.values_mut().filter(|w| w.interest.matches(&name).is_some()) {
            watcher.look(&name);
        }
        state.active.insert(name, number);
        true
    }

    /// Removes a name; `false` if it was not there.
    pub fn remove(&self, name: &Namespace) -> bool {
        let mut state = self.shared.lock();
        if state.active.remove(name).is_none() {
            return false;
        }
        for watcher in state.watchers.values_mut().filter(|w| w.interest.matches(name).is_some()) {
            watcher.look(name);
        }
        true
    }

    /// Whether the name is there.
    #[must_use]
    pub fn contains(&self, name: &Namespace) -> bool {
        self.shared.lock().active.contains_key(name)
    }

    /// How many names are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().active.len()
    }

    /// Whether no name is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names that are there now, in order.
    #[must_use]
    pub fn names(&self) -> Vec<Namespace> {
        self.shared.lock().active.keys().cloned().collect()
    }

    /// Watches the names that `interest` covers, beginning with those that are there now.
    #[must_use]
    pub fn watch(&self, interest: Interest) -> AnnounceConsumer {
        let mut state = self.shared.lock();
        let pending: VecDeque<_> =
            state.active.keys().filter(|name| interest.matches(name).is_some()).cloned().collect();
        let queued = pending.iter().cloned().collect();
        let initial = if state.learning { Initial::Learning } else { Initial::Left(pending.len()) };
        let id = state.next_watcher;
        state.next_watcher += 1;
        let watcher = Watcher { interest, pending, queued, told: BTreeMap::new(), initial, waker: None };
        state.watchers.insert(id, watcher);
        AnnounceConsumer { shared: Arc::clone(&self.shared), id }
    }
}

/// Watches announced names. A name that comes and goes before it was read is left out.
#[derive(Debug)]
pub struct AnnounceConsumer {
    shared: Arc<Shared>,
    id: u64,
}

impl AnnounceConsumer {
    /// The next change, or `None` when the set itself is gone and all was told.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Announced> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`next`](Self::next) for callers that poll.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Announced>> {
        let mut state = self.shared.lock();
        let State { active, watchers, closed, .. } = &mut *state;
        let Some(watcher) = watchers.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        loop {
            if watcher.initial == Initial::Left(0) {
                watcher.initial = Initial::Told;
                return Poll::Ready(Some(Announced::CaughtUp));
            }
            let Some(name) = watcher.pending.pop_front() else {
                if *closed {
                    return Poll::Ready(None);
                }
                watcher.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let (now, told) = (active.get(&name).copied(), watcher.told.get(&name).copied());
            if now.is_some() && told.is_some() && now != told {
                // Gone and back: two events; the name stays queued for the second.
                watcher.told.remove(&name);
                watcher.pending.push_front(name.clone());
                return Poll::Ready(Some(Announced::Ended(name)));
            }
            watcher.queued.remove(&name);
            if let Initial::Left(left) = &mut watcher.initial {
                *left = left.saturating_sub(1);
            }
            match (now, told) {
                (Some(number), None) => {
                    watcher.told.insert(name.clone(), number);
                    return Poll::Ready(Some(Announced::Active(name)));
                }
                (None, Some(_)) => {
                    watcher.told.remove(&name);
                    return Poll::Ready(Some(Announced::Ended(name)));
                }
                _ => {}
            }
        }
    }
}

impl Drop for AnnounceConsumer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.watchers.remove(&self.id);
        if state.watchers.is_empty() {
            state.unused.wake();
        }
    }
}
