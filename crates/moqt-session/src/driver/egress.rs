//! Groups going out: from a group of the model onto a stream.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt as _;
use moqt_transport::{Code, Connection, ConnectionError, SendStream, WriteError};
use moqt_wire::{GroupSequence, Message as _, SubscribeId, frame_header, transfork};

use super::gate::{Gate, Opening};
use crate::{
    dialect::{Dialect, GroupFormat},
    error::Reason,
    model::{FrameMeta, GroupConsumer, HeaderForm, Preamble},
};

/// Most pieces gathered for one vectored write.
const BATCH: usize = 32;
/// How long a finished group that has expired may still be on its way. Then it waits behind others, and gives way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Batches written before other streams of the session get their turn.
const TURN: usize = 16;

/// What the driver and the writer of a stream know of each other: its priority, which may change meanwhile, how much
/// has left, and whether it is given up.
#[derive(Clone, Debug, Default)]
pub(super) struct Rank(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    value: AtomicI32,
    /// Bytes that the connection has taken, headers included.
    sent: AtomicU64,
    aborted: AtomicBool,
    /// Wakes the writer. It is one future in the set of its driver, and so has one waker for good. Once it is through
    /// with this stream it goes on with another one, which is no concern of this one.
    writer: OnceLock<Waker>,
    left: AtomicBool,
}

impl Rank {
    pub(super) fn set(&self, rank: i32) {
        if self.0.value.swap(rank, Ordering::Relaxed) != rank {
            self.wake();
        }
    }

    pub(super) fn value(&self) -> i32 {
        self.0.value.load(Ordering::Relaxed)
    }

    /// As a new one, if nobody else has it.
    pub(super) fn reused(mut self) -> Option<Self> {
        *Arc::get_mut(&mut self.0)? = Place::default();
        Some(self)
    }

    /// The same, for another future.
    pub(super) fn renewed(&self) -> Self {
        Self(Arc::new(Place {
            value: AtomicI32::new(self.value()),
            sent: AtomicU64::new(self.bytes_sent()),
            aborted: AtomicBool::new(self.0.aborted.load(Ordering::Relaxed)),
            writer: OnceLock::new(),
            left: AtomicBool::new(false),
        }))
    }

    fn wake(&self) {
        if let Some(writer) = self.0.writer.get()
            && !self.0.left.load(Ordering::Relaxed)
        {
            writer.wake_by_ref();
        }
    }

    fn sent(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many bytes of the stream the connection has taken.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Ends the writer of the stream at the next opportunity, whatever it waits for.
    pub(super) fn abort(&self) {
        self.0.aborted.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Does the writer's work until it is done, or given up: then `None`.
    pub(super) async fn work<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            self.0.writer.get_or_init(|| cx.waker().clone());
            let done = if self.0.aborted.load(Ordering::Relaxed) {
                Poll::Ready(None)
            } else {
                work.as_mut().poll(cx).map(Some)
            };
            if done.is_ready() {
                self.0.left.store(true, Ordering::Relaxed);
            }
            done
        })
        .await
    }

    /// Waits until it is not `current`, which a writer that others keep waiting could not see otherwise; within
    /// [`work`](Self::work). Cancel safe.
    async fn changed(&self, current: i32) -> i32 {
        std::future::poll_fn(|_: &mut Context<'_>| {
            let value = self.value();
            if value == current { Poll::Pending } else { Poll::Ready(value) }
        })
        .await
    }
}

/// What group streams begin with, many in one allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<Mutex<BytesMut>>);

impl Heads {
    /// What the stream of the group of this number begins with.
    fn head(&self, preamble: Preamble, sequence: u64) -> Option<Bytes> {
        let mut room = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if room.capacity() < HEAD {
            room.reserve(HEADS);
        }
        let written = (preamble.write)(preamble.key, sequence, &mut room);
        let head = room.split().freeze();
        written.then_some(head)
    }
}

/// How groups begin in a subscription.
fn preamble(dialect: &'static dyn Dialect, subscribe_id: u64) -> Preamble {
    match dialect.group_format() {
        GroupFormat::Transfork => Preamble {
            key: (dialect.version(), subscribe_id),
            write: |(version, subscribe_id), sequence, out| {
                let spec = version.spec();
                let stream_type = transfork::StreamKind::Group.to_wire(spec);
                out.put_u8(stream_type.and_then(|t| u8::try_from(t).ok()).unwrap_or(0));
                let (subscribe, sequence) = (SubscribeId(subscribe_id), GroupSequence(sequence));
                transfork::Group { subscribe, sequence }.encode(spec, out).is_ok()
            },
        },
    }
}

/// Longest header of a group: its type, and two numbers.
const HEAD: usize = 17;

/// How many bytes of them are allocated at a time.
const HEADS: usize = 512;

/// How a group stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The peer has all of it.
    Whole,
    /// Given up; the peer needs a gap with this reason.
    Lost(Reason),
    /// The connection ended.
    Gone,
}

/// How far a group has come.
#[derive(Debug)]
pub(super) enum Progress<S> {
    /// All of it is written. The stream is finished, and has this priority.
    Written(S, i32),
    Unfinished(Rest<S>),
}

/// What is left to be done for a group.
#[derive(Debug)]
pub(super) enum Rest<S> {
    /// Its stream is still to be opened.
    Waiting(Opening),
    /// The stream has this priority, and this is to be written next, before any more of the group.
    Begun(S, i32, Vec<Bytes>),
}

/// Sends as much of a group as needs no waiting. Most groups of one frame are all there when they begin, and then this is
/// all that there is to do: nothing is allocated, and nobody woken.
pub(super) fn begin<C: Connection>(
    connection: &C,
    dialect: &'static dyn Dialect,
    (subscribe_id, heads): (u64, &Heads),
    group: &mut GroupConsumer,
    (rank, gate): (&Rank, &Gate),
) -> Result<Progress<C::SendStream>, Sent> {
    // Who waits goes first.
    let opened = if gate.is_open() { connection.open_uni().now_or_never() } else { None };
    let mut stream = match opened {
        None => return Ok(Progress::Unfinished(Rest::Waiting(gate.opening()))),
        Some(Err(_)) => return Err(Sent::Gone),
        Some(Ok(stream)) => stream,
    };
    let priority = rank.value();
    stream.set_priority(priority);
    let form = header_form(dialect.group_format());
    if let Some(mut whole) = group.take_whole(form, preamble(dialect, subscribe_id)) {
        while !whole.is_empty() {
            if !put(&mut stream, dialect, std::slice::from_mut(&mut whole), rank)? {
                return Ok(Progress::Unfinished(Rest::Begun(stream, priority, vec![whole])));
            }
        }
    } else {
        let head = head(&mut stream, dialect, (subscribe_id, heads), group)?;
        let mut batch = gate.batch();
        batch.pieces.push(head);
        group.wire_ready(BATCH, form, &mut batch.pieces);
        while !batch.pieces.is_empty() && put(&mut stream, dialect, &mut batch.pieces, rank)? {
            take_written(&mut batch.pieces);
        }
        if !batch.pieces.is_empty() || !group.is_finished() {
            // The list stays; without anything to move it allocates nothing.
            let first = batch.pieces.drain(..).collect();
            return Ok(Progress::Unfinished(Rest::Begun(stream, priority, first)));
        }
    }
    if stream.finish().is_err() {
        return Err(Sent::Gone);
    }
    Ok(Progress::Written(stream, priority))
}

/// Writes what the connection takes now; `false` where it takes nothing.
fn put<S: SendStream>(
    stream: &mut S,
    dialect: &'static dyn Dialect,
    pieces: &mut [Bytes],
    rank: &Rank,
) -> Result<bool, Sent> {
    match stream.write_chunks(pieces).now_or_never() {
        Some(Ok(written)) => {
            rank.sent(written);
            Ok(true)
        }
        Some(Err(WriteError::Stopped(code))) => Err(stop(stream, dialect, Ok(Some(code)), None)),
        Some(Err(_)) => Err(Sent::Gone),
        None => Ok(false),
    }
}

/// Sends the rest of a group, each piece as soon as it is there. Gives its stream, finished, and the priority that it has.
pub(super) async fn go_on<C: Connection>(
    connection: &C,
    dialect: &'static dyn Dialect,
    (subscribe_id, heads): (u64, &Heads),
    (group, rest): (&mut GroupConsumer, Rest<C::SendStream>),
    (rank, gate): (&Rank, &Gate),
) -> Result<(C::SendStream, i32), Sent> {
    let (mut stream, priority, first) = match rest {
        Rest::Begun(stream, priority, first) => (stream, priority, first),
        Rest::Waiting(opening) => {
            // A peer that gives no room for streams, or does not read them, loses what grows too old meanwhile.
            let opened = tokio::select! {
                biased;
                opened = connection.open_uni() => opened,
                () = group.expired() => return Err(Sent::Lost(Reason::Expired)),
            };
            drop(opening);
            let Ok(mut stream) = opened else { return Err(Sent::Gone) };
            let head = head(&mut stream, dialect, (subscribe_id, heads), group)?;
            let priority = rank.value();
            stream.set_priority(priority);
            (stream, priority, vec![head])
        }
    };
    let priority = pour(&mut stream, dialect, (first, priority), group, (rank, gate), None).await?;
    Ok((stream, priority))
}

/// What the stream of a group begins with.
fn head<S: SendStream>(
    stream: &mut S,
    dialect: &'static dyn Dialect,
    (subscribe_id, heads): (u64, &Heads),
    group: &GroupConsumer,
) -> Result<Bytes, Sent> {
    heads.head(preamble(dialect, subscribe_id), group.sequence()).ok_or_else(|| {
        stream.reset(dialect.code(Reason::Internal));
        Sent::Lost(Reason::Internal)
    })
}

/// How frames begin in this format.
fn header_form(format: GroupFormat) -> HeaderForm {
    match format {
        GroupFormat::Transfork => {
            HeaderForm { id: 0, write: |meta: &FrameMeta, out| frame_header(meta.size, out) }
        }
    }
}

/// Sends what `group` has from its reader's place on, and waits until the peer has it.
///
/// A stream that the peer stops is reset with `stopped_with`, or else with the peer's own code. Cancelled, it leaves
/// the stream unfinished or reset.
pub(super) async fn frames<S: SendStream>(
    stream: &mut S,
    dialect: &'static dyn Dialect,
    group: &mut GroupConsumer,
    (rank, gate): (&Rank, &Gate),
    stopped_with: Option<Code>,
) -> Sent {
    let priority = rank.value();
    stream.set_priority(priority);
    match pour(stream, dialect, (Vec::new(), priority), group, (rank, gate), stopped_with).await {
        Ok(priority) => arrive(stream, priority, dialect, group, rank, stopped_with).await,
        Err(sent) => sent,
    }
}

/// Sends what `group` has from its reader's place on, behind what comes `first`, and the end, on a stream of the `current`
/// priority. Returns the priority that it has then.
async fn pour<S: SendStream>(
    stream: &mut S,
    dialect: &'static dyn Dialect,
    (mut first, mut current): (Vec<Bytes>, i32),
    group: &mut GroupConsumer,
    (rank, gate): (&Rank, &Gate),
    stopped_with: Option<Code>,
) -> Result<i32, Sent> {
    let form = header_form(dialect.group_format());
    let mut turn = 0;
    loop {
        let mut batch = gate.batch();
        if first.is_empty() {
            drop(batch);
            let gathering = std::future::poll_fn(|cx| {
                let mut batch = gate.batch();
                let gathered = group.poll_wire(cx, BATCH, form, &mut batch.pieces).map_ok(|_| batch);
                if gathered.is_pending() {
                    // Others have their turn meanwhile.
                    turn = 0;
                }
                gathered
            });
            let gathered = tokio::select! {
                biased;
                gathered = gathering => gathered,
                stopped = stream.stopped() => return Err(stop(stream, dialect, stopped, stopped_with)),
            };
            batch = match gathered {
                Ok(batch) => batch,
                Err(error) => {
                    let reason = error.reason();
                    stream.reset(dialect.code(reason));
                    return Err(Sent::Lost(reason));
                }
            };
            if batch.pieces.is_empty() {
                break;
            }
        } else {
            // What is not there yet is not waited for while there is something to write.
            batch.pieces.append(&mut first);
            group.wire_ready(BATCH, form, &mut batch.pieces);
        }
        let written = loop {
            let wanted = rank.value();
            if wanted != current {
                current = wanted;
                stream.set_priority(current);
            }
            tokio::select! {
                biased;
                written = write(stream, &mut batch.pieces, rank, gate) => break Some(written),
                () = group.expired() => break None,
                _ = rank.changed(current) => {}
            }
        };
        let Some(written) = written else {
            stream.reset(dialect.code(Reason::Expired));
            return Err(Sent::Lost(Reason::Expired));
        };
        match written {
            Ok(()) => {}
            Err(WriteError::Stopped(code)) => {
                return Err(stop(stream, dialect, Ok(Some(code)), stopped_with));
            }
            Err(_) => return Err(Sent::Gone),
        }
        turn += 1;
        if turn % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    if stream.finish().is_err() {
        return Err(Sent::Gone);
    }
    Ok(current)
}

/// Waits until the peer has all of a finished stream, of which not all need have left. Cancelled, it resets the stream.
pub(super) async fn arrive<S: SendStream>(
    stream: &mut S,
    mut current: i32,
    dialect: &'static dyn Dialect,
    group: &mut GroupConsumer,
    rank: &Rank,
    stopped_with: Option<Code>,
) -> Sent {
    let mut sending = Sending { stream, code: dialect.code(Reason::Cancelled), over: false };
    let too_old = async {
        group.expired().await;
        // Seldom: every group that is sent would pay for the room.
        Box::pin(tokio::time::sleep(ON_ITS_WAY)).await;
    };
    tokio::pin!(too_old);
    let stopped = loop {
        tokio::select! {
            biased;
            stopped = sending.stream.stopped() => break stopped,
            () = &mut too_old => {
                sending.code = dialect.code(Reason::Expired);
                return Sent::Lost(Reason::Expired);
            }
            wanted = rank.changed(current) => {
                current = wanted;
                sending.stream.set_priority(current);
            }
        }
    };
    sending.over = true;
    stop(sending.stream, dialect, stopped, stopped_with)
}

/// A finished stream whose bytes are still on their way: dropped before they are there, it takes them back.
struct Sending<'a, S: SendStream> {
    stream: &'a mut S,
    code: Code,
    over: bool,
}

impl<S: SendStream> Drop for Sending<'_, S> {
    fn drop(&mut self) {
        if !self.over {
            self.stream.reset(self.code);
        }
    }
}

/// The peer needs no more of the stream.
pub(super) fn stop<S: SendStream>(
    stream: &mut S,
    dialect: &'static dyn Dialect,
    stopped: Result<Option<Code>, ConnectionError>,
    stopped_with: Option<Code>,
) -> Sent {
    match stopped {
        Ok(None) => Sent::Whole,
        Ok(Some(code)) => {
            let code = stopped_with.unwrap_or(code);
            stream.reset(code);
            Sent::Lost(dialect.reason(code))
        }
        Err(_) => Sent::Gone,
    }
}

async fn write<S: SendStream>(
    stream: &mut S,
    chunks: &mut Vec<Bytes>,
    rank: &Rank,
    gate: &Gate,
) -> Result<(), WriteError> {
    while !chunks.is_empty() {
        let written = gate.pass(rank, stream.write_chunks(chunks)).await?;
        rank.sent(written);
        take_written(chunks);
    }
    Ok(())
}

/// Lets go of what has been written whole: chunks that are empty stand in front.
fn take_written(chunks: &mut Vec<Bytes>) {
    let written = chunks.iter().take_while(|chunk| chunk.is_empty()).count();
    chunks.drain(..written);
}
