//! Publishers that take their time: who waits for them, and what happens when somebody goes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use std::{sync::Arc, time::Duration};

use common::*;
use moqt::{
    AnnounceConsumer, AnnounceProducer, InfoRequest, Interest, Origin, Reason, Retention, Session,
    SubscribeOptions, TrackInfo, TrackProducer, TrackRequest,
};
use tokio::{sync::mpsc, task::JoinSet};

/// Hands each request to the test.
struct Slow {
    names: AnnounceProducer,
    tracks: mpsc::Sender<TrackRequest>,
    infos: mpsc::Sender<InfoRequest>,
}

impl Origin for Slow {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.names.watch(interest)
    }

    fn track(&self, request: TrackRequest) {
        self.tracks.try_send(request).unwrap();
    }

    fn info(&self, request: InfoRequest) {
        self.infos.try_send(request).unwrap();
    }
}

struct SlowPublisher {
    client: moqt::Client,
    _session: Session,
    names: AnnounceProducer,
    tracks: mpsc::Receiver<TrackRequest>,
    infos: mpsc::Receiver<InfoRequest>,
}

/// A publisher of `cam` that answers when the test does.
async fn slow(relay: &TestRelay) -> SlowPublisher {
    let ((tracks, asked), (infos, asked_info)) = (mpsc::channel(16), mpsc::channel(16));
    let names = AnnounceProducer::new();
    names.insert("cam".parse().unwrap());
    let client = relay.client();
    let origin = Arc::new(Slow { names: names.clone(), tracks, infos });
    let session = client.connect_with(&relay.url("moqf", "/"), origin).await.unwrap();
    SlowPublisher { client, _session: session, names, tracks: asked, infos: asked_info }
}

/// Subscribes to `cam` in a task that ends when the set is dropped.
fn subscribe_aside(peer: &Peer) -> JoinSet<()> {
    let mut aside = JoinSet::new();
    let subscriber = peer.session.subscriber();
    aside.spawn(async move {
        let _ = subscriber.subscribe(name("cam"), SubscribeOptions::default()).await;
    });
    aside
}

fn cam() -> TrackProducer {
    TrackProducer::new(name("cam"), TrackInfo::default(), Retention::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_are_answered_only_when_the_publisher_has_accepted() {
    bounded(async {
        let relay = TestRelay::start();
        let mut publisher = slow(&relay).await;
        let mut joining = JoinSet::new();
        for scheme in SCHEMES {
            let peer = relay.connect(scheme).await;
            peer.sees("cam").await;
            joining.spawn(async move { peer.try_subscribe("cam").await.map(|track| (peer, track)) });
        }
        let request = publisher.tracks.recv().await.unwrap();
        // Long enough for a wrong answer to arrive, and for the second request to reach the relay.
        assert!(tokio::time::timeout(Duration::from_millis(200), joining.join_next()).await.is_err());
        let cam = cam();
        request.accept(cam.consume());
        for joined in joining.join_all().await {
            joined.unwrap();
        }
        assert_eq!(relay.counters().upstream_total, 1);
        assert!(publisher.tracks.try_recv().is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_every_subscriber_with_its_reason() {
    bounded(async {
        let relay = TestRelay::start();
        let mut publisher = slow(&relay).await;
        let peer = relay.connect("https").await;
        peer.sees("cam").await;
        let (answer, ()) = tokio::join!(peer.try_subscribe("cam"), async {
            publisher.tracks.recv().await.unwrap().refuse(Reason::Unauthorized);
        });
        assert_eq!(refused(answer), Reason::Unauthorized);
        let (answer, ()) = tokio::join!(peer.info("cam"), async {
            publisher.infos.recv().await.unwrap().refuse(Reason::Expired);
        });
        assert_eq!(refused(answer), Reason::Expired);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_forgotten_when_the_last_subscriber_vanishes() {
    bounded(async {
        let relay = TestRelay::start();
        let mut publisher = slow(&relay).await;
        let peer = relay.connect("moqf").await;
        peer.sees("cam").await;
        let mut subscribing = subscribe_aside(&peer);
        let first = publisher.tracks.recv().await.unwrap();
        peer.vanish();
        subscribing.join_next().await.unwrap().unwrap();
        until("only the publisher is left", || relay.counters().sessions == 1).await;

        // The next subscriber does not wait for the answer to a question of the past.
        let peer = relay.connect("moqf").await;
        peer.sees("cam").await;
        let cam = cam();
        let (track, ()) = tokio::join!(peer.try_subscribe("cam"), async {
            publisher.tracks.recv().await.unwrap().accept(cam.consume());
        });
        track.unwrap();
        drop(first);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_withdrawn_at_the_publisher_when_nobody_waits_any_more() {
    bounded(async {
        let relay = TestRelay::start();
        let mut publisher = slow(&relay).await;
        let peer = relay.connect("moqf").await;
        peer.sees("cam").await;
        let mut asking = JoinSet::new();
        let subscriber = peer.session.subscriber();
        asking.spawn(async move { drop(subscriber.info(name("cam")).await) });
        let mut request = publisher.infos.recv().await.unwrap();
        drop(asking);
        request.cancelled().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_withdrawn_at_the_publisher_when_nobody_waits_any_more() {
    bounded(async {
        let relay = TestRelay::start();
        let mut publisher = slow(&relay).await;
        let peer = relay.connect("moqf").await;
        peer.sees("cam").await;
        let subscribing = subscribe_aside(&peer);
        let mut request = publisher.tracks.recv().await.unwrap();
        drop(subscribing);
        request.cancelled().await;

        let _subscribing = subscribe_aside(&peer);
        let mut request = publisher.tracks.recv().await.unwrap();
        peer.vanish();
        request.cancelled().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_dies_while_it_is_asked_is_followed_by_the_next() {
    bounded(async {
        let relay = TestRelay::start();
        let mut first = slow(&relay).await;
        let peer = relay.connect("moqf").await;
        peer.sees("cam").await;
        let mut second = slow(&relay).await;
        // Names come in order, so the relay knows the other one by now.
        second.names.insert("mark".parse().unwrap());
        peer.sees("mark").await;
        let cam = cam();
        let (track, ()) = tokio::join!(peer.try_subscribe("cam"), async {
            let _request = first.tracks.recv().await.unwrap();
            first.client.close();
            second.tracks.recv().await.unwrap().accept(cam.consume());
        });
        track.unwrap();
        assert_eq!(relay.counters().upstream_total, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_never_answers_is_given_up() {
    bounded(async {
        let mut options = options();
        options.limits.answer = Duration::from_millis(100);
        let relay = TestRelay::with(options);
        let mut publisher = slow(&relay).await;
        let peer = relay.connect("moqf").await;
        peer.sees("cam").await;
        assert_eq!(refused(peer.try_subscribe("cam").await), Reason::Timeout);
        assert_eq!(refused(peer.info("cam").await), Reason::Timeout);
        // It was asked, and by now the answers are of no use.
        publisher.tracks.recv().await.unwrap().refuse(Reason::NotFound);
        publisher.infos.recv().await.unwrap().refuse(Reason::NotFound);
    })
    .await;
}
