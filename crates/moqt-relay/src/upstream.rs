//! Relays above, and asking the session that has a track.

use std::{
    error::Error,
    fmt::Debug,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use moqt::{
    Client, FetchOptions, FetchRequest, FullTrackName, GroupConsumer, GroupError, Origin, Reason,
    RequestError, Session, Subscriber, Url,
};
use tracing::debug;

use crate::scope::Settings;

/// What will come of something, later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A relay above this one, and how to reach it.
///
/// [`UpstreamUrl`] is the ordinary one.
pub trait Upstream: Debug + Send + Sync + 'static {
    /// What it is called where things are told of it; two that are called alike are the same.
    fn name(&self) -> String;

    /// Opens a session with it, in the scope of `path`, that serves it from `origin`. With `moved_to` it is its
    /// substitute, that it asked to move to; in its own words.
    fn connect<'a>(
        &'a self,
        path: &'a str,
        moved_to: Option<&'a str>,
        origin: Arc<dyn Origin>,
    ) -> Later<'a, Result<Session, Box<dyn Error + Send + Sync>>>;

    /// Waits until what was sent to it has left.
    fn idle(&self) -> Later<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A relay that is reached by a URL. Each scope has a session of its own there, with the scope's path.
#[derive(Clone, Debug)]
pub struct UpstreamUrl {
    client: Client,
    url: Url,
}

impl UpstreamUrl {
    /// The relay at this URL, whose own path does not count, by way of this client.
    #[must_use]
    pub fn new(client: Client, url: Url) -> Self {
        let url = url.with_path("/").unwrap_or(url);
        Self { client, url }
    }
}

impl Upstream for UpstreamUrl {
    fn name(&self) -> String {
        self.url.to_string()
    }

    fn connect<'a>(
        &'a self,
        path: &'a str,
        moved_to: Option<&'a str>,
        origin: Arc<dyn Origin>,
    ) -> Later<'a, Result<Session, Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            let url = moved_to.map_or(Ok(self.url.clone()), str::parse)?.with_path(path)?;
            Ok(self.client.connect_with(&url, origin).await?)
        })
    }

    fn idle(&self) -> Later<'_, ()> {
        Box::pin(self.client.wait_idle())
    }
}

/// Serves a fetch from the first of `sessions` that has the group. At least the last one's answer, whatever it is,
/// goes through as it comes.
///
/// Two equal fetches are two fetches upstream: groups are asked for one by one where something was lost, and seldom
/// by several at once.
pub(crate) async fn fetch(sessions: Vec<Subscriber>, mut request: FetchRequest, settings: Arc<Settings>) {
    let (name, group) = (request.name.clone(), request.group);
    let options = FetchOptions {
        priority: request.priority,
        first_frame: request.first_frame,
        retention: settings.retention,
    };
    let answer = tokio::select! {
        biased;
        answer = ask_for_group(sessions, &name, group, options, &settings) => answer,
        () = request.cancelled() => return,
    };
    match answer {
        Ok(group) => request.accept(group),
        Err(reason) => {
            debug!(track = %name, group, %reason, "nobody can be asked for the group");
            request.refuse(reason);
        }
    }
}

async fn ask_for_group(
    sessions: Vec<Subscriber>,
    name: &FullTrackName,
    sequence: u64,
    options: FetchOptions,
    settings: &Settings,
) -> Result<GroupConsumer, Reason> {
    let mut refused = Reason::NotFound;
    let mut sessions = sessions.into_iter().peekable();
    while let Some(subscriber) = sessions.next() {
        match subscriber.fetch(name.clone(), sequence, options).await {
            Ok(fetched) => {
                settings.fetched.fetch_add(1, Ordering::Relaxed);
                let group = fetched.into_group();
                if sessions.peek().is_none() {
                    return Ok(group);
                }
                // A refusal is the end of the group before its first frame.
                let mut first = group.clone();
                match first.next_frame().await {
                    Err(GroupError::Reset(reason)) if reason != Reason::OutOfRange => refused = reason,
                    _ => return Ok(group),
                }
            }
            Err(error) => {
                debug!(track = %name, group = sequence, %error, "cannot fetch upstream");
                refused = reason(&error);
            }
        }
    }
    Err(refused)
}

/// What a subscriber is told when the request upstream failed.
pub(crate) fn reason(error: &RequestError) -> Reason {
    match error {
        RequestError::Refused(reason) => *reason,
        RequestError::Peer(_) => Reason::ProtocolViolation,
        RequestError::Unsupported { .. } | RequestError::Name(_) | RequestError::Encode(_) => {
            Reason::Unsupported
        }
        RequestError::TooMany => Reason::TooMany,
        RequestError::Session(_) => Reason::Transport,
        _ => Reason::Internal,
    }
}
