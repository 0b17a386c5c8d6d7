//! One subscriber among many never reads: the others see every group, and the relay's memory stays bounded.

use std::time::Duration;

use anyhow::Result;

use super::load::{Load, Outcome, Relay, number};
use super::space::Space;
use super::{Claims, NetnsArgs};
use crate::bench::Carrier;
use crate::lab::programs::Programs;

/// What the one that does not read may cost: the bytes that may wait for it in a session (16 MiB), what is handed to
/// the transport (4 MiB), and as much again for what the groups that wait keep alive beside them.
const BOUND: u64 = 40 << 20;

pub(super) fn run(programs: &Programs, args: &NetnsArgs) -> Result<()> {
    let carrier = args.carrier.unwrap_or(Carrier::Quic);
    let duration = args.duration(60);
    let readers = args.subscribers.saturating_sub(1);
    let measure = |stalled: u32| -> Result<Outcome> {
        let space = Space::new()?;
        let mut relay = Relay::start(&space, programs, &args.congestion)?;
        let load = Load {
            name: format!("stalled-{stalled}"),
            space: &space,
            programs,
            carrier,
            congestion: &args.congestion,
            duration,
            far: false,
            shape: vec!["--shape".to_owned(), "V5".to_owned()],
            subscribing: vec![
                "--subscribers".to_owned(),
                readers.to_string(),
                "--stall".to_owned(),
                stalled.to_string(),
            ],
            patience: Duration::from_secs(30),
        };
        load.run(&mut relay)
    };
    let (without, with) = (measure(0)?, measure(1)?);
    let rss = |outcome: &Outcome| outcome.samples.iter().map(|sample| sample.rss).max().unwrap_or(0);
    let (rss_without, rss_with) = (rss(&without), rss(&with));
    let published = with.published.first().copied().unwrap_or(0);
    let total = with.kind("total")?;
    let groups = |what: &str| number(total, &format!("/groups/{what}"));
    let mut claims = Claims::new();
    let figures = format!(
        "{} of {} whole, {} lost, {} not reported",
        groups("whole"),
        u64::from(readers) * published,
        groups("lost"),
        groups("unreported")
    );
    let all = groups("whole") == f64::from(readers) * published as f64;
    claims.claim(format!("the {readers} see every group"), all, &figures);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let figures = format!("{:.1} MB without, {:.1} MB with", megabytes(rss_without), megabytes(rss_with));
    let name = format!("the one that does not read costs at most {:.0} MB", megabytes(BOUND));
    claims.claim(name, rss_with <= rss_without + BOUND, &figures);
    let p99 =
        |outcome: &Outcome| -> Result<f64> { Ok(number(outcome.kind("track")?, "/latency_us/p99") / 1e3) };
    println!("  p99 of the others: {:.1} ms without, {:.1} ms with", p99(&without)?, p99(&with)?);
    claims.finish()
}
