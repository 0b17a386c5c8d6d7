//! Data coming in: cut into frames, put into groups, at a rate.

use std::{io, path::Path, time::Duration};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::Instant,
};

use crate::{units::MAX_FRAME, waiting::now};

#[cfg(test)]
mod tests;

/// Opens a file, or stdin without one.
pub(crate) async fn open(path: Option<&Path>) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
    Ok(match path {
        Some(path) => {
            let file = tokio::fs::File::open(path).await;
            Box::new(file.with_context(|| format!("cannot read: {}", path.display()))?)
        }
        None => Box::new(tokio::io::stdin()),
    })
}

/// How bytes become frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// What is there is a frame, up to so many bytes.
    Raw {
        /// Most bytes of a frame.
        size: usize,
    },
    /// A line is a frame, without its end.
    Lines,
}

/// Cuts an input into frames.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    reader: R,
    cut: Cut,
    /// Where bytes are read to; a frame is copied out of it and takes no more memory than it has bytes.
    space: Vec<u8>,
    /// Lines: what was read and is not yet given out.
    rest: BytesMut,
    /// Bytes at the start of `rest` without an end of line.
    searched: usize,
    ended: bool,
}

/// Bytes read at a time where frames do not say how many.
const READ: usize = 64 << 10;

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(reader: R, cut: Cut) -> Self {
        let space = match cut {
            Cut::Raw { size } => vec![0; size],
            Cut::Lines => vec![0; READ],
        };
        Self { reader, cut, space, rest: BytesMut::new(), searched: 0, ended: false }
    }

    /// The next frame, or `None` at the end of the input.
    ///
    /// # Errors
    ///
    /// Of the input, or a line that is longer than any frame.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self.cut {
            Cut::Raw { .. } => {
                let read = self.reader.read(&mut self.space).await?;
                Ok(self.space.get(..read).filter(|bytes| !bytes.is_empty()).map(Bytes::copy_from_slice))
            }
            Cut::Lines => self.next_line().await,
        }
    }

    async fn next_line(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let fresh = self.rest.get(self.searched..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let line = Bytes::copy_from_slice(self.rest.get(..self.searched + at).unwrap_or_default());
                self.rest.advance(self.searched + at + 1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.rest.len();
            if self.searched > MAX_FRAME {
                let message = format!("a line is longer than {MAX_FRAME} bytes; use --format raw");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            if self.ended {
                self.searched = 0;
                let last = self.rest.split().freeze();
                return Ok((!last.is_empty()).then_some(last));
            }
            match self.reader.read(&mut self.space).await? {
                0 => self.ended = true,
                read => self.rest.extend_from_slice(self.space.get(..read).unwrap_or_default()),
            }
        }
    }
}

/// When a new group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// After so many frames.
    Frames(u64),
    /// With the first frame after so long.
    Every(Duration),
}

/// Bytes after which a group ends in any case: half of what tracks keep of one.
const MAX_GROUP_BYTES: u64 = 16 << 20;
/// Frames after which a group ends in any case.
const MAX_GROUP_FRAMES: u64 = 1 << 15;

/// Puts frames into groups.
#[derive(Debug)]
pub(crate) struct Grouper {
    grouping: Grouping,
    frames: u64,
    bytes: u64,
    began: Option<Instant>,
}

impl Grouper {
    pub(crate) fn new(grouping: Grouping) -> Self {
        Self { grouping, frames: 0, bytes: 0, began: None }
    }

    /// Places a frame of `len` bytes; `true` when it begins a group.
    pub(crate) fn place(&mut self, now: Instant, len: usize) -> bool {
        let begins = self.began.is_none_or(|began| {
            let over = self.bytes + len as u64 > MAX_GROUP_BYTES || self.frames >= MAX_GROUP_FRAMES;
            over || matches!(self.grouping, Grouping::Every(every) if now - began >= every)
        });
        if begins {
            (self.frames, self.bytes, self.began) = (0, 0, Some(now));
        }
        self.frames += 1;
        self.bytes += len as u64;
        begins
    }

    /// Whether the frame placed last ends its group; then the next one begins one.
    pub(crate) fn ends(&mut self) -> bool {
        let ends = matches!(self.grouping, Grouping::Frames(frames) if self.frames >= frames);
        if ends {
            self.began = None;
        }
        ends
    }
}

/// Holds frames back so that they leave at a rate.
#[derive(Debug)]
pub(crate) struct Pacer {
    bits_per_second: u64,
    /// When all that left has passed at the rate.
    clear: Option<Instant>,
}

impl Pacer {
    /// Lateness that is caught up with; more is lost, so that a pause is not followed by a burst.
    const CATCH_UP: Duration = Duration::from_millis(50);

    pub(crate) fn new(bits_per_second: u64) -> Self {
        Self { bits_per_second, clear: None }
    }

    /// The size of raw frames that leave 20 times a second, where that is a sensible size.
    pub(crate) fn frame_size(bits_per_second: u64) -> usize {
        usize::try_from(bits_per_second / 8 / 20).unwrap_or(usize::MAX).clamp(1 << 10, 64 << 10)
    }

    /// Waits until a frame of `len` bytes may leave.
    pub(crate) async fn pass(&mut self, len: usize) {
        let now = now();
        let at = self.clear.map_or(now, |clear| clear.max(now.checked_sub(Self::CATCH_UP).unwrap_or(now)));
        self.clear = Some(at + Duration::from_secs_f64(len as f64 * 8.0 / self.bits_per_second as f64));
        tokio::time::sleep_until(at).await;
    }
}
