//! Which crate may use which: the table behind the arrows check.
//!
//! A new arrow is a change of design. It comes as a commit of its own: a line here, and the reason in the body.

use std::fs;

use crate::metadata::{Dependency, Metadata, Package};
use crate::tidy::Finding;

/// What one crate may name in its manifest.
struct Row {
    name: &'static str,
    /// Our crates, as normal dependencies.
    ours: &'static [&'static str],
    /// Our crates, for tests only.
    tests: &'static [&'static str],
    /// Crates of others, as normal dependencies.
    outside: &'static [&'static str],
    /// Crates of others, only behind a feature.
    optional: &'static [&'static str],
    /// Whether it may turn on the adapters (quinn, webtransport) of the transport crate.
    adapters: bool,
}

const TABLE: &[Row] = &[
    Row {
        name: "moqt-wire",
        ours: &[],
        tests: &[],
        outside: &["bytes", "thiserror"],
        optional: &[],
        adapters: false,
    },
    Row {
        name: "moqt-transport",
        ours: &[],
        tests: &[],
        outside: &["bytes", "thiserror"],
        optional: &["quinn", "quinn-proto", "rcgen", "ring", "rustls", "socket2", "tokio", "wtransport"],
        adapters: false,
    },
    Row {
        name: "moqt-sim",
        ours: &["moqt-transport", "moqt-wire"],
        tests: &[],
        outside: &["bytes", "tokio"],
        optional: &[],
        adapters: false,
    },
    Row {
        name: "moqt-session",
        ours: &["moqt-transport", "moqt-wire"],
        tests: &["moqt-sim"],
        outside: &["bytes", "futures-util", "thiserror", "tokio", "tracing"],
        optional: &[],
        adapters: false,
    },
    Row {
        name: "moqt",
        ours: &["moqt-session", "moqt-transport", "moqt-wire"],
        tests: &["moqt-sim"],
        outside: &[
            "bytes",
            "rcgen",
            "rustls",
            "rustls-native-certs",
            "thiserror",
            "time",
            "tokio",
            "tracing",
            "ureq",
            "url",
        ],
        optional: &[],
        adapters: true,
    },
    Row {
        name: "moqt-media",
        ours: &["moqt"],
        tests: &[],
        outside: &[
            "base64",
            "bytes",
            "jpeg-encoder",
            "json-patch",
            "mp4-atom",
            "serde",
            "serde_json",
            "thiserror",
        ],
        optional: &[],
        adapters: false,
    },
    Row {
        name: "moqt-relay",
        ours: &["moqt"],
        tests: &["moqt-sim"],
        outside: &[
            "anyhow",
            "axum",
            "bytes",
            "clap",
            "prometheus-client",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "toml",
            "tracing",
            "tracing-subscriber",
        ],
        optional: &[],
        adapters: false,
    },
    Row {
        name: "moqt-cli",
        ours: &["moqt", "moqt-media", "moqt-relay"],
        tests: &["moqt-sim"],
        outside: &[
            "anyhow",
            "bytes",
            "clap",
            "clap_complete",
            "hdrhistogram",
            "humantime",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
            "time",
            "tokio",
            "tracing",
            "tracing-subscriber",
        ],
        optional: &[],
        adapters: false,
    },
    Row {
        name: "moqt-examples",
        ours: &["moqt", "moqt-media", "moqt-relay", "moqt-wire"],
        tests: &[],
        outside: &["anyhow", "bytes", "clap", "tokio", "tracing", "tracing-subscriber"],
        optional: &[],
        adapters: false,
    },
    Row {
        name: "xtask",
        ours: &[],
        tests: &[],
        outside: &["anyhow", "clap", "serde", "serde_json", "toml"],
        optional: &[],
        adapters: false,
    },
];

/// May use anything; see [`LEAVES`].
const FREE: &[&str] = &["moqt-e2e"];

/// Nothing may depend on these, not even for tests.
const LEAVES: &[&str] = &["moqt-cli", "moqt-e2e", "moqt-examples", "xtask"];

/// Each arrow that the table does not allow, and each crate without a row.
pub(crate) fn findings(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let row = TABLE.iter().find(|row| row.name == package.name);
        if row.is_none() && !FREE.contains(&package.name.as_str()) {
            findings.push(finding(package, "name", "has no row in xtask/src/arrows.rs".to_owned()));
        }
        for dependency in &package.dependencies {
            let ours = metadata.package(&dependency.name).is_some();
            let message = leaf(dependency).or_else(|| row.and_then(|row| objection(row, dependency, ours)));
            findings.extend(message.map(|message| finding(package, &dependency.name, message)));
        }
    }
    findings
}

fn leaf(dependency: &Dependency) -> Option<String> {
    LEAVES
        .contains(&dependency.name.as_str())
        .then(|| format!("depends on {}, and nothing may depend on that", dependency.name))
}

fn objection(row: &Row, dependency: &Dependency, ours: bool) -> Option<String> {
    let name = dependency.name.as_str();
    let adapters = |feature: &String| matches!(feature.as_str(), "quinn" | "webtransport");
    if name == "moqt-transport" && !row.adapters && dependency.features.iter().any(adapters) {
        return Some(format!("{} takes moqt-transport without adapters", row.name));
    }
    let for_tests = dependency.kind.as_deref() == Some("dev");
    let allowed = if for_tests {
        !ours || row.tests.contains(&name) || row.ours.contains(&name)
    } else if ours {
        row.ours.contains(&name)
    } else {
        row.outside.contains(&name) || (dependency.optional && row.optional.contains(&name))
    };
    let how = match (for_tests, row.optional.contains(&name)) {
        (true, _) => " in tests",
        (false, true) => " without a feature",
        (false, false) => "",
    };
    (!allowed).then(|| format!("the arrow {} -> {name}{how} is not in the table", row.name))
}

/// Points at the line of the manifest that starts with `word`.
fn finding(package: &Package, word: &str, message: String) -> Finding {
    let manifest = fs::read_to_string(&package.manifest_path).unwrap_or_default();
    let line = manifest.lines().position(|line| line.starts_with(word)).map_or(1, |at| at + 1);
    Finding::new(&package.manifest_path, line, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of the real names in which `package` has one more dependency, given as JSON.
    fn objections(package: &str, dependency: &str) -> Vec<String> {
        let packages: Vec<String> = TABLE
            .iter()
            .map(|row| row.name)
            .chain(FREE.iter().copied())
            .map(|name| {
                let dependencies = if name == package { dependency } else { "" };
                format!(
                    r#"{{"name":"{name}","manifest_path":"/none/{name}/Cargo.toml","targets":[],
                        "dependencies":[{dependencies}]}}"#
                )
            })
            .collect();
        let json = format!(r#"{{"packages":[{}]}}"#, packages.join(","));
        findings(&Metadata::parse(&json).unwrap()).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_arrow_in_the_table_is_fine() {
        assert!(objections("moqt-relay", r#"{"name":"moqt","kind":null}"#).is_empty());
        assert!(objections("moqt-session", r#"{"name":"moqt-sim","kind":"dev"}"#).is_empty());
        assert!(objections("moqt-e2e", r#"{"name":"moqt-wire","kind":null}"#).is_empty());
        assert!(objections("moqt-wire", r#"{"name":"proptest","kind":"dev"}"#).is_empty());
    }

    #[test]
    fn an_arrow_between_our_crates_that_is_not_in_the_table_is_found() {
        let found = objections("moqt-relay", r#"{"name":"moqt-wire","kind":null}"#);
        assert_eq!(found, ["the arrow moqt-relay -> moqt-wire is not in the table"]);
        let found = objections("moqt-wire", r#"{"name":"moqt-sim","kind":"dev"}"#);
        assert_eq!(found, ["the arrow moqt-wire -> moqt-sim in tests is not in the table"]);
        let found = objections("moqt-session", r#"{"name":"moqt-sim","kind":null}"#);
        assert_eq!(found, ["the arrow moqt-session -> moqt-sim is not in the table"]);
    }

    #[test]
    fn a_new_outside_dependency_is_found() {
        let found = objections("moqt-wire", r#"{"name":"tokio","kind":null}"#);
        assert_eq!(found, ["the arrow moqt-wire -> tokio is not in the table"]);
    }

    #[test]
    fn an_adapter_must_stay_behind_its_feature() {
        assert!(objections("moqt-transport", r#"{"name":"quinn","kind":null,"optional":true}"#).is_empty());
        let found = objections("moqt-transport", r#"{"name":"quinn","kind":null,"optional":false}"#);
        assert_eq!(found, ["the arrow moqt-transport -> quinn without a feature is not in the table"]);
        let found = objections("moqt-sim", r#"{"name":"moqt-transport","kind":null,"features":["quinn"]}"#);
        assert_eq!(found, ["moqt-sim takes moqt-transport without adapters"]);
    }

    #[test]
    fn nothing_depends_on_a_leaf() {
        let found = objections("moqt-e2e", r#"{"name":"xtask","kind":"dev"}"#);
        assert_eq!(found, ["depends on xtask, and nothing may depend on that"]);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let json = r#"{"packages":[{"name":"x","manifest_path":"/none/x/Cargo.toml","targets":[],
            "dependencies":[]}]}"#;
        let found = findings(&Metadata::parse(json).unwrap());
        assert_eq!(found.first().unwrap().message, "has no row in xtask/src/arrows.rs");
    }
}
