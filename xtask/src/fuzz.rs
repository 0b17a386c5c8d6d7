//! Fuzzing of the wire, transport, session and media crates, with cargo-fuzz or with the compiler's own instrumentation.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell::{self, Steps};

/// Where the targets are: the name that stands for all of a crate's, and its folder.
const CRATES: [(&str, &str); 4] = [
    ("wire", "crates/moqt-wire/fuzz"),
    ("transport", "crates/moqt-transport/fuzz"),
    ("session", "crates/moqt-session/fuzz"),
    ("media", "crates/moqt-media/fuzz"),
];
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What cargo-fuzz hands to the compiler, as far as the targets need it.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions \
    -Zsanitizer=address --cfg fuzzing";

/// Runs one target, or each in turn for the name of a crate, for a time each.
pub(crate) fn run(target: &str, duration: Duration) -> Result<()> {
    let mut chosen = Vec::new();
    let mut known = Vec::new();
    for (layer, folder) in CRATES {
        for name in targets(folder)? {
            if target == layer || target == name {
                chosen.push((folder, name.clone()));
            }
            known.push(name);
        }
    }
    if chosen.is_empty() {
        bail!("no fuzz target {target}; there are: {}", known.join(", "));
    }
    let cargo_fuzz = shell::works(&mut shell::cargo(["fuzz", "--version"]));
    if !cargo_fuzz {
        println!("cargo-fuzz is not installed: instrumenting by compiler flags instead");
        if !shell::works(shell::command("c++").arg("--version")) {
            bail!("libFuzzer is C++ and there is no `c++` here: install a C++ compiler or cargo-fuzz");
        }
    }
    let mut steps = Steps::new("xtask fuzz");
    for (folder, name) in chosen {
        let dir = shell::root().join(folder);
        steps.step(&name, || {
            if cargo_fuzz { with_tool(folder, &name, duration) } else { by_hand(&dir, &name, duration) }
        });
    }
    steps.finish()
}

fn targets(folder: &str) -> Result<Vec<String>> {
    let sources = shell::root().join(folder).join("fuzz_targets");
    let entries =
        fs::read_dir(&sources).with_context(|| format!("no fuzz targets: {folder}/fuzz_targets"))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("{folder}/fuzz_targets is empty");
    }
    Ok(names)
}

/// The instrumentation is unstable; the variable opens it on a stable compiler.
fn with_tool(folder: &str, name: &str, duration: Duration) -> Result<()> {
    let mut command = shell::cargo(["fuzz", "run", "--fuzz-dir", folder, name, "--"]);
    shell::run(command.arg(limit(duration)).env("RUSTC_BOOTSTRAP", "1"))
}

fn by_hand(dir: &Path, name: &str, duration: Duration) -> Result<()> {
    let target_dir = dir.join("target");
    let mut build =
        shell::cargo(["build", "--release", "--target", TRIPLE, "--bin", name, "--manifest-path"]);
    build.arg(dir.join("Cargo.toml")).arg("--target-dir").arg(&target_dir);
    shell::run(build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", RUSTFLAGS))?;
    let (corpus, artifacts) = (dir.join("corpus").join(name), dir.join("artifacts").join(name));
    for needed in [&corpus, &artifacts] {
        fs::create_dir_all(needed).with_context(|| format!("cannot create {}", needed.display()))?;
    }
    let mut fuzz = Command::new(target_dir.join(TRIPLE).join("release").join(name));
    fuzz.current_dir(dir).arg(limit(duration)).arg(format!("-artifact_prefix={}/", artifacts.display()));
    shell::run(fuzz.arg(corpus))
}

fn limit(duration: Duration) -> String {
    format!("-max_total_time={}", duration.as_secs())
}

/// Reads `90s`, `5m`, `1h`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().with_context(|| format!("{text} is no duration: try 60s"))?;
    let unit = match text.strip_prefix(digits).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        other => bail!("{other} is no unit of time: use s, m or h"),
    };
    match count.checked_mul(unit) {
        // libFuzzer takes 0 for "without end"
        None | Some(0) => bail!("{text} is out of range"),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        assert_eq!(parse_duration("60s").unwrap().as_secs(), 60);
        assert_eq!(parse_duration("7").unwrap().as_secs(), 7);
        assert_eq!(parse_duration("2m").unwrap().as_secs(), 120);
        assert_eq!(parse_duration("1h").unwrap().as_secs(), 3600);
    }

    #[test]
    fn durations_without_an_end_or_a_number_are_refused() {
        for text in ["", "s", "0s", "5 s", "5d", "-1s", "99999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }
}
