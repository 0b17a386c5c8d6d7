//! The tracks that a publishing command serves, and who wants them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moqt::{
    AnnounceConsumer, AnnounceProducer, FetchRequest, FullTrackName, InfoRequest, Interest, Link, Origin,
    Reason, Retention, TrackConsumer, TrackInfo, TrackProducer, TrackRequest,
};
use tokio::sync::watch;

/// Tracks that are announced and served to everybody who asks.
///
/// Unlike [`moqt::Tracks`] it counts subscriptions and holds no reader of its own, so that
/// [`TrackProducer::unused`] means that the last subscriber is through.
#[derive(Debug, Default)]
pub(crate) struct Served {
    tracks: Mutex<BTreeMap<FullTrackName, Serving>>,
    names: AnnounceProducer,
    subscriptions: watch::Sender<u64>,
}

#[derive(Debug)]
struct Serving {
    track: TrackProducer,
    /// Whether its subscriptions count as somebody who wants what is published.
    counts: bool,
}

impl Served {
    /// Nothing yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Announces a new track, to be written. One of this name that was there before is no longer served.
    pub(crate) fn add(&self, name: FullTrackName, info: TrackInfo) -> TrackProducer {
        self.insert(name, info, true)
    }

    /// The same, but nobody waits for its subscribers.
    pub(crate) fn add_beside(&self, name: FullTrackName, info: TrackInfo) -> TrackProducer {
        self.insert(name, info, false)
    }

    fn insert(&self, name: FullTrackName, info: TrackInfo, counts: bool) -> TrackProducer {
        let track = TrackProducer::new(name.clone(), info, Retention::default());
        self.lock().insert(name.clone(), Serving { track: track.clone(), counts });
        self.names.insert(name.to_namespace());
        track
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FullTrackName, Serving>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first subscription. Cancel safe.
    pub(crate) async fn wanted(&self) {
        // The sender lives here, so this cannot fail.
        let _ = self.subscriptions.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Completes all tracks.
    pub(crate) fn finish(&self) {
        self.lock().values().for_each(|serving| serving.track.finish());
    }

    /// Waits until the server has read the finished tracks to their ends, and takes their names back. What was on its
    /// way when a session was lost has to be asked for again.
    pub(crate) async fn delivered(&self, link: &Link) {
        let mut lost = link.current().is_none();
        let mut asked = self.subscriptions.subscribe();
        while let Ok(session) = link.session().await {
            if std::mem::take(&mut lost) {
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
        for name in self.lock().keys() {
            self.names.remove(&name.to_namespace());
        }
    }

    fn consumer(&self, name: &FullTrackName) -> Option<TrackConsumer> {
        Some(self.lock().get(name)?.track.consume())
    }
}

impl Origin for Served {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.names.watch(interest)
    }

    fn track(&self, request: TrackRequest) {
        let counts = self.lock().get(&request.name).is_some_and(|serving| serving.counts);
        match self.consumer(&request.name) {
            Some(track) => request.accept(track),
            None => return request.refuse(Reason::NotFound),
        }
        if counts {
            self.subscriptions.send_modify(|count| *count += 1);
        }
    }

    fn info(&self, request: InfoRequest) {
        match self.consumer(&request.name) {
            Some(track) => request.answer_from(&track),
            None => request.refuse(Reason::NotFound),
        }
    }

    fn fetch(&self, request: FetchRequest) {
        match self.consumer(&request.name) {
            Some(track) => request.accept_from(&track),
            None => request.refuse(Reason::NotFound),
        }
    }
}
