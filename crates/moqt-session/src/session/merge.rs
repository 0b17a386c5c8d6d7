//! Subscriptions and fetches that go into a track with several sources.

use std::{convert::Infallible, time::Duration};

use moqt_wire::Priority;
use tokio::sync::{oneshot, watch};

use super::{FetchOptions, Granted, Into, SubscribeOptions, Subscriber, Updates};
use crate::{
    error::{GroupError, Reason, RequestError, TrackError},
    model::{Coverage, FeedState, GroupConsumer, Mending, MergedTrack, Part, TrackInfo, TrackSource},
    proto::{Info, SubscribeUpdate},
};

/// How soon after its streams a session ends whose connection is lost.
const LOST: Duration = Duration::from_secs(1);

/// Why the rest of a group was not fetched.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchIntoError {
    /// Nothing of it is missing, or it was given up already.
    #[error("nothing of the group is missing")]
    NotMissing,
    /// It could not be asked for.
    #[error("cannot fetch")]
    Request(#[from] RequestError),
    /// It did not come to its end.
    #[error("the rest of the group did not come")]
    Group(#[from] GroupError),
}

impl FetchIntoError {
    /// Whether the session was lost before anything was said of the group, so that another one may have the rest.
    #[must_use]
    pub fn is_session_lost(&self) -> bool {
        match self {
            Self::Request(error) => matches!(error, RequestError::Session(_)),
            Self::NotMissing | Self::Group(_) => false,
        }
    }
}

impl Subscriber {
    /// Asks for a track whose groups go into `track`, beside those of its other sources, and waits for the answer.
    ///
    /// From the call on, it counts as one that may bring what is missing from [`SubscribeOptions::first`] on. Of the
    /// options, the retention is not used: the track has its own.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe). The track does not end with them.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it unsubscribes.
    pub async fn subscribe_into(
        &self,
        track: &MergedTrack,
        options: SubscribeOptions,
    ) -> Result<Feed, RequestError> {
        self.feed(track, TrackSource::of(track), options).await
    }

    async fn feed(
        &self,
        track: &MergedTrack,
        (source, state): (TrackSource, watch::Receiver<FeedState>),
        options: SubscribeOptions,
    ) -> Result<Feed, RequestError> {
        let coverage = source.coverage();
        let (held, holding) = oneshot::channel();
        let (wish, into) = (options.wish(track.name().clone()), Into::Merged(source, holding));
        let (Granted { info, .. }, updates) = self.ask_for_track(wish, into).await?;
        Ok(Feed { info, updates, state, coverage, _held: held })
    }

    /// Fetches what is missing of one group into `track`: from the first frame on that is not there whole. Returns
    /// when the group is whole. From the first poll on, the group is not given up as long as this runs.
    ///
    /// # Errors
    ///
    /// Why it is not whole, as far as this fetch goes; others may bring it yet.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it gives the fetch up.
    ///
    /// Spec: transfork-03 "FETCH".
    pub async fn fetch_into(
        &self,
        track: &MergedTrack,
        group: u64,
        priority: Priority,
    ) -> Result<(), FetchIntoError> {
        let mut mending = track.mend(group).ok_or(FetchIntoError::NotMissing)?;
        let options = FetchOptions { priority, first_frame: mending.frame, retention: track.retention() };
        let fetched = self.fetch(track.name().clone(), group, options).await;
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                mending.pen.end(GroupError::Reset(Reason::NotFound));
                return Err(error.into());
            }
        };
        match mending.fill(fetched.into_group()).await {
            // Others were quicker.
            Ok(()) | Err(GroupError::Finished) => Ok(()),
            Err(error) => {
                mending.pen.end(error.clone());
                Err(error.into())
            }
        }
    }
}

impl Subscriber {
    /// Brings what is missing of one group into `track`, in whichever way it can be had: by
    /// [`fetch_into`](Self::fetch_into), or, from a publisher that does not serve it so, by a subscription to this
    /// group alone. Returns when it is whole, or the subscription said that it will not be. From the call on, the group
    /// is not given up as long as the future is there.
    ///
    /// # Errors
    ///
    /// Why it cannot be had from this session; others may bring it yet.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it gives the group up, unless others may bring it.
    ///
    /// Spec: transfork-03 "FETCH".
    pub fn mend_into(
        &self,
        track: &MergedTrack,
        group: u64,
        priority: Priority,
    ) -> impl Future<Output = Result<(), FetchIntoError>> + Send + use<> {
        let (subscriber, track) = (self.clone(), track.clone());
        let (place, _) = TrackSource::of_part(&track);
        async move {
            let mended = subscriber.mend(&track, group, priority).await;
            if mended.as_ref().is_err_and(FetchIntoError::is_session_lost) {
                // What else it brought ends with it. Only then nobody has said that the group will not come.
                subscriber.session.closed().await;
            }
            drop(place);
            mended
        }
    }

    async fn mend(&self, track: &MergedTrack, group: u64, priority: Priority) -> Result<(), FetchIntoError> {
        match self.fetch_into(track, group, priority).await {
            Ok(()) | Err(FetchIntoError::NotMissing) => return Ok(()),
            Err(lost) if lost.is_session_lost() => return Err(lost),
            Err(FetchIntoError::Group(GroupError::Reset(Reason::Transport))) => {
                // The session may be about to end; or else it is the peer's word for its own trouble.
                if let Ok(error) = tokio::time::timeout(LOST, self.session.closed()).await {
                    return Err(RequestError::Session(error).into());
                }
            }
            Err(_) => {}
        }
        let only = SubscribeOptions { priority, first: Some(group), last: Some(group), ..Default::default() };
        let feed = self.feed(track, TrackSource::of_part(track), only).await?;
        feed.ended().await.map_err(|error| match error {
            TrackError::Session(error) => RequestError::Session(error).into(),
            TrackError::Ended(reason) => RequestError::Refused(reason).into(),
        })
    }
}

impl Mending {
    async fn fill(&mut self, mut group: GroupConsumer) -> Result<(), GroupError> {
        loop {
            let part = std::future::poll_fn(|cx| group.poll_part(cx, false));
            let part = tokio::select! {
                biased;
                part = part => part?,
                error = self.pen.let_go() => return Err(error),
            };
            match part {
                Some(Part::Frame(meta)) => self.pen.begin_frame(meta)?,
                Some(Part::Chunk(chunk)) => self.pen.append_payload(chunk)?,
                None => return self.pen.complete(),
            }
        }
    }
}

/// One subscription that feeds a [`MergedTrack`]. Dropped, it unsubscribes, and is a source of the track no more.
#[derive(Debug)]
pub struct Feed {
    info: Info,
    updates: Updates,
    state: watch::Receiver<FeedState>,
    coverage: Option<Coverage>,
    _held: oneshot::Sender<Infallible>,
}

impl Feed {
    /// What the publisher said of the track when it accepted.
    #[must_use]
    pub fn info(&self) -> TrackInfo {
        self.info.track
    }

    /// The newest group when the publisher accepted; 0 may stand for none.
    #[must_use]
    pub fn latest(&self) -> Option<u64> {
        self.info.latest
    }

    /// Changes priority, order or range. A range can only become narrower.
    ///
    /// # Errors
    ///
    /// As [`Subscriber::subscribe`].
    pub async fn update(&self, update: SubscribeUpdate) -> Result<(), RequestError> {
        self.updates.send(update).await
    }

    /// Waits for the end of this source, not of the track: fine, if the publisher finished the track or all of the range
    /// has come. May be called again. Cancel safe.
    ///
    /// # Errors
    ///
    /// Why it brings no more.
    pub async fn ended(&self) -> Result<(), TrackError> {
        match self.state.clone().wait_for(|state| state.end.is_some()).await {
            Ok(state) => state.end.clone().unwrap_or(Ok(())),
            Err(_) => Err(TrackError::Ended(Reason::Cancelled)),
        }
    }

    /// Waits until others are needed no more: a group has come from here that is not older than what they brought, and
    /// none is open that does not come from here; or this source has ended. Cancel safe.
    pub async fn delivers(&self) {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| state.delivers || state.end.is_some()).await;
        let ended = state.is_ok_and(|state| state.end.is_some());
        if let Some(coverage) = self.coverage.as_ref().filter(|_| !ended) {
            coverage.covers().await;
        }
    }

    /// Whether a group has come from here that was not older than what others had brought.
    #[must_use]
    pub fn has_delivered(&self) -> bool {
        self.state.borrow().delivers
    }

    /// Whether nothing more comes from here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.borrow().end.is_some()
    }
}
