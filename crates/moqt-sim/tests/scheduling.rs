//! Who goes first: priorities, fairness, flow control, limits on streams.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{count_to_end, ms, read_to_end, secs, send};
use moqt_sim::{Link, Settings, Sim, SimConnection, SimSendStream, for_each_seed};
use moqt_transport::{Connection, RecvStream, SendStream};

/// Opens a stream of the given priority and writes `len` bytes of its label to it in the background.
async fn pour(sim: &Sim, connection: &SimConnection, label: u8, priority: i32, len: usize) {
    let mut out = connection.open_uni().await.unwrap();
    out.set_priority(priority);
    sim.spawn(send(out, Bytes::from(vec![label; len])));
}

/// The labels of `count` streams in the order of their ends.
async fn order_of_ends(sim: &Sim, connection: &SimConnection, count: usize) -> Vec<u8> {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for _ in 0..count {
        let mut incoming = connection.accept_uni().await.unwrap();
        let ends = Arc::clone(&ends);
        tasks.push(sim.spawn(async move {
            let data = read_to_end(&mut incoming).await.unwrap();
            ends.lock().unwrap().push(data[0]);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let ends = ends.lock().unwrap();
    ends.clone()
}

fn starved() -> Link {
    Link::delay(ms(20)).rate(2_000_000)
}

#[test]
fn on_a_starved_link_higher_priorities_end_first() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(starved().loss(0.02));
        for (label, priority) in [(b'c', 0), (b'a', 9), (b'd', -3), (b'b', 5)] {
            pour(&sim, &client, label, priority, 100_000).await;
        }
        assert_eq!(order_of_ends(&sim, &server, 4).await, b"abcd");
    });
}

#[test]
fn a_late_urgent_stream_overtakes_a_long_one() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(starved());
        pour(&sim, &client, b'l', 0, 500_000).await;
        let mut long = server.accept_uni().await.unwrap();
        sim.spawn(async move { count_to_end(&mut long).await });
        sim.sleep(ms(500)).await;
        let start = sim.now();
        pour(&sim, &client, b'u', 1, 10_000).await;
        let mut urgent = server.accept_uni().await.unwrap();
        count_to_end(&mut urgent).await;
        // 40 ms to leave, 20 ms on the way, and what was in the queue of the link.
        let took = sim.now() - start;
        assert!(took < ms(85), "{took:?}");
    });
}

#[test]
fn equal_priorities_share_the_link() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(starved());
        for label in 0..4 {
            pour(&sim, &client, label, 0, 500_000).await;
        }
        let mut readers = Vec::new();
        for _ in 0..4 {
            let mut incoming = server.accept_uni().await.unwrap();
            let total = Arc::new(Mutex::new(0));
            readers.push(Arc::clone(&total));
            sim.spawn(async move {
                while let Some(chunk) = incoming.read_chunk(usize::MAX).await.unwrap() {
                    *total.lock().unwrap() += chunk.len();
                }
            });
        }
        sim.sleep(secs(2)).await;
        let totals: Vec<usize> = readers.iter().map(|total| *total.lock().unwrap()).collect();
        let (least, most) = (totals.iter().min().unwrap(), totals.iter().max().unwrap());
        assert!(*least > 100_000 && most - least < 3000, "{totals:?}");
    });
}

#[test]
fn a_change_of_priority_moves_bytes_not_yet_sent() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(starved());
        pour(&sim, &client, b'b', 5, 100_000).await;
        let mut raised: SimSendStream = client.open_uni().await.unwrap();
        raised.write_all(Bytes::from(vec![b'a'; 60_000])).await.unwrap();
        raised.finish().unwrap();
        sim.sleep(ms(50)).await;
        raised.set_priority(6);
        assert_eq!(order_of_ends(&sim, &server, 2).await, b"ab");
    });
}

#[test]
fn an_unread_stream_stalls_its_writer_until_it_is_read() {
    for_each_seed(|sim| async move {
        let server = Settings::default().stream_window(10_000);
        let (client, server) =
            sim.connect_with(Link::delay(ms(10)), Settings::default().send_buffer(2_000), server);
        let mut out = client.open_uni().await.unwrap();
        let mut chunks = [Bytes::from(vec![7; 30_000])];
        let mut written = 0;
        while let Ok(wrote) = tokio::time::timeout(secs(5), out.write_chunks(&mut chunks)).await {
            written += wrote.unwrap();
        }
        assert_eq!(written, 10_000);
        assert_eq!(chunks[0].len(), 20_000);
        assert_eq!(client.counters().bytes_queued, 0);

        let mut incoming = server.accept_uni().await.unwrap();
        let reader = sim.spawn(async move { count_to_end(&mut incoming).await });
        let [rest] = chunks;
        send(out, rest).await;
        assert_eq!(reader.await.unwrap(), 30_000);
    });
}

#[test]
fn unread_streams_use_up_the_window_of_the_connection_and_give_it_back() {
    for_each_seed(|sim| async move {
        let server = Settings::default().connection_window(40_000);
        let (client, server) = sim.connect_with(Link::delay(ms(10)), Settings::default(), server);
        for label in 0..3 {
            pour(&sim, &client, label, 0, 20_000).await;
        }
        sim.sleep(secs(1)).await;
        assert_eq!(client.counters().bytes_queued, 20_000);
        // Two ways to give room back: throw away, or read.
        drop(server.accept_uni().await.unwrap());
        sim.sleep(secs(1)).await;
        for _ in 0..2 {
            let mut incoming = server.accept_uni().await.unwrap();
            assert_eq!(count_to_end(&mut incoming).await, 20_000);
        }
        assert_eq!(client.counters().bytes_queued, 0);
    });
}

#[test]
fn streams_beyond_the_limit_wait_for_an_earlier_one_to_be_done() {
    for_each_seed(|sim| async move {
        let limits = Settings::default().max_uni_streams(2).max_bidi_streams(1);
        let (client, server) = sim.connect_with(Link::delay(ms(10)), Settings::default(), limits);
        for _ in 0..2 {
            send(client.open_uni().await.unwrap(), Bytes::from_static(b"one of two")).await;
        }
        assert!(tokio::time::timeout(secs(5), client.open_uni()).await.is_err());
        let mut first = server.accept_uni().await.unwrap();
        assert_eq!(count_to_end(&mut first).await, 10);
        let third = client.open_uni().await.unwrap();
        assert!(tokio::time::timeout(secs(5), client.open_uni()).await.is_err());
        drop(third); // reset: over without the peer's help
        client.open_uni().await.unwrap();

        let (mut out, mut back) = client.open_bi().await.unwrap();
        out.write_all(Bytes::from_static(b"question")).await.unwrap();
        out.finish().unwrap();
        let (answer, mut question) = server.accept_bi().await.unwrap();
        assert_eq!(count_to_end(&mut question).await, 8);
        assert!(tokio::time::timeout(secs(5), client.open_bi()).await.is_err());
        send(answer, Bytes::from_static(b"answer")).await;
        assert_eq!(count_to_end(&mut back).await, 6);
        client.open_bi().await.unwrap();
    });
}

#[test]
fn many_more_streams_than_the_limit_pass_one_after_the_other() {
    for_each_seed(|sim| async move {
        let limits = Settings::default().max_uni_streams(3);
        let (client, server) = sim.connect_with(Link::delay(ms(5)).loss(0.05), Settings::default(), limits);
        let writer = sim.spawn(async move {
            for index in 0..100u8 {
                let out = client.open_uni().await.unwrap();
                send(out, Bytes::from(vec![index; 500])).await;
            }
            client.closed().await
        });
        for index in 0..100u8 {
            let mut incoming = server.accept_uni().await.unwrap();
            assert_eq!(read_to_end(&mut incoming).await.unwrap(), [index; 500]);
        }
        drop(server);
        writer.await.unwrap();
    });
}
