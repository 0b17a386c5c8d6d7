//! A track: groups as they come, kept for as long as [`Retention`] says.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use moqt_wire::{FullTrackName, GroupOrder, Priority};
use tokio::time::Instant;

use super::{
    clock::now,
    group::{GroupConsumer, GroupKey, GroupProducer, GroupShared},
    wait::{Place, WaitList},
};
use crate::error::{Reason, TrackError};

/// What a publisher says of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// Breaks ties between tracks that the subscriber ranks equal; higher is sent first.
    pub priority: Priority,
    /// The order of groups where the subscriber has no wish of its own.
    pub order: GroupOrder,
    /// How long a finished group stays useful; `None` where the wire does not say.
    pub max_age: Option<Duration>,
}

impl Default for TrackInfo {
    fn default() -> Self {
        Self { priority: Priority::default(), order: GroupOrder::Default, max_age: None }
    }
}

/// What a track keeps for readers that come late or fall behind. The newest group is always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long a finished group is kept.
    pub max_age: Duration,
    /// Most groups kept.
    pub max_groups: usize,
    /// Most bytes kept in all groups together: payload, and what it takes to keep it in order.
    pub max_bytes: u64,
    /// Most payload bytes of one group; a group that grows past it is aborted.
    pub max_group_bytes: u64,
    /// Most frames of one group; a group that grows past it is aborted.
    pub max_group_frames: usize,
}

impl Retention {
    /// The default, but finished groups are kept for `age`.
    #[must_use]
    pub fn max_age(age: Duration) -> Self {
        Self { max_age: age, ..Self::default() }
    }
}

impl Default for Retention {
    /// Ten seconds, 1024 groups, 64 MiB; one group at most 32 MiB and 65,536 frames.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(10),
            max_groups: 1024,
            max_bytes: 64 << 20,
            max_group_bytes: 32 << 20,
            max_group_frames: 1 << 16,
        }
    }
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the newest group there is, or the first to come.
    #[default]
    Latest,
    /// At this group; groups no longer held are reported as a gap.
    At(u64),
}

/// The number is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("group {0} exists already")]
pub struct DuplicateGroup(pub u64);

/// What a reader of a track meets, in the order in which it came.
#[derive(Debug)]
pub enum TrackEvent {
    /// A group began.
    Group(GroupConsumer),
    /// Groups that will not come.
    Gap {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// Why.
        reason: Reason,
    },
}

#[derive(Debug, Default)]
enum Entry {
    Group(Arc<GroupShared>),
    Gap {
        first: u64,
        last: u64,
        reason: Reason,
        at: Instant,
    },
    /// Evicted behind something that stays, which arrived before it.
    #[default]
    Gone,
}

#[derive(Debug)]
struct State {
    info: TrackInfo,
    /// What came, in order of arrival. Entries below `base` are gone.
    log: VecDeque<Entry>,
    base: u64,
    groups: BTreeMap<u64, Arc<GroupShared>>,
    /// Highest number of a group or a gap so far.
    highest: Option<u64>,
    /// Highest number of a group.
    latest: Option<u64>,
    /// Highest number that the publisher named, though the group may not have come.
    told: Option<u64>,
    /// Highest number of a group that is no longer held.
    evicted: Option<u64>,
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

    /// What a reader that starts at `start` comes too late for.
    fn missed(&self, start: u64) -> Option<(u64, u64)> {
        let held = self.groups.range(start..).next().map(|(&held, _)| held);
        let last = match held {
            Some(held) => self.evicted?.min(held.checked_sub(1)?),
            None => self.evicted?,
        };
        (start <= last).then_some((start, last))
    }
}

#[derive(Debug)]
pub(super) struct TrackShared {
    name: FullTrackName,
    retention: Retention,
    held: Arc<AtomicU64>,
    state: Mutex<State>,
}

impl TrackShared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn consumer(self: &Arc<Self>, state: &mut State, next: u64, start: Option<u64>) -> TrackConsumer {
        state.consumers += 1;
        state.changed.wake();
        TrackConsumer { shared: Arc::clone(self), next, start, missed: None, place: Place::default() }
    }

    /// Drops what is too much: a group has grown past what all may hold together.
    pub(super) fn trim(&self) {
        self.evict(&mut self.lock(), now());
    }

    /// Drops what retention does not keep, oldest arrival first. Called once a group, and once a piece of
    /// payload only while too much is held.
    fn evict(&self, state: &mut State, now: Instant) {
        let most = self.retention.max_groups.saturating_mul(2).max(2);
        while state.log.len() > most {
            self.pop(state);
        }
        let mut index = 0;
        while let Some(entry) = state.log.get(index) {
            let stays = match entry {
                Entry::Group(group) if Some(group.sequence()) == state.latest => true,
                Entry::Group(group) => {
                    let over = state.groups.len() > self.retention.max_groups
                        || self.held.load(Ordering::Relaxed) > self.retention.max_bytes;
                    let old = group
                        .ended_at()
                        .is_some_and(|at| now.saturating_duration_since(at) > self.retention.max_age);
                    if !over && !old {
                        return;
                    }
                    false
                }
                // A reader that was not quick enough to see it between two others still learns of it.
                Entry::Gap { at, .. } => now.saturating_duration_since(*at) <= self.retention.max_age,
                Entry::Gone => false,
            };
            if stays {
                // The newest group, which arrived early and is still the newest, or a gap.
                index += 1;
            } else if index == 0 {
                self.pop(state);
            } else {
                let entry = state.log.get_mut(index).map(std::mem::take);
                Self::forget(state, entry);
                index += 1;
            }
        }
    }

    fn pop(&self, state: &mut State) {
        let entry = state.log.pop_front();
        Self::forget(state, entry);
        state.base += 1;
    }

    fn forget(state: &mut State, entry: Option<Entry>) {
        if let Some(Entry::Group(group)) = entry {
            state.groups.remove(&group.sequence());
            state.evicted = state.evicted.max(Some(group.sequence()));
            group.expire();
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
        state.end = Some(how);
        state.readers.wake();
    }
}

impl TrackProducer {
    /// A track with no groups yet.
    #[must_use]
    pub fn new(name: FullTrackName, info: TrackInfo, retention: Retention) -> Self {
        let shared = Arc::new(TrackShared {
            name,
            retention,
            held: Arc::default(),
            state: Mutex::new(State {
                info,
                log: VecDeque::new(),
                base: 0,
                groups: BTreeMap::new(),
                highest: None,
                latest: None,
                told: None,
                evicted: None,
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
        let next = state.highest.map_or(0, |highest| highest + 1);
        self.insert(&mut state, next)
    }

    /// Starts the group `sequence`. Numbers may come in any order; numbers jumped over are no gap by themselves.
    ///
    /// # Errors
    ///
    /// When the number was used before, as far as the track remembers.
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
        state.groups.insert(sequence, Arc::clone(&group));
        state.highest = state.highest.max(Some(sequence));
        state.latest = state.latest.max(Some(sequence));
        state.log.push_back(Entry::Group(Arc::clone(&group)));
        self.shared.evict(state, now());
        state.readers.wake();
        GroupProducer::new(group)
    }

    /// Says that the groups from `first` to `last` will not come.
    pub fn gap(&self, first: u64, last: u64, reason: Reason) {
        let mut state = self.shared.lock();
        state.highest = state.highest.max(Some(last));
        let at = now();
        state.log.push_back(Entry::Gap { first, last, reason, at });
        self.shared.evict(&mut state, at);
        state.readers.wake();
    }

    /// Changes what the track says of itself.
    pub fn set_info(&self, info: TrackInfo) {
        self.shared.lock().info = info;
    }

    /// Says which group is the newest, before it has come. Readers of the latest start there.
    pub(crate) fn set_latest(&self, sequence: u64) {
        self.shared.lock().told = Some(sequence);
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
        let mut state = self.shared.lock();
        let next = state.base;
        let mut consumer = self.shared.consumer(&mut state, next, None);
        consumer.start = consumer.resolve(&state, Start::Latest);
        consumer
    }

    /// Waits until no reader is left. Cancel safe.
    pub async fn unused(&self) {
        let mut place = Place::default();
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.consumers == 0 {
                state.changed.leave(&mut place);
                return Poll::Ready(());
            }
            state.changed.wait(&mut place, cx);
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
        let mut place = Place::default();
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.consumers > count {
                state.changed.leave(&mut place);
                return Poll::Ready(());
            }
            state.changed.wait(&mut place, cx);
            Poll::Pending
        })
        .await;
    }

    /// How many readers there are.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.shared.lock().consumers
    }
}

/// Reads a track: its groups in the order in which they began to arrive.
///
/// Each clone has a cursor of its own and starts where the original stands. A reader holds nothing alive: a
/// slow one finds groups [expired](crate::GroupError::Expired) and goes on with what is there.
#[derive(Debug)]
pub struct TrackConsumer {
    shared: Arc<TrackShared>,
    /// Position in the log of arrivals.
    next: u64,
    /// Groups below it are not for this reader.
    start: Option<u64>,
    /// Groups that were gone when this reader began; reported first.
    missed: Option<(u64, u64)>,
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
        let mut state = self.shared.lock();
        let base = state.base;
        let mut reader = self.shared.consumer(&mut state, base, None);
        reader.start = reader.resolve(&state, start);
        if let Start::At(sequence) = start {
            reader.missed = state.missed(sequence);
        }
        reader
    }

    /// The first group number that this reader takes; `None` for whatever comes first, on a track that was empty.
    #[must_use]
    pub fn start(&self) -> Option<u64> {
        self.start
    }

    fn resolve(&self, state: &State, start: Start) -> Option<u64> {
        match start {
            Start::Latest => state.newest(),
            Start::At(sequence) => Some(sequence),
        }
    }

    /// A reader of one group that the track still holds.
    #[must_use]
    pub fn group(&self, sequence: u64) -> Option<GroupConsumer> {
        self.shared.lock().groups.get(&sequence).map(|group| GroupConsumer::new(Arc::clone(group)))
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

    /// [`next_event`](Self::next_event) for callers that poll.
    pub fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Result<Option<TrackEvent>, TrackError>> {
        if let Some((first, last)) = self.missed.take() {
            return Poll::Ready(Ok(Some(TrackEvent::Gap { first, last, reason: Reason::NotFound })));
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        self.next = self.next.max(state.base);
        loop {
            let index = usize::try_from(self.next - state.base).unwrap_or(usize::MAX);
            match state.log.get(index) {
                Some(Entry::Group(group)) => {
                    self.next += 1;
                    let sequence = group.sequence();
                    if self.start.is_some_and(|start| sequence < start) {
                        continue;
                    }
                    let group = GroupConsumer::new(Arc::clone(group));
                    return Poll::Ready(Ok(Some(TrackEvent::Group(group))));
                }
                Some(Entry::Gap { first, last, reason, .. }) => {
                    self.next += 1;
                    let first = (*first).max(self.start.unwrap_or(0));
                    if first > *last {
                        continue;
                    }
                    let event = TrackEvent::Gap { first, last: *last, reason: *reason };
                    return Poll::Ready(Ok(Some(event)));
                }
                Some(Entry::Gone) => self.next += 1,
                None => {
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
        let mut clone = self.shared.consumer(&mut state, self.next, self.start);
        clone.missed = self.missed;
        clone
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
        let base = state.base;
        let mut consumer = shared.consumer(&mut state, base, None);
        consumer.start = consumer.resolve(&state, Start::Latest);
        drop(state);
        Some(consumer)
    }
}
