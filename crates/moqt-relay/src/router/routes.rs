//! Which session has which name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use moqt::{FullTrackName, Namespace};

use super::{Level, SessionId};

/// What a table's change means to those who are told of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The name came, or is gone, for those below: nobody else has it.
    pub below: bool,
    /// So for those above, who are told only of what comes from below.
    pub above: bool,
}

/// The table of announced names: the one place that knows how a track leads to the sessions that have it.
///
/// [`Routes`] knows the sessions of this process. A registry that several relays share, and names that stand for
/// namespaces, would be other tables, and change nothing else.
pub trait RoutingTable: Debug + Send {
    /// A session is there, at this level; those that nobody spoke of are below.
    fn enter(&mut self, session: SessionId, level: Level);

    /// At which level a session is.
    fn level(&self, session: SessionId) -> Level;

    /// How many names there are.
    fn names(&self) -> usize;

    /// How many announcements there are: a name counts once for each session that has it.
    fn announcements(&self) -> usize;

    /// The sessions that have a track, the one to ask first at the front: those below before those above.
    fn publishers(&self, track: &FullTrackName) -> Vec<SessionId>;

    /// A session announced a name.
    fn insert(&mut self, session: SessionId, name: Namespace) -> Change;

    /// A session withdrew a name.
    fn remove(&mut self, session: SessionId, name: &Namespace) -> Change;

    /// A session withdrew its names, of which up to `most` are dropped. Returns those in order, each with what that
    /// means.
    fn clear(&mut self, session: SessionId, most: usize) -> Vec<(Namespace, Change)>;

    /// A session is gone; it has no names any more.
    fn leave(&mut self, session: SessionId);
}

/// The table of one process. A track is looked up by the whole of its name.
#[derive(Debug, Default)]
pub struct Routes {
    /// For each name the sessions that announced it, in the order in which they did; never empty.
    names: BTreeMap<Namespace, Vec<SessionId>>,
    sessions: BTreeMap<SessionId, BTreeSet<Namespace>>,
    above: BTreeSet<SessionId>,
    announcements: usize,
}

impl Routes {
    /// Whether a name that these sessions have is known to those below, and to those above.
    fn known(&self, sessions: Option<&Vec<SessionId>>) -> Change {
        let sessions = sessions.map(Vec::as_slice).unwrap_or_default();
        let above = sessions.iter().any(|session| !self.above.contains(session));
        Change { below: !sessions.is_empty(), above }
    }

    fn drop_route(&mut self, session: SessionId, name: &Namespace) -> Change {
        let before = self.known(self.names.get(name));
        if let Some(sessions) = self.names.get_mut(name) {
            sessions.retain(|other| *other != session);
            self.announcements -= 1;
            if sessions.is_empty() {
                self.names.remove(name);
            }
        }
        let after = self.known(self.names.get(name));
        Change { below: before.below && !after.below, above: before.above && !after.above }
    }
}

impl RoutingTable for Routes {
    fn enter(&mut self, session: SessionId, level: Level) {
        if level == Level::Above {
            self.above.insert(session);
        }
    }

    fn level(&self, session: SessionId) -> Level {
        if self.above.contains(&session) { Level::Above } else { Level::Below }
    }

    fn names(&self) -> usize {
        self.names.len()
    }

    fn announcements(&self) -> usize {
        self.announcements
    }

    fn publishers(&self, track: &FullTrackName) -> Vec<SessionId> {
        let mut sessions = self.names.get(&track.to_namespace()).cloned().unwrap_or_default();
        sessions.sort_by_key(|session| self.level(*session));
        sessions
    }

    fn insert(&mut self, session: SessionId, name: Namespace) -> Change {
        if !self.sessions.entry(session).or_default().insert(name.clone()) {
            return Change::default();
        }
        let before = self.known(self.names.get(&name));
        self.announcements += 1;
        self.names.entry(name.clone()).or_default().push(session);
        let after = self.known(self.names.get(&name));
        Change { below: after.below && !before.below, above: after.above && !before.above }
    }

    fn remove(&mut self, session: SessionId, name: &Namespace) -> Change {
        let Some(names) = self.sessions.get_mut(&session) else { return Change::default() };
        if !names.remove(name) {
            return Change::default();
        }
        if names.is_empty() {
            self.sessions.remove(&session);
        }
        self.drop_route(session, name)
    }

    fn clear(&mut self, session: SessionId, most: usize) -> Vec<(Namespace, Change)> {
        let mut gone = Vec::new();
        while gone.len() < most
            && let Some(name) = self.sessions.get_mut(&session).and_then(BTreeSet::pop_first)
        {
            let change = self.drop_route(session, &name);
            gone.push((name, change));
        }
        if self.sessions.get(&session).is_some_and(BTreeSet::is_empty) {
            self.sessions.remove(&session);
        }
        gone
    }

    fn leave(&mut self, session: SessionId) {
        self.above.remove(&session);
    }
}
