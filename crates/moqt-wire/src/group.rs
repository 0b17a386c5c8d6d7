//! Frames out of the chunks of a group or fetch stream.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::cursor;
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
    /// What comes next; empty only if there is nothing.
    front: Bytes,
    /// The chunks after that, none of them empty.
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
        let (front, chunks) = Default::default();
        Self { frame_bytes: limits.frame_bytes, front, chunks, state: State::Header }
    }

    /// Adds what the transport received next.
    #[inline]
    pub fn push(&mut self, chunk: Bytes) {
        if self.front.is_empty() {
            self.front = chunk;
        } else if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    /// Gives the next event, or `None` when more bytes have to come first.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::TooLarge`] for a frame beyond [`Limits::frame_bytes`], before any of its payload.
    #[expect(clippy::should_implement_trait, reason = "`None` is a pause here, not the end")]
    #[inline]
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
            State::Header | State::Payload(0) if self.front.is_empty() => Ok(()),
            State::Header => Err(error("size", DecodeErrorKind::Truncated)),
            State::Payload(_) => Err(error("payload", DecodeErrorKind::WrongSize)),
        }
    }

    /// Whether the stream stands between two frames with nothing buffered.
    pub fn is_empty(&self) -> bool {
        self.state == State::Header && self.front.is_empty()
    }

    /// How many bytes of payload are here that belong to the frame that has begun.
    pub fn ready(&self) -> usize {
        match self.state {
            State::Header => 0,
            State::Payload(left) => usize::try_from(left).unwrap_or(usize::MAX).min(self.buffered()),
        }
    }

    /// Whether the frame that has begun, or else the next one, is known to be here in part only.
    pub fn is_cut(&self) -> bool {
        match self.state {
            State::Payload(left) => left > self.buffered() as u64,
            State::Header => varint::peek(&self.front)
                .or_else(|| self.peek_across())
                .is_some_and(|(size, len)| size.saturating_add(len as u64) > self.buffered() as u64),
        }
    }

    fn buffered(&self) -> usize {
        self.front.len() + self.chunks.iter().map(Bytes::len).sum::<usize>()
    }

    /// The header where it lies in one chunk with something after it, which is nearly always.
    #[inline]
    fn header(&mut self) -> Result<Option<FrameEvent>, DecodeError> {
        match varint::peek(&self.front) {
            Some((size, len)) if len < self.front.len() && size <= self.frame_bytes => {
                self.front.advance(len);
                self.state = State::Payload(size);
                Ok(Some(FrameEvent::Begin { size }))
            }
            _ if self.front.is_empty() => Ok(None),
            _ => self.header_across(),
        }
    }

    /// The header wherever it lies.
    #[cold]
    fn header_across(&mut self) -> Result<Option<FrameEvent>, DecodeError> {
        let Some((size, len)) = self.peek_across() else { return Ok(None) };
        if size > self.frame_bytes {
            return Err(error("size", DecodeErrorKind::TooLarge { value: size, limit: self.frame_bytes }));
        }
        cursor::consume(&mut self.front, &mut self.chunks, len);
        self.state = State::Payload(size);
        Ok(Some(FrameEvent::Begin { size }))
    }

    /// The integer at the start and its length.
    fn peek_across(&self) -> Option<(u64, usize)> {
        let (mut header, mut len) = ([0; varint::MAX_LEN], 0);
        for (to, from) in header.iter_mut().zip(self.front.iter().chain(self.chunks.iter().flatten())) {
            *to = *from;
            len += 1;
        }
        varint::peek(header.get(..len)?)
    }

    #[inline]
    fn payload(&mut self, left: u64) -> Option<FrameEvent> {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.front.len());
        if len == 0 {
            return None;
        }
        let whole = len == self.front.len();
        let payload = if whole {
            cursor::next_chunk(&mut self.front, &mut self.chunks)
        } else {
            self.front.split_to(len)
        };
        self.state = State::Payload(left - len as u64);
        Some(FrameEvent::Payload(payload))
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
#[inline]
pub fn frame_header(size: u64, out: &mut BytesMut) {
    VarInt::new(size).expect("a frame has fewer than 2^62 bytes").put(out);
}

fn error(field: &'static str, kind: DecodeErrorKind) -> DecodeError {
    DecodeError { message: "Frame", field, kind }
}
