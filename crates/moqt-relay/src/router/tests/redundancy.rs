//! Several publishers of one track: who is asked, who takes over, who may go.

use super::*;

fn all() -> Script {
    Script { router: Router::new(RouterLimits::default(), Redundancy::All), ..Script::default() }
}

/// A track that session 1 feeds, and that sessions 1 and 2 have.
fn with_two(mut script: Script, cam: &TrackProducer) -> Script {
    script.announces(1, "cam");
    script.announces(2, "cam");
    script.wants(10, "cam");
    script.expect(["announce cam", "#0 subscribe cam at 1"]);
    script.accepts(0, cam, Some(4));
    script
}

#[test]
fn a_publisher_that_breaks_off_is_followed_by_the_next_and_nobody_is_told() {
    let cam = track("cam");
    let mut script = with_two(Script::default(), &cam);
    script.expect(["10 gets track"]);
    script.breaks_off(0);
    script.expect(["#1 subscribe cam at 2 from 4"]);
    script.accepts(1, &cam, Some(5));
    script.delivers(1);
    script.expect([]);
    assert_eq!(script.router.active(), 1);
    script.wants(11, "cam");
    script.expect(["11 gets track"]);
}

#[test]
fn a_publisher_that_withdraws_sends_on_until_the_next_delivers() {
    let cam = track("cam");
    let mut script = with_two(Script::default(), &cam);
    script.withdraws(1, "cam");
    script.expect(["10 gets track", "#1 subscribe cam at 2 from 4"]);
    script.accepts(1, &cam, Some(5));
    script.expect([]);
    script.delivers(1);
    script.expect(["#0 cancel at 1"]);
    assert!(script.router.uses(SessionId(2)) && !script.router.uses(SessionId(1)));
}

#[test]
fn the_only_publisher_that_withdraws_sends_on_as_long_as_it_lasts() {
    let (mut script, cam) = (Script::default(), track("cam"));
    script.announces(1, "cam");
    script.wants(10, "cam");
    script.accepts(0, &cam, None);
    script.withdraws(1, "cam");
    script.expect(["announce cam", "#0 subscribe cam at 1", "10 gets track", "withdraw cam"]);
    script.wants(11, "cam");
    script.expect(["11 gets not found"]);
    // Another one that comes takes over.
    script.announces(2, "cam");
    script.expect(["announce cam", "#1 subscribe cam at 2"]);
    script.accepts(1, &cam, None);
    script.delivers(1);
    script.expect(["#0 cancel at 1"]);
}

#[test]
fn a_track_without_publishers_goes_on_with_the_next_that_comes() {
    let (mut script, cam) = (Script::default(), track("cam"));
    script.announces(1, "cam");
    script.wants(10, "cam");
    script.accepts(0, &cam, None);
    script.leaves(1);
    script.expect([
        "announce cam",
        "#0 subscribe cam at 1",
        "10 gets track",
        "#0 cancel at 1",
        "withdraw cam",
    ]);
    // Who comes meanwhile waits with the others.
    script.wants(11, "cam");
    script.expect(["11 gets track"]);
    script.announces(2, "cam");
    script.expect(["announce cam", "#1 subscribe cam at 2"]);
    script.router.track_over(TrackId(0), &"cam".parse().unwrap());
    script.expect(["#1 cancel at 2"]);
    script.leaves(2);
    script.expect(["withdraw cam"]);
    script.expect_empty();
}

#[test]
fn a_publisher_that_turns_a_track_down_is_not_asked_again_until_it_announces_it_anew() {
    let cam = track("cam");
    let mut script = with_two(Script::default(), &cam);
    script.breaks_off(0);
    script.expect(["10 gets track", "#1 subscribe cam at 2 from 4"]);
    script.refuses(1, Reason::GoingAway);
    script.expect([]);
    script.announces(3, "cam");
    script.expect(["#2 subscribe cam at 3 from 4"]);
    script.refuses(2, Reason::NotFound);
    script.withdraws(1, "cam");
    script.announces(1, "cam");
    script.expect(["#3 subscribe cam at 1 from 4"]);
}

#[test]
fn all_publishers_are_subscribed_to_where_that_is_wanted_also_those_that_come_later() {
    let cam = track("cam");
    let mut script = with_two(all(), &cam);
    script.expect(["10 gets track", "#1 subscribe cam at 2 from 4"]);
    script.accepts(1, &cam, Some(4));
    script.delivers(1);
    script.announces(3, "cam");
    script.expect(["#2 subscribe cam at 3 from 4"]);
    script.accepts(2, &cam, Some(4));
    // What one had begun, and the others came too late for, is fetched from one of them.
    script.breaks_off(0);
    script.expect(["mend track 0 at 2"]);
    script.leaves(2);
    script.expect(["#1 cancel at 2", "mend track 0 at 3"]);
    script.leaves(1);
    script.leaves(3);
    script.expect(["#2 cancel at 3", "withdraw cam"]);
    assert_eq!(script.router.active(), 1);
}

#[test]
fn a_track_that_one_publisher_finished_is_over_when_none_is_left() {
    let cam = track("cam");
    let mut script = with_two(all(), &cam);
    script.expect(["10 gets track", "#1 subscribe cam at 2 from 4"]);
    script.accepts(1, &cam, Some(4));
    script.router.feed_ended(AskId(0), Ok(()));
    script.expect([]);
    script.router.feed_ended(AskId(1), Ok(()));
    script.expect(["release track 0"]);
    script.wants(11, "cam");
    script.expect(["#2 subscribe cam at 1"]);
}

#[test]
fn a_publisher_that_began_anew_does_not_go_on_with_the_track_of_another() {
    let (mut script, cam) = (Script::default(), track("cam"));
    script.announces(1, "cam");
    script.wants(10, "cam");
    script.accepts(0, &cam, Some(40));
    script.leaves(1);
    script.announces(2, "cam");
    script.expect([
        "announce cam",
        "#0 subscribe cam at 1",
        "10 gets track",
        "#0 cancel at 1",
        "withdraw cam",
        "announce cam",
        "#1 subscribe cam at 2 from 40",
    ]);
    script.router.is_other_track(AskId(1));
    script.expect(["#1 cancel at 2", "release track 0"]);
    script.wants(11, "cam");
    script.expect(["#2 subscribe cam at 2"]);
}

#[test]
fn a_session_that_is_about_to_go_keeps_its_names_and_what_only_it_has() {
    let (mut script, cam, mic) = (Script::default(), track("cam"), track("mic"));
    for (session, name) in [(1, "cam"), (1, "mic"), (2, "cam")] {
        script.announces(session, name);
    }
    script.wants(10, "cam");
    script.wants(11, "mic");
    script.accepts(0, &cam, None);
    script.accepts(1, &mic, None);
    script.expect([
        "announce cam",
        "announce mic",
        "#0 subscribe cam at 1",
        "#1 subscribe mic at 1",
        "10 gets track",
        "11 gets track",
    ]);
    script.router.is_leaving(SessionId(1));
    script.expect(["#2 subscribe cam at 2"]);
    script.accepts(2, &cam, None);
    script.delivers(2);
    script.expect(["#0 cancel at 1"]);
    assert!(script.router.uses(SessionId(1)));
    // Where there is another, it is not asked any more.
    script.announces(3, "mic");
    script.expect(["#3 subscribe mic at 3"]);
    script.accepts(3, &mic, None);
    script.delivers(3);
    script.expect(["#1 cancel at 1"]);
    assert!(!script.router.uses(SessionId(1)));
    script.leaves(1);
    script.expect([]);
}
