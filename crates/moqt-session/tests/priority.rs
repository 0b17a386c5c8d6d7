//! Who goes first on a starved link.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use common::*;
use moqt_session::{SubscribeOptions, SubscribeUpdate};
use moqt_sim::{Link, Settings, for_each_seed};
use moqt_wire::{GroupOrder, Priority, Version};

#[test]
fn a_change_of_priority_reaches_a_group_that_others_keep_waiting() {
    // What is not sent is held by us, or by the transport.
    for settings in [Settings::default().send_buffer(20_000), Settings::default()] {
        for_each_seed(move |sim| {
            let settings = settings.clone();
            async move {
                let link = Link::delay(ms(20)).rate(2_000_000);
                let (near, far) = sim.connect_with(link, settings.clone(), settings);
                let (publisher, subscriber) = pair(near, far, Version::TRANSFORK_04).await;
                let tracks = [track("first"), track("second")];
                let _published = tracks.each_ref().map(|track| publisher.tracks.publish(track.consume()));
                let mut subscriptions = Vec::new();
                for (text, priority) in [("first", 200), ("second", 100)] {
                    let options =
                        SubscribeOptions { priority: Priority(priority), ..SubscribeOptions::default() };
                    let subscriber = subscriber.session.subscriber();
                    subscriptions.push(subscriber.subscribe(name(text), options).await.unwrap());
                }
                tracks.iter().for_each(|track| write_group(track, &[&[7; 100_000]]));
                sim.sleep(ms(150)).await;
                let priority = Priority(255);
                let order = GroupOrder::Default;
                let update = SubscribeUpdate { priority, order, max_age: None, first: None, last: None };
                subscriptions[1].update(update).await.unwrap();
                let read = |at: usize| {
                    let mut track = subscriptions[at].track();
                    async move { frames_of(&mut track.next_group().await.unwrap().unwrap()).await }
                };
                let first = tokio::select! {
                    biased;
                    _ = read(0) => "first",
                    _ = read(1) => "second",
                };
                assert_eq!(first, "second");
            }
        });
    }
}
