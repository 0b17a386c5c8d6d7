//! A program under measurement. Dropped, it is killed.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::shell::Stopwatch;

/// Lines that wait to be read. A program that says more than that waits.
const LINES: usize = 1 << 16;

/// A program that runs.
pub(crate) struct Child {
    name: String,
    child: std::process::Child,
    lines: Receiver<Line>,
    /// What it said on stderr.
    words: Vec<String>,
}

enum Line {
    Out(String),
    Words(String),
}

impl Child {
    /// Starts it; `name` is for messages.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (sender, lines) = sync_channel(LINES);
        let (out, words) = (child.stdout.take(), child.stderr.take());
        let other = sender.clone();
        thread::spawn(move || {
            for line in out.into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).map_while(Result::ok) {
                let _ = sender.send(Line::Out(line));
            }
        });
        thread::spawn(move || {
            for line in words.into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).map_while(Result::ok)
            {
                let _ = other.send(Line::Words(line));
            }
        });
        Ok(Self { name: name.to_owned(), child, lines, words: Vec::new() })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line on stdout; `None` at its end.
    pub(crate) fn line(&mut self, patience: Duration) -> Result<Option<String>> {
        let watch = Stopwatch::start();
        loop {
            match self.lines.recv_timeout(patience.saturating_sub(watch.elapsed())) {
                Ok(Line::Out(line)) => return Ok(Some(line)),
                Ok(Line::Words(line)) => self.words.push(line),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} said nothing within {patience:?}{}", self.name, self.said())
                }
            }
        }
    }

    /// The first line, on stdout or stderr, of which `find` makes something.
    pub(crate) fn find<T>(&mut self, patience: Duration, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let watch = Stopwatch::start();
        loop {
            let line = match self.lines.recv_timeout(patience.saturating_sub(watch.elapsed())) {
                Ok(Line::Out(line)) => line,
                Ok(Line::Words(line)) => {
                    self.words.push(line.clone());
                    line
                }
                Err(_) => bail!("{} did not say what was waited for{}", self.name, self.said()),
            };
            if let Some(found) = find(&line) {
                return Ok(found);
            }
        }
    }

    /// Reads lines of JSON up to one of this kind, which is the last.
    pub(crate) fn until(&mut self, kind: &str, patience: Duration) -> Result<Vec<Value>> {
        let watch = Stopwatch::start();
        let mut lines = Vec::new();
        loop {
            let Some(line) = self.line(patience.saturating_sub(watch.elapsed()))? else {
                bail!("{} ended before it was {kind}{}", self.name, self.said());
            };
            let line: Value =
                serde_json::from_str(&line).with_context(|| format!("{}: {line}", self.name))?;
            let over = line.get("kind").is_some_and(|is| is == kind);
            lines.push(line);
            if over {
                return Ok(lines);
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let watch = Stopwatch::start();
        while self.line(patience.saturating_sub(watch.elapsed()))?.is_some() {}
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if watch.elapsed() > patience {
                bail!("{} does not end", self.name);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its last words, for the end of a message.
    pub(crate) fn said(&self) -> String {
        let first = self.words.len().saturating_sub(5);
        let last = self.words.get(first..).unwrap_or_default();
        if last.is_empty() { String::new() } else { format!("; it said: {}", last.join(" / ")) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn bash(script: &str) -> Child {
        Child::start("bash", Command::new("bash").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_of_json_are_read_up_to_a_kind() {
        let mut child = bash(r#"echo '{"kind":"a"}'; echo word >&2; echo '{"kind":"b","n":3}'; exit 4"#);
        let lines = child.until("b", PATIENCE).unwrap();
        assert_eq!((lines.len(), lines[1]["n"].as_u64()), (2, Some(3)));
        assert_eq!(child.end(PATIENCE).unwrap().code(), Some(4));
        assert!(child.said().contains("word"));
    }

    #[test]
    fn a_child_that_says_nothing_is_given_up_and_does_not_outlive_its_handle() {
        let mut child = bash("exec sleep 100");
        let id = child.id();
        assert!(child.line(Duration::from_millis(50)).unwrap_err().to_string().contains("said nothing"));
        assert!(child.runs());
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }
}
