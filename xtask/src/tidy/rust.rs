//! Rules about Rust source. They look at code with comments and literals blanked out.

use std::path::Path;

use super::Finding;
use crate::mask::code_only;

/// A file is read in one sitting.
const MAX_LINES: usize = 700;

/// Below these, a `match` on a version is at home.
const VERSION_MATCHES: &[&str] =
    &["crates/moqt-wire/src/version.rs", "crates/moqt-wire/src/version/", "crates/moqt-session/src/dialect"];

/// A part of the session crate, and the parts whose names it may not say.
const LAYERS: &[(&str, &[&str])] = &[
    ("crates/moqt-session/src/model", &["proto", "dialect", "driver"]),
    ("crates/moqt-session/src/proto", &["driver"]),
];

/// What is wrong with one source file; `file` is relative to the top of the workspace.
pub(crate) fn findings(file: &Path, source: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |line: usize, message: String| findings.push(Finding::new(file, line, message));
    if !says_what_it_is(source) {
        found(1, "starts without `//!`: say in a line what the file is for".to_owned());
    }
    let lines = source.lines().count();
    if lines > MAX_LINES {
        found(MAX_LINES, format!("has {lines} lines, more than {MAX_LINES}: split it by meaning"));
    }
    let code = code_only(source);
    let unix = file.to_string_lossy().replace('\\', "/");
    let may_match = VERSION_MATCHES.iter().any(|home| unix.starts_with(home));
    for (at, line) in code.lines().enumerate() {
        if let Some(what) = unfinished(line) {
            found(at + 1, format!("`{what}`: finish it or leave it out"));
        }
        if let Some(what) = endless_queue(line) {
            found(at + 1, format!("`{what}`: a queue has a named bound"));
        }
        if !may_match && matches_version(line) {
            found(
                at + 1,
                "matches on a version: that is a row, a mark on a field, or the dialect's".to_owned(),
            );
        }
    }
    for (layer, forbidden) in LAYERS {
        if unix.starts_with(&format!("{layer}/")) || unix == format!("{layer}.rs") {
            let name = layer.rsplit('/').next().unwrap_or(layer);
            for (line, what) in upward(&code, forbidden) {
                found(line, format!("`{name}` reaches into `{what}`, which is above it"));
            }
        }
    }
    findings
}

/// The first line that is neither empty nor an inner attribute is an inner doc comment.
fn says_what_it_is(source: &str) -> bool {
    source
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("#!["))
        .is_none_or(|line| line.starts_with("//!"))
}

fn unfinished(line: &str) -> Option<&'static str> {
    let macros = ["todo", "unimplemented"].into_iter().find(|name| {
        words(line).any(|(at, word)| word == *name && line.get(at + word.len()..).is_some_and(is_macro_call))
    });
    macros.or_else(|| (line.contains("#[ignore")).then_some("#[ignore]"))
}

fn is_macro_call(rest: &str) -> bool {
    rest.starts_with('!') && !rest.starts_with("!=")
}

fn endless_queue(line: &str) -> Option<&'static str> {
    if words(line).any(|(_, word)| word == "unbounded_channel") {
        return Some("unbounded_channel");
    }
    let dense: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    if dense.contains("unbounded(") || dense.contains("unbounded::<") {
        return Some("unbounded");
    }
    // the standard library's channel takes no bound; tokio's takes one
    let (_, call) = dense.split_once("mpsc::channel")?;
    let call = call.strip_prefix("::<").and_then(|rest| rest.split_once(">(")).map_or(call, |(_, rest)| rest);
    (call.starts_with("()") || call.starts_with(')')).then_some("mpsc::channel()")
}

/// `match x.version() {`, `matches!(version, ..)`, or an arm `Version::TRANSFORK_03 =>`.
fn matches_version(line: &str) -> bool {
    let dense: String = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let subject = words(&dense).find(|(_, word)| *word == "match").and_then(|(at, _)| {
        let rest = dense.get(at + "match".len()..)?;
        Some(rest.split_once('{').map_or(rest, |(subject, _)| subject))
    });
    let tested = dense.split_once("matches!(").and_then(|(_, rest)| rest.split_once(',')).map(|(is, _)| is);
    if [subject, tested].into_iter().flatten().any(is_version) {
        return true;
    }
    let Some((_, after)) = dense.split_once("Version::TRANSFORK_") else { return false };
    let after =
        after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').trim_start_matches([')', ' ']);
    after.starts_with("=>") || (after.starts_with('|') && !after.starts_with("||"))
}

/// Whether an expression is a version by its last name: `self.version`, `spec.version()`, `(version, kind)`.
fn is_version(expression: &str) -> bool {
    let expression = expression.trim();
    let tuple = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let is_it = |part: &str| {
        let part = part.trim().trim_end_matches("()");
        words(part).last().is_some_and(|(at, word)| word == "version" && at + word.len() == part.len())
    };
    tuple.map_or_else(|| is_it(expression), |parts| parts.split(',').any(is_it))
}

/// Where code names one of these modules: in a `use`, or as part of a path.
fn upward<'a>(code: &str, forbidden: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    let mut in_use = false;
    for (at, line) in code.lines().enumerate() {
        let start = line.trim_start();
        in_use |=
            ["use ", "pub use ", "pub(crate) use ", "pub(super) use "].iter().any(|u| start.starts_with(u));
        for (begin, word) in words(line) {
            let Some(module) = forbidden.iter().find(|module| **module == word) else { continue };
            let before = line.get(..begin).unwrap_or_default();
            let after = line.get(begin + word.len()..).unwrap_or_default();
            let rooted = before.ends_with("crate::") || before.ends_with("super::");
            if in_use || rooted || (after.starts_with("::") && !before.ends_with("::")) {
                found.push((at + 1, *module));
            }
        }
        in_use &= !line.contains(';');
    }
    found
}

/// The identifiers and keywords of a line, each with its place.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    line.split(move |c: char| !is_word(c)).filter_map(move |word| {
        let begin = at;
        // one separator follows each word; a longer one cannot be right of it unnoticed
        at = begin + word.len() + line.get(begin + word.len()..)?.chars().next().map_or(0, char::len_utf8);
        (!word.is_empty()).then_some((begin, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(file: &str, body: &str) -> Vec<String> {
        let source = format!("//! A file.\n{body}");
        findings(Path::new(file), &source).into_iter().map(|f| format!("{}: {}", f.line, f.message)).collect()
    }

    const ANY: &str = "crates/moqt/src/a.rs";

    #[test]
    fn plain_code_is_fine() {
        let body = "use crate::model;\nfn f() { let version = 3; if a != todo { unbound(); } }\n";
        assert_eq!(messages("crates/moqt-session/src/proto/a.rs", body), [""; 0]);
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_is_found() {
        let found = findings(Path::new(ANY), "#![allow(x)]\n\nfn f() {}\n");
        assert!(found.first().unwrap().message.starts_with("starts without `//!`"));
        assert!(findings(Path::new(ANY), "#![allow(x)]\n//! Ok.\n").is_empty());
    }

    #[test]
    fn a_file_past_one_sitting_is_found() {
        assert!(messages(ANY, &"fn f() {}\n".repeat(699)).is_empty());
        assert_eq!(messages(ANY, &"fn f() {}\n".repeat(700)).len(), 1);
    }

    #[test]
    fn unfinished_code_is_found() {
        let found = messages(ANY, "fn a() { todo!() }\nfn b() { std::unimplemented!(\"x\") }\n#[ignore]\n");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(messages(ANY, "// todo!()\nlet a = \"unimplemented!\"; if todo != 1 {}\n").is_empty());
    }

    #[test]
    fn a_queue_without_bound_is_found() {
        for line in [
            "let (a, b) = mpsc::unbounded_channel();",
            "let (a, b) = futures::unbounded::<u8>();",
            "let (a, b) = flume::unbounded();",
            "let (a, b) = std::sync::mpsc::channel();",
            "let (a, b) = mpsc::channel::<Vec<u8>>();",
        ] {
            assert_eq!(messages(ANY, line).len(), 1, "{line}");
        }
        assert!(messages(ANY, "let (a, b) = mpsc::channel(8); mpsc::channel::<u8>(8);").is_empty());
    }

    #[test]
    fn a_match_on_a_version_is_found_outside_its_homes() {
        for line in [
            "match version {",
            "match self.version() {",
            "match (spec.version, kind) {",
            "if matches!(session.version(), Version::TRANSFORK_03) {}",
            "Version::TRANSFORK_03 | Version::TRANSFORK_04 => 3,",
            "(Version::TRANSFORK_03) => 3,",
        ] {
            assert_eq!(messages(ANY, line).len(), 1, "{line}");
            assert!(messages("crates/moqt-wire/src/version.rs", line).is_empty(), "{line}");
            assert!(messages("crates/moqt-session/src/dialect/transfork.rs", line).is_empty(), "{line}");
        }
        for line in [
            "match versions.next() {",
            "match version.name() {",
            "match choose(version) {",
            "match choose(version, other) {",
            "let a = Version::TRANSFORK_03;",
            "assert!(a == Version::TRANSFORK_03 || b);",
        ] {
            assert!(messages(ANY, line).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_layer_that_reaches_up_is_found() {
        let model = "crates/moqt-session/src/model/track.rs";
        assert_eq!(messages(model, "use crate::proto::Input;").len(), 1);
        assert_eq!(messages(model, "use crate::{\n    error::Reason,\n    dialect,\n};").len(), 1);
        assert_eq!(messages(model, "fn f() { crate::driver::spawn(); }").len(), 1);
        let proto = "crates/moqt-session/src/proto.rs";
        assert_eq!(messages(proto, "pub(crate) use crate::driver::Handle;").len(), 1);
        assert!(messages(proto, "use crate::dialect;\nfn f(driver: u8) -> u8 { driver }").is_empty());
        assert!(messages("crates/moqt-session/src/driver/a.rs", "use crate::proto;").is_empty());
    }
}
