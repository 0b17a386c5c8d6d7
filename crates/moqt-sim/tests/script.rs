//! The scripted peer, against a scripted peer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::future::Future;

use common::{ms, secs};
use moqt_sim::{
    Link, Seeds, Sim,
    script::{Peer, PeerStream},
};
use moqt_wire::{
    GroupOrder, GroupSequence, Namespace, Priority, SubscribeId, Version,
    transfork::{
        AnnouncePlease, Extensions, Group, Info, Interest, SessionClient, SessionServer, SessionUpdate,
        StreamKind, code,
    },
};

fn info() -> Info {
    Info { priority: Priority(7), order: GroupOrder::Ascending, latest: GroupSequence(1000), expires: None }
}

/// A client and a server that have shaken hands.
async fn pair(sim: &Sim, version: Version) -> (Peer, Peer) {
    let (near, far) = sim.connect(Link::delay(ms(5)).loss(0.1));
    tokio::join!(Peer::client(near).handshake(version), Peer::server(far).handshake(version))
}

/// Both ends of a bidirectional stream on which nothing was written but a byte.
async fn raw_pair(sim: &Sim) -> (Peer, Peer, PeerStream, PeerStream) {
    let (near, far) = sim.connect(Link::delay(ms(5)));
    let (near, far) = (Peer::client(near), Peer::server(far));
    let mut ours = near.open_bi().await;
    ours.send_raw(&b"!"[..]).await;
    let mut theirs = far.accept_bi().await;
    assert_eq!(theirs.expect_raw(1).await, "!");
    (near, far, ours, theirs)
}

/// What the test panics with.
fn panic_of<Fut: Future<Output = ()>>(test: impl FnMut(Sim) -> Fut) -> String {
    let run = std::panic::AssertUnwindSafe(|| Seeds::fixed(0..1).run(test));
    *std::panic::catch_unwind(run).unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn every_version_shakes_hands() {
    for version in Version::ALL {
        moqt_sim::for_each_seed(|sim| async move {
            let (mut client, server) = pair(&sim, version).await;
            assert_eq!(client.spec().version, version);
            client.session().finish();
            drop(server);
            client.expect_close(code::CANCEL).await;
        });
    }
}

#[test]
fn a_handshake_can_be_anything() {
    moqt_sim::for_each_seed(|sim| async move {
        let (near, far) = sim.connect(Link::ideal());
        let (mut client, mut server) = (Peer::client(near), Peer::server(far));
        let extensions: Extensions = [(99, &b"what?"[..])].into_iter().collect();
        let offer = SessionClient { versions: vec![1, 2, 3], extensions: extensions.clone() };
        let answer = SessionServer { version: 4, extensions };
        let (answered, offered) = tokio::join!(client.offer(&offer), async {
            let offered = server.expect_offer().await;
            server.answer(&answer).await;
            offered
        });
        assert_eq!((offered, answered), (offer, answer));
    });
}

#[test]
fn messages_frames_and_ends_arrive_as_sent() {
    moqt_sim::for_each_seed(|sim| async move {
        let (client, mut server) = pair(&sim, Version::TRANSFORK_04).await;
        let please = AnnouncePlease { interest: Interest::Prefix(Namespace::default()) };
        let mut ask = client.request(StreamKind::Announce, &please).await;
        let header = Group { subscribe: SubscribeId(1), sequence: GroupSequence(2) };
        let mut group = client.group(&header).await;
        group.send_frame(&b"first"[..]).await;
        group.send_frame(&b""[..]).await;
        group.send_frame(&b"third"[..]).await;
        group.finish();

        let (mut incoming, got) = server.serve::<Group>(StreamKind::Group).await;
        assert_eq!(got, header);
        for frame in ["first", "", "third"] {
            assert_eq!(incoming.expect_frame().await, frame);
        }
        incoming.expect_finish().await;

        let (mut answer, got) = server.serve::<AnnouncePlease>(StreamKind::Announce).await;
        assert_eq!(got, please);
        answer.send(&info()).await;
        assert_eq!(ask.expect::<Info>().await, info());
        ask.expect_quiet(secs(1)).await;
        answer.reset(code::NOT_FOUND);
        ask.expect_reset(code::NOT_FOUND).await;
        answer.stop(17);
        ask.expect_stop(17).await;
        server.expect_quiet(secs(1)).await;
        server.close(code::PROTOCOL_VIOLATION, "enough");
        assert_eq!(client.expect_close(code::PROTOCOL_VIOLATION).await, "enough");
    });
}

#[test]
fn streams_of_other_kinds_wait_for_their_turn() {
    moqt_sim::for_each_seed(|sim| async move {
        let (client, mut server) = pair(&sim, Version::TRANSFORK_03).await;
        let _first = client.open(StreamKind::Info).await;
        let _second = client.open(StreamKind::Fetch).await;
        let _third = client.open(StreamKind::Announce).await;
        server.accept(StreamKind::Announce).await;
        server.accept(StreamKind::Info).await;
        server.accept(StreamKind::Fetch).await;
    });
}

#[test]
fn half_a_message_is_none() {
    let message = panic_of(|sim| async move {
        let (_near, _far, mut ours, mut theirs) = raw_pair(&sim).await;
        ours.send_part(&SessionUpdate { bitrate: 100_000 }, 3).await;
        theirs.expect::<SessionUpdate>().await;
    });
    assert!(message.contains("tests/script.rs:"), "{message}");
    assert!(message.contains("waits for SessionUpdate on the bidirectional stream"), "{message}");
    assert!(message.contains("nothing happened within 10s"), "{message}");
}

#[test]
fn what_came_instead_is_named() {
    let message = panic_of(|sim| async move {
        let (_near, _far, mut ours, mut theirs) = raw_pair(&sim).await;
        ours.reset(5);
        theirs.expect::<Info>().await;
    });
    assert!(message.contains("waits for Info"), "{message}");
    assert!(message.ends_with("but the stream was reset with code 5"), "{message}");

    let message = panic_of(|sim| async move {
        let (near, far) = sim.connect(Link::ideal());
        let (near, far) = (Peer::client(near), Peer::server(far));
        near.close(3, "no mood");
        far.expect_close(4).await;
    });
    assert!(message.ends_with("the connection ended: closed by peer with code 3: no mood"), "{message}");

    let message = panic_of(|sim| async move {
        let (_near, _far, mut ours, mut theirs) = raw_pair(&sim).await;
        ours.send_varint(7).await;
        ours.finish();
        theirs.expect_finish().await;
    });
    assert!(message.ends_with("unread bytes came before it"), "{message}");

    let message = panic_of(|sim| async move {
        let (near, far) = sim.connect(Link::ideal());
        let offer = Peer::client(near).handshake(Version::TRANSFORK_03);
        tokio::join!(offer, Peer::server(far).handshake(Version::TRANSFORK_04));
    });
    assert!(message.contains("only versions [ff0bad03] were offered"), "{message}");
}

#[test]
fn news_break_the_quiet() {
    let message = panic_of(|sim| async move {
        let (_near, far, mut ours, mut theirs) = raw_pair(&sim).await;
        far.expect_quiet(secs(5)).await;
        sim.spawn(async move {
            ours.send_varint(1).await;
            std::future::pending::<()>().await;
        });
        theirs.expect_quiet(secs(5)).await;
    });
    assert!(message.ends_with("but 1 bytes came"), "{message}");
}
