//! A client that wants everything, from a host of its own: what others have of the relay meanwhile, and its memory.
//!
//! The flood runs only where a processor of this machine idles, and makes room at once, as if it came from another one.
//! `nice` is not enough: Linux lets even the least important process finish its slice of 3 ms.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::load::{HTTP, Load, Outcome, Relay, number};
use super::space::{PORT, Place, RELAY_TO_STRANGER, Space};
use super::{Claims, NetnsArgs};
use crate::bench::Carrier;
use crate::lab::programs::Programs;
use crate::lab::show;

/// As the program calls them.
const KINDS: [&str; 7] = [
    "subscriptions",
    "announcements",
    "half-open",
    "unknown-groups",
    "declared-frames",
    "handshakes",
    "rapid-reset",
];

/// What a flood may cost the relay.
const MEMORY: u64 = 96 << 20;

/// Times in which nobody notices anything, though one is twice the other.
const NOTHING_MS: f64 = 2.0;

pub(super) fn run(programs: &Programs, args: &NetnsArgs) -> Result<()> {
    let mut claims = Claims::new();
    for kind in KINDS {
        let calm = measure(programs, args, None)?;
        let flooded = measure(programs, args, Some(kind))?;
        let ms = |outcome: &Outcome, what: &str| -> Result<f64> {
            Ok(number(outcome.kind("track")?, &format!("/latency_us/{what}")) / 1e3)
        };
        let (before, meanwhile) = (ms(&calm, "p99")?, ms(&flooded, "p99")?);
        let figures = format!(
            "p50 {:.2} -> {:.2} ms, p99 {before:.2} -> {meanwhile:.2} ms",
            ms(&calm, "p50")?,
            ms(&flooded, "p50")?
        );
        let fine = meanwhile <= (before * 2.0).max(NOTHING_MS);
        claims.claim_in_time(format!("{kind}: the p99 of others is within twice its own"), fine, &figures);
        let total = flooded.kind("total")?;
        let groups = |what: &str| number(total, &format!("/groups/{what}"));
        let figures = format!("{} whole, {} lost", groups("whole"), groups("lost"));
        let all = groups("whole") == flooded.published.first().copied().unwrap_or(0) as f64;
        claims.claim(format!("{kind}: others lose nothing"), all, &figures);
        let rss = |outcome: &Outcome| outcome.samples.iter().map(|sample| sample.rss).max().unwrap_or(0);
        let (without, with) = (rss(&calm), rss(&flooded));
        let figures = format!("{:.1} -> {:.1} MB", without as f64 / 1e6, with as f64 / 1e6);
        claims.claim(
            format!("{kind}: costs at most {} MiB", MEMORY >> 20),
            with <= without + MEMORY,
            &figures,
        );
    }
    claims.finish()
}

/// A light load, with a flood beside it or without.
fn measure(programs: &Programs, args: &NetnsArgs, kind: Option<&str>) -> Result<Outcome> {
    let carrier = args.carrier.unwrap_or(Carrier::Quic);
    let duration = args.duration(8);
    let space = Space::new()?;
    let mut relay = Relay::start(&space, programs, &args.congestion)?;
    let page = space.page(HTTP, "/certificate.sha256")?.context("the relay tells no fingerprint")?;
    let _flood = match kind {
        Some(kind) => {
            let flood = programs.flood.to_string_lossy();
            let relay = format!("{RELAY_TO_STRANGER}:{PORT}");
            let long = show(duration + Duration::from_secs(30));
            let line = ["--idle", "0", &flood, kind, &relay, page.trim(), "--duration", &long];
            let mut flood = space.start(Place::Stranger, "the flood", Path::new("chrt"), &line)?;
            flood.find(Duration::from_secs(10), |_| Some(()))?;
            Some(flood)
        }
        None => None,
    };
    let load = Load {
        name: format!("floods-{}", kind.unwrap_or("none")),
        space: &space,
        programs,
        carrier,
        congestion: &args.congestion,
        duration,
        far: false,
        shape: "--shape CUSTOM --fps 100 --frame-bytes 200 --group-frames 10"
            .split(' ')
            .map(str::to_owned)
            .collect(),
        subscribing: Vec::new(),
        patience: Duration::from_secs(15),
    };
    load.run(&mut relay)
}
