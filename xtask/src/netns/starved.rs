//! Two tracks of 2 Mbit/s through 2.5 Mbit/s: the more important one does not notice, the other loses whole groups
//! and is told of each; and when the subscriber changes its mind, so does the picture, within a second. It watches
//! live, newest groups first: oldest first, what was less important would begin with its backlog.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::load::{Load, Outcome, Relay, Way, number};
use super::space::Space;
use super::{Claims, NetnsArgs};
use crate::bench::Carrier;
use crate::lab::programs::Programs;
use crate::lab::show;

const RTT: Duration = Duration::from_millis(20);
const KILOBITS: u32 = 2500;
/// A tenth of a second of the link.
const QUEUE: Duration = Duration::from_millis(100);
const QUEUE_BYTES: u32 = KILOBITS * 1000 / 8 / 10;
const FPS: f64 = 25.0;
const INTERVAL: Duration = Duration::from_millis(200);

/// What begins does not count: windows grow, and tracks arrive.
const WARMUP: Duration = Duration::from_secs(3);

/// How long a change of mind may take.
const SWAP: Duration = Duration::from_secs(1);

pub(super) fn run(programs: &Programs, args: &NetnsArgs, carrier: Carrier) -> Result<()> {
    let space = Space::new()?;
    space.throttle(KILOBITS, QUEUE_BYTES)?;
    let mut relay = Relay::start(&space, programs, &args.congestion)?;
    let _proxy = Way::rtt(RTT).start(&space, programs)?;
    let duration = args.duration(40);
    let swap_at = duration / 2;
    let load = |tracks: &str, duration, subscribing: &[&str]| {
        let words = format!(
            "--shape CUSTOM --fps {FPS} --frame-bytes 10000 --group-frames 25 --tracks {tracks} --warmup {} --interval {}",
            show(WARMUP),
            show(INTERVAL)
        );
        Load {
            name: format!("starved-{}-{}-{tracks}", carrier.scheme(), args.congestion),
            space: &space,
            programs,
            carrier,
            congestion: &args.congestion,
            duration,
            far: true,
            shape: words.split(' ').map(str::to_owned).collect(),
            subscribing: subscribing.iter().map(|word| (*word).to_owned()).collect(),
            patience: Duration::from_secs(60),
        }
    };
    let alone = load("1", (duration / 3).max(WARMUP * 3), &[]).run(&mut relay)?;
    let swap = show(swap_at);
    let both =
        load("2", duration, &["--priority", "200,50", "--order", "desc", "--swap-priorities-at", &swap])
            .run(&mut relay)?;
    judge(&alone, &both, duration)
}

fn judge(alone: &Outcome, both: &Outcome, duration: Duration) -> Result<()> {
    let unloaded = alone.tracks().first().map_or(0.0, |track| number(track, "/latency_us/p99") / 1e3);
    let bound = unloaded + QUEUE.as_secs_f64() * 1e3;
    let swapped = number(both.kind("run")?, "/swapped_ns");
    let began = ["data0", "data1"].iter().filter_map(|name| first_ns(both, name)).fold(f64::MAX, f64::min);
    let end = began + duration.as_nanos() as f64;
    let before = (began + WARMUP.as_nanos() as f64, swapped - INTERVAL.as_nanos() as f64);
    let after = (swapped + SWAP.as_nanos() as f64, end - INTERVAL.as_nanos() as f64);

    let mut claims = Claims::new();
    println!("  alone on the link: p99 {unloaded:.0} ms; bound for the first of two: {bound:.0} ms");
    claims.claim("priorities were swapped", swapped > 0.0, &format!("at {:.1} s", (swapped - began) / 1e9));
    for (when, window, first, second) in
        [("before", before, "data0", "data1"), ("after", after, "data1", "data0")]
    {
        let (more, less) = (Window::of(both, first, window), Window::of(both, second, window));
        claims.claim(format!("{when} the swap the first is complete"), more.is_complete(), &more.words());
        claims.claim(format!("{when} the swap the first is in time"), more.p99_ms <= bound, &more.words());
        claims.claim(format!("{when} the swap the second is not"), !less.is_complete(), &less.words());
    }
    for (track, published) in both.tracks().into_iter().zip(&both.published) {
        let groups = |what: &str| number(track, &format!("/groups/{what}")) as u64;
        let (lost, cut, reported) = (groups("lost"), groups("cut"), groups("reported"));
        let (name, unreported) =
            (track.get("track").and_then(Value::as_str).unwrap_or("?"), groups("unreported"));
        // A subscriber that had to stop before the track's end may not have heard of the last.
        let pending = groups("pending") + published.saturating_sub(groups("expected"));
        let figures = format!(
            "{published} published, {} whole, {lost} lost ({cut} begun), {reported} reported, {unreported} not, {pending} neither there nor reported after a minute",
            groups("whole")
        );
        claims.claim(format!("{name} loses whole groups"), lost > 0, &figures);
        claims.claim(format!("{name}: each loss is reported"), unreported == 0 && pending == 0, &figures);
        claims.claim(format!("{name}: frames are as written"), number(track, "/damaged") == 0.0, "checksums");
    }
    claims.finish()
}

fn intervals<'a>(outcome: &'a Outcome, track: &'a str) -> impl Iterator<Item = &'a Value> {
    outcome.lines.iter().filter(move |line| {
        line.get("kind").is_some_and(|kind| kind == "interval")
            && line.get("track").is_some_and(|is| is == track)
    })
}

fn first_ns(outcome: &Outcome, track: &str) -> Option<f64> {
    intervals(outcome, track).next().map(|line| number(line, "/at_ns"))
}

/// A track within a part of the run, by when frames were written.
struct Window {
    frames: f64,
    expected: f64,
    p99_ms: f64,
}

impl Window {
    fn of(outcome: &Outcome, track: &str, (from, to): (f64, f64)) -> Self {
        let within = intervals(outcome, track).filter(|line| {
            let at = number(line, "/at_ns");
            from <= at && at + INTERVAL.as_nanos() as f64 <= to
        });
        let (mut frames, mut count, mut worst) = (0.0, 0.0, Vec::new());
        for line in within {
            frames += number(line, "/latency_us/count");
            count += 1.0;
            worst.push(number(line, "/latency_us/max") / 1e3);
        }
        // Intervals hold a handful of frames: all but one in a hundred frames are within what is left when the
        // worst interval for each hundred frames is taken away. That is never less than the p99.
        worst.sort_by(|a, b| b.total_cmp(a));
        let p99_ms = worst.get((frames / 100.0) as usize).copied().unwrap_or(f64::INFINITY);
        Self { frames, expected: count * INTERVAL.as_secs_f64() * FPS, p99_ms }
    }

    /// Intervals and frames do not begin together: a frame may fall out at each end.
    fn is_complete(&self) -> bool {
        self.expected > 0.0 && self.frames >= self.expected - 2.0
    }

    fn words(&self) -> String {
        format!("{} of {:.0} frames, p99 {:.0} ms", self.frames, self.expected, self.p99_ms)
    }
}
