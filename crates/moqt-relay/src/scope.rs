//! The shell around a router: sessions that see each other, and the tasks that ask and answer between them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moqt::{
    AnnounceConsumer, AnnounceProducer, FullTrackName, Info, Interest, Namespace, Reason, Retention, Session,
    Subscriber, TrackConsumer, Version,
};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{AbortHandle, JoinSet},
};
use tracing::{debug, warn};

use crate::{
    router::{AskId, Output, Router, RouterLimits, SessionId, Sources, WaiterId},
    upstream,
};

/// Names of one session that are seen to without a break for others.
pub(crate) const AT_ONCE: usize = 64;

/// What all scopes of a relay have in common.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) retention: Retention,
    /// How long a track is kept coming after its last subscriber has left.
    pub(crate) linger: Duration,
    pub(crate) answer: Duration,
    pub(crate) router: RouterLimits,
    /// Subscriptions made upstream since the start, in all scopes.
    pub(crate) subscribed: AtomicU64,
    /// Fetches made upstream since the start, in all scopes.
    pub(crate) fetched: AtomicU64,
    /// Names that sessions could not be told since the start, in all scopes.
    pub(crate) untold: AtomicU64,
}

/// Sessions that see each other's tracks.
#[derive(Debug)]
pub(crate) struct Scope {
    settings: Arc<Settings>,
    names: AnnounceProducer,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    router: Router,
    members: BTreeMap<SessionId, Member>,
    waiters: BTreeMap<WaiterId, Waiter>,
    asks: BTreeMap<AskId, AbortHandle>,
    next_waiter: u64,
}

/// One session, with what it is asked: dropped, all of it ends.
#[derive(Debug)]
struct Member {
    /// Known once the session has begun.
    subscriber: Option<Subscriber>,
    /// What its peer can be told depends on it; known once the session has begun.
    version: Option<Version>,
    /// Whether a name was left out that its version cannot write.
    left_out: bool,
    /// Requests under way. They are started under the lock of the state, so what they hold must not need it
    /// when it is dropped.
    asks: JoinSet<()>,
    runtime: Handle,
}

/// Where an answer goes.
#[derive(Debug)]
enum Waiter {
    Track(oneshot::Sender<Result<TrackConsumer, Reason>>),
    Info(oneshot::Sender<Result<Info, Reason>>),
}

/// An answer that may come later. Dropped, the question is withdrawn.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    scope: Arc<Scope>,
    waiter: WaiterId,
    answer: oneshot::Receiver<Result<T, Reason>>,
}

impl<T> Waiting<T> {
    /// The answer, if it is there.
    pub(crate) fn now(&mut self) -> Option<Result<T, Reason>> {
        self.answer.try_recv().ok()
    }

    /// Waits for the answer. Cancel safe.
    pub(crate) async fn answer(&mut self) -> Result<T, Reason> {
        (&mut self.answer).await.unwrap_or(Err(Reason::Internal))
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        let waiter = self.waiter;
        self.scope.step(|state| {
            state.waiters.remove(&waiter);
            state.router.gave_up(waiter);
        });
    }
}

impl Scope {
    pub(crate) fn new(settings: Arc<Settings>) -> Arc<Self> {
        let state = State {
            router: Router::new(settings.router),
            members: BTreeMap::new(),
            waiters: BTreeMap::new(),
            asks: BTreeMap::new(),
            next_waiter: 0,
        };
        Arc::new(Self { settings, names: AnnounceProducer::new(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session is about to begin. Must be called within a tokio runtime.
    pub(crate) fn enter(&self, session: SessionId) {
        let member = Member {
            subscriber: None,
            version: None,
            left_out: false,
            asks: JoinSet::new(),
            runtime: Handle::current(),
        };
        self.lock().members.insert(session, member);
    }

    /// The session has begun and can be asked.
    pub(crate) fn attach(&self, id: SessionId, session: &Session) {
        let mut state = self.lock();
        let Some(member) = state.members.get_mut(&id) else { return };
        member.subscriber = Some(session.subscriber());
        member.version = Some(session.version());
        // Those that are there already are announced to it, too.
        let untold = self.names.names().iter().filter(|name| member.leaves_out(id, name)).count();
        self.settings.untold.fetch_add(untold as u64, Ordering::Relaxed);
    }

    /// The session is over. Returns whether it was the last one here.
    pub(crate) fn leave(self: &Arc<Self>, session: SessionId) -> bool {
        let (member, last) = self.step(|state| {
            let member = state.members.remove(&session);
            state.router.left(session, usize::MAX);
            (member, state.members.is_empty())
        });
        drop(member);
        last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().members.is_empty()
    }

    pub(crate) fn announced(self: &Arc<Self>, session: SessionId, name: Namespace) -> Result<(), Reason> {
        self.step(|state| state.router.announced(session, name))
    }

    pub(crate) fn ended(self: &Arc<Self>, session: SessionId, name: &Namespace) {
        self.step(|state| state.router.ended(session, name));
    }

    /// The session announces nothing any more. Names go a few at a time, so that others are not kept waiting by one
    /// that had many.
    pub(crate) async fn all_ended(self: &Arc<Self>, session: SessionId) {
        while !self.step(|state| state.router.left(session, AT_ONCE)) {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.names.watch(interest)
    }

    pub(crate) fn names(&self) -> Vec<Namespace> {
        self.names.names()
    }

    /// Names that are announced, and tracks that come from upstream.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.router.names(), state.router.active())
    }

    pub(crate) fn want(self: &Arc<Self>, name: &FullTrackName, first: Option<u64>) -> Waiting<TrackConsumer> {
        self.wait(Waiter::Track, |router, waiter| router.want(waiter, name, first))
    }

    pub(crate) fn ask_info(self: &Arc<Self>, name: &FullTrackName) -> Waiting<Info> {
        self.wait(Waiter::Info, |router, waiter| router.ask_info(waiter, name))
    }

    /// Where a group of the track can come from: the track, if it is here, and the sessions to ask.
    pub(crate) fn sources(&self, name: &FullTrackName) -> (Option<TrackConsumer>, Vec<Subscriber>) {
        let state = self.lock();
        let Sources { held, sessions } = state.router.sources(name);
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
            result
        };
        cancelled.iter().for_each(AbortHandle::abort);
        result
    }

    fn perform(self: &Arc<Self>, state: &mut State, output: Output, cancelled: &mut Vec<AbortHandle>) {
        match output {
            Output::Announce(name) => {
                let members = state.members.iter_mut();
                let untold =
                    members.filter_map(|(id, member)| member.leaves_out(*id, &name).then_some(())).count();
                self.settings.untold.fetch_add(untold as u64, Ordering::Relaxed);
                self.names.insert(name);
            }
            Output::Withdraw(name) => {
                self.names.remove(&name);
            }
            Output::Subscribe { ask, session, name, first } => {
                debug!(to = session.0, track = %name, "subscribe upstream");
                let Some((member, subscriber)) = state.member(session) else {
                    return state.router.track_answered(ask, Err(Reason::GoingAway));
                };
                self.settings.subscribed.fetch_add(1, Ordering::Relaxed);
                let scope = Arc::clone(self);
                let running = member.spawn(async move {
                    let Settings { retention, answer, linger, .. } = *scope.settings;
                    let answer =
                        tokio::time::timeout(answer, upstream::subscribe(subscriber, name, first, retention));
                    let answer = answer.await.unwrap_or(Err(Reason::Timeout));
                    let kept =
                        answer.as_ref().ok().map(|(track, _)| track.clone()).filter(|_| !linger.is_zero());
                    scope.step(|state| state.router.track_answered(ask, answer));
                    let scope = {
                        let weak = Arc::downgrade(&scope);
                        drop(scope);
                        weak
                    };
                    if let Some(track) = kept {
                        // Who comes back soon, or comes next, finds it going.
                        track.alone_for(linger).await;
                    }
                    if let Some(scope) = scope.upgrade() {
                        scope.lock().asks.remove(&ask);
                    }
                });
                state.asks.insert(ask, running);
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
    /// A session that can be asked.
    fn member(&mut self, session: SessionId) -> Option<(&mut Member, Subscriber)> {
        let member = self.members.get_mut(&session)?;
        let subscriber = member.subscriber.clone()?;
        Some((member, subscriber))
    }
}

impl Member {
    /// Whether the session's version has no way to write the name. Nobody else would say so: to its peer there is
    /// no such track.
    fn leaves_out(&mut self, id: SessionId, name: &Namespace) -> bool {
        let Some(version) = self.version else { return false };
        let Err(error) = name.fits(version.spec()) else { return false };
        if std::mem::replace(&mut self.left_out, true) {
            debug!(to = id.0, %version, %name, %error, "name cannot be written in the session's version");
        } else {
            warn!(
                to = id.0, %version, %name, %error,
                "name cannot be written in the session's version: left out there, as are others like it"
            );
        }
        true
    }

    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        // Nobody waits for them, so those that are done are cleared away here.
        while self.asks.try_join_next().is_some() {}
        self.asks.spawn_on(work, &self.runtime)
    }
}
