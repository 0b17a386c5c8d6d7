//! What the relay says over HTTP.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use std::net::SocketAddr;

use common::*;
use moqt::{ClientOptions, Namespace};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Status line with headers, and body.
async fn get(relay: &TestRelay, path: &str) -> (String, String) {
    get_from(relay.handle.http_addresses()[0], path).await
}

async fn get_from(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fingerprint_is_there_for_pages_of_any_origin() {
    bounded(async {
        let relay = TestRelay::start();
        assert_eq!(relay.handle.http_addresses()[0].port(), relay.address().port());
        for path in ["/certificate.sha256", "/fingerprint"] {
            let (head, body) = get(&relay, path).await;
            assert!(head.starts_with("http/1.1 200"), "{head}");
            assert!(head.contains("content-type: text/plain"), "{head}");
            assert!(head.contains("access-control-allow-origin: *"), "{head}");
            assert_eq!(body, relay.handle.fingerprint().unwrap().to_string());
            assert_eq!(body.len(), 64);
        }
        assert_eq!(get(&relay, "/health").await.1, "ok");
        assert!(get(&relay, "/nothing").await.0.starts_with("http/1.1 404"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_names_are_listed_by_scope_and_prefix() {
    bounded(async {
        let relay = TestRelay::start();
        assert_eq!(get(&relay, "/announced").await.1, "[]");
        let here = relay.connect("moqf").await;
        let _tracks = ["a/1", "a/2%2F3", "b"].map(|name| here.publish(name));
        let there = relay.connect_to("moqf", "/room/1").await;
        let _other = there.publish("c");
        here.sees("b").await;
        there.sees("c").await;
        for (path, names) in [
            ("/announced", r#"["a/1","a/2%2F3","b"]"#),
            ("/announced/", r#"["a/1","a/2%2F3","b"]"#),
            ("/announced?scope=/", r#"["a/1","a/2%2F3","b"]"#),
            ("/announced/a", r#"["a/1","a/2%2F3"]"#),
            ("/announced/a/2%2F3", r#"["a/2%2F3"]"#),
            ("/announced/a/2", "[]"),
            ("/announced?scope=/room/1", r#"["c"]"#),
            ("/announced/c?scope=%2Froom%2F1%2F", r#"["c"]"#),
            ("/announced?scope=/room/2", "[]"),
        ] {
            let (head, body) = get(&relay, path).await;
            assert!(head.contains("content-type: application/json"), "{head}");
            assert_eq!(body, names, "{path}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_finds_its_way_with_an_http_url_alone() {
    bounded(async {
        let relay = TestRelay::start();
        let client = moqt::Client::new(ClientOptions::default()).unwrap();
        let session = client.connect(&relay.url("http", "/")).await.unwrap();
        let mut names = session.subscriber().announced(Namespace::EMPTY).await.unwrap();
        assert_eq!(names.next().await.unwrap(), moqt::Announced::CaughtUp);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_lose_their_place() {
    bounded(async {
        let mut options = options();
        options.limits.http_connections = 2;
        options.limits.http_lifetime = std::time::Duration::from_millis(300);
        let relay = TestRelay::with(options);
        let address = relay.handle.http_addresses()[0];
        let _idle = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        assert_eq!(get(&relay, "/health").await.1, "ok");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_served_on_another_address_too() {
    bounded(async {
        let mut options = options();
        options.http = Some("127.0.0.1:0".parse().unwrap());
        let relay = TestRelay::with(options);
        let [beside, other] = relay.handle.http_addresses() else { panic!("two addresses") };
        assert_eq!(beside.port(), relay.address().port());
        assert_ne!(other.port(), beside.port());
        for address in [beside, other] {
            assert_eq!(get_from(*address, "/health").await.1, "ok");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_served_where_it_is_wanted_and_takes_nothing_from_elsewhere() {
    bounded(async {
        assert!(get(&TestRelay::start(), "/").await.0.starts_with("http/1.1 404"));
        let mut options = options();
        options.page = true;
        let relay = TestRelay::with(options);
        for (path, place) in [("/", "/play/"), ("/play", "/play/"), ("/?play=a%2fb&c", "/play/?play=a%2fb&c")]
        {
            let (head, _) = get(&relay, path).await;
            assert!(head.starts_with("http/1.1 303"), "{head}");
            assert!(head.contains(&format!("location: {place}\r\n")), "{head}");
        }
        for (path, kind, words) in [
            ("/play/", "text/html; charset=utf-8", "<!doctype html>"),
            ("/play/main.js", "text/javascript; charset=utf-8", "import "),
            ("/play/play.css", "text/css; charset=utf-8", ":root"),
            ("/play/icon.svg", "image/svg+xml", "<svg"),
            ("/transfork.js", "text/javascript; charset=utf-8", "export class Session"),
        ] {
            let (head, body) = get(&relay, path).await;
            assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
            assert!(head.contains(&format!("content-type: {kind}\r\n")), "{path}: {head}");
            assert!(
                head.contains("content-security-policy: default-src 'none'; script-src 'self';"),
                "{head}"
            );
            assert!(body.contains(words), "{path}: {body}");
        }
        for path in ["/play/nothing.js", "/play/../Cargo.toml", "/test/run.mjs"] {
            assert!(get(&relay, path).await.0.starts_with("http/1.1 404"), "{path}");
        }
    })
    .await;
}
