//! The client for browsers, in a headless Chromium, against our relay and our commands.
//!
//! The cases are scripts in `examples/browser/test`; they print their results themselves. This builds the programs,
//! installs what drives the browser, and makes sure that everything ends. Where the browser is missing, that is said
//! and nothing fails.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell::{self, Stopwatch};

const SCRIPTS: &str = "examples/browser/test";
/// The oldest major version of node that the scripts and the driver work with.
const NODE: u32 = 20;
/// What Chromium is called in different places.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
/// For all cases together. Each has a limit of its own besides.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between a polite signal and the other one.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Builds the programs, and runs the cases with `part` in their names.
pub(crate) fn run(part: &str) -> Result<()> {
    let browser = match browser() {
        Ok(browser) => browser,
        Err(missing) => return skip(&missing),
    };
    shell::run(&mut shell::cargo(["build", "--package", "moqt-cli", "--bin", "moqt"]))?;
    shell::run(&mut shell::cargo([
        "build",
        "--package",
        "moqt-e2e",
        "--example",
        "closing",
        "--bin",
        "impair",
    ]))?;
    let modules = install()?;
    cases(&browser, &modules, part)
}

/// What the pipeline runs: all cases with the programs that are built already. Without the driver of the browser, for
/// want of a registry, they are skipped.
pub(crate) fn run_built() -> Result<()> {
    let browser = match browser() {
        Ok(browser) => browser,
        Err(missing) => return skip(&missing),
    };
    match install() {
        Ok(modules) => cases(&browser, &modules, ""),
        Err(error) => skip(&format!("{error:#}")),
    }
}

fn skip(why: &str) -> Result<()> {
    println!("TAP version 14\n1..0 # SKIP {}", why.lines().next().unwrap_or_default());
    Ok(())
}

/// A Chromium, if all else that the scripts need is there; or what is not.
fn browser() -> Result<PathBuf, String> {
    let version = shell::output(Command::new("node").arg("--version").stderr(Stdio::null()));
    let version = version.map_err(|_| "no node on this machine".to_owned())?;
    if major(&version).is_none_or(|major| major < NODE) {
        return Err(format!("node {} is older than {NODE}", version.trim()));
    }
    if !shell::works(Command::new("npm").arg("--version")) {
        return Err("no npm on this machine".to_owned());
    }
    let named = env::var_os("MOQT_CHROMIUM").map(PathBuf::from);
    let mut candidates = named.into_iter().chain(BROWSERS.iter().filter_map(|name| in_path(name)));
    candidates
        .find(|path| shell::works(Command::new(path).arg("--version")))
        .ok_or_else(|| "no Chromium on this machine, nor in MOQT_CHROMIUM".to_owned())
}

/// `v20.1.0` is 20.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Installs the driver of the browser, as locked, unless it is there. Returns the folder that holds it.
fn install() -> Result<PathBuf> {
    let cache = env::var_os("MOQT_INTEROP_DIR").map_or_else(|| target().join("interop"), PathBuf::from);
    let folder = cache.join("browser");
    let scripts = shell::root().join(SCRIPTS);
    let lock = fs::read_to_string(scripts.join("package-lock.json")).context("no package-lock.json")?;
    let installed = folder.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|there| there == lock) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(scripts.join(name), folder.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    let output = npm.output().context("cannot start npm")?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("`npm ci` in {} failed ({})", folder.display(), output.status);
    }
    fs::write(&installed, lock).with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(folder)
}

fn target() -> PathBuf {
    // Cargo runs there too, so a relative one starts there.
    shell::root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

fn cases(browser: &Path, modules: &Path, part: &str) -> Result<()> {
    let debug = target().join("debug");
    let mut node = shell::command("node");
    node.arg(format!("{SCRIPTS}/run.mjs"));
    node.arg("--moqt").arg(debug.join("moqt"));
    node.arg("--closing").arg(debug.join("examples/closing"));
    node.arg("--impair").arg(debug.join("impair"));
    node.arg("--chromium").arg(browser).arg("--modules").arg(modules);
    node.arg("--").arg(part).stdin(Stdio::null()).process_group(0);
    let mut group = Group(node.spawn().context("cannot start node")?);
    match group.wait(PATIENCE)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("the cases in a browser failed ({status})"),
        None => bail!("the cases in a browser did not end within {} s", PATIENCE.as_secs()),
    }
}

/// A process and all it started. Dropped, they end.
struct Group(Child);

impl Group {
    /// `None`: it still runs after that time.
    fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let watch = Stopwatch::start();
        loop {
            if let Some(status) = self.0.try_wait().context("cannot wait for node")? {
                return Ok(Some(status));
            }
            if watch.elapsed() > limit {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }

    /// Fails silently when there is nobody left in the group.
    fn signal(&self, name: &str) {
        let line = format!("kill -s {name} -- -{} 2>/dev/null", self.0.id());
        shell::works(Command::new("bash").args(["-c", &line]));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The driver ends its browser when it is asked to.
        self.signal("TERM");
        let _ = self.wait(GRACE);
        self.signal("KILL");
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_node_is_read() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("v8.0.0"), Some(8));
        assert_eq!(major("20.1.0"), None);
        assert_eq!(major(""), None);
    }
}
