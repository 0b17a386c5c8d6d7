//! The pipeline: every check, then the tests.
//!
//! All steps share one target directory and, except for the feature combinations, one selection of packages and
//! features, so that nothing is built twice. Only the README's own commands build in release mode.

use anyhow::{Result, bail};

use crate::layers::{self, Profile};
use crate::shell::{self, Steps};
use crate::{interop, readme, tidy, vectors};

/// A step: its name, what it does.
type Step = (&'static str, fn() -> Result<()>);

/// In order: what fails in seconds first, the tests last.
const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("vectors", vectors::list),
    ("deny", deny),
    ("clippy", clippy),
    ("features", features),
    ("docs", docs),
    ("build", build),
    ("interop", interop::run_built),
    ("browser", interop::browser::run_built),
    ("readme", || readme::run(false, None, readme::Caller::Ci)),
    ("test", || layers::run(None, Profile::Ci, &[])),
];

/// Runs all steps, or those named; every one runs, whatever the ones before did.
pub(crate) fn run(only: &[String]) -> Result<()> {
    if let Some(unknown) = only.iter().find(|wanted| !STEPS.iter().any(|(name, _)| name == wanted)) {
        let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!("no step {unknown}; there are: {}", names.join(", "));
    }
    let mut steps = Steps::new("xtask ci");
    for (name, step) in STEPS {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            steps.step(name, step);
        }
    }
    steps.finish()
}

fn fmt() -> Result<()> {
    shell::run(&mut shell::cargo(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let args = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    shell::run(&mut shell::cargo(args))
}

/// Licences, duplicate and banned crates, sources. Needs no network; the advisories would.
fn deny() -> Result<()> {
    if !shell::works(&mut shell::cargo(["deny", "--version"])) {
        println!("cargo-deny is not installed: licences and sources are not checked here");
        return Ok(());
    }
    let args = ["deny", "--offline", "--all-features", "check", "licenses", "bans", "sources"];
    shell::run(&mut shell::cargo(args))
}

/// Crates as others get them: alone, without the features that the rest of the workspace turns on for them.
fn features() -> Result<()> {
    let combinations: &[&[&str]] = &[
        &["--package", "moqt-wire"],
        &["--package", "moqt-transport", "--no-default-features"],
        &["--package", "moqt-transport", "--no-default-features", "--features", "quinn"],
        &["--package", "moqt-session"],
    ];
    for combination in combinations {
        shell::run(shell::cargo(["clippy", "--lib"]).args(*combination).args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn docs() -> Result<()> {
    let args = ["doc", "--workspace", "--no-deps", "--all-features"];
    shell::run(shell::cargo(args).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Binaries and examples link, not only check.
fn build() -> Result<()> {
    shell::run(&mut shell::cargo(["build", "--workspace", "--all-features", "--bins", "--examples"]))
}
