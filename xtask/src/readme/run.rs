//! Running blocks: in the foreground with a limit, in the background with an end.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::{Block, Mode};
use crate::shell::{self, Stopwatch};

const POLL: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_secs(10);

/// Where commands of other pages than the README run.
const SCRATCH: &str = "target/pages";

/// Runs blocks in order; then waits for those in the background and ends the servers.
pub(super) fn all(page: &str, blocks: &[Block]) -> Result<()> {
    std::fs::create_dir_all(shell::root().join(SCRATCH)).with_context(|| format!("cannot make {SCRATCH}"))?;
    let mut background = Vec::new();
    let mut count = 0;
    for block in blocks.iter().filter(|block| block.mode != Mode::NoRun && !block.script.trim().is_empty()) {
        count += 1;
        println!("--- {page}:{}", block.line);
        print!("{}", block.script);
        let watch = Stopwatch::start();
        match &block.mode {
            Mode::NoRun => continue,
            Mode::Run => foreground(block)?,
            Mode::Background => background.push(Background::start(block)?),
            Mode::Serve { ready } => {
                let mut server = Background::start(block)?;
                if let Some(ready) = ready {
                    server.wait_for(ready)?;
                }
                background.push(server);
            }
        }
        println!("--- {page}:{}: ok ({})", block.line, watch.show());
    }
    // clients first, and what was started later: a server that ends earlier would take them along
    background.reverse();
    background.sort_by_key(|process| matches!(process.block.mode, Mode::Serve { .. }));
    for process in background {
        process.finish()?;
    }
    println!("{page}: {count} blocks of commands ran");
    Ok(())
}

fn script(block: &Block) -> Command {
    let mut command = shell::command("bash");
    command.args(["-eu", "-o", "pipefail", "-c", &block.script]).stdin(Stdio::null()).process_group(0);
    if block.page != "README.md" {
        // These pages call our programs by their names, and leave files where they are.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let programs = shell::root().join("target/release");
        let with_ours = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path)));
        command.current_dir(shell::root().join(SCRATCH)).env("PATH", with_ours.unwrap_or(path));
    }
    command
}

fn foreground(block: &Block) -> Result<()> {
    let child = script(block).spawn().context("cannot start bash")?;
    let mut group = Group { child };
    match group.wait(block.timeout)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("{}: the commands failed ({status})", block.place()),
        None => bail!("{}: still running after {} s", block.place(), block.timeout.as_secs()),
    }
}

/// A process and all it started. Dropping it ends them.
struct Group {
    child: Child,
}

impl Group {
    /// `None`: it still runs after that time.
    fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let watch = Stopwatch::start();
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for bash")? {
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
        let line = format!("kill -s {name} -- -{} 2>/dev/null", self.child.id());
        shell::works(Command::new("bash").args(["-c", &line]));
    }

    /// Asks first, then insists.
    fn end(&mut self) {
        self.signal("TERM");
        if !matches!(self.wait(GRACE), Ok(Some(_))) {
            println!("still there {} s after SIGTERM: killing it", GRACE.as_secs());
        }
        self.signal("KILL");
        let _ = self.child.wait();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        } else {
            self.signal("TERM");
        }
    }
}

/// A block in the background whose output is shown line by line.
struct Background<'a> {
    block: &'a Block,
    group: Group,
    lines: Receiver<String>,
}

impl<'a> Background<'a> {
    fn start(block: &'a Block) -> Result<Self> {
        let mut command = script(block);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start bash")?;
        let (sender, lines) = sync_channel(256);
        if let Some(stdout) = child.stdout.take() {
            show(stdout, block.line, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            show(stderr, block.line, sender);
        }
        Ok(Self { block, group: Group { child }, lines })
    }

    /// Waits for a line with this text.
    fn wait_for(&mut self, ready: &str) -> Result<()> {
        let watch = Stopwatch::start();
        let place = self.block.place();
        loop {
            let left = self.block.timeout.saturating_sub(watch.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(said) if holds(&said, ready) => return Ok(()),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("{place}: no line with `{ready}` in time"),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.group.wait(GRACE)?.map(|status| status.to_string());
                    let status = status.unwrap_or_else(|| "still running".to_owned());
                    return Err(anyhow!("{place}: ended before a line with `{ready}` ({status})"));
                }
            }
        }
    }

    /// A server must still be there, and is ended; another block must end well by itself.
    fn finish(mut self) -> Result<()> {
        let place = self.block.place();
        if let Mode::Serve { .. } = self.block.mode {
            if let Some(status) = self.group.wait(Duration::ZERO)? {
                bail!("{place}: the server ended early ({status})");
            }
            self.group.end();
            return Ok(());
        }
        match self.group.wait(self.block.timeout)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{place}: the commands failed ({status})"),
            None => bail!("{place}: still running after {} s", self.block.timeout.as_secs()),
        }
    }
}

/// Prints what comes, and passes it on as long as somebody has room for it.
fn show(output: impl Read + Send + 'static, block: usize, lines: SyncSender<String>) {
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while output.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            println!("[{block}] {line}");
            // a full queue means that nobody waits for a line any more
            let _ = lines.try_send(line);
        }
    });
}

/// Whether a line holds the pieces of a text between `.*`, in order.
pub(super) fn holds(line: &str, text: &str) -> bool {
    let mut rest = line;
    text.split(".*").all(|piece| match rest.split_once(piece) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_while_others_run_is_an_error() {
        let block = Block {
            page: "README.md".to_owned(),
            line: 3,
            mode: Mode::Serve { ready: None },
            timeout: Duration::from_secs(20),
            script: "echo up; exit 3".to_owned(),
        };
        let mut server = Background::start(&block).unwrap();
        server.wait_for("up").unwrap();
        assert!(server.group.wait(block.timeout).unwrap().is_some());
        let error = server.finish().unwrap_err().to_string();
        assert!(error.starts_with("README.md:3: the server ended early"), "{error}");
    }
}
