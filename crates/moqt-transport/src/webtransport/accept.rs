//! Streams of the peer, each given out once it has said what it is; one that keeps silent holds up no other.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::pin,
    task::{self, Poll, Waker},
};

use bytes::Bytes;
use quinn::{ConnectionError, RecvStream, SendStream};
use wtransport::proto::error::ErrorCode;

use super::{
    error::{Failure, Violation, wire},
    head::{self, BidiHead, UniHead},
    limits::{EARLY_STREAMS, PENDING_HEADS, READ_BYTES},
    wake::WakeSet,
};
use crate::quinn::room::Room;

/// Uni- or bidirectional.
pub(super) trait Kind {
    /// Where they come from.
    type From: Send + Sync;
    /// What `quinn` gives.
    type Stream: Send;
    /// What the first bytes say.
    type Head: Send;

    fn accept(from: &Self::From) -> impl Future<Output = Result<Self::Stream, ConnectionError>> + Send;
    fn receiver(stream: &mut Self::Stream) -> &mut RecvStream;
    fn head(bytes: &[u8]) -> Option<(Self::Head, usize)>;
    /// Gives the stream up, in both directions if it has two.
    fn refuse(stream: &mut Self::Stream, code: ErrorCode);
}

#[derive(Debug)]
pub(super) struct Uni;

impl Kind for Uni {
    type From = quinn::Connection;
    type Stream = RecvStream;
    type Head = UniHead;

    async fn accept(quic: &quinn::Connection) -> Result<RecvStream, ConnectionError> {
        quic.accept_uni().await
    }

    fn receiver(stream: &mut RecvStream) -> &mut RecvStream {
        stream
    }

    fn head(bytes: &[u8]) -> Option<(UniHead, usize)> {
        head::uni(bytes)
    }

    fn refuse(stream: &mut RecvStream, code: ErrorCode) {
        // Fails only when it has ended already.
        let _ = stream.stop(wire(code));
    }
}

#[derive(Debug)]
pub(super) struct Bidi;

impl Kind for Bidi {
    type From = (quinn::Connection, Room);
    type Stream = (SendStream, RecvStream);
    type Head = BidiHead;

    async fn accept((quic, room): &Self::From) -> Result<(SendStream, RecvStream), ConnectionError> {
        let streams = quic.accept_bi().await?;
        room.bidi_opened();
        Ok(streams)
    }

    fn receiver(stream: &mut (SendStream, RecvStream)) -> &mut RecvStream {
        &mut stream.1
    }

    fn head(bytes: &[u8]) -> Option<(BidiHead, usize)> {
        head::bidi(bytes)
    }

    fn refuse((send, recv): &mut (SendStream, RecvStream), code: ErrorCode) {
        // These fail only when the halves have ended already.
        let _ = send.reset(wire(code));
        let _ = recv.stop(wire(code));
    }
}

/// A stream of the peer that has said what it is.
#[derive(Debug)]
pub(super) struct Opened<K: Kind> {
    pub(super) head: K::Head,
    pub(super) stream: K::Stream,
    /// What came with the head and follows it.
    pub(super) ahead: Bytes,
}

/// A stream whose head is not there yet.
struct Pending<K: Kind> {
    stream: K::Stream,
    /// What there is of the head.
    begun: Bytes,
    waker: Waker,
}

/// What has become of a stream that was asked for its head.
enum Asked<H> {
    Head(H, Bytes),
    Silent,
    /// It ended before.
    Gone,
}

/// The peer's streams of one kind.
pub(super) struct Acceptor<K: Kind> {
    from: K::From,
    silent: Silent<K>,
}

/// Those that have not said what they are, by their age.
struct Silent<K: Kind> {
    pending: BTreeMap<u64, Pending<K>>,
    woken: WakeSet,
    next_number: u64,
}

impl<K: Kind> Acceptor<K> {
    pub(super) fn new(from: K::From) -> Self {
        let silent = Silent { pending: BTreeMap::new(), woken: WakeSet::default(), next_number: 0 };
        Self { from, silent }
    }

    /// Waits for the next stream that says what it is. Of several that do, the oldest goes first. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Opened<K>, ConnectionError> {
        let Self { from, silent } = self;
        loop {
            let mut accept = pin!(K::accept(from));
            let step = poll_fn(|cx| {
                if let Some(opened) = silent.next_pending(cx.waker()) {
                    return Poll::Ready(Ok(Some(opened)));
                }
                match accept.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => Poll::Ready(Ok(silent.ask(stream))),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            });
            if let Some(opened) = step.await? {
                return Ok(opened);
            }
        }
    }
}

impl<K: Kind> Silent<K> {
    /// Asks the streams that something has come for.
    fn next_pending(&mut self, keeper: &Waker) -> Option<Opened<K>> {
        if self.pending.is_empty() {
            return None;
        }
        while let Some(number) = self.woken.take(keeper) {
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            let asked = ask::<K>(&mut pending.stream, &mut pending.begun, &pending.waker);
            if matches!(asked, Asked::Silent) {
                continue;
            }
            let stream = self.pending.remove(&number)?.stream;
            if let Asked::Head(head, ahead) = asked {
                return Some(Opened { head, stream, ahead });
            }
        }
        None
    }

    /// Asks a new stream, which mostly brings its head along, and keeps it if it does not.
    fn ask(&mut self, mut stream: K::Stream) -> Option<Opened<K>> {
        let mut begun = Bytes::new();
        match ask::<K>(&mut stream, &mut begun, Waker::noop()) {
            Asked::Head(head, ahead) => return Some(Opened { head, stream, ahead }),
            Asked::Gone => return None,
            Asked::Silent => {}
        }
        if self.pending.len() >= PENDING_HEADS
            && let Some((_, mut oldest)) = self.pending.pop_first()
        {
            K::refuse(&mut oldest.stream, ErrorCode::BufferedStreamRejected);
        }
        let number = self.next_number;
        self.next_number += 1;
        let waker = self.woken.waker(number);
        // Whatever has come since then wakes nobody, so that it has to be asked again by its own waker.
        waker.wake_by_ref();
        self.pending.insert(number, Pending { stream, begun, waker });
        None
    }
}

impl<K: Kind> std::fmt::Debug for Acceptor<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("silent", &self.silent.pending.len()).finish_non_exhaustive()
    }
}

/// Reads what there is, until it says what the stream is. A silent one calls `waker` when more has come.
fn ask<K: Kind>(stream: &mut K::Stream, begun: &mut Bytes, waker: &Waker) -> Asked<K::Head> {
    loop {
        let read = pin!(K::receiver(stream).read_chunk(READ_BYTES, true));
        let chunk = match read.poll(&mut task::Context::from_waker(waker)) {
            Poll::Ready(Ok(Some(chunk))) => chunk.bytes,
            Poll::Ready(Ok(None) | Err(_)) => return Asked::Gone,
            Poll::Pending => return Asked::Silent,
        };
        let mut ahead = if begun.is_empty() { chunk } else { [&begun[..], &chunk].concat().into() };
        if let Some((head, len)) = K::head(&ahead) {
            drop(ahead.split_to(len));
            return Asked::Head(head, ahead);
        }
        // A few bytes, which must not keep alive what they came in with.
        *begun = Bytes::copy_from_slice(&ahead);
    }
}

/// What a unidirectional stream of the peer is for.
#[derive(Debug)]
pub(super) enum UniStream {
    /// The control stream, which comes once.
    Control(RecvStream, Bytes),
    /// One of the two for the compression of headers, each of which comes once at most.
    Qpack(RecvStream),
    /// One of a session.
    Session(u64, RecvStream, Bytes),
}

/// The peer's unidirectional streams, sorted by HTTP/3's rules.
#[derive(Debug)]
pub(super) struct UniStreams {
    acceptor: Acceptor<Uni>,
    early: VecDeque<UniStream>,
    control: bool,
    encoder: bool,
    decoder: bool,
}

impl UniStreams {
    pub(super) fn new(quic: quinn::Connection) -> Self {
        let acceptor = Acceptor::new(quic);
        Self { acceptor, early: VecDeque::new(), control: false, encoder: false, decoder: false }
    }

    /// Waits for the next stream that is for something. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<UniStream, Failure> {
        if let Some(early) = self.early.pop_front() {
            return Ok(early);
        }
        self.next_new().await
    }

    /// The same, those kept for later aside.
    pub(super) async fn next_new(&mut self) -> Result<UniStream, Failure> {
        loop {
            let Opened { head, mut stream, ahead } = self.acceptor.next().await?;
            let seen = match head {
                UniHead::Session(id) => {
                    check_session_id(id)?;
                    return Ok(UniStream::Session(id, stream, ahead));
                }
                UniHead::Unknown => {
                    Uni::refuse(&mut stream, ErrorCode::StreamCreation);
                    continue;
                }
                UniHead::Push => {
                    return Err(
                        Violation::new(ErrorCode::StreamCreation, "a push that nobody allowed").into()
                    );
                }
                UniHead::Control => &mut self.control,
                UniHead::QpackEncoder => &mut self.encoder,
                UniHead::QpackDecoder => &mut self.decoder,
            };
            if std::mem::replace(seen, true) {
                return Err(
                    Violation::new(ErrorCode::StreamCreation, "a second one of a single stream").into()
                );
            }
            return Ok(match head {
                UniHead::Control => UniStream::Control(stream, ahead),
                _ => UniStream::Qpack(stream),
            });
        }
    }

    /// Keeps a stream for [`next`](Self::next), unless there are too many.
    pub(super) fn keep(&mut self, mut stream: UniStream) {
        match &mut stream {
            UniStream::Session(_, stream, _) if self.early.len() >= EARLY_STREAMS => {
                Uni::refuse(stream, ErrorCode::BufferedStreamRejected);
            }
            _ => self.early.push_back(stream),
        }
    }
}

/// The peer's bidirectional streams.
#[derive(Debug)]
pub(super) struct BidiStreams {
    acceptor: Acceptor<Bidi>,
    early: VecDeque<Opened<Bidi>>,
}

impl BidiStreams {
    pub(super) fn new(quic: quinn::Connection, room: Room) -> Self {
        Self { acceptor: Acceptor::new((quic, room)), early: VecDeque::new() }
    }

    /// Waits for the next stream. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Opened<Bidi>, Failure> {
        if let Some(early) = self.early.pop_front() {
            return Ok(early);
        }
        self.next_new().await
    }

    /// The same, those kept for later aside.
    pub(super) async fn next_new(&mut self) -> Result<Opened<Bidi>, Failure> {
        let opened = self.acceptor.next().await?;
        if let BidiHead::Session(id) = opened.head {
            check_session_id(id)?;
        }
        Ok(opened)
    }

    /// Keeps a stream for [`next`](Self::next), unless there are too many.
    pub(super) fn keep(&mut self, mut opened: Opened<Bidi>) {
        if self.early.len() < EARLY_STREAMS {
            self.early.push_back(opened);
        } else {
            Bidi::refuse(&mut opened.stream, ErrorCode::BufferedStreamRejected);
        }
    }
}

fn check_session_id(id: u64) -> Result<(), Violation> {
    if head::is_session_id(id) {
        return Ok(());
    }
    Err(Violation::new(ErrorCode::Id, "a stream of a session that cannot be"))
}
