//! Control bytes on their way to one stream.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use moqt_transport::{Code, SendStream, WriteError};

/// How our half of a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Finish,
    Reset(Code),
    /// Others write on it from here.
    Release,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    end: Option<End>,
    writer: Option<Waker>,
    /// Waits for `bytes` to have been taken.
    feeder: Option<Waker>,
}

/// The bytes that one stream still has to send. The core fills it, the stream's writer empties it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox(Arc<Mutex<State>>);

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `write` append; returns how many bytes wait now.
    pub(super) fn push<E>(&self, write: impl FnOnce(&mut BytesMut) -> Result<(), E>) -> Result<usize, E> {
        let mut state = self.lock();
        write(&mut state.bytes)?;
        if let Some(waker) = state.writer.take() {
            waker.wake();
        }
        Ok(state.bytes.len())
    }

    /// Ends our half, after what waits or at once.
    pub(super) fn end(&self, end: End) {
        let mut state = self.lock();
        state.end = Some(end);
        if let Some(waker) = state.writer.take() {
            waker.wake();
        }
    }

    /// Waits until the writer has taken what was there. Cancel safe.
    pub(super) async fn empty(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.bytes.is_empty() || state.end.is_some() {
                return Poll::Ready(());
            }
            state.feeder = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Bytes to write, or the end. Cancel safe.
    async fn next(&self) -> Next {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if let Some(End::Reset(code)) = state.end {
                return Poll::Ready(Next::End(End::Reset(code)));
            }
            if !state.bytes.is_empty() {
                let bytes = state.bytes.split().freeze();
                if let Some(waker) = state.feeder.take() {
                    waker.wake();
                }
                return Poll::Ready(Next::Bytes(bytes));
            }
            if let Some(end) = state.end {
                return Poll::Ready(Next::End(end));
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits for a reset that overtakes what is being written. Cancel safe.
    async fn reset(&self) -> Code {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if let Some(End::Reset(code)) = state.end {
                return Poll::Ready(code);
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

enum Next {
    Bytes(Bytes),
    End(End),
}

/// How a writer ended.
#[derive(Debug)]
pub(super) enum Wrote<S> {
    /// Our half is over, as the outbox said; after a finish, the peer has everything.
    Done,
    /// The peer wants no more.
    Stopped(Code),
    /// What was there is written, and the stream is for others to write on.
    Released(S),
    /// The connection ended; the driver learns why elsewhere.
    Lost,
}

/// Writes an outbox to its stream until it ends, and notices when the peer stops the stream.
// Not an `async fn`: that would keep room for the stream twice.
#[expect(clippy::manual_async_fn, reason = "half the memory")]
pub(super) fn write<S: SendStream>(mut stream: S, outbox: Outbox) -> impl Future<Output = Wrote<S>> + Send {
    async move {
        loop {
            let next = tokio::select! {
                biased;
                next = outbox.next() => next,
                stopped = stream.stopped() => return match stopped {
                    Ok(Some(code)) => Wrote::Stopped(code),
                    Ok(None) => Wrote::Done,
                    Err(_) => Wrote::Lost,
                },
            };
            match next {
                Next::Bytes(bytes) => {
                    let written = tokio::select! {
                        biased;
                        // In a box: it is much, and mostly there is nothing to write.
                        written = Box::pin(stream.write_all(bytes)) => written,
                        code = outbox.reset() => {
                            stream.reset(code);
                            return Wrote::Done;
                        }
                    };
                    match written {
                        Ok(()) => {}
                        Err(WriteError::Stopped(code)) => return Wrote::Stopped(code),
                        Err(_) => return Wrote::Lost,
                    }
                }
                Next::End(End::Finish) => {
                    return match stream.finish() {
                        Ok(()) => match stream.stopped().await {
                            Ok(_) => Wrote::Done,
                            Err(_) => Wrote::Lost,
                        },
                        Err(_) => Wrote::Done,
                    };
                }
                Next::End(End::Release) => return Wrote::Released(stream),
                Next::End(End::Reset(code)) => {
                    stream.reset(code);
                    return Wrote::Done;
                }
            }
        }
    }
}
