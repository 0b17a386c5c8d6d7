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
    meters::Tally,
    model::{
        clock::now,
        group::{GroupConsumer, GroupShared},
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
            at: Cursor { start, floor: start, ..Cursor::default() },
            place: Place::default(),
            lifetime: None,
            tally: None,
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
    at: Cursor,
    place: Place,
    /// How long a group is of use to the peer that is served, and where it is counted what it is sent.
    lifetime: Option<Lifetime>,
    tally: Option<Tally>,
    /// Ends this reader before the track does.
    pub(super) gate: Option<Closed>,
}

/// Where a reader is, and what it has had.
#[derive(Clone, Debug, Default)]
struct Cursor {
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
}

/// When a reader has to look at its track again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Now,
    /// There is nothing more. It is woken when there is; and at `due` it may [settle](TrackConsumer::settle) something.
    Woken {
        due: Option<Instant>,
    },
}

/// What a cursor comes to.
enum Step {
    Group(Arc<GroupShared>),
    Gap(u64, u64, Reason),
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
        self.at.start
    }

    /// A reader of one group that the track still holds.
    #[must_use]
    pub fn group(&self, sequence: u64) -> Option<GroupConsumer> {
        self.shared.lock().groups.get(sequence).map(|held| GroupConsumer::new(Arc::clone(&held.group)))
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
        self.poll(cx, false).map(|(event, _)| event)
    }

    /// The same, and what comes next.
    pub(crate) fn poll_on(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<(Result<Option<TrackEvent>, TrackError>, Next)> {
        self.poll(cx, true)
    }

    fn poll(
        &mut self,
        cx: &Context<'_>,
        ahead: bool,
    ) -> Poll<(Result<Option<TrackEvent>, TrackError>, Next)> {
        let Self { shared, at, place, lifetime, tally, gate } = self;
        let mut state = shared.lock();
        if let Some(reason) = gate.as_ref().and_then(|gate| gate.get()) {
            return Poll::Ready((Err(TrackError::Ended(*reason)), Next::Now));
        }
        let limit = lifetime.as_ref().filter(|lifetime| !lifetime.is_unlimited());
        let event = match at.step(&state, limit) {
            Some(Step::Group(group)) => {
                TrackEvent::Group(GroupConsumer::new(group).served(lifetime.clone(), tally.as_ref()))
            }
            Some(Step::Gap(first, last, reason)) => TrackEvent::Gap { first, last, reason },
            None => {
                if let Some(end) = &state.end {
                    return Poll::Ready((end.clone().map(|()| None), Next::Now));
                }
                state.readers.wait(place, cx);
                return Poll::Pending;
            }
        };
        let next = if !ahead || at.has_more(&state) || state.end.is_some() {
            Next::Now
        } else {
            state.readers.wait(place, cx);
            Next::Woken { due: shared.due_of(&state) }
        };
        Poll::Ready((Ok(Some(event)), next))
    }

    /// What comes is sent to a peer. Groups that ended longer ago than `lifetime` are reported as gaps, and those that
    /// this reader has got expire.
    pub(crate) fn serve(&mut self, lifetime: Lifetime, tally: Tally) {
        (self.lifetime, self.tally) = (Some(lifetime), Some(tally));
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

impl Cursor {
    /// Whether something may be there that has not been looked at.
    fn has_more(&self, state: &State) -> bool {
        self.next < state.next || !self.missed.is_empty() || self.may_have_missed(state).is_some()
    }

    /// Where nothing below is missed, if something above may be that was not before.
    fn may_have_missed(&self, state: &State) -> Option<u64> {
        let floor = self.floor?;
        let changed = self.next < state.trimmed || self.synced.is_none_or(|(_, then)| then != floor);
        (changed && self.synced != Some((state.trimmed, floor))).then_some(floor)
    }

    /// Moves to the next group or gap; `None` where there is nothing yet. Groups that ended longer ago than `limit` are
    /// gaps.
    fn step(&mut self, state: &State, limit: Option<&Lifetime>) -> Option<Step> {
        loop {
            if let Some(floor) = self.may_have_missed(state) {
                self.synced = Some((state.trimmed, floor));
                for (first, last) in state.missed(self.next, floor, &self.seen) {
                    self.seen.insert(first, last);
                    self.missed.push_back((first, last));
                }
            }
            if let Some((first, last)) = self.missed.pop_front() {
                return Some(Step::Gap(first, last, Reason::NotFound));
            }
            if self.next >= state.next {
                return None;
            }
            let group = state.arrivals.from(self.next).next();
            let gap = state.gaps.from(self.next).next().map(|(place, gap)| (place, *gap));
            match (group, gap) {
                (Some((place, group)), gap) if gap.is_none_or(|(gap, _)| place < gap) => {
                    self.next = place + 1;
                    let sequence = group.sequence();
                    if self.start.is_some_and(|start| sequence < start)
                        || !self.seen.insert(sequence, sequence)
                    {
                        continue;
                    }
                    self.floor = Some(self.floor.map_or(sequence, |floor| floor.min(sequence)));
                    let due = |lifetime: &Lifetime| lifetime.after(group.progress().ok()?);
                    if limit.and_then(due).is_some_and(|due| due <= now()) {
                        self.missed.push_back((sequence, sequence));
                        continue;
                    }
                    return Some(Step::Group(Arc::clone(group)));
                }
                (_, Some((place, Gap { first, last, reason, .. }))) => {
                    self.next = place + 1;
                    // Without a floor, what stands before the first group is told with that group if it matters.
                    let Some(first) = self.floor.map(|floor| first.max(floor)).filter(|first| *first <= last)
                    else {
                        continue;
                    };
                    self.seen.insert(first, last);
                    return Some(Step::Gap(first, last, reason));
                }
                _ => return None,
            }
        }
    }
}

impl Clone for TrackConsumer {
    fn clone(&self) -> Self {
        let mut state = self.shared.lock();
        state.consumers += 1;
        state.changed.wake();
        Self {
            shared: Arc::clone(&self.shared),
            at: self.at.clone(),
            place: Place::default(),
            lifetime: self.lifetime.clone(),
            tally: self.tally.clone(),
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
