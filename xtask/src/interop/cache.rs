//! The peers as programs: fetched from the registry and built once, into a folder that is not tracked.
//!
//! The folder is `target/interop`, or what `MOQT_INTEROP_DIR` says. What is there is used as it is: a program's
//! version is part of its place.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::stage::Side;
use crate::shell;

/// Where the peers are.
pub(crate) fn folder() -> PathBuf {
    env::var_os("MOQT_INTEROP_DIR").map_or_else(|| shell::root().join("target/interop"), PathBuf::from)
}

/// The programs of one deployed release.
#[derive(Debug)]
pub(crate) struct Release {
    /// The folder below the cache.
    pub(crate) folder: &'static str,
    pub(crate) relay: &'static str,
    pub(crate) clock: &'static str,
    /// The library's version, for which there is a peer of ours.
    pub(crate) library: &'static str,
    peer: &'static str,
}

impl Release {
    pub(crate) const fn of(side: Side) -> Option<&'static Self> {
        match side {
            Side::Ours => None,
            Side::Parts => Some(&PARTS),
            Side::Wildcard => Some(&WILDCARD),
        }
    }

    /// Everything by name and version.
    pub(crate) fn versions(&self) -> String {
        format!("moq-relay {}, moq-clock {}, moq-transfork {}", self.relay, self.clock, self.library)
    }

    fn program(&self, name: &str) -> PathBuf {
        folder().join(self.folder).join("bin").join(name)
    }
}

static PARTS: Release = Release {
    folder: "parts",
    relay: "0.6.22",
    clock: "0.5.24",
    library: "0.11.0",
    peer: "peer-transfork-11",
};

static WILDCARD: Release = Release {
    folder: "wildcard",
    relay: "0.6.24",
    clock: "0.5.26",
    library: "0.12.0",
    peer: "peer-transfork-12",
};

/// The package of the peers that stand on the released crates.
const PEERS: &str = "interop/transfork";

/// The relay of a release.
pub(crate) fn relay(release: &Release) -> PathBuf {
    release.program("moq-relay")
}

/// The clock of a release.
pub(crate) fn clock(release: &Release) -> PathBuf {
    release.program("moq-clock")
}

/// The peer on a release's library.
pub(crate) fn peer(release: &Release) -> PathBuf {
    folder().join("harness/debug").join(release.peer)
}

/// Why a peer is not there.
#[derive(Debug)]
pub(crate) enum Missing {
    /// It was not to be built.
    NotBuilt(String),
    /// The registry does not answer.
    Unreachable(String),
}

/// Builds the peers on the crates, if they are to be built or may be out of date.
pub(crate) fn build_peers(build: bool) -> Result<Result<(), Missing>> {
    if !build {
        let there = [&PARTS, &WILDCARD].into_iter().all(|release| peer(release).exists());
        return Ok(if there { Ok(()) } else { Err(not_built("the peers on the released crates")) });
    }
    let mut command = shell::cargo(["build", "--locked", "--manifest-path"]);
    command
        .arg(shell::root().join(PEERS).join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", folder().join("harness"));
    cargo(&mut command)
}

/// Installs the relay and the clock of a release, unless they are there.
pub(crate) fn install(release: &Release, build: bool) -> Result<Result<(), Missing>> {
    let programs = [("moq-relay", release.relay), ("moq-clock", release.clock)];
    for (name, version) in programs {
        if is_installed(release, name, version) {
            continue;
        }
        if !build {
            return Ok(Err(not_built(&format!("{name} {version}"))));
        }
        let mut command = shell::cargo(["install", "--locked", "--root"]);
        command.arg(folder().join(release.folder)).arg(format!("{name}@{version}"));
        command.env("CARGO_TARGET_DIR", folder().join("build"));
        if let Err(missing) = cargo(&mut command)? {
            return Ok(Err(missing));
        }
    }
    Ok(Ok(()))
}

/// Cargo keeps a list of what it has installed below a root.
fn is_installed(release: &Release, name: &str, version: &str) -> bool {
    let list = folder().join(release.folder).join(".crates.toml");
    let list = std::fs::read_to_string(list).unwrap_or_default();
    release.program(name).exists() && list.contains(&format!("\"{name} {version} "))
}

fn not_built(what: &str) -> Missing {
    Missing::NotBuilt(format!("{what}: not built in {}", folder().display()))
}

/// Runs cargo, its progress shown as comments; tells a registry that does not answer from other failures.
fn cargo(command: &mut Command) -> Result<Result<(), Missing>> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?
        .wait_with_output()
        .context("cannot wait for cargo")?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if is_unreachable(&words) {
        let line = words.lines().find(|line| is_unreachable(line)).unwrap_or_default().trim().to_owned();
        return Ok(Err(Missing::Unreachable(format!("the registry cannot be reached: {line}"))));
    }
    let last: Vec<&str> = words.lines().rev().take(20).collect();
    bail!("cargo failed ({}):\n{}", output.status, last.into_iter().rev().collect::<Vec<_>>().join("\n"));
}

fn is_unreachable(words: &str) -> bool {
    let lower = words.to_ascii_lowercase();
    [
        "could not resolve host",
        "failed to download",
        "failed to query replaced source",
        "failed to fetch",
        "failed to update registry",
        "unable to update registry",
        "spurious network error",
        "download of config.json failed",
        "network failure seems to have happened",
        "failed to connect",
        "couldn't connect to server",
    ]
    .iter()
    .any(|sign| lower.contains(sign))
}

/// Our programs, built with the rest of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pub(crate) moqt: PathBuf,
    pub(crate) peer: PathBuf,
}

impl Ours {
    pub(crate) fn build() -> Result<Self> {
        let args = ["build", "--quiet", "--package", "moqt-cli", "--package", "moqt-e2e", "--bins"];
        let status = shell::cargo(args).status().context("cannot start cargo")?;
        if !status.success() {
            bail!("our programs do not build ({status})");
        }
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from);
        let debug: &Path = &target.join("debug");
        Ok(Self { moqt: debug.join("moqt"), peer: debug.join("moqt-interop-peer") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_does_not_answer_is_told_from_a_failed_build() {
        let down =
            "error: failed to download from `https://…`\nCaused by: [6] Could not resolve host: example";
        assert!(is_unreachable(down));
        assert!(!is_unreachable("error[E0308]: mismatched types\nerror: could not compile `moq-relay`"));
    }
}
