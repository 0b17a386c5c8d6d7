//! Relays above and below: what is told and served in which direction.

use super::*;

/// A router with two relays above, 8 and 9.
fn edge() -> Script {
    let mut router = Router::default().with_above();
    router.entered(SessionId(8), Level::Above);
    router.entered(SessionId(9), Level::Above);
    Script { router, ..Script::default() }
}

impl Script {
    fn is_wanted_above(&mut self, waiter: u64, name: &str) {
        self.router.want(WaiterId(waiter), Level::Above, &name.parse().unwrap(), Wanted::default());
    }
}

#[test]
fn what_comes_from_below_goes_everywhere_and_what_comes_from_above_goes_down_alone() {
    let mut script = edge();
    script.announces(8, "theirs");
    script.expect(["announce theirs"]);
    script.announces(1, "ours");
    script.expect(["offer ours", "announce ours"]);
    // The echo of what was offered changes nothing.
    script.announces(8, "ours");
    script.announces(9, "ours");
    script.announces(2, "ours");
    script.expect([]);
    script.leaves(2);
    script.expect([]);
    // Those above will say themselves when it is gone there.
    script.withdraws(1, "ours");
    script.expect(["retract ours"]);
    script.withdraws(8, "ours");
    script.expect([]);
    script.leaves(9);
    script.expect(["withdraw ours"]);
    script.announces(1, "theirs");
    script.expect(["offer theirs"]);
    script.leaves(8);
    script.leaves(1);
    script.expect(["retract theirs", "withdraw theirs"]);
    script.expect_empty();
}

#[test]
fn those_above_are_not_served_what_comes_from_above() {
    let mut script = edge();
    script.announces(8, "cam");
    script.is_wanted_above(10, "cam");
    script.router.ask_info(WaiterId(11), Level::Above, &"cam".parse().unwrap());
    script.expect(["announce cam", "10 gets not found", "11 gets not found"]);
    script.wants(12, "cam");
    script.expect(["#0 subscribe cam at 8"]);
    script.is_wanted_above(13, "cam");
    let cam = track("cam");
    script.accepts(0, &cam, None);
    script.is_wanted_above(14, "cam");
    script.expect(["13 gets not found", "12 gets track", "14 gets not found"]);
    let name = "cam".parse().unwrap();
    let sources = script.router.sources(&name, Level::Above);
    assert!(sources.held.is_none() && sources.sessions.is_empty());
    let sources = script.router.sources(&name, Level::Below);
    assert!(sources.held.is_some() && sources.sessions == [SessionId(8)]);
}

#[test]
fn publishers_below_come_before_relays_above() {
    let mut script = edge();
    script.announces(8, "cam");
    script.announces(1, "cam");
    script.wants(10, "cam");
    script.is_wanted_above(11, "cam");
    script.expect(["announce cam", "offer cam", "#0 subscribe cam at 1"]);
    // Those above ask no further.
    script.refuses(0, Reason::Unauthorized);
    script.expect(["11 gets not allowed", "#1 subscribe cam at 8"]);
}

#[test]
fn a_track_that_comes_from_above_all_at_once_ends_for_those_above_alone() {
    let (mut script, cam) = (edge(), track("cam"));
    script.announces(1, "cam");
    script.announces(8, "cam");
    script.wants(10, "cam");
    script.is_wanted_above(11, "cam");
    script.accepts(0, &cam, None);
    script.expect(["offer cam", "announce cam", "#0 subscribe cam at 1", "10 gets track", "11 gets track"]);
    script.is_wanted_above(12, "cam");
    script.expect(["12 gets track"]);
    script.leaves(1);
    script.expect(["#0 cancel at 1", "#1 subscribe cam at 8", "retract cam"]);
    drop(cam.append_group());
    let ended: Vec<bool> = script
        .readers
        .iter_mut()
        .map(|reader| {
            let waker = std::task::Waker::noop();
            let event = reader.poll_event(&std::task::Context::from_waker(waker));
            matches!(event, std::task::Poll::Ready(Err(_)))
        })
        .collect();
    assert_eq!(ended, [false, true, true]);
}

#[test]
fn a_publisher_that_comes_below_takes_over_from_above() {
    let (mut script, cam) = (edge(), track("cam"));
    script.announces(8, "cam");
    script.wants(10, "cam");
    script.accepts(0, &cam, Some(3));
    script.announces(1, "cam");
    script.expect([
        "announce cam",
        "#0 subscribe cam at 8",
        "10 gets track",
        "offer cam",
        "#1 subscribe cam at 1 from 3",
    ]);
    script.accepts(1, &cam, Some(3));
    script.expect([]);
    script.delivers(1);
    script.expect(["#0 cancel at 8"]);
    script.is_wanted_above(11, "cam");
    script.expect(["11 gets track"]);
}

#[test]
fn a_relay_above_that_is_lost_is_followed_by_the_next() {
    let (mut script, cam) = (edge(), track("cam"));
    script.announces(8, "cam");
    script.announces(9, "cam");
    script.wants(10, "cam");
    script.accepts(0, &cam, None);
    script.expect(["announce cam", "#0 subscribe cam at 8", "10 gets track"]);
    script.leaves(8);
    script.expect(["#0 cancel at 8", "#1 subscribe cam at 9"]);
    script.accepts(1, &cam, None);
    script.leaves(9);
    script.expect(["#1 cancel at 9", "withdraw cam"]);
    // It is a relay: what it takes back and announces again is the same track.
    script.router.entered(SessionId(7), Level::Above);
    script.announces(7, "cam");
    script.expect(["announce cam", "#2 subscribe cam at 7"]);
    script.accepts(2, &cam, None);
    script.withdraws(7, "cam");
    script.announces(7, "cam");
    script.expect(["withdraw cam", "announce cam"]);
}
