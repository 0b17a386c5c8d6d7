//! What the relay counts, and that nothing is left of those who have gone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::*;
use moqt::{Reason, RequestError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The numbers by their names with labels, and which of them are gauges.
async fn scrape(relay: &TestRelay) -> (BTreeMap<String, u64>, Vec<String>) {
    let address = relay.handle.http_addresses()[0];
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let mut gauges = Vec::new();
    let mut numbers = BTreeMap::new();
    for line in body.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|line| line.strip_suffix(" gauge")) {
            gauges.push(name.to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(numbers.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} twice");
        }
    }
    (numbers, gauges)
}

async fn number(relay: &TestRelay, name: &str) -> u64 {
    let numbers = scrape(relay).await.0;
    numbers.get(name).copied().unwrap_or_else(|| panic!("no {name} in {numbers:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_is_counted() {
    bounded(async {
        let relay = TestRelay::start();
        let publisher = relay.connect("moqf").await;
        let (cam, _published) = publisher.publish("cam");
        let viewers = [relay.connect("https").await, relay.connect("https").await];
        let mut tracks = Vec::new();
        for viewer in &viewers {
            tracks.push(viewer.subscribe("cam").await);
        }
        let refused = viewers[0].try_subscribe("nothing").await;
        assert!(matches!(refused, Err(RequestError::Refused(Reason::NotFound))));
        write(cam.append_group(), &[b"12345"]);
        cam.gap(1, 3, Reason::Expired);
        write(cam.append_group(), &[b"67890"]);
        for track in &mut tracks {
            let mut both = [read(track).await.0, read(track).await.0];
            both.sort_unstable();
            assert_eq!(both, [0, 4]);
        }
        for (name, expected) in [
            ("moqt_sessions{carrier=\"quic\"}", 1),
            ("moqt_sessions{carrier=\"webtransport\"}", 2),
            ("moqt_scopes", 1),
            ("moqt_names", 1),
            ("moqt_tracks", 1),
            ("moqt_subscriptions{side=\"upstream\"}", 1),
            ("moqt_subscriptions{side=\"downstream\"}", 2),
            ("moqt_cache_groups", 2),
            ("moqt_groups_total{direction=\"in\"}", 2),
            ("moqt_groups_total{direction=\"out\"}", 4),
            ("moqt_payload_bytes_total{direction=\"in\"}", 10),
            ("moqt_payload_bytes_total{direction=\"out\"}", 20),
            ("moqt_upstream_requests_total{kind=\"subscribe\"}", 1),
            ("moqt_handshakes_failed_total", 0),
        ] {
            assert_eq!(number(&relay, name).await, expected, "{name}");
        }
        assert!(number(&relay, "moqt_gaps_total{reason=\"not found\"}").await >= 2);
        assert!(number(&relay, "moqt_cache_bytes").await > 10);
        assert!(number(&relay, "moqt_cache_bytes").await < number(&relay, "moqt_cache_budget_bytes").await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_gauge_is_back_at_zero_when_all_have_gone() {
    bounded(async {
        let relay = TestRelay::start();
        let tasks = number(&relay, "moqt_tasks").await;
        for round in 0..8 {
            let scheme = SCHEMES[round % 2];
            let path = format!("/room/{}", round % 3);
            let publisher = relay.connect_to(scheme, &path).await;
            let (cam, published) = publisher.publish("cam");
            let mut viewers = Vec::new();
            for other in SCHEMES {
                let viewer = relay.connect_to(other, &path).await;
                let mut track = viewer.subscribe("cam").await;
                let mut running = cam.append_group();
                running.write_frame("12345").unwrap();
                let mut group = track.next_group().await.unwrap().unwrap();
                group.read_frame().await.unwrap();
                viewers.push((viewer, track, group, running));
            }
            // In each order, and with or without a goodbye.
            match round % 4 {
                0 => drop((viewers, published, publisher)),
                1 => {
                    publisher.vanish();
                    drop(viewers);
                }
                2 => {
                    viewers.into_iter().for_each(|(viewer, ..)| viewer.vanish());
                    drop((published, publisher));
                }
                _ => {
                    drop(published);
                    publisher.session.close().await;
                    drop(viewers);
                }
            }
        }
        let mut left = BTreeMap::new();
        for _ in 0..1000 {
            let (numbers, gauges) = scrape(&relay).await;
            assert!(gauges.len() >= 12, "{gauges:?}");
            left = numbers;
            left.retain(|name, value| {
                let gauge = gauges.iter().any(|gauge| name.split('{').next() == Some(gauge));
                let rest = match name.as_str() {
                    "moqt_cache_budget_bytes" => *value,
                    "moqt_tasks" => tasks,
                    _ => 0,
                };
                gauge && *value > rest
            });
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(left.is_empty(), "{left:?} is left; there were {tasks} tasks");
    })
    .await;
}
