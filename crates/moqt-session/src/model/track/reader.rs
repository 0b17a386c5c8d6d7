//! Reading a track: a cursor in the order of arrival, and what it has missed.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use moqt_wire::FullTrackName;
use tokio::time::Instant;

use super::{Gap, State, TrackShared, gate::Closed};
use crate::{
    error::{Reason, TrackError},
    meters::Meters,
    model::{
        clock::now,
        group::GroupConsumer,
        ranges::Runs,
        terms::{Lifetime, Start, TrackEvent, TrackInfo},
        wait::{Place, Waiting},
    },
};

impl TrackShared {
    pub(super) fn consumer(self: &Arc<Self>, state: &mut State, start: Start) -> TrackConsumer {
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
            lifetime: None,
            meters: None,
            gate: None,
        }
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
    pub(super) shared: Arc<TrackShared>,
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
    /// How long a group is of use to the peer that is served, and where it is counted what it is sent.
    lifetime: Option<Lifetime>,
    meters: Option<Meters>,
    /// Ends this reader before the track does.
    pub(super) gate: Option<Closed>,
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
        self.shared.account.held()
    }

    /// Another reader of the same track, that starts at `start`, behind the same [`Gate`](crate::Gate).
    #[must_use]
    pub fn reader(&self, start: Start) -> Self {
        let mut reader = self.shared.consumer(&mut self.shared.lock(), start);
        reader.gate.clone_from(&self.gate);
        reader
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
        if let Some(reason) = self.gate.as_ref().and_then(|gate| gate.get()) {
            return Poll::Ready(Err(TrackError::Ended(*reason)));
        }
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
            // Nothing stands at the next place most of the time, or else the newest group does.
            let (mut group, mut gap) = (None, None);
            if self.next < state.next {
                let newest = state.arrivals.last_key_value().filter(|(place, _)| **place == self.next);
                group = newest.or_else(|| state.arrivals.range(self.next..).next());
                gap = state.gaps.range(self.next..).next().map(|(&place, gap)| (place, *gap));
            }
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
                    let limit = self.lifetime.as_ref().filter(|lifetime| !lifetime.is_unlimited());
                    let due = |lifetime: &Lifetime| lifetime.after(group.progress().ok()?);
                    if limit.and_then(due).is_some_and(|due| due <= now()) {
                        self.missed.push_back((sequence, sequence));
                        continue;
                    }
                    let group = GroupConsumer::new(Arc::clone(group))
                        .served(self.lifetime.clone(), self.meters.as_ref());
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

    /// What comes is sent to a peer. Groups that ended longer ago than `lifetime` are reported as gaps, and those that
    /// this reader has got expire.
    pub(crate) fn serve(&mut self, lifetime: Lifetime, meters: Meters) {
        (self.lifetime, self.meters) = (Some(lifetime), Some(meters));
    }

    /// How many readers there are, this one included.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.shared.lock().consumers
    }

    /// Waits until this has been the only reader for `time` without a break, or the track has ended. Cancel safe.
    pub async fn alone_for(&self, time: Duration) {
        loop {
            self.company(|state| state.consumers <= 1 || state.end.is_some()).await;
            if self.is_ended() {
                return;
            }
            let joined = self.company(|state| state.consumers > 1 && state.end.is_none());
            if tokio::time::timeout(time, joined).await.is_err() {
                return;
            }
        }
    }

    /// Waits until the readers are as wanted. Cancel safe.
    async fn company(&self, as_wanted: impl Fn(&State) -> bool) {
        let mut waiting = Waiting::new(|place| self.shared.lock().changed.leave(place));
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if as_wanted(&state) {
                return Poll::Ready(());
            }
            state.changed.wait(&mut waiting.place, cx);
            Poll::Pending
        })
        .await;
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
            lifetime: self.lifetime.clone(),
            meters: self.meters.clone(),
            gate: self.gate.clone(),
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
