//! Tracks that come from upstream: what feeds each of them, and how long it is kept.

use std::{
    convert::Infallible,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use moqt::{
    Feed, FullTrackName, GroupOrder, MergedTrack, Preferences, Priority, Reason, SubscribeOptions,
    SubscribeUpdate, Subscriber, TrackConsumer, TrackError,
};
use tokio::sync::{Notify, watch};
use tracing::{debug, info};

use super::{Scope, Settings};
use crate::{
    router::{AskId, TrackId, Wanted},
    upstream,
};

/// How far a session that takes over may be behind in its numbers and still have the same track.
///
/// A publisher that was started anew begins at 0, and what it has is not what was there before.
const LAG: u64 = 8;

/// How often at most a publisher is told anew what its track matters. Viewers can change that as often as they like.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// Most groups that are mended one by one when what brought them breaks off.
const MENDED: usize = 8;

/// A track that comes from upstream, for others to feed too.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) track: MergedTrack,
    /// Tells whoever looks after the track that nobody joins it any more.
    released: Arc<Notify>,
    /// Ends with the track.
    over: watch::Receiver<()>,
    /// What became of the last that fed it.
    error: Option<TrackError>,
}

/// What a session needs to feed a track that is there already.
#[derive(Debug)]
pub(super) struct Join {
    track: MergedTrack,
    over: watch::Receiver<()>,
}

impl Held {
    pub(super) fn join(&self) -> Join {
        Join { track: self.track.clone(), over: self.over.clone() }
    }

    pub(super) fn release(self) {
        self.released.notify_one();
    }
}

/// A request for a track.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ask: AskId,
    pub(super) track: TrackId,
    pub(super) name: FullTrackName,
    pub(super) wanted: Wanted,
}

/// Asks a session for a track and feeds it from there, for as long as it comes.
pub(super) async fn feed(scope: Arc<Scope>, subscriber: Subscriber, asked: Asked, held: Option<Join>) {
    let ask = asked.ask;
    let settings = Arc::clone(&scope.settings);
    let answer = tokio::time::timeout(settings.answer, async {
        match held {
            Some(join) => take_over(&subscriber, join).await,
            None => begin(&subscriber, &asked, &settings).await,
        }
    });
    let Taken { feed, told, track, reader, over, same } = match answer.await.unwrap_or(Err(Reason::Timeout)) {
        Ok(taken) => taken,
        Err(reason) => {
            return scope.step(|state| {
                state.asks.remove(&ask);
                state.router.track_answered(ask, Err(reason));
            });
        }
    };
    if !same {
        info!(track = %asked.name, latest = feed.latest(), "another track of the same name: it begins anew");
        return scope.step(|state| state.router.is_other_track(ask));
    }
    let answer = Ok((reader, feed.latest()));
    let mut over = match over {
        Some(over) => {
            settings.switched.fetch_add(1, Ordering::Relaxed);
            scope.step(|state| state.router.track_answered(ask, answer));
            over
        }
        None => scope.hold(&asked, &track, answer),
    };
    let weak = Arc::downgrade(&scope);
    let preferences = track.preferences();
    drop((scope, track, subscriber));
    let step = |act: &dyn Fn(&mut super::State)| {
        if let Some(scope) = weak.upgrade() {
            scope.step(|state| act(state));
        }
    };
    let fed = async {
        feed.delivers().await;
        step(&|state| state.router.delivers(ask));
        feed.ended().await
    };
    let end = tokio::select! {
        biased;
        end = fed => end,
        _ = over.changed() => return,
        never = pass_on(&feed, &preferences, told) => match never {},
    };
    debug!(track = %asked.name, error = end.as_ref().err().map(tracing::field::display), "no more comes from upstream");
    drop(feed);
    let failed = end.as_ref().err().cloned();
    step(&|state| {
        state.asks.remove(&ask);
        if let (Some(held), Some(error)) = (state.held.get_mut(&asked.track), &failed) {
            held.error = Some(error.clone());
        }
        state.router.feed_ended(ask, if failed.is_some() { Err(()) } else { Ok(()) });
    });
}

/// Tells a publisher how much its track matters to those who read it here, at most as often as [`TOLD_EVERY`] says.
async fn pass_on(feed: &Feed, preferences: &Preferences, mut told: Priority) -> Infallible {
    loop {
        let priority = preferences.changed(told).await;
        let update =
            SubscribeUpdate { priority, order: GroupOrder::Default, max_age: None, first: None, last: None };
        match feed.update(update).await {
            Ok(()) => told = priority,
            // The end of the feed is told elsewhere.
            Err(error) => debug!(%error, "priority not passed on"),
        }
        tokio::time::sleep(TOLD_EVERY).await;
    }
}

/// A session that feeds a track.
struct Taken {
    feed: Feed,
    /// How much the publisher knows that it matters.
    told: Priority,
    track: MergedTrack,
    /// From before the first group of a track that was not there.
    reader: TrackConsumer,
    /// What ends with the track, where that was there before.
    over: Option<watch::Receiver<()>>,
    /// Whether it is the track that was there before.
    same: bool,
}

/// Subscribes to a track that is not here yet, from where the first of its subscribers wants it.
///
/// The subscription is for everybody who will want the track, so it has no end and no order of its own: the publisher's
/// holds upstream, that of each subscriber downstream. Its priority is the highest that a subscriber gives it.
async fn begin(subscriber: &Subscriber, asked: &Asked, settings: &Settings) -> Result<Taken, Reason> {
    let Wanted { first: wanted, priority: told } = asked.wanted;
    let ask = async |first| -> Result<(Feed, MergedTrack, TrackConsumer), Reason> {
        let track = MergedTrack::new(&settings.cache, asked.name.clone(), settings.retention, settings.hold);
        // Groups may overtake the answer.
        let reader = track.consume();
        let options = SubscribeOptions { first, priority: told, ..SubscribeOptions::default() };
        let feed = subscriber.subscribe_into(&track, options).await;
        Ok((feed.map_err(|error| upstream::reason(&error))?, track, reader))
    };
    let (mut feed, mut track, mut reader) = ask(wanted).await?;
    if wanted.is_some_and(|first| feed.latest().is_none_or(|latest| latest < first)) {
        // One subscriber's wish for what is yet to come does not keep the others from what is there.
        (feed, track, reader) = ask(None).await?;
    }
    Ok(Taken { feed, told, track, reader, over: None, same: true })
}

/// Subscribes to a track that is here, from where it stands; what is under way comes once more and counts once.
async fn take_over(subscriber: &Subscriber, join: Join) -> Result<Taken, Reason> {
    let Join { track, over } = join;
    let reader = track.consume();
    let newest = track.latest();
    let first = track.resume_at().into_iter().chain(newest).min();
    let told = track.preferences().highest().unwrap_or_default();
    let options = SubscribeOptions { first, priority: told, ..SubscribeOptions::default() };
    let feed = subscriber.subscribe_into(&track, options).await;
    let feed = feed.map_err(|error| upstream::reason(&error))?;
    // 0 may stand for none.
    let latest = feed.latest().unwrap_or(0);
    let lag = if latest == 0 { 1 } else { LAG };
    let same = newest.is_none_or(|newest| newest <= latest.saturating_add(lag));
    Ok(Taken { feed, told, track, reader, over: Some(over), same })
}

/// Fetches what was cut of a track.
pub(super) async fn mend(track: MergedTrack, subscriber: Subscriber) {
    let priority = track.preferences().highest().unwrap_or_default();
    for group in track.cut_groups().into_iter().take(MENDED) {
        if let Err(error) = subscriber.fetch_into(&track, group, priority).await {
            debug!(track = %track.name(), group, %error, "cannot mend a group");
            track.settle();
        }
    }
}

impl Scope {
    /// A track is here: gives it to those who wait, and looks after it.
    fn hold(
        self: &Arc<Self>,
        asked: &Asked,
        track: &MergedTrack,
        answer: Result<(TrackConsumer, Option<u64>), Reason>,
    ) -> watch::Receiver<()> {
        let released = Arc::new(Notify::new());
        let (alive, over) = watch::channel(());
        let keeper = Keeper {
            scope: Arc::downgrade(self),
            id: asked.track,
            name: asked.name.clone(),
            track: track.clone(),
            linger: self.settings.linger,
            _alive: alive,
        };
        let held =
            Held { track: track.clone(), released: Arc::clone(&released), over: over.clone(), error: None };
        self.step(|state| {
            while state.keepers.try_join_next().is_some() {}
            state.held.insert(asked.track, held);
            state.keepers.spawn(keeper.keep(released));
            state.router.track_answered(asked.ask, answer);
        });
        over
    }
}

/// What looks after a track.
struct Keeper {
    scope: Weak<Scope>,
    id: TrackId,
    name: FullTrackName,
    track: MergedTrack,
    /// How long it is kept without readers.
    linger: Duration,
    _alive: watch::Sender<()>,
}

impl Keeper {
    async fn keep(self, released: Arc<Notify>) {
        // Who comes back soon, or comes next, finds it going.
        let kept = (!self.linger.is_zero()).then(|| self.track.consume());
        loop {
            let unread = async {
                match &kept {
                    Some(kept) => kept.alone_for(self.linger).await,
                    None => self.track.unused().await,
                }
            };
            tokio::select! {
                biased;
                () = released.notified() => break,
                () = self.track.abandoned() => return self.lost(),
                () = unread => {
                    if self.is_over(usize::from(kept.is_some())) {
                        return;
                    }
                }
            }
        }
        drop(kept);
        tokio::select! {
            biased;
            () = self.track.unused() => {}
            () = self.track.sourceless() => self.track.fail(TrackError::Ended(Reason::NotFound)),
        }
    }

    /// Lets go of the track unless somebody reads it after all.
    fn is_over(&self, kept: usize) -> bool {
        let Some(scope) = self.scope.upgrade() else { return true };
        scope.step(|state| {
            if !self.track.is_ended() && self.track.readers() > kept {
                return false;
            }
            state.held.remove(&self.id);
            state.router.track_over(self.id, &self.name);
            true
        })
    }

    /// No publisher has come to take over in time.
    fn lost(&self) {
        let Some(scope) = self.scope.upgrade() else { return };
        let error = scope.step(|state| {
            state.router.track_over(self.id, &self.name);
            state.held.remove(&self.id).and_then(|held| held.error)
        });
        self.track.fail(error.unwrap_or(TrackError::Ended(Reason::NotFound)));
    }
}
