//! A connection whose outgoing group streams lead nowhere and take everything at once. All else of it is simulated.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use moqt::{
    Carrier, Code, Stats,
    transport::{Connection, ConnectionError, SendStream, WriteError},
};
use moqt_sim::{SimConnection, SimRecvStream, SimSendStream};

/// What was done with the group streams of one connection.
#[derive(Debug, Default)]
pub struct Tally {
    pub opened: AtomicU64,
    pub finished: AtomicU64,
    pub writes: AtomicU64,
    pub bytes: AtomicU64,
    /// How often somebody began to wait for the peer to stop a stream.
    pub watched: AtomicU64,
    /// How often a priority was set.
    pub ranked: AtomicU64,
    /// Where each piece of payload lay, in the order of the writes.
    pub places: Mutex<Vec<usize>>,
}

impl Tally {
    /// Has room to note so many places without an allocation.
    pub fn with_room(places: usize) -> Arc<Self> {
        Arc::new(Self { places: Mutex::new(Vec::with_capacity(places)), ..Self::default() })
    }
}

fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Pieces of at least this length are payload, shorter ones headers.
const PAYLOAD: usize = 100;

#[derive(Clone, Debug)]
pub struct Sink {
    pub inner: SimConnection,
    pub tally: Arc<Tally>,
}

#[derive(Debug)]
pub enum SinkStream {
    Simulated(SimSendStream),
    Nowhere { tally: Arc<Tally>, over: bool },
}

impl SendStream for SinkStream {
    async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        match self {
            Self::Simulated(stream) => stream.write_chunks(chunks).await,
            Self::Nowhere { tally, .. } => {
                one_more(&tally.writes);
                let mut places = tally.places.lock().unwrap();
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
        match self {
            Self::Simulated(stream) => stream.finish(),
            Self::Nowhere { tally, over } => {
                one_more(&tally.finished);
                *over = true;
                Ok(())
            }
        }
    }

    fn reset(&mut self, code: Code) {
        match self {
            Self::Simulated(stream) => stream.reset(code),
            Self::Nowhere { over, .. } => *over = true,
        }
    }

    fn set_priority(&mut self, priority: i32) {
        match self {
            Self::Simulated(stream) => stream.set_priority(priority),
            Self::Nowhere { tally, .. } => one_more(&tally.ranked),
        }
    }

    async fn stopped(&mut self) -> Result<Option<Code>, ConnectionError> {
        match self {
            Self::Simulated(stream) => stream.stopped().await,
            Self::Nowhere { tally, over } => {
                one_more(&tally.watched);
                if !*over {
                    std::future::pending::<()>().await;
                }
                Ok(None)
            }
        }
    }

    fn is_over(&mut self) -> bool {
        match self {
            Self::Simulated(stream) => stream.is_over(),
            Self::Nowhere { over, .. } => *over,
        }
    }
}

impl Connection for Sink {
    type SendStream = SinkStream;
    type RecvStream = SimRecvStream;

    async fn open_bi(&self) -> Result<(SinkStream, SimRecvStream), ConnectionError> {
        let (send, recv) = self.inner.open_bi().await?;
        Ok((SinkStream::Simulated(send), recv))
    }

    async fn open_uni(&self) -> Result<SinkStream, ConnectionError> {
        one_more(&self.tally.opened);
        Ok(SinkStream::Nowhere { tally: Arc::clone(&self.tally), over: false })
    }

    async fn accept_bi(&self) -> Result<(SinkStream, SimRecvStream), ConnectionError> {
        let (send, recv) = self.inner.accept_bi().await?;
        Ok((SinkStream::Simulated(send), recv))
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
