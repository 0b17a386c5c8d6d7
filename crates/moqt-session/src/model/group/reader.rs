//! Reading a group: a cursor, and what wakes it.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{GroupKey, GroupShared, HeaderForm, Preamble, State};
use crate::{
    error::{GroupError, Reason},
    meters::{Sending, Tally},
    model::{
        frame::{FrameConsumer, FrameMeta},
        terms::Lifetime,
        wait::Place,
    },
};

/// One step of a reader through a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A frame begins.
    Frame(FrameMeta),
    /// The next bytes of the frame begun last.
    Chunk(Bytes),
}

/// Where a reader is in a group.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    frame: usize,
    chunk: usize,
    /// Whether the frame at the cursor has been announced to the caller.
    opened: bool,
}

/// How much payload a group has; no reader of it.
#[derive(Clone, Debug)]
pub(crate) struct GroupSize(Size);

#[derive(Clone, Debug)]
enum Size {
    Whole(u64),
    /// As much as this one says.
    Growing(Arc<GroupShared>),
}

impl GroupSize {
    /// Payload of the frames so far, as their sizes say.
    pub(crate) fn payload(&self) -> u64 {
        match &self.0 {
            Size::Whole(payload) => *payload,
            Size::Growing(group) => group.lock().payload,
        }
    }

    /// The same; a group that is complete is not asked again.
    pub(crate) fn settle(&mut self) -> u64 {
        if let Size::Growing(group) = &self.0 {
            let state = group.lock();
            let payload = state.payload;
            if !matches!(state.end, Some(Ok(()))) {
                return payload;
            }
            drop(state);
            self.0 = Size::Whole(payload);
        }
        self.payload()
    }
}

/// Reads a group from its first frame on, however late it starts; one that was fetched from the frame on that was
/// asked for.
///
/// A clone reads on from the same place, independently.
#[derive(Debug)]
pub struct GroupConsumer {
    shared: Arc<GroupShared>,
    at: Cursor,
    place: Place,
    expiry: Place,
    /// Dropped with the last reader of a group that comes only as long as it is read.
    pub(super) reading: Option<Arc<oneshot::Sender<Infallible>>>,
    /// How long the group is of use to this reader.
    lifetime: Option<Lifetime>,
    /// Counts what is taken to be sent.
    sending: Option<Sending>,
}

impl GroupConsumer {
    pub(in crate::model) fn new(shared: Arc<GroupShared>) -> Self {
        shared.is_read();
        Self {
            shared,
            at: Cursor::default(),
            place: Place::default(),
            expiry: Place::default(),
            reading: None,
            lifetime: None,
            sending: None,
        }
    }

    /// The group is read to be sent to a peer, and of no use to it when it is older than that.
    pub(crate) fn served(mut self, lifetime: Option<Lifetime>, tally: Option<&Tally>) -> Self {
        self.lifetime = lifetime;
        self.sending = tally.map(Tally::sends);
        self
    }

    /// Goes to the frame of this number in the whole group, which may be yet to come. `false` where the frames here
    /// begin behind it.
    ///
    /// Where the group is complete with fewer frames than that, the next read fails as [`Reason::OutOfRange`].
    pub(crate) fn seek(&mut self, frame: u64) -> bool {
        let Some(index) = frame.checked_sub(self.shared.first_frame) else { return false };
        self.at = Cursor { frame: usize::try_from(index).unwrap_or(usize::MAX), ..Cursor::default() };
        true
    }

    /// What tells how much the group has.
    pub(crate) fn size(&self) -> GroupSize {
        let state = self.shared.lock();
        GroupSize(match state.end {
            Some(Ok(())) => Size::Whole(state.payload),
            _ => Size::Growing(Arc::clone(&self.shared)),
        })
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
    /// - [`GroupError::Expired`]: this reader fell behind the track's [`Retention`](crate::Retention).
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
        let Self { shared, at, place, .. } = self;
        let mut state = shared.lock();
        if at.opened {
            // The caller left this frame in its middle.
            at.frame += 1;
            at.opened = false;
        }
        if at.is_late(&state) {
            return Poll::Ready(Err(GroupError::Expired));
        }
        let Some(entry) = state.frames.get(at.frame) else {
            return Self::poll_end(&mut state, at.frame, place, cx).map_ok(|()| None);
        };
        if entry.written < entry.meta.size {
            return match Self::poll_end(&mut state, at.frame, place, cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Err(GroupError::WrongSize)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
        }
        let (size, chunks) = (entry.meta.size, entry.chunks.clone());
        let frame = match state.chunks.get(chunks.clone()).unwrap_or_default() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => {
                let mut whole = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
                many.iter().for_each(|chunk| whole.extend_from_slice(chunk));
                whole.into()
            }
        };
        at.frame += 1;
        shared.was_read(&mut state, chunks);
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
        let Self { shared, at, place, .. } = self;
        let mut state = shared.lock();
        if within && !at.opened {
            return Poll::Ready(Ok(None));
        }
        if at.is_late(&state) {
            return Poll::Ready(Err(GroupError::Expired));
        }
        match at.step(shared, &mut state) {
            Some(part) => {
                if within && matches!(part, Part::Frame(_)) {
                    // The frame of the caller ended; the next one is for the next call.
                    at.opened = false;
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Ok(Some(part)))
            }
            None if within && !at.opened => Poll::Ready(Ok(None)),
            None => Self::poll_end(&mut state, at.frame, place, cx).map_ok(|()| None),
        }
    }

    /// Takes up to `max` pieces as they go onto the wire, headers and payload, under one lock. Returns how many; 0 once
    /// the group is complete.
    pub(crate) fn poll_wire(
        &mut self,
        cx: &Context<'_>,
        max: usize,
        form: HeaderForm,
        pieces: &mut Vec<Bytes>,
    ) -> Poll<Result<usize, GroupError>> {
        let Self { shared, at, place, sending, .. } = self;
        let mut state = shared.lock();
        if at.is_late(&state) {
            return Poll::Ready(Err(GroupError::Expired));
        }
        match at.take_wire(shared, &mut state, (max, form, pieces), sending.as_ref()) {
            0 => Self::poll_end(&mut state, at.frame, place, cx).map_ok(|()| 0),
            taken => Poll::Ready(Ok(taken)),
        }
    }

    /// [`poll_wire`](Self::poll_wire) without waiting; 0 at the end, too.
    pub(crate) fn wire_ready(&mut self, max: usize, form: HeaderForm, pieces: &mut Vec<Bytes>) -> usize {
        let Self { shared, at, sending, .. } = self;
        let mut state = shared.lock();
        if at.is_late(&state) {
            return 0;
        }
        at.take_wire(shared, &mut state, (max, form, pieces), sending.as_ref())
    }

    /// Takes a whole group as it goes onto the wire, behind `preamble`, in one piece that all share who send it behind
    /// the same. `None` where it is not complete, not small, or not all to come yet, or goes out behind another one.
    pub(crate) fn take_whole(&mut self, form: HeaderForm, preamble: Preamble) -> Option<Bytes> {
        let Self { shared, at, sending, .. } = self;
        if at.frame > 0 || at.opened {
            return None;
        }
        let mut state = shared.lock();
        let whole = shared.whole(&mut state, form, preamble)?;
        at.frame = state.frames.len();
        if let Some(sending) = sending {
            sending.took(state.payload);
        }
        Some(whole)
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
                // Seldom: every reader that is sent from would pay for the room.
                () = Box::pin(tokio::time::sleep_until(due)) => {}
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

    /// Whether the group is complete and at its end for this reader.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let state = self.shared.lock();
        matches!(state.end, Some(Ok(()))) && self.at.frame >= state.frames.len()
    }
}

impl Cursor {
    /// Whether what this reader has not read has been read once, and let go of.
    fn is_late(&self, state: &State) -> bool {
        let taken = state.taken as usize;
        let next = || match state.frames.get(self.frame) {
            Some(_) if self.opened => self.chunk,
            Some(entry) => entry.chunks.start,
            None => taken,
        };
        taken > 0 && next() < taken
    }

    /// Moves over what is there; `None` when there is nothing yet.
    fn step(&mut self, shared: &GroupShared, state: &mut State) -> Option<Part> {
        loop {
            let entry = state.frames.get(self.frame)?;
            if !self.opened {
                self.opened = true;
                self.chunk = entry.chunks.start;
                return Some(Part::Frame(entry.meta.clone()));
            }
            if self.chunk < entry.chunks.end {
                let chunk = state.chunks.get(self.chunk)?.clone();
                shared.was_read(state, self.chunk..self.chunk + 1);
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

    fn take_wire(
        &mut self,
        shared: &GroupShared,
        state: &mut State,
        (max, form, pieces): (usize, HeaderForm, &mut Vec<Bytes>),
        sending: Option<&Sending>,
    ) -> usize {
        let mut taken = 0;
        while taken < max {
            match self.step(shared, state) {
                Some(Part::Frame(meta)) => pieces.push(state.header(self.frame, form, &meta)),
                Some(Part::Chunk(chunk)) => {
                    if let Some(sending) = sending {
                        sending.took(chunk.len() as u64);
                    }
                    pieces.push(chunk);
                }
                None => break,
            }
            taken += 1;
        }
        taken
    }
}

impl Clone for GroupConsumer {
    fn clone(&self) -> Self {
        self.shared.is_read();
        Self {
            shared: Arc::clone(&self.shared),
            at: self.at,
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
        if self.place.is_none() && self.expiry.is_none() && !self.shared.read_once {
            return;
        }
        let mut state = self.shared.lock();
        state.readers.leave(&mut self.place);
        state.expiry.leave(&mut self.expiry);
        self.shared.is_left(state);
    }
}
