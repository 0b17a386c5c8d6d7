//! The commands of the README and of other pages, run as written.
//!
//! Fenced blocks in `sh` or `console` are commands; in `console` only the lines after `$ ` are. Words behind the
//! language, which renderers do not show, say how a block is run:
//!
//! - `no-run`: not at all. `<!-- no-run -->` right above the fence does the same.
//! - `serve`: in the background until the other blocks are through, then ended by SIGTERM.
//!   `ready="listening on"` waits until a line of its output holds that text; `.*` stands for anything.
//! - `background`: in the background, and must have ended well by itself once the other blocks are through.
//! - `timeout=SECONDS`: for a block, for a server's first sign of life, for the end of a background block.

mod run;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell;

const TIMEOUT: Duration = Duration::from_secs(600);

/// Commands that run this task themselves.
const RECURSIVE: &[&str] = &["cargo xtask ci", "cargo xtask readme", ".ci/run", "./.ci/run"];

/// Commands that the pipeline runs anyway, as its last step.
const LAST_STEP: &[&str] = &["cargo xtask test"];

/// Pages with commands, and a program that their commands need beside our own.
const PAGES: &[(&str, Option<&str>)] =
    &[("README.md", None), ("crates/moqt-media/FFMPEG.md", Some("ffmpeg"))];

/// Who asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Person,
    Ci,
}

/// How a block is run.
#[derive(Debug, PartialEq, Eq)]
enum Mode {
    NoRun,
    Run,
    Serve { ready: Option<String> },
    Background,
}

/// A block of commands.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The page it is on.
    page: String,
    /// Where its fence opens, from 1.
    line: usize,
    mode: Mode,
    timeout: Duration,
    script: String,
}

impl Block {
    /// Where it is.
    fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }
}

/// Runs the blocks of each page in order, or prints them.
pub(crate) fn run(list: bool, page: Option<&str>, caller: Caller) -> Result<()> {
    let chosen: Vec<_> =
        PAGES.iter().filter(|(name, _)| page.is_none_or(|page| name.ends_with(page))).collect();
    if chosen.is_empty() {
        let names: Vec<_> = PAGES.iter().map(|(name, _)| *name).collect();
        bail!("no such page; there are: {}", names.join(", "));
    }
    for (name, needs) in chosen {
        if let Some(program) = needs.filter(|program| !shell::works(shell::command(program).arg("-version")))
        {
            println!("{name}: skipped, as {program} is not installed here");
            continue;
        }
        one(name, list, caller)?;
    }
    Ok(())
}

fn one(page: &str, list: bool, caller: Caller) -> Result<()> {
    let path = shell::root().join(page);
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {page}"))?;
    let mut blocks = parse(page, &text)?;
    for block in &mut blocks {
        for line in leave_out(block, caller) {
            println!("{page}:{}: not run from here: `{line}`", block.line);
        }
    }
    if list {
        for block in blocks {
            println!(
                "{page}:{}: {:?}, {} s\n{}",
                block.line,
                block.mode,
                block.timeout.as_secs(),
                block.script
            );
        }
        return Ok(());
    }
    run::all(page, &blocks)
}

/// Takes out the lines that would start this task again, or that run later anyway; gives them back.
fn leave_out(block: &mut Block, caller: Caller) -> Vec<String> {
    let starts = |line: &str, commands: &[&str]| {
        commands.iter().any(|command| {
            line.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        })
    };
    let (out, kept): (Vec<&str>, Vec<&str>) = block.script.lines().partition(|line| {
        let line = line.trim();
        starts(line, RECURSIVE) || (caller == Caller::Ci && starts(line, LAST_STEP))
    });
    let out = out.into_iter().map(|line| line.trim().to_owned()).collect();
    block.script = kept.into_iter().map(|line| format!("{line}\n")).collect();
    out
}

fn parse(page: &str, text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    let mut above = "";
    while let Some((at, line)) = lines.next() {
        let Some((indent, fence, info)) = opening(line) else {
            if !line.trim().is_empty() {
                above = line.trim();
            }
            continue;
        };
        let mut body = Vec::new();
        let closed = lines.by_ref().any(|(_, line)| {
            let closes = line.trim().starts_with(fence) && line.trim().trim_start_matches(fence).is_empty();
            if !closes {
                body.push(line.strip_prefix(indent).unwrap_or(line));
            }
            closes
        });
        if !closed {
            bail!("{page}:{}: this block has no end", at + 1);
        }
        let commented = above == "<!-- no-run -->";
        above = "";
        let block = block(page, at + 1, info, &body).with_context(|| format!("{page}:{}", at + 1))?;
        blocks
            .extend(block.map(|block| if commented { Block { mode: Mode::NoRun, ..block } } else { block }));
    }
    Ok(blocks)
}

/// Indent, fence and info string, if a fenced block starts here.
fn opening(line: &str) -> Option<(&str, &str, &str)> {
    let trimmed = line.trim_start();
    let (indent, _) = line.split_at_checked(line.len() - trimmed.len())?;
    let info = trimmed.trim_start_matches('`');
    let (fence, _) = trimmed.split_at_checked(trimmed.len() - info.len())?;
    (fence.len() >= 3 && !info.contains('`')).then_some((indent, fence, info.trim()))
}

/// A block by its info string; `None` if it is in another language.
fn block(page: &str, line: usize, info: &str, body: &[&str]) -> Result<Option<Block>> {
    let mut words = info_words(info)?.into_iter();
    let script: String = match words.next().as_deref() {
        Some("sh" | "bash" | "shell") => body.iter().map(|line| format!("{line}\n")).collect(),
        Some("console") => commands(body),
        _ => return Ok(None),
    };
    let mut block = Block { page: page.to_owned(), line, mode: Mode::Run, timeout: TIMEOUT, script };
    for word in words {
        match word.split_once('=') {
            None if word == "no-run" => block.mode = Mode::NoRun,
            None if word == "serve" => block.mode = Mode::Serve { ready: None },
            None if word == "background" => block.mode = Mode::Background,
            Some(("ready", text)) if matches!(block.mode, Mode::Serve { .. }) => {
                block.mode = Mode::Serve { ready: Some(text.to_owned()) };
            }
            Some(("timeout", seconds)) => {
                block.timeout = Duration::from_secs(seconds.parse().context("timeout takes seconds")?);
            }
            _ => bail!("`{word}` is no word for a block of commands"),
        }
    }
    Ok(Some(block))
}

/// The lines after `$ `, with the lines (after `> `, or as they are) that a `\` at the end joins to them.
fn commands(body: &[&str]) -> String {
    let mut script = String::new();
    let mut continued = false;
    for line in body {
        let command = match line.trim_start().strip_prefix("$ ") {
            Some(command) => command,
            None if continued => line.trim_start().strip_prefix("> ").unwrap_or(line),
            None => continue,
        };
        continued = command.ends_with('\\');
        script.push_str(command);
        script.push('\n');
    }
    script
}

/// Splits at spaces outside double quotes, and drops the quotes.
fn info_words(info: &str) -> Result<Vec<String>> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in info.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    if quoted {
        bail!("a quote in `{info}` has no end");
    }
    words.retain(|word| !word.is_empty());
    Ok(words)
}

#[cfg(test)]
mod tests;
