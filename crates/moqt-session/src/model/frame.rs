//! One frame while its bytes still flow.

use bytes::Bytes;

use super::group::{GroupConsumer, GroupProducer, Part};
use crate::error::GroupError;

/// What is known of a frame beside its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameMeta {
    /// Payload length, in bytes.
    pub size: u64,
    /// The object id where the wire numbers frames with gaps; `None` where frames simply count up.
    pub object: Option<u64>,
    /// Opaque properties that travel with the frame; relays keep them untouched.
    pub properties: Option<Bytes>,
}

impl FrameMeta {
    /// A frame of `size` bytes with nothing else to say.
    #[must_use]
    pub fn sized(size: u64) -> Self {
        Self { size, ..Self::default() }
    }
}

/// Writes one frame piece by piece; readers see each piece at once.
///
/// Dropped before [`finish`](Self::finish), it aborts the group: a frame cut short must not look whole.
#[derive(Debug)]
pub struct FrameProducer<'a> {
    group: &'a mut GroupProducer,
    left: u64,
    done: bool,
}

impl<'a> FrameProducer<'a> {
    pub(super) fn new(group: &'a mut GroupProducer, size: u64) -> Self {
        Self { group, left: size, done: false }
    }

    /// Appends bytes to the frame.
    ///
    /// # Errors
    ///
    /// - [`GroupError::WrongSize`]: more than the declared size; nothing of `chunk` is written.
    /// - otherwise the reason for which the group ended.
    pub fn write(&mut self, chunk: Bytes) -> Result<(), GroupError> {
        let len = chunk.len() as u64;
        self.left = self.left.checked_sub(len).ok_or(GroupError::WrongSize)?;
        self.group.append_payload(chunk)
    }

    /// Bytes still missing.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.left
    }

    /// Completes the frame.
    ///
    /// # Errors
    ///
    /// [`GroupError::WrongSize`] when bytes are missing; the group is aborted with it.
    pub fn finish(mut self) -> Result<(), GroupError> {
        if self.left > 0 {
            return Err(GroupError::WrongSize);
        }
        self.done = true;
        Ok(())
    }
}

impl Drop for FrameProducer<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.group.end(GroupError::WrongSize);
        }
    }
}

/// Reads one frame piece by piece, while it is still being written.
///
/// Dropped early, the rest of the frame is skipped by the next read of the group.
#[derive(Debug)]
pub struct FrameConsumer<'a> {
    group: &'a mut GroupConsumer,
    meta: FrameMeta,
}

impl<'a> FrameConsumer<'a> {
    pub(super) fn new(group: &'a mut GroupConsumer, meta: FrameMeta) -> Self {
        Self { group, meta }
    }

    /// Size and properties of the frame.
    #[must_use]
    pub fn meta(&self) -> &FrameMeta {
        &self.meta
    }

    /// The next bytes as they came, or `None` at the end of the frame.
    ///
    /// # Errors
    ///
    /// As [`GroupConsumer::read_frame`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, GroupError> {
        loop {
            return match std::future::poll_fn(|cx| self.group.poll_part(cx, true)).await? {
                Some(Part::Chunk(chunk)) if chunk.is_empty() => continue,
                Some(Part::Chunk(chunk)) => Ok(Some(chunk)),
                Some(Part::Frame(_)) | None => Ok(None),
            };
        }
    }
}
