//! Asking upstream: one session after the other, until one answers.

use moqt::{FullTrackName, Namespace, Reason};

use super::{AskId, Kind, Output, Router, SessionId, Track, Upstream, WaiterId};

/// A request that was made upstream, and those who wait for its answer.
#[derive(Debug)]
pub(super) struct Asking {
    ask: AskId,
    /// Who is asked now.
    pub(super) session: SessionId,
    /// Who was asked before.
    tried: Vec<SessionId>,
    pub(super) waiters: Vec<WaiterId>,
    pub(super) first: Option<u64>,
}

impl Asking {
    /// Nobody is asked yet.
    pub(super) fn new(waiter: WaiterId, first: Option<u64>) -> Self {
        let (ask, session) = (AskId(0), SessionId(0));
        Self { ask, session, tried: Vec::new(), waiters: vec![waiter], first }
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
        let next = self.routes.publishers(name).find(|session| !asking.tried.contains(session));
        let Some(session) = next else {
            for waiter in asking.waiters {
                self.waiting.remove(&waiter);
                self.outputs.push_back(match kind {
                    Kind::Track => Output::Track { waiter, answer: Err(reason) },
                    Kind::Info => Output::Info { waiter, answer: Err(reason) },
                });
            }
            self.forget_if_idle(name);
            return;
        };
        let ask = AskId(self.next_ask);
        self.next_ask += 1;
        (asking.ask, asking.session) = (ask, session);
        self.asks.insert(ask, (kind, name.clone()));
        let (name, first) = (name.clone(), asking.first);
        self.put_asking(kind, &name, asking);
        self.outputs.push_back(match kind {
            Kind::Track => Output::Subscribe { ask, session, name, first },
            Kind::Info => Output::AskInfo { ask, session, name },
        });
    }

    /// A session has a name no longer: nothing new is taken from it under that name.
    pub(super) fn publisher_gone(&mut self, session: SessionId, name: &Namespace, last: bool) {
        if let Ok(name) = FullTrackName::try_from(name.clone()) {
            for kind in [Kind::Track, Kind::Info] {
                if let Some(asking) = self.take_asking(kind, &name) {
                    if asking.session == session {
                        self.cancel(&asking);
                        self.ask_next(kind, &name, asking, Reason::NotFound);
                    } else {
                        self.put_asking(kind, &name, asking);
                    }
                }
            }
            if let Some(Track { upstream, .. }) = self.tracks.get_mut(&name)
                && let Upstream::Active { ask, session: at, .. } = *upstream
                && at == session
            {
                *upstream = Upstream::Idle;
                self.outputs.push_back(Output::Cancel { ask, session });
            }
            self.forget_if_idle(&name);
        }
        if last {
            self.outputs.push_back(Output::Withdraw(name.clone()));
        }
    }

    pub(super) fn cancel(&mut self, asking: &Asking) {
        if self.asks.remove(&asking.ask).is_some() {
            self.outputs.push_back(Output::Cancel { ask: asking.ask, session: asking.session });
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
