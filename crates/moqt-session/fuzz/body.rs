//! A whole session whose peer is made of arbitrary bytes. Shared by the libFuzzer target and by a test that replays
//! the corpus.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use moqt_session::{
    Config, Handshake, Limits, Retention, SubscribeOptions, TrackInfo, TrackProducer, Tracks,
};
use moqt_sim::{Link, SimConnection, SimRecvStream, SimSendStream, script::Peer};
use moqt_transport::{Code, Connection, RecvStream, SendStream};
use moqt_wire::{FullTrackName, Namespace, Version};

/// Most operations taken from one input.
const OPERATIONS: usize = 200;

/// Runs a session against what `data` says: a version, a side, then operations on streams. Whatever it says, the
/// session may end, but it must end by itself when the connection does, and must not panic.
pub fn session(data: &[u8]) {
    let mut input = Input(data);
    let version = Version::ALL[usize::from(input.byte()) % Version::ALL.len()];
    let server = input.byte() % 2 == 0;
    moqt_sim::run(0, move |sim| async move {
        let (near, far) = sim.connect(Link::delay(Duration::from_millis(5)));
        let ours = if server { far.clone() } else { near.clone() };
        let theirs = if server { Peer::client(near) } else { Peer::server(far) };
        let mut config = Config::default();
        config.versions = vec![version];
        config.unmarked_04 = version;
        config.limits = Limits::default();
        let handshake = async {
            if server {
                Handshake::accept(ours, config).await
            } else {
                Handshake::connect(ours, config).await
            }
        };
        let (handshake, peer) = tokio::join!(handshake, theirs.handshake(version));
        let Ok(handshake) = handshake else { return };

        let tracks = Tracks::new();
        let track = TrackProducer::new(name("a"), TrackInfo::default(), Retention::default());
        let _published = tracks.publish(track.consume());
        let mut live = track.append_group();
        let session = handshake.start(Arc::new(tracks));
        let subscriber = session.subscriber();
        let reading = sim.spawn(async move {
            let Ok(subscription) = subscriber.subscribe(name("b"), SubscribeOptions::default()).await else {
                return;
            };
            let mut track = subscription.into_track();
            while let Ok(Some(mut group)) = track.next_group().await {
                while let Ok(Some(_)) = group.read_frame().await {}
            }
        });
        let subscriber = session.subscriber();
        let watching = sim.spawn(async move {
            let Ok(mut names) = subscriber.announced(Namespace::EMPTY).await else { return };
            while names.next().await.is_some() {}
        });

        let mut streams = Streams::default();
        for _ in 0..OPERATIONS {
            if input.0.is_empty() {
                break;
            }
            streams.accept(peer.connection()).await;
            let operation = input.byte();
            match operation % 8 {
                0 => streams.open(peer.connection(), true).await,
                1 => streams.open(peer.connection(), false).await,
                2..=4 => {
                    let (which, len) = (input.byte(), usize::from(input.byte()));
                    streams.write(which, input.take(len)).await;
                }
                5 => streams.end(input.byte(), None),
                6 => {
                    let (which, code) = (input.byte(), input.byte());
                    streams.end(which, Some(Code(u64::from(code))));
                }
                _ => {
                    let _ = live.write_frame(vec![operation; 100]);
                    sim.sleep(Duration::from_millis(u64::from(operation))).await;
                }
            }
        }
        sim.sleep(Duration::from_millis(50)).await;
        peer.connection().close(Code::NONE, "");
        session.closed().await;
        let _ = reading.await;
        let _ = watching.await;
    });
}

fn name(text: &str) -> FullTrackName {
    FullTrackName::new(Namespace::EMPTY, text)
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn take(&mut self, len: usize) -> Bytes {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        Bytes::copy_from_slice(taken)
    }
}

#[derive(Default)]
struct Streams {
    sending: Vec<SimSendStream>,
    receiving: Vec<SimRecvStream>,
}

impl Streams {
    /// Streams that the session opened can be answered too.
    async fn accept(&mut self, connection: &SimConnection) {
        while let Some(Ok((send, recv))) = soon(connection.accept_bi()).await {
            self.sending.push(send);
            self.receiving.push(recv);
        }
    }

    async fn open(&mut self, connection: &SimConnection, both: bool) {
        if both {
            if let Some(Ok((send, recv))) = soon(connection.open_bi()).await {
                self.sending.push(send);
                self.receiving.push(recv);
            }
        } else if let Some(Ok(send)) = soon(connection.open_uni()).await {
            self.sending.push(send);
        }
    }

    async fn write(&mut self, which: u8, bytes: Bytes) {
        if let Some(stream) = pick(&mut self.sending, which) {
            let _ = soon(stream.write_all(bytes)).await;
        }
    }

    fn end(&mut self, which: u8, code: Option<Code>) {
        match code {
            None => {
                if let Some(stream) = pick(&mut self.sending, which) {
                    let _ = stream.finish();
                }
            }
            Some(code) if code.0 % 2 == 0 => {
                if let Some(stream) = pick(&mut self.sending, which) {
                    stream.reset(code);
                }
            }
            Some(code) => {
                if let Some(stream) = pick(&mut self.receiving, which) {
                    stream.stop(code);
                }
            }
        }
    }
}

fn pick<T>(streams: &mut [T], which: u8) -> Option<&mut T> {
    let len = streams.len();
    streams.get_mut(usize::from(which).checked_rem(len)?)
}

/// What a future comes to within a moment of virtual time.
async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(1), future).await.ok()
}
