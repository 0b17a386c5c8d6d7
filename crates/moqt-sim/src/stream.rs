//! Handles to the halves of a simulated stream.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use moqt_transport::{Code, ConnectionError, ReadError, RecvStream, SendStream, WriteError};

use crate::{connection::Handle, net::packet::StreamId};

/// The sending half of a simulated stream.
#[derive(Debug)]
pub struct SimSendStream {
    handle: Arc<Handle>,
    id: StreamId,
}

impl SimSendStream {
    pub(crate) fn new(handle: &Arc<Handle>, id: StreamId) -> Self {
        Self { handle: Arc::clone(handle), id }
    }
}

impl SendStream for SimSendStream {
    async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        poll_fn(|cx| self.handle.with(|end| end.poll_write(self.id, chunks, cx.waker()))).await
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        self.handle.with(|end| end.finish(self.id))
    }

    fn reset(&mut self, code: Code) {
        self.handle.with(|end| end.reset(self.id, code));
    }

    fn set_priority(&mut self, priority: i32) {
        self.handle.with(|end| end.set_priority(self.id, priority));
    }

    async fn stopped(&mut self) -> Result<Option<Code>, ConnectionError> {
        poll_fn(|cx| self.handle.with(|end| end.poll_stopped(self.id, cx.waker()))).await
    }

    fn is_over(&mut self) -> bool {
        self.handle.with(|end| end.is_send_over(self.id))
    }
}

impl Drop for SimSendStream {
    fn drop(&mut self) {
        self.handle.with(|end| end.release_send(self.id));
    }
}

/// The receiving half of a simulated stream.
///
/// After its end it goes on to return `None`, after a reset its error, also when the connection has ended
/// since.
#[derive(Debug)]
pub struct SimRecvStream {
    handle: Arc<Handle>,
    id: StreamId,
    /// What the stream came to, once the application knows.
    outcome: Option<Result<(), Code>>,
}

impl SimRecvStream {
    pub(crate) fn new(handle: &Arc<Handle>, id: StreamId) -> Self {
        Self { handle: Arc::clone(handle), id, outcome: None }
    }
}

impl RecvStream for SimRecvStream {
    async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        match self.outcome {
            Some(Ok(())) => return Ok(None),
            Some(Err(code)) => return Err(ReadError::Reset(code)),
            None => {}
        }
        let read = poll_fn(|cx| self.handle.with(|end| end.poll_read(self.id, max, cx.waker()))).await;
        match &read {
            Ok(None) => self.outcome = Some(Ok(())),
            Err(ReadError::Reset(code)) => self.outcome = Some(Err(*code)),
            _ => {}
        }
        read
    }

    fn stop(&mut self, code: Code) {
        if self.outcome.is_none() {
            self.handle.with(|end| end.stop(self.id, code));
        }
    }
}

impl Drop for SimRecvStream {
    fn drop(&mut self) {
        self.handle.with(|end| end.release_recv(self.id));
    }
}
