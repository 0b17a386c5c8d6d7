//! The one track that a publishing command serves, and who wants it.

use std::{sync::Arc, time::Duration};

use moqt::{
    AnnounceConsumer, AnnounceProducer, FullTrackName, InfoRequest, Interest, Origin, Reason, Retention,
    Session, TrackInfo, TrackProducer, TrackRequest,
};
use tokio::sync::watch;

/// How long a peer may take to read what its QUIC stack has acknowledged.
///
/// No message of Transfork says that groups were read, and closing a connection discards what was not. Receivers
/// wait as long for groups after the end of a subscription.
const READ_LAG: Duration = Duration::from_millis(500);

/// A track that is announced and served to everybody who asks.
///
/// Unlike [`moqt::Tracks`] it counts subscriptions and holds no reader of its own, so that
/// [`TrackProducer::unused`] means that the last subscriber is through.
#[derive(Debug)]
pub(crate) struct Served {
    track: TrackProducer,
    names: AnnounceProducer,
    subscriptions: watch::Sender<u64>,
}

impl Served {
    /// A new track.
    pub(crate) fn new(name: FullTrackName) -> Arc<Self> {
        let names = AnnounceProducer::new();
        names.insert(name.to_namespace());
        let track = TrackProducer::new(name, TrackInfo::default(), Retention::default());
        Arc::new(Self { track, names, subscriptions: watch::Sender::new(0) })
    }

    /// The track, to be written.
    pub(crate) fn track(&self) -> &TrackProducer {
        &self.track
    }

    /// Waits for the first subscription. Cancel safe.
    pub(crate) async fn wanted(&self) {
        // The sender lives here, so this cannot fail.
        let _ = self.subscriptions.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Waits until all subscribers have read the track to its end, and the peer has all that was sent.
    pub(crate) async fn delivered(&self, session: &Session) {
        self.track.unused().await;
        settled(session).await;
        if *self.subscriptions.borrow() > 0 {
            tokio::time::sleep(READ_LAG).await;
        }
        self.names.remove(&self.track.name().to_namespace());
    }
}

/// Waits until the peer has all that was written before.
///
/// [`moqt::Publisher::flushed`] knows the groups whose sending has begun. A question to the peer comes back after
/// the session has begun with whatever was written before it, and after the peer has the ends of requests.
pub(crate) async fn settled(session: &Session) {
    round_trip(session).await;
    session.publisher().flushed().await;
    round_trip(session).await;
}

async fn round_trip(session: &Session) {
    // A namespace that nobody uses: the answer is empty.
    let nobody = moqt::Namespace::from_parts([".moqt-cli"]);
    if let Ok(mut names) = session.subscriber().announced(nobody).await {
        names.next().await;
    }
}

impl Origin for Served {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.names.watch(interest)
    }

    fn track(&self, request: TrackRequest) {
        if request.name == *self.track.name() {
            request.accept(self.track.consume());
            self.subscriptions.send_modify(|count| *count += 1);
        } else {
            request.refuse(Reason::NotFound);
        }
    }

    fn info(&self, request: InfoRequest) {
        if request.name == *self.track.name() {
            request.answer_from(&self.track.consume());
        } else {
            request.refuse(Reason::NotFound);
        }
    }
}
