//! Tests of the README's blocks: how they are read, and how they are run.

use super::run::holds;
use super::*;

const PAGE: &str = "README.md";

fn one(text: &str) -> Block {
    let mut blocks = parse(PAGE, text).unwrap();
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    blocks.remove(0)
}

fn ready(mode: &str, script: &str) -> String {
    format!("```sh {mode}\n{script}\n```\n")
}

#[test]
fn only_command_blocks_are_taken() {
    let text = "# A\n```rust\nfn main() {}\n```\n```sh\nls\n```\n```text\n```sh\n```\n";
    assert_eq!(
        one(text),
        Block { page: PAGE.into(), line: 5, mode: Mode::Run, timeout: TIMEOUT, script: "ls\n".into() }
    );
}

#[test]
fn in_a_console_the_lines_after_a_prompt_are_commands() {
    let block = one("```console\n$ echo a \\\n    b \\\n> c\na b c\n$ true\n```\n");
    assert_eq!(block.script, "echo a \\\n    b \\\nc\ntrue\n");
}

#[test]
fn a_block_may_ask_not_to_be_run() {
    assert_eq!(one("```sh no-run\nls\n```\n").mode, Mode::NoRun);
    assert_eq!(one("<!-- no-run -->\n```sh\nls\n```\n").mode, Mode::NoRun);
    assert_eq!(one("<!-- no-run -->\ntext\n```sh\nls\n```\n").mode, Mode::Run);
}

#[test]
fn a_server_says_how_it_gets_ready() {
    let block = one("```sh serve ready=\"listening on\" timeout=7\nls\n```\n");
    assert_eq!(block.mode, Mode::Serve { ready: Some("listening on".into()) });
    assert_eq!(block.timeout.as_secs(), 7);
}

#[test]
fn words_that_mean_nothing_are_refused() {
    for info in ["sh norun", "sh ready=x", "sh timeout=soon", "sh serve ready=\"x"] {
        assert!(parse(PAGE, &format!("```{info}\nls\n```\n")).is_err(), "{info}");
    }
    assert!(parse(PAGE, "```sh\nls\n").is_err());
}

#[test]
fn an_indented_block_loses_its_indent() {
    assert_eq!(one("1. First\n   ```sh\n   a\n     b\n   ```\n").script, "a\n  b\n");
}

#[test]
fn the_pipeline_does_not_start_itself_again() {
    let text = "```sh\ncargo xtask ci\n.ci/run\ncargo xtask test\ncargo xtask testing\nls\n```\n";
    let mut block = one(text);
    assert_eq!(leave_out(&mut block, Caller::Ci), ["cargo xtask ci", ".ci/run", "cargo xtask test"]);
    assert_eq!(block.script, "cargo xtask testing\nls\n");
    let mut block = one(text);
    assert_eq!(leave_out(&mut block, Caller::Person), ["cargo xtask ci", ".ci/run"]);
}

#[test]
fn a_line_holds_pieces_in_order() {
    assert!(holds("now listening on [::1]:4443", "listening.*4443"));
    assert!(!holds("4443 listening", "listening.*4443"));
    assert!(!holds("listen", "listening"));
}

#[test]
fn a_block_that_fails_is_an_error_with_its_line() {
    let blocks = parse(PAGE, &format!("\n{}", ready("", "false | true"))).unwrap();
    let error = run::all(PAGE, &blocks).unwrap_err().to_string();
    assert!(error.starts_with("README.md:2: the commands failed"), "{error}");
}

#[test]
fn a_block_that_takes_too_long_is_ended() {
    let blocks = parse(PAGE, &ready("timeout=0", "exec sleep 1000")).unwrap();
    let error = run::all(PAGE, &blocks).unwrap_err().to_string();
    assert!(error.contains("still running"), "{error}");
}

#[test]
fn a_server_lives_while_the_next_blocks_run() {
    let up = r#"echo up >&2; trap 'exit 0' TERM; while read -r -t 60 x; do :; done < <(sleep 60)"#;
    let blocks =
        parse(PAGE, &format!("{}{}", ready("serve ready=up timeout=20", up), ready("", "true"))).unwrap();
    run::all(PAGE, &blocks).unwrap();
}

#[test]
fn a_server_that_ends_before_it_is_ready_is_an_error() {
    let blocks = parse(PAGE, &ready("serve ready=up timeout=20", "echo down")).unwrap();
    let error = run::all(PAGE, &blocks).unwrap_err().to_string();
    assert!(error.contains("ended before a line with `up`"), "{error}");
}

#[test]
fn a_background_block_must_end_well_by_itself() {
    run::all(PAGE, &parse(PAGE, &ready("background timeout=20", "true")).unwrap()).unwrap();
    let error = run::all(PAGE, &parse(PAGE, &ready("background timeout=20", "exit 4")).unwrap())
        .unwrap_err()
        .to_string();
    assert!(error.contains("the commands failed"), "{error}");
}
