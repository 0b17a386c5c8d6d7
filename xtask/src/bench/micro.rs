//! The bench targets of the workspace's crates.

use anyhow::Result;

use crate::metadata::Metadata;
use crate::shell::{self, Steps};

/// Whether something was measured.
pub(crate) enum Outcome {
    Ran,
    NothingThere,
}

/// Runs each bench target of the workspace.
pub(crate) fn run(extra: &[String]) -> Result<Outcome> {
    let metadata = Metadata::load()?;
    let benches = benches(&metadata);
    if benches.is_empty() {
        println!("xtask bench: no package has a bench target; nothing was measured");
        return Ok(Outcome::NothingThere);
    }
    let mut steps = Steps::new("xtask bench");
    for (package, name) in benches {
        steps.step(&format!("{package} {name}"), || {
            let mut command =
                shell::cargo(["bench", "--all-features", "--package", package, "--bench", name]);
            if !extra.is_empty() {
                command.arg("--").args(extra);
            }
            shell::run(&mut command)
        });
    }
    steps.finish()?;
    Ok(Outcome::Ran)
}

fn benches(metadata: &Metadata) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        for target in &package.targets {
            if target.kind.iter().any(|kind| kind == "bench") {
                found.push((package.name.as_str(), target.name.as_str()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bench_targets_count_as_benchmarks() {
        let metadata = Metadata::parse(
            r#"{"packages":[{"name":"a","manifest_path":"/a/Cargo.toml","dependencies":[],"targets":[
                {"name":"a","kind":["lib"]},{"name":"codec","kind":["bench"]},{"name":"t","kind":["test"]}]}]}"#,
        )
        .unwrap();
        assert_eq!(benches(&metadata), [("a", "codec")]);
    }
}
