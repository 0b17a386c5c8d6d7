//! Joins, leaves and returns at load for a long time: memory does not grow, and nothing is left at the end.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::load::{HTTP, Load, Relay, number};
use super::space::Space;
use super::{Claims, NetnsArgs};
use crate::bench::Carrier;
use crate::lab::programs::Programs;
use crate::shell::Stopwatch;

/// Publishers and subscribers all leave and come back that often.
const ROUNDS: u32 = 4;

/// How long the relay may take to forget who has left.
const FORGET: Duration = Duration::from_secs(40);

pub(super) fn run(programs: &Programs, args: &NetnsArgs) -> Result<()> {
    let carrier = args.carrier.unwrap_or(Carrier::Quic);
    let duration = args.duration(20 * 60);
    let space = Space::new()?;
    let mut relay = Relay::start(&space, programs, &args.congestion)?;
    let idle = Gauges::read(&space, &relay)?;
    let (mut points, mut lost, mut failed, mut done) = (Vec::new(), 0.0, 0.0, 0.0);
    let watch = Stopwatch::start();
    for round in 0..ROUNDS {
        let load = Load {
            name: format!("soak-{round}"),
            space: &space,
            programs,
            carrier,
            congestion: &args.congestion,
            duration: duration / ROUNDS,
            far: false,
            shape: "--shape CHURN --interval 10s".split(' ').map(str::to_owned).collect(),
            subscribing: "--subscribers 10 --stall 1".split(' ').map(str::to_owned).collect(),
            patience: Duration::from_secs(30),
        };
        let outcome = load.run(&mut relay)?;
        let end = watch.elapsed().as_secs_f64();
        let step = load.duration.as_secs_f64() / outcome.samples.len().max(1) as f64;
        let begin = end - step * outcome.samples.len() as f64;
        points.extend(
            outcome.samples.iter().enumerate().map(|(at, s)| (begin + at as f64 * step, s.rss as f64)),
        );
        let (total, joins) = (outcome.kind("total")?, outcome.kind("joins")?);
        lost += number(total, "/groups/lost");
        failed += number(joins, "/failed");
        done += number(joins, "/done");
        println!("  round {} of {ROUNDS}: {:.1} MB at its end", round + 1, relay.sample()?.rss as f64 / 1e6);
    }
    let mut claims = Claims::new();
    claims.claim("those who stay see every group", lost == 0.0, &format!("{lost} lost"));
    claims.claim(
        "all who join are served",
        failed == 0.0 && done > 0.0,
        &format!("{done} joins, {failed} failed"),
    );

    // After the first quarter everything that is made once is made.
    let quarter = watch.elapsed().as_secs_f64() / 4.0;
    let late: Vec<(f64, f64)> = points.into_iter().filter(|(at, _)| *at >= quarter).collect();
    let growth = slope(&late) * 3.0 * quarter;
    let mean = late.iter().map(|(_, rss)| rss).sum::<f64>() / late.len().max(1) as f64;
    let figures = format!(
        "{:+.2} MB over the last three quarters, {:+.1} MB/h, around {:.1} MB",
        growth / 1e6,
        slope(&late) * 3600.0 / 1e6,
        mean / 1e6
    );
    claims.claim("memory does not grow by more than 3 %", growth <= (mean * 0.03).max(1e6), &figures);

    let watch = Stopwatch::start();
    let left = loop {
        let left = Gauges::read(&space, &relay)?.above(&idle);
        if left.is_empty() || watch.elapsed() > FORGET {
            break left;
        }
        thread::sleep(Duration::from_millis(500));
    };
    let figures = if left.is_empty() { format!("after {}", watch.show()) } else { left.join(", ") };
    claims.claim("gauges are as before", left.is_empty(), &figures);
    claims.finish()
}

/// What the relay holds, by name: what it tells of itself, and what the system knows.
struct Gauges(BTreeMap<String, f64>);

impl Gauges {
    fn read(space: &Space, relay: &Relay) -> Result<Self> {
        let mut gauges = space.page(HTTP, "/metrics")?.map(|text| prometheus(&text)).unwrap_or_default();
        if let Some(names) = space.page(HTTP, "/announced")? {
            let count = serde_json::from_str::<Vec<String>>(&names)?.len();
            gauges.insert("names announced".to_owned(), count as f64);
        }
        gauges.insert("open files".to_owned(), relay.sample()?.files as f64);
        Ok(Self(gauges))
    }

    /// Those that are above what they were.
    fn above(&self, idle: &Self) -> Vec<String> {
        let was = |name: &String| idle.0.get(name).copied().unwrap_or(0.0);
        let above = self.0.iter().filter(|(name, value)| **value > was(name));
        above.map(|(name, value)| format!("{name} {value} instead of {}", was(name))).collect()
    }
}

/// The gauges of a page in Prometheus' text format; counters may grow.
fn prometheus(text: &str) -> BTreeMap<String, f64> {
    let gauges: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge"))
        // Memory is looked at over time, from outside.
        .filter(|name| !name.starts_with("process_"))
        .collect();
    let values = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let family = name.split('{').next().unwrap_or(name);
        gauges.contains(&family).then_some((name.to_owned(), value.parse().ok()?))
    });
    values.collect()
}

/// Of the straight line nearest to the points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut above, mut below) = (0.0, 0.0);
    for (at, value) in points {
        above += (at - x) * (value - y);
        below += (at - x) * (at - x);
    }
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_found_through_noise() {
        let points: Vec<(f64, f64)> =
            (0..100).map(|at| (f64::from(at), 5.0 + 2.0 * f64::from(at) + f64::from(at % 2))).collect();
        assert!((slope(&points) - 2.0).abs() < 0.01);
        assert!(slope(&[]).abs() < 1e-9 && slope(&[(1.0, 7.0)]).abs() < 1e-9);
    }

    #[test]
    fn only_gauges_have_to_come_back() {
        let text = "# TYPE moqt_sessions gauge\nmoqt_sessions{carrier=\"quic\"} 3\nmoqt_sessions{carrier=\"wt\"} 0\n\
                    # TYPE moqt_bytes counter\nmoqt_bytes 12\n# TYPE process_open_fds gauge\nprocess_open_fds 9\n";
        let gauges = Gauges(prometheus(text));
        assert_eq!(gauges.0.len(), 2);
        assert_eq!(
            gauges.above(&Gauges(BTreeMap::new())),
            ["moqt_sessions{carrier=\"quic\"} 3 instead of 0"]
        );
    }
}
