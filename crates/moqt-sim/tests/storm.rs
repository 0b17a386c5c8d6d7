//! Streams that meet every fate at once, over links that come and go.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::{ms, secs};
use moqt_sim::{
    Congestion, Link, Links, Rng, Seeds, Settings, Sim, SimConnection, SimRecvStream, SimSendStream,
};
use moqt_transport::{Code, Connection, ReadError, RecvStream, SendStream, WriteError};

const STREAMS: u64 = 60;
const LIMIT: u64 = 7;

/// Byte `at` of every stream.
fn byte(at: usize) -> u8 {
    (at % 253) as u8
}

/// Writes for a while, then finishes, resets or drops.
async fn write(sim: Sim, mut out: SimSendStream, mut rng: Rng) {
    // What a stream carries first makes sure that the peer hears of it.
    let mut at = 0;
    for _ in 0..rng.range(1..12) {
        let len = usize::try_from(rng.range(1..4000)).unwrap();
        let chunk: Bytes = (at..at + len).map(byte).collect();
        match out.write_all(chunk).await {
            Ok(()) => at += len,
            Err(WriteError::Stopped(Code(code))) => {
                assert!(code == 0 || code == 21);
                return;
            }
            Err(error) => panic!("{error}"),
        }
        out.set_priority(i32::try_from(rng.below(4)).unwrap());
        if rng.chance(0.3) {
            sim.sleep(rng.duration(ms(100))).await;
        }
    }
    match rng.below(4) {
        0 => out.reset(Code(22)),
        1 => drop(out),
        2 => out.finish().unwrap(),
        _ => {
            out.finish().unwrap();
            assert!(matches!(out.stopped().await.unwrap(), None | Some(Code(0 | 21))));
        }
    }
}

/// Reads to the end, or for a while and then stops or drops.
async fn read(sim: Sim, mut incoming: SimRecvStream, mut rng: Rng) {
    let patience = if rng.chance(0.6) { u64::MAX } else { rng.below(10) };
    let mut at = 0;
    for _ in 0..patience {
        match incoming.read_chunk(usize::try_from(rng.range(1..2000)).unwrap()).await {
            Ok(Some(chunk)) => {
                for got in chunk {
                    assert_eq!(got, byte(at));
                    at += 1;
                }
            }
            Ok(None) | Err(ReadError::Reset(Code(0 | 21 | 22))) => return,
            Err(error) => panic!("{error}"),
        }
        if rng.chance(0.1) {
            sim.sleep(rng.duration(ms(200))).await;
        }
    }
    if rng.chance(0.5) {
        incoming.stop(Code(21));
    }
}

/// Opens streams of both kinds and treats them badly.
async fn open(sim: Sim, connection: SimConnection, mut rng: Rng) {
    let mut tasks = Vec::new();
    for _ in 0..STREAMS {
        if rng.chance(0.5) {
            let out = connection.open_uni().await.unwrap();
            tasks.push(sim.spawn(write(sim.clone(), out, rng.fork())));
        } else {
            let (out, incoming) = connection.open_bi().await.unwrap();
            tasks.push(sim.spawn(write(sim.clone(), out, rng.fork())));
            tasks.push(sim.spawn(read(sim.clone(), incoming, rng.fork())));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Takes whatever comes.
async fn accept(sim: Sim, connection: SimConnection, mut rng: Rng) {
    loop {
        tokio::select! {
            biased;
            Ok(incoming) = connection.accept_uni() => {
                sim.spawn(read(sim.clone(), incoming, rng.fork()));
            }
            Ok((out, incoming)) = connection.accept_bi() => {
                sim.spawn(write(sim.clone(), out, rng.fork()));
                sim.spawn(read(sim.clone(), incoming, rng.fork()));
            }
            else => return,
        }
    }
}

#[test]
fn every_stream_ends_and_gives_back_what_it_took() {
    Seeds::default().count(30).run(|sim| async move {
        let mut rng = sim.rng();
        let mut link = || Link::delay(rng.duration(ms(60))).jitter(rng.duration(ms(20)) + ms(1)).loss(0.08);
        let links = Links::from((link(), link().rate(1_500_000)));

        let congestion = if rng.chance(0.5) { Congestion::Aimd } else { Congestion::Informed };
        let settings = Settings::default()
            .congestion(congestion)
            .max_uni_streams(LIMIT)
            .max_bidi_streams(LIMIT)
            .stream_window(5_000)
            .connection_window(20_000)
            .send_buffer(3_000);
        let (client, server) = sim.connect_with(links, settings.clone(), settings);
        let weather = (sim.clone(), client.link(), rng.fork());
        sim.spawn(async move {
            let (sim, link, mut rng) = weather;
            loop {
                sim.sleep(rng.duration(secs(4))).await;
                link.cut();
                sim.sleep(rng.duration(secs(1))).await;
                link.restore();
            }
        });
        let mut openers = Vec::new();
        for end in [&client, &server] {
            sim.spawn(accept(sim.clone(), end.clone(), rng.fork()));
            openers.push(sim.spawn(open(sim.clone(), end.clone(), rng.fork())));
        }
        for opener in openers {
            opener.await.unwrap();
        }
        sim.sleep(secs(20)).await;
        for end in [&client, &server] {
            assert_eq!(end.counters().bytes_queued, 0);
            // The limits are free again, all at once.
            let mut held = Vec::new();
            for _ in 0..LIMIT {
                let uni = tokio::time::timeout(secs(1), end.open_uni()).await;
                let bi = tokio::time::timeout(secs(1), end.open_bi()).await;
                held.push((uni.expect("a unidirectional stream"), bi.expect("a bidirectional stream")));
            }
        }
    });
}
