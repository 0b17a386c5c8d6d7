//! Asking the session that has a track.

use std::sync::{Arc, atomic::Ordering};

use moqt::{
    FetchOptions, FetchRequest, FullTrackName, GroupConsumer, GroupError, Reason, RequestError, Retention,
    SubscribeOptions, Subscriber, Subscription, TrackConsumer,
};
use tracing::debug;

use crate::scope::Settings;

/// Subscribes from group `first`, or the latest on. Returns the track and its newest group.
///
/// The subscription is for everybody who will want the track, so it has no end and no wishes of its own: the
/// publisher's priority and order hold upstream, those of each subscriber downstream.
pub(crate) async fn subscribe(
    subscriber: Subscriber,
    name: FullTrackName,
    first: Option<u64>,
    retention: Retention,
) -> Result<(TrackConsumer, Option<u64>), Reason> {
    let ask = async |first| -> Result<Subscription, Reason> {
        let options = SubscribeOptions { first, retention, ..SubscribeOptions::default() };
        subscriber.subscribe(name.clone(), options).await.map_err(|error| reason(&error))
    };
    let mut subscription = ask(first).await?;
    if first.is_some_and(|first| subscription.latest().is_none_or(|latest| latest < first)) {
        // One subscriber's wish for what is yet to come does not keep the others from what is there.
        subscription = ask(None).await?;
    }
    let latest = subscription.latest();
    Ok((subscription.into_track(), latest))
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
