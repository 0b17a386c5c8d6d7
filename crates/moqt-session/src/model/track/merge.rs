//! A track that several sources feed, one after the other or at once.
//!
//! Each source says of itself what it will not bring. A number is given up when all of them have said so of it, and
//! nobody writes it; while there is no source at all, nothing is.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard},
    task::Poll,
    time::Duration,
};

use moqt_wire::FullTrackName;
use tokio::time::Instant;

use super::{Alive, Feed, State, TrackConsumer, TrackProducer, TrackShared, end};
use crate::{
    error::{GroupError, Reason, TrackError},
    model::{
        budget::CacheBudget,
        clock::now,
        group::{GroupShared, Pen},
        ranges::Runs,
        terms::{Retention, Start, TrackInfo},
        wait::Waiting,
    },
};

/// Who feeds a track.
#[derive(Debug, Default)]
pub(super) struct Sources {
    next: u64,
    /// What each will not bring.
    live: BTreeMap<u64, Runs>,
    /// Since when there is none.
    none_since: Option<Instant>,
    /// A source came to the end of the track, whose newest group was this.
    finished: Option<Option<u64>>,
    /// The lowest number that is of interest.
    floor: Option<u64>,
    mismatches: u64,
}

impl Sources {
    /// A number that nobody else writes under.
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn enter(&mut self) -> u64 {
        let id = self.id();
        self.live.insert(id, Runs::default());
        self.none_since = None;
        id
    }

    /// Which of `first` to `last` no source brings. Without a source one may yet come.
    fn hopeless(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut sources = self.live.values();
        let Some(declined) = sources.next() else { return Vec::new() };
        let mut hopeless = declined.within(first, last);
        for declined in sources {
            let common = |&(first, last): &(u64, u64)| declined.within(first, last);
            hopeless = hopeless.iter().flat_map(common).collect();
        }
        hopeless
    }

    pub(super) fn has_declined(&self, source: u64, sequence: u64) -> bool {
        self.live.get(&source).is_none_or(|declined| declined.contains(sequence))
    }

    /// Whether a source that is there has said that it will not bring this number.
    pub(super) fn is_declined(&self, source: u64, sequence: u64) -> bool {
        self.live.get(&source).is_some_and(|declined| declined.contains(sequence))
    }

    /// Readers have no use for what stands before `sequence`, unless one of them says otherwise.
    pub(super) fn begins_at(&mut self, sequence: u64) {
        self.floor = Some(self.floor.map_or(sequence, |floor| floor.min(sequence)));
    }

    /// A group has begun that was not there.
    pub(super) fn brought(&mut self, sequence: u64) {
        self.begins_at(sequence);
        if self.finished.is_some_and(|newest| newest < Some(sequence)) {
            // It goes on after all, elsewhere.
            self.finished = None;
        }
    }
}

/// What is to be done about a track of which parts are missing, as one who is about to ask for it sees it.
#[derive(Debug)]
pub(crate) struct Mending {
    pub(crate) pen: Pen,
    /// The first frame that is not there whole.
    pub(crate) frame: u64,
}

impl TrackShared {
    /// A source will not bring the groups from `first` to `last`.
    pub(super) fn decline(&self, state: &mut State, source: u64, first: u64, last: u64, reason: Reason) {
        if last < first {
            return;
        }
        for (_, held) in state.groups.range(first..=last) {
            // What of it is still read ends, so that it is not whole after all.
            held.group.revoke(source, reason);
        }
        let Some(declined) = state.sources.live.get_mut(&source) else { return };
        declined.insert(first, last);
        while declined.len() > self.retention.max_groups.max(1) {
            declined.join_lowest();
        }
        self.give_up_hopeless(state, first, last, reason);
    }

    fn give_up_hopeless(&self, state: &mut State, first: u64, last: u64, reason: Reason) {
        for (first, last) in state.sources.hopeless(first, last) {
            self.give_up_range(state, first, last, reason);
        }
    }

    /// Gives up what of `first` to `last` is neither whole nor being written.
    fn give_up_range(&self, state: &mut State, first: u64, last: u64, reason: Reason) {
        let mut new = Runs::default();
        for (first, last) in state.holes.within(first, last) {
            new.insert(first, last);
        }
        for (sequence, held) in state.groups.range_mut(first..=last).filter(|(_, held)| !held.given_up) {
            if held.group.give_up_unwritten(reason) {
                held.given_up = true;
                new.insert(sequence, sequence);
            }
        }
        let at = now();
        state.holes.settle(first, last, at);
        for (first, last) in new.iter() {
            state.add_gap(first, last, reason, at);
        }
        self.evict(state, at);
        state.covered.wake();
    }

    /// A source is none any more; `finished` if it came to the end of the track.
    pub(super) fn leave(&self, source: u64, finished: bool) {
        let mut state = self.lock();
        if state.sources.live.remove(&source).is_none() {
            return;
        }
        if finished {
            state.sources.finished = Some(state.latest);
        }
        state.changed.wake();
        state.covered.wake();
        if !state.sources.live.is_empty() {
            return self.give_up_hopeless(&mut state, 0, u64::MAX, Reason::NotFound);
        }
        state.sources.none_since = Some(now());
        self.end_if_through(state);
    }

    /// Ends the track where a source has come to its end, none is left, and no group is open that somebody writes, or
    /// may yet fetch the rest of.
    fn end_if_through(&self, mut state: MutexGuard<'_, State>) {
        state.covered.wake();
        let is_through = state.sources.live.is_empty()
            && state.sources.finished.is_some()
            && !state.groups.values().any(|held| held.group.is_open());
        drop(state);
        if is_through {
            end(self, Ok(()));
        }
    }

    /// A group is whole.
    pub(in crate::model) fn completed(&self) {
        self.end_if_through(self.lock());
    }

    /// A pen was put down before the group was whole. Where its session ended, nobody has said anything about the group:
    /// the source of the session leaves as well, and whoever fetched the group may ask another one.
    pub(in crate::model) fn put_down(
        &self,
        group: &GroupShared,
        source: u64,
        fetched: bool,
        error: &GroupError,
    ) {
        let mut state = self.lock();
        if *error == GroupError::Differs {
            state.sources.mismatches += 1;
        }
        group.leave(source);
        if state.end.is_some() {
            group.give_up_unwritten(error.reason());
            return;
        }
        let sequence = group.sequence();
        if *error != GroupError::Reset(Reason::Transport) {
            self.decline(&mut state, source, sequence, sequence, error.reason());
            self.give_up_hopeless(&mut state, sequence, sequence, error.reason());
        } else if !fetched && !state.sources.live.contains_key(&source) {
            // It has left before.
            self.give_up_hopeless(&mut state, sequence, sequence, Reason::NotFound);
        }
        self.end_if_through(state);
    }

    /// The track ends: nobody will bring the rest of groups that nobody writes.
    pub(super) fn end_cut_groups(&self, state: &mut State, how: &Result<(), TrackError>) {
        let reason = match how {
            Ok(()) => Reason::NotFound,
            Err(TrackError::Ended(reason)) => *reason,
            Err(TrackError::Session(_)) => Reason::Transport,
        };
        self.give_up_begun(state, reason);
    }

    fn give_up_begun(&self, state: &mut State, reason: Reason) {
        let cut: Vec<u64> =
            state.groups.iter().filter(|(_, held)| held.group.is_cut()).map(|(at, _)| at).collect();
        for sequence in cut {
            self.give_up_range(state, sequence, sequence, reason);
        }
    }
}

/// A track that several subscriptions feed, one after the other or at once, and that outlives them. Readers see one
/// track without interruption; of what comes several times they get one copy, whichever is there first, byte by byte.
///
/// A group that was cut, or has not come, is waited for as long as a source may still bring it, and while there is no
/// source. Clones are handles to the same track; the last dropped ends it with [`Reason::Cancelled`] unless it has
/// ended.
#[derive(Clone, Debug)]
pub struct MergedTrack {
    shared: Arc<TrackShared>,
    _alive: Arc<Alive>,
    grace: Duration,
}

impl MergedTrack {
    /// A sensible time to wait for another source, where the last has gone.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// A track without a source, whose groups count for `budget`. `grace` is for [`abandoned`](Self::abandoned).
    #[must_use]
    pub fn new(budget: &CacheBudget, name: FullTrackName, retention: Retention, grace: Duration) -> Self {
        let TrackProducer { shared, alive } =
            TrackProducer::fed(Feed::Merged, budget, name, TrackInfo::default(), retention);
        shared.lock().sources.none_since = Some(now());
        Self { shared, _alive: alive, grace }
    }

    pub(super) fn shared(&self) -> &Arc<TrackShared> {
        &self.shared
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// The track's name.
    #[must_use]
    pub fn name(&self) -> &FullTrackName {
        &self.shared.name
    }

    /// What it keeps.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.shared.retention
    }

    /// A reader that starts at the newest group.
    #[must_use]
    pub fn consume(&self) -> TrackConsumer {
        self.shared.consumer(&mut self.lock(), Start::Latest)
    }

    /// How many sources there are.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.lock().sources.live.len()
    }

    /// How many readers there are.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.lock().consumers
    }

    /// The newest group's number as far as it is known.
    #[must_use]
    pub fn latest(&self) -> Option<u64> {
        self.lock().newest()
    }

    /// Copies that were given up because their frames are not of the same sizes as those that came before.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        self.lock().sources.mismatches
    }

    /// Whether the track has ended, in whichever way.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Where another source has to begin so that nothing is missing: at the lowest group that is neither whole nor given
    /// up, or behind the newest. `None` on a track that nothing is known of.
    #[must_use]
    pub fn resume_at(&self) -> Option<u64> {
        let state = self.lock();
        let Some(highest) = state.holes.highest() else { return state.sources.floor };
        let floor = state.sources.floor.unwrap_or(0);
        let hole = state.holes.within(floor, highest).first().map(|&(first, _)| first);
        let mut begun = state.groups.from(floor);
        let open = begun.find(|(_, held)| held.group.is_open()).map(|(sequence, _)| sequence);
        hole.into_iter().chain(open).min().or(Some(highest.saturating_add(1)))
    }

    /// Groups that have begun, are not whole, and that nobody writes.
    #[must_use]
    pub fn cut_groups(&self) -> Vec<u64> {
        let state = self.lock();
        state.groups.iter().filter(|(_, held)| held.group.is_cut()).map(|(sequence, _)| sequence).collect()
    }

    /// Waits until no reader is left. Cancel safe.
    pub async fn unused(&self) {
        self.until(|state| (state.consumers == 0).then_some(())).await;
    }

    /// Waits until the track has ended, in whichever way. Cancel safe.
    pub async fn ended(&self) {
        self.until(|state| state.end.is_some().then_some(())).await;
    }

    /// Waits until there is no source. Cancel safe.
    pub async fn sourceless(&self) {
        self.until(|state| state.sources.live.is_empty().then_some(())).await;
    }

    /// Waits until there is a source, or the track has ended. Cancel safe.
    pub async fn sourced(&self) {
        self.until(|state| (!state.sources.live.is_empty() || state.end.is_some()).then_some(())).await;
    }

    /// Waits until there has been no source for the grace without a break, and gives up what is cut or missing then;
    /// readers see it as gaps. The track goes on. Resolves at once where it has ended. Cancel safe.
    pub async fn abandoned(&self) {
        loop {
            let none = |state: &State| match state.sources.none_since {
                _ if state.end.is_some() => Some(None),
                Some(since) => Some(Some(since)),
                None => None,
            };
            let Some(since) = self.until(none).await else { return };
            let back = self.until(|state| (state.sources.none_since != Some(since)).then_some(()));
            let Some(deadline) = since.checked_add(self.grace) else { return back.await };
            if tokio::time::timeout_at(deadline, back).await.is_err() {
                let mut state = self.lock();
                self.shared.give_up_begun(&mut state, Reason::Timeout);
                self.shared.give_up(&mut state, now(), |_, _| true);
                self.shared.end_if_through(state);
                return;
            }
        }
    }

    async fn until<T>(&self, ready: impl Fn(&State) -> Option<T>) -> T {
        let mut waiting = Waiting::new(|place| self.lock().changed.leave(place));
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if let Some(ready) = ready(&state) {
                return Poll::Ready(ready);
            }
            state.changed.wait(&mut waiting.place, cx);
            Poll::Pending
        })
        .await
    }

    /// Gives up what no source brings and nobody writes. That happens by itself, except where the session of a fetch
    /// ended that was to bring it.
    pub fn settle(&self) {
        let mut state = self.lock();
        self.shared.give_up_hopeless(&mut state, 0, u64::MAX, Reason::NotFound);
        self.shared.end_if_through(state);
    }

    /// Begins to write what is missing of a group, for somebody who has asked for it. `None` where nothing is, or it was
    /// given up.
    pub(crate) fn mend(&self, sequence: u64) -> Option<Mending> {
        let mut state = self.lock();
        if state.end.is_some() {
            return None;
        }
        let id = state.sources.id();
        let (pen, frame) = match state.groups.get(sequence) {
            Some(held) => Pen::resume(&held.group, id)?,
            None if state.holes.within(sequence, sequence).is_empty() => return None,
            None => {
                state.sources.brought(sequence);
                let group = self.shared.insert(&mut state, sequence);
                state.readers.wake();
                Pen::resume(&group, id)?
            }
        };
        Some(Mending { pen, frame })
    }

    /// Ends the track for good. Readers read what is there and then see the end.
    pub fn finish(&self) {
        end(&self.shared, Ok(()));
    }

    /// Ends the track with a reason.
    pub fn abort(&self, reason: Reason) {
        end(&self.shared, Err(TrackError::Ended(reason)));
    }

    /// Ends the track with the error that its last source ended with.
    pub fn fail(&self, error: TrackError) {
        end(&self.shared, Err(error));
    }
}
