//! One load in a space: relay, publisher, subscribers, and a proxy before the subscribers where the way is long.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::space::{
    PORT, PROXY_PORT, Place, RELAY_TO_PUBLISHER, RELAY_TO_STRANGER, RELAY_TO_SUBSCRIBER, Space,
};
use crate::bench::Carrier;
use crate::lab::child::Child;
use crate::lab::programs::{self, Programs};
use crate::lab::{sample, show};

/// How long a program may take beyond the load itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A relay in its namespace.
pub(super) struct Relay {
    pub(super) child: Child,
}

impl Relay {
    pub(super) fn start(space: &Space, programs: &Programs, congestion: &str) -> Result<Self> {
        let bind = format!("0.0.0.0:{PORT}");
        let hosts = format!("{RELAY_TO_PUBLISHER},{RELAY_TO_SUBSCRIBER},{RELAY_TO_STRANGER},127.0.0.1");
        let args =
            ["relay", "--bind", &bind, "--tls-generate", &hosts, "--congestion", congestion, "--http", HTTP];
        let mut child = space.start(Place::Relay, "the relay", &programs.moqt, &args)?;
        child.find(PATIENCE, |line| line.contains("listening").then_some(()))?;
        Ok(Self { child })
    }

    pub(super) fn sample(&self) -> Result<sample::Sample> {
        sample::sample(self.child.id())
    }
}

/// Where the relay serves HTTP, in its own namespace.
pub(super) const HTTP: &str = "127.0.0.1:8080";

/// A way between relay and subscribers, in the words of the proxy; `None` for the bare link.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    pub(super) up: String,
    pub(super) down: String,
}

impl Way {
    /// Nothing but a round-trip time.
    pub(super) fn rtt(rtt: Duration) -> Self {
        let delay = format!("delay={}us", rtt.as_micros() / 2);
        Self { up: delay.clone(), down: delay }
    }

    pub(super) fn start(&self, space: &Space, programs: &Programs) -> Result<Child> {
        let (listen, to) = (format!("127.0.0.1:{PROXY_PORT}"), format!("{RELAY_TO_SUBSCRIBER}:{PORT}"));
        let args = ["--listen", &listen, "--to", &to, "--up", &self.up, "--down", &self.down];
        let mut child = space.start(Place::Subscriber, "the proxy", &programs.impair, &args)?;
        child.find(PATIENCE, |_| Some(()))?;
        Ok(child)
    }
}

/// A load to be run.
pub(super) struct Load<'a> {
    /// The file of its lines, in the target folder.
    pub(super) name: String,
    pub(super) space: &'a Space,
    pub(super) programs: &'a Programs,
    pub(super) carrier: Carrier,
    pub(super) congestion: &'a str,
    pub(super) duration: Duration,
    /// Whether subscribers go by way of the proxy.
    pub(super) far: bool,
    /// Options of both sides.
    pub(super) shape: Vec<String>,
    /// Options of the subscribing side.
    pub(super) subscribing: Vec<String>,
    /// How long is left to arrive at the end.
    pub(super) patience: Duration,
}

/// What a load came to.
pub(super) struct Outcome {
    /// Lines of the subscribing side.
    pub(super) lines: Vec<Value>,
    /// Groups that were published, by track.
    pub(super) published: Vec<u64>,
    /// The relay at times, from the first frame to the last.
    pub(super) samples: Vec<sample::Sample>,
}

impl Outcome {
    pub(super) fn kind(&self, kind: &str) -> Result<&Value> {
        let line = self.lines.iter().find(|line| line.get("kind").is_some_and(|is| is == kind));
        line.with_context(|| format!("the subscribers said nothing of {kind}"))
    }

    pub(super) fn tracks(&self) -> Vec<&Value> {
        self.lines.iter().filter(|line| line.get("kind").is_some_and(|is| is == "track")).collect()
    }
}

/// A number in a line.
pub(super) fn number(line: &Value, path: &str) -> f64 {
    line.pointer(path).and_then(Value::as_f64).unwrap_or(0.0)
}

impl Load<'_> {
    /// Runs it. Groups that vanished do not make it fail; they are in the lines.
    pub(super) fn run(&self, relay: &mut Relay) -> Result<Outcome> {
        let scheme = self.carrier.scheme();
        let near = format!("{scheme}://{RELAY_TO_PUBLISHER}:{PORT}/");
        let far = if self.far {
            format!("{scheme}://127.0.0.1:{PROXY_PORT}/")
        } else {
            format!("{scheme}://{RELAY_TO_SUBSCRIBER}:{PORT}/")
        };
        let (duration, patience) = (show(self.duration), show(self.patience));
        let common = ["--tls-disable-verify", "--congestion", self.congestion, "--duration", &duration];
        let start = |place, url: &str, role: &str, more: &[String]| {
            let mut args = vec!["bench", url, "--role", role, "--json", "-", "--patience", &patience];
            args.extend(common);
            args.extend(self.shape.iter().chain(more).map(String::as_str));
            self.space.start(place, &format!("the {role} side"), &self.programs.moqt, &args)
        };
        let later = ["--start-after".to_owned(), "2s".to_owned()];
        let mut publisher = start(Place::Publisher, &near, "publish", &later)?;
        publisher.until("subscribed", PATIENCE)?;
        let mut subscriber = start(Place::Subscriber, &far, "subscribe", &self.subscribing)?;
        subscriber.until("subscribed", PATIENCE)?;
        publisher.until("started", PATIENCE)?;
        let mut samples = vec![relay.sample()?];
        let watch = crate::shell::Stopwatch::start();
        while watch.elapsed() < self.duration {
            let step = (self.duration - watch.elapsed().min(self.duration)).min(Duration::from_secs(1));
            std::thread::sleep(step);
            samples.push(relay.sample()?);
        }
        let published = publisher.until("total", self.duration + self.patience + PATIENCE)?;
        let lines = subscriber.until("total", self.duration + self.patience * 2 + PATIENCE)?;
        subscriber.end(PATIENCE)?;
        publisher.end(PATIENCE)?;
        ensure!(relay.child.runs(), "the relay ended{}", relay.child.said());
        self.keep(&lines)?;
        let published = published
            .iter()
            .filter(|line| line.get("kind").is_some_and(|is| is == "track"))
            .map(|line| line.get("published_groups").and_then(Value::as_u64).unwrap_or(0))
            .collect();
        Ok(Outcome { lines, published, samples })
    }

    /// Puts the lines where they can be looked at afterwards.
    fn keep(&self, lines: &[Value]) -> Result<()> {
        let folder = programs::target().join("netns");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let path = folder.join(format!("{}.jsonl", self.name));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
