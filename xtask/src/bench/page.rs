//! The page of results: the last run that was meant to be shown, in the repository.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, bail};

use super::BenchArgs;
use super::verdict::{Finding, Spread};
use crate::lab::show;
use crate::shell;

const PAGE: &str = "BENCHMARKS.md";
const FOLDER: &str = "benchmarks";

/// What ours was measured beside, for the page.
pub(super) struct Beside {
    /// Tells its part of the page from others; empty for the null relay.
    pub(super) part: &'static str,
    pub(super) name: String,
    /// What it ran over.
    pub(super) over: String,
}

/// Puts the findings of a run into the page, in place of those of the same carrier, congestion control and reference,
/// with its lines and its chart beside it.
pub(super) fn write(
    args: &BenchArgs,
    beside: &Beside,
    findings: &[(String, Finding)],
    revision: &str,
    lines: &[String],
    chart: &str,
) -> Result<()> {
    let (root, part) =
        (shell::root(), format!("{}-{}{}", args.carrier.scheme(), args.congestion, beside.part));
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).context("cannot make the folder of results")?;
    put(&folder.join(format!("{part}.jsonl")), &(lines.join("\n") + "\n"))?;
    put(&folder.join(format!("{part}.svg")), chart)?;
    let page = root.join(PAGE);
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
    let table = markdown(args, beside, findings, revision, &part);
    let Some(text) = replace(&text, &part, &table) else {
        bail!("{PAGE} has no place for {part}: {} and {}", begin(&part), end(&part));
    };
    put(&page, &text)
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn begin(part: &str) -> String {
    format!("<!-- {part}:begin -->")
}

fn end(part: &str) -> String {
    format!("<!-- {part}:end -->")
}

fn replace(page: &str, part: &str, table: &str) -> Option<String> {
    let (begin, end) = (begin(part), end(part));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{table}\n{end}{after}"))
}

fn markdown(
    args: &BenchArgs,
    beside: &Beside,
    findings: &[(String, Finding)],
    revision: &str,
    part: &str,
) -> String {
    let mut rustc = shell::command("rustc");
    let rustc = shell::output(rustc.arg("--version")).unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!(
        "Revision {revision}, {}, {cores} cores, loopback. Ours over `{}`, {} over {}, both with \
         `--congestion {}` and a worker a core; {} runs of {} each. Repeat: `cargo xtask bench {}{}{}{}--repeats {} \
         --duration {} --write`. Lines: [{part}.jsonl]({FOLDER}/{part}.jsonl).\n\n\
         | | ours | {} | ratio: min | median | max | bar | goal |\n|---|---|---|---|---|---|---|---|\n",
        rustc.trim(),
        args.carrier.scheme(),
        beside.name,
        beside.over,
        args.congestion,
        args.repeats,
        show(args.duration),
        args.workloads.iter().map(|name| format!("{name} ")).collect::<String>(),
        if args.carrier == super::Carrier::Webtransport { "--carrier webtransport " } else { "" },
        if args.congestion == "cubic" { String::new() } else { format!("--congestion {} ", args.congestion) },
        if beside.part.is_empty() {
            String::new()
        } else {
            format!("--vs PATH/{} ", beside.part.trim_matches('-'))
        },
        args.repeats,
        show(args.duration),
        beside.name,
    );
    for (name, finding) in findings {
        let Spread { min, median, max } = finding.ratio;
        let bar = match finding.bar {
            Some(bar) => format!("{bar:.2}: {}", finding.verdict.words()),
            None => finding.verdict.words(),
        };
        let goal = finding.goal.map_or(String::new(), |goal| {
            format!("{goal:.2}: {}", if median <= goal { "met" } else { "not met" })
        });
        let _ = writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {min:.2} | **{median:.2}** | {max:.2} | {bar} | {goal} |",
            finding.ours.median, finding.reference.median
        );
    }
    let _ = writeln!(text, "\n![Ratios]({FOLDER}/{part}.svg)");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_for_the_same_settings() {
        let page = "# a\n<!-- moqf-cubic:begin -->\nold\n<!-- moqf-cubic:end -->\n<!-- https-bbr:begin --><!-- https-bbr:end -->\n";
        let renewed = replace(page, "moqf-cubic", "new\n").unwrap();
        assert!(renewed.starts_with("# a\n<!-- moqf-cubic:begin -->\n\nnew\n\n<!-- moqf-cubic:end -->"));
        assert!(
            renewed.ends_with("<!-- https-bbr:begin --><!-- https-bbr:end -->\n") && !renewed.contains("old")
        );
        assert_eq!(replace(page, "moqf-bbr", "new"), None);
    }
}
