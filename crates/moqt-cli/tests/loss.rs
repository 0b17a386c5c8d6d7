//! What a subscriber does when groups, tracks, publishers and relays are lost.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;

use moqt::{FrameMeta, Published, Reason, Retention, Session, TrackInfo, TrackProducer, Tracks};
use support::*;

/// A publisher in this process, which can do what `moqt pub` never does.
struct Publisher {
    track: TrackProducer,
    tracks: Tracks,
    _published: Published,
}

impl Publisher {
    fn new(name: &str) -> Self {
        let tracks = Tracks::new();
        let track = TrackProducer::new(name.parse().unwrap(), TrackInfo::default(), Retention::default());
        let published = tracks.publish(track.consume()).unwrap();
        Self { track, tracks, _published: published }
    }

    async fn connect(&self, relay: &TestRelay) -> Session {
        let (client, url) = relay.client();
        within("the publisher connects", client.connect_with(&url, Arc::new(self.tracks.clone())))
            .await
            .unwrap()
    }

    fn group(&self, frames: &[&'static str]) {
        let mut group = self.track.append_group();
        for frame in frames {
            group.write_frame(*frame).unwrap();
        }
        group.finish().unwrap();
    }
}

fn lines(words: &str) -> Vec<&str> {
    words.lines().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_a_warning_and_with_strict_a_failure() {
    let relay = TestRelay::start();
    for (options, status) in [("", 0), ("--strict", 1)] {
        let publisher = Publisher::new("gap");
        let session = publisher.connect(&relay).await;
        let (subscriber, mut out) = watched(relay.moqt("sub", &format!("gap --format lines {options}")));
        publisher.group(&["zero"]);
        assert_eq!(line(&mut out).await, "zero");
        publisher.track.gap(1, 2, Reason::Expired);
        publisher.group(&["three"]);
        publisher.track.finish();
        assert_eq!(line(&mut out).await, "three");
        assert_eq!(rest(out).await, b"");
        let (found, _, words) = end(subscriber).await;
        let warning = "moqt: gap: groups 1 to 2 of gap are missing: expired";
        let failure = "moqt: groups missing: 2 of gap; without --strict this is only a warning";
        let expected = if status == 0 { vec![warning] } else { vec![warning, failure] };
        assert_eq!((found, lines(&words)), (status, expected));
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_cut_in_its_middle_is_told_of() {
    let relay = TestRelay::start();
    let publisher = Publisher::new("cut");
    let session = publisher.connect(&relay).await;
    let (subscriber, mut out) = watched(relay.moqt("sub", "cut"));
    let mut group = publisher.track.append_group();
    group.write_frame("whole").unwrap();
    let mut frame = group.create_frame(FrameMeta::sized(10)).unwrap();
    frame.write("half".into()).unwrap();
    assert_eq!(bytes(&mut out, 9).await, "wholehalf", "bytes are written as they arrive");
    drop(frame);
    drop(group);
    publisher.group(&["next"]);
    publisher.track.finish();
    assert_eq!(rest(out).await, b"next");
    let (status, _, words) = end(subscriber).await;
    assert_eq!((status, lines(&words).len()), (0, 1), "{words}");
    let start = "moqt: gap: group 0 of cut was cut after 1 frame and 4 bytes of the next: ";
    assert!(words.starts_with(start), "{words}");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_goes_on_where_it_was_when_the_relay_comes_back() {
    let relay = TestRelay::start();
    let publisher = Publisher::new("back");
    let session = publisher.connect(&relay).await;
    let (subscriber, mut out) = watched(relay.moqt("sub", "back --from 0 --reconnect 50s"));
    publisher.group(&["aaa"]);
    let mut group = publisher.track.append_group();
    group.write_frame("bbb").unwrap();
    let mut frame = group.create_frame(FrameMeta::sized(6)).unwrap();
    frame.write("cc".into()).unwrap();
    assert_eq!(bytes(&mut out, 8).await, "aaabbbcc");

    within("the relay closes", relay.handle.close()).await;
    within("the publisher notices", session.closed()).await;
    let relay = TestRelay::start_again(relay.address(), relay.certificate.clone()).await;
    let session = publisher.connect(&relay).await;
    frame.write("dddd".into()).unwrap();
    frame.finish().unwrap();
    group.finish().unwrap();
    publisher.group(&["eee"]);
    assert_eq!(bytes(&mut out, 7).await, "ddddeee", "neither twice nor not at all");
    publisher.track.finish();
    assert_eq!(rest(out).await, b"");
    let (status, _, words) = end(subscriber).await;
    assert_eq!((status, lines(&words).len()), (0, 1), "{words}");
    assert!(words.starts_with("moqt: lost: back at moqf://"), "{words}");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_begins_anew_is_followed() {
    let relay = TestRelay::start();
    let (mut first, mut stdin) = fed(relay.moqt("pub", "anew --format lines --wait-subscriber"));
    let (subscriber, mut out) = watched(relay.moqt("sub", "anew --format lines --reconnect 50s"));
    write(&mut stdin, "one\ntwo\nthree\n").await;
    for expected in ["one", "two", "three"] {
        assert_eq!(line(&mut out).await, expected);
    }
    first.kill().await.unwrap();
    // It reads its input once the relay, which has to notice the death first, asks for the track.
    let (again, mut stdin) = fed(relay.moqt("pub", "anew --format lines --wait-subscriber"));
    write(&mut stdin, "four\n").await;
    assert_eq!(line(&mut out).await, "four");
    drop(stdin);
    assert_eq!(rest(out).await, b"");
    assert_eq!(end(again).await.0, 0);
    let (status, _, words) = end(subscriber).await;
    assert_eq!(status, 0, "{words}");
    let words = lines(&words);
    assert!(words[0].starts_with("moqt: lost: anew at "), "{words:?}");
    assert_eq!(words[1..], ["moqt: anew has begun anew, with group 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_track_that_stays_away_is_a_failure() {
    let relay = TestRelay::start();
    for (options, last) in
        [("--reconnect 0", "--reconnect waits for its return"), ("--reconnect 300ms", "(--reconnect)")]
    {
        let publisher = Publisher::new("gone");
        let session = publisher.connect(&relay).await;
        let (subscriber, mut out) = watched(relay.moqt("sub", &format!("gone --format lines {options}")));
        publisher.group(&["one"]);
        assert_eq!(line(&mut out).await, "one");
        session.close().await;
        let (status, _, words) = end(subscriber).await;
        assert_eq!(status, 1);
        let words = lines(&words);
        let failure = words.last().unwrap();
        assert!(failure.starts_with("moqt: lost: gone at moqf://") && failure.ends_with(last), "{words:?}");
        assert_eq!(words.len(), if options.ends_with('0') { 1 } else { 2 }, "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publisher_and_subscriber_survive_a_relay_that_is_started_again() {
    let relay = TestRelay::start();
    let (publisher, mut stdin) =
        fed(relay.moqt("pub", "steady --format lines --wait-subscriber --reconnect 50s"));
    let (subscriber, mut out) = watched(relay.moqt("sub", "steady --format lines --from 0 --reconnect 50s"));
    let mut written = 0;
    let mut relay = relay;
    for _ in 0..3 {
        for _ in 0..5 {
            write(&mut stdin, &format!("line {written}\n")).await;
            assert_eq!(line(&mut out).await, format!("line {written}"));
            written += 1;
        }
        within("the relay closes", relay.handle.close()).await;
        // What is written while there is no relay is not lost either.
        write(&mut stdin, &format!("line {written}\n")).await;
        relay = TestRelay::start_again(relay.address(), relay.certificate.clone()).await;
        assert_eq!(line(&mut out).await, format!("line {written}"));
        written += 1;
    }
    drop(stdin);
    assert_eq!(rest(out).await, b"");
    for (who, start) in
        [(publisher, "moqt: connection lost: moqf://"), (subscriber, "moqt: lost: steady at moqf://")]
    {
        let (status, _, words) = end(who).await;
        assert_eq!((status, lines(&words).len()), (0, 3), "a line for each restart: {words}");
        assert!(lines(&words).iter().all(|line| line.starts_with(start)), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_whose_relay_stays_away_says_so() {
    for (options, last) in
        [("--reconnect 0", "--reconnect waits for its return"), ("--reconnect 300ms", "(--reconnect)")]
    {
        let relay = TestRelay::start();
        let (publisher, mut stdin) =
            fed(relay.moqt("pub", &format!("orphan --format lines --wait-subscriber {options}")));
        let (_subscriber, mut out) = watched(relay.moqt("sub", "orphan --format lines"));
        write(&mut stdin, "one\n").await;
        assert_eq!(line(&mut out).await, "one");
        within("the relay closes", relay.handle.close()).await;
        let (status, _, words) = end(publisher).await;
        let words = lines(&words);
        assert_eq!((status, words.len()), (1, if options.ends_with('0') { 1 } else { 2 }), "{words:?}");
        let failure = words.last().unwrap();
        assert!(
            failure.starts_with("moqt: connection lost: moqf://") && failure.ends_with(last),
            "{words:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_ends_well_while_its_track_goes_on_whatever_of_it_is_missing() {
    let relay = TestRelay::start();
    let publisher = Publisher::new("range");
    let session = publisher.connect(&relay).await;
    ["zero", "one"].iter().for_each(|frame| publisher.group(&[frame]));
    for (number, frame) in [(4, "four"), (6, "six")] {
        let mut group = publisher.track.create_group(number).unwrap();
        group.write_frame(frame).unwrap();
        group.finish().unwrap();
    }
    for (range, seen, missing) in [
        ("--from 1 --to 4", "one\nfour\n", Some("groups 2 to 3 of range are missing: not found")),
        ("--from 4 --to 5", "four\n", Some("group 5 of range is missing: not found")),
        ("--from 6 --to 6", "six\n", None),
        ("--to 3", "", None),
    ] {
        let (subscriber, out) = watched(relay.moqt("sub", &format!("range --format lines {range}")));
        assert_eq!(rest(out).await, seen.as_bytes(), "{range}");
        let (status, _, words) = end(subscriber).await;
        let warnings: Vec<_> = missing.map(|missing| format!("moqt: gap: {missing}")).into_iter().collect();
        assert_eq!((status, lines(&words)), (0, warnings.iter().map(String::as_str).collect()), "{range}");
    }
    session.close().await;
}
