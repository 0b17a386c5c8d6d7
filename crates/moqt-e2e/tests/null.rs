//! The null relay under a short load of each kind.
#![allow(clippy::unwrap_used, reason = "a test's own helper")]

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use moqt::TransportOptions;
use moqt_e2e::{
    measure::knobs::Knobs,
    null::{Congestion, bench, relay::Relay},
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    knobs: Knobs,
}

async fn load(line: &str) -> (Vec<serde_json::Value>, Option<String>) {
    let local: SocketAddr = ([127, 0, 0, 1], 0).into();
    let relay = Relay::bind(local, Congestion::Cubic, &TransportOptions::default()).unwrap();
    let address = relay.address().unwrap();
    let knobs = Line::parse_from(std::iter::once("bench").chain(line.split_whitespace())).knobs;
    let mut out = Vec::new();
    let run = async { bench::run(address, &knobs, Congestion::Cubic, &mut out).await.unwrap() };
    let (_, objection) = tokio::select! {
        () = relay.run() => panic!("the relay ended"),
        run = tokio::time::timeout(Duration::from_secs(60), run) => run.expect("in time"),
    };
    let lines = String::from_utf8(out).unwrap();
    (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), objection)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_frame_comes_as_it_was_written_to_each_subscriber() {
    let load = load(
        "--shape V5 --subscribers 5 --publishers 2 --group-frames 10 --fps 50 --duration 1s --warmup 0s",
    );
    let (lines, objection) = load.await;
    assert_eq!(objection, None);
    let total = lines.last().unwrap();
    assert_eq!(total["groups"]["whole"], 25, "{total}");
    assert_eq!((total["frames"].as_u64(), total["damaged"].as_u64()), (Some(250), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tracks_are_told_apart() {
    let (lines, objection) = load("--shape CONF --publishers 2 --subscribers 2 --duration 1s").await;
    assert_eq!(objection, None);
    let tracks: Vec<_> = lines.iter().filter(|line| line["kind"] == "track").collect();
    assert_eq!(tracks.len(), 3);
    assert!(tracks.iter().all(|track| track["groups"]["lost"] == 0 && track["served"] == 4), "{tracks:?}");
}
