//! A track: groups as they come, kept for as long as [`Retention`] says.

mod gate;
mod merge;
mod preference;
mod reader;
mod source;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Poll,
};

use moqt_wire::{FullTrackName, Priority};
use tokio::time::Instant;

use self::merge::Sources;
use super::{
    budget::{Account, CacheBudget, Holder},
    clock::now,
    group::{GroupKey, GroupProducer, GroupShared},
    ranges::{Holes, Runs},
    sorted::Sorted,
    terms::{CreateGroupError, Retention, Start, TrackInfo},
    wait::{WaitList, Waiting, wake_unlocked},
};
use crate::error::{Reason, TrackError};

pub(crate) use self::reader::Next;
pub use self::{
    gate::Gate,
    merge::MergedTrack,
    preference::Preferences,
    reader::{TrackConsumer, WeakTrack},
};
pub(crate) use self::{
    merge::Mending,
    preference::Preference,
    source::{Coverage, FeedState, TrackSource},
};

/// Numbers that will not come.
#[derive(Clone, Copy, Debug)]
struct Gap {
    first: u64,
    last: u64,
    reason: Reason,
    /// When it became known.
    at: Instant,
}

#[derive(Debug)]
struct Held {
    group: Arc<GroupShared>,
    /// Its place in the order of arrival.
    place: u64,
    /// A gap names it, which came before it or later.
    given_up: bool,
}

/// Tells readers of a new group when it is dropped. What has come of the group until then costs them no wake of its own.
#[derive(Debug)]
pub(crate) struct Notice(Option<Arc<TrackShared>>);

impl Drop for Notice {
    fn drop(&mut self) {
        if let Some(track) = &self.0 {
            wake_unlocked(track.lock(), || track.lock(), |state| &mut state.readers);
        }
    }
}

/// Where a track's groups come from, which decides when a number left out is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    /// A producer here, that writes in order: what stands before a finished group does not come any more.
    Local,
    /// A peer, whose groups overtake each other.
    Remote,
    /// Several peers, one after the other or at once.
    Merged,
}

impl Feed {
    fn is_peer(self) -> bool {
        self != Self::Local
    }
}

/// A group that has not been seen to end: how much it had at which time.
#[derive(Debug)]
struct Running {
    had: u64,
    since: Instant,
}

#[derive(Debug)]
struct State {
    info: TrackInfo,
    /// Groups that are held, and gaps that became known of late, by their places in the order of arrival.
    arrivals: Sorted<u64, Arc<GroupShared>>,
    gaps: Sorted<u64, Gap>,
    /// The place of what comes next.
    next: u64,
    /// Something was dropped before this place: readers that stand there have missed it.
    trimmed: u64,
    groups: Sorted<u64, Held>,
    /// Groups that have not been seen to end, by their places.
    running: Sorted<u64, Running>,
    /// Since when those that have ended age, and their places.
    ages: Sorted<(Instant, u64), ()>,
    holes: Holes,
    /// Highest number of a group.
    latest: Option<u64>,
    /// Highest number that the publisher named, though the group may not have come.
    told: Option<u64>,
    end: Option<Result<(), TrackError>>,
    readers: WaitList,
    consumers: usize,
    /// How many of the peers that read it say that it matters so much.
    preferences: BTreeMap<Priority, usize>,
    /// Who feeds a merged track.
    sources: Sources,
    /// The producer's side, waiting for readers or sources to come or go.
    changed: WaitList,
    /// Who waits until groups are whole that not every source brings.
    covered: WaitList,
}

impl State {
    fn newest(&self) -> Option<u64> {
        self.latest.max(self.told)
    }

    fn highest_preference(&self) -> Option<Priority> {
        self.preferences.last_key_value().map(|(&priority, _)| priority)
    }

    /// Groups that no gap names.
    fn held(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        self.groups.range(first..=last).filter(|(_, held)| !held.given_up).map(|(sequence, _)| sequence)
    }

    fn place(&mut self) -> u64 {
        let place = self.next;
        self.next += 1;
        place
    }

    fn add_gap(&mut self, first: u64, last: u64, reason: Reason, at: Instant) {
        let place = self.place();
        self.gaps.insert(place, Gap { first, last, reason, at });
        self.readers.wake();
    }

    /// What a reader comes too late for that stands at `place`, takes numbers from `floor` on and has seen `seen`:
    /// what is settled, and neither held nor still to be told.
    fn missed(&self, place: u64, floor: u64, seen: &Runs) -> Vec<(u64, u64)> {
        let Some(highest) = self.holes.highest().filter(|&highest| floor <= highest) else {
            return Vec::new();
        };
        let mut accounted = seen.clone();
        for (first, last) in self.holes.within(floor, highest) {
            accounted.insert(first, last);
        }
        for held in self.held(floor, highest) {
            accounted.insert(held, held);
        }
        for (_, gap) in self.gaps.from(place) {
            accounted.insert(gap.first, gap.last);
        }
        accounted.missing(floor, highest)
    }
}

#[derive(Debug)]
pub(super) struct TrackShared {
    name: FullTrackName,
    retention: Retention,
    feed: Feed,
    account: Arc<Account>,
    state: Mutex<State>,
}

impl TrackShared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what is too much: a group has grown past what all may hold together.
    pub(super) fn trim(&self) {
        let mut state = self.lock();
        while self.account.held() > self.retention.max_bytes && self.drop_oldest(&mut state, false) {}
    }

    /// A group was finished.
    pub(super) fn finished(&self, sequence: u64) {
        if self.feed == Feed::Local {
            let mut state = self.lock();
            self.give_up(&mut state, now(), |last, _| last < sequence);
        }
    }

    /// Gives up holes for which `when` holds, from the lowest on, and those that gape for too long or are too many.
    fn give_up(&self, state: &mut State, now: Instant, when: impl Fn(u64, Instant) -> bool) {
        loop {
            let many = state.holes.len() > self.retention.max_groups;
            let old = |since| now.saturating_duration_since(since) >= self.retention.max_age;
            let Some((first, last)) =
                state.holes.give_up(|last, since| many || old(since) || when(last, since))
            else {
                return;
            };
            state.add_gap(first, last, Reason::NotFound, now);
        }
    }

    /// The caller wakes readers.
    fn insert(self: &Arc<Self>, state: &mut State, sequence: u64) -> Arc<GroupShared> {
        let group = GroupShared::new(
            GroupKey::whole(sequence),
            &self.retention,
            Arc::clone(&self.account),
            self.feed.is_peer(),
            Arc::downgrade(self),
        );
        let at = now();
        let given_up = state.holes.is_settled(sequence);
        let place = state.place();
        state.groups.insert(sequence, Held { group: Arc::clone(&group), place, given_up });
        state.holes.settle(sequence, sequence, at);
        if state.latest < Some(sequence) {
            // The one before it may stand still from now on.
            let before =
                state.latest.replace(sequence).and_then(|before| state.groups.get(before)?.place.into());
            if let Some(before) = before.and_then(|place| state.running.get_mut(place)) {
                before.since = at;
            }
        }
        state.arrivals.insert(place, Arc::clone(&group));
        state.running.insert(place, Running { had: 0, since: at });
        self.evict(state, at);
        self.account.has_spare(state.arrivals.len() > 1);
        group
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due_of(&self.lock())
    }

    fn due_of(&self, state: &State) -> Option<Instant> {
        let oldest = state.holes.oldest().filter(|_| state.end.is_none())?;
        oldest.checked_add(self.retention.max_age)
    }

    pub(super) fn settle(&self) {
        self.give_up(&mut self.lock(), now(), |_, _| false);
    }

    /// Drops what retention does not keep, oldest arrival first. Called once a group, and by the sweep of the budget.
    fn evict(&self, state: &mut State, now: Instant) {
        self.give_up(state, now, |_, _| false);
        let old = |at| now.saturating_duration_since(at) > self.retention.max_age;
        // A reader that was not quick enough to see a gap between two groups still learns of it.
        while let Some((place, gap)) = state.gaps.first()
            && (old(gap.at) || state.gaps.len() > self.retention.max_groups.max(1))
        {
            state.gaps.remove(place);
            state.trimmed = state.trimmed.max(place + 1);
        }
        while state.groups.len() > self.retention.max_groups || self.account.held() > self.retention.max_bytes
        {
            if !self.drop_oldest(state, false) {
                break;
            }
        }
        self.age(state, now);
    }

    /// Drops what is too old: groups that ended so long ago, and those behind the newest that have not got a byte
    /// more for that long.
    fn age(&self, state: &mut State, now: Instant) {
        let max_age =
            state.info.max_age.map_or(self.retention.max_age, |age| age.min(self.retention.max_age));
        let old = |at| now.saturating_duration_since(at) > max_age;
        let mut stuck = Vec::new();
        state.running.retain(|place, Running { had, since }| {
            let Some(group) = state.arrivals.get(place) else { return false };
            match group.progress() {
                Ok(ended) => {
                    state.ages.insert((ended, place), ());
                    return false;
                }
                Err(has) if has != *had || Some(group.sequence()) == state.latest => {
                    (*had, *since) = (has, now);
                }
                Err(_) if old(*since) => stuck.push(place),
                Err(_) => {}
            }
            true
        });
        stuck.into_iter().for_each(|place| self.drop_place(state, place));
        let newest = state.latest.and_then(|latest| state.groups.get(latest)).map(|held| held.place);
        let oldest = |state: &State| state.ages.keys().find(|(_, place)| Some(*place) != newest);
        while let Some((_, place)) = oldest(state).filter(|(at, _)| old(*at)) {
            self.drop_place(state, place);
        }
    }

    /// Drops the group that came first; the newest stays, wherever it stands, unless it may go too. `false` where
    /// there is nothing to drop.
    fn drop_oldest(&self, state: &mut State, newest_too: bool) -> bool {
        let place = state
            .arrivals
            .iter()
            .find(|(_, group)| newest_too || Some(group.sequence()) != state.latest)
            .map(|(place, _)| place);
        if let Some(place) = place {
            self.drop_place(state, place);
        }
        self.account.has_spare(state.arrivals.len() > 1);
        place.is_some()
    }

    /// Drops a group that has been read.
    pub(super) fn forget(&self, sequence: u64) {
        let mut state = self.lock();
        if let Some(place) = state.groups.get(sequence).map(|held| held.place) {
            self.drop_place(&mut state, place);
            self.account.has_spare(state.arrivals.len() > 1);
        }
    }

    fn drop_place(&self, state: &mut State, place: u64) {
        let Some(group) = state.arrivals.remove(place) else { return };
        state.running.remove(place);
        if let Ok(ended) = group.progress() {
            state.ages.remove((ended, place));
        }
        state.groups.remove(group.sequence());
        state.trimmed = state.trimmed.max(place + 1);
        group.expire();
    }
}

impl Holder for TrackShared {
    fn let_go(&self, newest: bool) -> bool {
        self.drop_oldest(&mut self.lock(), newest)
    }

    fn sweep(&self, now: Instant) {
        self.evict(&mut self.lock(), now);
    }
}

impl Drop for TrackShared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let groups = std::mem::take(&mut state.arrivals).into_values();
        // The newest was the last to go.
        self.account.orphan(groups.rev().map(|group| Arc::downgrade(&group)).collect());
    }
}

/// Writes a track. Clones write the same one; the last dropped aborts it with [`Reason::Cancelled`] unless
/// it was finished.
#[derive(Debug)]
pub struct TrackProducer {
    shared: Arc<TrackShared>,
    alive: Arc<Alive>,
}

impl Clone for TrackProducer {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), alive: Arc::clone(&self.alive) }
    }
}

/// Ends the track when the last producer is gone.
#[derive(Debug)]
struct Alive(Weak<TrackShared>);

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            end(&shared, Err(TrackError::Ended(Reason::Cancelled)));
        }
    }
}

fn end(shared: &TrackShared, how: Result<(), TrackError>) {
    let mut state = shared.lock();
    if state.end.is_none() {
        if shared.feed == Feed::Merged {
            shared.end_cut_groups(&mut state, &how);
        }
        if how.is_ok() {
            shared.give_up(&mut state, now(), |_, _| true);
        }
        state.end = Some(how);
        state.readers.wake();
        state.changed.wake();
        state.covered.wake();
    }
}

impl TrackProducer {
    /// A track with no groups yet.
    #[must_use]
    pub fn new(name: FullTrackName, info: TrackInfo, retention: Retention) -> Self {
        Self::within(&CacheBudget::unlimited(), name, info, retention)
    }

    /// A track with no groups yet, whose groups count for `budget` too.
    #[must_use]
    pub fn within(budget: &CacheBudget, name: FullTrackName, info: TrackInfo, retention: Retention) -> Self {
        Self::fed(Feed::Local, budget, name, info, retention)
    }

    /// A track whose groups a peer sends, each on its own way.
    pub(crate) fn incoming(name: FullTrackName, retention: Retention, budget: &CacheBudget) -> Self {
        Self::fed(Feed::Remote, budget, name, TrackInfo::default(), retention)
    }

    fn fed(
        feed: Feed,
        budget: &CacheBudget,
        name: FullTrackName,
        info: TrackInfo,
        retention: Retention,
    ) -> Self {
        let shared = Arc::new(TrackShared {
            name,
            retention,
            feed,
            account: budget.open(),
            state: Mutex::new(State {
                info,
                arrivals: Sorted::default(),
                gaps: Sorted::default(),
                next: 0,
                trimmed: 0,
                groups: Sorted::default(),
                running: Sorted::default(),
                ages: Sorted::default(),
                holes: Holes::default(),
                latest: None,
                told: None,
                end: None,
                readers: WaitList::default(),
                consumers: 0,
                preferences: BTreeMap::new(),
                sources: Sources::default(),
                changed: WaitList::default(),
                covered: WaitList::default(),
            }),
        });
        let holder: Weak<TrackShared> = Arc::downgrade(&shared);
        shared.account.held_by(holder);
        let alive = Arc::new(Alive(Arc::downgrade(&shared)));
        Self { shared, alive }
    }

    /// The track's name.
    #[must_use]
    pub fn name(&self) -> &FullTrackName {
        &self.shared.name
    }

    /// Starts the next group: one above the highest number so far, or 0.
    ///
    /// The group before it is left as it is: finish it when it is complete. On a track that has ended, or has no
    /// number left, writing fails with [`GroupError::TrackEnded`](crate::GroupError::TrackEnded).
    #[must_use]
    pub fn append_group(&self) -> GroupProducer {
        let mut state = self.shared.lock();
        let next = state.holes.highest().map_or(Some(0), |highest| highest.checked_add(1));
        let Some(next) = next.filter(|_| state.end.is_none()) else {
            return GroupProducer::refused(next.unwrap_or(u64::MAX), &self.shared.retention);
        };
        let group = GroupProducer::new(self.shared.insert(&mut state, next));
        wake_unlocked(state, || self.shared.lock(), |state| &mut state.readers);
        group.keep_within_budget();
        group
    }

    /// Starts the group `sequence`. Numbers may come in any order, to some extent: one that was left out is given up,
    /// and reported to readers as a gap with [`Reason::NotFound`], when a group above it is finished, when it has
    /// been missing for [`Retention::max_age`], or when the track is finished. A group that comes after that is
    /// held, but readers that are told of the gap do not get it.
    ///
    /// # Errors
    ///
    /// - [`CreateGroupError::Ended`]: the track has ended.
    /// - [`CreateGroupError::Duplicate`]: the track holds a group of that number; where it is
    ///   [read once](Retention::read_once), it may also have held one, or given it up.
    pub fn create_group(&self, sequence: u64) -> Result<GroupProducer, CreateGroupError> {
        self.begin_group(sequence).map(|(group, _told)| group)
    }

    /// [`create_group`](Self::create_group) of which readers are told when the notice is dropped.
    pub(crate) fn begin_group(&self, sequence: u64) -> Result<(GroupProducer, Notice), CreateGroupError> {
        let mut state = self.shared.lock();
        if state.end.is_some() {
            return Err(CreateGroupError::Ended);
        }
        // Where what was read is gone, its number still tells.
        let was_here = || self.shared.retention.read_once && state.holes.is_settled(sequence);
        if state.groups.contains(sequence) || was_here() {
            return Err(CreateGroupError::Duplicate(sequence));
        }
        let group = GroupProducer::new(self.shared.insert(&mut state, sequence));
        drop(state);
        let notice = Notice(Some(Arc::clone(&self.shared)));
        group.keep_within_budget();
        Ok((group, notice))
    }

    /// Says that the groups from `first` to `last` will not come. Of a group that is there it says that it stays
    /// incomplete; what readers were told before is not told again.
    pub fn gap(&self, first: u64, last: u64, reason: Reason) {
        if last < first {
            return;
        }
        let mut state = self.shared.lock();
        let at = now();
        let mut new = Runs::default();
        for (first, last) in state.holes.within(first, last) {
            new.insert(first, last);
        }
        for (sequence, held) in state.groups.range_mut(first..=last).filter(|(_, held)| !held.given_up) {
            // A peer whose stream was read to its end may not have heard of it, and give the group up: then it is
            // here all the same. One that is still read ends, so that it is not whole after all.
            if self.shared.feed.is_peer() && !held.group.give_up(reason) {
                continue;
            }
            held.given_up = true;
            new.insert(sequence, sequence);
        }
        state.holes.settle(first, last, at);
        for (first, last) in new.iter() {
            state.add_gap(first, last, reason, at);
        }
        self.shared.evict(&mut state, at);
    }

    /// Changes what the track says of itself.
    pub fn set_info(&self, info: TrackInfo) {
        self.shared.lock().info = info;
    }

    /// Ends the track for good. Readers read what is there and then see the end.
    pub fn finish(&self) {
        end(&self.shared, Ok(()));
    }

    /// Ends the track with a reason.
    pub fn abort(&self, reason: Reason) {
        end(&self.shared, Err(TrackError::Ended(reason)));
    }

    /// A reader that starts at the newest group.
    #[must_use]
    pub fn consume(&self) -> TrackConsumer {
        self.shared.consumer(&mut self.shared.lock(), Start::Latest)
    }

    /// Waits until no reader is left. Cancel safe.
    pub async fn unused(&self) {
        let mut waiting = Waiting::new(|place| self.shared.lock().changed.leave(place));
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.consumers == 0 {
                return Poll::Ready(());
            }
            state.changed.wait(&mut waiting.place, cx);
            Poll::Pending
        })
        .await;
    }

    /// Ends the track if no reader is left, so that none can join between the question and the end.
    pub(crate) fn end_if_unused(&self) -> bool {
        let mut state = self.shared.lock();
        if state.consumers > 0 {
            return false;
        }
        state.end.get_or_insert(Err(TrackError::Ended(Reason::Cancelled)));
        true
    }

    /// Waits until there is a reader. Cancel safe.
    pub async fn used(&self) {
        self.readers_above(0).await;
    }

    /// Waits until there are more than `count` readers. Cancel safe.
    pub async fn readers_above(&self, count: usize) {
        let mut waiting = Waiting::new(|place| self.shared.lock().changed.leave(place));
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.consumers > count {
                return Poll::Ready(());
            }
            state.changed.wait(&mut waiting.place, cx);
            Poll::Pending
        })
        .await;
    }

    /// Gives up a group that has not come whole.
    pub(crate) fn give_up(&self, sequence: u64, reason: Reason) {
        if let Some(held) = self.shared.lock().groups.get(sequence) {
            held.group.give_up(reason);
        }
    }

    /// What the groups of the track hold, counted anew.
    #[cfg(test)]
    pub(crate) fn holds(&self) -> u64 {
        self.shared.lock().arrivals.values().map(|group| group.holds()).sum()
    }

    /// How many wait for readers to come or go.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.shared.lock().changed.places()
    }

    /// How many readers there are.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.shared.lock().consumers
    }
}
