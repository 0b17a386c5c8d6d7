//! Reading a message out of bytes of which more may still come.

use bytes::{Bytes, BytesMut};

use crate::error::DecodeErrorKind;
use crate::varint;

/// Why a read gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The bytes end before the value does; ask again when more have come.
    More,
    /// The bytes are wrong, and more of them will not help.
    Invalid(DecodeErrorKind),
}

impl From<DecodeErrorKind> for ReadError {
    fn from(kind: DecodeErrorKind) -> Self {
        Self::Invalid(kind)
    }
}

/// A position in buffered chunks, with a bound on how far it may go.
///
/// A cursor only looks: the bytes stay where they are until the owner of the chunks takes
/// [`position`](Self::position) bytes away. After [`ReadError::More`] a cursor is of no further use; a later
/// attempt starts from a new one.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    /// The first chunk has been read up to `offset`.
    chunks: &'a [Bytes],
    offset: usize,
    position: usize,
    remaining: usize,
    limit: usize,
    needed: usize,
    stalled_at: &'static str,
}

impl<'a> Cursor<'a> {
    /// Reads `chunks` in order, and refuses to go beyond `limit` bytes.
    pub fn new(chunks: &'a [Bytes], limit: usize) -> Self {
        let remaining = chunks.iter().map(Bytes::len).sum();
        Self { chunks, offset: 0, position: 0, remaining, limit, needed: 0, stalled_at: "" }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many buffered bytes have not been read.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// After [`ReadError::More`]: with fewer bytes than this, counted from the start, the same read fails again.
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// The field at which the bytes ran out, for messages about truncated streams.
    pub(crate) fn stalled_at(&self) -> &'static str {
        self.stalled_at
    }

    pub(crate) fn stall(&mut self, field: &'static str) {
        self.stalled_at = field;
    }

    /// Reads one byte.
    ///
    /// # Errors
    ///
    /// [`ReadError::More`] when there is none; [`DecodeErrorKind::TooLarge`] at the limit.
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        self.require(1)?;
        let byte = self.peek_u8().ok_or(ReadError::More)?;
        self.advance(1);
        Ok(byte)
    }

    /// Reads an integer in QUIC's form, of any length.
    ///
    /// # Errors
    ///
    /// [`ReadError::More`] when it is not all there; [`DecodeErrorKind::TooLarge`] beyond the limit.
    pub fn varint(&mut self) -> Result<u64, ReadError> {
        self.require(1)?;
        if let Some((value, len)) =
            self.chunks.first().and_then(|chunk| varint::peek(chunk.get(self.offset..)?))
        {
            self.require(len)?;
            self.advance(len);
            return Ok(value);
        }
        let first = self.peek_u8().ok_or(ReadError::More)?;
        let len = varint::len_from_first(first);
        self.require(len)?;
        self.advance(1);
        let mut value = varint::value_of_first(first);
        for _ in 1..len {
            value = value << 8 | u64::from(self.u8()?);
        }
        Ok(value)
    }

    /// Reads `len` bytes: a slice of the chunk when they lie in one, a copy otherwise.
    ///
    /// # Errors
    ///
    /// [`ReadError::More`] when they are not all there; [`DecodeErrorKind::TooLarge`] beyond the limit.
    /// Nothing is allocated in either case.
    pub fn bytes(&mut self, len: usize) -> Result<Bytes, ReadError> {
        self.require(len)?;
        self.skip_finished();
        let end = self.offset.saturating_add(len);
        if let Some(chunk) = self.chunks.first().filter(|chunk| end <= chunk.len()) {
            let bytes = chunk.slice(self.offset..end);
            self.advance(len);
            return Ok(bytes);
        }
        let mut copy = BytesMut::with_capacity(len);
        while copy.len() < len {
            let rest =
                self.chunks.first().and_then(|chunk| chunk.get(self.offset..)).ok_or(ReadError::More)?;
            let part = rest.get(..len - copy.len()).unwrap_or(rest);
            copy.extend_from_slice(part);
            self.advance(part.len());
            self.skip_finished();
        }
        Ok(copy.freeze())
    }

    /// Reads a length and that many bytes, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::TooLarge`] as soon as the length says so, before the bytes have come.
    pub fn block(&mut self, limit: usize) -> Result<Bytes, ReadError> {
        let len = self.size(limit)?;
        self.bytes(len)
    }

    /// Reads a length or a count, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`DecodeErrorKind::TooLarge`] above `limit`.
    pub fn size(&mut self, limit: usize) -> Result<usize, ReadError> {
        let value = self.varint()?;
        usize::try_from(value)
            .ok()
            .filter(|size| *size <= limit)
            .ok_or_else(|| DecodeErrorKind::TooLarge { value, limit: limit as u64 }.into())
    }

    /// Makes sure that `len` bytes are there and within the limit.
    fn require(&mut self, len: usize) -> Result<(), ReadError> {
        let end = self.position.saturating_add(len);
        if end > self.limit {
            return Err(DecodeErrorKind::TooLarge { value: end as u64, limit: self.limit as u64 }.into());
        }
        if len > self.remaining {
            self.needed = end;
            return Err(ReadError::More);
        }
        Ok(())
    }

    fn peek_u8(&mut self) -> Option<u8> {
        self.skip_finished();
        self.chunks.first()?.get(self.offset).copied()
    }

    /// Moves over `len` bytes; the caller has made sure that they lie in the current chunk.
    fn advance(&mut self, len: usize) {
        self.offset += len;
        self.position += len;
        self.remaining -= len;
    }

    fn skip_finished(&mut self) {
        while let Some((first, rest)) = self.chunks.split_first() {
            if self.offset < first.len() {
                return;
            }
            self.offset = 0;
            self.chunks = rest;
        }
    }
}
