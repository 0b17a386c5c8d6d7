//! A group: frames in order, written once, read by many.

mod pen;
mod reader;
mod wire;

use std::{
    convert::Infallible,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Poll,
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{
    budget::{Account, CacheBudget, Holder},
    clock::now,
    frame::{FrameMeta, FrameProducer},
    terms::Retention,
    track::TrackShared,
    wait::{WaitList, Waiting, wake_unlocked},
};
use crate::error::{GroupError, Reason};

pub use self::reader::GroupConsumer;
use self::wire::Wire;
pub(crate) use self::{
    pen::Pen,
    reader::{GroupSize, Part},
    wire::{HeaderForm, Preamble},
};

/// A payload slice shorter than this is copied when it is kept: it may hold more of what the caller has alive.
const COPY_BELOW: u32 = 512;
/// The same for payload from a peer. A slice of it holds the whole batch of packets alive in which it came, up to
/// 64 KiB that a peer can fill with anything. A longer one is no small part of that; what packets bring is shorter.
const COPY_BELOW_FROM_PEER: u32 = 16 << 10;

/// What a group costs beside its frames: itself, and its places in the lists of its track.
const GROUP_COST: u64 = size_of::<GroupShared>() as u64 + 128;
/// What a frame with its header, a piece of payload, and a piece's own allocation cost beside their bytes, so that many
/// small ones count for what they hold.
const FRAME_COST: usize = size_of::<FrameEntry>() + 8;
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
    /// What stands before it on the wire, once somebody has sent it; empty until then.
    header: Bytes,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<FrameEntry>,
    chunks: Vec<Bytes>,
    /// What it is on the wire, once somebody has sent of it.
    wire: Option<Box<Wire>>,
    /// What this group holds: payload, and what frames and pieces cost beside it.
    bytes: u64,
    /// Payload alone, declared frames included.
    payload: u64,
    end: Option<Result<(), GroupError>>,
    ended_at: Option<Instant>,
    /// Who reads, and how many pieces of payload have been let go of, where a group is read once.
    consumers: u32,
    taken: u32,
    /// Who writes, where that may be several.
    writers: Vec<pen::Writer>,
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
    copy_below: u32,
    /// The most that the track holds; beyond it, the track is asked to let go of something.
    max_held: u64,
    /// See [`Retention::read_once`].
    read_once: bool,
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
            read_once: retention.read_once,
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
        let kept = state.chunks.iter().filter(|chunk| !chunk.is_empty());
        let payload = kept.map(|chunk| chunk.len() + ALLOCATION_COST).sum::<usize>();
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
        state.wire = None;
        self.account.release(std::mem::take(&mut state.bytes));
        state.readers.wake();
        state.expiry.wake();
    }
}

/// What is read once.
impl GroupShared {
    /// There is one more reader.
    fn is_read(&self) {
        if self.read_once {
            self.lock().consumers += 1;
        }
    }

    /// Lets go of pieces that the only reader has.
    fn was_read(&self, state: &mut State, chunks: Range<usize>) {
        if !self.read_once || state.consumers > 1 {
            return;
        }
        state.taken = u32::try_from(chunks.end).unwrap_or(u32::MAX);
        let chunks = state.chunks.get_mut(chunks).unwrap_or_default();
        let taken = chunks.iter_mut().map(std::mem::take).filter(|chunk| !chunk.is_empty());
        let bytes = taken.map(|chunk| (chunk.len() + ALLOCATION_COST) as u64).sum();
        state.bytes -= bytes;
        self.account.release(bytes);
    }

    /// There is one reader less; with the last one the group goes.
    fn is_left(&self, mut state: MutexGuard<'_, State>) {
        if !self.read_once {
            return;
        }
        state.consumers -= 1;
        if state.consumers > 0 {
            return;
        }
        let whole = matches!(state.end, Some(Ok(())));
        drop(state);
        match self.track.upgrade() {
            Some(track) if whole => track.forget(self.key.sequence),
            // A gap may yet name it.
            _ => self.expire(),
        }
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
            read_once: retention.read_once,
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
        self.write_parts(|parts| {
            parts.begin(FrameMeta::sized(payload.len() as u64))?;
            parts.append(payload)
        })
    }

    /// Writes what `write` does as one: readers see all of it, and are woken once.
    pub(crate) fn write_parts(
        &self,
        write: impl FnOnce(&mut Parts<'_>) -> Result<(), GroupError>,
    ) -> Result<(), GroupError> {
        let mut state = self.shared.lock();
        let mut parts = Parts { shared: &self.shared, state: &mut state, held: 0, is_news: false };
        let result = write(&mut parts);
        let Parts { held, is_news, .. } = parts;
        if is_news {
            wake_unlocked(state, || self.shared.lock(), |state| &mut state.readers);
        } else {
            drop(state);
        }
        self.shared.keep_within(held);
        result
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
        state.expiry.wake();
        wake_unlocked(state, || self.shared.lock(), |state| &mut state.readers);
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
        self.write_parts(|parts| parts.begin(meta))
    }

    /// Appends to the frame begun last; the caller keeps to its size.
    pub(crate) fn append_payload(&self, chunk: Bytes) -> Result<(), GroupError> {
        self.write_parts(|parts| parts.append(chunk))
    }
}

/// A group while several parts are written to it.
pub(crate) struct Parts<'a> {
    shared: &'a GroupShared,
    state: &'a mut State,
    /// What the track holds now.
    held: u64,
    is_news: bool,
}

impl Parts<'_> {
    /// Begins a frame.
    pub(crate) fn begin(&mut self, meta: FrameMeta) -> Result<(), GroupError> {
        // Otherwise the first payload wakes: a size alone is nothing to send.
        self.is_news |= meta.size == 0;
        self.held = self.shared.begin(self.state, meta)?;
        Ok(())
    }

    /// Appends to the frame begun last; the caller keeps to its size.
    pub(crate) fn append(&mut self, chunk: Bytes) -> Result<(), GroupError> {
        self.append_own(self.shared.owned(chunk))
    }

    /// The same for payload that keeps nothing else alive.
    pub(crate) fn append_own(&mut self, chunk: Bytes) -> Result<(), GroupError> {
        self.held = self.shared.append(self.state, chunk)?;
        self.is_news = true;
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
        state.frames.push(FrameEntry { meta, written: 0, chunks: next..next, header: Bytes::new() });
        let grown = state.frames.capacity() - before;
        Ok(self.charge(state, grown * FRAME_COST))
    }

    /// The same payload, so that it keeps no more alive than it counts for.
    fn owned(&self, chunk: Bytes) -> Bytes {
        if chunk.len() < self.copy_below as usize { Bytes::copy_from_slice(&chunk) } else { chunk }
    }

    /// Adds payload to the last frame, as it is; returns what the track holds then.
    fn append(&self, state: &mut State, chunk: Bytes) -> Result<u64, GroupError> {
        state.open()?;
        if chunk.is_empty() {
            return Ok(self.charge(state, 0));
        }
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
