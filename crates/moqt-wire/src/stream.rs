//! Messages out of the chunks of one stream.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::cursor::{self, Cursor, ReadError};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::limits::Limits;
use crate::message::Message;
use crate::version::Spec;

#[cfg(test)]
mod tests;

/// With fewer chunks than this there is nothing to win by joining them.
const MANY_CHUNKS: usize = 8;

/// Reads messages from a stream that arrives in chunks of any size.
///
/// Chunks are kept as they came, unless there are many small ones; a field that lies within one chunk is read
/// without a copy. After an error the bytes stay, and the same call fails again.
#[derive(Clone, Debug)]
pub struct StreamDecoder {
    spec: &'static Spec,
    limits: Limits,
    /// What comes next, if anything is buffered.
    front: Bytes,
    /// The chunks after that, none of them empty.
    chunks: VecDeque<Bytes>,
    buffered: usize,
    waiting: Option<Waiting>,
}

/// The message whose end has not come yet.
#[derive(Clone, Debug)]
struct Waiting {
    message: &'static str,
    field: &'static str,
    /// With fewer bytes than this another attempt is in vain.
    needed: usize,
}

impl StreamDecoder {
    /// Starts at the beginning of a stream.
    pub fn new(spec: &'static Spec, limits: Limits) -> Self {
        let (front, chunks) = Default::default();
        Self { spec, limits, front, chunks, buffered: 0, waiting: None }
    }

    /// Changes how the messages from here on are read; the handshake is the same in all versions of a family.
    pub fn set_spec(&mut self, spec: &'static Spec) {
        self.spec = spec;
        self.waiting = None;
    }

    /// The version that messages are read as.
    pub fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// Adds what the transport received next.
    #[inline]
    pub fn push(&mut self, chunk: Bytes) {
        if self.buffered == 0 {
            self.buffered = chunk.len();
            self.front = chunk;
        } else if !chunk.is_empty() {
            self.buffered += chunk.len();
            self.chunks.push_back(chunk);
            self.merge();
        }
    }

    /// Reads the next message, or `None` when more bytes have to come first.
    ///
    /// # Errors
    ///
    /// The bytes are not a message `M` of this version, or it goes beyond the [`Limits`]; that it does so is
    /// known before the bytes have come.
    #[expect(clippy::should_implement_trait, reason = "the type of the message is the caller's to say")]
    #[inline]
    pub fn next<M: Message>(&mut self) -> Result<Option<M>, DecodeError> {
        self.attempt(M::NAME, |spec, limits, cursor| M::decode(spec, limits, cursor))
    }

    /// Reads an integer that stands alone, like the type of a stream; `None` when more bytes have to come first.
    ///
    /// # Errors
    ///
    /// [`Limits::message_bytes`] is too small for any integer.
    pub fn next_varint(&mut self) -> Result<Option<u64>, DecodeError> {
        const NAME: &str = "Stream";
        const FIELD: &str = "kind";
        self.attempt(NAME, |_, _, cursor| match cursor.varint() {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::More) => {
                cursor.stall(FIELD);
                Ok(None)
            }
            Err(ReadError::Invalid(kind)) => Err(DecodeError { message: NAME, field: FIELD, kind }),
        })
    }

    /// Checks that the stream may end here.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::Truncated`] when bytes of an incomplete message are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() {
            return Ok(());
        }
        let (message, field) = self.waiting.as_ref().map_or(("Stream", "end"), |w| (w.message, w.field));
        Err(DecodeError { message, field, kind: DecodeErrorKind::Truncated })
    }

    /// Checks that nothing follows the last message, on streams that carry no further one.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::TrailingBytes`].
    pub fn expect_end(&self) -> Result<(), DecodeError> {
        match self.buffered {
            0 => Ok(()),
            bytes => {
                let kind = DecodeErrorKind::TrailingBytes { bytes };
                Err(DecodeError { message: "Stream", field: "end", kind })
            }
        }
    }

    /// Whether every byte has been consumed.
    pub fn is_empty(&self) -> bool {
        self.buffered == 0
    }

    /// How many bytes have come and are not consumed.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Takes the bytes that no message has consumed, as the chunks they came in; for the
    /// [`FrameDecoder`](crate::FrameDecoder) that reads the rest of the stream.
    pub fn take_rest(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        let front = (self.buffered > 0).then(|| std::mem::take(&mut self.front));
        self.buffered = 0;
        self.waiting = None;
        front.into_iter().chain(std::mem::take(&mut self.chunks))
    }

    /// Reads one thing called `message`, and consumes its bytes if it is all there.
    #[inline]
    fn attempt<T>(
        &mut self,
        message: &'static str,
        read: impl FnOnce(&Spec, &Limits, &mut Cursor<'_>) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.waiting.as_ref().is_some_and(|w| w.message == message && self.buffered < w.needed) {
            return Ok(None);
        }
        let behind: &[Bytes] = if self.chunks.is_empty() { &[] } else { self.chunks.make_contiguous() };
        let mut cursor = Cursor::over(&self.front, behind, self.buffered, self.limits.message_bytes);
        let outcome = read(self.spec, &self.limits, &mut cursor);
        match outcome {
            Ok(Some(_)) => {
                let consumed = cursor.position();
                self.waiting = None;
                self.consume(consumed);
            }
            Ok(None) => {
                let (field, needed) = (cursor.stalled_at(), cursor.needed());
                self.waiting = Some(Waiting { message, field, needed });
            }
            Err(_) => {}
        }
        outcome
    }

    /// Keeps the number of chunks small when a peer sends a message in crumbs.
    ///
    /// Each chunk keeps the whole packet alive that it came in. Joining neighbours of like size leaves few
    /// chunks, and copies each byte only a few times.
    #[cold]
    fn merge(&mut self) {
        while self.chunks.len() > MANY_CHUNKS {
            let (Some(last), Some(before)) = (self.chunks.pop_back(), self.chunks.pop_back()) else { return };
            let len = before.len() + last.len();
            if before.len() / 2 > last.len() || len > self.limits.message_bytes {
                self.chunks.extend([before, last]);
                return;
            }
            let mut merged = BytesMut::with_capacity(len);
            merged.extend_from_slice(&before);
            merged.extend_from_slice(&last);
            self.chunks.push_back(merged.freeze());
        }
    }

    #[inline]
    fn consume(&mut self, len: usize) {
        self.buffered -= len;
        cursor::consume(&mut self.front, &mut self.chunks, len);
    }
}
