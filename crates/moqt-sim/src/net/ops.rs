//! What the application does to one end.

use std::{
    sync::Arc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use moqt_transport::{Code, ConnectionError, ReadError, WriteError};

use super::{
    endpoint::Endpoint,
    packet::{Control, Dir, StreamId},
    recv::{Found, RecvHalf},
    send::SendHalf,
};

impl Endpoint {
    pub(crate) fn poll_open(&mut self, dir: Dir, waker: &Waker) -> Poll<Result<StreamId, ConnectionError>> {
        if let Some(error) = &self.ended {
            return Poll::Ready(Err(error.clone()));
        }
        let opened = self.opened.get_mut(dir);
        if *opened >= *self.open_limit.get(dir) {
            self.openers.get_mut(dir).add(waker);
            return Poll::Pending;
        }
        let id = StreamId { index: *opened, initiator: self.side, dir };
        *opened += 1;
        self.send.insert(id, SendHalf::new(id, self.peer_stream_window));
        if dir == Dir::Bi {
            self.recv.insert(id, RecvHalf::new(self.settings.stream_window));
        }
        Poll::Ready(Ok(id))
    }

    pub(crate) fn poll_accept(&mut self, dir: Dir, waker: &Waker) -> Poll<Result<StreamId, ConnectionError>> {
        if let Some(error) = &self.ended {
            return Poll::Ready(Err(error.clone()));
        }
        if let Some(id) = self.accept.get_mut(dir).pop_front() {
            return Poll::Ready(Ok(id));
        }
        self.acceptors.get_mut(dir).add(waker);
        Poll::Pending
    }

    pub(crate) fn poll_closed(&mut self, waker: &Waker) -> Poll<ConnectionError> {
        if let Some(error) = &self.ended {
            return Poll::Ready(error.clone());
        }
        self.closers.add(waker);
        Poll::Pending
    }

    pub(crate) fn close(&mut self, code: Code, reason: &str) {
        self.end(ConnectionError::LocallyClosed, Some((code, Arc::from(reason))));
    }

    pub(crate) fn poll_write(
        &mut self,
        id: StreamId,
        chunks: &mut [Bytes],
        waker: &Waker,
    ) -> Poll<Result<usize, WriteError>> {
        if let Some(error) = &self.ended {
            return Poll::Ready(Err(error.clone().into()));
        }
        let Some(half) = self.send.get_mut(&id) else { return Poll::Ready(Err(WriteError::Closed)) };
        if let Some(code) = half.stopped() {
            return Poll::Ready(Err(WriteError::Stopped(code)));
        }
        if !half.is_open() {
            return Poll::Ready(Err(WriteError::Closed));
        }
        if chunks.iter().all(Bytes::is_empty) {
            return Poll::Ready(Ok(0));
        }
        let written = half.write(chunks, self.settings.send_buffer);
        if written == 0 {
            half.waker = Some(waker.clone());
            return Poll::Pending;
        }
        self.counters.bytes_queued += written as u64;
        self.enqueue(id);
        Poll::Ready(Ok(written))
    }

    pub(crate) fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        if let Some(error) = &self.ended {
            return Err(error.clone().into());
        }
        let Some(half) = self.send.get_mut(&id) else { return Err(WriteError::Closed) };
        if half.stopped().is_some() {
            return Ok(()); // harmless: the peer has already let go
        }
        if !half.is_open() {
            return Err(WriteError::Closed);
        }
        half.finish();
        self.enqueue(id);
        Ok(())
    }

    pub(crate) fn reset(&mut self, id: StreamId, code: Code) {
        self.dequeue(id);
        let Some(half) = self.send.get_mut(&id) else { return };
        if half.is_unsettled() {
            self.counters.bytes_queued -= half.reset();
            self.control.push_back(Control::Reset { id, code, sent: half.sent() });
            self.wakes.extend(half.waker.take());
            self.dirty = true;
        }
    }

    pub(crate) fn set_priority(&mut self, id: StreamId, priority: i32) {
        if self.send.get(&id).is_some_and(|half| half.priority != priority) {
            self.dequeue(id);
            if let Some(half) = self.send.get_mut(&id) {
                half.priority = priority;
            }
            self.enqueue(id);
        }
    }

    pub(crate) fn poll_stopped(
        &mut self,
        id: StreamId,
        waker: &Waker,
    ) -> Poll<Result<Option<Code>, ConnectionError>> {
        if let Some(error) = &self.ended {
            return Poll::Ready(Err(error.clone()));
        }
        let Some(half) = self.send.get_mut(&id) else { return Poll::Ready(Ok(None)) };
        if let Some(code) = half.stopped() {
            return Poll::Ready(Ok(Some(code)));
        }
        if half.is_done() {
            return Poll::Ready(Ok(None));
        }
        half.waker = Some(waker.clone());
        Poll::Pending
    }

    pub(crate) fn is_send_over(&self, id: StreamId) -> bool {
        self.send
            .get(&id)
            .is_none_or(|half| !half.is_open() && (half.stopped().is_some() || !half.is_unsettled()))
    }

    pub(crate) fn release_send(&mut self, id: StreamId) {
        if self.send.get(&id).is_some_and(SendHalf::is_open) {
            self.reset(id, Code::NONE);
        }
        if let Some(half) = self.send.get_mut(&id) {
            half.held = false;
        }
        self.tidy(id);
    }

    pub(crate) fn poll_read(
        &mut self,
        id: StreamId,
        max: usize,
        waker: &Waker,
    ) -> Poll<Result<Option<Bytes>, ReadError>> {
        if let Some(error) = &self.ended {
            return Poll::Ready(Err(error.clone().into()));
        }
        let Some(half) = self.recv.get_mut(&id) else { return Poll::Ready(Err(ReadError::Closed)) };
        match half.read(max) {
            Found::Data(data) => {
                let back = half.give_back();
                if let Some(max) = half.new_limit(self.settings.stream_window) {
                    self.control.push_back(Control::MaxStreamData { id, max });
                    self.dirty = true;
                }
                self.consume(back);
                Poll::Ready(Ok(Some(data)))
            }
            Found::End => {
                self.tidy(id);
                Poll::Ready(Ok(None))
            }
            Found::Reset(code) => Poll::Ready(Err(ReadError::Reset(code))),
            Found::Stopped => Poll::Ready(Err(ReadError::Closed)),
            Found::Nothing => {
                half.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn stop(&mut self, id: StreamId, code: Code) {
        let Some(half) = self.recv.get_mut(&id) else { return };
        if half.stop() {
            self.control.push_back(Control::Stop { id, code });
            self.dirty = true;
        }
        let back = half.give_back();
        self.consume(back);
        self.tidy(id);
    }

    pub(crate) fn release_recv(&mut self, id: StreamId) {
        self.stop(id, Code::NONE);
        if let Some(half) = self.recv.get_mut(&id) {
            half.held = false;
        }
        self.tidy(id);
    }
}
