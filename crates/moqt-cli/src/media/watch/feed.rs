//! One track on its way to the file, over all sessions of a link.

use std::time::Duration;

use anyhow::anyhow;
use moqt::{
    FollowEnd, FollowError, FollowOptions, FollowState, Followed, FullTrackName, Link, Reason, TrackError,
    Url,
};
use moqt_media::{
    catalog::Packaging,
    loc::{self, Frame},
};
use tokio::sync::{mpsc, watch};

use super::{
    super::{
        merge::Arrival,
        reader::{Item, Reader},
    },
    outages::Outages,
};
use crate::common::{chain, request_failed};

/// Follows a track.
pub(super) struct Feed {
    pub(super) link: Link,
    pub(super) url: Url,
    pub(super) name: FullTrackName,
    pub(super) packaging: Packaging,
    pub(super) options: FollowOptions,
    /// How long a track that the catalog names may take to be there.
    pub(super) patience: Duration,
    pub(super) latency: Duration,
    pub(super) outages: Outages,
}

impl Feed {
    /// Moves the track into the merge until either ends.
    pub(super) async fn run(self, sender: mpsc::Sender<Arrival>) {
        let end = match self.ask().await {
            Ok(followed) => self.read(followed, &sender).await,
            Err(error) => Some(Arrival::Lost(error)),
        };
        if let Some(end) = end {
            let _ = sender.send(end).await;
        }
    }

    async fn ask(&self) -> anyhow::Result<Followed> {
        let asking = self.link.follow(self.name.clone(), self.options.clone());
        let followed = if self.options.wait {
            let patience = humantime::format_duration(self.patience);
            tokio::time::timeout(self.patience, asking).await.map_err(|_| {
                anyhow!("the catalog names {}, which is not there within {patience}", self.name)
            })?
        } else {
            asking.await
        };
        followed.map_err(|error| match error {
            FollowError::Request(error) => request_failed("cannot subscribe", &self.name, &self.url, &error),
            FollowError::Lost(error) => self.outages.lost().given_up(&chain(&*error), None),
            error => anyhow!("cannot subscribe: {}: {}", self.name, chain(&error)),
        })
    }

    /// Reads the track; what is to be said at its end. While it is lost, no group is given up that stands still.
    async fn read(&self, followed: Followed, sender: &mpsc::Sender<Arrival>) -> Option<Arrival> {
        let mut state = followed.states().first().cloned()?;
        let mut reader = Reader::new(followed.into_track(), self.latency);
        let mut outage = None;
        state.mark_changed();
        loop {
            let item = tokio::select! {
                biased;
                () = changed(&mut state) => {
                    let is = state.borrow_and_update().clone();
                    outage = match is {
                        FollowState::Lost { why } => Some(outage.unwrap_or_else(|| self.outages.begin(&*why))),
                        _ => None,
                    };
                    reader.set_latency(if outage.is_some() { Duration::MAX } else { self.latency });
                    continue;
                }
                item = reader.next() => item,
            };
            let arrival = match item {
                Ok(Some(Item::Frame { begins, bytes })) => match self.unpack(&bytes) {
                    Ok(frame) => Arrival::Frame { begins, frame },
                    Err(error) => return Some(Arrival::Broken(error)),
                },
                Ok(Some(Item::Gap { first, last, reason })) => Arrival::Gap { first, last, reason },
                Ok(None) => return None,
                Err(TrackError::Ended(Reason::OutOfRange)) => return Some(Arrival::Anew),
                Err(error) => return Some(Arrival::Lost(self.lost(&state, &error))),
            };
            if sender.send(arrival).await.is_err() {
                return None;
            }
        }
    }

    fn unpack(&self, bytes: &bytes::Bytes) -> Result<Frame, loc::Error> {
        match self.packaging {
            Packaging::Legacy => loc::parse_legacy(bytes),
            _ => Frame::parse(bytes),
        }
    }

    fn lost(&self, state: &watch::Receiver<FollowState>, error: &TrackError) -> anyhow::Error {
        let lost = self.outages.lost();
        match state.borrow().clone() {
            FollowState::Over(FollowEnd::Lost { why, last }) => {
                lost.given_up(&chain(&*why), last.map(|last| chain(&*last)))
            }
            FollowState::Over(FollowEnd::Refused(error)) => {
                lost.given_up(&format!("{} ended", self.name), Some(chain(&*error)))
            }
            _ => lost.given_up(&chain(error), None),
        }
    }
}

async fn changed(state: &mut watch::Receiver<FollowState>) {
    if state.changed().await.is_err() {
        std::future::pending().await
    }
}
