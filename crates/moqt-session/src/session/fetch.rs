//! One past group of a track.

use moqt_wire::{FullTrackName, Priority};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Command, Reply, State, Subscriber};
use crate::{
    error::RequestError,
    model::{GroupConsumer, Retention},
    proto::{Fetch, RequestId},
};

/// How a group is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchOptions {
    /// Higher is sent first, among all subscriptions and fetches of the session.
    pub priority: Priority,
    /// The number of the first frame wanted; 0 for the whole group.
    pub first_frame: u64,
    /// Of this, the limits on one group hold: it is kept here until its last reader is dropped.
    pub retention: Retention,
}

/// A fetch that was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: RequestId,
    pub(crate) group: GroupConsumer,
}

/// What the session's task is asked to do about fetches.
#[derive(Debug)]
pub(crate) enum FetchCommand {
    Ask { wish: Fetch, retention: Retention, reply: Reply<Asked> },
    Update { request: RequestId, priority: Priority, reply: Reply<()> },
}

impl Subscriber {
    /// Asks for one group that the peer holds, or that still runs there.
    ///
    /// Returns as soon as the request is on its way: the wire has no answer before the first frame, and a group
    /// may have none. A refusal is the end of the group:
    ///
    /// - [`GroupError::Reset`](crate::GroupError::Reset) with [`Reason::NotFound`](crate::Reason::NotFound): the peer
    ///   has no such track, or does not hold the group (any more), or is a relay whose upstream cannot be asked.
    /// - with [`Reason::OutOfRange`](crate::Reason::OutOfRange): the group is complete with fewer frames than
    ///   [`FetchOptions::first_frame`]. With exactly as many, the fetch is complete and empty.
    /// - with [`Reason::TooMany`](crate::Reason::TooMany): the peer answers no more fetches at a time.
    /// - with [`Reason::Transport`](crate::Reason::Transport): the session ended underneath.
    ///
    /// The fetch lasts as long as a [`GroupConsumer`] of it is held; the last one dropped, the peer is told to stop.
    /// It has no time limit of its own.
    ///
    /// # Errors
    ///
    /// - [`RequestError::Unsupported`]: the session's version has no fetch; nothing was sent.
    /// - [`RequestError::Encode`]: the name cannot be said in the session's version; nothing was sent.
    /// - [`RequestError::Session`]: the session ended.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it gives the fetch up.
    ///
    /// Spec: transfork-03 "FETCH".
    pub async fn fetch(
        &self,
        name: FullTrackName,
        group: u64,
        options: FetchOptions,
    ) -> Result<Fetched, RequestError> {
        let FetchOptions { priority, first_frame, retention } = options;
        let wish = Fetch { name, priority, group, frame: first_frame };
        let inner = &self.session.inner;
        let ask = |reply, _| Command::Fetch(FetchCommand::Ask { wish, retention, reply });
        let Asked { request, group } = inner.ask(ask).await?;
        let (commands, state) = (inner.commands.downgrade(), inner.state.clone());
        Ok(Fetched { group, first_frame, request, commands, state })
    }
}

/// A group that the peer sends us for the asking.
#[derive(Debug)]
pub struct Fetched {
    group: GroupConsumer,
    first_frame: u64,
    request: RequestId,
    /// Weak: a fetch alone does not keep its session open.
    commands: mpsc::WeakSender<Box<Command>>,
    state: watch::Receiver<State>,
}

impl Fetched {
    /// The group, whose first frame is the one that was asked for.
    pub fn group(&mut self) -> &mut GroupConsumer {
        &mut self.group
    }

    /// The group alone; the fetch goes on as long as it, or a clone of it, is held.
    #[must_use]
    pub fn into_group(self) -> GroupConsumer {
        self.group
    }

    /// The number that the first frame has in the whole group.
    #[must_use]
    pub fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// Ranks anew what the peer has not sent yet. Does nothing when everything is there.
    ///
    /// # Errors
    ///
    /// [`RequestError::Session`]: the session ended.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it may or may not have been sent.
    ///
    /// Spec: transfork-03 "FETCH_UPDATE".
    pub async fn update_priority(&self, priority: Priority) -> Result<(), RequestError> {
        let (reply, answer) = oneshot::channel();
        let request = self.request;
        if let Some(commands) = self.commands.upgrade() {
            let command = Command::Fetch(FetchCommand::Update { request, priority, reply });
            // Where this fails, so does the waiting below.
            let _ = commands.send(Box::new(command)).await;
        } else {
            drop(reply);
        }
        answer.await.unwrap_or_else(|_| Err(State::end(&self.state).into()))
    }
}
