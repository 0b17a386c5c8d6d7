//! Reading a message out of bytes of which more may still come.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

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

/// The chunk of a cursor without chunks.
static NOTHING: Bytes = Bytes::new();

/// A position in buffered chunks, with a bound on how far it may go.
///
/// A cursor only looks: the bytes stay where they are until the owner of the chunks takes
/// [`position`](Self::position) bytes away. After [`ReadError::More`] a cursor is of no further use; a later
/// attempt starts from a new one.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    /// What comes next: the rest of `chunk`, as far as the limit allows.
    head: &'a [u8],
    chunk: &'a Bytes,
    /// The chunks after that.
    behind: &'a [Bytes],
    /// The position at the end of `head`.
    end: usize,
    total: usize,
    limit: usize,
    needed: usize,
    stalled_at: &'static str,
}

impl<'a> Cursor<'a> {
    /// Reads `chunks` in order, and refuses to go beyond `limit` bytes.
    pub fn new(chunks: &'a [Bytes], limit: usize) -> Self {
        let total = chunks.iter().map(Bytes::len).sum();
        let (chunk, behind) = chunks.split_first().unwrap_or((&NOTHING, &[]));
        Self::over(chunk, behind, total, limit)
    }

    /// Reads `chunk` and those `behind` it, `total` bytes together.
    #[inline]
    pub(crate) fn over(chunk: &'a Bytes, behind: &'a [Bytes], total: usize, limit: usize) -> Self {
        let head = chunk.get(..limit).unwrap_or(chunk);
        Self { head, chunk, behind, end: head.len(), total, limit, needed: 0, stalled_at: "" }
    }

    /// How many bytes have been read.
    #[inline]
    pub fn position(&self) -> usize {
        self.end - self.head.len()
    }

    /// How many buffered bytes have not been read.
    pub fn remaining(&self) -> usize {
        self.total - self.position()
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
    #[inline]
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        if self.head.is_empty() {
            self.require(1)?;
            self.enter_next();
        }
        let (byte, rest) = self.head.split_first().ok_or(ReadError::More)?;
        self.head = rest;
        Ok(*byte)
    }

    /// Reads an integer in QUIC's form, of any length.
    ///
    /// # Errors
    ///
    /// [`ReadError::More`] when it is not all there; [`DecodeErrorKind::TooLarge`] beyond the limit.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, ReadError> {
        let Some((value, rest)) = varint::split(self.head) else { return self.varint_across() };
        self.head = rest;
        Ok(value)
    }

    /// [`varint`](Self::varint) byte by byte, where the chunk or the limit ends inside it.
    #[cold]
    fn varint_across(&mut self) -> Result<u64, ReadError> {
        self.require(1)?;
        let len = varint::len_from_first(self.clone().u8()?);
        self.require(len)?;
        let mut bytes = [0; varint::MAX_LEN];
        for byte in bytes.iter_mut().take(len) {
            *byte = self.u8()?;
        }
        varint::split(&bytes).map(|(value, _)| value).ok_or(ReadError::More)
    }

    /// Reads `len` bytes: a slice of the chunk when they lie in one, a copy otherwise.
    ///
    /// # Errors
    ///
    /// [`ReadError::More`] when they are not all there; [`DecodeErrorKind::TooLarge`] beyond the limit.
    /// Nothing is allocated in either case.
    pub fn bytes(&mut self, len: usize) -> Result<Bytes, ReadError> {
        self.require(len)?;
        if self.head.is_empty() {
            self.enter_next();
        }
        if let Some((bytes, rest)) = self.head.split_at_checked(len) {
            self.head = rest;
            return Ok(self.chunk.slice_ref(bytes));
        }
        let mut copy = BytesMut::with_capacity(len);
        while copy.len() < len {
            copy.extend_from_slice(self.take(len - copy.len()));
            self.enter_next();
        }
        Ok(copy.freeze())
    }

    /// What is known to come next without looking into another chunk.
    #[inline]
    pub(crate) fn head(&self) -> &'a [u8] {
        self.head
    }

    /// Takes the first `len` bytes of [`head`](Self::head), or all of it.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.head.split_at(len.min(self.head.len()));
        self.head = rest;
        taken
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
    #[inline]
    pub fn size(&mut self, limit: usize) -> Result<usize, ReadError> {
        let value = self.varint()?;
        usize::try_from(value)
            .ok()
            .filter(|size| *size <= limit)
            .ok_or_else(|| DecodeErrorKind::TooLarge { value, limit: limit as u64 }.into())
    }

    /// Makes sure that `len` bytes are there and within the limit.
    fn require(&mut self, len: usize) -> Result<(), ReadError> {
        let end = self.position().saturating_add(len);
        if end > self.limit {
            return Err(DecodeErrorKind::TooLarge { value: end as u64, limit: self.limit as u64 }.into());
        }
        if end > self.total {
            self.needed = end;
            return Err(ReadError::More);
        }
        Ok(())
    }

    /// Goes on to the next chunk that is not empty, if there is one.
    #[cold]
    fn enter_next(&mut self) {
        while self.head.is_empty()
            && let Some((chunk, behind)) = self.behind.split_first()
        {
            (self.chunk, self.behind) = (chunk, behind);
            self.head = chunk.get(..self.limit - self.end).unwrap_or(chunk);
            self.end += self.head.len();
        }
    }
}

/// Takes `len` bytes off `front` and the chunks behind it; the caller has made sure that they are there.
#[inline]
pub(crate) fn consume(front: &mut Bytes, behind: &mut VecDeque<Bytes>, mut len: usize) {
    while len > 0 {
        if len < front.len() {
            return front.advance(len);
        }
        len -= next_chunk(front, behind).len();
    }
}

/// Takes `front`, and makes the chunk behind it the front.
#[inline]
pub(crate) fn next_chunk(front: &mut Bytes, behind: &mut VecDeque<Bytes>) -> Bytes {
    std::mem::replace(front, behind.pop_front().unwrap_or_default())
}

/// A few bytes that are cloned and split at no further cost.
struct Few {
    bytes: [u8; Self::MOST],
    len: usize,
}

impl Few {
    const MOST: usize = 48;
}

impl AsRef<[u8]> for Few {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Copies bytes that are going to be split: few of them into one allocation with their reference count, which `Bytes`
/// otherwise allocates once there is a second handle.
#[inline]
pub(crate) fn shared(bytes: &[u8]) -> Bytes {
    let mut few = Few { bytes: [0; Few::MOST], len: bytes.len() };
    let Some(room) = few.bytes.get_mut(..bytes.len()) else { return Bytes::copy_from_slice(bytes) };
    room.copy_from_slice(bytes);
    Bytes::from_owner(few)
}
