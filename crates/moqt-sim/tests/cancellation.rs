//! Operations that are given up halfway lose nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::{count_to_end, ms, read_to_end, send};
use moqt_sim::{Link, Seeds, Settings, for_each_seed};
use moqt_transport::{Connection, RecvStream, SendStream};
use tokio::time::timeout;

#[test]
fn cancelled_writes_and_reads_lose_nothing() {
    Seeds::default().count(20).run(|sim| async move {
        let settings = Settings::default().stream_window(4_000).send_buffer(1_000);
        let link = Link::delay(ms(20)).loss(0.05);
        let (client, server) = sim.connect_with(link, settings.clone(), settings);
        let mut rng = sim.rng();
        let data = rng.bytes(100_000);
        let (mut chunks, mut pause) = ([data.slice(..30_000), data.slice(30_000..)], rng.fork());
        let mut out = client.open_uni().await.unwrap();
        sim.spawn(async move {
            while chunks.iter().any(|chunk| !chunk.is_empty()) {
                let _ = timeout(pause.duration(ms(30)), out.write_chunks(&mut chunks)).await;
            }
            out.finish().unwrap();
            while timeout(ms(7), out.stopped()).await.is_err() {}
        });
        let mut incoming = server.accept_uni().await.unwrap();
        let mut got = Vec::new();
        loop {
            let max = usize::try_from(rng.range(1..3000)).unwrap();
            match timeout(rng.duration(ms(30)), incoming.read_chunk(max)).await {
                Ok(Ok(Some(chunk))) => {
                    assert!(chunk.len() <= max);
                    got.extend_from_slice(&chunk);
                }
                Ok(Ok(None)) => break,
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => {}
            }
        }
        assert!(got == data, "bytes differ");
    });
}

#[test]
fn cancelled_opens_and_accepts_lose_no_stream() {
    for_each_seed(|sim| async move {
        let limits = Settings::default().max_uni_streams(1);
        let (client, server) = sim.connect_with(Link::delay(ms(20)), Settings::default(), limits);
        let opener = sim.spawn(async move {
            for index in 0..20u8 {
                let out = loop {
                    if let Ok(out) = timeout(ms(3), client.open_uni()).await {
                        break out.unwrap();
                    }
                };
                send(out, Bytes::from(vec![index])).await;
            }
            client.closed().await
        });
        for index in 0..20u8 {
            let mut incoming = loop {
                if let Ok(incoming) = timeout(ms(3), server.accept_uni()).await {
                    break incoming.unwrap();
                }
            };
            assert_eq!(read_to_end(&mut incoming).await.unwrap(), [index]);
        }
        drop(server);
        opener.await.unwrap();
    });
}

#[test]
fn several_may_wait_for_the_same_thing() {
    for_each_seed(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(20)));
        let mut tasks = Vec::new();
        for _ in 0..5 {
            let server = server.clone();
            tasks.push(sim.spawn(async move {
                let mut incoming = server.accept_uni().await.unwrap();
                count_to_end(&mut incoming).await
            }));
        }
        for len in 1..=5 {
            send(client.open_uni().await.unwrap(), Bytes::from(vec![0; len])).await;
        }
        let mut lens = Vec::new();
        for task in tasks {
            lens.push(task.await.unwrap());
        }
        assert_eq!(lens, [1, 2, 3, 4, 5]);
    });
}
