//! SIGTERM: the program sends its clients elsewhere and ends when they have left.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests")]

mod common;

use std::{process::Stdio, sync::Arc, time::Duration};

use common::*;
use moqt::{Client, ClientOptions, Namespace, Reason, SessionError, Tracks, Url};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// The program on a free port of this machine; killed when it is dropped.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    async fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moqt-relay"));
        command.args(["--dev", "--bind", "127.0.0.1:0"]).args(arguments);
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("MOQT_") || key == "RUST_LOG") {
            command.env_remove(key);
        }
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut url = None;
        while let Some(line) = lines.next_line().await.unwrap() {
            let word = |start| line.split_whitespace().find(|word| word.starts_with(start));
            url = url.or(word("http://").map(str::to_owned));
            if line.contains("moqt sub") || line.contains("-- sub") {
                break;
            }
        }
        // What it says from now on is nobody's business, but it must not find the pipe closed.
        let drain = async move { while let Ok(Some(_)) = lines.next_line().await {} };
        #[expect(clippy::disallowed_methods, reason = "for tests")]
        tokio::spawn(drain);
        Self { child, url: url.unwrap() }
    }

    fn url(&self) -> Url {
        self.url.parse().unwrap()
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }

    async fn code(&mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }

    /// The status of a page.
    async fn status(&self, path: &str) -> String {
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split_whitespace().nth(1).unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_sends_clients_elsewhere_and_ends_when_they_have_left() {
    bounded(async {
        let arguments = ["--drain-to", "moqf://other:4443/room", "--drain-timeout", "1h"];
        let mut relay = Program::start(&arguments).await;
        let client = Client::new(ClientOptions::default()).unwrap();
        let tracks = Tracks::new();
        let publisher = client.connect_with(&relay.url(), Arc::new(tracks.clone())).await.unwrap();
        let publisher = Peer { client: client.clone(), session: publisher, tracks };
        let (cam, _published) = publisher.publish("cam");
        let session = client.connect(&relay.url()).await.unwrap();
        let viewer = Peer { client: client.clone(), session, tracks: Tracks::new() };
        let mut reader = viewer.subscribe("cam").await;
        write(cam.append_group(), &[b"before"]);
        assert_eq!(read(&mut reader).await.1, ["before"]);
        assert_eq!(
            (relay.status("/ready").await, relay.status("/health").await),
            ("200".into(), "200".into())
        );

        relay.signal("-TERM").await;
        for peer in [&publisher, &viewer] {
            let drain = peer.session.draining().await.unwrap();
            assert_eq!(drain.url.as_deref(), Some("moqf://other:4443/room"));
        }
        // What runs goes on, and nobody new is let in.
        assert_eq!(
            (relay.status("/ready").await, relay.status("/health").await),
            ("503".into(), "200".into())
        );
        assert!(client.connect(&relay.url()).await.is_err());
        write(cam.append_group(), &[b"after"]);
        assert_eq!(read(&mut reader).await.1, ["after"]);
        publisher.session.close().await;
        assert!(relay.child.try_wait().unwrap().is_none());
        viewer.session.close().await;
        assert_eq!(relay.code().await, Some(0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_leave_is_sent_off_in_time() {
    bounded(async {
        let mut relay = Program::start(&["--drain-timeout", "500ms"]).await;
        let client = Client::new(ClientOptions::default()).unwrap();
        let session = client.connect(&relay.url()).await.unwrap();
        relay.signal("-TERM").await;
        assert_eq!(session.draining().await.unwrap().url, None);
        let end = session.closed().await;
        assert!(matches!(end, SessionError::Closed { reason: Reason::GoingAway, .. }), "{end:?}");
        assert_eq!(relay.code().await, Some(0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_a_session_hears_where_to_go_and_why_it_ended_however_late_it_came() {
    bounded(async {
        for round in 0..16 {
            let scheme = SCHEMES[round % 2];
            let mut options = options();
            options.drain_timeout = Duration::from_millis(50);
            let mut relay = TestRelay::with(options);
            let client = relay.client();
            let session = client.connect(&relay.url(scheme, "/")).await.unwrap();
            // The relay may not have let it in yet.
            relay.handle.drain(Some("moqf://other/".into()));
            assert_eq!(session.draining().await.unwrap().url.as_deref(), Some("moqf://other/"), "{scheme}");
            let end = session.closed().await;
            assert!(
                matches!(end, SessionError::Closed { reason: Reason::GoingAway, .. }),
                "{scheme}: {end:?}"
            );
            relay.ends().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_or_ctrl_c_ends_it_at_once() {
    bounded(async {
        for second in ["-TERM", "-INT"] {
            let mut relay = Program::start(&["--drain-timeout", "1h"]).await;
            let client = Client::new(ClientOptions::default()).unwrap();
            let session = client.connect(&relay.url()).await.unwrap();
            relay.signal("-TERM").await;
            session.draining().await.unwrap();
            assert!(relay.child.try_wait().unwrap().is_none());
            relay.signal(second).await;
            assert_eq!(relay.code().await, Some(0));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_cannot_be_told_see_what_they_are_served_come_to_its_end() {
    bounded(async {
        let mut relay = TestRelay::start();
        // Deployed peers of 04 know no such signal.
        let old = relay.client_of(Some(moqt::Version::TRANSFORK_04_RS12));
        let publisher = relay.connect("moqf").await;
        let viewer = relay.connect_as(old, "moqf", "/").await;
        let (cam, _published) = publisher.publish("cam");
        let mut reader = viewer.subscribe("cam").await;
        let mut names = viewer.session.subscriber().announced(Namespace::EMPTY).await.unwrap();
        assert_eq!(names.next().await, Some(active("cam")));
        let mut group = cam.append_group();
        group.write_frame("begun").unwrap();
        let mut running = reader.next_group().await.unwrap().unwrap();
        assert_eq!(running.read_frame().await.unwrap().unwrap(), "begun");

        relay.handle.drain(Some("moqf://other/".into()));
        while names.next().await.is_some_and(|event| event != ended("cam")) {}
        // The group that has begun comes to its end.
        group.write_frame("ended").unwrap();
        group.finish().unwrap();
        assert_eq!(running.read_frame().await.unwrap().unwrap(), "ended");
        assert!(running.read_frame().await.unwrap().is_none());
        let end = viewer.session.closed().await;
        assert!(matches!(end, SessionError::Closed { .. }), "{end:?}");
        assert_eq!(publisher.session.draining().await.unwrap().url.as_deref(), Some("moqf://other/"));
        publisher.session.close().await;
        relay.ends().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_clients_it_ends_at_once() {
    bounded(async {
        let mut relay = TestRelay::start();
        relay.handle.drain(None);
        relay.ends().await;
        // Whatever is asked of it then.
        relay.handle.drain(None);
        relay.handle.close().await;
    })
    .await;
}
