//! Who has which track, and who waits for it: the decisions of one scope, without clock, task or socket.
//!
//! Sessions announce names; sessions want tracks. The router sees to it that a track is asked for upstream once,
//! however many want it, that those who wait get one answer each, and that a name is there for everybody as long
//! as somebody announces it. Inputs are the methods of [`Router`]; what to do comes out of
//! [`poll_output`](Router::poll_output).

mod asking;
mod feeding;
mod fetching;
mod ids;
mod output;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use moqt::{FullTrackName, Info, Namespace, Reason, Start, TrackConsumer};

pub use self::{
    asking::Wanted,
    fetching::Sources,
    ids::{AskId, Level, Redundancy, SessionId, TrackId, WaiterId},
    output::Output,
    routes::{Change, Routes, RoutingTable},
};
use self::{
    asking::{Asking, Kind},
    feeding::Active,
};

/// What peers can make a router hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouterLimits {
    /// Announcements of all sessions together.
    pub names: usize,
    /// Requests that wait for the same upstream answer.
    pub waiters: usize,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self { names: 1 << 17, waiters: 1 << 14 }
    }
}

/// Readers of a track that nobody wants just now: the one that keeps it going, and the one that asks.
const LINGERING: usize = 2;

/// How a track stands with the sessions that have it.
#[derive(Debug, Default)]
enum Upstream {
    /// Nobody wants it.
    #[default]
    Idle,
    /// A session was asked.
    Asking(Asking),
    /// It is here, as long as somebody reads.
    Active(Active),
}

#[derive(Debug, Default)]
struct Track {
    upstream: Upstream,
    info: Option<Asking>,
}

/// The router of one scope.
#[derive(Debug)]
pub struct Router {
    limits: RouterLimits,
    redundancy: Redundancy,
    /// Whether there are those above to be told of names.
    has_above: bool,
    routes: Box<dyn RoutingTable>,
    /// Sessions that are about to go.
    leaving: BTreeSet<SessionId>,
    /// Tracks that are wanted, or were when they were last asked for.
    tracks: BTreeMap<FullTrackName, Track>,
    waiting: BTreeMap<WaiterId, (Kind, FullTrackName)>,
    asks: BTreeMap<AskId, (Kind, FullTrackName, SessionId)>,
    /// The requests at each session.
    asked: BTreeMap<SessionId, BTreeSet<AskId>>,
    next_ask: u64,
    next_track: u64,
    outputs: VecDeque<Output>,
}

impl Default for Router {
    fn default() -> Self {
        Self::new(RouterLimits::default(), Redundancy::default())
    }
}

impl Router {
    /// A router without sessions, over a table of its own.
    #[must_use]
    pub fn new(limits: RouterLimits, redundancy: Redundancy) -> Self {
        Self::over(Box::new(Routes::default()), limits, redundancy)
    }

    /// A router over this table.
    #[must_use]
    pub fn over(routes: Box<dyn RoutingTable>, limits: RouterLimits, redundancy: Redundancy) -> Self {
        Self {
            limits,
            redundancy,
            has_above: false,
            routes,
            leaving: BTreeSet::new(),
            tracks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            asks: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_ask: 0,
            next_track: 0,
            outputs: VecDeque::new(),
        }
    }

    /// There are relays above, that are told of names: [`Output::Offer`].
    #[must_use]
    pub fn with_above(mut self) -> Self {
        self.has_above = true;
        self
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many names are announced, each counted once.
    #[must_use]
    pub fn names(&self) -> usize {
        self.routes.names()
    }

    /// Whether somebody has announced a track.
    #[must_use]
    pub fn knows(&self, track: &FullTrackName) -> bool {
        !self.routes.publishers(track).is_empty()
    }

    /// How many tracks come from upstream at this time.
    #[must_use]
    pub fn active(&self) -> usize {
        let live = |track: &&Track| match &track.upstream {
            Upstream::Active(active) => active.track.upgrade().is_some(),
            Upstream::Idle | Upstream::Asking(_) => false,
        };
        self.tracks.values().filter(live).count()
    }

    /// Whether anything was asked of a session that is not over.
    #[must_use]
    pub fn uses(&self, session: SessionId) -> bool {
        self.asked.contains_key(&session)
    }

    /// A session is there, at this level.
    pub fn entered(&mut self, session: SessionId, level: Level) {
        self.routes.enter(session, level);
    }

    /// A session announced a name.
    ///
    /// # Errors
    ///
    /// [`Reason::TooMany`]: the name is not taken, see [`RouterLimits::names`].
    pub fn announced(&mut self, session: SessionId, name: Namespace) -> Result<(), Reason> {
        if self.routes.announcements() >= self.limits.names {
            return Err(Reason::TooMany);
        }
        let Change { below, above } = self.routes.insert(session, name.clone());
        if above && self.has_above {
            self.outputs.push_back(Output::Offer(name.clone()));
        }
        if below {
            self.outputs.push_back(Output::Announce(name.clone()));
        }
        if let Ok(name) = FullTrackName::try_from(name) {
            self.feed_comes(session, &name);
        }
        Ok(())
    }

    /// A session withdrew a name. What it sends of the track goes on until another session delivers it.
    pub fn ended(&mut self, session: SessionId, name: &Namespace) {
        let change = self.routes.remove(session, name);
        self.publisher_gone(session, name, change);
    }

    /// A session withdrew all its names, of which up to `most` are seen to; `false` where there may be more.
    pub fn all_ended(&mut self, session: SessionId, most: usize) -> bool {
        let ended = self.routes.clear(session, most);
        let all = ended.len() < most;
        for (name, change) in ended {
            self.publisher_gone(session, &name, change);
        }
        all
    }

    /// A session will be gone soon: others are to take over what it sends. It keeps its names until then.
    pub fn is_leaving(&mut self, session: SessionId) {
        self.leaving.insert(session);
        let asks = self.asked.get(&session).cloned().unwrap_or_default();
        for ask in asks {
            if let Some((Kind::Track, name, _)) = self.asks.get(&ask).cloned() {
                self.feed_leaves(session, &name);
            }
        }
    }

    /// A session is gone, with all its names and what it was asked. Those of its own requests that still wait are to be
    /// given up one by one.
    pub fn left(&mut self, session: SessionId) {
        let gone = self.routes.clear(session, usize::MAX);
        for ask in self.asked.get(&session).cloned().unwrap_or_default() {
            let Some((kind, name, _)) = self.asks.get(&ask).cloned() else { continue };
            let asking = match self.tracks.get(&name) {
                Some(Track { info: Some(asking), .. }) if kind == Kind::Info => Some(asking.ask),
                Some(Track { upstream: Upstream::Asking(asking), .. }) if kind == Kind::Track => {
                    Some(asking.ask)
                }
                _ => None,
            };
            if asking == Some(ask) {
                self.ask_elsewhere(kind, session, &name);
            } else {
                self.outputs.push_back(Output::Cancel { ask, session });
                self.feed_ended(ask, Err(()));
            }
        }
        self.asked.remove(&session);
        self.leaving.remove(&session);
        self.routes.leave(session);
        for (name, change) in gone {
            self.publisher_gone(session, &name, change);
        }
    }

    /// A session has a name no longer: nothing new is taken from it under that name.
    fn publisher_gone(&mut self, session: SessionId, name: &Namespace, change: Change) {
        if let Ok(name) = FullTrackName::try_from(name.clone()) {
            for kind in [Kind::Track, Kind::Info] {
                self.ask_elsewhere(kind, session, &name);
            }
            self.feed_leaves(session, &name);
            self.forget_if_idle(&name);
        }
        if change.above && self.has_above {
            self.outputs.push_back(Output::Retract(name.clone()));
        }
        if change.below {
            self.outputs.push_back(Output::Withdraw(name.clone()));
        }
    }

    /// Somebody at this level wants a track. Answered by [`Output::Track`].
    pub fn want(&mut self, waiter: WaiterId, level: Level, name: &FullTrackName, wanted: Wanted) {
        let answer = |answer| Output::Track { waiter, answer };
        let is_gone = self.routes.publishers(name).is_empty();
        if let Some(active) = self.active_mut(name) {
            if is_gone && active.ends_soon() || !(level == Level::Below || active.is_from_below()) {
                return self.outputs.push_back(answer(Err(Reason::NotFound)));
            }
            // A track that only lingers is not worth what it lacks.
            let lacks = wanted.first.is_some_and(|first| active.begins.is_some_and(|begins| first < begins));
            if let Some(reader) = active.track.upgrade()
                && (!lacks || reader.readers() > LINGERING)
            {
                let reader = if level == Level::Above { active.gated(reader) } else { reader };
                return self.outputs.push_back(answer(Ok(reader)));
            }
            // Nobody can join it from now on, so it does not linger beside the one that takes its place.
            self.detach(name);
        }
        let limit = self.limits.waiters;
        match &mut self.tracks.entry(name.clone()).or_default().upstream {
            Upstream::Asking(asking) if asking.waiters.len() >= limit => {
                self.outputs.push_back(answer(Err(Reason::TooMany)));
            }
            Upstream::Asking(asking) if !self.routes.level(asking.session).serves(level) => {
                self.outputs.push_back(answer(Err(Reason::NotFound)));
            }
            Upstream::Asking(asking) => {
                asking.waiters.push((waiter, level));
                self.waiting.insert(waiter, (Kind::Track, name.clone()));
            }
            Upstream::Idle | Upstream::Active(_) => {
                self.waiting.insert(waiter, (Kind::Track, name.clone()));
                let id = TrackId(self.next_track);
                self.next_track += 1;
                self.ask(Kind::Track, name, Asking::new(id, (waiter, level), wanted));
            }
        }
    }

    /// Somebody at this level asks about a track without wanting it. Answered by [`Output::Info`].
    pub fn ask_info(&mut self, waiter: WaiterId, level: Level, name: &FullTrackName) {
        let answer = |answer| Output::Info { waiter, answer };
        if let Some(active) = self.active_mut(name)
            && (level == Level::Below || active.is_from_below())
            && let Some(reader) = active.track.upgrade()
        {
            let info = Info { track: reader.info(), latest: reader.latest().max(active.latest) };
            return self.outputs.push_back(answer(Ok(info)));
        }
        let limit = self.limits.waiters;
        match &mut self.tracks.entry(name.clone()).or_default().info {
            Some(asking) if asking.waiters.len() >= limit => {
                self.outputs.push_back(answer(Err(Reason::TooMany)));
            }
            Some(asking) if !self.routes.level(asking.session).serves(level) => {
                self.outputs.push_back(answer(Err(Reason::NotFound)));
            }
            Some(asking) => {
                asking.waiters.push((waiter, level));
                self.waiting.insert(waiter, (Kind::Info, name.clone()));
            }
            None => {
                self.waiting.insert(waiter, (Kind::Info, name.clone()));
                let id = TrackId(self.next_track);
                self.ask(Kind::Info, name, Asking::new(id, (waiter, level), Wanted::default()));
            }
        }
    }

    /// A waiter does not wait any longer. The last one to go gives the upstream request up.
    pub fn gave_up(&mut self, waiter: WaiterId) {
        let Some((kind, name)) = self.waiting.remove(&waiter) else { return };
        let Some(mut asking) = self.take_asking(kind, &name) else { return };
        asking.waiters.retain(|(other, _)| *other != waiter);
        if asking.waiters.is_empty() {
            self.cancel(asking.ask);
        } else {
            self.put_asking(kind, &name, asking);
        }
        self.forget_if_idle(&name);
    }

    /// A session answered an [`Output::Subscribe`]; `latest` is its newest group.
    pub fn track_answered(&mut self, ask: AskId, answer: Result<(TrackConsumer, Option<u64>), Reason>) {
        let Some((Kind::Track, name, _)) = self.asks.get(&ask).cloned() else { return };
        let Some(asking) = self.take_asking(Kind::Track, &name) else {
            return self.feed_answered(ask, &name, answer.map(|_| ()));
        };
        match answer {
            Ok((reader, latest)) => {
                let begins = [asking.wanted.first, latest].into_iter().flatten().min();
                let feed = (asking.session, self.routes.level(asking.session));
                let mut active = Active::new((asking.id, ask), feed, reader.downgrade(), latest, begins);
                // The newest group of that time; 0 may stand for none, and then it is whatever comes first.
                let reader = match latest {
                    Some(latest) if latest > 0 => reader.reader(Start::At(latest)),
                    _ => reader,
                };
                for (waiter, level) in asking.waiters {
                    self.waiting.remove(&waiter);
                    let reader = reader.clone();
                    let reader = if level == Level::Above { active.gated(reader) } else { reader };
                    self.outputs.push_back(Output::Track { waiter, answer: Ok(reader) });
                }
                self.tracks.entry(name.clone()).or_default().upstream = Upstream::Active(active);
                self.reinforce(&name);
            }
            Err(reason) => {
                self.forget_ask(ask);
                self.ask_next(Kind::Track, &name, asking, reason);
            }
        }
    }

    /// A session answered an [`Output::AskInfo`].
    pub fn info_answered(&mut self, ask: AskId, answer: Result<Info, Reason>) {
        let Some((Kind::Info, name, _)) = self.asks.get(&ask).cloned() else { return };
        self.forget_ask(ask);
        let Some(asking) = self.take_asking(Kind::Info, &name) else { return };
        match answer {
            Ok(info) => {
                for (waiter, _) in asking.waiters {
                    self.waiting.remove(&waiter);
                    self.outputs.push_back(Output::Info { waiter, answer: Ok(info) });
                }
                self.forget_if_idle(&name);
            }
            Err(reason) => self.ask_next(Kind::Info, &name, asking, reason),
        }
    }

    /// The sessions that have a track, those that are about to go last.
    fn candidates(&self, name: &FullTrackName) -> Vec<SessionId> {
        let mut sessions = self.routes.publishers(name);
        sessions.sort_by_key(|session| self.leaving.contains(session));
        sessions
    }

    fn next_ask(&mut self, kind: Kind, name: &FullTrackName, session: SessionId) -> AskId {
        let ask = AskId(self.next_ask);
        self.next_ask += 1;
        self.asks.insert(ask, (kind, name.clone(), session));
        self.asked.entry(session).or_default().insert(ask);
        ask
    }

    fn forget_ask(&mut self, ask: AskId) -> Option<SessionId> {
        let (_, _, session) = self.asks.remove(&ask)?;
        if let Some(asks) = self.asked.get_mut(&session) {
            asks.remove(&ask);
            if asks.is_empty() {
                self.asked.remove(&session);
            }
        }
        Some(session)
    }

    fn cancel(&mut self, ask: AskId) {
        if let Some(session) = self.forget_ask(ask) {
            self.outputs.push_back(Output::Cancel { ask, session });
        }
    }
}
