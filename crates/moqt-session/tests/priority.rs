//! Who goes first on a starved link.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use common::*;
use moqt_session::{SubscribeOptions, SubscribeUpdate};
use moqt_sim::{Link, Settings, Sim, for_each_seed};
use moqt_wire::{GroupOrder, Priority, Version};

/// Where the bytes wait that are not sent: with us, or with the transport.
fn both() -> [Settings; 2] {
    [Settings::default().send_buffer(20_000), Settings::default()]
}

/// Subscribes to two tracks, which write a group of 100 kB each, updates a subscription meanwhile, and says which
/// group is through first.
async fn first_through(
    sim: &Sim,
    priorities: [u8; 2],
    update: Option<(usize, u8)>,
    settings: Settings,
) -> usize {
    let link = Link::delay(ms(20)).rate(2_000_000);
    let (near, far) = sim.connect_with(link, settings.clone(), settings);
    let (publisher, subscriber) = pair(near, far, Version::TRANSFORK_04).await;
    let tracks = [track("first"), track("second")];
    let _published = tracks.each_ref().map(|track| publisher.tracks.publish(track.consume()));
    let mut subscriptions = Vec::new();
    for (track, priority) in tracks.iter().zip(priorities.map(Priority)) {
        let options = SubscribeOptions { priority, ..SubscribeOptions::default() };
        let subscriber = subscriber.session.subscriber();
        subscriptions.push(subscriber.subscribe(track.name().clone(), options).await.unwrap());
    }
    tracks.iter().for_each(|track| write_group(track, &[&[7; 100_000]]));
    sim.sleep(ms(150)).await;
    if let Some((which, priority)) = update {
        let (priority, order) = (Priority(priority), GroupOrder::Default);
        let update = SubscribeUpdate { priority, order, max_age: None, first: None, last: None };
        subscriptions[which].update(update).await.unwrap();
    }
    let read = |which: usize| {
        let mut track = subscriptions[which].track();
        async move { frames_of(&mut track.next_group().await.unwrap().unwrap()).await.1.unwrap() }
    };
    tokio::select! {
        biased;
        () = read(0) => 0,
        () = read(1) => 1,
    }
}

#[test]
fn on_a_starved_link_the_track_of_higher_priority_is_through_first() {
    for settings in both() {
        for_each_seed(move |sim| {
            let settings = settings.clone();
            async move {
                assert_eq!(first_through(&sim, [200, 100], None, settings.clone()).await, 0);
                assert_eq!(first_through(&sim, [100, 200], None, settings).await, 1);
            }
        });
    }
}

#[test]
fn a_change_of_priority_reaches_a_group_that_others_keep_waiting() {
    for settings in both() {
        for_each_seed(move |sim| {
            let settings = settings.clone();
            async move {
                assert_eq!(first_through(&sim, [200, 100], Some((1, 255)), settings.clone()).await, 1);
                assert_eq!(first_through(&sim, [100, 200], Some((1, 50)), settings).await, 0);
            }
        });
    }
}
