//! The shell around a router: sessions that see each other, and the tasks that ask and answer between them.

mod feeds;
mod member;
mod waiting;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moqt::{
    AnnounceConsumer, AnnounceProducer, CacheBudget, FullTrackName, Info, Interest, Namespace, Reason,
    Retention, Session, Subscriber, TrackConsumer,
};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::{AbortHandle, JoinSet},
};
use tracing::debug;

pub(crate) use self::waiting::Waiting;
use self::{feeds::Held, member::Member, waiting::Waiter};
use crate::{
    counters::Links,
    mark::{Mark, Marks},
    router::{
        AskId, Level, Output, Redundancy, Router, RouterLimits, SessionId, Sources, TrackId, WaiterId, Wanted,
    },
    upstream::{self, Upstream},
};

/// Names of one session that are seen to without a break for others.
pub(crate) const AT_ONCE: usize = 64;

/// How long others have the machine to themselves between. A tick of the timer is no less.
const REST: Duration = Duration::from_millis(1);

/// What all scopes of a relay have in common.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) retention: Retention,
    /// How long a track is kept coming after its last subscriber has left.
    pub(crate) linger: Duration,
    /// How long a track without a publisher waits for another one.
    pub(crate) hold: Duration,
    pub(crate) answer: Duration,
    pub(crate) router: RouterLimits,
    pub(crate) redundancy: Redundancy,
    pub(crate) cache: CacheBudget,
    /// The relays above.
    pub(crate) upstreams: Vec<Arc<dyn Upstream>>,
    /// What tells this relay from others.
    pub(crate) mark: Mark,
    pub(crate) links: Arc<Links>,
    /// Subscriptions made upstream since the start, in all scopes.
    pub(crate) subscribed: AtomicU64,
    /// Fetches made upstream since the start, in all scopes.
    pub(crate) fetched: AtomicU64,
    /// Tracks that went on from another publisher since the start, in all scopes.
    pub(crate) switched: AtomicU64,
    /// Names that sessions could not be told since the start, in all scopes.
    pub(crate) untold: AtomicU64,
}

/// Sessions that see each other's tracks.
#[derive(Debug)]
pub(crate) struct Scope {
    settings: Arc<Settings>,
    /// What those below are told of, and those above.
    names: AnnounceProducer,
    offered: AnnounceProducer,
    /// How many of the relays above have not said yet what there is.
    unsettled: watch::Sender<usize>,
    state: Mutex<State>,
    /// Sessions with the relays above; each holds the scope.
    links: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct State {
    router: Router,
    members: BTreeMap<SessionId, Member>,
    waiters: BTreeMap<WaiterId, Waiter>,
    asks: BTreeMap<AskId, AbortHandle>,
    /// Tracks that come from upstream and can be joined.
    held: BTreeMap<TrackId, Held>,
    /// What looks after each track; like requests, it must not need the lock when it is dropped.
    keepers: JoinSet<()>,
    /// Relays below, for those above to know by.
    marks: Marks,
    /// Who waits for a session not to be of use any more.
    unused: Vec<(SessionId, oneshot::Sender<()>)>,
    next_waiter: u64,
}

impl Scope {
    pub(crate) fn new(settings: Arc<Settings>) -> Arc<Self> {
        let above = settings.upstreams.len();
        let router = Router::new(settings.router, settings.redundancy);
        let state = State {
            router: if above > 0 { router.with_above() } else { router },
            members: BTreeMap::new(),
            waiters: BTreeMap::new(),
            asks: BTreeMap::new(),
            held: BTreeMap::new(),
            keepers: JoinSet::new(),
            marks: Marks::default(),
            unused: Vec::new(),
            next_waiter: 0,
        };
        let (names, offered) = match above {
            0 => (AnnounceProducer::new(), AnnounceProducer::new()),
            // Who asks what there is had better wait for those who know.
            _ => (AnnounceProducer::learning(), AnnounceProducer::new()),
        };
        if above > 0 {
            offered.insert(settings.mark.name());
        }
        Arc::new(Self {
            settings,
            names,
            offered,
            unsettled: watch::Sender::new(above),
            state: Mutex::new(state),
            links: Mutex::default(),
        })
    }

    /// Keeps a session with a relay above for as long as the scope is there. Needs a tokio runtime.
    pub(crate) fn link(&self, link: impl Future<Output = ()> + Send + 'static) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).spawn(link);
    }

    /// The scope is there no longer.
    pub(crate) fn unlink(&self) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// One of the relays above has said what there is, or cannot be reached.
    pub(crate) fn settle(&self) {
        self.unsettled.send_modify(|left| *left = left.saturating_sub(1));
        if !self.is_settling() {
            self.names.caught_up();
        }
    }

    /// Whether a relay above may yet have what is not known here.
    pub(crate) fn is_settling(&self) -> bool {
        *self.unsettled.borrow() > 0
    }

    /// Whether somebody has announced a track.
    pub(crate) fn knows(&self, name: &FullTrackName) -> bool {
        self.lock().router.knows(name)
    }

    /// Waits until none may, for as long as an answer may take. Cancel safe.
    pub(crate) async fn settled(&self) {
        let mut left = self.unsettled.subscribe();
        let _ = tokio::time::timeout(self.settings.answer, left.wait_for(|left| *left == 0)).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session is about to begin. Must be called within a tokio runtime.
    pub(crate) fn enter(&self, session: SessionId, level: Level) {
        let member = Member {
            level,
            subscriber: None,
            version: None,
            left_out: false,
            asks: JoinSet::new(),
            runtime: Handle::current(),
        };
        let mut state = self.lock();
        state.members.insert(session, member);
        state.router.entered(session, level);
    }

    /// The session has begun and can be asked.
    pub(crate) fn attach(&self, id: SessionId, session: &Session) {
        let mut state = self.lock();
        let Some(member) = state.members.get_mut(&id) else { return };
        member.subscriber = Some(session.subscriber());
        member.version = Some(session.version());
        // Those that are there already are announced to it, too.
        let names = if member.level == Level::Below { &self.names } else { &self.offered };
        let untold = names.names().iter().filter(|name| member.leaves_out(id, name)).count();
        self.settings.untold.fetch_add(untold as u64, Ordering::Relaxed);
    }

    /// The session is over. Returns whether it was the last one from below.
    pub(crate) fn leave(self: &Arc<Self>, session: SessionId) -> bool {
        let (member, last) = self.step(|state| {
            let member = state.members.remove(&session);
            state.router.left(session);
            for mark in state.marks.leave(session) {
                self.offered.remove(&mark);
            }
            (member, state.is_empty())
        });
        drop(member);
        last
    }

    /// Whether nobody from below is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The session will be gone soon: others are to take over.
    pub(crate) fn is_leaving(self: &Arc<Self>, session: SessionId) {
        self.step(|state| state.router.is_leaving(session));
    }

    /// Waits until nothing more is taken from a session. Cancel safe.
    pub(crate) async fn unused(self: &Arc<Self>, session: SessionId) {
        let (tell, told) = oneshot::channel();
        self.step(|state| state.unused.push((session, tell)));
        let _ = told.await;
    }

    /// A relay is below, by way of this session, or no longer.
    pub(crate) fn marked(&self, session: SessionId, mark: &Namespace, there: bool) {
        if self.settings.mark.is(mark) {
            // It is told above anyway.
            return;
        }
        let mut state = self.lock();
        if there {
            if state.marks.insert(session, mark) {
                self.offered.insert(mark.clone());
            }
        } else if state.marks.remove(session, mark) {
            self.offered.remove(mark);
        }
    }

    pub(crate) fn announced(self: &Arc<Self>, session: SessionId, name: Namespace) -> Result<(), Reason> {
        self.step(|state| state.router.announced(session, name))
    }

    pub(crate) fn ended(self: &Arc<Self>, session: SessionId, name: &Namespace) {
        self.step(|state| state.router.ended(session, name));
    }

    /// The session announces nothing any more. Names go a few at a time with a rest between, so that others are not
    /// kept waiting by one that had many, by the relay or by the machine that is theirs too.
    pub(crate) async fn all_ended(self: &Arc<Self>, session: SessionId) {
        while !self.step(|state| state.router.all_ended(session, AT_ONCE)) {
            tokio::time::sleep(REST).await;
        }
    }

    pub(crate) fn watch(&self, level: Level, interest: Interest) -> AnnounceConsumer {
        match level {
            Level::Below => self.names.watch(interest),
            Level::Above => self.offered.watch(interest),
        }
    }

    pub(crate) fn names(&self) -> Vec<Namespace> {
        self.names.names()
    }

    /// Names that are announced, and tracks that come from upstream.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.router.names(), state.router.active())
    }

    pub(crate) fn want(
        self: &Arc<Self>,
        level: Level,
        name: &FullTrackName,
        wanted: Wanted,
    ) -> Waiting<TrackConsumer> {
        self.wait(Waiter::Track, |router, waiter| router.want(waiter, level, name, wanted))
    }

    pub(crate) fn ask_info(self: &Arc<Self>, level: Level, name: &FullTrackName) -> Waiting<Info> {
        self.wait(Waiter::Info, |router, waiter| router.ask_info(waiter, level, name))
    }

    /// Where a group of the track can come from: the track, if it is here, and the sessions to ask.
    pub(crate) fn sources(
        &self,
        level: Level,
        name: &FullTrackName,
    ) -> (Option<TrackConsumer>, Vec<Subscriber>) {
        let state = self.lock();
        let Sources { held, sessions } = state.router.sources(name, level);
        let subscriber = |session| state.members.get(session)?.subscriber.clone();
        (held, sessions.iter().filter_map(subscriber).collect())
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    fn wait<T>(
        self: &Arc<Self>,
        kind: impl FnOnce(oneshot::Sender<Result<T, Reason>>) -> Waiter,
        ask: impl FnOnce(&mut Router, WaiterId),
    ) -> Waiting<T> {
        let (reply, answer) = oneshot::channel();
        let waiter = self.step(|state| {
            let waiter = WaiterId(state.next_waiter);
            state.next_waiter += 1;
            state.waiters.insert(waiter, kind(reply));
            ask(&mut state.router, waiter);
            waiter
        });
        Waiting { scope: Arc::clone(self), waiter, answer }
    }

    /// Gives an input to the router and does what it says.
    fn step<R>(self: &Arc<Self>, input: impl FnOnce(&mut State) -> R) -> R {
        let mut cancelled = Vec::new();
        let result = {
            let mut state = self.lock();
            let result = input(&mut state);
            while let Some(output) = state.router.poll_output() {
                self.perform(&mut state, output, &mut cancelled);
            }
            state.tell_unused();
            result
        };
        cancelled.iter().for_each(AbortHandle::abort);
        result
    }

    /// Counts the sessions of a level that cannot be told of a name.
    fn leave_out(&self, state: &mut State, level: Level, name: &Namespace) {
        let members = state.members.iter_mut().filter(|(_, member)| member.level == level);
        let untold = members.filter_map(|(id, member)| member.leaves_out(*id, name).then_some(())).count();
        self.settings.untold.fetch_add(untold as u64, Ordering::Relaxed);
    }

    fn perform(self: &Arc<Self>, state: &mut State, output: Output, cancelled: &mut Vec<AbortHandle>) {
        match output {
            Output::Announce(name) => {
                self.leave_out(state, Level::Below, &name);
                self.names.insert(name);
            }
            Output::Withdraw(name) => {
                self.names.remove(&name);
            }
            Output::Offer(name) => {
                self.leave_out(state, Level::Above, &name);
                self.offered.insert(name);
            }
            Output::Retract(name) => {
                self.offered.remove(&name);
            }
            Output::Subscribe { ask, track, session, name, wanted } => {
                debug!(to = session.0, track = %name, "subscribe upstream");
                let held = state.held.get(&track).map(Held::join);
                let Some((member, subscriber)) = state.member(session) else {
                    return state.router.track_answered(ask, Err(Reason::GoingAway));
                };
                self.settings.subscribed.fetch_add(1, Ordering::Relaxed);
                let asked = feeds::Asked { ask, track, name, wanted };
                let running = member.spawn(feeds::feed(Arc::clone(self), subscriber, asked, held));
                state.asks.insert(ask, running);
            }
            Output::Mend { track, session } => {
                let Some(track) = state.held.get(&track).map(|held| held.track.clone()) else { return };
                if let Some((member, subscriber)) = state.member(session) {
                    member.spawn(feeds::mend(track, subscriber));
                }
            }
            Output::Release { track, asks } => {
                // What feeds it ends with it.
                asks.iter().for_each(|ask| drop(state.asks.remove(ask)));
                if let Some(held) = state.held.remove(&track) {
                    held.release();
                }
            }
            Output::AskInfo { ask, session, name } => {
                debug!(to = session.0, track = %name, "ask for info upstream");
                let Some((member, subscriber)) = state.member(session) else {
                    return state.router.info_answered(ask, Err(Reason::GoingAway));
                };
                let scope = Arc::clone(self);
                let running = member.spawn(async move {
                    let answer = tokio::time::timeout(scope.settings.answer, subscriber.info(name)).await;
                    let answer = match answer {
                        Ok(answer) => answer.map_err(|error| upstream::reason(&error)),
                        Err(_) => Err(Reason::Timeout),
                    };
                    scope.step(|state| {
                        state.asks.remove(&ask);
                        state.router.info_answered(ask, answer);
                    });
                });
                state.asks.insert(ask, running);
            }
            Output::Cancel { ask, .. } => cancelled.extend(state.asks.remove(&ask)),
            Output::Track { waiter, answer } => {
                if let Some(Waiter::Track(reply)) = state.waiters.remove(&waiter) {
                    let _ = reply.send(answer);
                }
            }
            Output::Info { waiter, answer } => {
                if let Some(Waiter::Info(reply)) = state.waiters.remove(&waiter) {
                    let _ = reply.send(answer);
                }
            }
        }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.members.values().all(|member| member.level == Level::Above)
    }

    /// Tells those who wait for that, that nothing more is taken from their sessions.
    fn tell_unused(&mut self) {
        let (still, unused): (Vec<_>, Vec<_>) =
            self.unused.drain(..).partition(|(session, _)| self.router.uses(*session));
        self.unused = still;
        unused.into_iter().for_each(|(_, tell)| drop(tell));
    }

    /// A session that can be asked.
    fn member(&mut self, session: SessionId) -> Option<(&mut Member, Subscriber)> {
        let member = self.members.get_mut(&session)?;
        let subscriber = member.subscriber.clone()?;
        Some((member, subscriber))
    }
}
