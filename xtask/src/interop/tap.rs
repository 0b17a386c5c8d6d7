//! Results as they come: a line each, in the Test Anything Protocol, and all of them at the end.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::program::Report;

/// How one case went on one route over one carrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cell {
    pub(crate) suite: String,
    pub(crate) route: String,
    pub(crate) carrier: String,
    pub(crate) case: String,
    pub(crate) passed: bool,
    pub(crate) ms: u64,
}

impl Cell {
    pub(crate) fn name(&self) -> String {
        format!("{} {} {} {}", self.suite, self.route, self.carrier, self.case)
    }
}

/// Prints lines and keeps count.
#[derive(Default)]
pub(crate) struct Tap {
    pub(crate) cells: Vec<Cell>,
    lines: usize,
    skipped: usize,
}

impl Tap {
    pub(crate) fn start() -> Self {
        println!("TAP version 14");
        Self::default()
    }

    /// One cell, and in case of a failure what the programs said.
    pub(crate) fn cell(&mut self, mut cell: Cell, took: Duration, result: &Result<()>, report: &Report) {
        self.lines += 1;
        cell.ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        cell.passed = result.is_ok();
        let (number, name, ms) = (self.lines, cell.name(), cell.ms);
        match result {
            Ok(()) => println!("ok {number} - {name} # {ms} ms"),
            Err(error) => {
                println!("not ok {number} - {name} # {ms} ms");
                println!("# {error:#}");
                for (program, lines) in report.last() {
                    println!("#   {program}:");
                    for line in lines {
                        println!("#     {line}");
                    }
                }
            }
        }
        self.cells.push(cell);
    }

    /// Something that could not be run, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.lines += 1;
        self.skipped += 1;
        println!("ok {} - {name} # SKIP {}", self.lines, why.lines().collect::<Vec<_>>().join(" "));
    }

    pub(crate) fn skipped(&self) -> usize {
        self.skipped
    }

    pub(crate) fn failed(&self) -> usize {
        self.cells.iter().filter(|cell| !cell.passed).count()
    }

    /// The plan comes last, when the number is known.
    pub(crate) fn finish(&self) {
        println!("1..{}", self.lines);
        let passed = self.cells.len() - self.failed();
        println!("# {passed} passed, {} failed, {} skipped", self.failed(), self.skipped);
    }
}
