//! Staying with a track over the loss of subscriptions and sessions.

use std::time::Duration;

use anyhow::anyhow;
use moqt::{Announced, FullTrackName, Reason, RequestError, Session, TrackError};
use tokio::time::Instant;

use super::{
    Options,
    cursor::Cursor,
    gaps::Gaps,
    read::{Ended, Reading},
    sink::Sink,
};
use crate::{
    common::{Connector, chain},
    ui,
    waiting::{Waiting, now},
};

/// The first and the longest pause between attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A subscription that lived so long was no mere attempt.
const STEADY: Duration = Duration::from_secs(1);

/// Follows a track until it is finished or lost for good.
pub(super) struct Follower {
    options: Options,
    connector: Connector,
    sink: Sink,
    cursor: Cursor,
    waiting: Waiting,
    gaps: Gaps,
    session: Option<Session>,
    /// Since the track was lost.
    outage: Option<Outage>,
}

#[derive(Clone, Debug)]
struct Outage {
    why: String,
    /// What the last attempt came to, if it came to an end.
    last: Option<String>,
    until: Instant,
    pause: Duration,
}

/// How an attempt ended that did not finish.
enum Failure {
    /// Trying again does not help.
    Fatal(anyhow::Error),
    /// What was there is gone.
    Lost {
        why: String,
        /// Whether it had been there.
        steady: bool,
    },
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Fatal(error)
    }
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
        Self { options, connector, sink, cursor, waiting, gaps, session: None, outage: None }
    }

    /// Groups that are missing in the output.
    pub(super) fn missing(&self) -> u64 {
        self.gaps.total()
    }

    /// Writes the track until it is finished. Cancelled, [`end`](Self::end) still ends it well.
    pub(super) async fn follow(&mut self) -> anyhow::Result<()> {
        loop {
            let attempt = match self.outage.as_ref().map(|outage| outage.until) {
                None => self.attempt().await,
                Some(until) => match tokio::time::timeout_at(until, self.connect_again()).await {
                    Ok(Ok(())) => self.attempt().await,
                    Ok(Err(failure)) => Err(failure),
                    Err(_) => return Err(self.give_up()),
                },
            };
            match attempt {
                Ok(()) => return Ok(()),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Lost { why, steady }) => self.lost(why, steady).await?,
            }
        }
    }

    /// Lets everything out and ends the session.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.gaps.tell(now());
        let flushed = self.sink.output.flush().await;
        if let Some(session) = &self.session {
            self.connector.close(session).await;
        }
        flushed
    }

    fn track(&self) -> &FullTrackName {
        &self.options.0.track
    }

    /// What was there is gone: what now?
    async fn lost(&mut self, why: String, steady: bool) -> anyhow::Result<()> {
        let patience = self.options.0.reconnect;
        let fresh = steady || self.outage.is_none();
        if fresh {
            if patience.is_zero() {
                let error = anyhow!("lost: {}: {why}; --reconnect waits for its return", self.place());
                self.give_up_part();
                return Err(error);
            }
            let shown = humantime::format_duration(patience);
            ui::notice(&format!("lost: {}: {why}; trying for {shown} to get it back", self.place()));
            self.outage = Some(Outage { why, last: None, until: now() + patience, pause: PAUSE.0 });
        } else if let Some(outage) = &mut self.outage {
            outage.last = Some(why);
        }
        self.sink.output.flush().await?;
        if let Some(outage) = &mut self.outage {
            let pause = outage.pause;
            outage.pause = (pause * 2).min(PAUSE.1);
            tokio::time::sleep_until((now() + pause).min(outage.until)).await;
        }
        Ok(())
    }

    fn give_up(&mut self) -> anyhow::Error {
        self.give_up_part();
        let mut why = String::new();
        if let Some(outage) = &self.outage {
            why.clone_from(&outage.why);
            if let Some(last) = &outage.last {
                why.push_str("; last attempt: ");
                why.push_str(last);
            }
        }
        let patience = humantime::format_duration(self.options.0.reconnect);
        anyhow!("lost: {}: {why}; not back within {patience} (--reconnect)", self.place())
    }

    /// A group that was cut and will not be continued is a gap.
    fn give_up_part(&mut self) {
        let part = self.cursor.part();
        if let (Some(due), false) = (self.cursor.due(), part.is_empty()) {
            self.gaps.cut(due, part, "the track was lost", now());
        }
    }

    fn place(&self) -> String {
        format!("{} at {}", self.track(), self.connector.url())
    }

    /// Connects if need be, and waits for the track; within an outage.
    async fn connect_again(&mut self) -> Result<(), Failure> {
        if self.session.is_none() {
            let attempt = self.connector.connect(&mut self.waiting).await;
            self.session = Some(attempt.map_err(|error| transient(error.to_string()))?);
        }
        self.announced().await
    }

    /// Connects if need be, waits for the track, subscribes and reads.
    async fn attempt(&mut self) -> Result<(), Failure> {
        if self.session.is_none() {
            self.session = Some(self.connector.connect(&mut self.waiting).await?);
        }
        if self.outage.is_none() && !self.options.0.no_wait {
            self.announced().await?;
        }
        self.subscribe().await
    }

    fn live(&self) -> Result<Session, Failure> {
        self.session.clone().ok_or_else(|| transient("no session".to_owned()))
    }

    /// The session is gone.
    fn session_lost(&mut self, error: &dyn std::error::Error) -> Failure {
        self.session = None;
        transient(chain(error))
    }

    /// Waits until the track is announced.
    async fn announced(&mut self) -> Result<(), Failure> {
        let session = self.live()?;
        let wanted = self.track().to_namespace();
        let what = format!("for {} to be announced", self.place());
        let subscriber = session.subscriber();
        let mut names = match subscriber.announced(wanted.clone()).await {
            Ok(names) => names,
            Err(RequestError::Session(error)) => return Err(self.session_lost(&error)),
            // Whether the track is there, subscribing shows as well.
            Err(error) => {
                tracing::warn!(%error, "cannot watch for the track");
                return Ok(());
            }
        };
        let found = async {
            while let Some(event) = names.next().await {
                if matches!(event, Announced::Active(name) if name == wanted) {
                    return true;
                }
            }
            false
        };
        if self.waiting.during(&what, found).await {
            return Ok(());
        }
        // Where the names end the session usually does.
        match tokio::time::timeout(STEADY, session.closed()).await {
            Ok(error) => Err(self.session_lost(&error)),
            Err(_) => Err(transient("the relay names no more tracks".to_owned())),
        }
    }

    async fn subscribe(&mut self) -> Result<(), Failure> {
        let session = self.live()?;
        let mut subscription = self.ask(&session, self.cursor.due()).await?;
        if self.cursor.is_behind(subscription.latest()) {
            // Another publisher, or one that began anew: its numbers are not ours.
            subscription = self.ask(&session, None).await?;
        }
        self.outage_over();
        let began = now();
        let mut reading = Reading {
            name: &self.options.0.track,
            sink: &mut self.sink,
            cursor: &mut self.cursor,
            waiting: &mut self.waiting,
            gaps: &mut self.gaps,
            patience: self.options.patience(),
            came: false,
            stage: "has begun",
        };
        let ended = reading.run(subscription).await?;
        let steady = reading.came || now().saturating_duration_since(began) >= STEADY;
        match ended {
            Ended::Finished => Ok(()),
            Ended::Lost(TrackError::Session(error)) => {
                self.session = None;
                Err(Failure::Lost { why: chain(&error), steady })
            }
            Ended::Lost(error) => Err(Failure::Lost { why: chain(&error), steady }),
        }
    }

    fn outage_over(&mut self) {
        if let Some(outage) = &self.outage {
            tracing::info!(why = outage.why, "subscribed again");
        }
    }

    async fn ask(&mut self, session: &Session, first: Option<u64>) -> Result<moqt::Subscription, Failure> {
        let subscriber = session.subscriber();
        let asking = subscriber.subscribe(self.track().clone(), self.options.subscribe(first));
        let what = format!("for an answer to the subscription of {}", self.place());
        let answer = self.waiting.during(&what, asking);
        let answer = match self.outage.as_ref().map(|outage| outage.until) {
            None => answer.await,
            Some(until) => match tokio::time::timeout_at(until, answer).await {
                Ok(answer) => answer,
                Err(_) => return Err(transient("no answer to the subscription".to_owned())),
            },
        };
        match answer {
            Ok(subscription) => Ok(subscription),
            Err(RequestError::Session(error)) => Err(self.session_lost(&error)),
            // It was announced a moment ago: its publisher may be changing.
            Err(RequestError::Refused(reason)) if self.may_return(reason) => {
                Err(transient(reason.to_string()))
            }
            Err(error) => {
                Err(Failure::Fatal(self.connector.request_failed("cannot subscribe", self.track(), &error)))
            }
        }
    }

    fn may_return(&self, reason: Reason) -> bool {
        let passing = !matches!(reason, Reason::Unauthorized | Reason::Unsupported | Reason::Malformed);
        passing && (self.outage.is_some() || !self.options.0.no_wait)
    }
}

fn transient(why: String) -> Failure {
    Failure::Lost { why, steady: false }
}
