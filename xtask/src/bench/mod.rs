//! Benchmarks: bench targets of crates, and loads on relays side by side with a reference.

mod chart;
mod instructions;
mod load;
mod micro;
mod page;
mod peer;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

pub(crate) use self::micro::Outcome;
use crate::lab;

/// What to measure, and against what.
#[derive(Args, Clone)]
pub(crate) struct BenchArgs {
    /// Loads by their names in `moqt bench --help`, with a number of subscribers if another than usual is wanted, e.g.
    /// `V5` or `F4:10`; `all` for those with bars, `quick` for these in short runs, within five minutes. Without any,
    /// the bench targets of the workspace run.
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<String>,
    /// What ours is compared with: `r0` (the null relay), `previous` (the last release), or the path of a `moqt`, or of
    /// a released `moq-relay` with its `moq-bench` beside it.
    #[arg(long, default_value = "r0")]
    vs: String,
    /// How often each arm runs.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeats: u32,
    /// How long each run lasts.
    #[arg(long, default_value = "8s", value_parser = lab::duration)]
    duration: Duration,
    /// Congestion control of all.
    #[arg(long, default_value = "cubic")]
    congestion: String,
    /// The carrier of ours.
    #[arg(long, default_value = "quic")]
    carrier: Carrier,
    /// A bad network from the load to the relay, e.g. `loss=1%,delay=10ms`.
    #[arg(long, value_name = "LINK")]
    up: Option<String>,
    /// The same from the relay to the load, e.g. `rate=4M,queue=100000,delay=10ms`.
    #[arg(long, value_name = "LINK")]
    down: Option<String>,
    /// Where lines of JSON and the chart are put; a folder of the target folder unless given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Counts the instructions of codec, groups and fan-out by callgrind instead, beside the baseline in
    /// benchmarks/instructions.json; fails where one takes more than 2 % more.
    #[arg(long, conflicts_with = "workloads")]
    instructions: bool,
    /// Puts the results into BENCHMARKS.md too; with --instructions, makes them the baseline.
    #[arg(long)]
    write: bool,
    /// Takes the programs from this folder instead of building them.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Handed as written to each benchmark, or with workloads to each load.
    #[arg(last = true, value_name = "BENCH_ARGS")]
    extra: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Carrier {
    Quic,
    Webtransport,
}

impl Carrier {
    /// The scheme of its URLs.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Quic => "moqf",
            Self::Webtransport => "https",
        }
    }
}

/// Runs what was asked for.
pub(crate) fn run(args: &BenchArgs) -> Result<Outcome> {
    if args.instructions {
        instructions::run(args.write)?;
        return Ok(Outcome::Ran);
    }
    if args.workloads.is_empty() {
        println!(
            "loads on a relay, side by side with a reference: `cargo xtask bench all`, or e.g. `V5 F4:10`"
        );
        return micro::run(&args.extra);
    }
    if args.workloads.iter().any(|name| name == "quick") {
        let (repeats, duration) = (3, Duration::from_secs(4));
        load::run(&BenchArgs { workloads: vec!["all".to_owned()], repeats, duration, ..args.clone() })?;
    } else {
        load::run(args)?;
    }
    Ok(Outcome::Ran)
}
