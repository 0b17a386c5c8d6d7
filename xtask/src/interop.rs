//! Runs against peers that no one here wrote: suites of cases, each on several routes and over both carriers.
//!
//! A route says who publishes, whose relay is between, and who subscribes. The deployed relays and clocks are run as
//! they were released; what they cannot be told to do is done by small peers on the released libraries, and by one on
//! our own crates, all of which listen to the same lines (`interop/lines.rs`).

pub(crate) mod browser;
mod cache;
mod cases;
mod program;
mod results;
mod stage;
mod tap;

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;

use self::cache::{Missing, Ours, Release};
use self::cases::{CASES, Case};
use self::program::Report;
use self::stage::{Carrier, Route, Side, Stage};
use self::tap::{Cell, Tap};
use crate::shell::Stopwatch;

pub(crate) use self::results::findings;

/// What is wanted of a run.
#[derive(clap::Args, Debug)]
pub(crate) struct Ask {
    /// The peers to run against
    #[arg(value_name = "PEER", value_enum, default_value = "all")]
    peers: Vec<Peer>,
    /// Only cases with this in their names; repeatable
    #[arg(long, value_name = "TEXT")]
    case: Vec<String>,
    /// Only routes with this in their names, e.g. `moqt>wildcard>moqt`; repeatable
    #[arg(long, value_name = "TEXT")]
    route: Vec<String>,
    /// Only this carrier
    #[arg(long, value_enum)]
    carrier: Option<Carrier>,
    /// Leaves out the cases that take long
    #[arg(long)]
    quick: bool,
    /// Builds no peers, and skips those that are not there
    #[arg(long)]
    built: bool,
    /// A peer that cannot be had is a failure, not a skip
    #[arg(long)]
    complete: bool,
    /// Says what would be run, and runs nothing
    #[arg(long)]
    list: bool,
    /// Stores the results, and renews the table in README.md
    #[arg(long, conflicts_with_all = ["case", "route", "carrier", "quick", "built", "list"])]
    write: bool,
}

/// A set of peers that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// moq-relay 0.6.24, moq-clock 0.5.26 and moq-transfork 0.12: paths as texts
    Wildcard,
    /// moq-relay 0.6.22, moq-clock 0.5.24 and moq-transfork 0.11: paths as lists of parts
    Parts,
    /// Both of them through our relay, which translates
    Mixed,
    /// All of these
    All,
    /// Chromium, by the client in examples/browser
    Browser,
}

/// What is run for one name: routes, each with every case that makes sense on it.
struct Suite {
    peer: Peer,
    name: &'static str,
    routes: &'static [Route],
    /// The releases that take part.
    releases: &'static [Side],
}

const WILDCARD: &[Route] = &deployed(Side::Wildcard);
const PARTS: &[Route] = &deployed(Side::Parts);

const SUITES: &[Suite] = &[
    Suite { peer: Peer::Wildcard, name: "wildcard", routes: WILDCARD, releases: &[Side::Wildcard] },
    Suite { peer: Peer::Parts, name: "parts", routes: PARTS, releases: &[Side::Parts] },
    Suite {
        peer: Peer::Mixed,
        name: "mixed",
        routes: &[
            Route::new(Side::Wildcard, Side::Ours, Side::Parts),
            Route::new(Side::Parts, Side::Ours, Side::Wildcard),
        ],
        releases: &[Side::Wildcard, Side::Parts],
    },
];

/// Each part that a release can play beside us.
const fn deployed(side: Side) -> [Route; 8] {
    [
        Route::new(Side::Ours, side, Side::Ours),
        Route::new(Side::Ours, side, side),
        Route::new(side, side, Side::Ours),
        Route::new(side, Side::Ours, side),
        Route::new(side, Side::Ours, Side::Ours),
        Route::new(Side::Ours, Side::Ours, side),
        Route::direct(Side::Ours, side),
        Route::direct(side, Side::Ours),
    ]
}

/// Something to run: a case on a route over a carrier.
#[derive(Clone, Copy)]
struct Job {
    suite: &'static str,
    route: Route,
    carrier: Carrier,
    case: &'static Case,
}

impl Job {
    fn cell(&self) -> Cell {
        Cell {
            suite: self.suite.to_owned(),
            route: self.route.to_string(),
            carrier: self.carrier.to_string(),
            case: self.case.name.to_owned(),
            passed: false,
            ms: 0,
        }
    }

    fn run(&self, ours: &Ours, report: &Report) -> (Duration, Result<()>) {
        let watch = Stopwatch::start();
        let result = Stage::new(ours, self.route, self.carrier, report.clone())
            .and_then(|mut stage| (self.case.run)(&stage).and_then(|()| stage.stands()));
        (watch.elapsed(), result)
    }
}

impl Ask {
    fn wants(&self, suite: &Suite) -> bool {
        self.peers.iter().any(|peer| *peer == Peer::All || *peer == suite.peer)
    }

    fn jobs(&self, suite: &'static Suite) -> Vec<Job> {
        let named = |wanted: &[String], name: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str()))
        };
        let mut jobs = Vec::new();
        for route in suite.routes.iter().filter(|route| named(&self.route, &route.to_string())) {
            for carrier in [Carrier::Https, Carrier::Moqf] {
                if self.carrier.is_some_and(|wanted| wanted != carrier) {
                    continue;
                }
                let wanted = |case: &&Case| {
                    (case.applies)(route) && named(&self.case, case.name) && !(self.quick && case.slow)
                };
                let job = |case| Job { suite: suite.name, route: *route, carrier, case };
                jobs.extend(CASES.iter().filter(wanted).map(job));
            }
        }
        jobs
    }
}

/// Runs what is asked for.
pub(crate) fn run(ask: &Ask) -> Result<()> {
    if ask.peers.contains(&Peer::Browser) {
        browser::run(ask.case.first().map(String::as_str).unwrap_or_default())?;
        if ask.peers.len() == 1 {
            return Ok(());
        }
    }
    let suites: Vec<&'static Suite> = SUITES.iter().filter(|suite| ask.wants(suite)).collect();
    if ask.list {
        for suite in &suites {
            for job in ask.jobs(suite) {
                println!("{} {} {} {}: {}", job.suite, job.route, job.carrier, job.case.name, job.case.what);
            }
        }
        return Ok(());
    }
    let mut tap = Tap::start();
    let mut jobs = Vec::new();
    for suite in &suites {
        let peers = cache::build_peers(!ask.built)?;
        let released = install(suite, ask)?;
        for job in ask.jobs(suite) {
            let needs_release = job.route.relay_release().is_some() || job.case.name == cases::CLOCK;
            let missing = match (&peers, &released) {
                (Err(missing), _) => Some(missing),
                (_, Err(missing)) if needs_release => Some(missing),
                _ => None,
            };
            match missing {
                Some(Missing::NotBuilt(why) | Missing::Unreachable(why)) => tap.skip(&job.cell().name(), why),
                None => jobs.push(job),
            }
        }
    }
    if jobs.is_empty() {
        println!("# nothing is there to run against");
    } else {
        play(&jobs, &mut tap)?;
    }
    tap.finish();
    if ask.write && tap.skipped() > 0 {
        bail!("interop: {} skipped, so the results are not those of a whole run", tap.skipped());
    }
    if ask.write {
        let ran: BTreeSet<&str> = suites.iter().map(|suite| suite.name).collect();
        results::write(&ran, &tap.cells)?;
    }
    if tap.failed() > 0 {
        bail!("interop: {} of {} failed", tap.failed(), tap.cells.len());
    }
    if ask.complete && tap.skipped() > 0 {
        bail!("interop: {} skipped, and the run was to be complete", tap.skipped());
    }
    Ok(())
}

/// Runs the jobs one after the other, and beside them those that only wait.
fn play(jobs: &[Job], tap: &mut Tap) -> Result<()> {
    let ours = &Ours::build()?;
    let (beside, others): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|job| job.case.beside);
    thread::scope(|scope| {
        let waiting: Vec<_> = beside
            .into_iter()
            .map(|job| {
                scope.spawn(move || {
                    let report = Report::default();
                    let (took, result) = job.run(ours, &report);
                    (job, took, result, report)
                })
            })
            .collect();
        for job in others {
            let report = Report::default();
            let (took, result) = job.run(ours, &report);
            tap.cell(job.cell(), took, &result, &report);
        }
        for waiting in waiting {
            match waiting.join() {
                Ok((job, took, result, report)) => tap.cell(job.cell(), took, &result, &report),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    Ok(())
}

/// The programs of all releases of a suite.
fn install(suite: &Suite, ask: &Ask) -> Result<Result<(), Missing>> {
    for release in suite.releases.iter().filter_map(|side| Release::of(*side)) {
        if let Err(missing) = cache::install(release, !ask.built)? {
            return Ok(Err(missing));
        }
    }
    Ok(Ok(()))
}

/// What the pipeline runs: the cheap part of the matrix, against peers that are there already.
pub(crate) fn run_built() -> Result<()> {
    run(&Ask {
        peers: vec![Peer::All],
        case: ["setup", "subscribe", "fetch", "names", "direct"].map(str::to_owned).to_vec(),
        route: Vec::new(),
        carrier: None,
        quick: true,
        built: true,
        complete: false,
        list: false,
        write: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        Ask {
            peers: vec![Peer::All],
            case: Vec::new(),
            route: Vec::new(),
            carrier: None,
            quick: false,
            built: true,
            complete: false,
            list: false,
            write: false,
        }
    }

    #[test]
    fn every_case_runs_somewhere() {
        let jobs: Vec<Job> = SUITES.iter().flat_map(|suite| ask().jobs(suite)).collect();
        for case in CASES {
            assert!(jobs.iter().any(|job| job.case.name == case.name), "{}", case.name);
        }
    }

    #[test]
    fn a_run_can_be_narrowed() {
        let ask = Ask { case: vec!["setup".to_owned()], carrier: Some(Carrier::Moqf), quick: true, ..ask() };
        for suite in SUITES {
            let jobs = ask.jobs(suite);
            let relayed = suite.routes.iter().filter(|route| route.relay.is_some()).count();
            assert_eq!(jobs.len(), relayed, "{}", suite.name);
        }
    }
}
