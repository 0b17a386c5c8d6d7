//! Following a track over the sessions of a link.

use std::{error::Error, sync::Arc, time::Duration};

use moqt_session::{
    Announced, Feed, FetchIntoError, MergedTrack, Reason, RequestError, Session, SubscribeOptions,
    Subscriber, TrackError,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    connect::{Ears, Lease, LinkError, deadline, now, until},
    policy::Backoff,
};

/// A subscription that lived so long was no mere attempt. A publisher that begins anew has so long to say so.
const STEADY: Duration = Duration::from_secs(1);

/// Most groups that are mended one by one; what is cut behind them comes anew.
const MENDED: usize = 8;

/// How a track that is followed stands with one link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FollowState {
    /// It was asked for, or is waited for, and has not been there yet.
    Asking,
    /// It comes.
    Live,
    /// It was lost, and is asked for again.
    Lost {
        /// Why.
        why: Arc<dyn Error + Send + Sync>,
    },
    /// Nothing more is done about it.
    Over(FollowEnd),
}

/// Why a track is followed no more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FollowEnd {
    /// The track has ended, or nobody reads it.
    Done,
    /// Its publisher has begun anew: its numbers are below those that came already. The track has ended with
    /// [`Reason::OutOfRange`].
    Replaced,
    /// It was refused, and asking again would not help.
    Refused(Arc<RequestError>),
    /// It was lost, and not back in time.
    Lost {
        /// How it was lost.
        why: Arc<dyn Error + Send + Sync>,
        /// What came of the last attempt.
        last: Option<Arc<dyn Error + Send + Sync>>,
    },
}

/// Where the first group of a track is that has just been accepted.
pub(super) type Begun = mpsc::Sender<Option<u64>>;

pub(super) struct Follower {
    pub(super) ears: Ears,
    pub(super) track: MergedTrack,
    pub(super) options: SubscribeOptions,
    /// Whether a track that is not there is waited for from the beginning on.
    pub(super) wait: bool,
    pub(super) state: watch::Sender<FollowState>,
    pub(super) begun: Option<Begun>,
    pub(super) backoff: Backoff,
    pub(super) outage: Option<Outage>,
    /// Groups whose rest is on its way.
    pub(super) mending: JoinSet<Result<(), FetchIntoError>>,
}

#[derive(Debug)]
pub(super) struct Outage {
    why: Arc<dyn Error + Send + Sync>,
    last: Option<Arc<dyn Error + Send + Sync>>,
    until: Option<Instant>,
}

/// What an attempt to subscribe came to, where it came to nothing.
enum Failed {
    Over(FollowEnd),
    /// The session is gone.
    Session(TrackError),
    /// It may be there later.
    Later(RequestError),
}

impl Follower {
    /// Follows until the end. Cancelled, the track has a source less.
    pub(super) async fn run(mut self) -> FollowEnd {
        let track = self.track.clone();
        let gone = async {
            tokio::select! {
                biased;
                () = track.ended() => {}
                () = track.unused() => {}
            }
        };
        let end = tokio::select! {
            biased;
            // A short range may be through when the answer to the request for it is read.
            end = self.follow() => end,
            () = gone => FollowEnd::Done,
        };
        self.state.send_replace(FollowState::Over(end.clone()));
        end
    }

    async fn follow(&mut self) -> FollowEnd {
        // Where it still comes from, while we move.
        let mut old = None;
        loop {
            let until_then = self.outage.as_ref().and_then(|outage| outage.until);
            let result = match until(until_then, self.acquire(&mut old)).await {
                Some(Ok(Some((feed, lease)))) => self.take(feed, lease, &mut old).await,
                Some(Ok(None)) => Ok(()),
                Some(Err(end)) => Err(end),
                None => Err(self.lost_for_good()),
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    /// Asks for the track at the newest session; pauses where that fails.
    async fn acquire(&mut self, old: &mut Option<(Feed, Lease)>) -> Result<Option<(Feed, Lease)>, FollowEnd> {
        old.take_if(|(feed, _)| feed.is_over());
        let known = old.as_ref().map_or(0, |(_, lease)| lease.generation);
        let lease = match self.ears.after(known).await {
            Ok(lease) => lease,
            Err(error) => return Err(self.link_over(error)),
        };
        match self.attach(&lease).await {
            Ok(feed) => return Ok(Some((feed, lease))),
            Err(Failed::Over(end)) => return Err(end),
            Err(Failed::Session(error)) => {
                self.lost(Arc::new(error))?;
                self.newer_than(lease.generation).await?;
            }
            Err(Failed::Later(error)) => {
                // What was never there is waited for, and what still comes from elsewhere is not lost.
                if self.begun.is_none() && old.is_none() {
                    self.lost(Arc::new(error))?;
                }
                tokio::time::sleep(self.backoff.pause()).await;
                tokio::select! {
                    biased;
                    () = self.announced(&lease) => {}
                    _ = lease.session.closed() => {}
                    _ = self.ears.after(lease.generation) => {}
                    () = tokio::time::sleep(self.ears.policy.longest_pause) => {}
                }
            }
        }
        Ok(None)
    }

    async fn attach(&mut self, lease: &Lease) -> Result<Feed, Failed> {
        let resume = self.track.resume_at();
        let subscriber = lease.session.subscriber();
        let alone = self.track.sources() == 0;
        let whole = self.mend(&subscriber, resume);
        let options = SubscribeOptions { first: whole.or(self.options.first), ..self.options };
        let feed = match subscriber.subscribe_into(&self.track, options).await {
            Ok(feed) => feed,
            Err(RequestError::Session(error)) => return Err(Failed::Session(error.into())),
            Err(RequestError::Refused(reason)) if self.may_come(reason) => {
                return Err(Failed::Later(RequestError::Refused(reason)));
            }
            Err(error) => return Err(Failed::Over(FollowEnd::Refused(Arc::new(error)))),
        };
        let is_behind = |latest: Option<u64>| resume.is_some_and(|due| latest.unwrap_or(0) + 1 < due);
        if alone && self.begun.is_none() && is_behind(feed.latest()) {
            // A relay may have yet to hear of it from its publisher.
            tokio::time::sleep(STEADY).await;
            let known = subscriber.info(self.track.name().clone()).await;
            if known.is_ok_and(|info| is_behind(info.latest)) && self.track.resume_at() == resume {
                self.track.abort(Reason::OutOfRange);
                return Err(Failed::Over(FollowEnd::Replaced));
            }
        }
        if let Some(begun) = self.begun.take() {
            // There is a place for each link.
            let _ = begun.try_send(self.options.first.or(feed.latest().filter(|&latest| latest > 0)));
        }
        self.state.send_replace(FollowState::Live);
        Ok(feed)
    }

    /// Has the rest of the groups brought that were cut right where the track is to go on, and says from where on whole
    /// groups are missing.
    fn mend(&mut self, subscriber: &Subscriber, resume: Option<u64>) -> Option<u64> {
        while self.mending.try_join_next().is_some() {}
        let resume = resume?;
        let cut = self.track.cut_groups();
        let mut first = resume;
        for group in cut.into_iter().skip_while(|&group| group < resume).take(MENDED) {
            // Behind the last group that is wanted there is nothing left to subscribe to.
            if group != first || self.options.last.is_some_and(|last| group >= last) {
                break;
            }
            let rest = subscriber.mend_into(&self.track, group, self.options.priority);
            self.mending.spawn(rest);
            first += 1;
        }
        Some(first)
    }

    /// The track comes from here, as long as it does, or until there is a newer session.
    async fn take(
        &mut self,
        feed: Feed,
        lease: Lease,
        old: &mut Option<(Feed, Lease)>,
    ) -> Result<(), FollowEnd> {
        let (began, outage) = (now(), self.outage.take());
        if old.is_some() {
            let _ = tokio::time::timeout(self.ears.policy.overlap, feed.delivers()).await;
            *old = None;
        }
        let error = tokio::select! {
            biased;
            end = feed.ended() => match end {
                Ok(()) => match self.mended(&lease.session).await {
                    Ok(()) => return Err(FollowEnd::Done),
                    Err(error) => error,
                },
                Err(error) => error,
            },
            Ok(_) = self.ears.after(lease.generation) => {
                *old = Some((feed, lease));
                self.backoff.reset();
                return Ok(());
            }
        };
        let steady = feed.has_delivered() || now().saturating_duration_since(began) >= STEADY;
        drop(feed);
        if steady {
            self.backoff.reset();
        } else {
            self.outage = outage;
        }
        let at_session = matches!(error, TrackError::Session(_));
        self.lost(Arc::new(error))?;
        if at_session {
            return self.newer_than(lease.generation).await;
        }
        if !steady {
            tokio::time::sleep(self.backoff.pause()).await;
        }
        Ok(())
    }

    /// Waits until nothing is being mended.
    ///
    /// # Errors
    ///
    /// The session ended before that; another may bring the rest.
    async fn mended(&mut self, session: &Session) -> Result<(), TrackError> {
        let mut lost = false;
        while let Some(mended) = self.mending.join_next().await {
            lost |= matches!(mended, Ok(Err(error)) if error.is_session_lost());
        }
        if lost { Err(TrackError::Session(session.closed().await)) } else { Ok(()) }
    }

    async fn newer_than(&mut self, generation: u64) -> Result<(), FollowEnd> {
        match self.ears.after(generation).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.link_over(error)),
        }
    }

    /// It is gone, or an attempt failed to get it back.
    fn lost(&mut self, why: Arc<dyn Error + Send + Sync>) -> Result<(), FollowEnd> {
        if let Some(outage) = &mut self.outage {
            outage.last = Some(why);
            return Ok(());
        }
        let patience = self.ears.policy.patience;
        if patience.is_some_and(|patience| patience.is_zero()) {
            return Err(FollowEnd::Lost { why, last: None });
        }
        self.state.send_replace(FollowState::Lost { why: Arc::clone(&why) });
        self.outage = Some(Outage { why, last: None, until: deadline(patience) });
        Ok(())
    }

    fn lost_for_good(&mut self) -> FollowEnd {
        match self.outage.take() {
            Some(Outage { why, last, .. }) => FollowEnd::Lost { why, last },
            None => FollowEnd::Done,
        }
    }

    fn link_over(&mut self, error: LinkError) -> FollowEnd {
        let outage = self.outage.take();
        let (lost, last): (Arc<dyn Error + Send + Sync>, _) = match error {
            LinkError::GaveUp { lost, last } => (Arc::new(lost), last.map(|last| last as _)),
            error => (Arc::new(error), None),
        };
        match outage {
            Some(outage) => FollowEnd::Lost { why: outage.why, last: last.or(outage.last) },
            None => FollowEnd::Lost { why: lost, last },
        }
    }

    fn may_come(&self, reason: Reason) -> bool {
        let passing = !matches!(reason, Reason::Unauthorized | Reason::Unsupported | Reason::Malformed);
        passing && (self.wait || self.begun.is_none())
    }

    async fn announced(&self, lease: &Lease) {
        let wanted = self.track.name().to_namespace();
        let Ok(mut names) = lease.session.subscriber().announced(wanted.clone()).await else {
            return std::future::pending().await;
        };
        while let Some(event) = names.next().await {
            if matches!(event, Announced::Active(name) if name == wanted) {
                return;
            }
        }
        std::future::pending().await
    }
}
