//! Marks of relays: how a relay finds that it is above itself.
//!
//! No message says by which relays an announcement came. So a relay that has others above announces there, in each
//! scope, a name that nobody else has, and passes on the marks of those below. A relay to which its own mark comes from
//! below is above itself. Marks are not told to anybody below.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use moqt::Namespace;

use crate::{backoff::Dice, router::SessionId};

/// First part of a mark.
const FIRST: &[u8] = b".moqt-relay";

/// Most marks that are taken from one session.
pub(crate) const MARKS_PER_SESSION: usize = 256;

/// What tells one relay from all others, for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark(Namespace);

impl Mark {
    /// A new one.
    pub(crate) fn new(dice: &Dice) -> Self {
        let id = format!("{:016x}{:016x}", dice.roll(), dice.roll());
        // Two short parts of text are within the limits of every version.
        Self(Namespace::from_parts([Bytes::from_static(FIRST), Bytes::from(id)]))
    }

    pub(crate) fn name(&self) -> Namespace {
        self.0.clone()
    }

    pub(crate) fn is(&self, name: &Namespace) -> bool {
        self.0 == *name
    }
}

/// Whether a name is the mark of some relay.
pub(crate) fn is_mark(name: &Namespace) -> bool {
    name.len() == 2 && name.parts().next().is_some_and(|part| part == FIRST)
}

/// The marks that came from below, by the sessions that brought them.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    sessions: BTreeMap<SessionId, BTreeSet<Namespace>>,
    count: BTreeMap<Namespace, usize>,
}

impl Marks {
    /// Returns whether nobody brought it before.
    pub(crate) fn insert(&mut self, session: SessionId, mark: &Namespace) -> bool {
        let marks = self.sessions.entry(session).or_default();
        if marks.len() >= MARKS_PER_SESSION || !marks.insert(mark.clone()) {
            return false;
        }
        let count = self.count.entry(mark.clone()).or_default();
        *count += 1;
        *count == 1
    }

    /// Returns whether nobody brings it any more.
    pub(crate) fn remove(&mut self, session: SessionId, mark: &Namespace) -> bool {
        self.sessions.get_mut(&session).is_some_and(|marks| marks.remove(mark)) && self.drop_one(mark)
    }

    /// The session is gone. Returns the marks that nobody brings any more.
    pub(crate) fn leave(&mut self, session: SessionId) -> Vec<Namespace> {
        let marks = self.sessions.remove(&session).unwrap_or_default();
        marks.into_iter().filter(|mark| self.drop_one(mark)).collect()
    }

    fn drop_one(&mut self, mark: &Namespace) -> bool {
        let Some(count) = self.count.get_mut(mark) else { return false };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        self.count.remove(mark);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_relay_has_a_mark_of_its_own_and_other_names_are_none() {
        let dice = Dice::new(None);
        let (one, two) = (Mark::new(&dice), Mark::new(&dice));
        assert!(one.is(&one.name()) && !one.is(&two.name()));
        assert!(is_mark(&one.name()) && is_mark(&two.name()));
        for name in ["cam", ".moqt-relay", ".moqt-relay/1/2", "x/.moqt-relay", ""] {
            assert!(!is_mark(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn a_mark_is_there_as_long_as_one_session_brings_it_and_a_session_brings_so_many() {
        let dice = Dice::new(None);
        let (mut marks, mark) = (Marks::default(), Mark::new(&dice).name());
        let (one, two) = (SessionId(1), SessionId(2));
        assert!(marks.insert(one, &mark) && !marks.insert(one, &mark) && !marks.insert(two, &mark));
        assert!(!marks.remove(one, &mark) && !marks.remove(one, &mark));
        assert_eq!(marks.leave(two), [mark]);
        let taken = (0..1000).filter(|_| marks.insert(one, &Mark::new(&dice).name())).count();
        assert_eq!(taken, MARKS_PER_SESSION);
        assert_eq!(marks.leave(one).len(), MARKS_PER_SESSION);
        assert!(marks.count.is_empty() && marks.sessions.is_empty());
    }
}
