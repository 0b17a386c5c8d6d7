//! `moqt fetch` as a process: one group comes out, or one line says why not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod support;

use moqt::Version;
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_held_group_comes_out_in_each_format_and_from_any_frame() {
    let relay = TestRelay::start();
    let (publisher, mut stdin) = fed(relay.moqt("pub", "past --format lines --group-frames 3"));
    let (subscriber, mut out) = watched(relay.moqt("sub", "past --format lines --from 0"));
    write(&mut stdin, "a\nb\nc\nd\ne\n").await;
    for expected in ["a", "b", "c", "d", "e"] {
        assert_eq!(line(&mut out).await, expected);
    }
    for (options, expected) in [
        ("0", "abc"),
        ("0 --format lines", "a\nb\nc\n"),
        ("0 --frame 1 --format lines --priority 7", "b\nc\n"),
        ("0 --frame 3", ""),
    ] {
        let fetched = run(relay.moqt("fetch", &format!("past {options}"))).await;
        assert_eq!(fetched, (0, expected.as_bytes().to_vec(), String::new()), "{options}");
    }
    let to = folder("fetch").join("out");
    let fetch = relay.moqt("fetch", &format!("past 0 --frame 2 --format json --output {}", to.display()));
    assert_eq!(run(fetch).await, (0, vec![], String::new()));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&to).unwrap()).unwrap();
    assert_eq!((&json["group"], &json["frame"], &json["bytes"]), (&0.into(), &2.into(), &1.into()));
    assert_eq!(relay.handle.counters().fetched_total, 0);

    // The group that runs is followed to its end.
    let (running, mut running_out) = watched(relay.moqt("fetch", "past 1 --format lines"));
    for expected in ["d", "e"] {
        assert_eq!(line(&mut running_out).await, expected);
    }
    write(&mut stdin, "f\n").await;
    assert_eq!(rest(running_out).await, b"f\n");
    assert_eq!(end(running).await, (0, vec![], String::new()));
    drop(stdin);
    for child in [publisher, subscriber] {
        assert_eq!(end(child).await.0, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_fetched_from_the_publisher_where_nobody_subscribes() {
    let relay = TestRelay::start();
    let (publisher, mut stdin) = fed(relay.moqt("pub", "past --format lines"));
    write(&mut stdin, "zero\none\n").await;
    let announced = async {
        // The publisher is there when it is announced, its groups shortly after.
        while run(relay.moqt("fetch", "past 0")).await != (0, b"zero".to_vec(), String::new()) {}
    };
    within("the group", announced).await;
    assert_eq!(relay.handle.counters().upstream_total, 0);
    drop(stdin);
    assert_eq!(end(publisher).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_held_is_one_line_and_status_1() {
    let relay = TestRelay::start();
    let (publisher, mut stdin) = fed(relay.moqt("pub", "past --format lines"));
    let (subscriber, mut out) = watched(relay.moqt("sub", "past --format lines"));
    write(&mut stdin, "zero\n").await;
    assert_eq!(line(&mut out).await, "zero");
    let url = relay.url();
    for (options, expected) in [
        ("past 7", format!("not held: group 7 of past at {url}; `moqt info {url} past` tells the latest")),
        ("past 0 --frame 2", format!("no frame 2: group 0 of past at {url} has fewer frames")),
        (
            "no/such 0",
            format!("not held: group 0 of no/such at {url}; `moqt info {url} no/such` tells the latest"),
        ),
    ] {
        let (status, output, words) = run(relay.moqt("fetch", options)).await;
        assert_eq!((status, output, words), (1, vec![], format!("moqt: {expected}\n")), "{options}");
    }
    drop(stdin);
    for child in [publisher, subscriber] {
        assert_eq!(end(child).await.0, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_fetch_is_one_line_and_status_1() {
    let relay = TestRelay::speaking(Version::TRANSFORK_04_RS12);
    let (status, output, words) = run(relay.moqt("fetch", "past 0")).await;
    let expected = format!("moqt: no fetch: past at {}: transfork-04-rs12 has no fetch\n", relay.url());
    assert_eq!((status, output, words), (1, vec![], expected));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_fetch_that_waits_with_130() {
    let relay = TestRelay::start();
    let (publisher, mut stdin) = fed(relay.moqt("pub", "past --format lines --group-frames 2"));
    let (subscriber, mut out) = watched(relay.moqt("sub", "past --format lines"));
    write(&mut stdin, "zero\n").await;
    assert_eq!(line(&mut out).await, "zero");
    let (fetch, mut fetched) = watched(relay.moqt("fetch", "past 0 --format lines"));
    assert_eq!(line(&mut fetched).await, "zero");
    interrupt(&fetch).await;
    assert_eq!(end(fetch).await, (130, vec![], String::new()));
    drop(stdin);
    for child in [publisher, subscriber] {
        assert_eq!(end(child).await.0, 0);
    }
}
