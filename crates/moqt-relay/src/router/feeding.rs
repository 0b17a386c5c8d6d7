//! The sessions that feed a track which is read: who joins them, who takes over, who may go.

use moqt::{FullTrackName, Gate, Reason, TrackConsumer, WeakTrack};

use super::{AskId, Kind, Level, Output, Redundancy, Router, SessionId, Track, TrackId, Upstream, Wanted};

/// A track that comes from upstream, as long as somebody reads.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: TrackId,
    /// Weak: the last reader that leaves ends the subscription.
    pub(super) track: WeakTrack,
    /// The newest group when the first session accepted.
    pub(super) latest: Option<u64>,
    /// The first group that was asked for, or was the newest.
    pub(super) begins: Option<u64>,
    feeds: Vec<Feed>,
    /// Sessions that turned the track down or broke off, and have not announced it anew.
    failed: Vec<SessionId>,
    /// What those above read through, as long as the track comes from below.
    gates: Vec<Gate>,
}

/// A session that feeds the track, or was asked to.
#[derive(Clone, Copy, Debug)]
struct Feed {
    ask: AskId,
    session: SessionId,
    level: Level,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not answered yet.
    Asked,
    /// It sends the track.
    Runs,
    /// It still does, and goes once another delivers.
    Leaving,
}

impl Active {
    pub(super) fn new(
        (id, ask): (TrackId, AskId),
        (session, level): (SessionId, Level),
        track: WeakTrack,
        latest: Option<u64>,
        begins: Option<u64>,
    ) -> Self {
        let feeds = vec![Feed { ask, session, level, stage: Stage::Runs }];
        Self { id, track, latest, begins, feeds, failed: Vec::new(), gates: Vec::new() }
    }

    /// Whether nothing of it comes from above, so that those above may have it.
    pub(super) fn is_from_below(&self) -> bool {
        self.feeds.iter().all(|feed| feed.level == Level::Below)
    }

    /// Whether all that comes of it comes from publishers that are about to stop.
    pub(super) fn ends_soon(&self) -> bool {
        let ends = |feed: &Feed| feed.stage == Stage::Leaving && feed.level == Level::Below;
        !self.feeds.is_empty() && self.feeds.iter().all(ends)
    }

    /// Those who send it.
    pub(super) fn running(&self) -> impl Iterator<Item = SessionId> {
        self.feeds.iter().filter(|feed| feed.stage != Stage::Asked).map(|feed| feed.session)
    }

    /// A reader for those above; it ends when the track no longer comes from below.
    pub(super) fn gated(&mut self, reader: TrackConsumer) -> TrackConsumer {
        self.gates.retain(|gate| !gate.is_unused());
        let (reader, gate) = reader.gated(Reason::NotFound);
        self.gates.push(gate);
        reader
    }

    /// The best level of those who feed it and are to go on with it.
    fn level(&self) -> Option<Level> {
        self.feeds.iter().filter(|feed| feed.stage != Stage::Leaving).map(|feed| feed.level).min()
    }

    fn feed(&mut self, ask: AskId) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.ask == ask)
    }
}

impl Router {
    pub(super) fn active_mut(&mut self, name: &FullTrackName) -> Option<&mut Active> {
        match &mut self.tracks.get_mut(name)?.upstream {
            Upstream::Active(active) => Some(active),
            Upstream::Idle | Upstream::Asking(_) => None,
        }
    }

    /// Asks those who should feed the track and do not: all of the best level, or one where there is none.
    pub(super) fn reinforce(&mut self, name: &FullTrackName) {
        let publishers: Vec<_> = self
            .candidates(name)
            .into_iter()
            .filter(|session| !self.leaving.contains(session))
            .map(|session| (session, self.routes.level(session)))
            .collect();
        let redundancy = self.redundancy;
        let Some(active) = self.active_mut(name) else { return };
        let usable = |(session, _): &(SessionId, Level)| !active.failed.contains(session);
        let Some(best) =
            publishers.iter().filter(|publisher| usable(publisher)).map(|(_, level)| *level).min()
        else {
            return;
        };
        let fed = active.level().is_some_and(|level| level <= best);
        let wanted: Vec<_> = publishers
            .into_iter()
            .filter(usable)
            .filter(|(session, level)| {
                let feeds =
                    active.feeds.iter().any(|feed| feed.session == *session && feed.stage != Stage::Leaving);
                *level == best && !feeds
            })
            .collect();
        match redundancy {
            Redundancy::Best if fed => {}
            Redundancy::Best => wanted.into_iter().take(1).for_each(|publisher| self.attach(name, publisher)),
            Redundancy::All => wanted.into_iter().for_each(|publisher| self.attach(name, publisher)),
        }
    }

    fn attach(&mut self, name: &FullTrackName, (session, level): (SessionId, Level)) {
        let ask = self.next_ask(Kind::Track, name, session);
        let Some(active) = self.active_mut(name) else { return };
        if level == Level::Above {
            // What comes from above is not for those above.
            active.gates.drain(..).for_each(Gate::close);
        }
        active.feeds.push(Feed { ask, session, level, stage: Stage::Asked });
        let (track, wanted) = (active.id, Wanted { first: active.begins, ..Wanted::default() });
        self.outputs.push_back(Output::Subscribe { ask, track, session, name: name.clone(), wanted });
    }

    /// A session that was asked to feed a track that is read has answered.
    pub(super) fn feed_answered(&mut self, ask: AskId, name: &FullTrackName, answer: Result<(), Reason>) {
        match answer {
            Ok(()) => {
                if let Some(feed) = self.active_mut(name).and_then(|active| active.feed(ask)) {
                    feed.stage = Stage::Runs;
                }
            }
            Err(_) => self.feed_lost(ask, name),
        }
    }

    /// What feeds a track has begun to deliver: those that it replaces may go.
    pub fn delivers(&mut self, ask: AskId) {
        let Some((Kind::Track, name, _)) = self.asks.get(&ask).cloned() else { return };
        let Some(active) = self.active_mut(&name) else { return };
        let Some(&mut Feed { level, .. }) = active.feed(ask) else { return };
        let (over, stay) = std::mem::take(&mut active.feeds)
            .into_iter()
            .partition(|feed| feed.ask != ask && (feed.stage == Stage::Leaving || feed.level > level));
        active.feeds = stay;
        let over: Vec<Feed> = over;
        over.iter().for_each(|feed| self.cancel(feed.ask));
    }

    /// What fed a track has ended: `Ok` when the track is complete, an error when it is not.
    pub fn feed_ended(&mut self, ask: AskId, end: Result<(), ()>) {
        let Some((Kind::Track, name, _)) = self.asks.get(&ask).cloned() else { return };
        if end.is_err() {
            return self.feed_lost(ask, &name);
        }
        self.forget_ask(ask);
        let Some(active) = self.active_mut(&name) else { return };
        active.feeds.retain(|feed| feed.ask != ask);
        if active.feeds.is_empty() {
            self.detach(&name);
        }
    }

    /// A session that was to take over has another track of that name, which began anew.
    pub fn is_other_track(&mut self, ask: AskId) {
        let Some((Kind::Track, name, _)) = self.asks.get(&ask).cloned() else { return };
        let Some(active) = self.active_mut(&name) else { return };
        let Some(&mut Feed { session, .. }) = active.feed(ask) else { return };
        active.feeds.retain(|feed| feed.ask != ask);
        active.failed.push(session);
        let over = active.feeds.is_empty();
        self.cancel(ask);
        if over {
            self.detach(&name);
        }
    }

    fn feed_lost(&mut self, ask: AskId, name: &FullTrackName) {
        self.forget_ask(ask);
        let Some(active) = self.active_mut(name) else { return };
        let Some(&mut Feed { session, stage, .. }) = active.feed(ask) else { return };
        active.feeds.retain(|feed| feed.ask != ask);
        if !active.failed.contains(&session) {
            active.failed.push(session);
        }
        // What it had begun, and others came too late for, they may still have.
        let mend = active.feeds.iter().find(|feed| feed.stage == Stage::Runs).map(|feed| feed.session);
        if let (Some(session), true) = (mend, stage != Stage::Asked) {
            let track = active.id;
            self.outputs.push_back(Output::Mend { track, session });
        }
        self.reinforce(name);
    }

    /// A session has a name no longer, or is about to go: what it sends goes on until another delivers.
    pub(super) fn feed_leaves(&mut self, session: SessionId, name: &FullTrackName) {
        let Some(active) = self.active_mut(name) else { return };
        let mut given_up = Vec::new();
        active.feeds.retain_mut(|feed| {
            if feed.session != session {
                return true;
            }
            if feed.stage == Stage::Asked {
                given_up.push(feed.ask);
                return false;
            }
            feed.stage = Stage::Leaving;
            true
        });
        given_up.into_iter().for_each(|ask| self.cancel(ask));
        self.reinforce(name);
    }

    /// A session announced a name that is read.
    pub(super) fn feed_comes(&mut self, session: SessionId, name: &FullTrackName) {
        let level = self.routes.level(session);
        let Some(active) = self.active_mut(name) else { return };
        active.failed.retain(|failed| *failed != session);
        let mut again = active.feeds.iter_mut().filter(|feed| feed.session == session);
        if let Some(feed) = again.find(|feed| feed.stage == Stage::Leaving) {
            if level == Level::Below {
                // A publisher that takes its track back and announces it again has a new one.
                return self.detach(name);
            }
            feed.stage = Stage::Runs;
        }
        self.reinforce(name);
    }

    /// Nobody can join the track any more. Those who read it go on for as long as it comes.
    pub(super) fn detach(&mut self, name: &FullTrackName) {
        let Some(Track { upstream, .. }) = self.tracks.get_mut(name) else { return };
        if let Upstream::Active(active) = std::mem::take(upstream) {
            let asks: Vec<_> = active.feeds.iter().map(|feed| feed.ask).collect();
            for ask in &asks {
                self.forget_ask(*ask);
            }
            self.outputs.push_back(Output::Release { track: active.id, asks });
        }
        self.forget_if_idle(name);
    }

    /// A track is over: nobody reads it, or nobody sends it.
    pub fn track_over(&mut self, track: TrackId, name: &FullTrackName) {
        if self.active_mut(name).is_none_or(|active| active.id != track) {
            return;
        }
        if let Some(Upstream::Active(active)) =
            self.tracks.get_mut(name).map(|track| std::mem::take(&mut track.upstream))
        {
            active.feeds.iter().for_each(|feed| self.cancel(feed.ask));
        }
        self.forget_if_idle(name);
    }
}
