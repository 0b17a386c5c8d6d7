//! Staying with a track over the loss of subscriptions and sessions.

use std::sync::Arc;

use anyhow::anyhow;
use moqt::{
    FollowEnd, FollowError, FollowOptions, FollowState, Followed, FullTrackName, Link, LinkEvent, Reason,
    TrackError, Tracks,
};

use super::{
    Options,
    cursor::Cursor,
    gaps::Gaps,
    lost::Lost,
    read::{Ended, Reading},
    sink::Sink,
};
use crate::{
    common::{Connector, chain},
    ui,
    waiting::{Waiting, now},
};

/// Follows a track until it is finished or lost for good.
pub(super) struct Follower {
    options: Options,
    connector: Connector,
    sink: Sink,
    cursor: Cursor,
    waiting: Waiting,
    gaps: Gaps,
    link: Option<Link>,
}

impl Follower {
    pub(super) fn new(
        options: Options,
        connector: Connector,
        sink: Sink,
        cursor: Cursor,
        waiting: Waiting,
    ) -> Self {
        let gaps = Gaps::new(options.0.track.clone(), ui::notice);
        Self { options, connector, sink, cursor, waiting, gaps, link: None }
    }

    /// Groups that are missing in the output.
    pub(super) fn missing(&self) -> u64 {
        self.gaps.total()
    }

    /// Writes the track until it is finished. Cancelled, [`end`](Self::end) still ends it well.
    pub(super) async fn follow(&mut self) -> anyhow::Result<()> {
        let patience = self.options.0.reconnect;
        let link = self.connector.link(Arc::new(Tracks::new()), patience, &mut self.waiting).await?;
        self.link = Some(link.clone());
        let mut first = self.cursor.due();
        loop {
            let followed = self.ask(&link, first).await?;
            if self.read(followed).await? {
                return Ok(());
            }
            // Another publisher, or one that began anew: its numbers are not ours.
            first = None;
        }
    }

    /// Lets everything out and ends the link.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.gaps.tell(now());
        let flushed = self.sink.output.flush().await;
        if let Some(link) = &self.link {
            self.connector.close_link(link).await;
        }
        flushed
    }

    fn track(&self) -> &FullTrackName {
        &self.options.0.track
    }

    fn place(&self) -> String {
        format!("{} at {}", self.track(), self.connector.url())
    }

    /// Waits for the track.
    async fn ask(&mut self, link: &Link, first: Option<u64>) -> anyhow::Result<Followed> {
        let mut options = FollowOptions::from(self.options.subscribe(first));
        options.wait = !self.options.0.no_wait;
        let what = if options.wait {
            format!("for {} to be announced", self.place())
        } else {
            format!("for an answer to the subscription of {}", self.place())
        };
        let mut events = link.events();
        let told = Lost::new(self.place(), self.options.0.reconnect);
        let mut telling = std::pin::pin!(async {
            while let Some(event) = events.next().await {
                if let LinkEvent::Lost { error } = event {
                    told.tell(&error);
                }
            }
            std::future::pending::<()>().await;
        });
        let asking = async {
            tokio::select! {
                biased;
                () = &mut telling => unreachable!("it waits for ever"),
                followed = link.follow(self.options.0.track.clone(), options) => followed,
            }
        };
        match self.waiting.during(&what, asking).await {
            Ok(followed) => Ok(followed),
            Err(FollowError::Request(error)) => {
                Err(self.connector.request_failed("cannot subscribe", self.track(), &error))
            }
            Err(FollowError::Lost(error)) => Err(told.given_up(&chain(&*error), None)),
            Err(error) => Err(anyhow!("cannot subscribe: {}: {}", self.place(), chain(&error))),
        }
    }

    /// Writes the track. `false` where its publisher has begun anew.
    async fn read(&mut self, followed: Followed) -> anyhow::Result<bool> {
        let told = Lost::new(self.place(), self.options.0.reconnect);
        let state = followed.states().first().cloned();
        let mut telling = std::pin::pin!(told.watch(state.clone()));
        let mut reading = Reading {
            name: &self.options.0.track,
            sink: &mut self.sink,
            cursor: &mut self.cursor,
            waiting: &mut self.waiting,
            gaps: &mut self.gaps,
            patience: self.options.patience(),
            stage: "has begun",
        };
        let ended = tokio::select! {
            biased;
            () = &mut telling => return Ok(true),
            ended = reading.run(followed.into_track(), state.clone()) => ended?,
        };
        let error = match ended {
            Ended::Finished => return Ok(true),
            Ended::Lost(TrackError::Ended(Reason::OutOfRange)) => return Ok(false),
            Ended::Lost(error) => error,
        };
        self.give_up_part();
        let over = state.map(|state| state.borrow().clone());
        Err(match over {
            Some(FollowState::Over(FollowEnd::Lost { why, last })) => {
                told.given_up(&chain(&*why), last.map(|last| chain(&*last)))
            }
            Some(FollowState::Over(FollowEnd::Refused(error))) => {
                told.given_up("the track ended", Some(chain(&*error)))
            }
            _ => told.given_up(&chain(&error), None),
        })
    }

    /// A group that was cut and will not be continued is a gap.
    fn give_up_part(&mut self) {
        let part = self.cursor.part();
        if let (Some(due), false) = (self.cursor.due(), part.is_empty()) {
            self.gaps.cut(due, part, "the track was lost", now());
        }
    }
}
