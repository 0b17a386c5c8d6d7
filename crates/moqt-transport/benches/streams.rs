//! How many small streams a second each carrier brings over one connection on loopback.
//!
//! `cargo bench -p moqt-transport --all-features --bench streams`. Both carriers take turns in one run, and their
//! ratio is the result; the rates depend on the machine. With `quic` or `webtransport` as an argument it sends one
//! round over that carrier only, for counting instructions.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails panics")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use moqt_transport::{Connection, NetConnection, RecvStream, SendStream, TransportOptions};

use crate::common::Net;

const STREAM_BYTES: usize = 1200;
const STREAMS: usize = 20_000;
const ROUNDS: usize = 9;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

/// Sends the streams one after the other, reads them as they come, and gives the time until the last has come whole.
async fn transfer(from: &NetConnection, to: &NetConnection) -> Duration {
    let payload = Bytes::from(vec![7; STREAM_BYTES]);
    let start = now();
    let send = async {
        for _ in 0..STREAMS {
            let mut stream = from.open_uni().await.unwrap();
            stream.write_all(payload.clone()).await.unwrap();
            stream.finish().unwrap();
        }
    };
    let receive = async {
        for _ in 0..STREAMS {
            let mut stream = to.accept_uni().await.unwrap();
            let mut len = 0;
            while let Some(chunk) = stream.read_chunk(usize::MAX).await.unwrap() {
                len += chunk.len();
            }
            assert_eq!(len, STREAM_BYTES);
        }
    };
    tokio::join!(send, receive);
    start.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn rate(took: Duration) -> f64 {
    STREAMS as f64 / took.as_secs_f64()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let net = Net::new(TransportOptions::default());
        let quic = net.quic().await;
        let webtransport = net.webtransport().await;
        for (name, pair) in [("quic", &quic), ("webtransport", &webtransport)] {
            if std::env::args().any(|arg| arg == name) {
                println!("{name}: {:.0} streams a second", rate(transfer(&pair.0, &pair.1).await));
                return;
            }
        }
        let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
        println!("{:<8} {:>14} {:>14} {:>8}", "round", "QUIC", "WebTransport", "ratio");
        for round in 0..=ROUNDS {
            let plain = rate(transfer(&quic.0, &quic.1).await);
            let session = rate(transfer(&webtransport.0, &webtransport.1).await);
            // The first one warms up.
            if round > 0 {
                println!("{round:<8} {plain:>14.0} {session:>14.0} {:>8.2}", session / plain);
                rates.iter_mut().zip([plain, session]).for_each(|(rates, rate)| rates.push(rate));
                ratios.push(session / plain);
            }
        }
        let [plain, session] = rates.map(median);
        println!("{:<8} {plain:>14.0} {session:>14.0} {:>8.2}", "median", median(ratios));
        println!("streams of {STREAM_BYTES} bytes a second over one connection");
    });
}
