//! Limits, order and what is known of the path.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::{
    FEW_STREAMS, Pair, Setup, bidi,
    cancel::{end_all, open_all},
    now, pattern, read_to_end, round_trip, uni,
};
use crate::{Connection, RecvStream, SendStream};

/// Opening costs nothing on the wire, and nobody has to wait for the peer to take notice.
pub async fn the_peer_learns_of_a_stream_with_its_first_byte<P: Pair>(pair: &P) {
    if !pair.capabilities().silent_open {
        return;
    }
    let (client, server) = pair.connect(Setup::default()).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (mut near, mut far) = bidi::<P>(from, to).await;
        let mut silent_uni = from.open_uni().await.unwrap();
        let (mut silent_bi, _recv) = from.open_bi().await.unwrap();
        round_trip(&mut near, &mut far).await;
        round_trip(&mut far, &mut near).await;
        assert!(now(to.accept_uni()).await.is_none(), "a stream without bytes was accepted");
        assert!(now(to.accept_bi()).await.is_none(), "a stream without bytes was accepted");
        silent_uni.write_all(Bytes::from_static(b"x")).await.unwrap();
        to.accept_uni().await.unwrap();
        silent_bi.write_all(Bytes::from_static(b"x")).await.unwrap();
        to.accept_bi().await.unwrap();
    }
}

/// The peer's limit on streams holds an open back, not longer than until a stream has ended.
pub async fn an_open_beyond_the_limit_waits_for_a_stream_to_end<P: Pair>(pair: &P) {
    if !pair.capabilities().stream_limit {
        return;
    }
    let setup = Setup { max_streams: Some(FEW_STREAMS), ..Setup::default() };
    let (client, server) = pair.connect(setup).await;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let opened = open_all::<P>(from, to).await;
        let mut waiting = pin!(from.open_uni());
        assert!(now(&mut waiting).await.is_none(), "the limit was not reached");
        end_all::<P>(opened, to).await;
        let mut send = waiting.await.unwrap();
        send.write_all(Bytes::from_static(b"at last")).await.unwrap();
        send.finish().unwrap();
        assert_eq!(read_to_end(&mut to.accept_uni().await.unwrap()).await.unwrap(), b"at last");
    }
}

/// On a starved link, of what two streams have handed over that of the higher priority arrives first, whichever was
/// written first.
pub async fn of_two_blocked_streams_the_higher_priority_goes_first<P: Pair>(pair: &P) {
    // Both together are what any backend takes at once.
    const LEN: usize = 28 * 1024;

    if !pair.capabilities().starvation {
        return;
    }
    // (first written, second written)
    for priorities in [(-1, 0), (0, 5), (7, -7)] {
        let (client, server) = pair.connect(Setup { starved: true, ..Setup::default() }).await;
        let mut first = client.open_uni().await.unwrap();
        let mut second = client.open_uni().await.unwrap();
        first.set_priority(priorities.0);
        second.set_priority(priorities.1);
        // The first byte tells the streams apart.
        let send = async |mut stream: super::SendOf<P>, tag: u8| {
            let mut chunks = [Bytes::from(vec![tag]), pattern(0, LEN)];
            while chunks.iter().any(|chunk| !chunk.is_empty()) {
                stream.write_chunks(&mut chunks).await.unwrap();
            }
            stream.finish().unwrap();
            stream
        };
        let read = [AtomicUsize::new(0), AtomicUsize::new(0)];
        // How much of the other stream had arrived when this one ended.
        let receive = async || {
            let mut recv = server.accept_uni().await.unwrap();
            let tag = usize::from(recv.read_chunk(1).await.unwrap().unwrap()[0]);
            while let Some(chunk) = recv.read_chunk(usize::MAX).await.unwrap() {
                read[tag].fetch_add(chunk.len(), Ordering::Relaxed);
            }
            (tag, read[1 - tag].load(Ordering::Relaxed))
        };
        let (_first, _second, one, other) =
            tokio::join!(send(first, 0), send(second, 1), receive(), receive());
        let high = usize::from(priorities.1 > priorities.0);
        let (_, of_low) = if one.0 == high { one } else { other };
        // What arrives in one batch with the last bytes of the higher one does not count against it.
        assert!(
            of_low < LEN / 4 * 3,
            "priorities {priorities:?}: {of_low} bytes of the lower one came before"
        );
    }
}

/// Each number is either unknown or could be true.
pub async fn statistics_are_unknown_or_sensible<P: Pair>(pair: &P) {
    const LEN: usize = 1 << 20;

    let (client, server) = pair.connect(Setup::default()).await;
    let (mut send, mut recv) = uni::<P>(&client, &server).await;
    let write = async {
        send.write_all(pattern(0, LEN)).await.unwrap();
        send.finish().unwrap();
        send.stopped().await.unwrap();
    };
    let ((), read) = tokio::join!(write, read_to_end(&mut recv));
    assert_eq!(read.unwrap().len(), LEN);
    for (stats, sends) in [(client.stats(), true), (server.stats(), false)] {
        assert!(stats.rtt.is_none_or(|rtt| rtt < Duration::from_secs(60)), "{stats:?}");
        assert!(stats.congestion_window.is_none_or(|window| window > 0), "{stats:?}");
        assert!(stats.delivery_rate.is_none_or(|rate| rate > 0), "{stats:?}");
        assert!(stats.mtu.is_none_or(|mtu| mtu >= 1200), "{stats:?}");
        let moved = if sends { stats.bytes_sent } else { stats.bytes_received };
        assert!(moved.is_none_or(|bytes| bytes >= LEN as u64), "{stats:?}");
        assert!(stats.packets_sent.is_none_or(|packets| packets > 0), "{stats:?}");
        if let (Some(sent), Some(lost)) = (stats.packets_sent, stats.packets_lost) {
            assert!(lost <= sent, "{stats:?}");
        }
    }
}

/// Both ends travel alike.
pub async fn both_ends_name_the_same_carrier<P: Pair>(pair: &P) {
    let (client, server) = pair.connect(Setup::default()).await;
    assert_eq!(client.carrier(), server.carrier());
    assert_eq!(client.clone().carrier(), client.carrier());
    assert_eq!(client.remote_address().is_some(), server.remote_address().is_some());
}
