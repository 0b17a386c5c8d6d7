//! Writing a group that may come several times: who is ahead appends, the others follow in silence.

use std::{sync::Arc, task::Poll};

use bytes::Bytes;

use super::{GroupProducer, GroupShared, Parts, State};
use crate::{
    error::{GroupError, Reason},
    model::{
        clock::now,
        frame::FrameMeta,
        wait::{Waiting, wake_unlocked},
    },
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
    /// Whether it is fetched apart from what the sources of the track bring.
    fetched: bool,
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
        Self::enter(group, source, false, |_| 0).map(|(pen, _)| pen)
    }

    /// A copy that comes from the first frame on that is not whole; and which that is. `None` where the group has ended.
    pub(in crate::model) fn resume(group: &Arc<GroupShared>, source: u64) -> Option<(Self, u64)> {
        Self::enter(group, source, true, |state| match state.frames.last() {
            Some(last) if last.written < last.meta.size => state.frames.len() - 1,
            _ => state.frames.len(),
        })
    }

    fn enter(
        group: &Arc<GroupShared>,
        source: u64,
        fetched: bool,
        at: impl FnOnce(&State) -> usize,
    ) -> Option<(Self, u64)> {
        let mut state = group.lock();
        if state.end.is_some() || state.writers.iter().any(|writer| writer.source == source) {
            return None;
        }
        let frames = at(&state);
        state.writers.push(Writer { source, revoked: None });
        drop(state);
        let shared = Shared { group: Arc::clone(group), source, fetched, frames, written: 0, done: false };
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

    /// Writes what `write` does as one: readers see all of it, and are woken once.
    ///
    /// # Errors
    ///
    /// What `write` returns, and that what it writes has, see [`PenParts`].
    pub(crate) fn write_parts(
        &mut self,
        write: impl FnOnce(&mut PenParts<'_, '_>) -> Result<(), GroupError>,
    ) -> Result<(), GroupError> {
        match &mut self.kind {
            Kind::Only(group) => group.write_parts(|parts| write(&mut PenParts::Only(parts))),
            Kind::Shared(shared) => shared.write_parts(write),
        }
    }

    /// The next frame of this copy begins.
    ///
    /// # Errors
    ///
    /// See [`PenParts::begin`].
    pub(crate) fn begin_frame(&mut self, meta: FrameMeta) -> Result<(), GroupError> {
        self.write_parts(|parts| parts.begin(meta))
    }

    /// Appends to the frame begun last; the caller keeps to its size.
    ///
    /// # Errors
    ///
    /// See [`PenParts::append`].
    pub(crate) fn append_payload(&mut self, chunk: Bytes) -> Result<(), GroupError> {
        self.write_parts(|parts| parts.append(chunk))
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

/// A group while several parts of a copy are written to it.
pub(crate) enum PenParts<'a, 'b> {
    /// Nobody else writes it.
    Only(&'a mut Parts<'b>),
    /// Others may.
    Shared(SharedParts<'a>),
}

/// The same where others write it, too.
pub(crate) struct SharedParts<'a> {
    group: &'a GroupShared,
    state: &'a mut State,
    source: u64,
    frames: &'a mut usize,
    written: &'a mut u64,
    /// What the track holds now, where it has changed.
    held: Option<u64>,
    is_news: bool,
}

impl PenParts<'_, '_> {
    /// The next frame of this copy begins.
    ///
    /// # Errors
    ///
    /// - [`GroupError::Finished`]: the group is whole by others.
    /// - [`GroupError::Differs`]: it is not of the size that it has in a copy that came before.
    /// - otherwise as [`GroupProducer::write_frame`].
    pub(crate) fn begin(&mut self, meta: FrameMeta) -> Result<(), GroupError> {
        match self {
            Self::Only(parts) => parts.begin(meta),
            Self::Shared(parts) => parts.begin(meta),
        }
    }

    /// Appends to the frame begun last; the caller keeps to its size.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    pub(crate) fn append(&mut self, chunk: Bytes) -> Result<(), GroupError> {
        match self {
            Self::Only(parts) => parts.append(chunk),
            Self::Shared(parts) => parts.append(chunk, GroupShared::owned),
        }
    }

    /// The same for payload that keeps nothing else alive.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    pub(crate) fn append_own(&mut self, chunk: Bytes) -> Result<(), GroupError> {
        match self {
            Self::Only(parts) => parts.append_own(chunk),
            Self::Shared(parts) => parts.append(chunk, |_, chunk| chunk),
        }
    }
}

impl SharedParts<'_> {
    fn begin(&mut self, meta: FrameMeta) -> Result<(), GroupError> {
        self.state.may_write(self.source)?;
        if let Some(frame) = self.state.frames.get(*self.frames) {
            if frame.meta != meta {
                return Err(GroupError::Differs);
            }
        } else {
            self.is_news |= meta.size == 0;
            self.held = Some(self.group.begin(self.state, meta)?);
        }
        *self.frames += 1;
        *self.written = 0;
        Ok(())
    }

    fn append(
        &mut self,
        mut chunk: Bytes,
        owned: impl FnOnce(&GroupShared, Bytes) -> Bytes,
    ) -> Result<(), GroupError> {
        self.state.may_write(self.source)?;
        let frame = self.frames.checked_sub(1).and_then(|at| self.state.frames.get(at));
        let there = frame.ok_or(GroupError::WrongSize)?.written;
        let before = *self.written;
        *self.written += chunk.len() as u64;
        if *self.written <= there {
            return Ok(());
        }
        // Only the last frame is not whole, so what is new belongs to it.
        let known = usize::try_from(there.saturating_sub(before)).unwrap_or(usize::MAX);
        let new = chunk.split_off(known.min(chunk.len()));
        // The rest of a piece keeps all of it alive.
        let new = if known == 0 { owned(self.group, new) } else { self.group.owned(new) };
        self.held = Some(self.group.append(self.state, new)?);
        self.is_news = true;
        Ok(())
    }
}

impl Shared {
    fn write_parts(
        &mut self,
        write: impl FnOnce(&mut PenParts<'_, '_>) -> Result<(), GroupError>,
    ) -> Result<(), GroupError> {
        let Self { group, source, frames, written, .. } = self;
        let mut state = group.lock();
        let mut parts = PenParts::Shared(SharedParts {
            group,
            state: &mut state,
            source: *source,
            frames,
            written,
            held: None,
            is_news: false,
        });
        let result = write(&mut parts);
        let PenParts::Shared(SharedParts { held, is_news, .. }) = parts else { return result };
        if is_news {
            wake_unlocked(state, || group.lock(), |state| &mut state.readers);
        } else {
            drop(state);
        }
        if let Some(held) = held {
            group.keep_within(held);
        }
        result
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
        state.expiry.wake();
        wake_unlocked(state, || self.group.lock(), |state| &mut state.readers);
        self.done = true;
        if let Some(track) = self.group.track.upgrade() {
            track.completed();
        }
        Ok(())
    }

    fn end(&mut self, error: &GroupError) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        match self.group.track.upgrade() {
            _ if *error == GroupError::Finished => self.group.leave(self.source),
            Some(track) => track.put_down(&self.group, self.source, self.fetched, error),
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
