//! Where one group can come from.

use moqt::{FullTrackName, TrackConsumer};

use super::{Level, Router, SessionId, Upstream};

/// Where a group of a track can come from, the best first.
#[derive(Debug, Default)]
pub struct Sources {
    /// The track as it comes from upstream at this time; what it holds costs no request.
    pub held: Option<TrackConsumer>,
    /// The sessions to ask, one after the other: first those that send the track, whose numbers are those that
    /// subscribers see.
    pub sessions: Vec<SessionId>,
}

impl Router {
    /// Where a group of this track can come from, for somebody at this level. Nothing is asked, and nothing remembered.
    #[must_use]
    pub fn sources(&self, name: &FullTrackName, level: Level) -> Sources {
        let active = match self.tracks.get(name).map(|track| &track.upstream) {
            Some(Upstream::Active(active)) if level == Level::Below || active.is_from_below() => Some(active),
            _ => None,
        };
        let held = active.and_then(|active| active.track.upgrade());
        let mut sessions: Vec<_> = match active {
            Some(active) if held.is_some() => active.running().collect(),
            _ => Vec::new(),
        };
        for session in self.routes.publishers(name) {
            if !sessions.contains(&session) && self.routes.level(session).serves(level) {
                sessions.push(session);
            }
        }
        Sources { held, sessions }
    }
}
