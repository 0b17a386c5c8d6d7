//! One half of a QUIC stream with the contract's rules about drop, codes and ends.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    slice, task,
};

use bytes::{Buf as _, Bytes};
use quinn::{StoppedError, VarInt};
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use super::room::Room;
use crate::{
    Code, WriteError,
    wire_code::{Mapping, decode},
};

/// Chunks of the user that may go out in one write with the header.
const CHUNKS_BEHIND_HEADER: usize = 3;

/// How much later than the header of a stream its reset goes out, at the least.
#[cfg(feature = "webtransport")]
const HEAD_START: std::time::Duration = std::time::Duration::from_millis(25);

#[expect(clippy::disallowed_methods, reason = "the clock of the runtime, on which connections run, too")]
fn now() -> Instant {
    Instant::now()
}

/// Why a half could not go on, before the connection's error is put into words.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The peer gave the stream up: stopped for a sender, reset for a receiver.
    Peer(Code),
    /// Our side ended the stream before.
    Closed,
    /// The connection ended.
    Lost(quinn::ConnectionError),
}

impl From<quinn::WriteError> for Failure {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => Self::Peer(decode(code)),
            quinn::WriteError::ConnectionLost(error) => Self::Lost(error),
            // Early data is never used.
            quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => Self::Closed,
        }
    }
}

impl From<quinn::ReadError> for Failure {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Peer(decode(code)),
            quinn::ReadError::ConnectionLost(error) => Self::Lost(error),
            // All reads are ordered, and early data is never used.
            quinn::ReadError::ClosedStream
            | quinn::ReadError::IllegalOrderedRead
            | quinn::ReadError::ZeroRttRejected => Self::Closed,
        }
    }
}

/// The sending half; resets the stream when dropped unfinished, where `quinn` would finish it.
pub(crate) struct SendHalf {
    mapping: Mapping,
    /// What of the carrier's own bytes is still to go out with the first bytes of the user, so that an opened stream
    /// stays silent and its header gets the stream's priority.
    header: Bytes,
    room: Room,
    /// When the header went out, if there was one.
    begun: Option<Instant>,
    priority: i32,
    state: SendState,
    /// Waits for the peer to need no more. Kept from one wait to the next, for beginning one takes the connection's lock.
    watch: Option<Watch>,
}

type Watch = Pin<Box<dyn Future<Output = Stopped> + Send + Sync>>;

impl std::fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendHalf").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum SendState {
    Open(quinn::SendStream),
    Finished(quinn::SendStream),
    /// Finished, with a task that still waits to write the header.
    Finishing(Finishing),
    /// Reset, or the peer has all of it.
    Over,
}

impl SendHalf {
    pub(crate) fn new(sender: quinn::SendStream, mapping: Mapping, header: Bytes, room: Room) -> Self {
        Self { mapping, header, room, begun: None, priority: 0, state: SendState::Open(sender), watch: None }
    }

    pub(crate) async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<usize, Failure> {
        let SendState::Open(sender) = &mut self.state else { return Err(Failure::Closed) };
        if chunks.iter().all(Bytes::is_empty) {
            return Ok(0);
        }
        let first = self.priority == i32::MAX;
        while !self.header.is_empty() {
            let written = write_behind(sender, &mut self.header, chunks, (&self.room, first)).await?;
            if self.header.is_empty() {
                self.begun = Some(now());
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(poll_fn(|cx| self.room.poll(first, |most| poll_write(sender, chunks, most, cx))).await?)
    }

    /// `runtime` is where to wait, if the stream has no bytes and flow control has no room for its header.
    pub(crate) fn finish(&mut self, runtime: Option<&Handle>) -> Result<(), WriteError> {
        match std::mem::replace(&mut self.state, SendState::Over) {
            SendState::Open(mut sender) => {
                if self.header_is_out(&mut sender) {
                    // The only error is that it has ended before, which `Open` excludes.
                    let _ = sender.finish();
                    self.state = SendState::Finished(sender);
                } else {
                    let header = std::mem::take(&mut self.header);
                    self.state = Finishing::start(sender, header, self.mapping, (self.room.clone(), runtime));
                }
                Ok(())
            }
            ended => {
                self.state = ended;
                Err(WriteError::Closed)
            }
        }
    }

    /// Writes the header if that needs no waiting. Also true where nobody waits for it any more.
    fn header_is_out(&mut self, sender: &mut quinn::SendStream) -> bool {
        while !self.header.is_empty() {
            let write = pin!(sender.write_chunks(slice::from_mut(&mut self.header)));
            match write.poll(&mut task::Context::from_waker(task::Waker::noop())) {
                task::Poll::Ready(Ok(_)) => self.begun = Some(now()),
                task::Poll::Ready(Err(_)) => return true,
                task::Poll::Pending => return false,
            }
        }
        true
    }

    pub(crate) fn reset(&mut self, code: Code) {
        match std::mem::replace(&mut self.state, SendState::Over) {
            SendState::Open(mut sender) | SendState::Finished(mut sender) => {
                // Fails only when all is delivered already.
                let _ = sender.reset(self.mapping.encode(code));
            }
            SendState::Finishing(finishing) => finishing.reset(code),
            SendState::Over => {}
        }
    }

    /// Resets the stream, once the peer had the time to read its header. To deployed peers a stream that is reset
    /// before they have read that is the end of the session.
    #[cfg(feature = "webtransport")]
    pub(crate) fn reset_behind_header(&mut self, code: Code, runtime: &Handle) {
        let (mut sender, was_open) = match std::mem::replace(&mut self.state, SendState::Over) {
            SendState::Open(sender) => (sender, true),
            SendState::Finished(sender) => (sender, false),
            other => {
                self.state = other;
                return self.reset(code);
            }
        };
        // Where flow control has no room for it, nothing can be done for the peer.
        let is_out = !was_open || self.header_is_out(&mut sender);
        let code = self.mapping.encode(code);
        match self.begun.map(|begun| begun + HEAD_START).filter(|due| is_out && *due > now()) {
            Some(due) => drop(runtime.spawn(async move {
                tokio::time::sleep_until(due).await;
                let _ = sender.reset(code);
            })),
            None => drop(sender.reset(code)),
        }
    }

    pub(crate) fn set_priority(&mut self, priority: i32) {
        // To say so takes the connection's lock.
        if std::mem::replace(&mut self.priority, priority) == priority {
            return;
        }
        if let SendState::Open(sender) | SendState::Finished(sender) = &mut self.state {
            // Fails only when all is delivered already.
            let _ = sender.set_priority(priority);
        }
    }

    pub(crate) async fn stopped(&mut self) -> Result<Option<Code>, quinn::ConnectionError> {
        let result = match &mut self.state {
            SendState::Open(sender) | SendState::Finished(sender) => {
                let watch = self.watch.get_or_insert_with(|| Box::pin(sender.stopped()));
                let result = watch.await;
                // Once it has an answer it cannot be asked again.
                self.watch = None;
                result
            }
            SendState::Finishing(finishing) => finishing.stopped().await,
            // `quinn` does not say when a reset was acknowledged, and the peer needs nothing more anyhow.
            SendState::Over => return Ok(None),
        };
        match result {
            Ok(code) => Ok(code.map(decode)),
            Err(StoppedError::ConnectionLost(error)) => Err(error),
            // Early data is never used.
            Err(StoppedError::ZeroRttRejected) => Ok(None),
        }
    }
}

impl SendHalf {
    /// [`reset_behind_header`](Self::reset_behind_header), if the stream is not finished.
    #[cfg(feature = "webtransport")]
    pub(crate) fn give_up_behind_header(&mut self, code: Code, runtime: &Handle) {
        if let SendState::Open(_) = self.state {
            self.reset_behind_header(code, runtime);
        }
    }

    /// Whether `stopped` would have its answer at once.
    pub(crate) fn is_over(&mut self) -> bool {
        match &mut self.state {
            SendState::Open(_) => false,
            // All is delivered when the stream is not known any more. Then there is nothing to wait for.
            SendState::Finished(sender) if sender.priority().is_err() => {
                (self.state, self.watch) = (SendState::Over, None);
                true
            }
            // To finish once more succeeds only where the peer has stopped it.
            SendState::Finished(sender) => sender.finish().is_ok(),
            SendState::Finishing(finishing) => finishing.is_over(),
            SendState::Over => true,
        }
    }

    /// Resets the stream if it is not finished.
    pub(crate) fn give_up(&mut self, code: Code) {
        if let SendState::Open(_) = self.state {
            self.reset(code);
        }
    }

    /// Takes the stream as it is, if it is not finished; nothing is left to reset.
    #[cfg(feature = "webtransport")]
    pub(crate) fn take(&mut self) -> Option<quinn::SendStream> {
        match std::mem::replace(&mut self.state, SendState::Over) {
            SendState::Open(sender) => Some(sender),
            other => {
                self.state = other;
                None
            }
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        self.give_up(Code::NONE);
    }
}

/// Writes of `chunks` what there is room for, or where that is little, up to `most` bytes of the first of them.
fn poll_write(
    sender: &mut quinn::SendStream,
    chunks: &mut [Bytes],
    most: usize,
    cx: &mut task::Context<'_>,
) -> task::Poll<Result<usize, quinn::WriteError>> {
    if most == usize::MAX {
        return pin!(sender.write_chunks(chunks)).poll(cx).map_ok(|written| written.bytes);
    }
    let Some(chunk) = chunks.iter_mut().find(|chunk| !chunk.is_empty()) else {
        return task::Poll::Ready(Ok(0));
    };
    let mut piece = [chunk.slice(..most.min(chunk.len()))];
    let written = pin!(sender.write_chunks(&mut piece)).poll(cx).map_ok(|written| written.bytes);
    if let task::Poll::Ready(Ok(bytes)) = written {
        chunk.advance(bytes);
    }
    written
}

/// Writes what it can of `header` and then of `chunks`, and says how much of the latter that was. Cancel safe.
async fn write_behind(
    sender: &mut quinn::SendStream,
    header: &mut Bytes,
    chunks: &mut [Bytes],
    (room, first): (&Room, bool),
) -> Result<usize, quinn::WriteError> {
    let mut write = |cx: &mut task::Context<'_>, most: usize| {
        // Where there is little room, the header goes alone.
        let chunks = if most == usize::MAX { &mut *chunks } else { &mut [] };
        // Lent for the time of one attempt: nothing is counted twice, and nothing is lost with the future.
        let mut all = [const { Bytes::new() }; 1 + CHUNKS_BEHIND_HEADER];
        let [first, rest @ ..] = &mut all;
        std::mem::swap(first, header);
        rest.iter_mut().zip(chunks.iter_mut()).for_each(|(lent, chunk)| std::mem::swap(lent, chunk));
        let len = first.len();
        let written = pin!(sender.write_chunks(&mut all)).poll(cx);
        let [first, rest @ ..] = &mut all;
        let of_header = len - first.len();
        std::mem::swap(first, header);
        rest.iter_mut().zip(chunks.iter_mut()).for_each(|(lent, chunk)| std::mem::swap(lent, chunk));
        written.map_ok(|written| written.bytes - of_header)
    };
    poll_fn(|cx| room.poll(first, |most| write(cx, most))).await
}

type Stopped = Result<Option<VarInt>, StoppedError>;

/// A stream that was finished before its header found room in the connection's flow control.
struct Finishing {
    stopped: Watch,
    result: Option<Stopped>,
    reset: oneshot::Sender<Code>,
}

impl Finishing {
    fn start(
        sender: quinn::SendStream,
        header: Bytes,
        mapping: Mapping,
        (room, runtime): (Room, Option<&Handle>),
    ) -> SendState {
        let stopped = Box::pin(sender.stopped());
        let mut half = SendHalf::new(sender, mapping, Bytes::new(), room);
        let Some(runtime) = runtime else {
            // Headers come with a runtime; without one the half is dropped, and so reset.
            return SendState::Over;
        };
        let (reset, reset_code) = oneshot::channel();
        runtime.spawn(async move {
            let mut header = [header];
            tokio::select! {
                biased;
                Ok(code) = reset_code => half.reset(code),
                written = half.write_whole(&mut header) => if written.is_ok() {
                    // Cannot have ended before: this task is its only user.
                    let _ = half.finish(None);
                },
            }
        });
        SendState::Finishing(Self { stopped, result: None, reset })
    }

    async fn stopped(&mut self) -> Stopped {
        match &self.result {
            Some(result) => result.clone(),
            None => self.result.insert(self.stopped.as_mut().await).clone(),
        }
    }

    fn is_over(&mut self) -> bool {
        if self.result.is_none()
            && let task::Poll::Ready(result) =
                self.stopped.as_mut().poll(&mut task::Context::from_waker(task::Waker::noop()))
        {
            self.result = Some(result);
        }
        self.result.is_some()
    }

    fn reset(self, code: Code) {
        // Nobody listens once the stream is finished; the header alone is not worth a reset then.
        let _ = self.reset.send(code);
    }
}

impl std::fmt::Debug for Finishing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finishing").finish_non_exhaustive()
    }
}

impl SendHalf {
    async fn write_whole(&mut self, chunks: &mut [Bytes]) -> Result<(), Failure> {
        while self.write_chunks(chunks).await? > 0 {}
        Ok(())
    }
}

/// The receiving half; stops the stream when dropped before its end.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    mapping: Mapping,
    /// What was read before anybody asked.
    ahead: Bytes,
    /// `quinn` reports a reset once and a plain end ever after, so how it ended is remembered here.
    state: RecvState,
}

#[derive(Debug)]
enum RecvState {
    Open(quinn::RecvStream),
    Finished,
    Reset(Code),
    Stopped,
}

impl RecvHalf {
    /// Takes a stream of which `ahead` has been read.
    pub(crate) fn new(receiver: quinn::RecvStream, mapping: Mapping, ahead: Bytes) -> Self {
        Self { mapping, ahead, state: RecvState::Open(receiver) }
    }

    pub(crate) async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, Failure> {
        let receiver = match &mut self.state {
            RecvState::Finished => return Ok(None),
            RecvState::Reset(code) => return Err(Failure::Peer(*code)),
            RecvState::Stopped => return Err(Failure::Closed),
            RecvState::Open(_) if max == 0 => return Ok(Some(Bytes::new())),
            RecvState::Open(_) if !self.ahead.is_empty() => {
                return Ok(Some(self.ahead.split_to(max.min(self.ahead.len()))));
            }
            RecvState::Open(receiver) => receiver,
        };
        match receiver.read_chunk(max, true).await {
            Ok(Some(chunk)) => Ok(Some(chunk.bytes)),
            Ok(None) => {
                self.state = RecvState::Finished;
                Ok(None)
            }
            Err(error) => {
                let failure = Failure::from(error);
                if let Failure::Peer(code) = failure {
                    self.state = RecvState::Reset(code);
                }
                Err(failure)
            }
        }
    }

    pub(crate) fn stop(&mut self, code: Code) {
        if let Some(mut receiver) = self.take() {
            // Fails only when the stream has ended already.
            let _ = receiver.stop(self.mapping.encode(code));
        }
    }

    /// Takes the stream as it is, if it has not ended; nothing is left to stop.
    pub(crate) fn take(&mut self) -> Option<quinn::RecvStream> {
        match std::mem::replace(&mut self.state, RecvState::Stopped) {
            RecvState::Open(receiver) => Some(receiver),
            ended => {
                self.state = ended;
                None
            }
        }
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        self.stop(Code::NONE);
    }
}

#[cfg(test)]
mod tests;
