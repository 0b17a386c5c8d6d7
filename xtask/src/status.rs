//! The status table: rows in a data file, markdown in the README, and a test behind each tick.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::mask::code_only;
use crate::metadata::Metadata;
use crate::shell;
use crate::tidy::Finding;

const DATA: &str = "crates/moqt-session/spec/transfork.toml";
const README: &str = "README.md";
const BEGIN: &str = "<!-- status:begin -->";
const END: &str = "<!-- status:end -->";

/// A data file: what a protocol asks, row by row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

/// One requirement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The section it has in the table that it comes from; empty if it has none.
    id: String,
    /// The heading that it stands under. A row with this very title is the heading's own.
    group: String,
    title: String,
    what: String,
    state: Option<String>,
    /// `package::test`, or `package::path::test`.
    #[serde(default)]
    tests: Vec<String>,
    note: Option<String>,
}

const STATES: &[&str] = &["planned", "partial", "tested"];

/// Prints the table, or puts it into the README.
pub(crate) fn run(write: bool) -> Result<()> {
    let generated = markdown(&parse(&read(DATA)?)?);
    if !write {
        print!("{generated}");
        return Ok(());
    }
    let readme = read(README)?;
    let Some(renewed) = replace(&readme, &generated) else {
        bail!("{README} has no {BEGIN} and {END} around the status table");
    };
    if renewed == readme {
        println!("the status table of {README} is up to date");
        return Ok(());
    }
    fs::write(shell::root().join(README), renewed).with_context(|| format!("cannot write {README}"))?;
    println!("wrote the status table of {README}");
    Ok(())
}

/// Rows without a state, ticks without a test, and a README that says something else.
pub(crate) fn findings(metadata: &Metadata) -> Result<Vec<Finding>> {
    let data = read(DATA)?;
    let table = match parse(&data) {
        Ok(table) => table,
        Err(error) => return Ok(vec![Finding::new(Path::new(DATA), 1, format!("{error:#}"))]),
    };
    let mut functions = BTreeMap::new();
    for package in &metadata.packages {
        let mut names = BTreeSet::new();
        functions_below(package.dir(), &mut names)?;
        functions.insert(package.name.clone(), names);
    }
    let mut findings = row_findings(&table, &data, &functions);
    let readme = fs::read_to_string(shell::root().join(README)).ok();
    findings.extend(readme_finding(readme.as_deref(), &markdown(&table)));
    Ok(findings)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(shell::root().join(path)).with_context(|| format!("cannot read {path}"))
}

fn parse(data: &str) -> Result<Table> {
    toml::from_str(data).context("the status data has another shape than expected")
}

fn row_findings(table: &Table, data: &str, functions: &BTreeMap<String, BTreeSet<String>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut lines =
        data.lines().enumerate().filter(|(_, line)| line.trim() == "[[row]]").map(|(at, _)| at + 1);
    let mut seen = BTreeSet::new();
    for row in &table.row {
        let line = lines.next().unwrap_or(1);
        let name = format!("{} {}", row.id, row.title);
        let mut found = |message: String| {
            findings.push(Finding::new(Path::new(DATA), line, format!("{}: {message}", name.trim())));
        };
        if !seen.insert((&row.group, &row.id, &row.title)) {
            found("stands here twice".to_owned());
        }
        match row.state.as_deref() {
            None => found("has no state".to_owned()),
            Some(state) if !STATES.contains(&state) => {
                found(format!("`{state}` is no state; there are {}", STATES.join(", ")));
            }
            Some("tested") if row.tests.is_empty() => found("is called tested and names no test".to_owned()),
            Some(_) => {}
        }
        for test in &row.tests {
            let (Some((package, _)), Some((_, function))) = (test.split_once("::"), test.rsplit_once("::"))
            else {
                found(format!("`{test}` has not the form package::test"));
                continue;
            };
            match functions.get(package) {
                None => found(format!("`{test}`: there is no package {package}")),
                Some(names) if !names.contains(function) => {
                    found(format!("`{test}`: {package} has no `fn {function}`"));
                }
                Some(_) => {}
            }
        }
    }
    findings
}

fn readme_finding(readme: Option<&str>, generated: &str) -> Option<Finding> {
    let Some(readme) = readme else { return Some(Finding::new(Path::new(README), 1, "is missing")) };
    let line = readme.lines().position(|line| line.trim() == BEGIN).map_or(1, |at| at + 1);
    let message = match replace(readme, generated) {
        None => format!("has no {BEGIN} and {END}"),
        Some(renewed) if renewed != readme => {
            "the status table is out of date: `cargo xtask status --write`".to_owned()
        }
        Some(_) => return None,
    };
    Some(Finding::new(Path::new(README), line, message))
}

/// Names of all functions in the sources of a package, packages nested in it left out.
fn functions_below(dir: &Path, names: &mut BTreeSet<String>) -> Result<()> {
    let mut pending: Vec<PathBuf> = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                if !path.ends_with("target") && !path.join("Cargo.toml").exists() {
                    pending.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source =
                    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                functions_in(&source, names);
            }
        }
    }
    Ok(())
}

fn functions_in(source: &str, names: &mut BTreeSet<String>) {
    let code = code_only(source);
    let words: Vec<&str> =
        code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    for window in words.windows(2) {
        if let ["fn", name] = window {
            names.insert((*name).to_owned());
        }
    }
}

/// The README with the part between the two marks replaced; `None` without the marks.
fn replace(readme: &str, generated: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{generated}\n{END}{after}"))
}

fn markdown(table: &Table) -> String {
    let count = |state: &str| table.row.iter().filter(|row| row.state.as_deref() == Some(state)).count();
    let mut out = format!(
        "{} rows: {} tested, {} partial, {} planned. The last column folds out into the tests behind a row;\nthe table is made from [`{DATA}`]({DATA}).\n\n",
        table.row.len(),
        count("tested"),
        count("partial"),
        count("planned"),
    );
    out.push_str("| Section | State | What it takes | Tests |\n|---|---|---|---|\n");
    let mut group = "";
    for row in &table.row {
        let heads = row.title == row.group;
        if row.group != group {
            group = &row.group;
            if !heads {
                let _ = writeln!(out, "| **{}** | | | |", cell(group));
            }
        }
        let name = cell(format!("{} {}", row.id, row.title).trim());
        let name = if heads { format!("**{name}**") } else { name };
        let what =
            row.note.as_ref().map_or_else(|| row.what.clone(), |note| format!("{} *({note})*", row.what));
        let state = row.state.as_deref().unwrap_or("?");
        let _ = writeln!(out, "| {name} | {} | {} | {} |", mark(state), cell(&what), tests(&row.tests));
    }
    out
}

fn mark(state: &str) -> String {
    match state {
        "tested" => "✅ tested".to_owned(),
        "partial" => "🚧 partial".to_owned(),
        other => other.to_owned(),
    }
}

/// How many tests, folded out into their names by package.
fn tests(tests: &[String]) -> String {
    let mut packages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for test in tests {
        let (package, name) = test.split_once("::").unwrap_or_default();
        packages.entry(package).or_default().push(name);
    }
    if packages.is_empty() {
        return String::new();
    }
    let (mut counts, mut names) = (Vec::new(), String::new());
    for (package, tests) in &packages {
        counts.push(format!("{} in {package}", tests.len()));
        let _ = write!(names, "<br>{package}: ");
        let quoted: Vec<_> = tests.iter().map(|name| format!("`{name}`")).collect();
        names.push_str(&quoted.join(", "));
    }
    format!("<details><summary>{}</summary>{}</details>", counts.join(", "), names.trim_start_matches("<br>"))
}

/// Text that does not end a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests;
