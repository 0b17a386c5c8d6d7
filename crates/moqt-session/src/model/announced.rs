//! Which names are there: a set that many readers watch.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use moqt_wire::Namespace;

use super::wait::{WaitList, Waiting};
use crate::error::RequestError;

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
    /// In boxes: mostly there is one, and a map keeps room for eleven.
    watchers: BTreeMap<u64, Box<Watcher>>,
    next_watcher: u64,
    closed: bool,
    /// Why nothing changes any more, where that is no ordinary end.
    error: Option<RequestError>,
    /// The set is still being learned from elsewhere.
    learning: bool,
    unused: WaitList,
}

#[derive(Debug)]
struct Watcher {
    interest: Interest,
    /// Names to look at again, by the ticket that they drew; each once, and none that there is nothing to tell
    /// of, so a burst costs at most one place a name that is there or that this watcher believes to be there.
    pending: BTreeMap<u64, Namespace>,
    queued: BTreeMap<Namespace, u64>,
    next_ticket: u64,
    /// What this watcher believes to be there.
    told: BTreeMap<Namespace, u64>,
    initial: Initial,
    /// Nothing new is told, and what was told is taken back.
    withdrawn: bool,
    waker: Option<Waker>,
}

/// How far a watcher is with the names that were there at its beginning.
#[derive(Debug, PartialEq, Eq)]
enum Initial {
    /// The set itself does not know them all yet.
    Learning,
    /// Those with tickets below this one are still to be told.
    Below(u64),
    /// It was told that it has caught up.
    Told,
}

impl Watcher {
    /// The name came or went.
    fn look(&mut self, name: &Namespace, active: bool) {
        if self.withdrawn {
            return;
        }
        if !active && !self.told.contains_key(name) {
            // It went before this watcher heard of it.
            if let Some(ticket) = self.queued.remove(name) {
                self.pending.remove(&ticket);
            }
        } else if !self.queued.contains_key(name) {
            self.queued.insert(name.clone(), self.next_ticket);
            self.pending.insert(self.next_ticket, name.clone());
            self.next_ticket += 1;
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
            shared.close(None);
        }
    }
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, error: Option<RequestError>) {
        let mut state = self.lock();
        if !state.closed {
            state.error = error;
        }
        state.closed = true;
        for watcher in state.watchers.values_mut() {
            if let Some(waker) = watcher.waker.take() {
                waker.wake();
            }
        }
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
                watcher.initial = Initial::Below(watcher.next_ticket);
                if let Some(waker) = watcher.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    /// Nothing changes any more, though this producer lives on: watchers see the end, and the error if there is one.
    pub(crate) fn close(&self, error: Option<RequestError>) {
        self.shared.close(error);
    }

    /// Waits until nobody watches. Cancel safe.
    pub async fn unused(&self) {
        let mut waiting = Waiting::new(|place| self.shared.lock().unused.leave(place));
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.watchers.is_empty() {
                return Poll::Ready(());
            }
            state.unused.wait(&mut waiting.place, cx);
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
            watcher.look(&name, true);
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
            watcher.look(name, false);
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
        let present = state.active.keys().filter(|name| interest.matches(name).is_some());
        let pending: BTreeMap<_, _> = (0..).zip(present.cloned()).collect();
        let queued = pending.iter().map(|(&ticket, name)| (name.clone(), ticket)).collect();
        let next_ticket = pending.len() as u64;
        let initial = if state.learning { Initial::Learning } else { Initial::Below(next_ticket) };
        let id = state.next_watcher;
        state.next_watcher += 1;
        let told = BTreeMap::new();
        let watcher =
            Watcher { interest, pending, queued, next_ticket, told, initial, withdrawn: false, waker: None };
        state.watchers.insert(id, Box::new(watcher));
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

    /// Why the watch ended, where that is more than the end of the set: the peer gave it up or refused it, or the
    /// session ended. `None` as long as it goes on.
    #[must_use]
    pub fn ended_with(&self) -> Option<RequestError> {
        self.shared.lock().error.clone()
    }

    /// [`next`](Self::next) for callers that poll.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Announced>> {
        let mut state = self.shared.lock();
        let State { active, watchers, closed, .. } = &mut *state;
        let Some(watcher) = watchers.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        if watcher.withdrawn {
            if let Some((name, _)) = watcher.told.pop_first() {
                return Poll::Ready(Some(Announced::Ended(name)));
            }
            let caught_up = std::mem::replace(&mut watcher.initial, Initial::Told) != Initial::Told;
            return Poll::Ready(caught_up.then_some(Announced::CaughtUp));
        }
        loop {
            let first = watcher.pending.first_key_value().map(|(&ticket, name)| (ticket, name.clone()));
            if let Initial::Below(mark) = watcher.initial
                && first.as_ref().is_none_or(|(ticket, _)| *ticket >= mark)
            {
                watcher.initial = Initial::Told;
                return Poll::Ready(Some(Announced::CaughtUp));
            }
            let Some((ticket, name)) = first else {
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
                return Poll::Ready(Some(Announced::Ended(name)));
            }
            watcher.pending.remove(&ticket);
            watcher.queued.remove(&name);
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

impl AnnounceConsumer {
    /// Names that wait for this watcher, and that it believes to be there: what it costs to keep it informed.
    pub(crate) fn holds(&self) -> usize {
        let state = self.shared.lock();
        state.watchers.get(&self.id).map_or(0, |watcher| watcher.told.len().max(watcher.queued.len()))
    }

    /// A handle to end this watch with.
    pub(crate) fn withdrawal(&self) -> Withdrawal {
        Withdrawal { shared: Arc::clone(&self.shared), id: self.id }
    }
}

/// Ends a watch from elsewhere than where it is read.
#[derive(Debug)]
pub(crate) struct Withdrawal {
    shared: Arc<Shared>,
    id: u64,
}

impl Withdrawal {
    /// From now on the watch tells the end of each name that it has told of, and then its own.
    pub(crate) fn withdraw(&self) {
        let mut state = self.shared.lock();
        let Some(watcher) = state.watchers.get_mut(&self.id) else { return };
        watcher.withdrawn = true;
        watcher.pending.clear();
        watcher.queued.clear();
        if let Some(waker) = watcher.waker.take() {
            waker.wake();
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
