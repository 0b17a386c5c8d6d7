//! House rules that no lint knows. All findings are printed before the task fails.

mod rust;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::metadata::Metadata;
use crate::{arrows, interop, shell, status, vectors};

/// One broken rule, and where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the top of the workspace.
    pub(crate) file: PathBuf,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Finding {
    /// `file` may be absolute; `line` counts from 1.
    pub(crate) fn new(file: &Path, line: usize, message: impl Into<String>) -> Self {
        let root = shell::root();
        let file = file.strip_prefix(&root).unwrap_or(file).to_path_buf();
        Self { file, line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// Prints every finding as `file:line: what`, and fails if there is one.
pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::load()?;
    let files = files()?;
    let mut findings = BTreeSet::new();
    findings.extend(arrows::findings(&metadata));
    for file in &files {
        let Ok(bytes) = fs::read(shell::root().join(file)) else { continue };
        let Ok(content) = String::from_utf8(bytes) else { continue };
        findings.extend(text::findings(file, &content));
        if file.extension().is_some_and(|extension| extension == "rs") {
            findings.extend(rust::findings(file, &content));
        }
    }
    findings.extend(vectors::findings()?);
    findings.extend(status::findings(&metadata)?);
    findings.extend(interop::findings()?);
    for finding in &findings {
        println!("{finding}");
    }
    println!("xtask tidy: {} files, {} findings", files.len(), findings.len());
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    Ok(())
}

/// What a commit would hold, relative to the top: asked of git, or found by walking where there is no repository.
fn files() -> Result<Vec<PathBuf>> {
    let mut git = shell::command("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut files: Vec<PathBuf> = match git.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(PathBuf::from).collect()
        }
        _ => {
            let mut found = Vec::new();
            walk(&shell::root(), &mut found)?;
            found
        }
    };
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if name != ".git" && name != "target" && name != "artifacts" {
                walk(&path, found)?;
            }
        } else if let Ok(relative) = path.strip_prefix(shell::root()) {
            found.push(relative.to_path_buf());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_file_and_line() {
        let finding = Finding::new(&shell::root().join("crates/a.rs"), 3, "odd");
        assert_eq!(finding.to_string(), "crates/a.rs:3: odd");
    }

    #[test]
    fn this_very_file_is_among_the_files_of_a_walk() {
        let mut found = Vec::new();
        walk(&shell::root().join("xtask"), &mut found).unwrap();
        assert!(found.contains(&PathBuf::from("xtask/src/tidy.rs")));
    }
}
