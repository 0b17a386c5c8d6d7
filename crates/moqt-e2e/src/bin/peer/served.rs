//! The tracks that the peer publishes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use moqt::{
    AnnounceConsumer, AnnounceProducer, FetchRequest, FullTrackName, InfoRequest, Interest, Origin, Reason,
    Retention, TrackInfo, TrackProducer, TrackRequest,
};

use crate::say;

/// Unlike [`moqt::Tracks`] it holds no reader of its own, so that it shows when the last subscriber is gone.
#[derive(Debug, Default)]
pub(crate) struct Served {
    tracks: Mutex<BTreeMap<FullTrackName, TrackProducer>>,
    names: AnnounceProducer,
}

impl Served {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<FullTrackName, TrackProducer>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, name: FullTrackName, info: TrackInfo) -> TrackProducer {
        let track = TrackProducer::new(name.clone(), info, Retention::default());
        self.lock().insert(name.clone(), track.clone());
        self.names.insert(name.to_namespace());
        track
    }

    pub(crate) fn withdraw(&self, name: &FullTrackName) {
        self.names.remove(&name.to_namespace());
        self.lock().remove(name);
    }
}

impl Origin for Served {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.names.watch(interest)
    }

    fn track(&self, request: TrackRequest) {
        match self.lock().get(&request.name) {
            Some(track) => {
                say(&format!("asked {} {} {}", request.name, request.priority.0, request.order));
                request.accept(track.consume());
            }
            None => request.refuse(Reason::NotFound),
        }
    }

    fn info(&self, request: InfoRequest) {
        match self.lock().get(&request.name) {
            Some(track) => request.answer_from(&track.consume()),
            None => request.refuse(Reason::NotFound),
        }
    }

    fn fetch(&self, request: FetchRequest) {
        match self.lock().get(&request.name) {
            Some(track) => request.accept_from(&track.consume()),
            None => request.refuse(Reason::NotFound),
        }
    }
}
