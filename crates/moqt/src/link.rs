//! A client that comes back.

mod connect;
mod follow;
mod policy;
mod run;

use std::sync::Arc;

use moqt_session::{
    CacheBudget, MergedTrack, Origin, Reason, RequestError, Session, SessionError, Start, SubscribeOptions,
    TrackConsumer, TrackError,
};
use moqt_wire::FullTrackName;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinSet,
};

pub use self::{
    connect::{Connect, Connecting, LinkError},
    follow::{FollowEnd, FollowState},
    policy::Reconnect,
};
use self::{
    connect::{Current, Ears, spawn},
    follow::Follower,
    policy::Backoff,
    run::Task,
};
use crate::{error::ConnectError, url::Url};

/// Events that are kept for those who are slow to read them.
const EVENTS: usize = 64;

/// What happens to a link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// There is a session.
    Connected {
        /// Where.
        url: Url,
        /// The number of the session.
        session: u64,
    },
    /// The server asks us to move; the session goes on until there is another one.
    Moving {
        /// Where to.
        to: Url,
    },
    /// The session is gone; another one is tried for.
    Lost {
        /// Why.
        error: SessionError,
    },
    /// An attempt failed.
    Failed {
        /// Why.
        error: Arc<ConnectError>,
    },
    /// There will be no session any more.
    Over(LinkError),
}

/// The events of a [`Link`] from the moment on at which it was asked for them. Who is slow misses the oldest.
#[derive(Debug)]
pub struct LinkEvents(broadcast::Receiver<LinkEvent>);

impl LinkEvents {
    /// Waits for the next event; `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// A session with a server that is had anew when it is lost, and before it is lost when the server asks to move.
///
/// What the link publishes, it publishes on each session, with the numbers that groups have: they live in the
/// [`Origin`]. Tracks that it [follows](Self::follow) go on over all sessions, as one track without interruption.
/// Clones are handles to the same link; when the last is dropped, it closes.
#[derive(Clone, Debug)]
pub struct Link {
    current: watch::Receiver<Current>,
    events: broadcast::Sender<LinkEvent>,
    policy: Reconnect,
    wanted: Arc<watch::Sender<bool>>,
}

impl Link {
    /// Opens the first session, which serves the server from `origin`, as all after it do. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// Why there is none; a link begins with a session.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it gives up what it had begun.
    pub async fn connect(
        connect: impl Connect,
        url: Url,
        origin: Arc<dyn Origin>,
        policy: Reconnect,
    ) -> Result<Self, ConnectError> {
        let session = connect.connect(url.clone(), Arc::clone(&origin)).await?;
        let (current, view) = watch::channel(Current::default());
        let (wanted, watched) = watch::channel(true);
        let events = broadcast::Sender::new(EVENTS);
        let mut task = Task {
            connect: Arc::new(connect),
            origin,
            policy: policy.clone(),
            home: url.clone(),
            at: url,
            current,
            events: events.clone(),
            wanted: watched,
            backoff: Backoff::new(&policy, 0),
            generation: 0,
        };
        let users = task.adopt(&session);
        spawn(task.run(session, users));
        Ok(Self { current: view, events, policy, wanted: Arc::new(wanted) })
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> LinkEvents {
        LinkEvents(self.events.subscribe())
    }

    /// The session of the moment; waits for one. Requests made with it end with it. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`LinkError`]: there will be none any more.
    pub async fn session(&self) -> Result<Session, LinkError> {
        self.ears().after(0).await.map(|lease| lease.session)
    }

    /// The session of the moment, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<Session> {
        self.current.borrow().lease.as_ref().map(|lease| lease.session.clone())
    }

    /// Waits for the end of the link. Cancel safe.
    pub async fn closed(&self) -> LinkError {
        let mut current = self.current.clone();
        match current.wait_for(|current| current.over.is_some()).await {
            Ok(current) => current.over.clone().unwrap_or(LinkError::Closed),
            Err(_) => LinkError::Closed,
        }
    }

    /// Ends the link and its session.
    pub async fn close(&self) -> LinkError {
        self.wanted.send_replace(false);
        self.closed().await
    }

    /// Asks for a track, and follows it over all sessions of the link. Waits until it is there.
    ///
    /// # Errors
    ///
    /// As [`follow`].
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it unsubscribes.
    pub async fn follow(&self, name: FullTrackName, options: FollowOptions) -> Result<Followed, FollowError> {
        follow(std::slice::from_ref(self), name, options).await
    }

    fn ears(&self) -> Ears {
        Ears { current: self.current.clone(), policy: self.policy.clone() }
    }
}

/// How a track is followed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FollowOptions {
    /// How it is wanted.
    pub subscribe: SubscribeOptions,
    /// Whether to wait for a track that is not there at the beginning.
    pub wait: bool,
    /// What the groups that are kept count for.
    pub cache: CacheBudget,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self { subscribe: SubscribeOptions::default(), wait: true, cache: CacheBudget::unlimited() }
    }
}

impl From<SubscribeOptions> for FollowOptions {
    fn from(subscribe: SubscribeOptions) -> Self {
        Self { subscribe, ..Self::default() }
    }
}

/// Why a track could not be followed from the start.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// It was refused.
    #[error(transparent)]
    Request(Arc<RequestError>),
    /// The connection was lost, and the track with it.
    #[error("the track was not there before the connection was lost")]
    Lost(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// A track that is followed, for as long as it, or a reader of it, is held.
#[derive(Debug)]
pub struct Followed {
    track: TrackConsumer,
    states: Vec<watch::Receiver<FollowState>>,
}

impl Followed {
    /// Another reader of the track, which starts where the track was there first.
    #[must_use]
    pub fn track(&self) -> TrackConsumer {
        self.track.clone()
    }

    /// The track alone.
    #[must_use]
    pub fn into_track(self) -> TrackConsumer {
        self.track
    }

    /// How it stands with each link, in the order in which they were given.
    #[must_use]
    pub fn states(&self) -> &[watch::Receiver<FollowState>] {
        &self.states
    }
}

/// Asks for a track over several links at once, and follows it on each: of each byte that copy is taken which is there
/// first, and losing all links but one loses nothing. Waits until it is there on one of them.
///
/// The track ends when its publisher finishes it, or when all links have given it up: with the error of the last, or
/// [`Reason::OutOfRange`] where its publisher has begun anew.
///
/// # Errors
///
/// - [`FollowError::Request`]: it was refused, and would be again.
/// - [`FollowError::Lost`]: the links were lost before.
///
/// # Cancel safety
///
/// Cancelled, it unsubscribes.
pub async fn follow(
    links: &[Link],
    name: FullTrackName,
    options: FollowOptions,
) -> Result<Followed, FollowError> {
    let grace = links.iter().filter_map(|link| link.policy.patience).max().unwrap_or(MergedTrack::GRACE);
    let subscribe = options.subscribe;
    let retention = subscribe.retention;
    let max_age = subscribe.max_age.map_or(retention.max_age, |age| age.min(retention.max_age));
    let retention = moqt_session::Retention { max_age, ..retention };
    let track = MergedTrack::new(&options.cache, name, retention, grace);
    // In use until there is a reader.
    let held = track.consume();
    let (mut states, mut followers) = (Vec::new(), Vec::new());
    let (begun, mut begins) = mpsc::channel(links.len().max(1));
    for (salt, link) in (1..).zip(links) {
        let (state, view) = watch::channel(FollowState::Asking);
        states.push(view);
        followers.push(Follower {
            ears: link.ears(),
            track: track.clone(),
            options: subscribe,
            wait: options.wait,
            state,
            begun: Some(begun.clone()),
            backoff: Backoff::new(&link.policy, salt),
            outage: None,
            mending: JoinSet::new(),
        });
    }
    let (ended, end) = oneshot::channel();
    spawn(async move {
        let _ = ended.send(all(track, followers).await);
    });
    drop(begun);
    tokio::select! {
        biased;
        Some(first) = begins.recv() => {
            let track = match first {
                Some(first) => held.reader(Start::At(first)),
                None => held.clone(),
            };
            Ok(Followed { track, states })
        }
        end = end => Err(match end.unwrap_or(FollowEnd::Done) {
            FollowEnd::Refused(error) => FollowError::Request(error),
            FollowEnd::Lost { why, .. } => FollowError::Lost(why),
            FollowEnd::Done | FollowEnd::Replaced => FollowError::Lost(Arc::new(LinkError::Closed)),
        }),
    }
}

/// Runs all followers of a track, and ends it with the last.
async fn all(track: MergedTrack, followers: Vec<Follower>) -> FollowEnd {
    let mut running: JoinSet<_> = followers.into_iter().map(Follower::run).collect();
    let ends = async {
        let mut last = FollowEnd::Done;
        while let Some(end) = running.join_next().await {
            last = end.unwrap_or(FollowEnd::Done);
        }
        last
    };
    let mut ends = std::pin::pin!(ends);
    let last = loop {
        tokio::select! {
            biased;
            last = &mut ends => break last,
            // What is cut then is told to readers; followers may go on.
            () = track.abandoned() => {
                if track.is_ended() {
                    break ends.await;
                }
                tokio::select! {
                    biased;
                    last = &mut ends => break last,
                    () = track.sourced() => {}
                }
            }
        }
    };
    match &last {
        FollowEnd::Replaced => track.abort(Reason::OutOfRange),
        FollowEnd::Refused(error) => track.fail(match &**error {
            RequestError::Refused(reason) => TrackError::Ended(*reason),
            RequestError::Session(error) => TrackError::Session(error.clone()),
            _ => TrackError::Ended(Reason::Unsupported),
        }),
        FollowEnd::Lost { .. } => track.abort(Reason::Transport),
        FollowEnd::Done => {}
    }
    last
}
