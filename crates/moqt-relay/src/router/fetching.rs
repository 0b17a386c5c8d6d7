//! Where one group can come from.

use moqt::{FullTrackName, TrackConsumer};

use super::{Router, SessionId, Upstream};

/// Where a group of a track can come from, the best first.
#[derive(Debug, Default)]
pub struct Sources {
    /// The track as it comes from upstream at this time; what it holds costs no request.
    pub held: Option<TrackConsumer>,
    /// The sessions to ask, one after the other: first the one that sends the track, whose numbers are those that
    /// subscribers see.
    pub sessions: Vec<SessionId>,
}

impl Router {
    /// Where a group of this track can come from. Nothing is asked, and nothing remembered.
    #[must_use]
    pub fn sources(&self, name: &FullTrackName) -> Sources {
        let active = match self.tracks.get(name).map(|track| &track.upstream) {
            Some(Upstream::Active { session, track, .. }) => track.upgrade().map(|track| (*session, track)),
            _ => None,
        };
        let (first, held) = active.map_or((None, None), |(session, track)| (Some(session), Some(track)));
        let others = self.routes.publishers(name).filter(|session| Some(*session) != first);
        Sources { held, sessions: first.into_iter().chain(others).collect() }
    }
}
