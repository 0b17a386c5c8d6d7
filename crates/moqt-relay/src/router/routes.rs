//! Which session has which name.

use std::collections::{BTreeMap, BTreeSet};

use moqt::{FullTrackName, Namespace};

use super::SessionId;

/// The table of announced names. The one place that knows how a track leads to the sessions that have it.
///
/// Now a track is looked up by the whole of its name, among the sessions of this process. Names that stand for
/// namespaces, and sessions that stand for other relays, would change this table and nothing else.
#[derive(Debug, Default)]
pub struct Routes {
    /// For each name the sessions that announced it, in the order in which they did; never empty.
    names: BTreeMap<Namespace, Vec<SessionId>>,
    sessions: BTreeMap<SessionId, BTreeSet<Namespace>>,
    announcements: usize,
}

impl Routes {
    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many announcements there are: a name counts once for each session that has it.
    #[must_use]
    pub fn announcements(&self) -> usize {
        self.announcements
    }

    /// The sessions that have a track, the one to ask first at the front.
    pub fn publishers(&self, track: &FullTrackName) -> impl Iterator<Item = SessionId> + '_ {
        self.names.get(&track.to_namespace()).into_iter().flatten().copied()
    }

    /// A session announced a name. Returns whether the name is new.
    pub fn insert(&mut self, session: SessionId, name: Namespace) -> bool {
        if !self.sessions.entry(session).or_default().insert(name.clone()) {
            return false;
        }
        self.announcements += 1;
        let sessions = self.names.entry(name).or_default();
        sessions.push(session);
        sessions.len() == 1
    }

    /// A session withdrew a name. Returns whether nobody has it any more.
    pub fn remove(&mut self, session: SessionId, name: &Namespace) -> bool {
        let Some(names) = self.sessions.get_mut(&session) else { return false };
        if !names.remove(name) {
            return false;
        }
        if names.is_empty() {
            self.sessions.remove(&session);
        }
        self.drop_route(session, name)
    }

    /// A session is gone. Takes up to `most` of its names, in order; returns them, and whether nobody has them any
    /// more.
    pub fn leave(&mut self, session: SessionId, most: usize) -> Vec<(Namespace, bool)> {
        let mut left = Vec::new();
        while left.len() < most
            && let Some(name) = self.sessions.get_mut(&session).and_then(BTreeSet::pop_first)
        {
            let last = self.drop_route(session, &name);
            left.push((name, last));
        }
        if self.sessions.get(&session).is_some_and(BTreeSet::is_empty) {
            self.sessions.remove(&session);
        }
        left
    }

    fn drop_route(&mut self, session: SessionId, name: &Namespace) -> bool {
        let Some(sessions) = self.names.get_mut(name) else { return false };
        sessions.retain(|other| *other != session);
        self.announcements -= 1;
        let last = sessions.is_empty();
        if last {
            self.names.remove(name);
        }
        last
    }
}
