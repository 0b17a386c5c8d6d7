//! The release binaries that are measured.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::shell;

/// Where they lie.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) moqt: PathBuf,
    pub(crate) null_relay: PathBuf,
    pub(crate) impair: PathBuf,
    pub(crate) flood: PathBuf,
}

impl Programs {
    /// Takes them from a folder, or builds them.
    pub(crate) fn find(folder: Option<&Path>) -> Result<Self> {
        let folder = match folder {
            Some(folder) => folder.to_path_buf(),
            None => {
                // In one go: apart, they would be built with other features of what they share, over and over.
                let packages = ["--package", "moqt-cli", "--package", "moqt-e2e", "--bins"];
                shell::run(shell::cargo(["build", "--release", "--locked"]).args(packages))?;
                target().join("release")
            }
        };
        let program = |name: &str| existing(folder.join(format!("{name}{}", env::consts::EXE_SUFFIX)));
        Ok(Self {
            moqt: program("moqt")?,
            null_relay: program("null-relay")?,
            impair: program("impair")?,
            flood: program("flood")?,
        })
    }
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from)
}

/// The binary of the last release, built in a work tree of its own.
pub(crate) fn previous() -> Result<PathBuf> {
    let mut describe = shell::command("git");
    describe.args(["describe", "--tags", "--abbrev=0"]);
    let Ok(tag) = shell::output(&mut describe) else {
        bail!("there is no release tag to compare with; name a binary: --vs PATH");
    };
    let tree = target().join("bench").join(tag.trim());
    if !tree.exists() {
        let mut add = shell::command("git");
        add.args(["worktree", "add", "--force", "--detach"]).arg(&tree).arg(tag.trim());
        shell::run(&mut add)?;
    }
    let build = target().join("bench").join("previous-target");
    let mut cargo = shell::cargo(["build", "--release", "--locked", "--package", "moqt-cli"]);
    shell::run(cargo.current_dir(&tree).env("CARGO_TARGET_DIR", &build))?;
    existing(build.join("release").join(format!("moqt{}", env::consts::EXE_SUFFIX)))
}

/// The path itself, if something is there.
pub(crate) fn existing(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok(path),
        _ => bail!("there is no program {}", path.display()),
    }
}
