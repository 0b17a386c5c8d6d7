//! Who has which track, and who waits for it: the decisions of one scope, without clock, task or socket.
//!
//! Sessions announce names; sessions want tracks. The router sees to it that a track is asked for upstream once,
//! however many want it, that those who wait get one answer each, and that a name is there for everybody as long
//! as somebody announces it. Inputs are the methods of [`Router`]; what to do comes out of
//! [`poll_output`](Router::poll_output).

mod asking;
mod fetching;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use moqt::{FullTrackName, Info, Namespace, Reason, Start, TrackConsumer, WeakTrack};

use self::asking::Asking;
pub use self::{fetching::Sources, routes::Routes};

/// One session, for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Somebody who waits for an answer; picked by the caller, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// One request to an upstream session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

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

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// The name is there now, for everybody in the scope.
    Announce(Namespace),
    /// The name is gone.
    Withdraw(Namespace),
    /// Subscribe at a session; answer with [`Router::track_answered`].
    Subscribe {
        /// Names this request.
        ask: AskId,
        /// Where.
        session: SessionId,
        /// What.
        name: FullTrackName,
        /// The first group that the one who asked first wants; `None` from the latest on.
        first: Option<u64>,
    },
    /// Ask a session about a track, without subscribing; answer with [`Router::info_answered`].
    AskInfo {
        /// Names this request.
        ask: AskId,
        /// Where.
        session: SessionId,
        /// What.
        name: FullTrackName,
    },
    /// Give a request up, or the track that it brought and that nobody joins any more; an answer that comes all the
    /// same is ignored.
    Cancel {
        /// The request.
        ask: AskId,
        /// Where it was made.
        session: SessionId,
    },
    /// The answer to [`Router::want`].
    Track {
        /// Who waits.
        waiter: WaiterId,
        /// A reader of the track, or why there is none.
        answer: Result<TrackConsumer, Reason>,
    },
    /// The answer to [`Router::ask_info`].
    Info {
        /// Who waits.
        waiter: WaiterId,
        /// What is known, or why nothing is.
        answer: Result<Info, Reason>,
    },
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
    /// A session sends it, as long as somebody reads.
    Active {
        /// The request that brought it.
        ask: AskId,
        session: SessionId,
        /// Weak: the last reader that leaves ends the subscription.
        track: WeakTrack,
        /// The newest group when the session accepted.
        latest: Option<u64>,
        /// The first group that was asked for, or was the newest.
        begins: Option<u64>,
    },
}

#[derive(Debug, Default)]
struct Track {
    upstream: Upstream,
    info: Option<Asking>,
}

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Track,
    Info,
}

/// The router of one scope.
#[derive(Debug, Default)]
pub struct Router {
    limits: RouterLimits,
    routes: Routes,
    /// Tracks that are wanted, or were when they were last asked for.
    tracks: BTreeMap<FullTrackName, Track>,
    waiting: BTreeMap<WaiterId, (Kind, FullTrackName)>,
    asks: BTreeMap<AskId, (Kind, FullTrackName)>,
    next_ask: u64,
    outputs: VecDeque<Output>,
}

impl Router {
    /// A router without sessions.
    #[must_use]
    pub fn new(limits: RouterLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many names are announced, each counted once.
    #[must_use]
    pub fn names(&self) -> usize {
        self.routes.len()
    }

    /// How many tracks come from upstream at this time.
    #[must_use]
    pub fn active(&self) -> usize {
        let live = |track: &&Track| match &track.upstream {
            Upstream::Active { track, .. } => track.upgrade().is_some(),
            Upstream::Idle | Upstream::Asking(_) => false,
        };
        self.tracks.values().filter(live).count()
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
        if self.routes.insert(session, name.clone()) {
            self.outputs.push_back(Output::Announce(name));
        }
        Ok(())
    }

    /// A session withdrew a name. What it sends of the track already goes on; whoever comes now is routed to the
    /// next session that has the name.
    pub fn ended(&mut self, session: SessionId, name: &Namespace) {
        let last = self.routes.remove(session, name);
        self.publisher_gone(session, name, last);
    }

    /// A session is gone, with all its names, of which up to `most` are seen to; `false` where there may be more. Those
    /// of its requests that still wait are to be given up one by one.
    pub fn left(&mut self, session: SessionId, most: usize) -> bool {
        let left = self.routes.leave(session, most);
        let all = left.len() < most;
        for (name, last) in left {
            self.publisher_gone(session, &name, last);
        }
        all
    }

    /// Somebody wants a track, from group `first` or the latest on. Answered by [`Output::Track`].
    pub fn want(&mut self, waiter: WaiterId, name: &FullTrackName, first: Option<u64>) {
        let track = self.tracks.entry(name.clone()).or_default();
        if let Upstream::Active { ask, session, track: active, begins, .. } = &track.upstream {
            // A track that only lingers is not worth what it lacks.
            let lacks = first.is_some_and(|first| begins.is_some_and(|begins| first < begins));
            if let Some(reader) = active.upgrade() {
                if !lacks || reader.readers() > LINGERING {
                    self.outputs.push_back(Output::Track { waiter, answer: Ok(reader) });
                    return;
                }
                // Nobody can join it from now on, so it does not linger beside the one that takes its place.
                self.outputs.push_back(Output::Cancel { ask: *ask, session: *session });
            }
            track.upstream = Upstream::Idle;
        }
        match &mut track.upstream {
            Upstream::Asking(asking) if asking.waiters.len() >= self.limits.waiters => {
                let answer = Err(Reason::TooMany);
                self.outputs.push_back(Output::Track { waiter, answer });
            }
            Upstream::Asking(asking) => {
                asking.waiters.push(waiter);
                self.waiting.insert(waiter, (Kind::Track, name.clone()));
            }
            Upstream::Idle | Upstream::Active { .. } => {
                self.waiting.insert(waiter, (Kind::Track, name.clone()));
                self.ask(Kind::Track, name, Asking::new(waiter, first));
            }
        }
    }

    /// Somebody asks about a track without wanting it. Answered by [`Output::Info`].
    pub fn ask_info(&mut self, waiter: WaiterId, name: &FullTrackName) {
        let track = self.tracks.entry(name.clone()).or_default();
        if let Upstream::Active { track: active, latest, .. } = &track.upstream
            && let Some(reader) = active.upgrade()
        {
            let info = Info { track: reader.info(), latest: reader.latest().max(*latest) };
            self.outputs.push_back(Output::Info { waiter, answer: Ok(info) });
            return;
        }
        match &mut track.info {
            Some(asking) if asking.waiters.len() >= self.limits.waiters => {
                let answer = Err(Reason::TooMany);
                self.outputs.push_back(Output::Info { waiter, answer });
            }
            Some(asking) => {
                asking.waiters.push(waiter);
                self.waiting.insert(waiter, (Kind::Info, name.clone()));
            }
            None => {
                self.waiting.insert(waiter, (Kind::Info, name.clone()));
                self.ask(Kind::Info, name, Asking::new(waiter, None));
            }
        }
    }

    /// A waiter does not wait any longer. The last one to go gives the upstream request up.
    pub fn gave_up(&mut self, waiter: WaiterId) {
        let Some((kind, name)) = self.waiting.remove(&waiter) else { return };
        let Some(mut asking) = self.take_asking(kind, &name) else { return };
        asking.waiters.retain(|other| *other != waiter);
        if asking.waiters.is_empty() {
            self.cancel(&asking);
        } else {
            self.put_asking(kind, &name, asking);
        }
        self.forget_if_idle(&name);
    }

    /// A session answered an [`Output::Subscribe`]; `latest` is its newest group.
    pub fn track_answered(&mut self, ask: AskId, answer: Result<(TrackConsumer, Option<u64>), Reason>) {
        let Some((Kind::Track, name)) = self.asks.remove(&ask) else { return };
        let Some(asking) = self.take_asking(Kind::Track, &name) else { return };
        match answer {
            Ok((reader, latest)) => {
                let (session, track) = (asking.session, reader.downgrade());
                // The newest group of that time; 0 may stand for none, and then it is whatever comes first.
                let reader = match latest {
                    Some(latest) if latest > 0 => reader.reader(Start::At(latest)),
                    _ => reader,
                };
                for waiter in asking.waiters {
                    self.waiting.remove(&waiter);
                    self.outputs.push_back(Output::Track { waiter, answer: Ok(reader.clone()) });
                }
                let begins = [asking.first, latest].into_iter().flatten().min();
                self.tracks.entry(name).or_default().upstream =
                    Upstream::Active { ask, session, track, latest, begins };
            }
            Err(reason) => self.ask_next(Kind::Track, &name, asking, reason),
        }
    }

    /// A session answered an [`Output::AskInfo`].
    pub fn info_answered(&mut self, ask: AskId, answer: Result<Info, Reason>) {
        let Some((Kind::Info, name)) = self.asks.remove(&ask) else { return };
        let Some(asking) = self.take_asking(Kind::Info, &name) else { return };
        match answer {
            Ok(info) => {
                for waiter in asking.waiters {
                    self.waiting.remove(&waiter);
                    self.outputs.push_back(Output::Info { waiter, answer: Ok(info) });
                }
                self.forget_if_idle(&name);
            }
            Err(reason) => self.ask_next(Kind::Info, &name, asking, reason),
        }
    }
}
