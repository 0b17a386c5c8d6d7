//! `moqt pub` and `moqt sub` as processes, through a relay: what goes in comes out.

mod support;

use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn raw_bytes_come_out_as_they_went_in() {
    let relay = TestRelay::start();
    let input = noise(6_000_001);
    let folder = folder("raw");
    let (from, to) = (folder.join("in"), folder.join("out"));
    std::fs::write(&from, &input).unwrap();
    let subscriber = relay.moqt("sub", &format!("a/raw --strict --output {}", to.display())).spawn().unwrap();
    let publisher = relay.moqt("pub", &format!("a/raw --wait-subscriber --input {}", from.display()));
    assert_eq!(run(publisher).await, (0, vec![], String::new()));
    assert_eq!(end(subscriber).await, (0, vec![], String::new()));
    assert!(std::fs::read(&to).unwrap() == input, "the bytes differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_out_as_they_went_in_over_webtransport() {
    let relay = TestRelay::start();
    let url = relay.http_url();
    let lines: String = (0..600).map(|line| format!("{line} {}\n", "x".repeat(line))).collect();
    let subscriber = moqt(&format!("sub {url} a%2Fb/lines --format lines --strict")).spawn().unwrap();
    let (publisher, mut stdin) =
        fed(moqt(&format!("pub {url} a%2Fb/lines --format lines --wait-subscriber --group-frames 3")));
    write(&mut stdin, &lines).await;
    drop(stdin);
    assert_eq!(end(publisher).await, (0, vec![], String::new()));
    let (status, output, words) = end(subscriber).await;
    assert_eq!((status, words.as_str()), (0, ""));
    assert!(output == lines.as_bytes(), "{} bytes of {}", output.len(), lines.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_begins_with_the_group_that_runs() {
    let relay = TestRelay::start();
    let (publisher, mut stdin) = fed(relay.moqt("pub", "late --format lines --group-frames 2"));
    let (early, mut early_out) = watched(relay.moqt("sub", "late --format lines"));
    // What is written before the first subscription may be over before it begins; this group is left open.
    write(&mut stdin, "one\n").await;
    assert_eq!(line(&mut early_out).await, "one");
    write(&mut stdin, "two\nthree\n").await;
    assert_eq!(line(&mut early_out).await, "two");
    assert_eq!(line(&mut early_out).await, "three");
    let (late, mut late_out) = watched(relay.moqt("sub", "late --format lines"));
    assert_eq!(line(&mut late_out).await, "three");
    write(&mut stdin, "four\nfive").await;
    drop(stdin);
    assert_eq!(rest(late_out).await, b"four\nfive\n");
    assert_eq!(rest(early_out).await, b"four\nfive\n");
    for child in [publisher, early, late] {
        assert_eq!(end(child).await, (0, vec![], String::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_groups_can_be_asked_for() {
    let relay = TestRelay::start();
    let (publisher, mut stdin) = fed(relay.moqt("pub", "range --format lines"));
    // The first subscriber makes the relay hold what follows.
    let (all, mut all_out) = watched(relay.moqt("sub", "range --format lines --from 0"));
    write(&mut stdin, "zero\none\ntwo\nthree\nfour\n").await;
    for expected in ["zero", "one", "two", "three", "four"] {
        assert_eq!(line(&mut all_out).await, expected);
    }
    let some =
        run(relay.moqt("sub", "range --format lines --from 1 --to 3 --order asc --priority 200")).await;
    assert_eq!(some, (0, b"one\ntwo\nthree\n".to_vec(), String::new()));
    let (status, json, words) = run(relay.moqt("sub", "range --format json --from 2 --to 2")).await;
    assert_eq!((status, words.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["group"], &json["frame"], &json["bytes"]), (&2.into(), &0.into(), &3.into()));
    drop(stdin);
    for child in [publisher, all] {
        assert_eq!(end(child).await.0, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_is_kept() {
    let relay = TestRelay::start();
    let folder = folder("rate");
    let from = folder.join("in");
    std::fs::write(&from, noise(50_000)).unwrap();
    let began = unix_now();
    let publisher = relay.moqt("pub", &format!("rate --rate 400k --input {}", from.display()));
    assert_eq!(run(publisher).await.0, 0);
    let took = unix_now().saturating_sub(began);
    // 50 kB at 50 kB a second, but for the last piece.
    assert!(took.as_millis() >= 900, "{took:?}");
}

#[expect(clippy::disallowed_methods, reason = "processes live in real time")]
fn unix_now() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_a_subscriber_quietly() {
    let relay = TestRelay::start();
    let (publisher, mut stdin) = fed(relay.moqt("pub", "pipe --format lines"));
    let (mut subscriber, mut out) = watched(relay.moqt("sub", "pipe --format lines --from 0"));
    write(&mut stdin, "one\n").await;
    assert_eq!(line(&mut out).await, "one");
    drop(out);
    let ended = async {
        // The reader's end is noticed with a write.
        while subscriber.try_wait().unwrap().is_none() {
            write(&mut stdin, "more\n").await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the subscriber ends", ended).await;
    assert_eq!(end(subscriber).await, (0, vec![], String::new()));
    drop(stdin);
    assert_eq!(end(publisher).await.0, 0);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_finishes_the_track_and_ends_with_130() {
    let relay = TestRelay::start();
    let (publisher, mut stdin) = fed(relay.moqt("pub", "stop --format lines --wait-subscriber"));
    let (subscriber, mut out) = watched(relay.moqt("sub", "stop --format lines"));
    write(&mut stdin, "one\n").await;
    assert_eq!(line(&mut out).await, "one");
    interrupt(&publisher).await;
    assert_eq!(end(publisher).await, (130, vec![], String::new()));
    assert_eq!(rest(out).await, b"");
    assert_eq!(end(subscriber).await, (0, vec![], String::new()));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_subscriber_that_waits_with_130() {
    let relay = TestRelay::start();
    let waiting = relay.moqt("sub", "never").spawn().unwrap();
    let handle = relay.handle.clone();
    let connected = async {
        while handle.counters().sessions == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    within("the subscriber is connected", connected).await;
    interrupt(&waiting).await;
    assert_eq!(end(waiting).await, (130, vec![], String::new()));
}
