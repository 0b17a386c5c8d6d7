//! Tracks that belong together.

use moqt_session::{AlreadyPublished, Published, Retention, TrackInfo, TrackProducer, Tracks};
use moqt_wire::{FullTrackName, Namespace, TrackName};

/// A namespace with tracks in it, published and withdrawn as one.
///
/// On wires that announce single tracks, each is announced when it is created.
#[derive(Debug)]
pub struct Broadcast {
    namespace: Namespace,
    tracks: Tracks,
    published: Vec<Published>,
}

impl Broadcast {
    /// A broadcast without tracks, that publishes into `tracks`.
    #[must_use]
    pub fn new(namespace: Namespace, tracks: &Tracks) -> Self {
        Self { namespace, tracks: tracks.clone(), published: Vec::new() }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Adds a track and publishes it, until the broadcast is dropped.
    ///
    /// # Errors
    ///
    /// When there is a track of that name.
    pub fn create_track(
        &mut self,
        name: impl Into<TrackName>,
        info: TrackInfo,
        retention: Retention,
    ) -> Result<TrackProducer, AlreadyPublished> {
        let name = FullTrackName::new(self.namespace.clone(), name.into());
        let track = TrackProducer::new(name, info, retention);
        self.published.push(self.tracks.publish(track.consume())?);
        Ok(track)
    }
}
