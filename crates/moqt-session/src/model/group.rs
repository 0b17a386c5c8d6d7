//! A group: frames in order, written once, read by many.

use std::{
    convert::Infallible,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{
    budget::{Account, CacheBudget, Holder},
    clock::now,
    frame::{FrameConsumer, FrameMeta, FrameProducer},
    terms::{Lifetime, Retention},
    track::TrackShared,
    wait::{Place, WaitList, Waiting},
};
use crate::{
    error::{GroupError, Reason},
    meters::{Meters, Sending},
};

/// A payload slice shorter than this is copied when it is kept: it may hold more of what the caller has alive.
const COPY_BELOW: usize = 512;
/// The same for payload from a peer. A slice of it holds the whole batch of packets alive in which it came, up to
/// 64 KiB that a peer can fill with anything. A longer one is no small part of that; what packets bring is shorter.
const COPY_BELOW_FROM_PEER: usize = 16 << 10;

/// What a group costs beside its frames: itself, and its places in the lists of its track.
const GROUP_COST: u64 = size_of::<GroupShared>() as u64 + 128;
/// What a frame, a piece of payload, and a piece's own allocation cost beside their bytes, so that many small ones
/// count for what they hold.
const FRAME_COST: usize = size_of::<FrameEntry>();
const CHUNK_COST: usize = size_of::<Bytes>();
const ALLOCATION_COST: usize = 32;

/// What tells groups of one track apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct GroupKey {
    /// The group's number.
    pub sequence: u64,
    /// The part of the group, for wires that split groups over several streams; 0 elsewhere.
    pub subgroup: u64,
}

impl GroupKey {
    /// A group that is not split.
    #[must_use]
    pub fn whole(sequence: u64) -> Self {
        Self { sequence, subgroup: 0 }
    }
}

#[derive(Debug)]
struct FrameEntry {
    meta: FrameMeta,
    written: u64,
    /// The frame's chunks so far.
    chunks: Range<usize>,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<FrameEntry>,
    chunks: Vec<Bytes>,
    /// What this group holds: payload, and what frames and pieces cost beside it.
    bytes: u64,
    /// Payload alone, declared frames included.
    payload: u64,
    end: Option<Result<(), GroupError>>,
    ended_at: Option<Instant>,
    readers: WaitList,
    /// Who waits for the end of retention alone, so that payload does not wake them.
    expiry: WaitList,
}

#[derive(Debug)]
pub(super) struct GroupShared {
    key: GroupKey,
    /// The number of the first frame that is here.
    first_frame: u64,
    max_bytes: u64,
    max_frames: usize,
    /// The track's account, to which this group adds what it holds.
    account: Arc<Account>,
    /// Shorter payload is copied.
    copy_below: usize,
    /// The most that the track holds; beyond it, the track is asked to let go of something.
    max_held: u64,
    track: Weak<TrackShared>,
    state: Mutex<State>,
}

impl GroupShared {
    pub(super) fn new(
        key: GroupKey,
        retention: &Retention,
        account: Arc<Account>,
        from_peer: bool,
        track: Weak<TrackShared>,
    ) -> Arc<Self> {
        let group = Self {
            key,
            first_frame: 0,
            max_bytes: retention.max_group_bytes,
            max_frames: retention.max_group_frames,
            account,
            copy_below: if from_peer { COPY_BELOW_FROM_PEER } else { COPY_BELOW },
            max_held: retention.max_bytes,
            track,
            state: Mutex::default(),
        };
        Arc::new(group.opened())
    }

    /// Charges what an empty group costs.
    fn opened(mut self) -> Self {
        self.account.group_begins();
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).bytes = GROUP_COST;
        self.account.charge(GROUP_COST);
        self
    }

    /// Since when the group has ended, or else how much it has.
    pub(super) fn progress(&self) -> Result<Instant, u64> {
        let state = self.lock();
        state.ended_at.ok_or(state.bytes)
    }

    /// What it holds, counted anew.
    #[cfg(test)]
    pub(super) fn holds(&self) -> u64 {
        let state = self.lock();
        if state.bytes == 0 {
            assert!(state.frames.is_empty() && state.chunks.is_empty());
            return 0;
        }
        let lists = state.frames.capacity() * FRAME_COST + state.chunks.capacity() * CHUNK_COST;
        let payload = state.chunks.iter().map(|chunk| chunk.len() + ALLOCATION_COST).sum::<usize>();
        GROUP_COST + (lists + payload) as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sequence(&self) -> u64 {
        self.key.sequence
    }

    /// Ends the group where it is not complete; `false` where it is.
    pub(super) fn give_up(&self, reason: Reason) -> bool {
        let mut state = self.lock();
        match state.end {
            Some(Ok(())) => return false,
            Some(Err(_)) => {}
            None => {
                state.end = Some(Err(GroupError::Reset(reason)));
                state.ended_at = Some(now());
                state.readers.wake();
                state.expiry.wake();
            }
        }
        true
    }

    /// Lets go of the payload. Readers that are not through see [`GroupError::Expired`].
    pub(super) fn expire(&self) {
        let mut state = self.lock();
        state.end = Some(Err(GroupError::Expired));
        state.frames = Vec::new();
        state.chunks = Vec::new();
        self.account.release(std::mem::take(&mut state.bytes));
        state.readers.wake();
        state.expiry.wake();
    }
}

impl Drop for GroupShared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.account.release(state.bytes);
        self.account.group_goes();
    }
}

/// A group that came alone is its reader's newest.
impl Holder for GroupShared {
    fn let_go(&self, newest: bool) -> bool {
        let holds = newest && self.lock().bytes > 0;
        if holds {
            self.expire();
        }
        holds
    }

    fn sweep(&self, _: Instant) {}
}

/// Writes a group. Readers see each frame, and each piece of a frame, at once.
///
/// Dropped before [`finish`](Self::finish), it aborts the group with [`Reason::Cancelled`].
#[derive(Debug)]
pub struct GroupProducer {
    shared: Arc<GroupShared>,
}

impl GroupProducer {
    pub(super) fn new(shared: Arc<GroupShared>) -> Self {
        Self { shared }
    }

    /// A group that takes nothing, as its track takes no more groups.
    pub(super) fn refused(sequence: u64, retention: &Retention) -> Self {
        let (group, _, _) = Self::alone(sequence, 0, retention, &CacheBudget::unlimited());
        group.end(GroupError::TrackEnded);
        group
    }

    /// A group on its own, of which the frames from `first_frame` on are written. Of `retention` it keeps the limits
    /// on one group; what it holds counts for `budget`. The receiver resolves once nobody reads it.
    pub(crate) fn alone(
        sequence: u64,
        first_frame: u64,
        retention: &Retention,
        budget: &CacheBudget,
    ) -> (Self, GroupConsumer, oneshot::Receiver<Infallible>) {
        let account = budget.open();
        let shared = GroupShared {
            key: GroupKey::whole(sequence),
            first_frame,
            max_bytes: retention.max_group_bytes,
            max_frames: retention.max_group_frames,
            account: Arc::clone(&account),
            copy_below: COPY_BELOW_FROM_PEER,
            max_held: u64::MAX,
            track: Weak::new(),
            state: Mutex::default(),
        };
        let shared = Arc::new(shared.opened());
        let holder: Weak<GroupShared> = Arc::downgrade(&shared);
        account.held_by(holder);
        let (reading, unread) = oneshot::channel();
        let mut consumer = GroupConsumer::new(Arc::clone(&shared));
        consumer.reading = Some(Arc::new(reading));
        (Self { shared }, consumer, unread)
    }

    /// The group's number.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.shared.key.sequence
    }

    /// Appends a whole frame.
    ///
    /// # Errors
    ///
    /// - [`GroupError::TooLarge`]: the group would exceed [`Retention::max_group_bytes`] or
    ///   [`Retention::max_group_frames`]; it is aborted.
    /// - otherwise the reason for which the group ended before.
    pub fn write_frame(&mut self, payload: impl Into<Bytes>) -> Result<(), GroupError> {
        let payload = payload.into();
        let held = {
            let mut state = self.shared.lock();
            self.shared.begin(&mut state, FrameMeta::sized(payload.len() as u64))?;
            let held = self.shared.append(&mut state, payload)?;
            state.readers.wake();
            held
        };
        self.shared.keep_within(held);
        Ok(())
    }

    /// Starts a frame whose bytes follow piece by piece.
    ///
    /// # Errors
    ///
    /// As [`write_frame`](Self::write_frame).
    pub fn create_frame(&mut self, meta: FrameMeta) -> Result<FrameProducer<'_>, GroupError> {
        let size = meta.size;
        self.begin_frame(meta)?;
        Ok(FrameProducer::new(self, size))
    }

    /// A group that has just begun counts too.
    pub(super) fn keep_within_budget(&self) {
        self.shared.keep_within(0);
    }

    /// Completes the group.
    ///
    /// # Errors
    ///
    /// The reason for which the group ended before.
    pub fn finish(self) -> Result<(), GroupError> {
        self.complete()
    }

    pub(crate) fn complete(&self) -> Result<(), GroupError> {
        let mut state = self.shared.lock();
        if let Some(Err(error)) = &state.end {
            return Err(error.clone());
        }
        state.end = Some(Ok(()));
        state.ended_at = Some(now());
        state.readers.wake();
        state.expiry.wake();
        drop(state);
        if let Some(track) = self.shared.track.upgrade() {
            track.finished(self.sequence());
        }
        Ok(())
    }

    /// Gives the group up. Readers keep the frames they have and then see `reason`.
    pub fn abort(self, reason: Reason) {
        self.end(GroupError::Reset(reason));
    }

    pub(crate) fn end(&self, error: GroupError) {
        let mut state = self.shared.lock();
        if state.end.is_none() {
            state.end = Some(Err(error));
            state.ended_at = Some(now());
            state.readers.wake();
            state.expiry.wake();
        }
    }

    /// Waits until retention has let go of the group, or it ended otherwise. Cancel safe.
    pub(crate) async fn let_go(&self) -> GroupError {
        let mut waiting = Waiting::new(|place| self.shared.lock().expiry.leave(place));
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if let Some(Err(error)) = &state.end {
                return Poll::Ready(error.clone());
            }
            state.expiry.wait(&mut waiting.place, cx);
            Poll::Pending
        })
        .await
    }

    pub(crate) fn begin_frame(&self, meta: FrameMeta) -> Result<(), GroupError> {
        let empty = meta.size == 0;
        let held = {
            let mut state = self.shared.lock();
            let held = self.shared.begin(&mut state, meta)?;
            if empty {
                // Otherwise the first payload wakes: a size alone is nothing to send.
                state.readers.wake();
            }
            held
        };
        self.shared.keep_within(held);
        Ok(())
    }

    /// Appends to the frame begun last; the caller keeps to its size.
    pub(crate) fn append_payload(&self, chunk: Bytes) -> Result<(), GroupError> {
        let held = {
            let mut state = self.shared.lock();
            let held = self.shared.append(&mut state, chunk)?;
            state.readers.wake();
            held
        };
        self.shared.keep_within(held);
        Ok(())
    }
}

impl GroupShared {
    /// Adds a frame without payload; returns what the track holds then.
    fn begin(&self, state: &mut State, meta: FrameMeta) -> Result<u64, GroupError> {
        state.open()?;
        if state.frames.len() >= self.max_frames || meta.size > self.max_bytes.saturating_sub(state.payload) {
            return Err(self.too_large(state));
        }
        state.payload += meta.size;
        let next = state.chunks.len();
        let before = state.frames.capacity();
        if before == 0 {
            // Often the only one.
            state.frames.reserve_exact(1);
        }
        state.frames.push(FrameEntry { meta, written: 0, chunks: next..next });
        let grown = state.frames.capacity() - before;
        Ok(self.charge(state, grown * FRAME_COST))
    }

    /// Adds payload to the last frame; returns what the track holds then.
    fn append(&self, state: &mut State, chunk: Bytes) -> Result<u64, GroupError> {
        state.open()?;
        if chunk.is_empty() {
            return Ok(self.charge(state, 0));
        }
        let chunk = if chunk.len() < self.copy_below { Bytes::copy_from_slice(&chunk) } else { chunk };
        let len = chunk.len();
        self.account.came(len as u64);
        let end = state.chunks.len() + 1;
        let Some(frame) = state.frames.last_mut() else {
            return Err(GroupError::WrongSize);
        };
        frame.written += len as u64;
        frame.chunks.end = end;
        let before = state.chunks.capacity();
        if before == 0 {
            state.chunks.reserve_exact(1);
        }
        state.chunks.push(chunk);
        let grown = state.chunks.capacity() - before;
        Ok(self.charge(state, len + ALLOCATION_COST + grown * CHUNK_COST))
    }

    fn charge(&self, state: &mut State, cost: usize) -> u64 {
        let cost = cost as u64;
        state.bytes += cost;
        self.account.charge(cost)
    }

    /// Asks the track, or all that share its budget, to let go of something where it is too much.
    fn keep_within(&self, held: u64) {
        if held > self.max_held
            && let Some(track) = self.track.upgrade()
        {
            track.trim();
        }
        if self.account.is_over() {
            self.account.budget().reclaim();
        }
    }

    fn too_large(&self, state: &mut State) -> GroupError {
        self.account.budget().was_oversized();
        state.end = Some(Err(GroupError::TooLarge));
        state.ended_at = Some(now());
        state.readers.wake();
        GroupError::TooLarge
    }
}

impl State {
    fn open(&self) -> Result<(), GroupError> {
        match &self.end {
            None => Ok(()),
            Some(Ok(())) => Err(GroupError::Finished),
            Some(Err(error)) => Err(error.clone()),
        }
    }
}

impl Drop for GroupProducer {
    fn drop(&mut self) {
        self.end(GroupError::Reset(Reason::Cancelled));
    }
}

/// One step of a reader through a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A frame begins.
    Frame(FrameMeta),
    /// The next bytes of the frame begun last.
    Chunk(Bytes),
}

/// Reads a group from its first frame on, however late it starts; one that was fetched from the frame on that was
/// asked for.
///
/// A clone reads on from the same place, independently.
#[derive(Debug)]
pub struct GroupConsumer {
    shared: Arc<GroupShared>,
    frame: usize,
    chunk: usize,
    /// Whether the frame at the cursor has been announced to the caller.
    opened: bool,
    place: Place,
    expiry: Place,
    /// Dropped with the last reader of a group that comes only as long as it is read.
    reading: Option<Arc<oneshot::Sender<Infallible>>>,
    /// How long the group is of use to this reader.
    lifetime: Option<Lifetime>,
    /// Counts what is taken to be sent.
    sending: Option<Sending>,
}

impl GroupConsumer {
    pub(super) fn new(shared: Arc<GroupShared>) -> Self {
        Self {
            shared,
            frame: 0,
            chunk: 0,
            opened: false,
            place: Place::default(),
            expiry: Place::default(),
            reading: None,
            lifetime: None,
            sending: None,
        }
    }

    /// The group is read to be sent to a peer, and of no use to it when it is older than that.
    pub(crate) fn served(mut self, lifetime: Option<Lifetime>, meters: Option<&Meters>) -> Self {
        self.lifetime = lifetime;
        self.sending = meters.map(Meters::sends);
        self
    }

    /// Goes to the frame of this number in the whole group, which may be yet to come. `false` where the frames here
    /// begin behind it.
    ///
    /// Where the group is complete with fewer frames than that, the next read fails as [`Reason::OutOfRange`].
    pub(crate) fn seek(&mut self, frame: u64) -> bool {
        let Some(index) = frame.checked_sub(self.shared.first_frame) else { return false };
        self.frame = usize::try_from(index).unwrap_or(usize::MAX);
        self.opened = false;
        true
    }

    /// Payload of the frames so far, as their sizes say.
    pub(crate) fn payload(&self) -> u64 {
        self.shared.lock().payload
    }

    /// How the group ended, if it did.
    #[must_use]
    pub fn end(&self) -> Option<Result<(), GroupError>> {
        self.shared.lock().end.clone()
    }

    /// The group's number.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.shared.key.sequence
    }

    /// What tells this group apart.
    #[must_use]
    pub fn key(&self) -> GroupKey {
        self.shared.key
    }

    /// Returns the next frame whole, or `None` once the group is complete.
    ///
    /// Frames come in the order written. The payload shares memory with the cache where the frame came in one
    /// piece: cloning it costs a reference count, keeping it keeps that memory.
    ///
    /// # Errors
    ///
    /// - [`GroupError::Reset`]: the publisher gave the group up. Frames already returned stand. Of a fetch, this is the
    ///   refusal too.
    /// - [`GroupError::Expired`]: this reader fell behind the track's [`Retention`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the cursor moves only when a frame is returned.
    ///
    /// Spec: transfork-03 "FRAME".
    pub async fn read_frame(&mut self) -> Result<Option<Bytes>, GroupError> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// Returns the next frame as soon as it begins, to be read while it is written.
    ///
    /// # Errors
    ///
    /// As [`read_frame`](Self::read_frame).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next_frame(&mut self) -> Result<Option<FrameConsumer<'_>>, GroupError> {
        loop {
            match std::future::poll_fn(|cx| self.poll_part(cx, false)).await? {
                // The rest of a frame that the caller left.
                Some(Part::Chunk(_)) => {}
                Some(Part::Frame(meta)) => return Ok(Some(FrameConsumer::new(self, meta))),
                None => return Ok(None),
            }
        }
    }

    fn poll_frame(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, GroupError>> {
        let mut state = self.shared.lock();
        if self.opened {
            // The caller left this frame in its middle.
            self.frame += 1;
            self.opened = false;
        }
        let Some(entry) = state.frames.get(self.frame) else {
            return Self::poll_end(&mut state, self.frame, &mut self.place, cx).map_ok(|()| None);
        };
        if entry.written < entry.meta.size {
            return match Self::poll_end(&mut state, self.frame, &mut self.place, cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Err(GroupError::WrongSize)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
        }
        let size = entry.meta.size;
        let chunks = state.chunks.get(entry.chunks.clone()).unwrap_or_default();
        let frame = match chunks {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => {
                let mut whole = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
                many.iter().for_each(|chunk| whole.extend_from_slice(chunk));
                whole.into()
            }
        };
        self.frame += 1;
        Poll::Ready(Ok(Some(frame)))
    }

    /// The end of the group, for a reader at `frame`.
    fn poll_end(
        state: &mut State,
        frame: usize,
        place: &mut Place,
        cx: &Context<'_>,
    ) -> Poll<Result<(), GroupError>> {
        match &state.end {
            Some(Ok(())) if frame > state.frames.len() => {
                Poll::Ready(Err(GroupError::Reset(Reason::OutOfRange)))
            }
            Some(end) => Poll::Ready(end.clone()),
            None => {
                state.readers.wait(place, cx);
                Poll::Pending
            }
        }
    }

    /// One step. With `within`, `None` at the end of the frame too.
    pub(crate) fn poll_part(
        &mut self,
        cx: &Context<'_>,
        within: bool,
    ) -> Poll<Result<Option<Part>, GroupError>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if within && !self.opened {
            return Poll::Ready(Ok(None));
        }
        match self.step(&state) {
            Some(part) => {
                if within && matches!(part, Part::Frame(_)) {
                    // The frame of the caller ended; the next one is for the next call.
                    self.opened = false;
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Ok(Some(part)))
            }
            None if within && !self.opened => Poll::Ready(Ok(None)),
            None => Self::poll_end(&mut state, self.frame, &mut self.place, cx).map_ok(|()| None),
        }
    }

    /// Takes up to `max` parts under one lock. Returns how many; 0 once the group is complete.
    pub(crate) fn poll_parts(
        &mut self,
        cx: &Context<'_>,
        max: usize,
        parts: &mut Vec<Part>,
    ) -> Poll<Result<usize, GroupError>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let mut taken = 0;
        while taken < max {
            let Some(part) = self.step(&state) else { break };
            if let (Some(sending), Part::Chunk(chunk)) = (&self.sending, &part) {
                sending.took(chunk.len() as u64);
            }
            parts.push(part);
            taken += 1;
        }
        if taken > 0 {
            return Poll::Ready(Ok(taken));
        }
        Self::poll_end(&mut state, self.frame, &mut self.place, cx).map_ok(|()| 0)
    }

    /// Waits until retention has let go of the group, or it is too old for this reader. Cancel safe.
    pub(crate) async fn expired(&mut self) {
        let lifetime = self.lifetime.clone();
        let due = |state: &State| lifetime.as_ref()?.after(state.ended_at?);
        // Most readers take what is there.
        if let Some(due) = std::future::poll_fn(|cx| self.poll_expired(cx, due)).await {
            tokio::select! {
                biased;
                _ = std::future::poll_fn(|cx| self.poll_expired(cx, |_| None)) => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// `None` once it has expired.
    fn poll_expired(
        &mut self,
        cx: &Context<'_>,
        due: impl Fn(&State) -> Option<Instant>,
    ) -> Poll<Option<Instant>> {
        let mut state = self.shared.lock();
        if state.end == Some(Err(GroupError::Expired)) {
            return Poll::Ready(None);
        }
        if let Some(due) = due(&state) {
            return Poll::Ready(Some(due));
        }
        state.expiry.wait(&mut self.expiry, cx);
        Poll::Pending
    }

    /// Moves the cursor over what is there; `None` when there is nothing yet.
    fn step(&mut self, state: &State) -> Option<Part> {
        loop {
            let entry = state.frames.get(self.frame)?;
            if !self.opened {
                self.opened = true;
                self.chunk = entry.chunks.start;
                return Some(Part::Frame(entry.meta.clone()));
            }
            if self.chunk < entry.chunks.end {
                let chunk = state.chunks.get(self.chunk)?.clone();
                self.chunk += 1;
                return Some(Part::Chunk(chunk));
            }
            if entry.written < entry.meta.size {
                return None;
            }
            self.frame += 1;
            self.opened = false;
        }
    }

    /// Whether the group is complete and at its end for this reader.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let state = self.shared.lock();
        matches!(state.end, Some(Ok(()))) && self.frame >= state.frames.len()
    }
}

impl Clone for GroupConsumer {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            frame: self.frame,
            chunk: self.chunk,
            opened: self.opened,
            place: Place::default(),
            expiry: Place::default(),
            reading: self.reading.clone(),
            lifetime: self.lifetime.clone(),
            sending: None,
        }
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.readers.leave(&mut self.place);
        state.expiry.leave(&mut self.expiry);
    }
}
