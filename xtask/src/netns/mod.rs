//! The network lab: the real programs in network namespaces of their own, and whether they keep what is promised.

mod floods;
mod joiner;
mod load;
mod loss;
mod soak;
mod space;
mod stalled;
mod starved;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::bench::Carrier;
use crate::lab::{self, programs::Programs};
use crate::shell::Steps;

/// What to run.
#[derive(Args)]
pub(crate) struct NetnsArgs {
    /// All of them, but for the soak, unless some are named.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// How long each load lasts, where its own length is not wanted.
    #[arg(long, value_parser = lab::duration)]
    duration: Option<Duration>,
    /// Congestion control, where it is not the matter itself.
    #[arg(long, default_value = "cubic")]
    congestion: String,
    /// Only this carrier.
    #[arg(long)]
    carrier: Option<Carrier>,
    /// Subscribers of `stalled`, the one that does not read among them.
    #[arg(long, default_value_t = 100)]
    subscribers: u32,
    /// Takes the programs from this folder instead of building them.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Puts the table of `loss` into README.md.
    #[arg(long)]
    write: bool,
}

impl NetnsArgs {
    fn duration(&self, usual: u64) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(usual))
    }

    fn carriers(&self) -> Vec<Carrier> {
        self.carrier.map_or_else(|| vec![Carrier::Quic, Carrier::Webtransport], |carrier| vec![carrier])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Two tracks through a link for one of them
    Starved,
    /// A track through random loss, by congestion control
    Loss,
    /// One subscriber that never reads among many
    Stalled,
    /// Subscribers that come late
    Joiner,
    /// A client that wants everything, of each kind
    Floods,
    /// Joins and leaves at load for a long time
    Soak,
}

/// Runs the scenarios. Where there can be no namespaces, says so and leaves it at that.
pub(crate) fn run(args: &NetnsArgs) -> Result<()> {
    if let Err(why) = space::check() {
        println!("xtask netns: SKIPPED, nothing was run: {why}");
        return Ok(());
    }
    let programs = Programs::find(args.programs.as_deref())?;
    let usual = [Scenario::Starved, Scenario::Loss, Scenario::Stalled, Scenario::Joiner, Scenario::Floods];
    let wanted = if args.scenarios.is_empty() { usual.to_vec() } else { args.scenarios.clone() };
    let mut steps = Steps::new("xtask netns");
    for scenario in wanted {
        match scenario {
            Scenario::Starved => {
                for carrier in args.carriers() {
                    let name = format!("starved, {}, {}", carrier.scheme(), args.congestion);
                    steps.step(&name, || starved::run(&programs, args, carrier));
                }
            }
            Scenario::Loss => steps.step("loss", || loss::run(&programs, args)),
            Scenario::Stalled => steps.step("stalled", || stalled::run(&programs, args)),
            Scenario::Joiner => {
                for carrier in args.carriers() {
                    let name = format!("joiner, {}", carrier.scheme());
                    steps.step(&name, || joiner::run(&programs, args, carrier));
                }
            }
            Scenario::Floods => steps.step("floods", || floods::run(&programs, args)),
            Scenario::Soak => steps.step("soak", || soak::run(&programs, args)),
        }
    }
    steps.finish()
}

/// Holds a scenario's claims against what was measured, and says each with its figures.
struct Claims {
    failed: Vec<String>,
}

impl Claims {
    fn new() -> Self {
        Self { failed: Vec::new() }
    }

    fn claim(&mut self, what: impl Into<String>, holds: bool, figures: &str) {
        let what = what.into();
        println!("  {} {what}: {figures}", if holds { "ok    " } else { "FAILED" });
        if !holds {
            self.failed.push(what);
        }
    }

    /// The same for what a busy machine alone can break: then it says so, with the figures, and decides nothing.
    fn claim_in_time(&mut self, what: impl Into<String>, holds: bool, figures: &str) {
        let what = what.into();
        match busy() {
            Some(load) if !holds => {
                println!("  ?      {what}: {figures}; NO VERDICT: the machine is busy (load {load:.1})");
            }
            _ => self.claim(what, holds, figures),
        }
    }

    fn finish(self) -> Result<()> {
        anyhow::ensure!(self.failed.is_empty(), "does not hold: {}", self.failed.join("; "));
        Ok(())
    }
}

/// The load of the last minute, if more wants to run than there are cores.
fn busy() -> Option<f64> {
    let load =
        std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse::<f64>().ok()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (load > cores as f64).then_some(load)
}
