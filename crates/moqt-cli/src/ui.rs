//! What goes to stderr: notices, one progress line, the logs.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};

use crate::units::{show_bytes, show_rate};

/// Whether only errors are wanted.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether a progress line stands at the cursor. Held while anything is written.
static STANDING: Mutex<bool> = Mutex::new(false);

/// How often the progress line is written anew.
const REFRESH: Duration = Duration::from_millis(500);

fn standing() -> MutexGuard<'static, bool> {
    STANDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Only errors from now on.
pub(crate) fn quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Says something that is no error.
pub(crate) fn notice(text: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        error(text);
    }
}

/// Says something, whatever was wished.
pub(crate) fn error(text: &str) {
    let mut standing = standing();
    let line = format!("{}moqt: {}\n", wipe(&mut standing), one_line(text));
    // With stderr gone there is nobody to tell.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Removes the progress line.
pub(crate) fn clear() {
    let mut standing = standing();
    let _ = io::stderr().lock().write_all(wipe(&mut standing).as_bytes());
}

fn wipe(standing: &mut bool) -> &'static str {
    if std::mem::take(standing) { "\r\x1b[K" } else { "" }
}

/// The text without anything that would break out of its line: some of it comes from peers.
fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, character| {
        match character {
            '\n' | '\r' | '\t' => line.push(' '),
            control if control.is_control() => {
                let _ = write!(line, "{}", control.escape_default());
            }
            plain => line.push(plain),
        }
        line
    })
}

/// Where the logs are written: stderr, around the progress line.
#[derive(Debug, Default)]
pub(crate) struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut standing = standing();
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(wipe(&mut standing).as_bytes());
        stderr.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// What has passed through so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) groups: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) gaps: AtomicU64,
}

impl Counts {
    pub(crate) fn group(&self) {
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn payload(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn gap(&self, groups: u64) {
        self.gaps.fetch_add(groups, Ordering::Relaxed);
    }

    fn line(&self, name: &str, rate: f64) -> String {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{name}: {}  {} groups  {} frames  {}  {} gaps",
            show_rate(rate),
            load(&self.groups),
            load(&self.frames),
            show_bytes(load(&self.bytes)),
            load(&self.gaps)
        )
    }
}

/// A line on a terminal that shows how far the work is; gone when dropped.
#[derive(Debug)]
pub(crate) struct Progress(Option<AbortHandle>);

impl Progress {
    /// Shows `counts` if stderr is a terminal that nothing else writes to.
    pub(crate) fn start(name: String, counts: &Arc<Counts>, terminal_is_free: bool) -> Self {
        if !terminal_is_free || QUIET.load(Ordering::Relaxed) || !io::stderr().is_terminal() {
            return Self(None);
        }
        let task = show(name, Arc::clone(counts));
        #[expect(clippy::disallowed_methods, reason = "a task of the binary, ended when the line is dropped")]
        let task = tokio::spawn(task);
        Self(Some(task.abort_handle()))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            clear();
        }
    }
}

async fn show(name: String, counts: Arc<Counts>) {
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last: Option<(Instant, u64)> = None;
    let mut rate = 0.0;
    loop {
        let now = ticks.tick().await;
        let bytes = counts.bytes.load(Ordering::Relaxed);
        if let Some((then, before)) = last {
            let seconds = now.saturating_duration_since(then).as_secs_f64().max(1e-3);
            let current = (bytes - before) as f64 * 8.0 / seconds;
            // Half of what was, so that the number can be read.
            rate = if rate == 0.0 { current } else { (rate + current) / 2.0 };
        }
        last = Some((now, bytes));
        let mut standing = standing();
        *standing = true;
        let line = format!("\r\x1b[K{}", one_line(&counts.line(&name, rate)));
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(line.as_bytes()).and_then(|()| stderr.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_peer_stay_on_their_line() {
        assert_eq!(one_line("bad\r\nnews\t\x1b[2J"), "bad  news \\u{1b}[2J");
    }

    #[test]
    fn the_progress_line_names_all_that_counts() {
        let counts = Counts::default();
        counts.group();
        counts.frame();
        counts.payload(24_100_000);
        counts.gap(3);
        let line = counts.line("demo/clock", 5_020_000.0);
        assert_eq!(line, "demo/clock: 5.02 Mbit/s  1 groups  1 frames  24.1 MB  3 gaps");
    }
}
