//! Running commands, and saying what was run and how it went.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The top of the workspace, found at compile time from the place of this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A command that starts at the top of the workspace.
///
/// `cargo run` tells this program who it is by variables that some build scripts watch. They are taken out, or
/// every switch between `cargo` and `cargo xtask` would build those crates again.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_set_by_cargo_run) {
            command.env_remove(name);
        }
    }
    command
}

fn is_set_by_cargo_run(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || matches!(name, "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE")
}

/// A cargo command with these arguments.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = command("cargo");
    command.args(args);
    command
}

/// Prints a command, runs it with the terminal's input and output, and fails unless it ends with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = display(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Whether a command starts at all and ends with 0; shows nothing of it.
pub(crate) fn works(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// What a command prints to stdout; fails unless it ends with 0.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = display(command);
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed something that is no text"))
}

/// The command as one would type it: variables set on it, program, arguments.
fn display(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.to_string_lossy(), quoted(&value.to_string_lossy())));
        }
    }
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(command.get_args().map(|arg| quoted(&arg.to_string_lossy())));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '"', '\'', '(', ')', '$', '*']) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.to_owned()
    }
}

/// Seconds since some event, for headings and time limits.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a program that times other programs reads the clock here")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// `12.3 s`.
    pub(crate) fn show(&self) -> String {
        format!("{:.1} s", self.elapsed().as_secs_f64())
    }
}

/// Runs named steps, each to its end whatever the ones before did, and keeps count.
pub(crate) struct Steps {
    whole: &'static str,
    watch: Stopwatch,
    passed: usize,
    failed: Vec<String>,
}

impl Steps {
    /// `whole` is what the steps make up together; the last line starts with it.
    pub(crate) fn new(whole: &'static str) -> Self {
        Self { whole, watch: Stopwatch::start(), passed: 0, failed: Vec::new() }
    }

    /// Prints a heading, runs the step, prints how long it took and how it ended.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n=== {}: {name}", self.whole);
        let watch = Stopwatch::start();
        match step() {
            Ok(()) => {
                self.passed += 1;
                println!("=== {}: {name}: passed ({})", self.whole, watch.show());
            }
            Err(error) => {
                self.failed.push(name.to_owned());
                println!("=== {}: {name}: FAILED ({}): {error:#}", self.whole, watch.show());
            }
        }
    }

    /// Prints the last line, and fails when a step did.
    pub(crate) fn finish(self) -> Result<()> {
        let total = self.passed + self.failed.len();
        let Self { whole, watch, passed, failed } = self;
        let steps = if total == 1 { "step" } else { "steps" };
        if failed.is_empty() {
            println!("\n{whole}: {passed} of {total} {steps} passed ({})", watch.show());
            return Ok(());
        }
        println!("\n{whole}: {passed} of {total} {steps} passed ({})", watch.show());
        bail!("{whole}: failed: {}", failed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_does_not_keep_the_next_from_running() {
        let mut steps = Steps::new("test");
        let mut ran = false;
        steps.step("first", || bail!("broken"));
        steps.step("second", || {
            ran = true;
            Ok(())
        });
        let error = steps.finish().unwrap_err();
        assert!(ran);
        assert_eq!(error.to_string(), "test: failed: first");
    }

    #[test]
    fn a_command_that_fails_is_an_error_that_quotes_it() {
        let error = run(Command::new("bash").args(["-c", "exit 3"])).unwrap_err();
        assert!(error.to_string().starts_with("`bash -c 'exit 3'` failed"), "{error}");
    }

    #[test]
    fn variables_of_cargo_run_do_not_reach_commands() {
        assert!(is_set_by_cargo_run("CARGO_PKG_NAME"));
        assert!(is_set_by_cargo_run("CARGO_MANIFEST_DIR"));
        assert!(!is_set_by_cargo_run("CARGO_TARGET_DIR"));
        assert!(!is_set_by_cargo_run("CARGO_HOME"));
    }
}
