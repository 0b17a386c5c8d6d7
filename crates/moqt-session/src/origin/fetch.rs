//! The peer's wish for one group.

use moqt_wire::{FullTrackName, Priority};
use tokio::sync::oneshot;

use crate::{
    error::Reason,
    model::{GroupConsumer, TrackConsumer},
    proto::Fetch,
};

/// What a fetch is served from.
#[derive(Debug)]
pub(crate) struct FetchAnswer {
    pub(crate) group: GroupConsumer,
    /// The publisher's rank of the track.
    pub(crate) publisher: Priority,
    /// Keeps the track in use while its group still runs.
    pub(crate) reading: Option<TrackConsumer>,
}

/// A peer's wish for one group. Dropped without an answer, it is refused as [`Reason::Internal`].
#[derive(Debug)]
pub struct FetchRequest {
    /// The track.
    pub name: FullTrackName,
    /// The group's number.
    pub group: u64,
    /// The number of the first frame wanted; 0 for the whole group.
    pub first_frame: u64,
    /// How the peer ranks it among its subscriptions and fetches; higher is sent first.
    pub priority: Priority,
    reply: oneshot::Sender<Result<FetchAnswer, Reason>>,
}

impl FetchRequest {
    pub(crate) fn new(wish: Fetch) -> (Self, oneshot::Receiver<Result<FetchAnswer, Reason>>) {
        let (reply, answer) = oneshot::channel();
        let Fetch { name, priority, group, frame } = wish;
        (Self { name, group, first_frame: frame, priority, reply }, answer)
    }

    /// Serves the fetch from `group`, to the group's end where it still runs. A group that was itself fetched must
    /// begin at [`first_frame`](Self::first_frame) or before.
    ///
    /// Where the group turns out to have fewer frames than are skipped, the peer is told [`Reason::OutOfRange`].
    pub fn accept(self, group: GroupConsumer) {
        self.serve(group, Priority::default(), None);
    }

    /// Serves the fetch from what `track` holds, or refuses it as [`Reason::NotFound`].
    ///
    /// While the group still runs, this counts as a reader of the track.
    pub fn accept_from(self, track: &TrackConsumer) {
        let Some(group) = track.group(self.group) else { return self.refuse(Reason::NotFound) };
        let reading = group.end().is_none().then(|| track.clone());
        self.serve(group, track.info().priority, reading);
    }

    fn serve(self, mut group: GroupConsumer, publisher: Priority, reading: Option<TrackConsumer>) {
        let answer = if group.seek(self.first_frame) {
            Ok(FetchAnswer { group, publisher, reading })
        } else {
            Err(Reason::NotFound)
        };
        let _ = self.reply.send(answer);
    }

    /// Turns the fetch down.
    pub fn refuse(self, reason: Reason) {
        let _ = self.reply.send(Err(reason));
    }

    /// Waits until the peer has lost interest. Cancel safe.
    pub async fn cancelled(&mut self) {
        self.reply.closed().await;
    }
}
