//! How long virtual time takes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use bytes::Bytes;
use common::{count_to_end, ms, secs};
use moqt_sim::{Link, Seeds};
use moqt_transport::{Connection, SendStream};

/// 5 Mbit/s at 30 frames per second.
const FRAME: usize = 5_000_000 / 8 / 30;

/// One stream per second with 30 frames each, as a live track has them.
fn live(duration: u64) {
    Seeds::fixed(0..1).limit(secs(2 * duration)).run(|sim| async move {
        let (client, server) = sim.connect(Link::delay(ms(30)).rate(8_000_000).loss(0.001));
        let frame = Bytes::from(vec![0; FRAME]);
        let publisher = sim.clone();
        sim.spawn(async move {
            for _ in 0..duration {
                let mut group = client.open_uni().await.unwrap();
                for _ in 0..30 {
                    group.write_all(frame.clone()).await.unwrap();
                    publisher.sleep(secs(1) / 30).await;
                }
                group.finish().unwrap();
            }
            client.closed().await;
        });
        for _ in 0..duration {
            let mut incoming = server.accept_uni().await.unwrap();
            assert_eq!(count_to_end(&mut incoming).await, 30 * FRAME);
        }
    });
}

#[test]
fn a_minute_of_five_megabits_passes_quickly() {
    live(60);
}
