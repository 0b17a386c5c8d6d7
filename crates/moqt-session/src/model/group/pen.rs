//! Writing a group that may come several times: who is ahead appends, the others follow in silence.

use std::{sync::Arc, task::Poll};

use bytes::Bytes;

use super::{GroupProducer, GroupShared, State};
use crate::{
    error::{GroupError, Reason},
    model::{clock::now, frame::FrameMeta, wait::Waiting},
};

/// One of those who write a group.
#[derive(Debug)]
pub(super) struct Writer {
    source: u64,
    /// It may write no more, for this reason.
    revoked: Option<Reason>,
}

/// A place in a group that is written. Dropped before [`complete`](Self::complete), it gives its copy of the group up.
#[derive(Debug)]
pub(crate) struct Pen {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Nobody else ever writes it.
    Only(GroupProducer),
    Shared(Shared),
}

#[derive(Debug)]
struct Shared {
    group: Arc<GroupShared>,
    source: u64,
    /// How many frames have begun in this copy, and how much of the last there was.
    frames: usize,
    written: u64,
    done: bool,
}

impl State {
    /// Whether `source` may write.
    fn may_write(&self, source: u64) -> Result<(), GroupError> {
        self.open()?;
        match self.writers.iter().find(|writer| writer.source == source) {
            Some(Writer { revoked: None, .. }) => Ok(()),
            Some(Writer { revoked: Some(reason), .. }) => Err(GroupError::Reset(*reason)),
            None => Err(GroupError::Reset(Reason::Cancelled)),
        }
    }

    fn is_written(&self) -> bool {
        self.writers.iter().any(|writer| writer.revoked.is_none())
    }
}

impl GroupShared {
    /// Takes the pen of a source away.
    pub(in crate::model) fn revoke(&self, source: u64, reason: Reason) {
        let mut state = self.lock();
        let of_source = |writer: &&mut Writer| writer.source == source && writer.revoked.is_none();
        if let Some(writer) = state.writers.iter_mut().find(of_source) {
            writer.revoked = Some(reason);
            state.expiry.wake();
        }
    }

    /// A source writes no more.
    pub(in crate::model) fn leave(&self, source: u64) {
        self.lock().writers.retain(|writer| writer.source != source);
    }

    /// Whether it may still grow.
    pub(in crate::model) fn is_open(&self) -> bool {
        self.lock().end.is_none()
    }

    /// Whether it may still grow, and nobody writes it.
    pub(in crate::model) fn is_cut(&self) -> bool {
        let state = self.lock();
        state.end.is_none() && !state.is_written()
    }

    /// Ends the group where it is neither complete nor written. Returns whether it has ended incomplete.
    pub(in crate::model) fn give_up_unwritten(&self, reason: Reason) -> bool {
        let mut state = self.lock();
        match state.end {
            Some(Ok(())) => false,
            Some(Err(_)) => true,
            None if state.is_written() => false,
            None => {
                state.end = Some(Err(GroupError::Reset(reason)));
                state.ended_at = Some(now());
                state.readers.wake();
                state.expiry.wake();
                true
            }
        }
    }
}

impl Pen {
    /// The pen of the only one who writes.
    pub(crate) fn only(group: GroupProducer) -> Self {
        Self { kind: Kind::Only(group) }
    }

    /// A copy that comes from its beginning. `None` where the group has ended, or `source` writes it already.
    pub(in crate::model) fn join(group: &Arc<GroupShared>, source: u64) -> Option<Self> {
        Self::enter(group, source, |_| 0).map(|(pen, _)| pen)
    }

    /// A copy that comes from the first frame on that is not whole; and which that is. `None` where the group has ended.
    pub(in crate::model) fn resume(group: &Arc<GroupShared>, source: u64) -> Option<(Self, u64)> {
        Self::enter(group, source, |state| match state.frames.last() {
            Some(last) if last.written < last.meta.size => state.frames.len() - 1,
            _ => state.frames.len(),
        })
    }

    fn enter(group: &Arc<GroupShared>, source: u64, at: impl FnOnce(&State) -> usize) -> Option<(Self, u64)> {
        let mut state = group.lock();
        if state.end.is_some() || state.writers.iter().any(|writer| writer.source == source) {
            return None;
        }
        let frames = at(&state);
        state.writers.push(Writer { source, revoked: None });
        drop(state);
        let shared = Shared { group: Arc::clone(group), source, frames, written: 0, done: false };
        Some((Self { kind: Kind::Shared(shared) }, frames as u64))
    }

    /// The group's number.
    pub(crate) fn sequence(&self) -> u64 {
        match &self.kind {
            Kind::Only(group) => group.sequence(),
            Kind::Shared(shared) => shared.group.sequence(),
        }
    }

    /// A group that has just begun counts too.
    pub(in crate::model) fn keep_within_budget(&self) {
        if let Kind::Shared(shared) = &self.kind {
            shared.group.keep_within(0);
        }
    }

    /// The next frame of this copy begins.
    ///
    /// # Errors
    ///
    /// - [`GroupError::Finished`]: the group is whole by others.
    /// - [`GroupError::Differs`]: it is not of the size that it has in a copy that came before.
    /// - otherwise as [`GroupProducer::write_frame`].
    pub(crate) fn begin_frame(&mut self, meta: FrameMeta) -> Result<(), GroupError> {
        match &mut self.kind {
            Kind::Only(group) => group.begin_frame(meta),
            Kind::Shared(shared) => shared.begin_frame(meta),
        }
    }

    /// Appends to the frame begun last; the caller keeps to its size.
    ///
    /// # Errors
    ///
    /// As [`begin_frame`](Self::begin_frame).
    pub(crate) fn append_payload(&mut self, chunk: Bytes) -> Result<(), GroupError> {
        match &mut self.kind {
            Kind::Only(group) => group.append_payload(chunk),
            Kind::Shared(shared) => shared.append_payload(chunk),
        }
    }

    /// This copy is whole, and the group with it.
    ///
    /// # Errors
    ///
    /// [`GroupError::Differs`]: there are more frames in a copy that came before; otherwise the reason for which the
    /// group ended before.
    pub(crate) fn complete(&mut self) -> Result<(), GroupError> {
        match &mut self.kind {
            Kind::Only(group) => group.complete(),
            Kind::Shared(shared) => shared.complete(),
        }
    }

    /// Gives this copy up; the group with it where nobody else brings it.
    pub(crate) fn end(&mut self, error: GroupError) {
        match &mut self.kind {
            Kind::Only(group) => group.end(error),
            Kind::Shared(shared) => shared.end(&error),
        }
    }

    /// Waits until there is nothing more to write, because of others. Cancel safe.
    pub(crate) async fn let_go(&self) -> GroupError {
        let shared = match &self.kind {
            Kind::Only(group) => return group.let_go().await,
            Kind::Shared(shared) => shared,
        };
        let mut waiting = Waiting::new(|place| shared.group.lock().expiry.leave(place));
        std::future::poll_fn(|cx| {
            let mut state = shared.group.lock();
            if let Err(error) = state.may_write(shared.source) {
                return Poll::Ready(error);
            }
            state.expiry.wait(&mut waiting.place, cx);
            Poll::Pending
        })
        .await
    }
}

impl Shared {
    fn begin_frame(&mut self, meta: FrameMeta) -> Result<(), GroupError> {
        let empty = meta.size == 0;
        let held = {
            let mut state = self.group.lock();
            state.may_write(self.source)?;
            if let Some(frame) = state.frames.get(self.frames) {
                if frame.meta != meta {
                    return Err(GroupError::Differs);
                }
                None
            } else {
                let held = self.group.begin(&mut state, meta)?;
                if empty {
                    state.readers.wake();
                }
                Some(held)
            }
        };
        self.frames += 1;
        self.written = 0;
        if let Some(held) = held {
            self.group.keep_within(held);
        }
        Ok(())
    }

    fn append_payload(&mut self, mut chunk: Bytes) -> Result<(), GroupError> {
        let held = {
            let mut state = self.group.lock();
            state.may_write(self.source)?;
            let frame = self.frames.checked_sub(1).and_then(|at| state.frames.get(at));
            let there = frame.ok_or(GroupError::WrongSize)?.written;
            let before = self.written;
            self.written += chunk.len() as u64;
            if self.written <= there {
                return Ok(());
            }
            // Only the last frame is not whole, so what is new belongs to it.
            let known = usize::try_from(there.saturating_sub(before)).unwrap_or(usize::MAX);
            let held = self.group.append(&mut state, chunk.split_off(known.min(chunk.len())))?;
            state.readers.wake();
            held
        };
        self.group.keep_within(held);
        Ok(())
    }

    fn complete(&mut self) -> Result<(), GroupError> {
        let mut state = self.group.lock();
        match state.may_write(self.source) {
            Ok(()) => {}
            Err(error) => return Err(error),
        }
        if state.frames.len() > self.frames {
            return Err(GroupError::Differs);
        }
        state.end = Some(Ok(()));
        state.ended_at = Some(now());
        state.writers = Vec::new();
        state.readers.wake();
        state.expiry.wake();
        self.done = true;
        Ok(())
    }

    fn end(&mut self, error: &GroupError) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        match self.group.track.upgrade() {
            _ if *error == GroupError::Finished => self.group.leave(self.source),
            Some(track) => track.put_down(&self.group, self.source, error),
            None => {
                self.group.leave(self.source);
                self.group.give_up_unwritten(error.reason());
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // With its session.
        self.end(&GroupError::Reset(Reason::Transport));
    }
}
