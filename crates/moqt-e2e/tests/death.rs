//! Programs that die without a word.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests may panic, and these run in real time"
)]

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use moqt_e2e::{Process, Relay};

#[test]
fn a_killed_publisher_ends_its_subscribers_in_time_and_a_new_one_is_served() {
    let idle = Duration::from_secs(3);
    let relay = Relay::start(&["--idle-timeout", "3s", "--hold", "0s"]);
    let url = relay.url();
    let lines = |args: &[&str]| {
        let mut all = vec!["pub", url.as_str(), "demo/text", "--format", "lines"];
        all.extend_from_slice(args);
        Process::start_with(&all, Stdio::piped())
    };
    let sub = || Process::start(&["sub", &url, "demo/text", "--format", "lines", "--reconnect", "0s"]);

    let mut publisher = lines(&["--wait-subscriber"]);
    publisher.write(b"before\n");
    let mut first = sub();
    assert_eq!(first.writes(7), b"before\n");
    publisher.kill();
    let killed = Instant::now();
    let status = first.ends();
    let took = killed.elapsed();
    assert_eq!(status.code(), Some(1), "{}", first.stderr());
    assert!(took < idle + Duration::from_secs(2), "{took:?}");
    let said = first.stderr();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("demo/text"), "{said}");

    let mut publisher = lines(&["--wait-subscriber"]);
    publisher.write(b"after\n");
    let second = sub();
    assert_eq!(second.writes(6), b"after\n");
}

#[test]
fn a_killed_subscriber_does_not_disturb_another() {
    let relay = Relay::start(&[]);
    let url = relay.url();
    let sub = || Process::start(&["sub", &url, "demo/text", "--format", "lines"]);
    let mut publisher = Process::start_with(
        &["pub", &url, "demo/text", "--format", "lines", "--wait-subscriber"],
        Stdio::piped(),
    );
    publisher.write(b"0\n");
    let mut stays = sub();
    assert_eq!(stays.writes(2), b"0\n");
    // The latest group is there for whoever comes late.
    let mut dies = sub();
    assert_eq!(dies.writes(2), b"0\n");
    dies.kill();
    let mut expected = String::from("0\n");
    for line in 1..200 {
        publisher.write(format!("{line}\n").as_bytes());
        expected.push_str(&format!("{line}\n"));
    }
    assert_eq!(String::from_utf8_lossy(&stays.writes(expected.len())), expected);
    assert!(stays.runs() && relay_runs(relay));
}

fn relay_runs(mut relay: Relay) -> bool {
    relay.process.runs()
}
