//! Tests and doctests, of the workspace or of one layer.

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::metadata::Metadata;
use crate::shell::{self, Steps};

/// One layer of the house, lowest first.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Layer {
    /// Bytes to messages and back.
    Wire,
    /// Connections: traits, adapters, conformance.
    Transport,
    /// The simulated transport itself.
    Sim,
    /// The data model, the conversation, the shell.
    Session,
    /// Clients, servers, URLs, TLS.
    Facade,
    /// Catalogs, LOC, MP4.
    Media,
    /// The relay.
    Relay,
    /// The command.
    Cli,
    /// Suites over several crates and processes.
    E2e,
}

impl Layer {
    fn package(self) -> &'static str {
        match self {
            Self::Wire => "moqt-wire",
            Self::Transport => "moqt-transport",
            Self::Sim => "moqt-sim",
            Self::Session => "moqt-session",
            Self::Facade => "moqt",
            Self::Media => "moqt-media",
            Self::Relay => "moqt-relay",
            Self::Cli => "moqt-cli",
            Self::E2e => "moqt-e2e",
        }
    }
}

/// Which of the profiles in `.config/nextest.toml`; says nothing where nextest is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    Default,
    Ci,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Ci => "ci",
        }
    }
}

/// Runs doctests first and the tests last, so that the runner's own summary is among the last lines.
pub(crate) fn run(layer: Option<Layer>, profile: Profile, extra: &[String]) -> Result<()> {
    let selection: Vec<&str> = match layer {
        None => vec!["--workspace"],
        Some(layer) => vec!["--package", layer.package()],
    };
    let mut steps = Steps::new("xtask test");
    if extra.is_empty() && has_doctests(layer)? {
        steps.step("doctests", || {
            shell::run(shell::cargo(["test", "--doc", "--all-features"]).args(&selection))
        });
    }
    if matches!(layer, Some(Layer::E2e)) {
        // The suites run the programs, which only a run of the whole workspace builds by itself.
        steps.step("programs", || {
            shell::run(&mut shell::cargo(["build", "--workspace", "--bins", "--all-features"]))
        });
    }
    let nextest = shell::works(&mut shell::cargo(["nextest", "--version"]));
    steps.step("tests", || {
        let mut command = if nextest {
            shell::cargo(["nextest", "run", "--profile", profile.name(), "--all-features"])
        } else {
            println!("cargo-nextest is not installed: using cargo's own runner");
            shell::cargo(["test", "--no-fail-fast", "--tests", "--all-features"])
        };
        shell::run(command.args(&selection).args(extra))
    });
    steps.finish()
}

fn has_doctests(layer: Option<Layer>) -> Result<bool> {
    let Some(layer) = layer else { return Ok(true) };
    let metadata = Metadata::load()?;
    let Some(package) = metadata.package(layer.package()) else {
        bail!("the workspace has no package {}", layer.package());
    };
    Ok(package.has_doctests())
}
