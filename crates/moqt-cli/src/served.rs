//! The one track that a publishing command serves, and who wants it.

use std::sync::Arc;

use moqt::{
    AnnounceConsumer, AnnounceProducer, FetchRequest, FullTrackName, InfoRequest, Interest, Link, Origin,
    Reason, Retention, TrackInfo, TrackProducer, TrackRequest,
};
use tokio::sync::watch;

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

    /// Waits until the server has read the finished track to its end, and takes its name back. What was on its way
    /// when a session was lost has to be asked for again.
    pub(crate) async fn delivered(&self, link: &Link) {
        let mut lost = link.current().is_none();
        let mut asked = self.subscriptions.subscribe();
        while let Ok(session) = link.session().await {
            if std::mem::take(&mut lost) {
                asked.mark_unchanged();
                let known = *asked.borrow();
                tokio::select! {
                    biased;
                    _ = asked.wait_for(|count| *count > known) => {}
                    _ = session.closed() => {}
                }
            }
            session.publisher().flushed().await;
            if link.current().is_some_and(|current| current.id() == session.id()) {
                break;
            }
            lost = true;
        }
        self.names.remove(&self.track.name().to_namespace());
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

    fn fetch(&self, request: FetchRequest) {
        if request.name == *self.track.name() {
            request.accept_from(&self.track.consume());
        } else {
            request.refuse(Reason::NotFound);
        }
    }
}
