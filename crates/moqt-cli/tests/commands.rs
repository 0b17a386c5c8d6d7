//! The other verbs as processes, and what all of them say when they fail.

mod support;

use std::net::UdpSocket;

use support::*;

/// The one line of a failure.
fn only_line(words: &str) -> &str {
    let mut lines = words.lines();
    let line = lines.next().unwrap_or_default();
    assert_eq!(lines.next(), None, "{words}");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_status_2() {
    for line in ["", "fly", "sub", "sub relay a", "pub https://relay/ a --rate much", "relay --bind here"] {
        let (status, output, words) = run(moqt(line)).await;
        assert_eq!((status, output.len()), (2, 0), "{line}: {words}");
        assert!(!words.is_empty());
    }
    let (status, _, words) = run(moqt("sub https://relay/ a --from 5 --to 3")).await;
    assert_eq!((status, only_line(&words)), (2, "moqt: --to 3 is before --from 5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_track_fails_at_once_where_it_is_not_waited_for() {
    let relay = TestRelay::start();
    for command in [relay.moqt("sub", "no/such --no-wait"), relay.moqt("info", "no/such")] {
        let (status, output, words) = run(command).await;
        assert_eq!((status, output.len()), (1, 0));
        let line = only_line(&words);
        assert!(
            line.contains("no/such at moqf://") && line.contains("not found; is it published?"),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nobody_answers_is_named() {
    // Takes packets and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let quiet = run(moqt(&format!("sub -q moqf://127.0.0.1:{port}/ a")));
    let said = run(moqt(&format!("pub moqf://127.0.0.1:{port}/ a")));
    let ((status, _, words), (also, _, more)) = tokio::join!(quiet, said);
    assert_eq!((status, also), (1, 1));
    let line = only_line(&words);
    assert!(
        line.starts_with(&format!("moqt: cannot connect to moqf://127.0.0.1:{port}/: no answer")),
        "{line}"
    );
    assert!(line.contains("is the relay running there"), "{line}");
    let waiting = format!("moqt: waiting for moqf://127.0.0.1:{port}/ to answer");
    assert_eq!(more.lines().collect::<Vec<_>>(), [&waiting, line]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_http_is_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (status, _, words) = run(moqt(&format!("sub http://{closed}/ a"))).await;
    assert_eq!(status, 1);
    let line = only_line(&words);
    assert!(
        line.contains(&format!("http://{closed}/certificate.sha256")) && line.contains("--dev"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused_with_a_hint() {
    let relay = TestRelay::start();
    for scheme in ["https", "moqf"] {
        let (status, _, words) = run(moqt(&format!("sub {scheme}://{}/ a", relay.address()))).await;
        assert_eq!(status, 1);
        let line = only_line(&words);
        assert!(line.contains("certificate not accepted") && line.contains("--tls-fingerprint"), "{line}");
    }
    let other = "00".repeat(32);
    let url = relay.url();
    let (status, _, words) = run(moqt(&format!("sub {url} a --tls-fingerprint {other}"))).await;
    assert_eq!(status, 1);
    assert!(only_line(&words).contains("not pinned"), "{words}");
    let (status, output, words) = run(moqt(&format!("announced {url} --once --tls-disable-verify"))).await;
    assert_eq!((status, output), (0, b"= live\n".to_vec()));
    assert!(only_line(&words).contains("not verified"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_there_are_named() {
    for (line, expected) in [
        ("pub https://127.0.0.1:1/ a --input no/file", "moqt: cannot read: no/file: "),
        ("sub https://127.0.0.1:1/ a --output no/file", "moqt: cannot write: no/file: "),
        (
            "sub https://127.0.0.1:1/ a --tls-root no/file",
            "moqt: cannot use the trusted certificates: cannot read no/file",
        ),
    ] {
        let (status, _, words) = run(moqt(line)).await;
        assert_eq!(status, 1, "{line}");
        assert!(only_line(&words).starts_with(expected), "{words}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_is_announced_known_shown_and_withdrawn() {
    let relay = TestRelay::start();
    let (_watcher, mut names) = watched(relay.moqt("announced", ""));
    assert_eq!(line(&mut names).await, "= live");
    let publisher = relay.moqt("clock pub", "").spawn().unwrap();
    assert_eq!(line(&mut names).await, "+ clock");

    let (shower, mut out) = watched(relay.moqt("clock sub", ""));
    let shown = line(&mut out).await;
    let pattern: String = shown.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(pattern, "0000-00-00 00:00:00", "{shown}");

    let (status, known, words) = run(relay.moqt("info", "clock --json")).await;
    assert_eq!((status, words.as_str()), (0, ""));
    let known: serde_json::Value = serde_json::from_slice(&known).unwrap();
    assert!(known["latest"].as_u64().unwrap() > 29_000_000, "minutes since 1970: {known}");
    let (_, text, _) = run(relay.moqt("info", "clock")).await;
    assert!(String::from_utf8(text).unwrap().starts_with("track    clock\npriority 128\n"));
    let (_, once, _) = run(relay.moqt("announced", "clo --once")).await;
    assert_eq!(once, b"= live\n", "a prefix is made of whole parts");
    let (_, once, _) = run(relay.moqt("announced", "clock/ --once --json")).await;
    assert_eq!(once, b"{\"event\":\"active\",\"path\":\"clock\"}\n{\"event\":\"live\"}\n");

    interrupt(&publisher).await;
    assert_eq!(end(publisher).await, (130, vec![], String::new()));
    assert_eq!(line(&mut names).await, "- clock");
    rest(out).await;
    assert_eq!(end(shower).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_serves_a_relay_and_is_trusted_as_a_root() {
    let folder = folder("cert");
    let (status, printed, words) =
        run(moqt(&format!("cert --hosts localhost,127.0.0.1 --days 3 --out {}", folder.display()))).await;
    assert_eq!(status, 0, "{words}");
    let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let certificate = moqt::Certificate::load(&chain, &key).unwrap();
    assert_eq!(String::from_utf8(printed).unwrap(), format!("{}\n", certificate.fingerprint().unwrap()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let relay = TestRelay::with(certificate);
    let line = format!("announced https://{}/ --once --tls-root {}", relay.address(), chain.display());
    assert_eq!(run(moqt(&line)).await, (0, b"= live\n".to_vec(), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_and_the_version_are_printed() {
    let (status, script, _) = run(moqt("completions bash")).await;
    assert_eq!(status, 0);
    assert!(String::from_utf8(script).unwrap().contains("--wait-subscriber"));
    let (status, version, _) = run(moqt("--version")).await;
    assert_eq!((status, version), (0, format!("moqt {}\n", env!("CARGO_PKG_VERSION")).into_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_stands_for_options() {
    let relay = TestRelay::start();
    let mut command = moqt(&format!("announced {}", relay.url()));
    command.env("MOQT_TLS_FINGERPRINT", relay.handle.fingerprint().unwrap().to_string());
    command.env("MOQT_ANNOUNCED_ONCE", "1").env("MOQT_ANNOUNCED_JSON", "0");
    assert_eq!(run(command).await, (0, b"= live\n".to_vec(), String::new()));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_of_the_command_serves_others_and_ends_with_130() {
    let mut command = moqt("relay --dev --bind 127.0.0.1:0");
    let mut relay = command.spawn().unwrap();
    let mut words = tokio::io::BufReader::new(relay.stderr.take().unwrap());
    let url = async {
        use tokio::io::AsyncBufReadExt as _;
        loop {
            let mut line = String::new();
            assert_ne!(words.read_line(&mut line).await.unwrap(), 0, "the relay ended");
            if let Some(url) = line.split_whitespace().find(|word| word.starts_with("http://")) {
                break url.to_owned();
            }
        }
    };
    let url = within("the relay's URL", url).await;
    assert_eq!(run(moqt(&format!("announced {url} --once"))).await, (0, b"= live\n".to_vec(), String::new()));
    interrupt(&relay).await;
    assert_eq!(end(relay).await.0, 130);
}
