//! Relays above and below one another.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use std::time::Duration;

use common::*;
use moqt::{Announced, FetchOptions, Namespace, Reason};
use moqt_relay::Options;

async fn linked(relay: &TestRelay, links: u64) {
    until("the relays above are there", || relay.counters().links == links).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_track_comes_down_a_tree_once_a_hop_and_info_and_fetch_go_up() {
    bounded(async {
        let top = TestRelay::start();
        let middle = TestRelay::with(below(&[&top]));
        let edge = TestRelay::with(below(&[&middle]));
        let publisher = top.connect_to("moqf", "/room/1").await;
        let (cam, _published) = publisher.publish("cam");
        let mut readers = Vec::new();
        for scheme in SCHEMES.into_iter().cycle().take(4) {
            let viewer = edge.connect_to(scheme, "/room/1").await;
            let track = viewer.subscribe("cam").await;
            readers.push((viewer, track));
        }
        write(cam.append_group(), &[b"a", b"b"]);
        for (_, track) in &mut readers {
            assert_eq!(read(track).await, (0, vec!["a".into(), "b".into()]));
        }
        for relay in [&top, &middle, &edge] {
            assert_eq!(relay.counters().upstream_total, 1);
            assert_eq!(relay.counters().cached_groups, 1);
        }
        // A track that nobody reads: the questions go all the way up.
        let (mic, _published) = publisher.publish("mic");
        write(mic.append_group(), &[b"0"]);
        write(mic.append_group(), &[b"1"]);
        let (viewer, _) = &readers[0];
        viewer.sees("mic").await;
        assert_eq!(viewer.info("mic").await.unwrap().latest, Some(1));
        let fetched = viewer.session.subscriber().fetch(name("mic"), 0, FetchOptions::default()).await;
        let mut group = fetched.unwrap().into_group();
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "0");
        // Other scopes have nothing of it.
        let other = edge.connect("moqf").await;
        assert_eq!(refused(other.try_subscribe("cam").await), Reason::NotFound);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_at_an_edge_is_at_the_top_and_at_other_edges() {
    bounded(async {
        let top = TestRelay::start();
        let (one, two) = (TestRelay::with(below(&[&top])), TestRelay::with(below(&[&top])));
        let publisher = one.connect("https").await;
        let (cam, _published) = publisher.publish("cam");
        let mut tracks = Vec::new();
        for relay in [&one, &top, &two] {
            let viewer = relay.connect("moqf").await;
            let track = viewer.subscribe("cam").await;
            tracks.push((viewer, track));
        }
        // Many want it, and its publisher is asked once.
        until("all are served", || cam.readers() == 2).await;
        write(cam.append_group(), &[b"x"]);
        for (_, track) in &mut tracks {
            assert_eq!(read(track).await.1, ["x"]);
        }
        assert_eq!(cam.readers(), 2);
        // It comes to its end everywhere.
        let mut names = tracks[2].0.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
        while names.next().await.unwrap() != Announced::CaughtUp {}
        cam.finish();
        for (_, track) in &mut tracks {
            assert!(track.next_group().await.unwrap().is_none());
        }
        drop(_published);
        assert_eq!(names.next().await.unwrap(), ended("cam"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_subscriber_of_a_scope_waits_for_the_relays_above() {
    bounded(async {
        let top = TestRelay::start();
        let edge = TestRelay::with(below(&[&top]));
        let publisher = top.connect_to("moqf", "/cold").await;
        let (cam, _published) = publisher.publish("cam");
        publisher.sees("cam").await;
        write(cam.append_group(), &[b"x"]);
        // Without a look at what is announced.
        let viewer = edge.connect_to("moqf", "/cold").await;
        let mut track = viewer.try_subscribe("cam").await.unwrap();
        assert_eq!(read(&mut track).await.1, ["x"]);
        let other = edge.connect_to("https", "/cold").await;
        let mut names = other.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
        assert_eq!(names.next().await.unwrap(), active("cam"));
        assert_eq!(names.next().await.unwrap(), Announced::CaughtUp);
        // When nobody is there, nobody waits for long.
        let mut lonely = options();
        lonely.upstreams = vec![upstream(free_port())];
        let lonely = TestRelay::with(lonely);
        let here = lonely.connect("moqf").await;
        let (_cam, _published) = here.publish("cam");
        assert!(here.subscribe("cam").await.latest().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_goes_on_with_another_upstream_when_one_dies() {
    bounded(async {
        let tops = [TestRelay::start(), TestRelay::start()];
        let edge = TestRelay::with(below(&[&tops[0], &tops[1]]));
        linked(&edge, 2).await;
        // One publisher, in both places.
        let mut homes = Vec::new();
        let mut tracks = Vec::new();
        for top in &tops {
            let home = top.connect("moqf").await;
            tracks.push(home.publish("cam"));
            homes.push(home);
        }
        let (one, two) = (&tracks[0].0, &tracks[1].0);
        let viewer = edge.connect("moqf").await;
        let mut names = viewer.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
        while names.next().await.unwrap() != active("cam") {}
        assert_eq!(names.next().await.unwrap(), Announced::CaughtUp);
        let mut track = viewer.try_subscribe("cam").await.unwrap();
        until("one of them is asked", || one.readers() + two.readers() == 3).await;
        let first = usize::from(two.readers() == 2);
        for track in [one, two] {
            write(track.append_group(), &[b"0"]);
        }
        assert_eq!(read(&mut track).await.0, 0);
        let mut cut = tracks[first].0.append_group();
        cut.write_frame("1a").unwrap();
        let mut group = track.next_group().await.unwrap().unwrap();
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "1a");

        let [top, other] = tops;
        let (dies, stays) = if first == 0 { (top, other) } else { (other, top) };
        dies.kill();
        let spare = &tracks[1 - first].0;
        until("the other one is asked", || spare.readers() == 2).await;
        write(spare.append_group(), &[b"1a", b"1b"]);
        assert_eq!(group.read_frame().await.unwrap().unwrap(), "1b");
        assert_eq!(group.read_frame().await.unwrap(), None);
        // Nobody below has heard of it.
        let (_mark, _marked) = homes[1 - first].publish("last");
        assert_eq!(names.next().await.unwrap(), active("last"));
        assert_eq!(stays.counters().upstream_total, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_moves_from_an_upstream_that_drains_and_returns_when_it_is_back() {
    bounded(async {
        let (one, two) = (TestRelay::start(), TestRelay::start());
        let address = one.address();
        let edge = TestRelay::with(below(&[&one, &two]));
        linked(&edge, 2).await;
        let publisher = edge.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let viewer = two.connect("moqf").await;
        let mut track = viewer.subscribe("cam").await;
        let mut one = one;
        one.handle.drain(None);
        one.ends().await;
        let again = TestRelay::with(listening(address));
        linked(&edge, 2).await;
        let other = again.connect("moqf").await;
        let mut late = other.subscribe("cam").await;
        write(cam.append_group(), &[b"x"]);
        assert_eq!(read(&mut track).await.1, ["x"]);
        assert_eq!(read(&mut late).await.1, ["x"]);
    })
    .await;
}

fn listening(address: std::net::SocketAddr) -> Options {
    let mut options = options();
    options.listen = Vec::new();
    options.listen(address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_that_point_to_one_another_end_up_as_a_tree() {
    bounded(async {
        let addresses = [free_port(), free_port()];
        let relays: Vec<_> = [(0, 1), (1, 0)]
            .into_iter()
            .map(|(at, above)| {
                let mut options = listening(addresses[at]);
                options.upstreams = vec![upstream(addresses[above])];
                TestRelay::with(options)
            })
            .collect();
        until("the loop is found", || relays.iter().any(|relay| relay.counters().loops_total > 0)).await;
        // What is published at the one is at the other, and gone when it is gone.
        for (at, there) in [(0, 1), (1, 0)] {
            let publisher = relays[at].connect("moqf").await;
            let viewer = relays[there].connect("moqf").await;
            let (cam, published) = publisher.publish("cam");
            let mut track = viewer.subscribe("cam").await;
            write(cam.append_group(), &[b"x"]);
            assert_eq!(read(&mut track).await.1, ["x"]);
            drop((track, published));
            until("the name is gone", || relays.iter().all(|relay| relay.counters().announced == 0)).await;
        }
        // Few attempts, and no storm.
        let attempts = |relay: &TestRelay| relay.counters().loops_total;
        let before: u64 = relays.iter().map(attempts).sum();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after: u64 = relays.iter().map(attempts).sum();
        assert!(after - before <= 20, "{before}, {after}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_its_own_upstream_finds_out_and_serves_on() {
    bounded(async {
        let address = free_port();
        let mut options = listening(address);
        options.upstreams = vec![upstream(address)];
        let relay = TestRelay::with(options);
        // And again when it comes back.
        until("the loop is found", || relay.counters().loops_total > 1).await;
        let publisher = relay.connect("moqf").await;
        let (cam, published) = publisher.publish("cam");
        let viewer = relay.connect("https").await;
        let mut track = viewer.subscribe("cam").await;
        write(cam.append_group(), &[b"x"]);
        assert_eq!(read(&mut track).await.1, ["x"]);
        drop((track, published));
        until("the name is gone", || relay.counters().announced == 0).await;
        // Who asks at once may wait with the track for another publisher, but not for ever.
        loop {
            match viewer.try_subscribe("cam").await {
                Ok(mut track) => assert!(track.next_group().await.is_err()),
                error => break assert_eq!(refused(error), Reason::NotFound),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_beyond_the_limit_have_no_upstream_and_are_served_without() {
    bounded(async {
        let top = TestRelay::start();
        let mut options = below(&[&top]);
        options.limits.linked_scopes = 2;
        let edge = TestRelay::with(options);
        linked(&edge, 1).await;
        let one = edge.connect_to("moqf", "/1").await;
        linked(&edge, 2).await;
        let two = edge.connect_to("moqf", "/2").await;
        let (_cam, _published) = two.publish("cam");
        assert!(two.subscribe("cam").await.latest().is_none());
        assert_eq!((edge.counters().links, edge.counters().refused_total), (2, 1));
        // Where one goes, there is room for another.
        one.session.close().await;
        until("one is gone", || edge.counters().links == 1).await;
        let three = edge.connect_to("moqf", "/3").await;
        linked(&edge, 2).await;
        drop(three);
    })
    .await;
}
