//! Frames out of the chunks of a group or fetch stream.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::cursor::{Cursor, ReadError};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::limits::Limits;
use crate::varint::{self, VarInt};

#[cfg(test)]
mod tests;

/// What comes next on a stream of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameEvent {
    /// A frame starts; this many bytes of payload follow.
    Begin {
        /// The size of the whole frame.
        size: u64,
    },
    /// The next part of the payload; never empty.
    Payload(Bytes),
    /// The frame is complete.
    End,
}

/// Reads frames from a stream, passing payload on while it arrives.
///
/// Payload is slices of the chunks pushed in; nothing is copied, and nothing is allocated once the queue of
/// chunks has grown to what the stream needs. After an error the same call fails again.
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    frame_bytes: u64,
    /// Never holds an empty chunk.
    chunks: VecDeque<Bytes>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between frames, perhaps with a part of the next header buffered.
    Header,
    /// In a frame of which this much has not been given out; the end has not been reported even at 0.
    Payload(u64),
}

impl FrameDecoder {
    /// Starts at the first frame, after the header of the stream.
    pub fn new(limits: Limits) -> Self {
        Self { frame_bytes: limits.frame_bytes, chunks: VecDeque::new(), state: State::Header }
    }

    /// Adds what the transport received next.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    /// Gives the next event, or `None` when more bytes have to come first.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::TooLarge`] for a frame beyond [`Limits::frame_bytes`], before any of its payload.
    #[expect(clippy::should_implement_trait, reason = "`None` is a pause here, not the end")]
    pub fn next(&mut self) -> Result<Option<FrameEvent>, DecodeError> {
        match self.state {
            State::Header => self.header(),
            State::Payload(0) => {
                self.state = State::Header;
                Ok(Some(FrameEvent::End))
            }
            State::Payload(left) => Ok(self.payload(left)),
        }
    }

    /// Checks that the stream may end here; call it after [`next`](Self::next) gave `None`.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::WrongSize`] inside a payload, [`DecodeErrorKind::Truncated`] inside a header.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.state {
            State::Header | State::Payload(0) if self.chunks.is_empty() => Ok(()),
            State::Header => Err(error("size", DecodeErrorKind::Truncated)),
            State::Payload(_) => Err(error("payload", DecodeErrorKind::WrongSize)),
        }
    }

    /// Whether the stream stands between two frames with nothing buffered.
    pub fn is_empty(&self) -> bool {
        self.state == State::Header && self.chunks.is_empty()
    }

    fn header(&mut self) -> Result<Option<FrameEvent>, DecodeError> {
        let Some((size, len)) = self.peek_size() else { return Ok(None) };
        if size > self.frame_bytes {
            return Err(error("size", DecodeErrorKind::TooLarge { value: size, limit: self.frame_bytes }));
        }
        self.consume(len);
        self.state = State::Payload(size);
        Ok(Some(FrameEvent::Begin { size }))
    }

    /// The integer at the front and its length.
    fn peek_size(&mut self) -> Option<(u64, usize)> {
        if let Some(found) = varint::peek(self.chunks.front()?) {
            return Some(found);
        }
        let mut cursor = Cursor::new(self.chunks.make_contiguous(), varint::MAX_LEN);
        match cursor.varint() {
            Ok(size) => Some((size, cursor.position())),
            Err(ReadError::More | ReadError::Invalid(_)) => None,
        }
    }

    fn payload(&mut self, left: u64) -> Option<FrameEvent> {
        let chunk = self.chunks.front_mut()?;
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let payload = if take < chunk.len() { chunk.split_to(take) } else { self.chunks.pop_front()? };
        self.state = State::Payload(left - take as u64);
        Some(FrameEvent::Payload(payload))
    }

    fn consume(&mut self, mut len: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            if len < chunk.len() {
                chunk.advance(len);
                return;
            }
            len -= chunk.len();
            self.chunks.pop_front();
        }
    }
}

impl Extend<Bytes> for FrameDecoder {
    fn extend<I: IntoIterator<Item = Bytes>>(&mut self, chunks: I) {
        chunks.into_iter().for_each(|chunk| self.push(chunk));
    }
}

/// Appends the header of a frame with `size` bytes of payload.
///
/// # Panics
///
/// When `size` is above [`varint::MAX`], which no payload in memory and no decoded size can be.
pub fn frame_header(size: u64, out: &mut BytesMut) {
    VarInt::new(size).expect("a frame has fewer than 2^62 bytes").put(out);
}

fn error(field: &'static str, kind: DecodeErrorKind) -> DecodeError {
    DecodeError { message: "Frame", field, kind }
}
