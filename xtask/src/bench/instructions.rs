//! Instructions by callgrind, beside those of a baseline in the repository.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::shell;

/// The baseline.
const STORED: &str = "benchmarks/instructions.json";

/// How much more is no news: hash maps and addresses differ a little from run to run.
const TOLERANCE: f64 = 0.02;

/// What the counts are, and what they depend on.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    rustc: String,
    target: String,
    /// Instructions each time, by part.
    counts: BTreeMap<String, f64>,
}

/// How a count stands to the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// By this part of itself; within the tolerance where it is small.
    By(f64),
    New,
}

impl Change {
    fn of(count: f64, before: Option<f64>) -> Self {
        before.filter(|before| *before > 0.0).map_or(Self::New, |before| Self::By(count / before - 1.0))
    }

    fn rose(self) -> bool {
        matches!(self, Self::By(change) if change > TOLERANCE)
    }

    fn words(self) -> String {
        match self {
            Self::New => "new".to_owned(),
            Self::By(change) => {
                let words = match change {
                    change if change > TOLERANCE => " ROSE",
                    change if change < -TOLERANCE => " fell",
                    _ => "",
                };
                format!("{:+.1} %{words}", change * 100.0)
            }
        }
    }
}

/// Counts all parts and says which take more than the baseline; with `write`, they are the baseline from now on.
pub(crate) fn run(write: bool) -> Result<()> {
    ensure!(
        shell::works(Command::new("valgrind").arg("--version")),
        "valgrind is not installed, and counts the instructions"
    );
    let program = build()?;
    let stored = shell::root().join(STORED);
    let before = if stored.exists() { read(&stored)? } else { Baseline::default() };
    let (rustc, target) = compiler()?;
    let mut now = Baseline { rustc, target, counts: BTreeMap::new() };
    println!(
        "\n{:<30} {:>10} {:>10} {:>8}  change, by {STORED}",
        "instructions each time", "before", "now", "x floor"
    );
    let mut rose = Vec::new();
    for line in shell::output(&mut Command::new(&program))?.lines() {
        let Some(Part { part, times, rounds, floor }) = Part::of(line) else {
            bail!("{}: {line:?} is no part", program.display());
        };
        let (once, twice) = (count(&program, part, rounds)?, count(&program, part, 2 * rounds)?);
        let each = twice.saturating_sub(once) as f64 / (rounds * times) as f64;
        let known = before.counts.get(part).copied();
        let change = Change::of(each, known);
        let known = known.map_or("-".to_owned(), |known| format!("{known:.1}"));
        let ratio = floor.and_then(|floor| now.counts.get(floor)).map(|floor| each / floor);
        let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("{part:<30} {known:>10} {each:>10.1} {ratio:>8}  {}", change.words());
        if change.rose() {
            rose.push(part.to_owned());
        }
        now.counts.insert(part.to_owned(), (each * 10.0).round() / 10.0);
    }
    if write {
        fs::write(&stored, serde_json::to_string_pretty(&now)? + "\n")
            .context("cannot write the baseline")?;
        println!("stored in {STORED}");
        return Ok(());
    }
    if (&before.rustc, &before.target) != (&now.rustc, &now.target) {
        println!(
            "no verdict: the baseline is of {} for {}, and this is {} for {}",
            before.rustc, before.target, now.rustc, now.target
        );
        return Ok(());
    }
    ensure!(
        rose.is_empty(),
        "more instructions than before, by more than {} %: {}; `--write` where that is meant",
        TOLERANCE * 100.0,
        rose.join(", ")
    );
    Ok(())
}

/// One line of what the program does: `frame-decode 1 1000 floor-frame-decode`, the last `-` where there is no floor.
#[derive(Debug, PartialEq)]
struct Part<'a> {
    part: &'a str,
    /// How often a round does it.
    times: u64,
    rounds: u64,
    /// An earlier part, the least that this one could take.
    floor: Option<&'a str>,
}

impl<'a> Part<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut next = || words.next();
        let (part, times, rounds) = (next()?, next()?.parse().ok()?, next()?.parse().ok()?);
        Some(Self { part, times, rounds, floor: next().filter(|floor| *floor != "-") })
    }
}

fn read(path: &Path) -> Result<Baseline> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no baseline", path.display()))
}

/// The release of the compiler, and what it compiles for.
fn compiler() -> Result<(String, String)> {
    let text = shell::output(shell::command("rustc").arg("-vV"))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    Ok((field("release:").to_owned(), field("host:").to_owned()))
}

/// The program that does the parts.
fn build() -> Result<PathBuf> {
    let args = ["bench", "--locked", "--package", "moqt-session", "--bench", "instructions", "--no-run"];
    let messages = shell::output(shell::cargo(args).arg("--message-format=json-render-diagnostics"))?;
    let mut built = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message.pointer("/target/name")?.as_str()? == "instructions";
        Some(PathBuf::from(message.get("executable")?.as_str().filter(|_| is_it)?))
    });
    built.next().context("cargo built no program")
}

/// Instructions of one run.
fn count(program: &Path, part: &str, rounds: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([part, &rounds.to_string()])
        // What a program finds in its environment costs it instructions.
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)));
    let output = command.output().context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{part} failed:\n{said}");
    collected(&said).with_context(|| format!("callgrind did not say how many instructions:\n{said}"))
}

/// `==1234== Collected : 56789`.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_callgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n==7== I refs: 1,234,567\n";
        assert_eq!(collected(said), Some(1_234_567));
        assert_eq!(collected("==7== I refs: 1,234,567\n"), None);
    }

    #[test]
    fn a_part_names_its_floor_if_it_has_one() {
        let part = |floor| Part { part: "decode", times: 1, rounds: 1000, floor };
        assert_eq!(Part::of("decode 1 1000 floor-decode"), Some(part(Some("floor-decode"))));
        assert_eq!(Part::of("decode 1 1000 -"), Some(part(None)));
        assert_eq!(Part::of("decode 1 often -"), None);
    }

    #[test]
    fn more_than_the_tolerance_is_a_rise_and_a_new_part_is_none() {
        assert!(Change::of(103.0, Some(100.0)).rose());
        assert!(!Change::of(101.0, Some(100.0)).rose());
        assert!(!Change::of(50.0, Some(100.0)).rose());
        assert!(!Change::of(50.0, None).rose());
        assert_eq!(Change::of(103.0, Some(100.0)).words(), "+3.0 % ROSE");
        assert_eq!(Change::of(90.0, Some(100.0)).words(), "-10.0 % fell");
        assert_eq!(Change::of(100.0, Some(100.0)).words(), "+0.0 %");
    }
}
