//! A session and the two roles in it.

mod drain;
mod fetch;
mod merge;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moqt_transport::Connection;
use moqt_wire::{FullTrackName, GroupOrder, Namespace, Priority, Version};
use tokio::sync::{mpsc, oneshot, watch};

pub use drain::Drain;
pub(crate) use fetch::{Asked, FetchCommand};
pub use fetch::{FetchOptions, Fetched};
pub use merge::{Feed, FetchIntoError};

use crate::{
    allowance::Allowance,
    dialect::Offer,
    driver,
    error::{RequestError, SessionError},
    meters::Meters,
    model::{AnnounceConsumer, Interest, Retention, TrackConsumer, TrackInfo, TrackSource},
    origin::Origin,
    proto::{Info, Limits, RequestId, Subscribe, SubscribeUpdate},
};

/// How a session is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Versions to offer or accept, most wanted first.
    pub versions: Vec<Version>,
    /// Which encoding stands behind version 04 of Transfork when the handshake does not say, and `versions` name no
    /// deployed one. Deployed peers never say: [`Version::TRANSFORK_04_RS12`] or [`Version::TRANSFORK_04_RS9`].
    pub unmarked_04: Version,
    /// Path and query that a client names on carriers without a URL.
    pub path: Option<String>,
    /// What the peer may make grow.
    pub limits: Limits,
    /// Where it is counted what the session does.
    pub meters: Meters,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            versions: vec![Version::TRANSFORK_04, Version::TRANSFORK_03],
            unmarked_04: Version::TRANSFORK_04_RS12,
            path: None,
            limits: Limits::default(),
            meters: Meters::default(),
        }
    }
}

/// What the session's task publishes of its state.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) closed: Option<SessionError>,
    pub(crate) peer_bitrate: Option<u64>,
    pub(crate) drain: Option<Drain>,
}

/// What the session's task is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe { wish: Subscribe, into: Into, reply: Reply<Granted>, caller: Caller },
    Update { request: RequestId, update: SubscribeUpdate, reply: Reply<()> },
    Watch { interest: Interest, reply: Reply<AnnounceConsumer> },
    Info { name: FullTrackName, reply: Reply<Info>, caller: Caller },
    Fetch(FetchCommand),
    Bitrate(Option<u64>),
    Drain { url: Option<String>, patience: Duration, reply: Reply<()> },
    Flush { reply: oneshot::Sender<()> },
    Unasked { reply: oneshot::Sender<()> },
    Close,
}

/// Where the groups of a subscription go.
#[derive(Debug)]
pub(crate) enum Into {
    /// A track of their own, that keeps this.
    New(Retention),
    /// A track with other sources, for as long as somebody holds the other end.
    Merged(TrackSource, oneshot::Receiver<Infallible>),
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// Resolves once the caller has its answer or no longer waits for it.
pub(crate) type Caller = oneshot::Receiver<Infallible>;

/// A subscription that the peer accepted.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) request: RequestId,
    /// A reader, where the track is the subscription's own.
    pub(crate) track: Option<TrackConsumer>,
    pub(crate) info: Info,
}

/// Commands that may wait for the session's task. In boxes: a channel keeps room for 32 of them, and a session has few.
const COMMANDS: usize = 64;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A session whose handshake is done and that does not serve anything yet.
///
/// Between the two, a server can look at [`path`](Self::path) and decide what to serve.
pub struct Handshake<C: Connection> {
    established: driver::Established<C>,
    limits: Limits,
}

impl<C: Connection> Handshake<C> {
    /// Opens a session as the client. Cancelled, it closes the connection.
    ///
    /// # Errors
    ///
    /// Why there is no session; the connection is closed then.
    pub async fn connect(connection: C, config: Config) -> Result<Self, SessionError> {
        let (offer, limits) = config.offer(&connection);
        let established = driver::connect(connection, offer, &limits).await?;
        Ok(Self { established, limits })
    }

    /// Waits for the client to open a session. Cancelled, it closes the connection.
    ///
    /// # Errors
    ///
    /// Why there is no session; the connection is closed then.
    pub async fn accept(connection: C, config: Config) -> Result<Self, SessionError> {
        let (offer, limits) = config.offer(&connection);
        let established = driver::accept(connection, offer, &limits).await?;
        Ok(Self { established, limits })
    }

    /// The version that both sides agreed on.
    #[must_use]
    pub fn version(&self) -> Version {
        self.established.negotiated.version
    }

    /// Path and query as the client named them in the handshake; `None` where the carrier has them or the
    /// client named none.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.established.negotiated.path.as_deref()
    }

    /// The connection underneath.
    #[must_use]
    pub fn connection(&self) -> &C {
        &self.established.connection
    }

    /// Turns the peer down and closes the connection.
    pub fn refuse(self, reason: crate::Reason) {
        let code = self.established.dialect.code(reason);
        self.established.connection.close(code, &reason.to_string());
    }

    /// What the peer may bring together with other sessions of its source, where it is known only now who it is.
    #[must_use]
    pub fn within(mut self, source: Allowance) -> Self {
        self.limits.source = source;
        self
    }

    /// Starts the session; the peer is served from `origin`. Needs a tokio runtime.
    #[must_use]
    pub fn start(self, origin: Arc<dyn Origin>) -> Session {
        let Self { established, limits } = self;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let version = established.negotiated.version;
        let path = established.negotiated.path.clone();
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (state, watch) = watch::channel(State::default());
        let span = tracing::info_span!("session", id, side = ?established.side, %version);
        driver::start(established, limits, origin, receiver, state, span);
        Session { inner: Arc::new(Inner { id, version, path, commands, state: watch }) }
    }
}

impl Config {
    fn offer(&self, connection: &impl Connection) -> (Offer, Limits) {
        let offer = Offer {
            versions: self.versions.clone(),
            unmarked_04: self.unmarked_04,
            path: self.path.clone(),
            carrier_has_url: connection.carrier() == moqt_transport::Carrier::WebTransport,
        };
        let mut limits = self.limits.clone();
        limits.meters = self.meters.clone();
        (offer, limits)
    }
}

#[derive(Debug)]
struct Inner {
    id: u64,
    version: Version,
    path: Option<String>,
    commands: mpsc::Sender<Box<Command>>,
    state: watch::Receiver<State>,
}

/// A session. Clones are handles to the same one; when the last is dropped, it closes.
///
/// Tracks that came through it can still be read after that, as far as they had arrived.
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

impl Session {
    /// A number that no other session of this process has; the one in the logs.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// The version that both sides speak.
    #[must_use]
    pub fn version(&self) -> Version {
        self.inner.version
    }

    /// Path and query as the client named them in the handshake.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.inner.path.as_deref()
    }

    /// This side as a subscriber.
    #[must_use]
    pub fn subscriber(&self) -> Subscriber {
        Subscriber { session: self.clone() }
    }

    /// This side as a publisher.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher { session: self.clone() }
    }

    /// Ends the session: tells the peer, gives it a moment to agree, and closes the connection.
    ///
    /// Groups that are still being sent are dropped; wait for [`Publisher::flushed`] first to keep them.
    pub async fn close(&self) -> SessionError {
        let _ = self.inner.commands.send(Box::new(Command::Close)).await;
        self.closed().await
    }

    /// Waits for the end of the session and says why. Cancel safe.
    pub async fn closed(&self) -> SessionError {
        let mut state = self.inner.state.clone();
        match state.wait_for(|state| state.closed.is_some()).await {
            Ok(state) => state.closed.clone().unwrap_or(SessionError::LocallyClosed),
            Err(_) => self.inner.end(),
        }
    }

    /// The peer's own estimate of what it can send us, in bits per second; `None` while it has not said.
    #[must_use]
    pub fn peer_bitrate(&self) -> Option<u64> {
        self.inner.state.borrow().peer_bitrate
    }
}

impl State {
    /// Why a session ended that is known to have ended.
    fn end(state: &watch::Receiver<Self>) -> SessionError {
        state.borrow().closed.clone().unwrap_or(SessionError::LocallyClosed)
    }
}

impl Inner {
    fn end(&self) -> SessionError {
        State::end(&self.state)
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>, Caller) -> Command) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        let (_here, caller) = oneshot::channel();
        if self.commands.send(Box::new(command(reply, caller))).await.is_err() {
            return Err(self.end().into());
        }
        answer.await.unwrap_or_else(|_| Err(self.end().into()))
    }
}

/// A session's publishing half. What it serves is the session's [`Origin`].
#[derive(Clone, Debug)]
pub struct Publisher {
    session: Session,
}

impl Publisher {
    /// Waits until the peer has everything that was written before this call: every group of a running subscription
    /// is acknowledged, and every subscription to a finished track was read to its end.
    ///
    /// A peer may take half a second to say that it has read a track; deployed peers of Transfork 04 may never say
    /// it, so bound the wait. Returns at once when the session has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn flushed(&self) {
        let (reply, flushed) = oneshot::channel();
        if self.session.inner.commands.send(Box::new(Command::Flush { reply })).await.is_ok() {
            // Dropped with the session's task.
            let _ = flushed.await;
        }
    }
}

impl Publisher {
    /// Waits until the peer takes nothing from this side: no subscription and no fetch of it is being served, or the
    /// session has ended. Cancel safe.
    pub async fn unasked(&self) {
        let (reply, unasked) = oneshot::channel();
        if self.session.inner.commands.send(Box::new(Command::Unasked { reply })).await.is_ok() {
            // Dropped with the session's task.
            let _ = unasked.await;
        }
    }

    /// Says how many bits per second can be sent to the peer, for applications that know better than the connection;
    /// `None` leaves it to the connection again.
    ///
    /// While groups are sent, the peer is told of changes of more than a tenth, at most once a second; it reads them
    /// with [`Session::peer_bitrate`]. Does nothing in versions that cannot say it.
    ///
    /// Spec: transfork-03 "SESSION_UPDATE".
    pub async fn set_bitrate(&self, bits_per_second: Option<u64>) {
        let _ = self.session.inner.commands.send(Box::new(Command::Bitrate(bits_per_second))).await;
    }
}

/// How a track is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Higher is sent first, among all tracks of the session.
    pub priority: Priority,
    /// Which groups of the track are sent first.
    pub order: GroupOrder,
    /// First group; `None` from the latest on.
    pub first: Option<u64>,
    /// Last group; `None` without end.
    pub last: Option<u64>,
    /// How long after its end a group is still of use; `None` for as long as it is kept. Versions before and after
    /// Transfork 03 do not tell the publisher.
    pub max_age: Option<Duration>,
    /// What is kept here for readers that fall behind.
    pub retention: Retention,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            priority: Priority::default(),
            order: GroupOrder::Default,
            first: None,
            last: None,
            max_age: None,
            retention: Retention::default(),
        }
    }
}

impl SubscribeOptions {
    fn wish(&self, name: FullTrackName) -> Subscribe {
        let Self { priority, order, first, last, max_age, .. } = *self;
        Subscribe { id: 0, name, priority, order, max_age, first, last }
    }
}

/// A session's subscribing half.
#[derive(Clone, Debug)]
pub struct Subscriber {
    session: Session,
}

impl Subscriber {
    /// Asks for a track and waits for the answer.
    ///
    /// The subscription lasts as long as a [`TrackConsumer`] of it is held.
    ///
    /// # Errors
    ///
    /// - [`RequestError::Refused`]: for example [`Reason::NotFound`](crate::Reason::NotFound).
    /// - [`RequestError::Encode`]: the name or option cannot be said in the session's version.
    /// - [`RequestError::Session`]: the session ended.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it unsubscribes.
    pub async fn subscribe(
        &self,
        name: FullTrackName,
        options: SubscribeOptions,
    ) -> Result<Subscription, RequestError> {
        let (wish, into) = (options.wish(name), Into::New(options.retention));
        let (Granted { track, info, .. }, updates) = self.ask_for_track(wish, into).await?;
        let track = track.ok_or(SessionError::LocallyClosed)?;
        Ok(Subscription { track, info, updates })
    }

    async fn ask_for_track(&self, wish: Subscribe, into: Into) -> Result<(Granted, Updates), RequestError> {
        let inner = &self.session.inner;
        let granted = inner.ask(|reply, caller| Command::Subscribe { wish, into, reply, caller }).await?;
        let (commands, state) = (inner.commands.downgrade(), inner.state.clone());
        let updates = Updates { request: granted.request, commands, state };
        Ok((granted, updates))
    }

    /// Watches the names below `prefix` that the peer announces.
    ///
    /// The watch lasts until the returned consumer is dropped.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub async fn announced(&self, prefix: Namespace) -> Result<AnnounceConsumer, RequestError> {
        let interest = Interest::Prefix(prefix);
        self.session.inner.ask(|reply, _| Command::Watch { interest, reply }).await
    }

    /// Asks what the peer knows of a track, without wanting it.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// Spec: transfork-03 "INFO".
    pub async fn info(&self, name: FullTrackName) -> Result<Info, RequestError> {
        self.session.inner.ask(|reply, caller| Command::Info { name, reply, caller }).await
    }
}

/// A track that the peer sends us.
#[derive(Debug)]
pub struct Subscription {
    track: TrackConsumer,
    info: Info,
    updates: Updates,
}

/// Changes a subscription that runs.
#[derive(Debug)]
struct Updates {
    request: RequestId,
    /// Weak: a subscription alone does not keep its session open.
    commands: mpsc::WeakSender<Box<Command>>,
    state: watch::Receiver<State>,
}

impl Subscription {
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

    /// Another reader of the same track.
    #[must_use]
    pub fn track(&self) -> TrackConsumer {
        self.track.clone()
    }

    /// The track; the subscription goes on as long as it, or a clone of it, is held.
    #[must_use]
    pub fn into_track(self) -> TrackConsumer {
        self.track
    }

    /// Changes priority, order or range. A range can only become narrower.
    ///
    /// # Errors
    ///
    /// As [`Subscriber::subscribe`].
    pub async fn update(&self, update: SubscribeUpdate) -> Result<(), RequestError> {
        self.updates.send(update).await
    }
}

impl Updates {
    async fn send(&self, update: SubscribeUpdate) -> Result<(), RequestError> {
        let (reply, answer) = oneshot::channel();
        let request = self.request;
        if let Some(commands) = self.commands.upgrade() {
            // Where this fails, so does the waiting below.
            let _ = commands.send(Box::new(Command::Update { request, update, reply })).await;
        } else {
            drop(reply);
        }
        answer.await.unwrap_or_else(|_| Err(State::end(&self.state).into()))
    }
}
