//! A relay that was not written here, under the load generator of its own project: `moq-relay` and `moq-bench`.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::load::{PATIENCE, Run, Workload};
use super::page::Beside;
use super::{BenchArgs, Carrier};
use crate::lab::child::Child;
use crate::lab::programs::{self, existing};
use crate::lab::{sample, show};
use crate::shell::{self, Stopwatch};

/// How often the generator counts.
const REPORT: Duration = Duration::from_millis(100);

/// How long it takes over its connections; it takes that long again over its subscriptions.
const STARTUP: Duration = Duration::from_secs(1);

/// The two programs.
pub(super) struct Peer {
    relay: PathBuf,
    bench: PathBuf,
}

/// What the generator is told of a load.
struct Shape {
    fps: &'static str,
    frame_bytes: &'static str,
    /// Beside the first one.
    more_frames: &'static str,
}

impl Shape {
    fn of(workload: &Workload) -> Result<Self> {
        let (fps, frame_bytes, more_frames) = match workload.shape.as_str() {
            "V5" => ("30", "20833", "59"),
            "F4" => ("60", "4000", "59"),
            "A50" => ("50", "160", "0"),
            other => bail!("moq-bench has no load like {other}"),
        };
        Ok(Self { fps, frame_bytes, more_frames })
    }
}

impl Peer {
    /// `None` where the path is that of another program; the generator must lie beside the relay.
    pub(super) fn find(relay: &Path) -> Result<Option<Self>> {
        if relay.file_stem().is_none_or(|name| name != "moq-relay") {
            return Ok(None);
        }
        let bench = existing(relay.with_file_name("moq-bench"))
            .context("moq-relay is driven by its own generator, which must lie beside it")?;
        Ok(Some(Self { relay: existing(relay)?, bench }))
    }

    /// What it is called on the page.
    pub(super) fn beside(&self, carrier: Carrier) -> Result<Beside> {
        let name = shell::output(Command::new(&self.relay).arg("--version"))?.trim().to_owned();
        Ok(Beside { part: "-moq-relay", name, over: format!("`{}`", scheme(carrier)) })
    }

    pub(super) fn measure(&self, workload: &Workload, args: &BenchArgs) -> Result<Run> {
        ensure!(args.up.is_none() && args.down.is_none(), "moq-relay is measured on a good network only");
        let shape = Shape::of(workload)?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let congestion = if args.congestion == "bbr" { "delay" } else { "loss" };
        let mut command = Command::new(&self.relay);
        command.args(["--listen", &address, "--listen-tls-generate", "localhost", "--auth-public", "**"]);
        command.args(["--quic-congestion-control", congestion, "--quic-mtu-discovery=true"]);
        let mut relay = Child::start("the peer relay", &mut command)?;
        let watch = Stopwatch::start();
        while UdpSocket::bind(&address).is_ok() {
            ensure!(watch.elapsed() < PATIENCE, "the peer relay does not listen{}", relay.said());
            thread::sleep(Duration::from_millis(20));
        }
        let idle_rss = sample::sample(relay.id())?.rss;

        let url = format!("{}://{address}/", scheme(args.carrier));
        let lasts = show(args.duration + STARTUP * 4 + Duration::from_secs(5));
        let client = |name: &str| {
            let mut command = Command::new(&self.bench);
            command.args(["--client-connect", &url, "--client-tls-disable-verify", "--name", "bench"]);
            command.args([
                "--client-quic-congestion-control",
                congestion,
                "--client-quic-mtu-discovery=true",
            ]);
            let output = programs::target().join("bench").join(format!("peer-{name}.jsonl"));
            // What an earlier run counted is not of this one.
            let _ = fs::remove_file(&output);
            command.args(["--startup", &show(STARTUP), "--report", &show(REPORT), "--duration", &lasts]);
            command.arg("--output").arg(&output);
            (command, output)
        };
        let (mut publisher, _) = client("publisher");
        publisher.args(["--connections", "1", "--broadcasts", "1", "--subscribe", "0", "--fps", shape.fps]);
        publisher.args(["--frame-size", shape.frame_bytes, "--group-size", shape.more_frames]);
        let (mut audience, output) = client("audience");
        let subscribers = workload.subscribers.unwrap_or(100);
        audience.args(["--connections", &subscribers.to_string(), "--broadcasts", "0", "--subscribe", "1"]);
        let publisher = Child::start("the publisher", &mut publisher)?;
        let audience = Child::start("the audience", &mut audience)?;

        let watch = Stopwatch::start();
        let all_there = |lines: &[Value]| {
            let [.., one, two] = lines else { return false };
            count(two, "subscriptions") == subscribers
                && count(two, "frames_recv") > count(one, "frames_recv") + subscribers
        };
        while !all_there(&records(&output)) {
            ensure!(
                watch.elapsed() < STARTUP * 2 + PATIENCE,
                "the audience is not complete{}",
                audience.said()
            );
            thread::sleep(REPORT);
        }
        let first = records(&output);
        let meters = [relay.id(), publisher.id(), audience.id()].map(sample::Meter::start);
        let [relay_meter, publisher_meter, audience_meter] = meters;
        thread::sleep(args.duration);
        let used = relay_meter?.stop()?;
        let clients = publisher_meter?.stop()?.cpu_seconds + audience_meter?.stop()?.cpu_seconds;
        let last = records(&output);
        ensure!(relay.runs(), "the peer relay ended{}", relay.said());
        let (Some(first), Some(last)) = (first.last(), last.last()) else {
            bail!("the audience counted nothing")
        };
        // The counts are not of the same moments; the rate between them is what counts.
        let time = (count(last, "timestamp_ms") - count(first, "timestamp_ms")) as f64 / 1e3;
        let came =
            |what: &str| (count(last, what) - count(first, what)) as f64 / time.max(0.001) * used.seconds;
        // It leaves a group out now and then; what has come is what it is measured by.
        let expected = count(last, "groups_expected");
        let lost = expected.saturating_sub(count(last, "groups_present"));
        ensure!(lost * 100 <= expected, "the peer relay lost {lost} of {expected} groups");
        Ok(Run {
            client: clients / used.seconds.max(0.001),
            relay: used,
            idle_rss,
            subscribers: subscribers as f64,
            total: json!({ "frames": came("frames_recv"), "bytes": came("bytes_recv") }),
            tracks: Vec::new(),
        })
    }
}

/// The scheme of its URLs for a carrier.
fn scheme(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Quic => "moqt",
        Carrier::Webtransport => "https",
    }
}

fn count(line: &Value, what: &str) -> u64 {
    line.get(what).and_then(Value::as_u64).unwrap_or(0)
}

/// What the generator has counted so far. A line may not be whole yet.
fn records(output: &Path) -> Vec<Value> {
    let text = fs::read_to_string(output).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn free_port() -> Result<u16> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("no free port")?;
    Ok(socket.local_addr().context("a socket without an address")?.port())
}
