//! Asking upstream: one session after the other, until one answers.

use moqt::{FullTrackName, Priority, Reason};

use super::{AskId, Level, Output, Router, SessionId, Track, TrackId, Upstream, WaiterId};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Track,
    Info,
}

/// What of a track somebody wants, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The first group; `None` from the latest on.
    pub first: Option<u64>,
    /// How much it matters to whoever wants it, beside other tracks.
    pub priority: Priority,
}

/// A request that was made upstream, and those who wait for its answer.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) ask: AskId,
    /// What the track will be, if it comes of this.
    pub(super) id: TrackId,
    /// Who is asked now.
    pub(super) session: SessionId,
    /// Who was asked before.
    tried: Vec<SessionId>,
    pub(super) waiters: Vec<(WaiterId, Level)>,
    /// What the first of them wants.
    pub(super) wanted: Wanted,
}

impl Asking {
    /// Nobody is asked yet.
    pub(super) fn new(id: TrackId, waiter: (WaiterId, Level), wanted: Wanted) -> Self {
        let (ask, session) = (AskId(0), SessionId(0));
        Self { ask, id, session, tried: Vec::new(), waiters: vec![waiter], wanted }
    }
}

impl Router {
    /// Asks the first session that has the name.
    pub(super) fn ask(&mut self, kind: Kind, name: &FullTrackName, asking: Asking) {
        self.ask_next_or(kind, name, asking, Reason::NotFound);
    }

    /// The session that was asked turned it down for `reason`: the next one is asked, or the reason passed on.
    pub(super) fn ask_next(&mut self, kind: Kind, name: &FullTrackName, mut asking: Asking, reason: Reason) {
        asking.tried.push(asking.session);
        self.ask_next_or(kind, name, asking, reason);
    }

    fn ask_next_or(&mut self, kind: Kind, name: &FullTrackName, mut asking: Asking, reason: Reason) {
        let next = self.candidates(name).into_iter().find(|session| !asking.tried.contains(session));
        // Those above are not served what comes from above.
        let level = next.map(|session| self.routes.level(session));
        let (served, turned_down) =
            asking.waiters.into_iter().partition(|(_, waiter)| level.is_some_and(|at| at.serves(*waiter)));
        asking.waiters = served;
        let turned_down: Vec<(WaiterId, Level)> = turned_down;
        for (waiter, _) in turned_down {
            self.waiting.remove(&waiter);
            self.outputs.push_back(match kind {
                Kind::Track => Output::Track { waiter, answer: Err(reason) },
                Kind::Info => Output::Info { waiter, answer: Err(reason) },
            });
        }
        let Some(session) = next.filter(|_| !asking.waiters.is_empty()) else {
            return self.forget_if_idle(name);
        };
        let ask = self.next_ask(kind, name, session);
        (asking.ask, asking.session) = (ask, session);
        let (name, wanted, track) = (name.clone(), asking.wanted, asking.id);
        self.put_asking(kind, &name, asking);
        self.outputs.push_back(match kind {
            Kind::Track => Output::Subscribe { ask, track, session, name, wanted },
            Kind::Info => Output::AskInfo { ask, session, name },
        });
    }

    /// Whoever is asked at a session that has the name no longer, or is gone, need not answer.
    pub(super) fn ask_elsewhere(&mut self, kind: Kind, session: SessionId, name: &FullTrackName) {
        if let Some(asking) = self.take_asking(kind, name) {
            if asking.session == session {
                self.cancel(asking.ask);
                self.ask_next(kind, name, asking, Reason::NotFound);
            } else {
                self.put_asking(kind, name, asking);
            }
        }
    }

    /// Takes the request for a track out of the table, if there is one.
    pub(super) fn take_asking(&mut self, kind: Kind, name: &FullTrackName) -> Option<Asking> {
        let track = self.tracks.get_mut(name)?;
        match kind {
            Kind::Info => track.info.take(),
            Kind::Track => match std::mem::take(&mut track.upstream) {
                Upstream::Asking(asking) => Some(asking),
                other => {
                    track.upstream = other;
                    None
                }
            },
        }
    }

    pub(super) fn put_asking(&mut self, kind: Kind, name: &FullTrackName, asking: Asking) {
        let track = self.tracks.entry(name.clone()).or_default();
        match kind {
            Kind::Info => track.info = Some(asking),
            Kind::Track => track.upstream = Upstream::Asking(asking),
        }
    }

    /// Keeps nothing of a track that nobody asks for.
    pub(super) fn forget_if_idle(&mut self, name: &FullTrackName) {
        let idle = |track: &Track| matches!(track.upstream, Upstream::Idle) && track.info.is_none();
        if self.tracks.get(name).is_some_and(idle) {
            self.tracks.remove(name);
        }
    }
}
