//! A track of 1 Mbit/s through random loss, by congestion control, as a table.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::load::{Load, Relay, Way, number};
use super::space::Space;
use super::{Claims, NetnsArgs};
use crate::bench::Carrier;
use crate::lab::programs::Programs;
use crate::shell;

const CONTROLLERS: [&str; 3] = ["cubic", "newreno", "bbr"];

/// How long what is on its way may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

const README: &str = "README.md";
const BEGIN: &str = "<!-- loss:begin -->";
const END: &str = "<!-- loss:end -->";

/// One row.
#[derive(Clone, Debug)]
struct Row {
    controller: &'static str,
    rtt: u64,
    percent: u64,
    published: f64,
    whole: f64,
    lost: f64,
    reported: f64,
    unreported: f64,
    /// Still on their way when it was time to stop, or never heard of until then.
    pending: f64,
    /// p50, p90, p99, max, in milliseconds.
    latency: [f64; 4],
}

pub(super) fn run(programs: &Programs, args: &NetnsArgs) -> Result<()> {
    let carrier = args.carrier.unwrap_or(Carrier::Quic);
    let duration = args.duration(20);
    let mut rows = Vec::new();
    for rtt in [20, 100] {
        for percent in [1, 5] {
            for controller in CONTROLLERS {
                let row = measure(programs, carrier, controller, rtt, percent, duration)
                    .with_context(|| format!("{controller}, {rtt} ms, {percent} %"))?;
                println!("  {}", line(&row));
                rows.push(row);
            }
        }
    }
    let table = markdown(&rows, carrier, duration);
    println!("\n{table}");
    if args.write {
        write(&table)?;
    }
    let mut claims = Claims::new();
    for row in &rows {
        let name = format!("{}, {} ms, {} %: each loss is reported", row.controller, row.rtt, row.percent);
        let figures = format!("{} lost, {} not reported", row.lost, row.unreported);
        claims.claim(name, row.unreported == 0.0, &figures);
        let name =
            format!("{}, {} ms, {} %: nothing is left after a minute", row.controller, row.rtt, row.percent);
        claims.claim(name, row.pending == 0.0, &format!("{} groups neither there nor reported", row.pending));
    }
    claims.finish()
}

fn measure(
    programs: &Programs,
    carrier: Carrier,
    controller: &'static str,
    rtt: u64,
    percent: u64,
    duration: Duration,
) -> Result<Row> {
    let space = Space::new()?;
    let mut relay = Relay::start(&space, programs, controller)?;
    // 125 kB are a tenth of a second of 10 Mbit/s.
    let link = format!("delay={}us,rate=10M,queue=125000,loss={percent}%", rtt * 500);
    let _proxy = Way { up: link.clone(), down: link }.start(&space, programs)?;
    let words = "--shape CUSTOM --fps 25 --frame-bytes 5000 --group-frames 25 --warmup 1s";
    let load = Load {
        name: format!("loss-{controller}-{rtt}-{percent}"),
        space: &space,
        programs,
        carrier,
        congestion: controller,
        duration,
        far: true,
        shape: words.split(' ').map(str::to_owned).collect(),
        subscribing: Vec::new(),
        patience: PATIENCE,
    };
    let outcome = load.run(&mut relay)?;
    let track = outcome.kind("track")?;
    let groups = |what: &str| number(track, &format!("/groups/{what}"));
    let published = outcome.published.first().copied().unwrap_or(0) as f64;
    // A subscriber that ends with the track was told of all; one that had to stop may not have heard of the last.
    let untold = (published - groups("expected")).max(0.0);
    Ok(Row {
        controller,
        rtt,
        percent,
        published,
        whole: groups("whole"),
        lost: groups("lost"),
        reported: groups("reported"),
        unreported: groups("unreported"),
        pending: groups("pending") + untold,
        latency: ["p50", "p90", "p99", "max"].map(|what| number(track, &format!("/latency_us/{what}")) / 1e3),
    })
}

fn line(row: &Row) -> String {
    let [p50, p90, p99, max] = row.latency;
    format!(
        "| {} | {} ms | {} % | {} of {} | {} | {} | {p50:.0} | {p90:.0} | {p99:.0} | {max:.0} |",
        row.controller, row.rtt, row.percent, row.whole, row.published, row.lost, row.reported
    )
}

/// The controller that loses least; of those that lose alike, the one with the least p99 where it is worst.
fn recommended(rows: &[Row]) -> &'static str {
    let score = |controller: &str| {
        let own = || rows.iter().filter(|row| row.controller == controller);
        let lost: f64 = own().map(|row| row.lost + row.pending).sum();
        let worst = own().map(|row| row.latency[2]).fold(0.0, f64::max);
        (lost, worst)
    };
    let better = |a: &&str, b: &&str| {
        let ((lost, worst), (other_lost, other_worst)) = (score(a), score(b));
        lost.total_cmp(&other_lost).then(worst.total_cmp(&other_worst))
    };
    CONTROLLERS.into_iter().min_by(|a, b| better(a, b)).unwrap_or("cubic")
}

fn markdown(rows: &[Row], carrier: Carrier, duration: Duration) -> String {
    let mut text = format!(
        "A track of 1 Mbit/s (25 frames of 5 kB a second, a group each second) for {} s through 10 Mbit/s with random\n\
         loss in both directions, over {}. For such paths: `--congestion {}`. Made by `cargo xtask netns loss --write`;\n\
         figures of one run on a shared machine, so compare rows rather than quote them. What is neither whole nor lost was\n\
         on its way {} s after the last frame was written.\n\n\
         | Controller | RTT | Loss | Groups whole | Lost | Reported as gaps | p50 ms | p90 ms | p99 ms | max ms |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        duration.as_secs(),
        if carrier == Carrier::Quic { "raw QUIC" } else { "WebTransport" },
        recommended(rows),
        PATIENCE.as_secs()
    );
    for row in rows {
        let _ = writeln!(text, "{}", line(row));
    }
    text
}

fn write(table: &str) -> Result<()> {
    let path = shell::root().join(README);
    let readme = fs::read_to_string(&path).with_context(|| format!("cannot read {README}"))?;
    let Some(renewed) = replace(&readme, table) else { bail!("{README} has no {BEGIN} and {END}") };
    fs::write(&path, renewed).with_context(|| format!("cannot write {README}"))
}

fn replace(readme: &str, table: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(controller: &'static str, lost: f64, p99: f64) -> Row {
        Row {
            controller,
            rtt: 20,
            percent: 5,
            published: 20.0,
            whole: 20.0 - lost,
            lost,
            reported: lost,
            unreported: 0.0,
            pending: 0.0,
            latency: [12.0, 30.0, p99, 2.0 * p99],
        }
    }

    #[test]
    fn who_loses_least_is_recommended_and_then_who_is_in_time() {
        let rows = [row("cubic", 2.0, 10.0), row("newreno", 0.0, 300.0), row("bbr", 0.0, 90.0)];
        assert_eq!(recommended(&rows), "bbr");
        let text = markdown(&rows, Carrier::Quic, Duration::from_secs(20));
        assert!(text.contains("`--congestion bbr`"));
        assert!(text.contains("| cubic | 20 ms | 5 % | 18 of 20 | 2 | 2 | 12 | 30 | 10 | 20 |"), "{text}");
    }

    #[test]
    fn the_table_goes_between_its_marks() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replace(&readme, "new\n").unwrap(), format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(replace("a", "new"), None);
    }
}
