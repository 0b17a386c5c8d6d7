//! Clients that come back, in simulated networks with loss and delay.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod link_world;

use std::sync::Arc;

use bytes::Bytes;
use link_world::*;
use moqt::{
    FollowEnd, FollowError, FollowOptions, FollowState, GroupError, Link, LinkError, LinkEvent, MergedTrack,
    Reason, Retention, SessionError, Start, SubscribeOptions, TrackError, Tracks, follow,
};
use moqt_sim::{Seeds, for_each_seed};

const GROUPS: u64 = 20;

#[test]
fn a_server_that_dies_at_any_instant_and_comes_back_costs_its_reader_nothing() {
    Seeds::default().count(50).run(|sim| async move {
        let world = World::new(&sim);
        let live = world.serve("a", lossy(&sim));
        let link = world.link("a").await;
        let mut events = link.events();
        let followed = link.follow(name("cam"), from(0)).await.unwrap();
        let reading = world.read(followed.track());
        let publishing = sim.spawn(publish(live, GROUPS));
        let mut rng = sim.rng();
        sim.sleep(rng.duration(secs(2))).await;
        world.down("a");
        sim.sleep(rng.duration(secs(1))).await;
        world.up("a");
        publishing.await.unwrap();
        assert_eq!(reading.await.unwrap().len() as u64, GROUPS * FRAMES);
        assert!(matches!(events.next().await, Some(LinkEvent::Lost { .. })));
        loop {
            match events.next().await {
                Some(LinkEvent::Failed { .. }) => {}
                Some(LinkEvent::Connected { .. }) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(link.close().await, LinkError::Closed));
        assert!(matches!(events.next().await, Some(LinkEvent::Over(LinkError::Closed))));
    });
}

#[test]
fn of_a_group_that_was_cut_only_the_rest_comes_again_from_servers_that_can_do_that() {
    for serves_fetches in [true, false] {
        for_each_seed(|sim| async move {
            let world = World::new(&sim);
            let live = world.serve("a", calm());
            if !serves_fetches {
                world.serves_no_fetches("a");
            }
            let link = world.link("a").await;
            let mut reader = link.follow(name("cam"), from(0)).await.unwrap().into_track();
            let frame = Bytes::from(vec![7; 100_000]);
            let mut group = live.append_group();
            group.write_frame(frame.clone()).unwrap();
            let mut cut = reader.next_group().await.unwrap().unwrap();
            assert_eq!(cut.read_frame().await.unwrap().unwrap(), frame);
            world.down("a");
            world.up("a");
            world.next_session("a", 1).await;
            group.write_frame("the rest").unwrap();
            assert_eq!(cut.read_frame().await.unwrap().unwrap(), "the rest");
            // What is written after that comes the same way, and what follows by the subscription.
            group.write_frame("the end").unwrap();
            group.finish().unwrap();
            assert_eq!(cut.read_frame().await.unwrap().unwrap(), "the end");
            assert_eq!(cut.read_frame().await.unwrap(), None);
            live.append_group().finish().unwrap();
            live.finish();
            assert_eq!(reader.next_group().await.unwrap().unwrap().sequence(), 1);
            assert!(reader.next_group().await.unwrap().is_none());
            assert_eq!(world.bytes_sent("a") < 10_000, serves_fetches, "{} bytes", world.bytes_sent("a"));
        });
    }
}

#[test]
fn a_group_that_is_cut_again_and_again_is_brought_to_its_end() {
    cut_again_and_again(&Seeds::default().count(50));
}

#[test]
fn the_end_of_a_group_asked_for_alone_is_not_the_end_of_the_track() {
    cut_again_and_again(&Seeds::fixed(1528..1529));
}

fn cut_again_and_again(seeds: &Seeds) {
    seeds.run(|sim| async move {
        let mut rng = sim.rng();
        let world = World::new(&sim);
        let live = world.serve("a", lossy(&sim));
        if rng.chance(0.3) {
            world.serves_no_fetches("a");
        }
        let link = world.link("a").await;
        let reading = world.read(link.follow(name("cam"), from(0)).await.unwrap().into_track());
        let publishing = sim.spawn(publish(live, GROUPS));
        // It goes down while it brings the rest, too, and when the track has ended.
        for known in 1..6 {
            sim.sleep(rng.duration(ms(600))).await;
            world.down("a");
            world.up("a");
            world.next_session("a", known).await;
        }
        publishing.await.unwrap();
        assert_eq!(reading.await.unwrap().len() as u64, GROUPS * FRAMES);
    });
}

#[test]
fn a_server_that_is_left_for_another_is_not_missed_for_an_instant() {
    Seeds::default().count(50).run(|sim| async move {
        let mut rng = sim.rng();
        let world = World::new(&sim);
        let (one, two) = (ms(5 + rng.below(40)), ms(5 + rng.below(40)));
        let live = world.serve("a", moqt_sim::Link::delay(one));
        world.also("b", moqt_sim::Link::delay(two), "a");
        let link = world.link("a").await;
        let mut events = link.events();
        let followed = link.follow(name("cam"), from(0)).await.unwrap();
        let reading = world.read(followed.into_track());
        let publishing = sim.spawn(publish(live, GROUPS));
        sim.sleep(rng.duration(secs(1))).await;
        let left = world.drain("a", Some("moqf://b/"), secs(20)).await;
        assert!(matches!(left, SessionError::Closed { reason: Reason::Cancelled, .. }), "{left:?}");
        let (written, came) = (publishing.await.unwrap(), reading.await.unwrap());
        assert_eq!(came.len() as u64, GROUPS * FRAMES);
        for (frame, at) in came {
            let took = at - written[&frame];
            assert!(took <= one.max(two) + ms(2), "{frame:?} took {took:?}");
        }
        let Some(LinkEvent::Moving { to }) = events.next().await else { panic!("it moves") };
        assert_eq!(to.to_string(), "moqf://b:443/");
        let Some(LinkEvent::Connected { url, .. }) = events.next().await else { panic!("it has moved") };
        assert_eq!(url, to);
    });
}

#[test]
fn with_two_servers_either_may_die_at_any_instant_and_nothing_comes_later_than_by_the_slower_way() {
    Seeds::default().count(50).run(|sim| async move {
        let mut rng = sim.rng();
        let world = World::new(&sim);
        let delays = [ms(10 + rng.below(30)), ms(10 + rng.below(80))];
        let live = world.serve("a", moqt_sim::Link::delay(delays[0]));
        world.also("b", moqt_sim::Link::delay(delays[1]), "a");
        let links = [world.link("a").await, world.link("b").await];
        let followed = follow(&links, name("cam"), from(0)).await.unwrap();
        while !followed.states().iter().all(|state| matches!(*state.borrow(), FollowState::Live)) {
            sim.sleep(ms(1)).await;
        }
        let reading = world.read(followed.into_track());
        let publishing = sim.spawn(publish(live, 80));
        // One after the other is gone for a while, as in a rolling restart.
        for host in if rng.chance(0.5) { ["a", "b"] } else { ["b", "a"] } {
            sim.sleep(rng.duration(ms(300))).await;
            world.down(host);
            sim.sleep(rng.duration(ms(300))).await;
            world.up(host);
            // Until it is noticed and another session is there.
            sim.sleep(IDLE + secs(1)).await;
        }
        assert!(!publishing.is_finished());
        let (written, came) = (publishing.await.unwrap(), reading.await.unwrap());
        assert_eq!(came.len() as u64, 80 * FRAMES);
        let slower = *delays.iter().max().unwrap();
        for (frame, at) in came {
            let took = at - written[&frame];
            assert!(took <= slower + ms(2), "{frame:?} took {took:?} of {slower:?}");
        }
    });
}

/// A server that takes what its clients publish, as a relay does.
async fn takes(world: &World, host: &'static str, track: &MergedTrack) {
    let mut feed = None;
    let mut known = 0;
    loop {
        let session = world.next_session(host, known).await;
        known += 1;
        let options = SubscribeOptions { first: track.resume_at().or(Some(0)), ..Default::default() };
        if let Ok(new) = session.subscriber().subscribe_into(track, options).await {
            feed = Some(new);
        }
        let _ = &feed;
    }
}

#[test]
fn a_publisher_that_loses_its_server_at_any_instant_goes_on_with_the_numbers_that_it_had() {
    Seeds::default().count(50).run(|sim| async move {
        let mut rng = sim.rng();
        let world = World::new(&sim);
        world.hear("relay", lossy(&sim));
        let tracks = Tracks::new();
        let live = track("cam");
        let _published = tracks.publish(live.consume()).unwrap();
        let _link = world.publish("relay", Arc::new(tracks)).await;
        let taken = merged();
        let reading = world.read(taken.consume().reader(Start::At(0)));
        let taking = sim.spawn({
            let (world, taken) = (world.clone(), taken.clone());
            async move { takes(&world, "relay", &taken).await }
        });
        let publishing = sim.spawn(publish(live, GROUPS));
        sim.sleep(rng.duration(secs(2))).await;
        world.down("relay");
        sim.sleep(rng.duration(secs(1))).await;
        world.up("relay");
        publishing.await.unwrap();
        assert_eq!(reading.await.unwrap().len() as u64, GROUPS * FRAMES);
        taking.abort();
    });
}

#[test]
fn a_publisher_that_is_asked_to_move_serves_the_old_server_until_it_asks_no_more() {
    Seeds::default().count(50).run(|sim| async move {
        let mut rng = sim.rng();
        let world = World::new(&sim);
        let (one, two) = (ms(5 + rng.below(40)), ms(5 + rng.below(40)));
        world.hear("a", moqt_sim::Link::delay(one));
        world.hear("b", moqt_sim::Link::delay(two));
        let tracks = Tracks::new();
        let live = track("cam");
        let _published = tracks.publish(live.consume()).unwrap();
        let link = world.publish("a", Arc::new(tracks)).await;
        let old = world.next_session("a", 0).await;
        let taken = merged();
        let reading = world.read(taken.consume().reader(Start::At(0)));
        let first = old.subscriber().subscribe_into(&taken, from(0).subscribe).await.unwrap();
        let publishing = sim.spawn(publish(live, 50));
        sim.sleep(rng.duration(secs(1))).await;
        let draining = sim.spawn({
            let world = world.clone();
            async move { world.drain("a", Some("moqf://b/"), secs(25)).await }
        });
        let new = world.next_session("b", 0).await;
        let resume = from(taken.resume_at().unwrap_or(0)).subscribe;
        let second = new.subscriber().subscribe_into(&taken, resume).await.unwrap();
        second.delivers().await;
        // Though it has had another session for long, it stays as long as it is asked.
        sim.sleep(secs(2)).await;
        assert!(!draining.is_finished());
        let asked_last = sim.elapsed();
        drop(first);
        let end = draining.await.unwrap();
        assert!(matches!(end, SessionError::Closed { reason: Reason::Cancelled, .. }), "{end:?}");
        assert!(sim.elapsed() - asked_last < secs(2), "and no longer");
        let (written, came) = (publishing.await.unwrap(), reading.await.unwrap());
        assert_eq!(came.len() as u64, 50 * FRAMES);
        for (frame, at) in came {
            let took = at - written[&frame];
            assert!(took <= one.max(two) + ms(2), "{frame:?} took {took:?}");
        }
        drop(link);
    });
}

#[test]
fn a_publisher_on_two_networks_may_lose_either_at_any_instant() {
    Seeds::default().count(50).run(|sim| async move {
        let mut rng = sim.rng();
        let world = World::new(&sim);
        let delays = [ms(10 + rng.below(30)), ms(10 + rng.below(80))];
        world.hear("wifi", moqt_sim::Link::delay(delays[0]));
        world.hear("cell", moqt_sim::Link::delay(delays[1]));
        let tracks = Tracks::new();
        let live = track("cam");
        let _published = tracks.publish(live.consume()).unwrap();
        let origin = Arc::new(tracks);
        let _wifi = world.publish("wifi", origin.clone()).await;
        let _cell = world.publish("cell", origin).await;
        let taken = merged();
        let mut feeds = Vec::new();
        for host in ["wifi", "cell"] {
            let session = world.next_session(host, 0).await;
            feeds.push(session.subscriber().subscribe_into(&taken, from(0).subscribe).await.unwrap());
        }
        let reading = world.read(taken.consume().reader(Start::At(0)));
        let publishing = sim.spawn(publish(live, GROUPS));
        sim.sleep(rng.duration(secs(2))).await;
        world.down(if rng.chance(0.5) { "wifi" } else { "cell" });
        let (written, came) = (publishing.await.unwrap(), reading.await.unwrap());
        assert_eq!(came.len() as u64, GROUPS * FRAMES);
        let slower = *delays.iter().max().unwrap();
        for (frame, at) in came {
            assert!(at - written[&frame] <= slower + ms(2), "{frame:?}");
        }
    });
}

#[test]
fn what_does_not_come_back_in_time_is_given_up() {
    for_each_seed(|sim| async move {
        let world = World::new(&sim);
        let live = world.serve("a", calm());
        let link = world.link_with("a", |policy| policy.patience = Some(secs(3))).await;
        let mut events = link.events();
        let followed = link.follow(name("cam"), from(0)).await.unwrap();
        let mut state = followed.states()[0].clone();
        let mut reader = followed.into_track();
        let mut group = live.append_group();
        group.write_frame("half").unwrap();
        let mut half = reader.next_group().await.unwrap().unwrap();
        half.read_frame().await.unwrap().unwrap();
        world.down("a");
        let since = sim.elapsed();
        let error = reader.next_group().await.unwrap_err();
        assert!(matches!(error, TrackError::Ended(Reason::Transport)), "{error:?}");
        let took = sim.elapsed() - since;
        assert!(took >= secs(3) && took < secs(4) + IDLE, "{took:?}");
        assert!(matches!(half.read_frame().await, Err(GroupError::Reset(_))), "nobody hangs in a cut group");
        let over = state.wait_for(|state| matches!(state, FollowState::Over(_))).await.unwrap().clone();
        assert!(matches!(over, FollowState::Over(FollowEnd::Lost { .. })), "{over:?}");
        assert!(matches!(link.closed().await, LinkError::GaveUp { last: Some(_), .. }));
        assert!(link.current().is_none());
        let asked = link.follow(name("cam"), from(0)).await;
        assert!(matches!(asked, Err(FollowError::Lost(_))), "{asked:?}");
        let mut attempts = 0;
        while let Some(event) = events.next().await {
            attempts += u32::from(matches!(event, LinkEvent::Failed { .. }));
            if matches!(event, LinkEvent::Over(_)) {
                break;
            }
        }
        assert!((3..=8).contains(&attempts), "{attempts} attempts in three seconds");
    });
}

#[test]
fn a_track_that_is_not_there_is_waited_for_or_refused() {
    for_each_seed(|sim| async move {
        let world = World::new(&sim);
        world.hear("a", calm());
        let link = world.link("a").await;
        let mut options = from(0);
        options.wait = false;
        let refused = link.follow(name("cam"), options).await;
        assert!(matches!(refused, Err(FollowError::Request(_))), "{refused:?}");
        let waiting = sim.spawn({
            let link = link.clone();
            async move { link.follow(name("cam"), from(0)).await.unwrap() }
        });
        sim.sleep(secs(20)).await;
        assert!(!waiting.is_finished());
        let live = track("cam");
        let _published = world.tracks("a").publish(live.consume()).unwrap();
        let since = sim.elapsed();
        let followed = waiting.await.unwrap();
        assert!(sim.elapsed() - since < ms(500), "it is heard of at once");
        live.append_group().finish().unwrap();
        assert_eq!(followed.into_track().next_group().await.unwrap().unwrap().sequence(), 0);
        // Nobody reads any more: nobody is asked any more.
        sim.sleep(secs(1)).await;
        assert_eq!(live.readers(), 1);
    });
}

#[test]
fn a_publisher_that_leaves_and_comes_back_is_followed_and_one_that_begins_anew_is_told_apart() {
    for_each_seed(|sim| async move {
        let world = World::new(&sim);
        world.hear("a", calm());
        let tracks = world.tracks("a");
        let link = world.link("a").await;
        let first = track("cam");
        let published = tracks.publish(first.consume()).unwrap();
        let mut reader = link.follow(name("cam"), from(0)).await.unwrap().into_track();
        for _ in 0..5 {
            first.append_group().finish().unwrap();
        }
        for number in 0..5 {
            assert_eq!(reader.next_group().await.unwrap().unwrap().sequence(), number);
        }
        drop(published);
        first.abort(Reason::GoingAway);
        sim.sleep(secs(2)).await;
        // Another one, with the same numbers.
        let second = track("cam");
        let published = tracks.publish(second.consume()).unwrap();
        for number in 4..7 {
            second.create_group(number).unwrap().finish().unwrap();
        }
        for number in 5..7 {
            assert_eq!(reader.next_group().await.unwrap().unwrap().sequence(), number);
        }
        drop(published);
        second.abort(Reason::GoingAway);
        // And one with numbers of its own.
        let third = track("cam");
        let _published = tracks.publish(third.consume()).unwrap();
        third.append_group().finish().unwrap();
        let end = reader.next_group().await;
        assert!(matches!(end, Err(TrackError::Ended(Reason::OutOfRange))), "{end:?}");
    });
}

#[test]
fn a_link_ends_with_its_last_handle_and_its_tracks_with_it() {
    for_each_seed(|sim| async move {
        let world = World::new(&sim);
        let _live = world.serve("a", calm());
        let link = world.link("a").await;
        let mut reader = link.follow(name("cam"), from(0)).await.unwrap().into_track();
        let session = world.next_session("a", 0).await;
        let second = link.clone();
        drop(link);
        sim.sleep(secs(1)).await;
        assert!(second.current().is_some());
        drop(second);
        let end = session.closed().await;
        assert!(matches!(end, SessionError::Closed { reason: Reason::Cancelled, .. }), "{end:?}");
        assert!(reader.next_group().await.is_err());
    });
}

fn merged() -> MergedTrack {
    let cache = moqt::CacheBudget::unlimited();
    MergedTrack::new(&cache, name("cam"), Retention::default(), MergedTrack::GRACE)
}

fn from(first: u64) -> FollowOptions {
    SubscribeOptions { first: Some(first), ..SubscribeOptions::default() }.into()
}

fn assert_send<T: Send + Sync>(_: &T) {}

#[test]
fn links_can_be_shared() {
    for_each_seed(|sim| async move {
        let world = World::new(&sim);
        let _live = world.serve("a", calm());
        let link: Link = world.link("a").await;
        assert_send(&link);
        assert!(link.session().await.is_ok());
        assert_eq!(link.current().map(|session| session.id()), link.session().await.ok().map(|it| it.id()));
    });
}
