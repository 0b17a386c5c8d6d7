//! A program under test: what it says is kept, what it is to say is waited for, and it never outlives its owner.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell::Stopwatch;

/// How long anything may take before the case fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Most lines of each program in a report.
const REPORTED: usize = 15;

/// What programs of one case said, for the report of a failure.
#[derive(Clone, Default)]
pub(crate) struct Report(Arc<Mutex<Vec<(String, Said)>>>);

impl Report {
    fn add(&self, name: &str, said: &Said) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), said.clone()));
    }

    /// Each program with its last lines.
    pub(crate) fn last(&self) -> Vec<(String, Vec<String>)> {
        let programs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        programs.iter().map(|(name, said)| (name.clone(), said.last())).collect()
    }
}

/// A running program. Dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    name: String,
    said: Said,
}

/// The lines of a program, from stdout and stderr.
#[derive(Clone, Default)]
pub(crate) struct Said(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    /// All of them, for reports.
    all: VecDeque<String>,
    /// Those of stdout that nobody waited for yet.
    open: Vec<String>,
    /// Pipes that are still open.
    pipes: usize,
}

/// Most lines kept for reports.
const KEPT: usize = 4000;

impl Said {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, pipe: impl Read + Send + 'static) {
        self.lock().pipes += 1;
        let said = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut lines = said.lock();
                lines.all.push_back(line.clone());
                if lines.all.len() > KEPT {
                    lines.all.pop_front();
                }
                lines.open.push(line);
                said.0.1.notify_all();
            }
            said.lock().pipes -= 1;
            said.0.1.notify_all();
        });
    }

    /// Waits until `check` holds, the program has ended, or it took too long.
    fn wait<T>(&self, patience: Duration, mut check: impl FnMut(&mut Lines) -> Option<T>) -> Option<T> {
        let watch = Stopwatch::start();
        let mut lines = self.lock();
        loop {
            if let Some(found) = check(&mut lines) {
                return Some(found);
            }
            let left = patience.saturating_sub(watch.elapsed());
            if lines.pipes == 0 || left.is_zero() {
                return None;
            }
            (lines, _) = self.0.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The last lines, for a report.
    fn last(&self) -> Vec<String> {
        let lines = self.lock();
        lines.all.iter().skip(lines.all.len().saturating_sub(REPORTED)).cloned().collect()
    }
}

impl Program {
    /// Starts a program; its name is for reports.
    pub(crate) fn start(name: &str, command: &mut Command, report: &Report) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let said = Said::default();
        if let Some(pipe) = child.stdout.take() {
            said.follow(pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            said.follow(pipe);
        }
        report.add(name, &said);
        Ok(Self { child, name: name.to_owned(), said })
    }

    /// Writes a line to the program's stdin.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().with_context(|| format!("{} was told to end", self.name))?;
        writeln!(stdin, "{line}").with_context(|| format!("{} does not listen to `{line}`", self.name))
    }

    /// Waits for a line for which `check` gives something. The line is used up, so that it is not found again.
    pub(crate) fn hears<T>(&self, what: &str, check: impl Fn(&str) -> Option<T>) -> Result<T> {
        self.hears_within(PATIENCE, what, check)
    }

    /// The same with another patience.
    pub(crate) fn hears_within<T>(
        &self,
        patience: Duration,
        what: &str,
        check: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let found = self.said.wait(patience, |lines| {
            let (at, found) =
                lines.open.iter().enumerate().find_map(|(at, line)| Some((at, check(line)?)))?;
            lines.open.remove(at);
            Some(found)
        });
        found.with_context(|| {
            let lines = self.said.lock();
            let why = if lines.pipes == 0 { "it has ended" } else { "in time" };
            // What it said of the same thing instead.
            let subject = what.split_whitespace().nth(1);
            let about =
                |line: &&String| subject.is_some_and(|word| line.split_whitespace().any(|w| w == word));
            let instead: Vec<String> =
                lines.all.iter().filter(about).take(5).map(|line| format!("`{line}`")).collect();
            let instead =
                if instead.is_empty() { String::new() } else { format!(", but {}", instead.join(", ")) };
            format!("{} never said `{what}` ({why}){instead}", self.name)
        })
    }

    /// Waits for a line that is just this.
    pub(crate) fn says(&self, line: &str) -> Result<()> {
        self.hears(line, |said| (said == line).then_some(()))
    }

    /// Waits for a line that begins like this, and gives the rest of it.
    pub(crate) fn says_from(&self, start: &str) -> Result<String> {
        self.hears(start, |said| said.strip_prefix(start).map(|rest| rest.trim_start().to_owned()))
    }

    /// Waits for a line that holds this.
    pub(crate) fn mentions(&self, text: &str) -> Result<String> {
        self.hears(text, |said| said.contains(text).then(|| said.to_owned()))
    }

    /// Whether a line that begins like this is there, used up or not.
    pub(crate) fn has_said(&self, start: &str) -> bool {
        self.said.lock().all.iter().any(|line| line.starts_with(start))
    }

    /// Counts lines for which `check` holds, until there are `count` or it took too long; says how many there are.
    pub(crate) fn count(&self, count: usize, patience: Duration, check: impl Fn(&str) -> bool) -> usize {
        let mut found = 0;
        self.said.wait(patience, |lines| {
            lines.open.retain(|line| {
                let counts = check(line);
                found += usize::from(counts);
                !counts
            });
            (found >= count).then_some(())
        });
        found
    }

    /// Closes the program's stdin, at which peers close their sessions, and waits for a good end.
    pub(crate) fn leaves(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.ends_well()
    }

    /// Waits until the program ends by itself, with status 0.
    pub(crate) fn ends_well(mut self) -> Result<()> {
        let status = self.ends()?;
        if !status.success() {
            bail!("{} ended badly ({status})", self.name);
        }
        Ok(())
    }

    fn ends(&mut self) -> Result<ExitStatus> {
        // Both pipes end with the program.
        if self.said.wait(PATIENCE, |lines| (lines.pipes == 0).then_some(())).is_none() {
            bail!("{} did not end in time", self.name);
        }
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Asks the program to end, as somebody at its terminal would.
    pub(crate) fn interrupt(&self) -> Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", "INT", &id]).status().context("cannot run kill")?;
        if !status.success() {
            bail!("cannot end {}: {status}", self.name);
        }
        Ok(())
    }

    /// Fails when the program has ended badly.
    pub(crate) fn is_well(&mut self) -> Result<()> {
        match self.child.try_wait() {
            // What a program says that was asked to end from its terminal.
            Ok(Some(status)) if status.code() == Some(130) => Ok(()),
            Ok(Some(status)) if !status.success() => bail!("{} has ended badly ({status})", self.name),
            _ => Ok(()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::start("test", Command::new("bash").args(["-c", script]), &Report::default()).unwrap()
    }

    #[test]
    fn a_line_is_found_once() {
        let program = shell("echo one; echo two; cat");
        program.says("two").unwrap();
        program.says("one").unwrap();
        let again =
            program.hears_within(Duration::from_millis(50), "one", |line| (line == "one").then_some(()));
        assert!(again.unwrap_err().to_string().contains("never said `one` (in time)"));
        assert!(program.has_said("one"));
        program.leaves().unwrap();
    }

    #[test]
    fn a_program_that_has_ended_is_not_waited_for() {
        let watch = Stopwatch::start();
        let error = shell("exit 3").says("anything").unwrap_err().to_string();
        assert!(error.contains("it has ended"), "{error}");
        assert!(watch.elapsed() < PATIENCE);
        assert!(shell("exit 3").ends_well().is_err());
    }
}
