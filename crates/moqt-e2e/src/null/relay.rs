//! The relay's side.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};
use moqt::TransportOptions;
use quinn::{Connection, RecvStream, SendStream};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{ANSWER, Congestion, PUBLISHER, server};

/// Pieces that may wait for a subscriber. One that is further behind is sent away.
const BEHIND: usize = 1 << 14;

/// Chunks taken from a stream at a time.
const CHUNKS: usize = 32;

/// Bytes of a publisher's stream, on their way to its subscribers.
#[derive(Clone, Debug)]
enum Piece {
    Bytes { stream: u64, chunks: Arc<[Bytes]> },
    Finish { stream: u64 },
    Reset { stream: u64 },
}

#[derive(Debug, Default)]
struct State {
    /// Numbers the publishers' streams.
    streams: u64,
    subscribers: BTreeMap<u32, Vec<mpsc::Sender<Piece>>>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, track: u32, piece: &Piece) {
        if let Some(subscribers) = self.lock().subscribers.get_mut(&track) {
            // Dropped, a subscriber's channel ends its connection.
            subscribers.retain(|subscriber| subscriber.try_send(piece.clone()).is_ok());
        }
    }
}

/// A relay that listens.
#[derive(Debug)]
pub struct Relay {
    endpoint: quinn::Endpoint,
}

impl Relay {
    /// Listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub fn bind(address: SocketAddr, congestion: Congestion, options: &TransportOptions) -> Result<Self> {
        Ok(Self { endpoint: server(address, congestion, options)? })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.endpoint.local_addr()?)
    }

    /// Passes bytes on until it is dropped.
    pub async fn run(self) {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        while let Some(incoming) = self.endpoint.accept().await {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                let Ok(connection) = incoming.await else { return };
                let data = connection.handshake_data();
                let data = data.and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
                let publishes = data.and_then(|data| data.protocol).is_some_and(|alpn| alpn == PUBLISHER);
                // Ends with the connection, for whatever reason.
                let _ = if publishes {
                    publisher(connection, shared).await
                } else {
                    subscriber(connection, shared).await
                };
            });
            while tasks.try_join_next().is_some() {}
        }
    }
}

async fn publisher(connection: Connection, shared: Arc<Shared>) -> Result<()> {
    let mut streams = JoinSet::new();
    loop {
        let stream = connection.accept_uni().await?;
        streams.spawn(pass_on(stream, Arc::clone(&shared)));
        while streams.try_join_next().is_some() {}
    }
}

async fn pass_on(mut stream: RecvStream, shared: Arc<Shared>) -> Result<()> {
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    let mut first = BytesMut::new();
    let id = {
        let mut state = shared.lock();
        state.streams += 1;
        state.streams
    };
    let track = loop {
        match stream.read_chunk(1 << 16, true).await? {
            Some(chunk) => first.extend_from_slice(&chunk.bytes),
            None => bail!("a stream without a track"),
        }
        if let Some(track) = first.first_chunk() {
            break u32::from_le_bytes(*track);
        }
    };
    let first: Arc<[Bytes]> = Arc::new([first.freeze()]);
    shared.send(track, &Piece::Bytes { stream: id, chunks: first });
    loop {
        match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                let chunks = chunks.iter_mut().take(count).map(std::mem::take).collect();
                shared.send(track, &Piece::Bytes { stream: id, chunks });
            }
            Ok(None) => {
                shared.send(track, &Piece::Finish { stream: id });
                return Ok(());
            }
            Err(error) => {
                shared.send(track, &Piece::Reset { stream: id });
                return Err(error.into());
            }
        }
    }
}

async fn subscriber(connection: Connection, shared: Arc<Shared>) -> Result<()> {
    let (mut answer, mut wish) = connection.accept_bi().await?;
    let wish = timeout(ANSWER, wish.read_to_end(4 << 10)).await??;
    let (sender, mut pieces) = mpsc::channel(BEHIND);
    {
        let mut state = shared.lock();
        for track in wish.as_chunks::<4>().0 {
            state.subscribers.entry(u32::from_le_bytes(*track)).or_default().push(sender.clone());
        }
    }
    drop(sender);
    answer.write_all(&[1]).await?;
    answer.finish()?;
    let mut streams: BTreeMap<u64, SendStream> = BTreeMap::new();
    let mut scratch: Vec<Bytes> = Vec::new();
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Bytes { stream, chunks } => {
                let sender = match streams.entry(stream) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        let sender = connection.open_uni().await?;
                        entry.insert(sender)
                    }
                };
                scratch.clear();
                scratch.extend(chunks.iter().cloned());
                sender.write_all_chunks(&mut scratch).await?;
            }
            Piece::Finish { stream } => {
                if let Some(mut sender) = streams.remove(&stream) {
                    sender.finish()?;
                }
            }
            Piece::Reset { stream } => {
                if let Some(mut sender) = streams.remove(&stream) {
                    sender.reset(quinn::VarInt::from_u32(1))?;
                }
            }
        }
    }
    Ok(())
}
