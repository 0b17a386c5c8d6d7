//! The golden vectors of the wire crate: `crates/moqt-wire/vectors/<version>/<message>.json`.
//!
//! The wire crate's own tests check what the cases say. Here it is only whether they are there at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::mask::code_only;
use crate::metadata::Metadata;
use crate::shell;
use crate::tidy::Finding;

const VECTORS: &str = "crates/moqt-wire/vectors";
const SOURCES: &str = "crates/moqt-wire/src";

/// A message, as its declaration says.
#[derive(Debug, PartialEq, Eq)]
struct Declared {
    source: PathBuf,
    line: usize,
    /// In the way files are named.
    message: String,
    family: String,
    /// Some versions of the family lack it. Which ones, the wire crate's tests know.
    conditional: bool,
}

/// A file of cases, or why it holds none.
type Cases = Result<usize, String>;

/// Files by version folder and message.
type Files = BTreeMap<String, BTreeMap<String, (PathBuf, Cases)>>;

/// Runs the tests of the wire crate that read the vectors.
pub(crate) fn run() -> Result<()> {
    list()?;
    let metadata = Metadata::load()?;
    let Some(wire) = metadata.package("moqt-wire") else { bail!("the workspace has no moqt-wire") };
    // test programs named after the vectors, and unit tests with the word in their path
    let mut selections = vec![vec!["--lib", "vector"]];
    for target in &wire.targets {
        if target.kind.iter().any(|kind| kind == "test") && target.name.contains("vector") {
            selections.push(vec!["--test", &target.name]);
        }
    }
    let mut ran = 0;
    for selection in selections {
        let mut command = shell::cargo(["test", "--package", "moqt-wire", "--all-features"]);
        let printed =
            shell::output(command.args(selection)).context("the tests that read the vectors failed")?;
        print!("{printed}");
        ran += passed(&printed);
    }
    if ran == 0 {
        bail!("no test of moqt-wire is named after the vectors: nothing read them");
    }
    Ok(())
}

/// How many tests ran well, by the runner's own closing lines.
fn passed(printed: &str) -> usize {
    let counts = printed.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
    counts.filter_map(|count| count.parse::<usize>().ok()).sum()
}

/// Prints the number of cases by version and message; fails when some are missing or unreadable.
pub(crate) fn list() -> Result<()> {
    let files = load(&shell::root().join(VECTORS))?;
    let mut total = 0;
    for (version, messages) in &files {
        let cases = |(_, cases): &(PathBuf, Cases)| cases.as_ref().copied().unwrap_or(0);
        let sum: usize = messages.values().map(cases).sum();
        println!("{version}: {sum} cases in {} messages", messages.len());
        for (message, file) in messages {
            println!("  {message:<24} {:>4}", cases(file));
        }
        total += sum;
    }
    println!("vectors: {total} cases in {} versions", files.len());
    let findings = findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("vectors: {} findings", findings.len());
    }
    Ok(())
}

/// Each message of each version without vectors, and each file that holds too few.
pub(crate) fn findings() -> Result<Vec<Finding>> {
    let root = shell::root();
    let dir = root.join(VECTORS);
    let mut declared = Vec::new();
    for source in files_below(&root.join(SOURCES), "rs")? {
        let text =
            fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
        declared.extend(declarations(&source, &text));
    }
    let files = load(&dir)?;
    let mut findings = check(&declared, &files);
    if files.is_empty() {
        findings.insert(0, Finding::new(&dir, 1, "holds no vectors"));
    }
    Ok(findings)
}

fn check(declared: &[Declared], files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, cases) in files.values().flat_map(BTreeMap::values) {
        match cases {
            Ok(cases) if *cases >= 2 => {}
            Ok(cases) => {
                let message = format!("has {cases} cases: a valid and a truncated one are the least");
                findings.push(Finding::new(path, 1, message));
            }
            Err(why) => findings.push(Finding::new(path, 1, why.clone())),
        }
    }
    for Declared { source, line, message, family, conditional } in declared {
        let versions = files.iter().filter(|(version, _)| plain(version).starts_with(&plain(family)));
        let (with, without): (Vec<_>, Vec<_>) =
            versions.partition(|(_, messages)| messages.contains_key(message));
        if with.is_empty() {
            findings.push(Finding::new(source, *line, format!("{message} has no vectors")));
        } else if !conditional {
            for (version, _) in without {
                findings.push(Finding::new(source, *line, format!("{message} has no vectors in {version}")));
            }
        }
    }
    findings
}

/// Lower-case letters and digits only, so that `TRANSFORK_03` and `transfork-03` are the same.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Each `pub struct Name in Family`, perhaps with `needs Feature`, of a source.
fn declarations(source: &Path, text: &str) -> Vec<Declared> {
    let mut found = Vec::new();
    for (at, line) in code_only(text).lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // a `$name` is the macro that reads declarations, not one of them
        if let ["pub", "struct", name, "in", family, rest @ ..] = words.as_slice()
            && !name.starts_with('$')
        {
            found.push(Declared {
                source: source.to_path_buf(),
                line: at + 1,
                message: snake(name),
                family: (*family).to_owned(),
                conditional: rest.first() == Some(&"needs"),
            });
        }
    }
    found
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn load(dir: &Path) -> Result<Files> {
    let mut files = Files::new();
    for path in files_below(dir, "json")? {
        let name = |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().to_string_lossy().into_owned();
        let version = name(path.parent().and_then(Path::file_name));
        let message = name(path.file_stem()).replace('-', "_");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.entry(version).or_default().insert(message, (path, cases(&text)));
    }
    Ok(files)
}

/// The number of cases in a file: a list, or an object with lists of them.
fn cases(text: &str) -> Cases {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
    let lists: Vec<&Vec<Value>> = match &value {
        Value::Array(list) => vec![list],
        Value::Object(map) => map.values().filter_map(Value::as_array).collect(),
        _ => Vec::new(),
    };
    for case in lists.iter().flat_map(|list| list.iter()) {
        if case.get("id").and_then(Value::as_str).is_none()
            || case.get("hex").and_then(Value::as_str).is_none()
        {
            return Err("has a case without `id` and `hex`".to_owned());
        }
    }
    Ok(lists.iter().map(|list| list.len()).sum())
}

fn files_below(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_below(&path, extension)?);
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(declarations_of: &[&str]) -> Vec<Declared> {
        let text: Vec<String> = declarations_of.iter().map(|rest| format!("pub struct {rest} {{")).collect();
        declarations(Path::new("a.rs"), &text.join("\n"))
    }

    fn files(entries: &[(&str, &str, Cases)]) -> Files {
        let mut files = Files::new();
        for (version, message, cases) in entries {
            let path = PathBuf::from(format!("{version}/{message}.json"));
            files
                .entry((*version).to_owned())
                .or_default()
                .insert((*message).to_owned(), (path, cases.clone()));
        }
        files
    }

    fn messages(declared: &[Declared], files: &Files) -> Vec<String> {
        check(declared, files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_message_without_vectors_in_some_version_is_found() {
        let files = files(&[("transfork-03", "info", Ok(3)), ("transfork-04", "group", Ok(3))]);
        let found =
            messages(&declared(&["Info in Transfork", "Group in Lite", "Group in Transfork"]), &files);
        assert_eq!(
            found,
            [
                "a.rs:1: info has no vectors in transfork-04",
                "a.rs:2: group has no vectors",
                "a.rs:3: group has no vectors in transfork-03"
            ]
        );
    }

    #[test]
    fn a_message_that_needs_a_feature_has_vectors_somewhere() {
        let declared = declared(&["FetchUpdate in Transfork needs Fetch"]);
        let rs12 = files(&[("transfork-04-rs12", "info", Ok(3))]);
        assert_eq!(messages(&declared, &rs12), ["a.rs:1: fetch_update has no vectors"]);
        let both = files(&[("transfork-04-rs12", "info", Ok(3)), ("transfork-04", "fetch_update", Ok(3))]);
        assert!(messages(&declared, &both).is_empty());
    }

    #[test]
    fn a_file_with_one_case_or_none_that_can_be_read_is_found() {
        let files =
            files(&[("transfork-03", "a", Ok(1)), ("transfork-03", "b", Err("is no JSON".to_owned()))]);
        let found = messages(&declared(&[]), &files);
        assert!(found[0].starts_with("transfork-03/a.json:1: has 1 cases"), "{found:?}");
        assert_eq!(found[1], "transfork-03/b.json:1: is no JSON");
    }

    #[test]
    fn declarations_are_read_from_code_and_not_from_comments() {
        let source = "message! {\n    pub struct AnnouncePlease in Transfork {\n// pub struct No in Transfork {\n\
            pub struct $name:ident in $family:ident {\n";
        let found = declarations(Path::new("a.rs"), source);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].message.as_str()), (2, "announce_please"));
    }

    #[test]
    fn cases_are_counted_in_lists_and_in_objects_of_lists() {
        let case = r#"{"id":"a","hex":"00"}"#;
        assert_eq!(cases(&format!("[{case},{case}]")), Ok(2));
        assert_eq!(cases(&format!(r#"{{"valid":[{case}],"invalid":[{case}],"note":"x"}}"#)), Ok(2));
        assert!(cases(r#"[{"hex":"00"}]"#).is_err());
        assert!(cases("{").is_err());
    }

    #[test]
    fn tests_that_ran_are_counted_over_all_binaries() {
        let printed = "test result: ok. 2 passed; 0 failed\n\ntest result: ok. 0 passed; 0 failed\n";
        assert_eq!(passed(printed), 2);
    }
}
