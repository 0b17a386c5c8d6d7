//! Who comes to a track late: whole sessions over the real QUIC stack, on a network in virtual time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod virtual_net;

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use moqt::{
    Carrier, Congestion, SessionConfig, SubscribeOptions, TrackConsumer,
    session::Handshake,
    transport::{Connection as _, SendStream},
};
use tokio::task::JoinSet;
use virtual_net::{CARRIERS, Link, Net, Server, now, track, virtually};

const RTT: Duration = Duration::from_millis(60);

/// One tick of the timers that carry the packets of this network, each way and for the answer.
const TICKS: Duration = Duration::from_millis(4);

/// A path of this round trip whose queue holds 100 ms.
fn path() -> Link {
    Link::delay(RTT / 2).rate(50_000_000, Duration::from_millis(100))
}

/// Reads frames for ever.
async fn read_on(mut track: TrackConsumer) {
    while let Ok(Some(mut group)) = track.next_group().await {
        while let Ok(Some(_)) = group.read_frame().await {}
    }
}

#[test]
fn a_late_joiner_has_its_first_frame_after_a_round_trip() {
    for (carrier, between_groups) in CARRIERS
        .into_iter()
        .flat_map(|carrier| [Duration::from_secs(2), Duration::from_secs(3600)].map(|every| (carrier, every)))
    {
        virtually(async {
            let net = Net::new(3);
            let server = Server::new(&net, Congestion::Cubic);
            let source = track("cam");
            let mut sessions = Vec::new();
            let mut reading = JoinSet::new();
            for number in 0..5 {
                // A group of 1 kB frames, most of the pause before the next one ago.
                let mut group = source.append_group();
                for _ in 0..10 {
                    group.write_frame(vec![number; 1000]).unwrap();
                }
                group.finish().unwrap();
                tokio::time::sleep(between_groups * 9 / 10).await;
                let (viewer, served, tracks) =
                    server.session(carrier, (path(), path()), SessionConfig::default()).await;
                let published = tracks.publish(source.consume()).unwrap();
                let begin = now();
                let subscriber = viewer.subscriber();
                let subscription =
                    subscriber.subscribe("cam".parse().unwrap(), SubscribeOptions::default()).await.unwrap();
                let mut track = subscription.into_track();
                let mut group = track.next_group().await.unwrap().unwrap();
                let frame = group.read_frame().await.unwrap().unwrap();
                let took = now() - begin;
                assert_eq!((group.sequence(), frame[0]), (u64::from(number), number));
                assert!(took <= RTT + TICKS, "{carrier:?}, every {between_groups:?}: {took:?}");
                reading.spawn(read_on(track));
                sessions.push((viewer, served, published));
                tokio::time::sleep(between_groups / 10).await;
            }
        });
    }
}

/// How long it takes somebody who comes when so many frames of a group are there to be answered, to have the first of
/// them, and to have all.
async fn join_live(carrier: Carrier, frames: usize) -> [Duration; 3] {
    let net = Net::new(4);
    let server = Server::new(&net, Congestion::Cubic);
    let source = track("cam");
    let mut group = source.append_group();
    let frame = Bytes::from(vec![7; 4000]);
    for _ in 0..frames {
        group.write_frame(frame.clone()).unwrap();
    }
    let (viewer, _served, tracks) = server.session(carrier, (path(), path()), SessionConfig::default()).await;
    let _published = tracks.publish(source.consume()).unwrap();
    let begin = now();
    let subscriber = viewer.subscriber();
    let subscription =
        subscriber.subscribe("cam".parse().unwrap(), SubscribeOptions::default()).await.unwrap();
    let answered = now() - begin;
    let mut track = subscription.into_track();
    let mut incoming = track.next_group().await.unwrap().unwrap();
    assert_eq!(incoming.read_frame().await.unwrap().unwrap(), frame);
    let first = now() - begin;
    for _ in 1..frames {
        assert_eq!(incoming.read_frame().await.unwrap().unwrap(), frame);
    }
    [answered, first, now() - begin]
}

#[test]
fn in_the_middle_of_a_long_group_too_the_first_frame_comes_after_a_round_trip() {
    for carrier in CARRIERS {
        // Connections begin with about 12 kB, and twice as much after each round trip.
        for (frames, rounds) in [(1, 1), (3, 3), (13, 4), (17, 4), (30, 5), (250, 9)] {
            let [answered, first, all] = virtually(join_live(carrier, frames));
            let at = format!("{carrier:?}, {frames} frames");
            println!("{at}: answered after {answered:?}, the first after {first:?}, all after {all:?}");
            assert!(answered <= RTT + TICKS, "{at}: answered after {answered:?}");
            assert!(first <= RTT + TICKS, "{at}: the first after {first:?}");
            assert!(all <= RTT * rounds + TICKS, "{at}: all after {all:?}");
        }
    }
}

/// How long it takes to be answered on a connection that has a group of some megabytes to send, asked so much later.
async fn ask_meanwhile(carrier: Carrier, rate: u64, later: Duration) -> Duration {
    let net = Net::new(5);
    let server = Server::new(&net, Congestion::Cubic);
    let path = Link::delay(RTT / 2).rate(rate, Duration::from_millis(20));
    let (viewer, _served, tracks) = server.session(carrier, (path, path), SessionConfig::default()).await;
    let (bulk, chat) = (track("bulk"), track("chat"));
    let _published = [&bulk, &chat].map(|track| tracks.publish(track.consume()).unwrap());
    let subscriber = viewer.subscriber();
    let subscription =
        subscriber.subscribe("bulk".parse().unwrap(), SubscribeOptions::default()).await.unwrap();
    let mut reading = JoinSet::new();
    reading.spawn(read_on(subscription.into_track()));
    let mut group = bulk.append_group();
    for _ in 0..100 {
        group.write_frame(vec![7; 50_000]).unwrap();
    }
    tokio::time::sleep(later).await;
    let begin = now();
    subscriber.subscribe("chat".parse().unwrap(), SubscribeOptions::default()).await.unwrap();
    now() - begin
}

#[test]
fn an_answer_does_not_wait_behind_what_a_connection_has_been_given() {
    for carrier in CARRIERS {
        for rate in [2_000_000, 10_000_000, 50_000_000] {
            for later in [10, 50, 100, 200, 400, 700] {
                let took = virtually(ask_meanwhile(carrier, rate, Duration::from_millis(later)));
                let at = format!("{carrier:?}, {rate} bit/s, {later} ms later");
                println!("{at}: answered after {took:?}");
                assert!(took <= 2 * RTT, "{at}: answered after {took:?}");
            }
        }
    }
}

/// How many bytes of a megabyte a stream takes without waiting, in pieces of so many.
fn taken(stream: &mut impl SendStream, piece: usize) -> usize {
    const ALL: usize = 1_000_000;
    let mut left = vec![Bytes::from(vec![7; piece]); ALL / piece];
    while !left.is_empty()
        && let Some(written) = stream.write_chunks(&mut left).now_or_never()
    {
        written.unwrap();
        left.retain(|piece| !piece.is_empty());
    }
    ALL - left.iter().map(Bytes::len).sum::<usize>()
}

#[test]
fn what_goes_first_has_room_of_its_own_but_little() {
    for (carrier, piece) in
        CARRIERS.into_iter().flat_map(|carrier| [1000, 1_000_000].map(|size| (carrier, size)))
    {
        virtually(async {
            let net = Net::new(7);
            let server = Server::new(&net, Congestion::Cubic);
            let (_near, far) = server.connect(carrier, path(), path()).await;
            // From now on nothing is acknowledged.
            net.link(server.address(), "10.0.1.1:1".parse().unwrap(), path().loss(1.0));
            let at = format!("{carrier:?}, in pieces of {piece}");
            let mut payload = far.open_uni().await.unwrap();
            let bound = taken(&mut payload, piece);
            assert!(bound > 30_000 && bound < 200_000, "{at}: {bound} bytes of payload");
            let (mut first, _recv) = far.open_bi().await.unwrap();
            assert_eq!(taken(&mut first, piece), 0, "{at}: an ordinary stream has to wait");
            first.set_priority(i32::MAX);
            let above = taken(&mut first, piece);
            assert_eq!(above, 16 * 1024, "{at}: {above} bytes above");
            let (mut another, _recv) = far.open_bi().await.unwrap();
            another.set_priority(i32::MAX);
            assert_eq!(taken(&mut another, piece), 0, "{at}: they share it");
            assert_eq!(taken(&mut payload, piece), 0, "{at}: others have none of it");
        });
    }
}

/// How long it takes until both sides are connected, and then until both have a session.
async fn connect(carrier: Carrier) -> [Duration; 2] {
    let net = Net::new(6);
    let server = Server::new(&net, Congestion::Cubic);
    let begin = now();
    let (near, far) = server.connect(carrier, path(), path()).await;
    let connected = now() - begin;
    let config = SessionConfig::default();
    let (client, _server) =
        tokio::join!(Handshake::connect(near, config.clone()), Handshake::accept(far, config));
    client.unwrap();
    [connected, now() - begin]
}

#[test]
fn a_session_takes_one_round_trip_for_each_of_its_handshakes() {
    // QUIC, HTTP/3 with the request for a session, and that of the session itself.
    for (carrier, rounds) in [(Carrier::Quic, 2), (Carrier::WebTransport, 3)] {
        let [connected, ready] = virtually(connect(carrier));
        println!("{carrier:?}: connected after {connected:?}, ready after {ready:?}");
        // A server is connected half a round trip later than its client.
        let bound = (RTT + TICKS) * rounds + RTT / 2;
        assert!(ready <= bound, "{carrier:?}: connected after {connected:?}, ready after {ready:?}");
    }
}
