//! `moqt bench` against a relay in this process: short loads, and what is told of them.
#![allow(clippy::unwrap_used, reason = "a test's own helpers")]

mod support;

use serde_json::Value;
use support::*;

fn lines(text: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn kind<'a>(lines: &'a [Value], kind: &str) -> &'a Value {
    lines.iter().find(|line| line["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {lines:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_delivered_whole_and_told_in_lines_and_a_table() {
    let relay = TestRelay::start();
    let load =
        "--shape CUSTOM --subscribers 3 --tracks 2 --group-frames 10 --fps 100 --duration 1s --warmup 0s";
    let (status, output, words) = run(relay.moqt("bench", &format!("{load} --json -"))).await;
    assert_eq!(status, 0, "{words}");
    assert!(words.contains("CUSTOM: 1 publishers, 3 subscribers"), "{words}");
    let lines = lines(&output);
    let order: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(&order[..4], ["subscribed", "started", "stopped", "run"], "{order:?}");
    let total = kind(&lines, "total");
    assert_eq!(
        (total["groups"]["expected"].as_u64(), total["groups"]["whole"].as_u64()),
        (Some(60), Some(60))
    );
    assert_eq!((total["frames"].as_u64(), total["damaged"].as_u64()), (Some(600), Some(0)));
    let track = kind(&lines, "track");
    assert_eq!(
        (track["published_groups"].as_u64(), track["latency_us"]["count"].as_u64()),
        (Some(10), Some(300))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_are_the_two_sides_of_one_load() {
    let relay = TestRelay::start();
    let load = "--shape CUSTOM --group-frames 10 --fps 100 --duration 1s --name two/sides";
    let subscriber = relay.moqt("bench", &format!("{load} --role subscribe --json -")).spawn().unwrap();
    let publisher = run(relay.moqt("bench", &format!("{load} --role publish --start-after 300ms"))).await;
    assert_eq!(publisher.0, 0, "{}", publisher.2);
    let (status, output, words) = end(subscriber).await;
    assert_eq!(status, 0, "{words}");
    assert_eq!(kind(&lines(&output), "total")["groups"]["whole"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_never_read_and_those_that_come_and_go_do_not_harm_the_others() {
    let relay = TestRelay::start();
    let load =
        "--shape CUSTOM --frame-bytes 20000 --stall 1 --join-every 100ms --join-stay 200ms --duration 2s";
    let (status, output, words) = run(relay.moqt("bench", &format!("{load} --json -"))).await;
    assert_eq!(status, 0, "{words}");
    let lines = lines(&output);
    assert_eq!(kind(&lines, "total")["groups"]["lost"], 0);
    let joins = kind(&lines, "joins");
    assert!(joins["done"].as_u64().unwrap() >= 5, "{joins}");
    assert_eq!(joins["failed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_nobody_asks_and_a_subscriber_without_publisher_give_up() {
    let relay = TestRelay::start();
    let load = "--shape CUSTOM --patience 300ms --name nobody";
    let (status, _, words) = run(relay.moqt("bench", &format!("{load} --role publish"))).await;
    assert_eq!(status, 1);
    assert!(words.contains("nobody asked for the tracks within 300ms"), "{words}");
    let (status, _, words) = run(relay.moqt("bench", &format!("{load} --role subscribe"))).await;
    assert_eq!(status, 1);
    assert!(words.contains("nobody/0/data is not there at moqf://"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_and_go_before_the_eyes_of_all_watchers() {
    let relay = TestRelay::start();
    let load = "--shape ANN --names 300 --subscribers 3 --fps 50 --duration 1s --warmup 0s";
    let (status, output, words) = run(relay.moqt("bench", &format!("{load} --json -"))).await;
    assert_eq!(status, 0, "{words}");
    let lines = lines(&output);
    let track = kind(&lines, "track");
    assert_eq!((track["frames"].as_u64(), track["latency_us"]["count"].as_u64()), (Some(150), Some(150)));
    let (status, _, words) = run(relay.moqt("bench", &format!("{load} --role publish"))).await;
    assert_eq!(status, 2, "{words}");
    assert!(words.contains("leave --role out"), "{words}");
}
