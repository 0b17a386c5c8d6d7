//! What a subscription writes through: a track of its own, or one that it shares with others.

use std::{sync::Arc, task::Poll};

use moqt_wire::FullTrackName;
use tokio::{sync::watch, time::Instant};

use super::{Held, MergedTrack, Notice, State, TrackProducer, TrackShared};
use crate::{
    error::{Reason, TrackError},
    model::{
        budget::CacheBudget,
        group::Pen,
        terms::{CreateGroupError, Retention, TrackInfo},
        wait::Waiting,
    },
};

/// What is told of a source to whoever has it feed a merged track.
#[derive(Clone, Debug, Default)]
pub(crate) struct FeedState {
    /// It has brought what is newest on the track.
    pub(crate) delivers: bool,
    pub(crate) end: Option<Result<(), TrackError>>,
}

/// One subscription's way into its track. The end of an only source is the end of its track.
#[derive(Debug)]
pub(crate) struct TrackSource {
    shared: Arc<TrackShared>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The only one there will ever be.
    Only(TrackProducer),
    Shared {
        id: u64,
        told: watch::Sender<FeedState>,
        /// Whether its end says nothing of the track's.
        is_part: bool,
    },
}

/// What one source of a track brings of what the others have begun.
#[derive(Debug)]
pub(crate) struct Coverage {
    shared: Arc<TrackShared>,
    id: u64,
}

impl Coverage {
    /// Waits until no group is open that this source will not bring. Cancel safe.
    pub(crate) async fn covers(&self) {
        let mut waiting = Waiting::new(|place| self.shared.lock().covered.leave(place));
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            let State { end, sources, groups, .. } = &*state;
            let lacks = |(sequence, held): (u64, &Held)| {
                sources.is_declined(self.id, sequence) && held.group.is_open()
            };
            if end.is_some() || !groups.iter().any(lacks) {
                return Poll::Ready(());
            }
            state.covered.wait(&mut waiting.place, cx);
            Poll::Pending
        })
        .await
    }
}

impl TrackSource {
    /// The source of a new track, and the track.
    pub(crate) fn only(
        name: FullTrackName,
        retention: Retention,
        budget: &CacheBudget,
    ) -> (Self, TrackProducer) {
        let track = TrackProducer::incoming(name, retention, budget);
        (Self { shared: Arc::clone(&track.shared), kind: Kind::Only(track.clone()) }, track)
    }

    /// One more source of a track.
    pub(crate) fn of(track: &MergedTrack) -> (Self, watch::Receiver<FeedState>) {
        Self::new(track, false)
    }

    /// One more source, of a few groups of a track. With the last of them the track has not come to its end.
    pub(crate) fn of_part(track: &MergedTrack) -> (Self, watch::Receiver<FeedState>) {
        Self::new(track, true)
    }

    fn new(track: &MergedTrack, is_part: bool) -> (Self, watch::Receiver<FeedState>) {
        let shared = Arc::clone(track.shared());
        let (told, state) = watch::channel(FeedState::default());
        let mut locked = shared.lock();
        let id = locked.sources.enter();
        locked.changed.wake();
        drop(locked);
        (Self { shared, kind: Kind::Shared { id, told, is_part } }, state)
    }

    /// What it brings of what others have begun; `None` where it is alone.
    pub(crate) fn coverage(&self) -> Option<Coverage> {
        match self.kind {
            Kind::Only(_) => None,
            Kind::Shared { id, .. } => Some(Coverage { shared: Arc::clone(&self.shared), id }),
        }
    }

    /// Whether others may write the same track.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Shared { .. })
    }

    /// Begins a group, or joins those who write it.
    ///
    /// # Errors
    ///
    /// - [`CreateGroupError::Ended`]: the track has ended.
    /// - [`CreateGroupError::Duplicate`]: it came before, from this source, or whole from others.
    ///
    /// Readers are told of a new group when the notice is dropped.
    pub(crate) fn begin_group(&self, sequence: u64) -> Result<(Pen, Notice), CreateGroupError> {
        let (id, told) = match &self.kind {
            Kind::Only(track) => {
                return track.begin_group(sequence).map(|(group, notice)| (Pen::only(group), notice));
            }
            Kind::Shared { id, told, .. } => (*id, told),
        };
        let mut state = self.shared.lock();
        if state.end.is_some() {
            return Err(CreateGroupError::Ended);
        }
        if state.latest <= Some(sequence) && !told.borrow().delivers {
            told.send_modify(|state| state.delivers = true);
        }
        let duplicate = Err(CreateGroupError::Duplicate(sequence));
        if state.sources.has_declined(id, sequence) {
            return duplicate;
        }
        let mut joined = true;
        let group = match state.groups.get(sequence) {
            Some(held) => Arc::clone(&held.group),
            // It was here, or given up.
            None if state.holes.is_settled(sequence) => return duplicate,
            None => {
                state.sources.brought(sequence);
                joined = false;
                self.shared.insert(&mut state, sequence)
            }
        };
        let pen = Pen::join(&group, id);
        drop(state);
        let notice = Notice((!joined).then(|| Arc::clone(&self.shared)));
        let Some(pen) = pen else { return duplicate };
        pen.keep_within_budget();
        Ok((pen, notice))
    }

    /// [`begin_group`](Self::begin_group) of which readers are told at once.
    #[cfg(test)]
    pub(crate) fn create_group(&self, sequence: u64) -> Result<Pen, CreateGroupError> {
        self.begin_group(sequence).map(|(pen, _told)| pen)
    }

    /// Says that the groups from `first` to `last` will not come from here.
    pub(crate) fn gap(&self, first: u64, last: u64, reason: Reason) {
        match &self.kind {
            Kind::Only(track) => track.gap(first, last, reason),
            Kind::Shared { id, .. } => {
                self.shared.decline(&mut self.shared.lock(), *id, first, last, reason);
            }
        }
    }

    /// Says that nothing before `first` will come from here.
    pub(crate) fn begins_at(&self, first: u64) {
        if self.is_shared() {
            self.shared.lock().sources.begins_at(first);
        }
        if let Some(last) = first.checked_sub(1) {
            self.gap(0, last, Reason::NotFound);
        }
    }

    /// Takes over what the publisher says of the track.
    pub(crate) fn set_info(&self, info: TrackInfo) {
        self.shared.lock().info = info;
    }

    /// What the publisher says of the track.
    pub(crate) fn info(&self) -> TrackInfo {
        self.shared.lock().info
    }

    /// Says which group is the newest, before it has come. Readers of the latest start there.
    pub(crate) fn set_latest(&self, sequence: u64) {
        let mut state = self.shared.lock();
        state.told = state.told.max(Some(sequence));
    }

    /// Whether each group from `first` to `last` has begun, or will not come; of a shared track, whether it is whole.
    pub(crate) fn is_settled(&self, first: u64, last: u64) -> bool {
        let state = self.shared.lock();
        let open = || {
            let mut begun = state.groups.range(first..=last.max(first));
            self.is_shared() && begun.any(|(_, held)| held.group.is_open())
        };
        state.holes.within(first, last).is_empty() && !open()
    }

    /// Gives up what has been missing for too long, and says when more of it will have been.
    pub(crate) fn settle(&self) -> Option<Instant> {
        self.shared.settle();
        self.shared.due()
    }

    /// Gives up a group that has not come whole from here.
    pub(crate) fn give_up(&self, sequence: u64, reason: Reason) {
        match &self.kind {
            Kind::Only(track) => track.give_up(sequence, reason),
            Kind::Shared { .. } => self.gap(sequence, sequence, reason),
        }
    }

    /// Whether anybody wants what comes.
    pub(crate) fn is_used(&self) -> bool {
        match &self.kind {
            Kind::Only(track) => track.readers() > 0,
            Kind::Shared { .. } => self.shared.lock().end.is_none(),
        }
    }

    /// Ends the track if it is this one's alone and no reader is left, `false` where one is; leaves one that it shares.
    pub(crate) fn end_if_unused(&self) -> bool {
        match &self.kind {
            Kind::Only(track) => track.end_if_unused(),
            Kind::Shared { .. } => {
                self.abort(Reason::Cancelled);
                true
            }
        }
    }

    /// Waits until nobody reads a track of this source alone, or a shared one has ended.
    pub(crate) fn unused(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let only = !self.is_shared();
        async move {
            let mut waiting = Waiting::new(|place| shared.lock().changed.leave(place));
            std::future::poll_fn(|cx| {
                let mut state = shared.lock();
                if if only { state.consumers == 0 } else { state.end.is_some() } {
                    return Poll::Ready(());
                }
                state.changed.wait(&mut waiting.place, cx);
                Poll::Pending
            })
            .await;
        }
    }

    /// The publisher finished the track.
    pub(crate) fn finish(&self) {
        self.end(Ok(()));
    }

    /// The publisher gave the track up.
    pub(crate) fn abort(&self, reason: Reason) {
        self.end(Err(TrackError::Ended(reason)));
    }

    /// Nothing more comes, for this reason.
    pub(crate) fn fail(&self, error: TrackError) {
        self.end(Err(error));
    }

    fn end(&self, how: Result<(), TrackError>) {
        match &self.kind {
            Kind::Only(track) => super::end(&track.shared, how),
            Kind::Shared { id, told, is_part } => {
                self.shared.leave(*id, how.is_ok() && !is_part);
                told.send_modify(|state| {
                    state.end.get_or_insert(how);
                });
            }
        }
    }
}

impl Drop for TrackSource {
    fn drop(&mut self) {
        if self.is_shared() {
            self.fail(TrackError::Ended(Reason::Cancelled));
        }
    }
}
