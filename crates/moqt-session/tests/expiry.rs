//! Groups that are too old: for the publisher, for one subscriber, or for whoever keeps them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::time::Duration;

use common::*;
use moqt_session::{Reason, SubscribeOptions, SubscribeUpdate, Subscription, TrackEvent, TrackInfo};
use moqt_sim::for_each_seed;
use moqt_wire::Version;

/// What a subscription brings within a while: groups that came whole, and gaps, by their first numbers.
async fn learned(subscription: Subscription) -> Vec<(u64, Option<(u64, Reason)>)> {
    let mut track = subscription.into_track();
    let mut learned = Vec::new();
    while let Ok(event) = tokio::time::timeout(secs(1), track.next_event()).await {
        match event.unwrap().unwrap() {
            TrackEvent::Group(mut group) => {
                while group.read_frame().await.unwrap().is_some() {}
                learned.push((group.sequence(), None));
            }
            TrackEvent::Gap { first, last, reason } => learned.push((first, Some((last, reason)))),
        }
    }
    learned.sort_by_key(|(first, _)| *first);
    learned
}

fn wish(max_age: Option<Duration>) -> SubscribeOptions {
    SubscribeOptions { first: Some(0), max_age, ..SubscribeOptions::default() }
}

#[test]
fn an_expired_range_is_reported_as_a_gap_after_the_shorter_of_both_expiries() {
    // The subscriber's is told in draft 03 alone; the publisher's own holds in each version.
    for (version, publishers, subscribers, expired) in [
        (Version::TRANSFORK_03, Some(2), None, true),
        (Version::TRANSFORK_03, Some(9), Some(2), true),
        (Version::TRANSFORK_03, Some(2), Some(9), true),
        (Version::TRANSFORK_03, Some(9), Some(9), false),
        (Version::TRANSFORK_03, None, None, false),
        (Version::TRANSFORK_04, Some(2), None, true),
        (Version::TRANSFORK_04, None, Some(2), false),
    ] {
        for_each_seed(move |sim| async move {
            let (publisher, subscriber) = connected(&sim, calm(), version).await;
            let live = track("cam/video");
            let max_age = publishers.map(secs);
            live.set_info(TrackInfo { max_age, ..TrackInfo::default() });
            let _published = publisher.tracks.publish(live.consume()).unwrap();
            (0..3).for_each(|_| write_group(&live, &[b"x"]));
            sim.sleep(secs(3)).await;
            write_group(&live, &[b"x"]);
            let options = wish(subscribers.map(secs));
            let subscription = subscriber.session.subscriber().subscribe(name("cam/video"), options).await;
            let learned = learned(subscription.unwrap()).await;
            let gone: u64 = learned.iter().filter_map(|(first, gap)| Some(gap.as_ref()?.0 + 1 - first)).sum();
            assert!(learned.iter().all(|(_, gap)| gap.is_none_or(|(_, reason)| reason == Reason::NotFound)));
            assert_eq!(
                gone,
                if expired { 3 } else { 0 },
                "{version} {publishers:?} {subscribers:?} {learned:?}"
            );
            assert_eq!(learned.last(), Some(&(3, None)), "the newest is always there");
        });
    }
}

#[test]
fn a_group_that_grows_too_old_on_its_way_is_given_up_and_reported() {
    for_each_seed(|sim| async move {
        let narrow = wide().stream_window(1000);
        let ends = sim.connect_with(calm(), narrow.clone(), narrow.send_buffer(1000));
        let both = || config(Version::TRANSFORK_03);
        let (publisher, subscriber) = pair_with(ends.0, ends.1, both(), both()).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        write_group(&live, &[b"x"]);
        let options = SubscribeOptions { max_age: Some(secs(2)), ..SubscribeOptions::default() };
        let wanted = subscriber.session.subscriber();
        let subscription = wanted.subscribe(name("cam/video"), options).await.unwrap();
        // One that nobody could send in time over such windows, or one that runs for as long as it likes.
        let large = vec![0; 1_000_000];
        write_group(&live, &[&large]);
        let mut running = live.append_group();
        for _ in 0..5 {
            sim.sleep(secs(1)).await;
            running.write_frame("tick").unwrap();
        }
        running.finish().unwrap();
        let mut track = subscription.into_track();
        let mut gaps = Vec::new();
        let mut whole = Vec::new();
        while let Ok(Ok(Some(event))) = tokio::time::timeout(secs(3), track.next_event()).await {
            match event {
                TrackEvent::Gap { first, last, reason } => gaps.push((first, last, reason)),
                TrackEvent::Group(mut group) => {
                    while let Ok(Some(_)) = group.read_frame().await {}
                    whole.extend(matches!(group.end(), Some(Ok(()))).then_some(group.sequence()));
                }
            }
        }
        // The first is too old by now, and was so on this side too.
        assert_eq!((gaps, whole), (vec![(1, 1, Reason::NotFound)], vec![2]));
    });
}

#[test]
fn an_update_changes_the_expiry_for_the_groups_to_come() {
    for_each_seed(|sim| async move {
        let (publisher, subscriber) = connected(&sim, calm(), Version::TRANSFORK_03).await;
        let live = track("cam/video");
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let wanted = subscriber.session.subscriber();
        let subscription = wanted.subscribe(name("cam/video"), wish(Some(secs(9)))).await.unwrap();
        let update = SubscribeUpdate {
            priority: Default::default(),
            order: Default::default(),
            max_age: Some(ms(1)),
            first: None,
            last: None,
        };
        subscription.update(update).await.unwrap();
        sim.sleep(secs(1)).await;
        write_group(&live, &[b"x"]);
        // What is not too old when it begins is sent, and has a second to arrive.
        assert_eq!(learned(subscription).await, [(0, None)]);
    });
}
