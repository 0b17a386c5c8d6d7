//! How many datagrams leave with one call to send: as many as where payload is written to QUIC without a protocol.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod virtual_net;

use std::time::Duration;

use bytes::Bytes;
use moqt::{
    Carrier, Congestion, Retention, SessionConfig, SubscribeOptions, TrackInfo, TrackProducer,
    transport::{Connection as _, RecvStream as _},
};
use tokio::task::JoinSet;
use virtual_net::{Link, Net, Sends, Server, virtually};

/// Video of 5 Mbit/s.
const FRAME: usize = 20_833;
const PAUSE: Duration = Duration::from_millis(33);
const FRAMES_OF_GROUP: usize = 60;
const SUBSCRIBERS: usize = 4;
/// Until the path's MTU is known and the congestion window is wide, and then while it counts.
const WARM_UP: usize = 90;
const COUNTED: usize = 120;

fn link() -> Link {
    Link::delay(Duration::from_millis(5))
}

/// What was sent between two looks.
fn between(before: Sends, after: Sends) -> Sends {
    Sends { calls: after.calls - before.calls, datagrams: after.datagrams - before.datagrams }
}

/// A track, served by sessions.
async fn forwarded(carrier: Carrier) -> Sends {
    let net = Net::new(1);
    let server = Server::new(&net, Congestion::Cubic);
    let track = TrackProducer::new("cam/video".parse().unwrap(), TrackInfo::default(), Retention::default());
    let mut held = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let (near, far, tracks) = server.session(carrier, (link(), link()), SessionConfig::default()).await;
        let published = tracks.publish(track.consume()).unwrap();
        let subscriber = near.subscriber();
        let wish = subscriber.subscribe(track.name().clone(), SubscribeOptions::default());
        held.push((wish.await.unwrap(), near, far, tracks, published));
    }
    let payload = Bytes::from(vec![7; FRAME]);
    let mut group = track.append_group();
    let mut before = Sends::default();
    for frame in 0..WARM_UP + COUNTED {
        if frame == WARM_UP {
            before = net.sends(server.address());
        }
        if frame > 0 && frame % FRAMES_OF_GROUP == 0 {
            std::mem::replace(&mut group, track.append_group()).finish().unwrap();
        }
        group.write_frame(payload.clone()).unwrap();
        tokio::time::sleep(PAUSE).await;
    }
    between(before, net.sends(server.address()))
}

/// The same bytes, written to streams of the connections.
async fn bare() -> Sends {
    let net = Net::new(1);
    let server = Server::new(&net, Congestion::Cubic);
    let mut connections = Vec::new();
    let mut reading = JoinSet::new();
    for _ in 0..SUBSCRIBERS {
        let (near, far) = server.connect(Carrier::Quic, link(), link()).await;
        reading.spawn(async move {
            while let Ok(mut stream) = near.accept_uni().await {
                while let Ok(Some(_)) = stream.read_chunk(usize::MAX).await {}
            }
        });
        connections.push(far);
    }
    let payload = Bytes::from(vec![7; FRAME]);
    let mut streams = Vec::new();
    let mut before = Sends::default();
    for frame in 0..WARM_UP + COUNTED {
        if frame == WARM_UP {
            before = net.sends(server.address());
        }
        if frame % FRAMES_OF_GROUP == 0 {
            streams.clear();
            for connection in &connections {
                streams.push(connection.quic().open_uni().await.unwrap());
            }
        }
        for stream in &mut streams {
            stream.write_all_chunks(&mut [payload.clone()]).await.unwrap();
        }
        tokio::time::sleep(PAUSE).await;
    }
    between(before, net.sends(server.address()))
}

fn each(sends: Sends) -> f64 {
    sends.datagrams as f64 / sends.calls as f64
}

#[test]
fn a_frame_leaves_in_batches_as_full_as_without_a_protocol() {
    let bare = each(virtually(bare()));
    for carrier in [Carrier::Quic, Carrier::WebTransport] {
        let sends = virtually(forwarded(carrier));
        let ours = each(sends);
        println!("{carrier:?}: {ours:.2} datagrams for each call, {bare:.2} without a protocol; {sends:?}");
        assert!(ours >= 0.95 * bare, "{carrier:?}: {ours:.2} datagrams for each call, and {bare:.2} without");
        let frames = (SUBSCRIBERS * COUNTED) as f64;
        // A frame is 15 datagrams, and a call takes 10 at most.
        assert!(sends.calls as f64 <= 2.5 * frames, "{carrier:?}: {} calls for {frames} frames", sends.calls);
    }
}
