//! Asking the session that has a track.

use moqt::{
    FullTrackName, Reason, RequestError, Retention, SubscribeOptions, Subscriber, Subscription, TrackConsumer,
};

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
