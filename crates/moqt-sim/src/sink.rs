//! A connection whose outgoing unidirectional streams lead nowhere, for counting what it costs to fill them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use moqt_transport::{Carrier, Code, Connection, ConnectionError, SendStream, Stats, WriteError};
use tokio::time::Instant;

use crate::{SimConnection, SimRecvStream, SimSendStream};

/// What was done with the streams of one [`Sink`], the unidirectional ones unless it says otherwise.
#[derive(Debug, Default)]
pub struct Tally {
    /// Streams that were opened.
    pub opened: AtomicU64,
    /// Streams that were finished.
    pub finished: AtomicU64,
    /// Writes.
    pub writes: AtomicU64,
    /// Writes to bidirectional streams.
    pub answers: AtomicU64,
    /// How many of those came before the first of the others.
    pub answers_first: AtomicU64,
    /// Bytes written.
    pub bytes: AtomicU64,
    /// How often somebody began to wait for the peer to stop a stream.
    pub watched: AtomicU64,
    /// How often a priority was set.
    pub ranked: AtomicU64,
    places: Mutex<Vec<usize>>,
}

impl Tally {
    /// Has room to note so many places without an allocation.
    #[must_use]
    pub fn with_room(places: usize) -> Arc<Self> {
        Arc::new(Self { places: Mutex::new(Vec::with_capacity(places)), ..Self::default() })
    }

    /// Where each piece of payload lay, in the order of the writes: it is the same for all where nothing is copied.
    #[must_use]
    pub fn places(&self) -> Vec<usize> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<usize>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Pieces of at least this length are payload, shorter ones headers.
const PAYLOAD: usize = 100;

/// From the end of a stream to its acknowledgement.
const ROUND_TRIP: Duration = Duration::from_millis(10);

/// A simulated connection, but for the unidirectional streams that are opened on it: those lead nowhere, take
/// everything at once, and are acknowledged 10 ms after their end.
#[derive(Clone, Debug)]
pub struct Sink {
    inner: SimConnection,
    tally: Arc<Tally>,
}

impl Sink {
    /// All else is that of `inner`.
    #[must_use]
    pub fn new(inner: SimConnection, tally: Arc<Tally>) -> Self {
        Self { inner, tally }
    }
}

/// The sending half of a stream of a [`Sink`].
#[derive(Debug)]
pub struct SinkStream(Kind);

#[derive(Debug)]
enum Kind {
    Simulated(SimSendStream, Arc<Tally>),
    Nowhere {
        tally: Arc<Tally>,
        /// When the peer will have acknowledged the end.
        acknowledged: Option<Instant>,
    },
}

#[expect(clippy::disallowed_methods, reason = "the clock of a simulation")]
fn now() -> Instant {
    Instant::now()
}

impl SendStream for SinkStream {
    async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        match &mut self.0 {
            Kind::Simulated(stream, tally) => {
                one_more(&tally.answers);
                stream.write_chunks(chunks).await
            }
            Kind::Nowhere { tally, .. } => {
                if tally.writes.fetch_add(1, Ordering::Relaxed) == 0 {
                    tally.answers_first.store(tally.answers.load(Ordering::Relaxed), Ordering::Relaxed);
                }
                let mut places = tally.lock();
                let mut written = 0;
                for chunk in chunks {
                    let chunk = std::mem::take(chunk);
                    written += chunk.len();
                    if chunk.len() >= PAYLOAD {
                        places.push(chunk.as_ptr().addr());
                    }
                }
                tally.bytes.fetch_add(written as u64, Ordering::Relaxed);
                Ok(written)
            }
        }
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        match &mut self.0 {
            Kind::Simulated(stream, _) => stream.finish(),
            Kind::Nowhere { acknowledged: Some(_), .. } => Err(WriteError::Closed),
            Kind::Nowhere { tally, acknowledged } => {
                one_more(&tally.finished);
                *acknowledged = Some(now() + ROUND_TRIP);
                Ok(())
            }
        }
    }

    fn reset(&mut self, code: Code) {
        match &mut self.0 {
            Kind::Simulated(stream, _) => stream.reset(code),
            Kind::Nowhere { acknowledged, .. } => *acknowledged = Some(now()),
        }
    }

    fn set_priority(&mut self, priority: i32) {
        match &mut self.0 {
            Kind::Simulated(stream, _) => stream.set_priority(priority),
            Kind::Nowhere { tally, .. } => one_more(&tally.ranked),
        }
    }

    async fn stopped(&mut self) -> Result<Option<Code>, ConnectionError> {
        match &mut self.0 {
            Kind::Simulated(stream, _) => stream.stopped().await,
            Kind::Nowhere { tally, acknowledged } => {
                one_more(&tally.watched);
                match acknowledged {
                    Some(at) => tokio::time::sleep_until(*at).await,
                    None => std::future::pending::<()>().await,
                }
                Ok(None)
            }
        }
    }

    fn is_over(&mut self) -> bool {
        match &mut self.0 {
            Kind::Simulated(stream, _) => stream.is_over(),
            Kind::Nowhere { acknowledged, .. } => acknowledged.is_some_and(|at| now() >= at),
        }
    }
}

impl Connection for Sink {
    type SendStream = SinkStream;
    type RecvStream = SimRecvStream;

    async fn open_bi(&self) -> Result<(SinkStream, SimRecvStream), ConnectionError> {
        let (send, recv) = self.inner.open_bi().await?;
        Ok((SinkStream(Kind::Simulated(send, Arc::clone(&self.tally))), recv))
    }

    async fn open_uni(&self) -> Result<SinkStream, ConnectionError> {
        one_more(&self.tally.opened);
        Ok(SinkStream(Kind::Nowhere { tally: Arc::clone(&self.tally), acknowledged: None }))
    }

    async fn accept_bi(&self) -> Result<(SinkStream, SimRecvStream), ConnectionError> {
        let (send, recv) = self.inner.accept_bi().await?;
        Ok((SinkStream(Kind::Simulated(send, Arc::clone(&self.tally))), recv))
    }

    async fn accept_uni(&self) -> Result<SimRecvStream, ConnectionError> {
        self.inner.accept_uni().await
    }

    fn close(&self, code: Code, reason: &str) {
        self.inner.close(code, reason);
    }

    async fn closed(&self) -> ConnectionError {
        self.inner.closed().await
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn carrier(&self) -> Carrier {
        self.inner.carrier()
    }

    fn remote_address(&self) -> Option<SocketAddr> {
        self.inner.remote_address()
    }
}
