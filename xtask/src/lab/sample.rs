//! What a process has used, read from outside.

use std::fs;

use anyhow::{Context as _, Result};

use crate::shell::Stopwatch;

/// Linux counts CPU time for user space in these, whatever the kernel's own.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used up to some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// In user space and in the kernel.
    pub(crate) cpu_seconds: f64,
    /// Resident memory at this moment.
    pub(crate) rss: u64,
    /// The most resident memory so far.
    pub(crate) peak_rss: u64,
    /// Context switches of all threads, by choice or not.
    pub(crate) switches: u64,
    /// Open files and sockets.
    pub(crate) files: usize,
}

/// Looks at a process.
pub(crate) fn sample(id: u32) -> Result<Sample> {
    let proc = format!("/proc/{id}");
    let read = |path: String| fs::read_to_string(&path).with_context(|| format!("cannot read {path}"));
    let (stat, status) = (read(format!("{proc}/stat"))?, read(format!("{proc}/status"))?);
    let (mut switches, mut nanoseconds) = (0, 0);
    for task in fs::read_dir(format!("{proc}/task")).with_context(|| format!("no threads in {proc}"))? {
        // A thread may end meanwhile.
        let task = task?.path();
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        let ran = fs::read_to_string(task.join("schedstat")).ok();
        nanoseconds += ran.and_then(|ran| ran.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
        switches += field(&status, "voluntary_ctxt_switches") + field(&status, "nonvoluntary_ctxt_switches");
    }
    let files = fs::read_dir(format!("{proc}/fd")).map(Iterator::count).unwrap_or(0);
    let ticks = cpu_seconds(&stat).with_context(|| format!("{proc}/stat has another form than expected"))?;
    Ok(Sample {
        // A tick is much of a short run; the scheduler's own count of the threads that live is exact, if it is kept.
        cpu_seconds: if nanoseconds > 0 { nanoseconds as f64 / 1e9 } else { ticks },
        rss: field(&status, "VmRSS") * 1024,
        peak_rss: field(&status, "VmHWM") * 1024,
        switches,
        files,
    })
}

/// The name of the program may hold spaces and parentheses; what follows it does not.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// What a process used between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) switches: u64,
    /// At the end.
    pub(crate) rss: u64,
}

/// From a first look to a second.
pub(crate) struct Meter {
    id: u32,
    first: Sample,
    watch: Stopwatch,
}

impl Meter {
    pub(crate) fn start(id: u32) -> Result<Self> {
        Ok(Self { id, first: sample(id)?, watch: Stopwatch::start() })
    }

    pub(crate) fn stop(self) -> Result<Usage> {
        let last = sample(self.id)?;
        Ok(Usage {
            seconds: self.watch.elapsed().as_secs_f64(),
            cpu_seconds: last.cpu_seconds - self.first.cpu_seconds,
            switches: last.switches.saturating_sub(self.first.switches),
            rss: last.rss,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_whatever_the_program_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 3 0 100 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (a"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_files_and_threads() {
        let sample = sample(std::process::id()).unwrap();
        assert!(sample.rss > 1 << 20 && sample.peak_rss >= sample.rss, "{sample:?}");
        assert!(sample.files >= 3 && sample.switches > 0, "{sample:?}");
    }
}
