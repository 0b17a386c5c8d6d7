//! Rules about every text that a commit holds: nothing of one machine, one day or one tracker in it.

use std::path::Path;

use super::Finding;

/// Folders that exist on somebody's machine only. Put together here, so that this file does not hold them.
const MACHINES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/tmp/", "bash_jobs"),
];

const UNFINISHED: &str = concat!("FIX", "ME");
const INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What is meant to be read in one go, and the most lines that it may have.
const SMALL: &[(&str, usize)] = &[("examples/browser/transfork.js", 400)];

/// What is wrong with one file; `file` is relative to the top of the workspace.
pub(crate) fn findings(file: &Path, content: &str) -> Vec<Finding> {
    if file.ends_with("Cargo.lock") {
        return lock_findings(file, content);
    }
    let mut findings = too_long(file, content);
    for (at, line) in content.lines().enumerate() {
        let mut found = |message: String| findings.push(Finding::new(file, at + 1, message));
        if let Some(place) = machine(line) {
            found(format!("`{place}` is a place on one machine"));
        }
        if names_an_issue(line) {
            found("names an issue by number: say what it was about".to_owned());
        }
        if line.contains(UNFINISHED) {
            found(format!("`{UNFINISHED}`: mend it, or say in the present tense what is missing"));
        }
    }
    findings
}

fn too_long(file: &Path, content: &str) -> Vec<Finding> {
    let limits =
        SMALL.iter().filter(|(name, most)| file == Path::new(name) && content.lines().count() > *most);
    limits.map(|(_, most)| Finding::new(file, most + 1, format!("is to have at most {most} lines"))).collect()
}

/// The lock file is cargo's, but its sources are ours to keep: the public index and nothing else.
fn lock_findings(file: &Path, content: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in content.lines().enumerate() {
        if let Some(source) = line.strip_prefix("source = ")
            && source.trim_matches('"') != INDEX
        {
            findings.push(Finding::new(file, at + 1, format!("{source} is not the public index")));
        }
    }
    findings
}

fn machine(line: &str) -> Option<&'static str> {
    MACHINES.iter().copied().find(|place| {
        line.match_indices(place).any(|(at, _)| {
            let before = line.get(..at).and_then(|before| before.chars().next_back());
            let after = line.get(at + place.len()..).and_then(|after| after.chars().next());
            let inside_path =
                before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '}'));
            let names_more = !place.ends_with('/') || after.is_some_and(|c| c.is_alphanumeric() || c == '.');
            !inside_path && names_more
        })
    })
}

/// The word and a number, an address with a number, or a bare number sign with one.
fn names_an_issue(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let worded = ["issue ", "issues/", "pull request ", "/pull/", "gh-"].iter().any(|word| {
        lower.match_indices(word).any(|(at, _)| {
            let begins = lower.get(..at).and_then(|before| before.chars().next_back());
            let rest = lower.get(at + word.len()..).unwrap_or_default();
            !begins.is_some_and(char::is_alphanumeric) && is_number(rest.strip_prefix('#').unwrap_or(rest))
        })
    });
    let bare = line.match_indices('#').any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|c| matches!(c, ' ' | '(' | '['))
            && is_number(line.get(at + 1..).unwrap_or_default())
    });
    worded || bare
}

/// Starts with digits that are no part of a longer word.
fn is_number(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < text.len() && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(line: &str) -> usize {
        findings(Path::new("README.md"), line).len()
    }

    #[test]
    fn a_place_on_one_machine_is_found() {
        for place in MACHINES {
            assert_eq!(count(&format!("see `{place}x`")), 1, "{place}");
        }
        for line in ["see https://a.example/work/", "the network/relay", "./crates/work/a", "rework/a/b"] {
            assert_eq!(count(line), 0, "{line}");
        }
    }

    #[test]
    fn an_issue_number_is_found() {
        for number in ["12", "7"] {
            for form in ["issue #", "Issue ", "(#", "closes #", "https://x.example/issues/", "pull request #"]
            {
                assert_eq!(count(&format!("{form}{number})")), 1, "{form}{number}");
            }
        }
        for line in
            ["#[test]", "# 1. Title", "{:#10x}", "&#39;", "#fff", "issue a warning", "r#\"12\"#", "tissue 1"]
        {
            assert_eq!(count(line), 0, "{line}");
        }
    }

    #[test]
    fn a_file_that_is_meant_to_be_small_stays_small() {
        let (name, most) = SMALL[0];
        assert_eq!(findings(Path::new(name), &"line\n".repeat(most)), []);
        assert_eq!(findings(Path::new(name), &"line\n".repeat(most + 1)).len(), 1);
        assert_eq!(findings(Path::new("other.js"), &"line\n".repeat(most + 1)), []);
    }

    #[test]
    fn a_mark_of_unfinished_work_is_found() {
        assert_eq!(count(&format!("// {UNFINISHED} later")), 1);
    }

    #[test]
    fn a_locked_crate_from_elsewhere_is_found() {
        let lock = format!("source = \"{INDEX}\"\nsource = \"git+https://host.example/a\"\n");
        let found = findings(Path::new("Cargo.lock"), &lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
    }
}
