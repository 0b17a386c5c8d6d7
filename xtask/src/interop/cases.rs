//! What is tried on each route.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::program::{PATIENCE, Program};
use super::stage::{Route, Side, Stage};

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What holds when it passes.
    pub(crate) what: &'static str,
    /// Whether it takes long.
    pub(crate) slow: bool,
    /// Whether it does little but wait, and so can run beside all others.
    pub(crate) beside: bool,
    /// Whether it makes sense on a route.
    pub(crate) applies: fn(&Route) -> bool,
    pub(crate) run: fn(&Stage<'_>) -> Result<()>,
}

const fn case(
    name: &'static str,
    what: &'static str,
    applies: fn(&Route) -> bool,
    run: fn(&Stage<'_>) -> Result<()>,
) -> Case {
    Case { name, what, slow: false, beside: false, applies, run }
}

fn relayed(route: &Route) -> bool {
    route.relay.is_some()
}

fn direct(route: &Route) -> bool {
    route.relay.is_none()
}

fn through_ours(route: &Route) -> bool {
    route.relay == Some(Side::Ours)
}

/// The case that needs the released clock.
pub(crate) const CLOCK: &str = "clock-2min";

/// All of them, in the order in which they run.
pub(crate) static CASES: &[Case] = &[
    case("setup", "both sides get a session, in the encoding that is expected", relayed, setup),
    case("announce", "a track that comes and goes is announced, after `live`", relayed, announce),
    case(
        "announce-before",
        "what was there before is announced to who comes later",
        relayed,
        announce_before,
    ),
    case("echo", "the relay tells a publisher of its own track", relayed, echo),
    case("prefix", "a prefix leaves out what only begins with the same letters", relayed, prefix),
    case(
        "pattern",
        "a pattern of the subscriber is matched by the relay",
        |route| through_ours(route) && route.subscriber == Side::Wildcard,
        pattern,
    ),
    case("subscribe", "groups arrive as they were published", relayed, subscribe),
    case("open-group", "a frame arrives before its group is whole", relayed, open_group),
    case(
        "unknown-track",
        "a track that is not there is refused, and the session goes on",
        relayed,
        unknown_track,
    ),
    case(
        "info",
        "a question about a track is answered; our relay passes the publisher's answer on",
        relayed,
        info,
    ),
    case("late-join", "who comes late gets the latest group, from its first frame", relayed, late_join),
    case("comeback", "a publisher leaves, another session brings the track again", relayed, comeback),
    case("unsubscribe", "what was left does not come any more, the rest does", relayed, unsubscribe),
    case(
        "close-subscriber",
        "a subscriber that closes with a code takes nobody along",
        relayed,
        close_subscriber,
    ),
    case(
        "close-publisher",
        "a publisher that closes with a code takes its tracks along",
        relayed,
        close_publisher,
    ),
    case("close-relay", "our relay ends, and both sides hear of it", through_ours, close_relay),
    case("tracks-100", "a hundred tracks at a time", relayed, hundred_tracks),
    case("frames-1mib", "frames of 1 MiB", relayed, large_frames),
    case(
        "fetch",
        "a past group: from our relay's cache, else refused before anything is sent",
        |route| relayed(route) && route.subscriber == Side::Ours,
        fetch,
    ),
    case(
        "names",
        "a name that an encoding cannot write is left out there, and the relay says and counts it",
        |route| through_ours(route) && route.publisher == Side::Ours,
        names,
    ),
    Case {
        name: "groups-5000",
        what: "5,000 groups on a hundred tracks at once, none missing",
        slow: true,
        beside: false,
        applies: relayed,
        run: many_groups,
    },
    Case {
        name: "range",
        what: "a range ends, though the publisher's encoding has none; what is not to be had of it is a gap",
        slow: true,
        beside: true,
        applies: |route| relayed(route) && route.subscriber == Side::Ours,
        run: range,
    },
    Case {
        name: CLOCK,
        what: "two minutes of a clock, every second once and in order",
        slow: true,
        beside: true,
        applies: relayed,
        run: clock,
    },
    case(
        "direct",
        "priority and order of a subscription arrive as they were meant",
        direct,
        direct_subscribe,
    ),
    case("direct-close-client", "a client's close arrives, with its code", direct, direct_close_client),
    case("direct-close-server", "a server's close arrives, with its code", direct, direct_close_server),
];

fn setup(stage: &Stage<'_>) -> Result<()> {
    let (publisher, subscriber) = (stage.publisher()?, stage.subscriber()?);
    if stage.relay_is_ours() {
        for side in [stage.route.publisher, stage.route.subscriber] {
            let version = match side {
                Side::Ours => "version=transfork-04 ",
                Side::Parts => "version=transfork-04-rs9 ",
                Side::Wildcard => "version=transfork-04-rs12 ",
            };
            stage.relay()?.hears(version, |line| {
                (line.contains("session began") && line.contains(version)).then_some(())
            })?;
        }
    }
    publisher.leaves()?;
    subscriber.leaves()
}

fn announce(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
    subscriber.tell("watch")?;
    subscriber.says("live")?;
    publisher.tell("publish room/one")?;
    subscriber.says("active room/one")?;
    publisher.tell("unpublish room/one")?;
    subscriber.says("ended room/one")?;
    publisher.tell("publish room/one")?;
    subscriber.says("active room/one")
}

fn announce_before(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut first) = (stage.publisher()?, stage.subscriber()?);
    publisher.tell("publish room/one")?;
    publisher.tell("publish other/two")?;
    first.tell("watch")?;
    for line in ["active room/one", "active other/two", "live"] {
        first.says(line)?;
    }
    // The relay has both by now, so these come before the mark.
    let mut second = stage.subscriber()?;
    second.tell("watch")?;
    second.says("live")?;
    for line in ["active room/one", "active other/two"] {
        ensure!(second.has_said(line) || !stage.relay_is_ours(), "`live` came before `{line}`");
        second.says(line)?;
    }
    Ok(())
}

fn echo(stage: &Stage<'_>) -> Result<()> {
    let mut publisher = stage.publisher()?;
    publisher.tell("watch")?;
    publisher.says("live")?;
    publisher.tell("publish room/mine")?;
    publisher.says("active room/mine")?;
    publisher.tell("unpublish room/mine")?;
    publisher.says("ended room/mine")
}

fn prefix(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
    subscriber.tell("watch room")?;
    subscriber.says("live")?;
    for path in ["roommate/one", "elsewhere/room", "room/one", "room/deep/two"] {
        publisher.tell(&format!("publish {path}"))?;
    }
    subscriber.says("active room/one")?;
    subscriber.says("active room/deep/two")?;
    for path in ["roommate/one", "elsewhere/room"] {
        ensure!(!subscriber.has_said(&format!("active {path}")), "{path} is not below `room`");
    }
    Ok(())
}

fn pattern(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
    subscriber.tell("watch room/*/video")?;
    subscriber.says("live")?;
    for path in ["room/one/audio", "rooms/one/video", "room/one/video", "room/deep/two/video"] {
        publisher.tell(&format!("publish {path}"))?;
    }
    subscriber.says("active room/one/video")?;
    subscriber.says("active room/deep/two/video")?;
    for path in ["room/one/audio", "rooms/one/video"] {
        ensure!(!subscriber.has_said(&format!("active {path}")), "{path} does not match");
    }
    Ok(())
}

/// A publisher with a track, and a subscriber that has its first group.
fn streaming(stage: &Stage<'_>, path: &str) -> Result<(Program, Program)> {
    let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
    publish(&mut publisher, path)?;
    join(&mut subscriber, path)?;
    subscriber.says(&format!("group {path} 0 2 200 whole"))?;
    Ok((publisher, subscriber))
}

/// A track with a first group.
fn publish(publisher: &mut Program, path: &str) -> Result<()> {
    publisher.tell(&format!("publish {path}"))?;
    publisher.says(&format!("published {path}"))?;
    publisher.tell(&format!("group {path} 0 2 100"))
}

/// Waits until the track is announced, then subscribes.
fn join(subscriber: &mut Program, path: &str) -> Result<()> {
    subscriber.tell("watch")?;
    subscriber.says(&format!("active {path}"))?;
    subscriber.tell(&format!("subscribe {path}"))
}

fn subscribe(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, subscriber) = streaming(stage, "room/one")?;
    for group in 1..=5 {
        publisher.tell(&format!("group room/one {group} 3 100"))?;
        subscriber.says(&format!("group room/one {group} 3 300 whole"))?;
    }
    // A group without frames, a frame without bytes, a number that is not the next.
    publisher.tell("group room/one 6 0 0")?;
    subscriber.says("group room/one 6 0 0 whole")?;
    publisher.tell("group room/one 1000 1 0")?;
    subscriber.says("group room/one 1000 1 0 whole")
}

fn open_group(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, subscriber) = streaming(stage, "room/one")?;
    publisher.tell("begin room/one 1")?;
    for frame in 0..3 {
        publisher.tell("frame room/one 50")?;
        subscriber.says(&format!("frame room/one 1 {frame} 50"))?;
    }
    publisher.tell("finish room/one")?;
    subscriber.says("group room/one 1 3 150 whole")
}

fn unknown_track(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
    subscriber.tell("subscribe nobody/here")?;
    if stage.route.subscriber == Side::Ours {
        subscriber.says("refused nobody/here not found")?;
    } else {
        // The library does not say why.
        subscriber.says_from("over nobody/here ")?;
    }
    subscriber.tell("info nobody/here")?;
    subscriber.says_from("refused nobody/here ")?;
    publish(&mut publisher, "room/one")?;
    join(&mut subscriber, "room/one")?;
    subscriber.says("group room/one 0 2 200 whole")
}

fn info(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
    publisher.tell("publish room/one 200")?;
    publisher.says("published room/one")?;
    publisher.tell("group room/one 7 1 10")?;
    subscriber.tell("watch")?;
    subscriber.says("active room/one")?;
    subscriber.tell("info room/one")?;
    let answer = subscriber.says_from("info room/one ")?;
    let words: Vec<&str> = answer.split_whitespace().collect();
    if stage.relay_is_ours() {
        let [priority, order, latest] = words.as_slice() else { bail!("an odd answer: {answer}") };
        ensure!((*priority, *latest) == ("200", "7"), "priority 200 and group 7 became {answer}");
        // Where an encoding has no `default`, it is what the deployed peers take for it.
        let expected: &[&str] = match (stage.route.publisher, stage.route.subscriber) {
            (Side::Ours, Side::Ours) => &["default"],
            (_, Side::Ours) => &["descending"],
            _ => &["Desc"],
        };
        ensure!(expected.contains(order), "the order became {order}");
    }
    Ok(())
}

fn late_join(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
    publish(&mut publisher, "room/one")?;
    for group in 1..=4 {
        publisher.tell(&format!("group room/one {group} 1 100"))?;
    }
    join(&mut subscriber, "room/one")?;
    subscriber.says("group room/one 4 1 100 whole")?;
    ensure!(!subscriber.has_said("frame room/one 3 "), "an old group came, too");
    publisher.tell("begin room/one 5")?;
    publisher.tell("frame room/one 60")?;
    subscriber.says("frame room/one 5 0 60")?;
    let mut late = stage.subscriber()?;
    join(&mut late, "room/one")?;
    late.says("frame room/one 5 0 60")?;
    publisher.tell("frame room/one 60")?;
    publisher.tell("finish room/one")?;
    subscriber.says("group room/one 5 2 120 whole")?;
    late.says("group room/one 5 2 120 whole")
}

fn comeback(stage: &Stage<'_>) -> Result<()> {
    let (publisher, mut subscriber) = streaming(stage, "room/one")?;
    publisher.leaves()?;
    subscriber.says("ended room/one")?;
    if stage.relay_is_ours() {
        subscriber.says_from("over room/one ")?;
    }
    let mut publisher = stage.publisher()?;
    publish(&mut publisher, "room/one")?;
    publisher.tell("group room/one 1 1 70")?;
    subscriber.says("active room/one")?;
    if stage.route.subscriber == Side::Ours {
        // The same session goes on.
        subscriber.tell("subscribe room/one")?;
        return subscriber.says("group room/one 1 1 70 whole");
    }
    // The deployed library may still hold on to the track that ended.
    let mut again = stage.subscriber()?;
    join(&mut again, "room/one")?;
    again.says("group room/one 1 1 70 whole")
}

fn unsubscribe(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = streaming(stage, "room/one")?;
    publish(&mut publisher, "room/two")?;
    subscriber.says("active room/two")?;
    subscriber.tell("subscribe room/two")?;
    subscriber.says("group room/two 0 2 200 whole")?;
    subscriber.tell("unsubscribe room/one")?;
    subscriber.says("left room/one")?;
    // The deployed relay does not act on the deployed subscriber's way to leave, and goes on upstream.
    let heard = stage.relay_is_ours() || stage.route.subscriber == Side::Ours;
    if heard && stage.route.publisher == Side::Ours {
        publisher.says("unused room/one")?;
    }
    publisher.tell("group room/one 1 1 30")?;
    publisher.tell("group room/two 1 1 30")?;
    subscriber.says("group room/two 1 1 30 whole")?;
    if heard && stage.route.publisher == Side::Ours {
        ensure!(!subscriber.has_said("frame room/one 1 "), "a group came that nobody asked for");
    }
    let mut again = stage.subscriber()?;
    join(&mut again, "room/one")?;
    again.says("group room/one 1 1 30 whole")
}

fn close_subscriber(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = streaming(stage, "room/one")?;
    let mut other = stage.subscriber()?;
    join(&mut other, "room/one")?;
    other.says("group room/one 0 2 200 whole")?;
    close(&mut subscriber, stage.route.subscriber)?;
    subscriber.ends_well()?;
    if stage.relay_is_ours() {
        stage.relay()?.hears("session ended", |line| {
            let right = line.contains(ending(stage.route.subscriber));
            (line.contains("session ended") && right).then_some(())
        })?;
    }
    publisher.tell("group room/one 1 1 40")?;
    other.says("group room/one 1 1 40 whole")
}

fn close_publisher(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, subscriber) = streaming(stage, "room/one")?;
    close(&mut publisher, stage.route.publisher)?;
    publisher.ends_well()?;
    subscriber.says("ended room/one")?;
    if stage.relay_is_ours() {
        stage.relay()?.hears("session ended", |line| {
            let right = line.contains(ending(stage.route.publisher));
            (line.contains("session ended") && right).then_some(())
        })?;
        subscriber.says_from("over room/one ")?;
    }
    subscriber.leaves()
}

/// The deployed library closes with any code of the application, ours without one.
fn close(program: &mut Program, side: Side) -> Result<()> {
    program.tell(if side == Side::Ours { "close" } else { "close 7" })?;
    program.says("closed locally")
}

/// What the other side says of such a close.
fn ending(side: Side) -> &'static str {
    if side == Side::Ours { "closed by peer: cancelled" } else { "closed by peer: application code 7" }
}

fn close_relay(stage: &Stage<'_>) -> Result<()> {
    let (publisher, subscriber) = streaming(stage, "room/one")?;
    // It sends its clients elsewhere first when a system asks, and deployed peers cannot go.
    stage.relay()?.interrupt()?;
    for (program, side) in [(&publisher, stage.route.publisher), (&subscriber, stage.route.subscriber)] {
        says_closed(program, side, Side::Ours)?;
    }
    publisher.ends_well()?;
    subscriber.ends_well()
}

/// Publishers with as many subscribers, each pair with tracks of its own below `many/`.
///
/// The deployed peers take 100 requests of a session at a time, the session and the announcements among them, so a
/// hundred tracks need two sessions on each side.
fn crowd(stage: &Stage<'_>) -> Result<Vec<(Program, Program)>> {
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
        for track in 0..TRACKS {
            publisher.tell(&format!("publish many/{pair}/{track}"))?;
            // The deployed library announces a track a moment before it has it.
            publisher.says(&format!("published many/{pair}/{track}"))?;
            publisher.tell(&format!("group many/{pair}/{track} 0 1 500"))?;
        }
        subscriber.tell(&format!("watch many/{pair}"))?;
        for track in 0..TRACKS {
            subscriber.says(&format!("active many/{pair}/{track}"))?;
            subscriber.tell(&format!("subscribe many/{pair}/{track}"))?;
        }
        pairs.push((publisher, subscriber));
    }
    for (pair, (_, subscriber)) in pairs.iter().enumerate() {
        for track in 0..TRACKS {
            subscriber.says(&format!("group many/{pair}/{track} 0 1 500 whole"))?;
        }
    }
    Ok(pairs)
}

const PAIRS: usize = 2;
const TRACKS: usize = 50;

fn hundred_tracks(stage: &Stage<'_>) -> Result<()> {
    crowd(stage).map(drop)
}

fn large_frames(stage: &Stage<'_>) -> Result<()> {
    const MIB: usize = 1 << 20;
    let (mut publisher, subscriber) = streaming(stage, "room/one")?;
    for group in 1..=3 {
        publisher.tell(&format!("group room/one {group} 2 {MIB}"))?;
        subscriber.says(&format!("group room/one {group} 2 {} whole", 2 * MIB))?;
    }
    Ok(())
}

fn many_groups(stage: &Stage<'_>) -> Result<()> {
    const GROUPS: usize = 50;
    let mut pairs = crowd(stage)?;
    // The deployed library keeps the newest group of a track alone, so each waits until the one before has come.
    for group in 1..=GROUPS {
        for (pair, (publisher, _)) in pairs.iter_mut().enumerate() {
            publisher.tell(&format!("round many/{pair} {TRACKS} {group} 24"))?;
        }
        let whole = format!(" {group} 1 24 whole");
        for (pair, (_, subscriber)) in pairs.iter().enumerate() {
            let of_round = |line: &str| line.starts_with("group many/") && line.ends_with(&whole);
            let count = subscriber.count(TRACKS, PATIENCE, of_round);
            ensure!(
                count == TRACKS,
                "of round {group}, {count} of {TRACKS} groups came to subscriber {pair}"
            );
        }
    }
    Ok(())
}

fn fetch(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = streaming(stage, "room/one")?;
    if !stage.relay_is_ours() {
        subscriber.tell("fetch room/one 0")?;
        let version = if stage.route.relay == Some(Side::Parts) { "rs9" } else { "rs12" };
        return subscriber.says(&format!("refused room/one here: transfork-04-{version} has no fetch"));
    }
    publisher.tell("group room/one 1 1 80")?;
    subscriber.says("group room/one 1 1 80 whole")?;
    subscriber.tell("fetch room/one 0")?;
    subscriber.says("group room/one 0 2 200 whole")?;
    subscriber.tell("fetch room/one 5")?;
    let refused = subscriber.says_from("refused room/one ")?;
    ensure!(!refused.starts_with("here:"), "it was never asked for: {refused}");
    Ok(())
}

fn range(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
    publish(&mut publisher, "room/one")?;
    for group in 1..=4 {
        publisher.tell(&format!("group room/one {group} 1 100"))?;
    }
    subscriber.tell("watch")?;
    subscriber.says("active room/one")?;
    subscriber.tell("subscribe room/one 128 2 5")?;
    // The deployed publisher starts with its latest group, whatever it is asked, and never says what is missing.
    subscriber.says("group room/one 4 1 100 whole")?;
    publisher.tell("group room/one 5 1 100")?;
    subscriber.says("group room/one 5 1 100 whole")?;
    subscriber.says_from("gap room/one 2 3 ")?;
    subscriber.says("over room/one finished")?;
    publisher.tell("group room/one 6 1 100")
}

fn names(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = (stage.publisher()?, stage.subscriber()?);
    subscriber.tell("watch")?;
    subscriber.says("live")?;
    // A part that is no text, which neither release can write; and one with a slash, which only 0.12 cannot.
    publisher.tell("publish odd/%FF")?;
    publisher.tell("publish odd/a%2Fb")?;
    publisher.tell("publish plain/x")?;
    subscriber.says("active plain/x")?;
    let (not_text, slash) = match stage.route.subscriber {
        Side::Ours => (true, Some("odd/a%2Fb")),
        Side::Parts => (false, Some("odd/a/b")),
        Side::Wildcard => (false, None),
    };
    ensure!(subscriber.has_said("active odd/%FF") == not_text, "odd/%FF");
    match slash {
        Some(name) => subscriber.says(&format!("active {name}"))?,
        None => ensure!(!subscriber.has_said("active odd/a"), "odd/a%2Fb"),
    }
    if stage.route.subscriber != Side::Ours {
        stage.relay()?.mentions("cannot be written in the session's version")?;
    }
    Ok(())
}

fn direct_subscribe(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, mut subscriber) = stage.pair()?;
    publish(&mut publisher, "room/one")?;
    subscriber.tell("watch")?;
    subscriber.says("active room/one")?;
    subscriber.tell("subscribe room/one 200")?;
    subscriber.says("group room/one 0 2 200 whole")?;
    if stage.route.publisher == Side::Ours {
        publisher.says("asked room/one 200 descending")?;
    }
    subscriber.tell("info room/one")?;
    let answer = subscriber.says_from("info room/one ")?;
    ensure!(answer.to_lowercase().starts_with("128 desc"), "an odd answer: {answer}");
    subscriber.tell("subscribe nobody/here")?;
    if stage.route.subscriber == Side::Ours {
        subscriber.says("refused nobody/here not found")?;
    } else {
        subscriber.says_from("over nobody/here ")?;
    }
    publisher.tell("group room/one 1 1 10")?;
    subscriber.says("group room/one 1 1 10 whole")
}

fn direct_close_client(stage: &Stage<'_>) -> Result<()> {
    let (publisher, mut subscriber) = stage.pair()?;
    close(&mut subscriber, stage.route.subscriber)?;
    subscriber.ends_well()?;
    says_closed(&publisher, stage.route.publisher, stage.route.subscriber)?;
    publisher.ends_well()
}

fn direct_close_server(stage: &Stage<'_>) -> Result<()> {
    let (mut publisher, subscriber) = stage.pair()?;
    close(&mut publisher, stage.route.publisher)?;
    says_closed(&subscriber, stage.route.subscriber, stage.route.publisher)?;
    subscriber.ends_well()?;
    publisher.ends_well()
}

/// A side says that the other one has closed.
fn says_closed(program: &Program, side: Side, by: Side) -> Result<()> {
    let expected: &[&str] = match (side, by) {
        (Side::Ours, Side::Ours) => &["closed cancelled"],
        (Side::Ours, _) => &["closed application code 7"],
        // Ours ends the Session stream first, at which the deployed library closes the connection itself.
        _ => &["closed 0", "closed locally"],
    };
    let words = expected.join("` or `");
    program.hears(&words, |line| expected.contains(&line).then_some(()))
}

/// How long a clock runs, in seconds.
const SECONDS: u64 = 120;

fn clock(stage: &Stage<'_>) -> Result<()> {
    let _publisher = stage.clock(stage.route.publisher, true)?;
    // The deployed clock gives up when its track is not there yet.
    let mut watcher = stage.watcher()?;
    watcher.tell("watch clock")?;
    watcher.says("active clock")?;
    let subscriber = stage.clock(stage.route.subscriber, false)?;
    let mut last = None;
    for _ in 0..SECONDS {
        let now = subscriber.hears_within(PATIENCE + Duration::from_secs(10), "the next second", second)?;
        if let Some(last) = last {
            let expected = (last + 1) % (24 * 3600);
            ensure!(now == expected, "second {now} of the day came after {last}");
        }
        last = Some(now);
    }
    last.map(|_| ()).context("no second came")
}

/// The second of the day in a clock's line, `2026-11-22 15:29:18`.
fn second(line: &str) -> Option<u64> {
    let (_, time) = line.trim().split_once(' ')?;
    let numbers: Vec<u64> = time.split(':').map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = numbers.as_slice() else { return None };
    Some(hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_clock_is_a_second_of_the_day() {
        assert_eq!(second("2026-11-22 15:29:18"), Some(15 * 3600 + 29 * 60 + 18));
        assert_eq!(second("2026-11-22T15:29:18Z  INFO connected"), None);
    }

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }
}
