//! The program: exit statuses and what it says.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Output, Stdio},
};

/// The program, with nothing of the caller's environment that it would listen to.
fn relay(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moqt-relay"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("MOQT_") || key == "RUST_LOG") {
        command.env_remove(key);
    }
    command.env_remove("CARGO");
    command
}

fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = relay(arguments).output().unwrap();
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Ends the program if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Reads standard error up to a line that holds `mark`.
    fn read_to(&mut self, mark: &str) -> String {
        let mut text = String::new();
        // Byte by byte, so that the rest is left for the next call.
        let mut lines = BufReader::with_capacity(1, self.0.stderr.as_mut().unwrap());
        loop {
            let before = text.len();
            assert!(lines.read_line(&mut text).unwrap() > 0, "ended without {mark:?}: {text}");
            if text.get(before..).is_some_and(|line| line.contains(mark)) {
                return text;
            }
        }
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
    }

    fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

#[test]
fn without_a_certificate_it_says_how_to_get_one() {
    let (code, words) = fails(&[]);
    assert_eq!(code, Some(2), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");
    for option in ["--tls-cert", "--tls-key", "--tls-generate", "--dev"] {
        assert!(words.contains(option), "{words}");
    }
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [
        &["--bind", "nowhere"][..],
        &["--tls-cert", "cert.pem"],
        &["--no-such-option"],
        &["--dev", "--bind", "0.0.0.0:0"],
        &["--dev", "--idle-timeout", "0s"],
        &["--dev", "--upstream", "https://relay.example/room"],
        &["--dev", "--upstream", "https://relay.example/", "--scope-by-host"],
        &["--dev", "--upstream", "relay.example"],
        &["--dev", "--upstream-tls-fingerprint", &"00".repeat(32)],
        &["--dev", "--drain-to", "nowhere"],
    ] {
        let (code, words) = fails(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {words}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let (code, words) = fails(&["--tls-cert", "no-such.pem", "--tls-key", "no-such.key"]);
    assert_eq!(code, Some(1), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.contains("cannot read no-such.pem") && words.contains("--tls-cert"), "{words}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, words) = fails(&["--tls-generate", "localhost", "--bind", &address]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains(&format!("{address} is in use")) && words.contains("--bind"), "{words}");
}

#[test]
fn for_development_it_prints_urls_and_commands_and_ends_cleanly_on_ctrl_c() {
    let mut running = Running::start(&mut relay(&["--dev", "--bind", "127.0.0.1:0"]));
    let words = running.read_to("moqt sub");
    let url = words.split_whitespace().find(|word| word.starts_with("http://127.0.0.1:")).unwrap().to_owned();
    assert!(words.contains(&format!("moqt pub {url} demo")), "{words}");
    assert!(words.contains(&format!("moqt sub {url} demo")), "{words}");
    running.signal("-INT");
    assert_eq!(running.code(), Some(130));
    let mut data = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut data).unwrap();
    assert_eq!(data, "");
}

#[test]
fn started_by_cargo_the_commands_are_for_cargo() {
    let mut running =
        Running::start(relay(&["--dev", "--bind", "127.0.0.1:0", "--quiet"]).env("CARGO", "cargo"));
    let words = running.read_to("moqt -- sub");
    assert!(words.contains("| cargo run --release --bin moqt -- pub http://127.0.0.1:"), "{words}");
}

#[test]
fn options_can_come_from_the_environment_and_sigterm_ends_it_with_success() {
    let mut command = relay(&[]);
    command.env("MOQT_DEV", "1").env("MOQT_BIND", "127.0.0.1:0 127.0.0.1:0,transfork-04=rs9");
    let mut running = Running::start(&mut command);
    running.read_to("moqt sub");
    running.signal("-TERM");
    assert_eq!(running.code(), Some(0));
}
