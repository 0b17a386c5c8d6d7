//! A track: groups as they come, kept for as long as [`Retention`] says.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use moqt_wire::FullTrackName;
use tokio::time::Instant;

use super::{
    clock::now,
    group::{GroupConsumer, GroupKey, GroupProducer, GroupShared},
    ranges::{Holes, Runs},
    terms::{DuplicateGroup, Retention, Start, TrackEvent, TrackInfo},
    wait::{Place, WaitList, Waiting},
};
use crate::error::{Reason, TrackError};

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
    /// A gap names it, which came before it or later.
    given_up: bool,
}

/// Where a track's groups come from, which decides when a number left out is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    /// A producer here, that writes in order: what stands before a finished group does not come any more.
    Local,
    /// A peer, whose groups overtake each other.
    Remote,
}

#[derive(Debug)]
struct State {
    info: TrackInfo,
    /// Groups that are held, and gaps that became known of late, by their places in the order of arrival.
    arrivals: BTreeMap<u64, Arc<GroupShared>>,
    gaps: BTreeMap<u64, Gap>,
    /// The place of what comes next.
    next: u64,
    /// Something was dropped before this place: readers that stand there have missed it.
    trimmed: u64,
    groups: BTreeMap<u64, Held>,
    holes: Holes,
    /// Highest number of a group.
    latest: Option<u64>,
    /// Highest number that the publisher named, though the group may not have come.
    told: Option<u64>,
    end: Option<Result<(), TrackError>>,
    readers: WaitList,
    consumers: usize,
    /// The producer's side, waiting for readers to come or go.
    changed: WaitList,
}

impl State {
    fn newest(&self) -> Option<u64> {
        self.latest.max(self.told)
    }

    /// Groups that no gap names.
    fn held(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        self.groups.range(first..=last).filter(|(_, held)| !held.given_up).map(|(&sequence, _)| sequence)
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
        for gap in self.gaps.range(place..).map(|(_, gap)| gap) {
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
    held: Arc<AtomicU64>,
    state: Mutex<State>,
}

impl TrackShared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn consumer(self: &Arc<Self>, state: &mut State, start: Start) -> TrackConsumer {
        state.consumers += 1;
        state.changed.wake();
        let start = match start {
            Start::Latest => state.newest(),
            Start::At(sequence) => Some(sequence),
        };
        TrackConsumer {
            shared: Arc::clone(self),
            next: 0,
            start,
            floor: start,
            seen: Runs::default(),
            synced: None,
            missed: VecDeque::new(),
            place: Place::default(),
        }
    }

    /// Drops what is too much: a group has grown past what all may hold together.
    pub(super) fn trim(&self) {
        self.evict(&mut self.lock(), now());
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

    fn due(&self) -> Option<Instant> {
        let state = self.lock();
        let oldest = state.holes.oldest().filter(|_| state.end.is_none())?;
        oldest.checked_add(self.retention.max_age)
    }

    fn settle(&self) {
        self.give_up(&mut self.lock(), now(), |_, _| false);
    }

    /// Drops what retention does not keep, oldest arrival first. Called once a group, and once a piece of
    /// payload only while too much is held.
    fn evict(&self, state: &mut State, now: Instant) {
        self.give_up(state, now, |_, _| false);
        let old = |at| now.saturating_duration_since(at) > self.retention.max_age;
        // A reader that was not quick enough to see a gap between two groups still learns of it.
        while let Some((&place, gap)) = state.gaps.first_key_value()
            && (old(gap.at) || state.gaps.len() > self.retention.max_groups.max(1))
        {
            state.gaps.remove(&place);
            state.trimmed = state.trimmed.max(place + 1);
        }
        // The newest stays, wherever it stands.
        while let Some((&place, group)) =
            state.arrivals.iter().find(|(_, group)| Some(group.sequence()) != state.latest)
        {
            let over = state.groups.len() > self.retention.max_groups
                || self.held.load(Ordering::Relaxed) > self.retention.max_bytes;
            if !over && !group.ended_at().is_some_and(old) {
                break;
            }
            group.expire();
            let sequence = group.sequence();
            state.groups.remove(&sequence);
            state.arrivals.remove(&place);
            state.trimmed = state.trimmed.max(place + 1);
        }
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
        if how.is_ok() {
            shared.give_up(&mut state, now(), |_, _| true);
        }
        state.end = Some(how);
        state.readers.wake();
    }
}

impl TrackProducer {
    /// A track with no groups yet.
    #[must_use]
    pub fn new(name: FullTrackName, info: TrackInfo, retention: Retention) -> Self {
        Self::fed(Feed::Local, name, info, retention)
    }

    /// A track whose groups a peer sends, each on its own way.
    pub(crate) fn incoming(name: FullTrackName, retention: Retention) -> Self {
        Self::fed(Feed::Remote, name, TrackInfo::default(), retention)
    }

    fn fed(feed: Feed, name: FullTrackName, info: TrackInfo, retention: Retention) -> Self {
        let shared = Arc::new(TrackShared {
            name,
            retention,
            feed,
            held: Arc::default(),
            state: Mutex::new(State {
                info,
                arrivals: BTreeMap::new(),
                gaps: BTreeMap::new(),
                next: 0,
                trimmed: 0,
                groups: BTreeMap::new(),
                holes: Holes::default(),
                latest: None,
                told: None,
                end: None,
                readers: WaitList::default(),
                consumers: 0,
                changed: WaitList::default(),
            }),
        });
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
    /// The group before it is left as it is: finish it when it is complete.
    #[must_use]
    pub fn append_group(&self) -> GroupProducer {
        let mut state = self.shared.lock();
        let next = state.holes.highest().map_or(0, |highest| highest.saturating_add(1));
        self.insert(&mut state, next)
    }

    /// Starts the group `sequence`. Numbers may come in any order, to some extent: one that was left out is given up,
    /// and reported to readers as a gap with [`Reason::NotFound`], when a group above it is finished, when it has
    /// been missing for [`Retention::max_age`], or when the track is finished. A group that comes after that is
    /// held, but readers that are told of the gap do not get it.
    ///
    /// # Errors
    ///
    /// When the track holds a group of that number.
    pub fn create_group(&self, sequence: u64) -> Result<GroupProducer, DuplicateGroup> {
        let mut state = self.shared.lock();
        if state.groups.contains_key(&sequence) {
            return Err(DuplicateGroup(sequence));
        }
        Ok(self.insert(&mut state, sequence))
    }

    fn insert(&self, state: &mut State, sequence: u64) -> GroupProducer {
        let group = GroupShared::new(
            GroupKey::whole(sequence),
            &self.shared.retention,
            Arc::clone(&self.shared.held),
            Arc::downgrade(&self.shared),
        );
        let at = now();
        let given_up = state.holes.within(sequence, sequence).is_empty();
        state.groups.insert(sequence, Held { group: Arc::clone(&group), given_up });
        state.holes.settle(sequence, sequence, at);
        state.latest = state.latest.max(Some(sequence));
        let place = state.place();
        state.arrivals.insert(place, Arc::clone(&group));
        self.shared.evict(state, at);
        state.readers.wake();
        GroupProducer::new(group)
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
        for (&sequence, held) in state.groups.range_mut(first..=last).filter(|(_, held)| !held.given_up) {
            // A peer whose stream was read to its end may not have heard of it, and give the group up: then it is
            // here all the same. One that is still read ends, so that it is not whole after all.
            if self.shared.feed == Feed::Remote && !held.group.give_up(reason) {
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

    /// Says which group is the newest, before it has come. Readers of the latest start there.
    pub(crate) fn set_latest(&self, sequence: u64) {
        self.shared.lock().told = Some(sequence);
    }

    /// Says that nothing before `first` will come.
    pub(crate) fn begins_at(&self, first: u64) {
        if let Some(last) = first.checked_sub(1) {
            self.gap(0, last, Reason::NotFound);
        }
    }

    /// Whether each group from `first` to `last` has begun, or will not come.
    pub(crate) fn is_settled(&self, first: u64, last: u64) -> bool {
        self.shared.lock().holes.within(first, last).is_empty()
    }

    /// Gives up what has been missing for too long, and says when more of it will have been.
    pub(crate) fn settle(&self) -> Option<Instant> {
        self.shared.settle();
        self.shared.due()
    }

    /// Ends the track for good. Readers read what is there and then see the end.
    pub fn finish(&self) {
        end(&self.shared, Ok(()));
    }

    /// Ends the track with a reason.
    pub fn abort(&self, reason: Reason) {
        end(&self.shared, Err(TrackError::Ended(reason)));
    }

    pub(crate) fn fail(&self, error: TrackError) {
        end(&self.shared, Err(error));
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

/// Reads a track: its groups in the order in which they began to arrive.
///
/// From its start on a reader learns of every number once: it gets the group, or it is told of a gap. A group that it
/// got may be followed by a gap that names it, when the publisher gave it up.
///
/// Each clone has a cursor of its own and starts where the original stands. A reader holds nothing alive: a
/// slow one finds groups [expired](crate::GroupError::Expired) and goes on with what is there.
#[derive(Debug)]
pub struct TrackConsumer {
    shared: Arc<TrackShared>,
    /// Place in the order of arrival.
    next: u64,
    /// Groups below it are not for this reader.
    start: Option<u64>,
    /// Nothing below it is missed: the start, or else the lowest group that came.
    floor: Option<u64>,
    /// Numbers that this reader has had as groups or in gaps.
    seen: Runs,
    /// How much had been dropped, and the floor, when the reader last asked what it had missed.
    synced: Option<(u64, u64)>,
    /// Gaps that it comes too late for, to be told first.
    missed: VecDeque<(u64, u64)>,
    place: Place,
}

impl TrackConsumer {
    /// The track's name.
    #[must_use]
    pub fn name(&self) -> &FullTrackName {
        &self.shared.name
    }

    /// What the publisher says of the track.
    #[must_use]
    pub fn info(&self) -> TrackInfo {
        self.shared.lock().info
    }

    /// The newest group's number as far as it is known, or `None` while there is none.
    #[must_use]
    pub fn latest(&self) -> Option<u64> {
        self.shared.lock().newest()
    }

    /// Payload bytes that the track holds at this time.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Another reader of the same track, that starts at `start`.
    #[must_use]
    pub fn reader(&self, start: Start) -> Self {
        self.shared.consumer(&mut self.shared.lock(), start)
    }

    /// The first group number that this reader takes; `None` for whatever comes first, on a track that was empty.
    #[must_use]
    pub fn start(&self) -> Option<u64> {
        self.start
    }

    /// A reader of one group that the track still holds.
    #[must_use]
    pub fn group(&self, sequence: u64) -> Option<GroupConsumer> {
        self.shared.lock().groups.get(&sequence).map(|held| GroupConsumer::new(Arc::clone(&held.group)))
    }

    /// Waits for the next group and skips gaps. `None` once the track is complete.
    ///
    /// # Errors
    ///
    /// - [`TrackError::Ended`]: the publisher gave the track up, or the session that carried it ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next_group(&mut self) -> Result<Option<GroupConsumer>, TrackError> {
        loop {
            match self.next_event().await? {
                Some(TrackEvent::Group(group)) => return Ok(Some(group)),
                Some(TrackEvent::Gap { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// Waits for the next group or gap. `None` once the track is complete.
    ///
    /// Numbers that have been missing for too long are given up when something else happens on the track.
    ///
    /// # Errors
    ///
    /// As [`next_group`](Self::next_group).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next_event(&mut self) -> Result<Option<TrackEvent>, TrackError> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// When numbers that were left out have been missing for too long. More of them come with a group, never alone.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.shared.due()
    }

    /// Gives up what is [due](Self::due).
    pub(crate) fn settle(&self) {
        self.shared.settle();
    }

    /// [`next_event`](Self::next_event) for callers that poll.
    pub fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Result<Option<TrackEvent>, TrackError>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            if let Some(floor) = self.floor
                && (self.next < state.trimmed || self.synced.is_none_or(|(_, then)| then != floor))
                && self.synced != Some((state.trimmed, floor))
            {
                self.synced = Some((state.trimmed, floor));
                for (first, last) in state.missed(self.next, floor, &self.seen) {
                    self.seen.insert(first, last);
                    self.missed.push_back((first, last));
                }
            }
            if let Some((first, last)) = self.missed.pop_front() {
                return Poll::Ready(Ok(Some(TrackEvent::Gap { first, last, reason: Reason::NotFound })));
            }
            let group = state.arrivals.range(self.next..).next();
            let gap = state.gaps.range(self.next..).next().map(|(&place, gap)| (place, *gap));
            match (group, gap) {
                (Some((&place, group)), gap) if gap.is_none_or(|(gap, _)| place < gap) => {
                    self.next = place + 1;
                    let sequence = group.sequence();
                    if self.start.is_some_and(|start| sequence < start)
                        || !self.seen.insert(sequence, sequence)
                    {
                        continue;
                    }
                    self.floor = Some(self.floor.map_or(sequence, |floor| floor.min(sequence)));
                    let group = GroupConsumer::new(Arc::clone(group));
                    return Poll::Ready(Ok(Some(TrackEvent::Group(group))));
                }
                (_, Some((place, Gap { first, last, reason, .. }))) => {
                    self.next = place + 1;
                    // Without a floor, what stands before the first group is told with that group if it matters.
                    let Some(first) = self.floor.map(|floor| first.max(floor)).filter(|first| *first <= last)
                    else {
                        continue;
                    };
                    self.seen.insert(first, last);
                    return Poll::Ready(Ok(Some(TrackEvent::Gap { first, last, reason })));
                }
                _ => {
                    if let Some(end) = &state.end {
                        return Poll::Ready(end.clone().map(|()| None));
                    }
                    state.readers.wait(&mut self.place, cx);
                    return Poll::Pending;
                }
            }
        }
    }

    /// A handle that does not count as a reader.
    #[must_use]
    pub fn downgrade(&self) -> WeakTrack {
        WeakTrack { shared: Arc::downgrade(&self.shared) }
    }

    /// Whether the track has ended, in whichever way.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.shared.lock().end.is_some()
    }
}

impl Clone for TrackConsumer {
    fn clone(&self) -> Self {
        let mut state = self.shared.lock();
        state.consumers += 1;
        state.changed.wake();
        Self {
            shared: Arc::clone(&self.shared),
            next: self.next,
            start: self.start,
            floor: self.floor,
            seen: self.seen.clone(),
            synced: self.synced,
            missed: self.missed.clone(),
            place: Place::default(),
        }
    }
}

impl Drop for TrackConsumer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.readers.leave(&mut self.place);
        state.consumers -= 1;
        state.changed.wake();
    }
}

/// A track that may be gone; see [`TrackConsumer::downgrade`].
#[derive(Clone, Debug)]
pub struct WeakTrack {
    shared: Weak<TrackShared>,
}

impl WeakTrack {
    /// A reader from the newest group on, if the track still lives.
    #[must_use]
    pub fn upgrade(&self) -> Option<TrackConsumer> {
        let shared = self.shared.upgrade()?;
        let mut state = shared.lock();
        if state.end.is_some() {
            return None;
        }
        let consumer = shared.consumer(&mut state, Start::Latest);
        drop(state);
        Some(consumer)
    }
}
