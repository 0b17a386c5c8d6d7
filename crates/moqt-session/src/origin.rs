//! Where a session's publisher half takes tracks from.

mod fetch;

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moqt_wire::{FullTrackName, GroupOrder, Priority};
use tokio::sync::oneshot;

pub(crate) use fetch::FetchAnswer;
pub use fetch::FetchRequest;

use crate::{
    error::Reason,
    model::{AnnounceConsumer, AnnounceProducer, Interest, Start, TrackConsumer},
    proto::Info,
};

/// What a session's publisher half serves from: which names there are, and the tracks behind them.
///
/// [`Tracks`] is the ready-made one. A relay brings its own, which finds tracks elsewhere. Calls come from the
/// session's task and must not block; answers may come later.
pub trait Origin: Send + Sync + 'static {
    /// The peer watches names.
    fn watch(&self, interest: Interest) -> AnnounceConsumer;

    /// The peer wants a track.
    fn track(&self, request: TrackRequest);

    /// The peer asks about a track without wanting it.
    fn info(&self, request: InfoRequest);

    /// The peer wants one group, past or running. By default it is refused as [`Reason::NotFound`].
    fn fetch(&self, request: FetchRequest) {
        request.refuse(Reason::NotFound);
    }
}

/// A peer's wish for a track. Dropped without an answer, it is refused as [`Reason::Internal`].
#[derive(Debug)]
pub struct TrackRequest {
    /// The track.
    pub name: FullTrackName,
    /// How the subscriber ranks it among its own; higher is sent first.
    pub priority: Priority,
    /// The order of groups that the subscriber wants.
    pub order: GroupOrder,
    /// First group wanted; `None` from the latest on.
    pub first: Option<u64>,
    /// Last group wanted.
    pub last: Option<u64>,
    reply: oneshot::Sender<Result<TrackConsumer, Reason>>,
}

impl TrackRequest {
    pub(crate) fn new(
        wish: &crate::proto::Subscribe,
    ) -> (Self, oneshot::Receiver<Result<TrackConsumer, Reason>>) {
        let (reply, answer) = oneshot::channel();
        let request = Self {
            name: wish.name.clone(),
            priority: wish.priority,
            order: wish.order,
            first: wish.first,
            last: wish.last,
            reply,
        };
        (request, answer)
    }

    /// Serves the subscription from `track`, from the group on that the peer wants; the latest is the latest now.
    ///
    /// Where the track is given by reference, its producer sees one reader more exactly when that reader's place
    /// is fixed: what is written after that reaches the peer.
    pub fn accept(self, track: impl Borrow<TrackConsumer>) {
        let start = self.first.map_or(Start::Latest, Start::At);
        let _ = self.reply.send(Ok(track.borrow().reader(start)));
    }

    /// Serves the subscription with what this very reader has before it. For those who fixed its place before, when the
    /// track may have gone on meanwhile.
    pub fn accept_as(self, reader: TrackConsumer) {
        let _ = self.reply.send(Ok(reader));
    }

    /// Turns the subscription down.
    pub fn refuse(self, reason: Reason) {
        let _ = self.reply.send(Err(reason));
    }

    /// Waits until the peer has lost interest. Cancel safe.
    pub async fn cancelled(&mut self) {
        self.reply.closed().await;
    }
}

/// A peer's question about a track. Dropped without an answer, it is refused as [`Reason::Internal`].
#[derive(Debug)]
pub struct InfoRequest {
    /// The track.
    pub name: FullTrackName,
    reply: oneshot::Sender<Result<Info, Reason>>,
}

impl InfoRequest {
    pub(crate) fn new(name: FullTrackName) -> (Self, oneshot::Receiver<Result<Info, Reason>>) {
        let (reply, answer) = oneshot::channel();
        (Self { name, reply }, answer)
    }

    /// Answers.
    pub fn answer(self, info: Info) {
        let _ = self.reply.send(Ok(info));
    }

    /// Answers from what a track says of itself.
    pub fn answer_from(self, track: &TrackConsumer) {
        self.answer(Info { track: track.info(), latest: track.latest() });
    }

    /// Does not answer.
    pub fn refuse(self, reason: Reason) {
        let _ = self.reply.send(Err(reason));
    }

    /// Waits until the peer no longer asks. Cancel safe.
    pub async fn cancelled(&mut self) {
        self.reply.closed().await;
    }
}

/// Tracks that live in this process, announced for as long as they are published.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    tracks: Arc<Mutex<BTreeMap<FullTrackName, TrackConsumer>>>,
    names: AnnounceProducer,
}

/// The name is published already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is published already")]
pub struct AlreadyPublished(pub FullTrackName);

impl Tracks {
    /// No tracks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FullTrackName, TrackConsumer>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces a track and serves it until the returned guard is dropped.
    ///
    /// # Errors
    ///
    /// When a track of that name is published already.
    pub fn publish(&self, track: TrackConsumer) -> Result<Published, AlreadyPublished> {
        let name = track.name().clone();
        {
            let mut tracks = self.lock();
            if tracks.contains_key(&name) {
                return Err(AlreadyPublished(name));
            }
            tracks.insert(name.clone(), track);
        }
        self.names.insert(name.to_namespace());
        Ok(Published { name, tracks: self.clone() })
    }
}

/// Keeps a track published; dropped, it withdraws the announcement. Subscriptions that run go on.
#[derive(Debug)]
pub struct Published {
    name: FullTrackName,
    tracks: Tracks,
}

impl Drop for Published {
    fn drop(&mut self) {
        self.tracks.names.remove(&self.name.to_namespace());
        self.tracks.lock().remove(&self.name);
    }
}

impl Origin for Tracks {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.names.watch(interest)
    }

    fn track(&self, request: TrackRequest) {
        match self.lock().get(&request.name) {
            Some(track) => request.accept(track),
            None => request.refuse(Reason::NotFound),
        }
    }

    fn info(&self, request: InfoRequest) {
        let track = self.lock().get(&request.name).cloned();
        match track {
            Some(track) => request.answer_from(&track),
            None => request.refuse(Reason::NotFound),
        }
    }

    fn fetch(&self, request: FetchRequest) {
        match self.lock().get(&request.name) {
            Some(track) => request.accept_from(track),
            None => request.refuse(Reason::NotFound),
        }
    }
}
