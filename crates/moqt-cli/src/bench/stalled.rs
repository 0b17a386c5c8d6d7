//! Subscribers that never read: their sessions are alive, and nothing that is sent on streams is taken.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::anyhow;
use moqt::{
    Carrier, Code, Session, Stats, Subscription, Tracks,
    session::Handshake,
    transport::{Connection, ConnectionError},
};
use tokio::time::timeout;

use super::{
    read::{Shared, subscribe},
    track_name,
};
use crate::common::{Connector, chain};

/// A connection that takes no unidirectional stream.
#[derive(Clone)]
struct Deaf<C>(C);

impl<C: Connection> Connection for Deaf<C> {
    type SendStream = C::SendStream;
    type RecvStream = C::RecvStream;

    async fn open_bi(&self) -> Result<(C::SendStream, C::RecvStream), ConnectionError> {
        self.0.open_bi().await
    }

    async fn open_uni(&self) -> Result<C::SendStream, ConnectionError> {
        self.0.open_uni().await
    }

    async fn accept_bi(&self) -> Result<(C::SendStream, C::RecvStream), ConnectionError> {
        self.0.accept_bi().await
    }

    async fn accept_uni(&self) -> Result<C::RecvStream, ConnectionError> {
        Err(self.0.closed().await)
    }

    fn close(&self, code: Code, reason: &str) {
        self.0.close(code, reason);
    }

    async fn closed(&self) -> ConnectionError {
        self.0.closed().await
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }

    fn carrier(&self) -> Carrier {
        self.0.carrier()
    }

    fn remote_address(&self) -> Option<SocketAddr> {
        self.0.remote_address()
    }
}

/// A subscriber that does not read, for as long as it is held.
#[derive(Debug)]
pub(super) struct Stalled {
    session: Session,
    _subscriptions: Vec<Subscription>,
}

impl Stalled {
    /// What such a subscriber lets into its own buffers; see [`moqt::TransportOptions::connection_window`].
    pub(super) const WINDOW: u32 = 256 << 10;

    /// Opens a session and subscribes to everything that the subscriber `index` is to read.
    pub(super) async fn subscribe(
        connector: &Connector,
        shared: &Shared,
        index: usize,
    ) -> anyhow::Result<Self> {
        let (connection, config) = connector.connection().await?;
        let handshake = Handshake::connect(Deaf(connection), config).await;
        let handshake = handshake.map_err(|error| anyhow!("{}: {}", connector.url(), chain(&error)))?;
        let session = handshake.start(Arc::new(Tracks::new()));
        let mut subscriptions = Vec::new();
        for publisher in shared.shape.publishers_of(index) {
            for track in &shared.shape.tracks {
                let name = track_name(&shared.prefix, publisher, &track.name)?;
                let subscription = timeout(shared.patience, subscribe(&session, &name, track)).await;
                let subscription = subscription
                    .map_err(|_| anyhow!("{name} is not there at {}; is it published?", connector.url()))?;
                subscriptions.push(
                    subscription
                        .map_err(|error| connector.request_failed("cannot subscribe", &name, &error))?,
                );
            }
        }
        Ok(Self { session, _subscriptions: subscriptions })
    }

    pub(super) async fn close(self) {
        let _ = timeout(Duration::from_secs(2), self.session.close()).await;
    }

    /// Whether the session still lives.
    pub(super) async fn lives(&self) -> bool {
        timeout(Duration::ZERO, self.session.closed()).await.is_err()
    }
}
