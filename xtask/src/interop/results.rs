//! The results that are kept, and the table that the README shows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::cache::Release;
use super::cases::{CASES, Case};
use super::stage::{Carrier, Route};
use super::tap::Cell;
use super::{SUITES, Suite};
use crate::shell;
use crate::tidy::Finding;

const DATA: &str = "interop/results.json";
const README: &str = "README.md";
const BEGIN: &str = "<!-- interop:begin -->";
const END: &str = "<!-- interop:end -->";

/// What is kept of the last run of each suite.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Results {
    /// What each suite ran against.
    versions: BTreeMap<String, String>,
    cells: Vec<Cell>,
}

/// Replaces the results of these suites, and the table.
pub(super) fn write(ran: &BTreeSet<&str>, cells: &[Cell]) -> Result<()> {
    let mut results = read().unwrap_or_default();
    results.cells.retain(|cell| !ran.contains(cell.suite.as_str()));
    results.cells.extend_from_slice(cells);
    for suite in SUITES.iter().filter(|suite| ran.contains(suite.name)) {
        results.versions.insert(suite.name.to_owned(), versions(suite));
    }
    // In the order of the suites and their cases, so that two runs differ in what has changed.
    let place = |cell: &Cell| {
        let suite = SUITES.iter().position(|suite| suite.name == cell.suite);
        let routes = suite.and_then(|at| SUITES.get(at)).map(|suite| suite.routes).unwrap_or_default();
        let route = routes.iter().position(|route| route.to_string() == cell.route);
        let case = CASES.iter().position(|case| case.name == cell.case).unwrap_or(usize::MAX);
        (suite, route, cell.carrier.clone(), case)
    };
    results.cells.sort_by_cached_key(place);
    let mut json = String::from("{\n  \"versions\": ");
    let _ = write!(json, "{}", serde_json::to_string(&results.versions)?);
    json.push_str(",\n  \"cells\": [\n");
    // A line a cell.
    let lines: Vec<String> = results
        .cells
        .iter()
        .map(|cell| serde_json::to_string(cell).map(|line| format!("    {line}")))
        .collect::<Result<_, _>>()?;
    json.push_str(&lines.join(",\n"));
    json.push_str("\n  ]\n}\n");
    fs::write(shell::root().join(DATA), json).with_context(|| format!("cannot write {DATA}"))?;
    let path = shell::root().join(README);
    let readme = fs::read_to_string(&path).with_context(|| format!("cannot read {README}"))?;
    let Some(renewed) = replace(&readme, &markdown(&results)) else {
        bail!("{README} has no {BEGIN} and {END} around the table of peers");
    };
    fs::write(&path, renewed).with_context(|| format!("cannot write {README}"))?;
    println!("# wrote {DATA} and the table of {README}");
    Ok(())
}

/// A README that says something else than the results.
pub(crate) fn findings() -> Result<Vec<Finding>> {
    let finding = |file: &str, line, message: &str| Ok(vec![Finding::new(Path::new(file), line, message)]);
    let results = match read() {
        Ok(results) => results,
        Err(error) => return finding(DATA, 1, &format!("{error:#}")),
    };
    let readme = fs::read_to_string(shell::root().join(README)).unwrap_or_default();
    let line = readme.lines().position(|line| line.trim() == BEGIN).map_or(1, |at| at + 1);
    match replace(&readme, &markdown(&results)) {
        None => finding(README, 1, &format!("has no {BEGIN} and {END}")),
        Some(renewed) if renewed != readme => finding(
            README,
            line,
            "the table of peers is not that of the results: `cargo xtask interop --write`",
        ),
        Some(_) => Ok(Vec::new()),
    }
}

fn read() -> Result<Results> {
    let data = fs::read_to_string(shell::root().join(DATA)).with_context(|| format!("cannot read {DATA}"))?;
    serde_json::from_str(&data).with_context(|| format!("{DATA} has another shape than expected"))
}

fn versions(suite: &Suite) -> String {
    let releases = suite.releases.iter().filter_map(|side| Release::of(*side));
    releases.map(Release::versions).collect::<Vec<_>>().join("; ")
}

fn replace(readme: &str, generated: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{generated}\n{END}{after}"))
}

fn markdown(results: &Results) -> String {
    let passed = results.cells.iter().filter(|cell| cell.passed).count();
    let mut out = format!(
        "{passed} of {} passed. Each cell has two marks: over WebTransport, over raw QUIC.\n",
        results.cells.len()
    );
    for suite in SUITES {
        let Some(versions) = results.versions.get(suite.name) else { continue };
        let _ = writeln!(out, "\n**{}**: {versions}\n", suite.name);
        table(&mut out, results, suite);
    }
    out
}

/// A row a case, a column a route.
fn table(out: &mut String, results: &Results, suite: &Suite) {
    out.push_str("| Case |");
    for route in suite.routes {
        let _ = write!(out, " {} |", route.to_string().replace('>', " → "));
    }
    out.push_str(" What holds |\n|---|");
    out.push_str(&"---|".repeat(suite.routes.len() + 1));
    out.push('\n');
    let somewhere = |case: &&Case| suite.routes.iter().any(|route| (case.applies)(route));
    for case in CASES.iter().filter(somewhere) {
        let _ = write!(out, "| {} |", case.name);
        for route in suite.routes {
            let _ = write!(out, " {} |", marks(results, suite.name, route, case.name));
        }
        let _ = writeln!(out, " {} |", case.what);
    }
}

/// One mark a carrier; nothing where the case makes no sense.
fn marks(results: &Results, suite: &str, route: &Route, case: &str) -> String {
    let route = route.to_string();
    let mark = |carrier: Carrier| {
        let carrier = carrier.to_string();
        let mut cells = results.cells.iter();
        let cell = cells.find(|cell| {
            (cell.suite.as_str(), &cell.route, &cell.carrier, cell.case.as_str())
                == (suite, &route, &carrier, case)
        });
        cell.map(|cell| if cell.passed { "✅" } else { "❌" })
    };
    [Carrier::Https, Carrier::Moqf].into_iter().filter_map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(carrier: &str, passed: bool) -> Cell {
        Cell {
            suite: "mixed".to_owned(),
            route: "wildcard>moqt>parts".to_owned(),
            carrier: carrier.to_owned(),
            case: "setup".to_owned(),
            passed,
            ms: 3,
        }
    }

    #[test]
    fn a_cell_of_the_table_has_a_mark_for_each_carrier() {
        let versions = BTreeMap::from([("mixed".to_owned(), "a 1; b 2".to_owned())]);
        let results = Results { versions, cells: vec![cell("https", true), cell("moqf", false)] };
        let table = markdown(&results);
        assert!(table.starts_with("1 of 2 passed."), "{table}");
        assert!(table.contains("\n**mixed**: a 1; b 2\n"), "{table}");
        assert!(table.contains("| Case | wildcard → moqt → parts | parts → moqt → wildcard | What holds |"));
        let row = table.lines().find(|line| line.starts_with("| setup |")).unwrap();
        assert!(row.starts_with("| setup | ✅❌ |  |"), "{row}");
    }

    #[test]
    fn only_the_part_between_the_marks_is_replaced() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nz\n");
        assert_eq!(replace(&readme, "new\n").unwrap(), format!("a\n{BEGIN}\n\nnew\n\n{END}\nz\n"));
        assert_eq!(replace("a\n", "new"), None);
    }
}
