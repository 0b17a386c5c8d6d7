//! Loads on ours and on a reference, side by side in random order, seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::page::Beside;
use super::peer::Peer;
use super::verdict::{Metric, Pair, Verdict, judge, shuffled};
use super::{BenchArgs, chart, page};
use crate::lab::child::Child;
use crate::lab::programs::{self, Programs};
use crate::lab::{sample, show};
use crate::shell;

/// The loads with bars, at the sizes that these are for.
const USUAL: &[&str] = &["V5", "F4", "A50"];

/// The reference that is a relay of others.
const PEER: &str = "moq-relay";

/// How long a program may take beyond the load itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A relay to be measured, and how a load is put on it.
enum Arm {
    /// A `moqt`.
    Moqt(PathBuf),
    /// The null relay.
    Null(PathBuf),
    /// A relay that was not written here.
    Peer(Peer),
}

/// One load: a shape, and how many subscribers if not as many as usual.
pub(super) struct Workload {
    name: String,
    pub(super) shape: String,
    pub(super) subscribers: Option<u64>,
    args: Vec<String>,
    /// Where it is compared with another load on ours instead of the reference.
    instead: Option<Vec<String>>,
}

impl Workload {
    fn parse(name: &str) -> Result<Self> {
        let name = name.to_ascii_uppercase();
        let (shape, count) = name.split_once(':').map_or((name.as_str(), None), |(a, b)| (a, Some(b)));
        let mut args = vec!["--shape".to_owned(), shape.to_owned()];
        let subscribers = count.map(str::parse).transpose();
        let subscribers = subscribers.with_context(|| format!("{name} names no number of subscribers"))?;
        args.extend(count.into_iter().flat_map(|count| ["--subscribers".to_owned(), count.to_owned()]));
        // One that never reads, beside one more that does.
        let instead = ["--shape", "V5", "--subscribers", "50"].map(str::to_owned);
        let instead = (name == "SLOW").then(|| instead.to_vec());
        Ok(Self { shape: shape.to_owned(), subscribers, args, name, instead })
    }
}

/// Runs all, prints the table, draws the chart. Fails when a bar does not hold.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let programs = Programs::find(args.programs.as_deref())?;
    let (reference_name, reference) = match args.vs.as_str() {
        "r0" => ("r0", Arm::Null(programs.null_relay.clone())),
        "previous" => ("previous", Arm::Moqt(programs::previous()?)),
        path => match Peer::find(path.as_ref())? {
            Some(peer) => (PEER, Arm::Peer(peer)),
            None => ("other", Arm::Moqt(programs::existing(path)?)),
        },
    };
    let arms = [("ours", Arm::Moqt(programs.moqt.clone())), (reference_name, reference)];
    let out = args.out.clone().unwrap_or_else(|| programs::target().join("bench"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let lines = out.join("runs.jsonl");
    let mut lines_file =
        fs::OpenOptions::new().create(true).append(true).open(&lines).context("cannot write the lines")?;

    let wanted: Vec<&str> = args.workloads.iter().map(String::as_str).collect();
    let wanted = if wanted.contains(&"all") { USUAL.to_vec() } else { wanted };
    let workloads: Vec<Workload> = wanted.into_iter().map(Workload::parse).collect::<Result<_>>()?;
    let revision = revision();
    let mut seed = seed();
    let mut written: Vec<String> = Vec::new();
    let mut values: BTreeMap<(usize, Metric), Vec<Pair>> = BTreeMap::new();
    let mut inverted = 0;
    for repeat in 0..args.repeats {
        for at in shuffled(workloads.len(), &mut seed) {
            let Some(workload) = workloads.get(at) else { continue };
            let mut runs: [Option<Run>; 2] = [None, None];
            for side in shuffled(arms.len(), &mut seed) {
                let (Some((name, arm)), Some(place)) = (arms.get(side), runs.get_mut(side)) else { continue };
                let (name, arm, load) = match &workload.instead {
                    Some(load) if side > 0 => {
                        ("all reading", arms.first().map_or(arm, |(_, ours)| ours), load)
                    }
                    _ => (*name, arm, &workload.args),
                };
                println!("{} {name}, {} of {}", workload.name, repeat + 1, args.repeats);
                let run = measure(arm, &programs, (workload, load), args)
                    .with_context(|| format!("{} on {name}", workload.name))?;
                if name == "ours" && workload.shape == "PRIO" {
                    inverted += u32::from(run.is_inverted());
                }
                let line = run.line(&workload.name, name, repeat, &revision, args).to_string();
                writeln!(lines_file, "{line}")?;
                written.push(line);
                *place = Some(run);
            }
            let [Some(ours), Some(reference)] = runs else { continue };
            for metric in Metric::ALL {
                let client = ours.client.max(reference.client);
                let pair = Pair { ours: ours.value(metric), reference: reference.value(metric), client };
                values.entry((at, metric)).or_default().push(pair);
            }
        }
    }
    let mut rows = Vec::new();
    println!(
        "\n{:<28} {:>24} {:>24} {:>22} {:>5}  ours / {reference_name}: min - median - max",
        "", "ours", reference_name, "ratio", "bar"
    );
    for ((at, metric), pairs) in &values {
        let Some(workload) = workloads.get(*at) else { continue };
        let bar = match reference_name {
            _ if workload.instead.is_some() => metric.bar(&workload.name, args.carrier),
            "r0" => metric.bar(&workload.name, args.carrier),
            PEER => metric.peer_bar(&workload.name),
            _ => None,
        };
        if reference_name == PEER && matches!(metric, Metric::LatencyP50 | Metric::LatencyP99) {
            // Its generator does not say.
            continue;
        }
        let Some(mut finding) = judge(pairs, bar) else { continue };
        finding.goal = metric.goal(&workload.name, args.carrier).filter(|_| reference_name == "r0");
        let name = format!("{} {}", workload.name, metric.name());
        let show = |spread: super::verdict::Spread| {
            format!("{:.2} - {:.2} - {:.2}", spread.min, spread.median, spread.max)
        };
        println!(
            "{name:<28} {:>24} {:>24} {:>22} {:>5}  {}{}",
            show(finding.ours),
            show(finding.reference),
            show(finding.ratio),
            finding.bar.map_or(String::new(), |bar| format!("{bar:.2}")),
            finding.verdict.words(),
            match finding.goal {
                Some(goal) if finding.ratio.median <= goal => format!("; the goal of {goal:.2} is met"),
                Some(goal) => format!("; the goal is {goal:.2}"),
                None => String::new(),
            }
        );
        rows.push((name, finding));
    }
    let title = format!("ours / {reference_name}, {} repeats, {}", args.repeats, args.congestion);
    let picture = out.join("ratios.svg");
    let drawn = chart::svg(&title, &rows);
    fs::write(&picture, &drawn).context("cannot write the chart")?;
    if args.write {
        let beside = match &arms {
            [_, (_, Arm::Peer(peer))] => peer.beside(args.carrier)?,
            [_, (_, Arm::Null(_))] => {
                Beside { part: "", name: "the null relay".to_owned(), over: "raw QUIC".to_owned() }
            }
            _ => bail!("the page has no place for results beside another moqt"),
        };
        page::write(args, &beside, &rows, &revision, &written, &drawn)?;
    }
    println!("\nlines: {}\nchart: {}", lines.display(), picture.display());
    ensure!(inverted == 0, "the less important came before the more important in {inverted} runs");
    let failed: Vec<&str> = rows
        .iter()
        .filter(|(_, finding)| finding.verdict == Verdict::Fails)
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(failed.is_empty(), "bars that do not hold: {}", failed.join(", "));
    Ok(())
}

/// One run of one arm.
pub(super) struct Run {
    pub(super) relay: sample::Usage,
    /// Share of a core that the load generator used.
    pub(super) client: f64,
    pub(super) idle_rss: u64,
    pub(super) subscribers: f64,
    pub(super) total: Value,
    /// Of each track, the most important one first.
    pub(super) tracks: Vec<Value>,
}

impl Run {
    /// Whether a track has come later than one that is less important.
    fn is_inverted(&self) -> bool {
        let number = |of: &Value, path: &str| of.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        self.tracks.windows(2).any(|pair| match pair {
            // Also where one of them has not come at all.
            [more, less] => {
                let (more, less) = (number(more, "/latency_us/p99"), number(less, "/latency_us/p50"));
                more.partial_cmp(&less) != Some(std::cmp::Ordering::Less)
            }
            _ => false,
        })
    }

    fn value(&self, metric: Metric) -> f64 {
        let number = |of: &Value, path: &str| of.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
        let frames = number(&self.total, "/frames").max(1.0);
        let track = self.tracks.first().unwrap_or(&Value::Null);
        match metric {
            Metric::CpuPerGigabyte => self.relay.cpu_seconds / (number(&self.total, "/bytes").max(1.0) / 1e9),
            Metric::CpuPerFrame => self.relay.cpu_seconds / frames * 1e6,
            Metric::SwitchesPerFrame => self.relay.switches as f64 / frames,
            Metric::RssPerSubscriber => {
                self.relay.rss.saturating_sub(self.idle_rss) as f64 / 1e3 / self.subscribers.max(1.0)
            }
            Metric::LatencyP50 => number(track, "/latency_us/p50") / 1e3,
            Metric::LatencyP99 => number(track, "/latency_us/p99") / 1e3,
        }
    }

    fn line(&self, workload: &str, arm: &str, repeat: u32, revision: &str, args: &BenchArgs) -> Value {
        let metrics: serde_json::Map<String, Value> =
            Metric::ALL.iter().map(|metric| (metric.name().to_owned(), json!(self.value(*metric)))).collect();
        json!({ "workload": workload, "arm": arm, "repeat": repeat, "revision": revision,
            "carrier": args.carrier.scheme(), "congestion": args.congestion, "metrics": metrics,
            "relay_cpu_seconds": self.relay.cpu_seconds, "seconds": self.relay.seconds,
            "client_share_of_a_core": self.client, "total": self.total, "tracks": self.tracks })
    }
}

fn measure(
    arm: &Arm,
    programs: &Programs,
    (workload, load): (&Workload, &[String]),
    args: &BenchArgs,
) -> Result<Run> {
    let mut relay = match arm {
        Arm::Peer(peer) => return peer.measure(workload, args),
        Arm::Moqt(program) => {
            let mut command = Command::new(program);
            command.args(["relay", "--dev", "--bind", "127.0.0.1:0", "--congestion", &args.congestion]);
            Child::start("the relay", &mut command)?
        }
        Arm::Null(program) => {
            let mut command = Command::new(program);
            command.args(["relay", "--congestion", &args.congestion]);
            Child::start("the null relay", &mut command)?
        }
    };
    let address = relay.find(PATIENCE, |line| match arm {
        Arm::Moqt(_) => line.split("http://").nth(1)?.split('/').next().map(str::to_owned),
        _ => Some(line.trim().to_owned()),
    })?;
    let idle_rss = sample::sample(relay.id())?.rss;
    // Between the two, if the network is to be as bad as that.
    let direct = address.clone();
    let (impaired, address) = if args.up.is_none() && args.down.is_none() {
        (None, address)
    } else {
        let mut command = Command::new(&programs.impair);
        command.args(["--to", &address]);
        for (way, link) in [("--up", &args.up), ("--down", &args.down)] {
            command.args(link.iter().flat_map(|link| [way, link.as_str()]));
        }
        let mut impair = Child::start("the bad network", &mut command)?;
        let address = impair.find(PATIENCE, |line| Some(line.trim().to_owned()))?;
        (Some(impair), address)
    };
    let mut command = match arm {
        Arm::Moqt(_) => {
            let mut command = Command::new(&programs.moqt);
            command.args([
                "bench",
                &format!("{}://{address}/", args.carrier.scheme()),
                "--tls-disable-verify",
            ]);
            command
        }
        Arm::Null(_) | Arm::Peer(_) => {
            let mut command = Command::new(&programs.null_relay);
            command.args(["bench", &address]);
            command
        }
    };
    command.args(["--congestion", &args.congestion, "--duration", &show(args.duration), "--json", "-"]);
    command.args(load).args(&args.extra);
    let publisher = if let (Some(_), Arm::Moqt(_)) = (&impaired, arm) {
        // The network of the viewers is the bad one: a publisher behind it would wait for its acknowledgements there.
        let mut direct_command = Command::new(&programs.moqt);
        direct_command.args([
            "bench",
            &format!("{}://{direct}/", args.carrier.scheme()),
            "--tls-disable-verify",
        ]);
        direct_command.args(["--congestion", &args.congestion, "--duration", &show(args.duration)]);
        direct_command
            .args(["--json", "-", "--role", "publish", "--name", "direct"])
            .args(load)
            .args(&args.extra);
        command.args(["--role", "subscribe", "--name", "direct"]);
        Some(Child::start("the publisher", &mut direct_command)?)
    } else {
        None
    };
    let mut client = Child::start("the load generator", &mut command)?;
    client.until("started", PATIENCE)?;
    let (relay_meter, client_meter) = (sample::Meter::start(relay.id())?, sample::Meter::start(client.id())?);
    client.until("stopped", args.duration + PATIENCE)?;
    let (relay_used, client_used) = (relay_meter.stop()?, client_meter.stop()?);
    let lines = client.until("total", PATIENCE)?;
    let status = client.end(PATIENCE)?;
    ensure!(status.success(), "the load generator failed{}", client.said());
    drop(publisher);
    ensure!(relay.runs(), "the relay ended{}", relay.said());
    let kind = |kind: &str| lines.iter().find(|line| line.get("kind").is_some_and(|is| is == kind)).cloned();
    let run = kind("run").context("no line of the run")?;
    Ok(Run {
        client: client_used.cpu_seconds / client_used.seconds.max(0.001),
        relay: relay_used,
        idle_rss,
        subscribers: run.get("subscribers").and_then(Value::as_f64).unwrap_or(1.0),
        total: kind("total").context("no total")?,
        tracks: lines
            .iter()
            .filter(|line| line.get("kind").is_some_and(|is| is == "track"))
            .cloned()
            .collect(),
    })
}

fn revision() -> String {
    let mut git = shell::command("git");
    shell::output(git.args(["describe", "--always", "--dirty"])).unwrap_or_default().trim().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "a seed that differs from run to run")]
fn seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64) | 1
}
