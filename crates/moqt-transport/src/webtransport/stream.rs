//! A stream that carries HTTP/3's own frames.

use bytes::Bytes;
use quinn::{ReadError, RecvStream, VarInt};

use super::{
    error::Failure,
    frame::{Frame, FrameReader, Place},
    limits::READ_BYTES,
};

/// The frames of a stream.
#[derive(Debug)]
pub(super) struct Frames {
    stream: RecvStream,
    reader: FrameReader,
    /// What was read and is not used up.
    ahead: Bytes,
}

impl Frames {
    /// Reads a stream of which `ahead` has been read before.
    pub(super) fn new(stream: RecvStream, place: Place, ahead: Bytes) -> Self {
        Self { stream, reader: FrameReader::new(place), ahead }
    }

    /// The stream is the session's from here on.
    pub(super) fn begin_session(&mut self) {
        self.reader.begin_session();
    }

    /// Gives the next frame, or `None` after the last. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            if let Some(frame) = self.reader.next(&mut self.ahead)? {
                return Ok(Some(frame));
            }
            match read(&mut self.stream).await? {
                Some(bytes) => self.ahead = bytes,
                None => {
                    self.reader.end()?;
                    return Ok(None);
                }
            }
        }
    }

    pub(super) fn id(&self) -> u64 {
        VarInt::from(self.stream.id()).into_inner()
    }
}

/// Gives the next bytes, or `None` at the end. Cancel safe.
pub(super) async fn read(stream: &mut RecvStream) -> Result<Option<Bytes>, Failure> {
    match stream.read_chunk(READ_BYTES, true).await {
        Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
        Err(ReadError::Reset(code)) => Err(Failure::Reset(code)),
        Err(ReadError::ConnectionLost(error)) => Err(Failure::Lost(error)),
        // Never stopped before, read in order only, and early data is not used.
        Err(ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected) => Ok(None),
    }
}
