//! Drives checks, tests and benchmarks over the workspace.
//!
//! A thin layer over cargo: each subcommand prints the commands it runs, so that anyone can run one of them by
//! hand. `cargo xtask ci` is the whole pipeline; `.ci/run` and the workflow call nothing else.

mod arrows;
mod bench;
mod ci;
mod fuzz;
mod http;
mod interop;
mod lab;
mod layers;
mod mask;
mod metadata;
mod netns;
mod readme;
mod shell;
mod status;
mod tidy;
mod vectors;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks, tests and benchmarks of the moqt workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything the pipeline checks; ends with `cargo xtask test`.
    Ci {
        /// Only these steps, in pipeline order; all if none is named.
        #[arg(value_name = "STEP")]
        only: Vec<String>,
    },
    /// Doctests and tests of the workspace, or of one layer.
    ///
    /// The environment reaches the tests: `SIM_SEED=17 cargo xtask test session` replays a seed.
    Test {
        /// One layer instead of the whole workspace.
        layer: Option<layers::Layer>,
        /// Handed to the test runner as written, e.g. a part of a test's name; leaves the doctests out.
        #[arg(last = true, value_name = "RUNNER_ARGS")]
        extra: Vec<String>,
    },
    /// House rules that no lint knows: arrows between crates, vectors, status rows, texts.
    Tidy,
    /// The test vectors of the wire crate.
    Vectors {
        /// Counts the cases by version and message, and runs nothing.
        #[arg(long)]
        list: bool,
    },
    /// Benchmarks: loads on a relay side by side with a reference, or the bench targets of the workspace.
    ///
    /// Fails with status 2 where there are no bench targets.
    Bench(bench::BenchArgs),
    /// The network lab: relay, publisher and subscribers in network namespaces of their own.
    ///
    /// Says so and ends well where it may not make namespaces, which takes Linux and the rights of root.
    Netns(netns::NetnsArgs),
    /// One page over HTTP; what the lab runs within a namespace.
    #[command(hide = true)]
    HttpGet { address: String, path: String },
    /// Runs a fuzz target of the wire crate.
    Fuzz {
        /// The name of a target, or `wire` for each one in turn.
        target: String,
        /// How long each target runs, e.g. 90s, 5m, 1h.
        #[arg(value_parser = fuzz::parse_duration)]
        duration: std::time::Duration,
    },
    /// The status table as markdown.
    Status {
        /// Replaces the table in README.md instead of printing it.
        #[arg(long)]
        write: bool,
    },
    /// Runs against peers that no one here wrote, and prints a line for each case.
    ///
    /// Peers and tools are fetched from their registries into target/interop, or the folder in MOQT_INTEROP_DIR.
    Interop(interop::Ask),
    /// Runs the command blocks of README.md and of the pages beside it.
    Readme {
        /// Only this page.
        page: Option<String>,
        /// Prints the blocks and what would be done with them.
        #[arg(long)]
        list: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Task::Ci { only } => ci::run(&only),
        Task::Test { layer, extra } => layers::run(layer, layers::Profile::Default, &extra),
        Task::Tidy => tidy::run(),
        Task::Vectors { list: true } => vectors::list(),
        Task::Vectors { list: false } => vectors::run(),
        Task::Bench(args) => match bench::run(&args) {
            Ok(bench::Outcome::Ran) => Ok(()),
            Ok(bench::Outcome::NothingThere) => return ExitCode::from(2),
            Err(error) => Err(error),
        },
        Task::Netns(args) => netns::run(&args),
        Task::HttpGet { address, path } => match http::get(&address, &path) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Task::Fuzz { target, duration } => fuzz::run(&target, duration),
        Task::Status { write } => status::run(write),
        Task::Interop(ask) => interop::run(&ask),
        Task::Readme { page, list } => readme::run(list, page.as_deref(), readme::Caller::Person),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
