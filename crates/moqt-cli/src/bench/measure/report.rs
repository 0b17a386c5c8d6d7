//! What is told of a run: lines of JSON for programs, a table for people.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    meter::{Meter, Percentiles, Totals},
    shape::{Shape, TrackShape},
};

/// A run that is over.
pub struct Report<'a> {
    /// The load.
    pub shape: &'a Shape,
    /// What else there is to say of the run, for example its carrier: part of the first line of JSON.
    pub facts: Value,
    /// One for each track of the shape.
    pub meters: &'a [std::sync::Arc<Meter>],
    /// Groups written by all publishers, for each track of the shape; empty where they are elsewhere.
    pub published: Vec<u64>,
    /// Of the subscribers that came and went.
    pub joins: Joins,
    /// When priorities were turned around, by the common clock.
    pub swapped_ns: Option<u64>,
}

/// Subscribers that came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joins {
    /// That had a first frame.
    pub done: u64,
    /// That had none.
    pub failed: u64,
    /// From the wish for a connection to the session.
    pub connect: Percentiles,
    /// From the wish for the track to its first frame.
    pub first_frame: Percentiles,
}

impl Report<'_> {
    /// Counts of all tracks together.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for totals in self.meters.iter().map(|meter| meter.totals()) {
            sum.frames += totals.frames;
            sum.bytes += totals.bytes;
            sum.damaged += totals.damaged;
            sum.served += totals.served;
            sum.broken += totals.broken;
            sum.groups.add(totals.groups);
        }
        sum
    }

    /// What makes the run a failure, if anything does.
    #[must_use]
    pub fn objection(&self) -> Option<String> {
        let totals = self.totals();
        match (totals.damaged, totals.groups.unreported) {
            (0, 0) => None,
            (0, unreported) => Some(format!("{unreported} groups are missing that nobody reported missing")),
            (damaged, _) => Some(format!("{damaged} frames are not as they were written")),
        }
    }

    /// Lines of JSON: `run`, for each track `track` and its `interval`s, `joins` if there were any, `total`.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        let mut lines = vec![self.run()];
        for (at, (track, meter)) in self.shape.tracks.iter().zip(self.meters).enumerate() {
            let mut line = counts(&meter.totals(), meter.seconds());
            merge(&mut line, describe(track));
            let published = self.published.get(at);
            merge(
                &mut line,
                json!({ "kind": "track", "track": track.name, "published_groups": published,
                    "latency_us": micros(&meter.latency()), "answer_us": micros(&meter.answer()) }),
            );
            lines.push(line);
            lines.extend(meter.intervals().iter().map(|interval| {
                json!({ "kind": "interval", "track": track.name, "at_ns": interval.at_ns,
                    "bytes": interval.bytes, "latency_us": micros(&interval.latency) })
            }));
        }
        if self.shape.joins.is_some() {
            let Joins { done, failed, connect, first_frame } = self.joins;
            lines.push(json!({ "kind": "joins", "done": done, "failed": failed,
                "connect_us": micros(&connect), "first_frame_us": micros(&first_frame) }));
        }
        let seconds = self.meters.iter().map(|meter| meter.seconds()).fold(0.0, f64::max);
        let mut total = counts(&self.totals(), seconds);
        merge(&mut total, json!({ "kind": "total" }));
        lines.push(total);
        lines
    }

    fn run(&self) -> Value {
        let shape = self.shape;
        let mut line = json!({ "kind": "run", "shape": shape.name, "publishers": shape.publishers,
            "subscribers": shape.subscribers, "stalled": shape.stalled,
            "tracks": shape.tracks.iter().map(describe).collect::<Vec<_>>(),
            "swapped_ns": self.swapped_ns });
        merge(&mut line, self.facts.clone());
        line
    }

    /// A table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let shape = self.shape;
        let mut text =
            format!("{}: {} publishers, {} subscribers", shape.name, shape.publishers, shape.subscribers);
        if shape.stalled > 0 {
            let _ = write!(text, ", {} that never read", shape.stalled);
        }
        for fact in ["carrier", "version", "congestion"] {
            if let Some(fact) = self.facts.get(fact).and_then(Value::as_str) {
                let _ = write!(text, ", {fact}");
            }
        }
        let _ = write!(
            text,
            "\n\n{:<10} {:>9} {:>8} {:>6} {:>8} {:>10} {:>10} | latency ms {:>5} {:>8} {:>8} {:>8} {:>8} | answer {:>6} {:>8}\n",
            "track",
            "frames",
            "groups",
            "lost",
            "reported",
            "unreported",
            "Mbit/s",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "p50",
            "max"
        );
        for (track, meter) in shape.tracks.iter().zip(self.meters) {
            let (totals, latency, answer) = (meter.totals(), meter.latency(), meter.answer());
            let groups = totals.groups;
            let _ = writeln!(
                text,
                "{:<10} {:>9} {:>8} {:>6} {:>8} {:>10} {:>10.2} | {:>16} {:>8} {:>8} {:>8} {:>8} | {:>13} {:>8}",
                track.name,
                totals.frames,
                groups.whole,
                groups.lost,
                groups.reported,
                groups.unreported,
                goodput(&totals, meter.seconds()) / 1e6,
                ms(latency.p50),
                ms(latency.p90),
                ms(latency.p99),
                ms(latency.p999),
                ms(latency.max),
                ms(answer.p50),
                ms(answer.max)
            );
        }
        let totals = self.totals();
        if totals.damaged > 0 {
            let _ = writeln!(text, "frames not as they were written: {}", totals.damaged);
        }
        if totals.groups.pending > 0 {
            let _ = writeln!(
                text,
                "groups still on their way when it was time to stop: {}",
                totals.groups.pending
            );
        }
        if totals.broken > 0 {
            let _ = writeln!(text, "readers whose track ended with an error: {}", totals.broken);
        }
        if shape.joins.is_some() {
            let Joins { done, failed, connect, first_frame } = &self.joins;
            let _ = writeln!(
                text,
                "joins: {done} done, {failed} failed; session after ms p50 {} p99 {}; first frame after ms p50 {} p99 {} max {}",
                ms(connect.p50),
                ms(connect.p99),
                ms(first_frame.p50),
                ms(first_frame.p99),
                ms(first_frame.max)
            );
        }
        text
    }
}

fn describe(track: &TrackShape) -> Value {
    json!({ "name": track.name, "fps": track.fps, "first_bytes": track.first_bytes, "frame_bytes": track.bytes,
        "group_frames": track.group_frames, "bits_per_second": track.bits_per_second(), "priority": track.priority, "order": track.order.name() })
}

fn counts(totals: &Totals, seconds: f64) -> Value {
    let groups = totals.groups;
    json!({ "frames": totals.frames, "bytes": totals.bytes, "damaged": totals.damaged, "served": totals.served,
        "broken": totals.broken, "seconds": seconds, "goodput_bps": goodput(totals, seconds),
        "groups": { "expected": groups.expected, "whole": groups.whole, "lost": groups.lost, "cut": groups.cut,
            "reported": groups.reported, "unreported": groups.unreported,
            "reported_whole": groups.reported_whole, "pending": groups.pending } })
}

fn goodput(totals: &Totals, seconds: f64) -> f64 {
    if seconds > 0.0 { totals.bytes as f64 * 8.0 / seconds } else { 0.0 }
}

fn micros(of: &Percentiles) -> Value {
    json!({ "count": of.count, "p50": of.p50, "p90": of.p90, "p99": of.p99, "p999": of.p999, "max": of.max })
}

fn ms(microseconds: u64) -> String {
    match microseconds {
        0 => "-".to_owned(),
        short if short < 100_000 => format!("{:.2}", short as f64 / 1e3),
        long => format!("{:.0}", long as f64 / 1e3),
    }
}

/// Adds the members of one object to another.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{
        super::{frame::Stamp, ledger::Ledger, meter::End},
        *,
    };

    #[test]
    fn a_missing_group_that_nobody_reported_fails_the_run() {
        let shape = Shape::named("V5").unwrap();
        let meters = [Arc::new(Meter::new(Duration::ZERO, Duration::from_secs(1)))];
        meters[0].frame(&Stamp { sent_ns: 5, ..Stamp::default() }, 1000, 1_000_005);
        let report = |published| Report {
            shape: &shape,
            facts: json!({ "carrier": "raw QUIC" }),
            meters: &meters,
            published,
            joins: Joins::default(),
            swapped_ns: None,
        };
        assert_eq!(report(vec![]).objection(), None);
        let mut ledger = Ledger::default();
        ledger.whole(0);
        ledger.gap(1, 1);
        meters[0].close(ledger, Some(2), End::Finished);
        let report = report(vec![3]);
        assert!(report.objection().unwrap().starts_with("1 groups are missing"));
        let lines = report.lines();
        let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["run", "track", "interval", "total"]);
        assert_eq!(lines[0]["carrier"], "raw QUIC");
        assert_eq!(lines[1]["groups"]["reported"], 1);
        assert_eq!(lines[3]["groups"]["expected"], 3);
        assert!(report.table().contains("raw QUIC"));
    }
}
