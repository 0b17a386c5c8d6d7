//! The examples, run as their readers would.

use std::process::Stdio;

use moqt_e2e::{Process, Relay, example};

fn output(name: &str) -> String {
    let mut process = Process::run(&example(name), &[], Stdio::null());
    let status = process.ends();
    assert!(status.success(), "{name}: {}", process.stderr());
    String::from_utf8_lossy(&process.stdout()).into_owned()
}

#[test]
fn a_track_is_published_and_read_over_webtransport() {
    let output = output("webtransport");
    for group in 0..2 {
        for frame in 0..3 {
            assert!(output.contains(&format!("frame {frame} of group {group}")), "{output}");
        }
    }
}

#[test]
fn a_track_is_published_and_read_over_raw_quic() {
    let output = output("quic");
    for line in ["announced: sensor/7/celsius", "group 0: 21.5", "group 1: 21.6", "group 2: 21.4"] {
        assert!(output.contains(line), "{output}");
    }
}

#[test]
fn a_captured_stream_is_decoded() {
    let output = output("decode");
    for words in ["7 wants meeting/1234/alice at priority 200", "group 1000 of subscription 7", "hello"] {
        assert!(output.contains(words), "{output}");
    }
}

#[test]
fn a_relay_is_embedded() {
    let output = output("relay");
    assert!(output.contains("rain") && output.contains("upstream_total: 1"), "{output}");
}

#[test]
fn people_chat_and_leave() {
    let relay = Relay::start(&[]);
    let url = relay.url();
    let join = |name| Process::run(&example("chat"), &[&url, "lobby", name], Stdio::piped());
    let mut alice = join("alice");
    let bob = join("bob");
    // Each reads the other from the moment that it is there.
    alice.says("bob is here");
    bob.says("alice is here");
    // A message that comes before the other has subscribed is the latest one for it.
    alice.write(b"hello, bob\n");
    assert_eq!(String::from_utf8_lossy(&bob.writes(18)), "alice: hello, bob\n");
    alice.close_input();
    assert!(alice.ends().success(), "{}", alice.stderr());
    bob.says("left");
}
