//! Threads of their own for clients, and tracks that go from one to another.
#![cfg(any(target_os = "linux", target_os = "freebsd"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use std::num::NonZeroUsize;

use common::*;
use moqt::TrackConsumer;
use moqt_relay::Options;

fn two_workers() -> Options {
    let mut options = options();
    options.workers = NonZeroUsize::new(2);
    options
}

/// A viewer, and which worker has it.
struct Viewer {
    peer: Peer,
    track: TrackConsumer,
    worker: usize,
}

/// Viewers of a track, until each worker has at least two.
async fn viewers(relay: &TestRelay, track: &str) -> Vec<Viewer> {
    let mut viewers: Vec<Viewer> = Vec::new();
    let few = |viewers: &[Viewer]| {
        (0..2).any(|worker| viewers.iter().filter(|viewer| viewer.worker == worker).count() < 2)
    };
    while few(&viewers) {
        assert!(viewers.len() < 64, "the system gives all clients to one worker");
        let before = relay.handle.sessions_by_worker();
        let peer = relay.connect(SCHEMES[viewers.len() % 2]).await;
        let track = peer.subscribe(track).await;
        let after = relay.handle.sessions_by_worker();
        let worker = (0..2).find(|&worker| after[worker] > before[worker]).unwrap();
        viewers.push(Viewer { peer, track, worker });
    }
    viewers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_of_all_workers_get_a_track_and_the_relay_drains() {
    bounded(async {
        let mut relay = TestRelay::with(two_workers());
        assert_eq!(relay.handle.addresses().len(), 1);
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let mut viewers = viewers(&relay, "cam").await;
        write(cam.append_group(), &[b"one", b"two"]);
        for viewer in &mut viewers {
            assert_eq!(read(&mut viewer.track).await.1, ["one", "two"]);
        }
        // One worker is done before the other, which serves its clients on.
        relay.handle.drain(None);
        for worker in [0, 1] {
            let (leaving, staying): (Vec<_>, Vec<_>) =
                viewers.into_iter().partition(|viewer| viewer.worker == worker);
            for viewer in leaving {
                viewer.peer.session.draining().await.unwrap();
                viewer.peer.session.close().await;
            }
            viewers = staying;
            write(cam.append_group(), &[b"still"]);
            for viewer in &mut viewers {
                assert_eq!(read(&mut viewer.track).await.1, ["still"]);
            }
        }
        publisher.session.close().await;
        relay.ends().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_workers_close() {
    bounded(async {
        let mut relay = TestRelay::with(two_workers());
        let publisher = relay.connect("https").await;
        let (_cam, _published) = publisher.publish("cam");
        let viewers = viewers(&relay, "cam").await;
        relay.handle.close().await;
        relay.ends().await;
        for viewer in viewers {
            viewer.peer.session.closed().await;
        }
        publisher.session.closed().await;
        assert_eq!(relay.handle.sessions_by_worker(), [0, 0]);
    })
    .await;
}

#[tokio::test]
async fn dropped_a_relay_of_workers_lets_go_of_its_port_which_nobody_could_share() {
    bounded(async {
        let relay = TestRelay::with(two_workers());
        let mut again = two_workers().listen(relay.address());
        again.listen.remove(0);
        assert!(moqt_relay::Relay::bind(again).is_err());
        let address = relay.address();
        let _peer = relay.connect("moqf").await;
        relay.kill();
        until("the port is free", || std::net::UdpSocket::bind(address).is_ok()).await;
    })
    .await;
}
