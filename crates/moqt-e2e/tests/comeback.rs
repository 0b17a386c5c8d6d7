//! Relays that die, and clients that do not mind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests may panic, and these run in real time"
)]

use std::{
    net::IpAddr,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use moqt::{
    Client, ClientOptions, FollowOptions, FollowState, Link, Reconnect, Retention, SubscribeOptions,
    TrackEvent, TrackInfo, TrackProducer, Tracks, follow,
};
use moqt_e2e::{Process, Relay};

#[test]
fn a_relay_is_killed_and_started_again_under_a_publisher_and_a_subscriber() {
    let mut relay = Relay::start(&[]);
    let (url, address) = (relay.url(), relay.address().to_owned());
    let options = ["--format", "lines", "--reconnect", "100s"];
    let mut publisher = Process::start_with(
        &[&["pub", &url, "demo/text", "--wait-subscriber", "--linger", "20s"], &options[..]].concat(),
        Stdio::piped(),
    );
    let mut subscriber = Process::start(&[&["sub", &url, "demo/text", "--from", "0"], &options[..]].concat());
    let (mut written, mut expected) = (0, String::new());
    let mut write = |publisher: &mut Process, lines: u32| {
        for _ in 0..lines {
            let line = format!("line {written}\n");
            publisher.write(line.as_bytes());
            expected.push_str(&line);
            written += 1;
        }
        expected.clone()
    };
    let so_far = write(&mut publisher, 20);
    assert_eq!(String::from_utf8_lossy(&subscriber.writes(so_far.len())), so_far);
    for _ in 0..2 {
        relay.process.kill();
        // Nobody has noticed yet, and nobody takes what is written now.
        write(&mut publisher, 20);
        relay = Relay::start_at(&address, &[]);
        let so_far = write(&mut publisher, 20);
        assert_eq!(String::from_utf8_lossy(&subscriber.writes(so_far.len())), so_far);
    }
    publisher.close_input();
    assert!(publisher.ends().success(), "{}", publisher.stderr());
    assert!(subscriber.ends().success(), "{}", subscriber.stderr());
    for (who, word) in [(publisher, "moqt: connection lost: "), (subscriber, "moqt: lost: demo/text at ")] {
        let said = who.stderr();
        assert_eq!(said.lines().filter(|line| line.starts_with(word)).count(), 2, "{said}");
        assert!(said.lines().all(|line| line.starts_with("moqt: ") && line.len() < 300), "{said}");
    }
}

fn payload(group: u64, frame: u64) -> Bytes {
    (0..2000_u64).map(|at| (group * 31 + frame * 7 + at) as u8).collect()
}

const GROUPS: u64 = 60;
const FRAMES: u64 = 5;

async fn link(relay: &Relay, origin: Tracks) -> Link {
    link_from(None, relay, origin).await
}

/// From a local address, which stands for a network.
async fn link_from(local: Option<IpAddr>, relay: &Relay, origin: Tracks) -> Link {
    let [url, _, pin] = relay.pinned("moqf");
    let mut options = ClientOptions::default();
    options.local = local;
    options.tls.fingerprints = vec![pin.parse().unwrap()];
    let client = Client::new(options).unwrap();
    let link = Link::connect(client, url.parse().unwrap(), Arc::new(origin), Reconnect::default());
    link.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_relays_is_killed_and_no_frame_is_missed_or_waits_for_its_death_to_be_noticed() {
    for (round, at) in [3_u64, 17, 31].into_iter().enumerate() {
        let mut relays = [Relay::start(&[]), Relay::start(&[])];
        let tracks = Tracks::new();
        let name: moqt::FullTrackName = "cam/video".parse().unwrap();
        let live = TrackProducer::new(name.clone(), TrackInfo::default(), Retention::default());
        let _published = tracks.publish(live.consume()).unwrap();
        let _publishing = [link(&relays[0], tracks.clone()).await, link(&relays[1], tracks).await];
        let links = [link(&relays[0], Tracks::new()).await, link(&relays[1], Tracks::new()).await];
        let wanted = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
        let followed = follow(&links, name, FollowOptions::from(wanted)).await.unwrap();
        for state in followed.states() {
            let mut state = state.clone();
            state.wait_for(|state| matches!(state, FollowState::Live)).await.unwrap();
        }
        let mut reader = followed.into_track();
        let reading = tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            let mut expected = 0;
            while expected < GROUPS {
                let waited = Instant::now();
                let event = reader.next_event().await.unwrap().unwrap();
                let TrackEvent::Group(mut group) = event else { panic!("{event:?}") };
                assert_eq!(group.sequence(), expected, "groups are far apart here");
                for frame in 0..FRAMES {
                    let got = group.read_frame().await.unwrap().unwrap();
                    assert_eq!(got, payload(expected, frame));
                }
                assert!(group.read_frame().await.unwrap().is_none());
                longest = longest.max(waited.elapsed());
                expected += 1;
            }
            longest
        });
        for number in 0..GROUPS {
            let mut group = live.append_group();
            for frame in 0..FRAMES {
                group.write_frame(payload(number, frame)).unwrap();
                if (number, frame) == (at, round as u64) {
                    relays[round % 2].process.kill();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            group.finish().unwrap();
        }
        let longest = tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
        // The silence would be noticed after thirty seconds.
        assert!(longest < Duration::from_secs(8), "{longest:?}");
        println!("killed in group {at}: a group every 25 ms, the longest wait for a whole one {longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_on_two_networks_leaves_one_and_downstream_nobody_notices() {
    for which in ["best", "all"] {
        let relay = Relay::start(&["--publishers", which]);
        let tracks = Tracks::new();
        let name: moqt::FullTrackName = "cam/video".parse().unwrap();
        let live = TrackProducer::new(name.clone(), TrackInfo::default(), Retention::default());
        let _published = tracks.publish(live.consume()).unwrap();
        let local = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let first = link_from(local("127.0.0.1"), &relay, tracks.clone()).await;
        let reader = link(&relay, Tracks::new()).await;
        let wanted = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
        let mut track = reader.follow(name.clone(), FollowOptions::from(wanted)).await.unwrap().into_track();
        let watching = reader.session().await.unwrap();
        let mut names = watching.subscriber().announced("cam".parse().unwrap()).await.unwrap();
        for expected in ["Active", "CaughtUp"] {
            let event = format!("{:?}", names.next().await.unwrap());
            assert!(event.starts_with(expected), "{event}");
        }
        let second = link_from(local("127.0.0.2"), &relay, tracks).await;
        let reading = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(event) = track.next_event().await.unwrap() {
                let TrackEvent::Group(mut group) = event else { panic!("{event:?}") };
                let mut frame = 0;
                while let Some(got) = group.read_frame().await.unwrap() {
                    assert_eq!(got, payload(group.sequence(), frame));
                    frame += 1;
                }
                assert_eq!(frame, FRAMES);
                seen.push(group.sequence());
            }
            seen
        });
        let mut first = Some(first);
        for number in 0..GROUPS {
            let mut group = live.append_group();
            for frame in 0..FRAMES {
                group.write_frame(payload(number, frame)).unwrap();
                if (number, frame) == (30, 2)
                    && let Some(first) = first.take()
                {
                    first.close().await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            group.finish().unwrap();
        }
        live.finish();
        let mut seen = tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..GROUPS).collect::<Vec<_>>(), "{which}");
        let more = tokio::time::timeout(Duration::ZERO, names.next()).await;
        assert!(more.is_err(), "the name was there all the time: {more:?}");
        second.close().await;
    }
}

#[test]
#[cfg(unix)]
fn a_relay_that_is_asked_to_end_sends_publisher_and_subscriber_to_another_and_neither_says_a_word() {
    let next = Relay::start(&[]);
    let mut relay = Relay::start(&["--drain-to", &next.url(), "--drain-timeout", "60s"]);
    let url = relay.url();
    let mut publisher = Process::start_with(
        &["pub", &url, "demo/text", "--format", "lines", "--wait-subscriber", "--linger", "20s"],
        Stdio::piped(),
    );
    let mut subscriber = Process::start(&["sub", &url, "demo/text", "--format", "lines", "--from", "0"]);
    let mut expected = String::new();
    for number in 0..300 {
        let line = format!("line {number}\n");
        publisher.write(line.as_bytes());
        expected.push_str(&line);
        if number == 20 {
            assert_eq!(String::from_utf8_lossy(&subscriber.writes(expected.len())), expected);
        }
        if number == 100 {
            let id = relay.process.id().to_string();
            let told = std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap();
            assert!(told.success());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(String::from_utf8_lossy(&subscriber.writes(expected.len())), expected);
    // It waits for its clients no longer than they need.
    assert!(relay.process.ends().success(), "{}", relay.process.stderr());
    let more = "one more\n";
    publisher.write(more.as_bytes());
    expected.push_str(more);
    publisher.close_input();
    assert!(publisher.ends().success(), "{}", publisher.stderr());
    assert!(subscriber.ends().success(), "{}", subscriber.stderr());
    assert_eq!(String::from_utf8_lossy(&subscriber.stdout()), expected);
    for who in [publisher, subscriber] {
        let said = who.stderr();
        assert!(said.lines().all(|line| line.starts_with("moqt: waiting for ")), "{said}");
    }
}
