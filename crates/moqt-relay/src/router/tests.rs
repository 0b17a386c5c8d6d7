//! Each rule of the router as a script: what happens, and what is to be done.

use moqt::{FullTrackName, Info, Namespace, Reason, Retention, TrackConsumer, TrackInfo, TrackProducer};

use super::{AskId, Level, Output, Redundancy, Router, RouterLimits, SessionId, TrackId, WaiterId, Wanted};

mod redundancy;
mod tree;

fn from(first: u64) -> Wanted {
    Wanted { first: Some(first), ..Wanted::default() }
}

/// A script of what happens.
#[derive(Default)]
struct Script {
    router: Router,
    /// Readers that were given out.
    readers: Vec<TrackConsumer>,
}

fn track(name: &str) -> TrackProducer {
    TrackProducer::new(name.parse().unwrap(), TrackInfo::default(), Retention::default())
}

impl Script {
    fn announces(&mut self, session: u64, name: &str) {
        self.router.announced(SessionId(session), name.parse().unwrap()).unwrap();
    }

    fn withdraws(&mut self, session: u64, name: &str) {
        self.router.ended(SessionId(session), &name.parse().unwrap());
    }

    fn leaves(&mut self, session: u64) {
        self.router.left(SessionId(session));
    }

    fn wants(&mut self, waiter: u64, name: &str) {
        self.router.want(WaiterId(waiter), Level::Below, &name.parse().unwrap(), Wanted::default());
    }

    fn asks_info(&mut self, waiter: u64, name: &str) {
        self.router.ask_info(WaiterId(waiter), Level::Below, &name.parse().unwrap());
    }

    fn accepts(&mut self, ask: u64, track: &TrackProducer, latest: Option<u64>) {
        self.router.track_answered(AskId(ask), Ok((track.consume(), latest)));
    }

    /// The session has begun to send what it was asked for.
    fn delivers(&mut self, ask: u64) {
        self.router.delivers(AskId(ask));
    }

    /// What the session sends breaks off.
    fn breaks_off(&mut self, ask: u64) {
        self.router.feed_ended(AskId(ask), Err(()));
    }

    fn refuses(&mut self, ask: u64, reason: Reason) {
        self.router.track_answered(AskId(ask), Err(reason));
    }

    /// Everything that is to be done, in words; readers are kept.
    #[track_caller]
    fn expect<const N: usize>(&mut self, words: [&str; N]) {
        let mut outputs = Vec::new();
        while let Some(output) = self.router.poll_output() {
            outputs.push(match output {
                Output::Announce(name) => format!("announce {name}"),
                Output::Withdraw(name) => format!("withdraw {name}"),
                Output::Offer(name) => format!("offer {name}"),
                Output::Retract(name) => format!("retract {name}"),
                Output::Mend { track, session } => format!("mend track {} at {}", track.0, session.0),
                Output::Release { track, .. } => format!("release track {}", track.0),
                Output::Subscribe { ask, session, name, wanted, .. } => {
                    let from = wanted.first.map(|first| format!(" from {first}")).unwrap_or_default();
                    format!("#{} subscribe {name} at {}{from}", ask.0, session.0)
                }
                Output::AskInfo { ask, session, name } => format!("#{} info {name} at {}", ask.0, session.0),
                Output::Cancel { ask, session } => format!("#{} cancel at {}", ask.0, session.0),
                Output::Track { waiter, answer: Ok(reader) } => {
                    self.readers.push(reader);
                    format!("{} gets track", waiter.0)
                }
                Output::Track { waiter, answer: Err(reason) } => format!("{} gets {reason}", waiter.0),
                Output::Info { waiter, answer: Ok(info) } => {
                    format!("{} gets info, latest {:?}", waiter.0, info.latest)
                }
                Output::Info { waiter, answer: Err(reason) } => format!("{} gets {reason}", waiter.0),
            });
        }
        assert_eq!(outputs, words);
    }

    /// Nothing is kept of what is over.
    #[track_caller]
    fn expect_empty(&self) {
        let Router { routes, tracks, waiting, asks, asked, leaving, .. } = &self.router;
        assert!(tracks.is_empty() && leaving.is_empty(), "{:?}", self.router);
        assert!(waiting.is_empty() && asks.is_empty() && asked.is_empty(), "{:?}", self.router);
        assert_eq!((routes.names(), routes.announcements()), (0, 0));
    }
}

#[test]
fn concurrent_subscribers_share_one_upstream_request() {
    let mut script = Script::default();
    script.announces(1, "cam");
    script.expect(["announce cam"]);
    script.wants(10, "cam");
    script.wants(11, "cam");
    script.expect(["#0 subscribe cam at 1"]);
    let cam = track("cam");
    script.accepts(0, &cam, None);
    script.expect(["10 gets track", "11 gets track"]);
    assert_eq!(cam.readers(), 2);
    assert_eq!(script.router.active(), 1);
}

#[test]
fn an_active_track_is_joined_without_asking_upstream() {
    let mut script = Script::default();
    let cam = track("cam");
    script.announces(1, "cam");
    script.wants(10, "cam");
    script.accepts(0, &cam, None);
    script.expect(["announce cam", "#0 subscribe cam at 1", "10 gets track"]);
    script.wants(11, "cam");
    script.expect(["11 gets track"]);
}

#[test]
fn a_name_that_nobody_announced_is_not_found_at_once() {
    let mut script = Script::default();
    script.wants(10, "cam");
    script.asks_info(11, "cam");
    script.expect(["10 gets not found", "11 gets not found"]);
    script.expect_empty();
}

#[test]
fn only_the_whole_name_leads_to_a_track() {
    let mut script = Script::default();
    script.announces(1, "meeting/1234/alice");
    script.expect(["announce meeting/1234/alice"]);
    script.wants(10, "meeting/1234");
    script.wants(11, "meeting/1234/alice/video");
    script.expect(["10 gets not found", "11 gets not found"]);
}

#[test]
fn the_router_holds_no_reader_so_the_last_one_to_leave_releases_the_track() {
    let mut script = Script::default();
    let cam = track("cam");
    script.announces(1, "cam");
    script.wants(10, "cam");
    script.accepts(0, &cam, None);
    script.expect(["announce cam", "#0 subscribe cam at 1", "10 gets track"]);
    script.readers.clear();
    assert_eq!(cam.readers(), 0);
    cam.finish();
    assert_eq!(script.router.active(), 0);
    script.wants(11, "cam");
    script.expect(["release track 0", "#1 subscribe cam at 1"]);
}

#[test]
fn the_first_subscriber_says_where_the_upstream_subscription_begins() {
    let mut script = Script::default();
    script.announces(1, "cam");
    script.router.want(WaiterId(10), Level::Below, &"cam".parse().unwrap(), from(3));
    script.router.want(WaiterId(11), Level::Below, &"cam".parse().unwrap(), from(9));
    script.expect(["announce cam", "#0 subscribe cam at 1 from 3"]);
}

#[test]
fn a_name_with_two_publishers_is_announced_once_and_asked_from_the_first() {
    let mut script = Script::default();
    script.announces(1, "cam");
    script.announces(2, "cam");
    script.announces(2, "cam");
    script.expect(["announce cam"]);
    assert_eq!(script.router.names(), 1);
    script.wants(10, "cam");
    script.expect(["#0 subscribe cam at 1"]);
    script.withdraws(2, "cam");
    script.expect([]);
    script.withdraws(1, "cam");
    script.expect(["#0 cancel at 1", "10 gets not found", "withdraw cam"]);
    script.expect_empty();
}

#[test]
fn when_the_first_publisher_goes_the_name_stays_and_the_next_is_asked() {
    let mut script = Script::default();
    let cam = track("cam");
    script.announces(1, "cam");
    script.announces(2, "cam");
    script.wants(10, "cam");
    script.accepts(0, &cam, None);
    script.expect(["announce cam", "#0 subscribe cam at 1", "10 gets track"]);
    script.leaves(1);
    script.expect(["#0 cancel at 1", "#1 subscribe cam at 2"]);
    // Whoever comes meanwhile is one of those who wait for the next to go on.
    script.wants(11, "cam");
    script.expect(["11 gets track"]);
    assert_eq!(cam.readers(), 2);
}

#[test]
fn a_publisher_that_leaves_while_asked_is_followed_by_the_next() {
    let mut script = Script::default();
    script.announces(1, "cam");
    script.announces(2, "cam");
    script.wants(10, "cam");
    script.asks_info(11, "cam");
    script.expect(["announce cam", "#0 subscribe cam at 1", "#1 info cam at 1"]);
    script.leaves(1);
    script.expect(["#0 cancel at 1", "#2 subscribe cam at 2", "#1 cancel at 1", "#3 info cam at 2"]);
    // Too late.
    script.accepts(0, &track("cam"), None);
    script.expect([]);
    script.accepts(2, &track("cam"), None);
    script.expect(["10 gets track"]);
}

#[test]
fn a_refusal_leads_to_the_next_publisher_and_the_last_one_is_passed_on() {
    let mut script = Script::default();
    script.announces(1, "cam");
    script.announces(2, "cam");
    script.wants(10, "cam");
    script.wants(11, "cam");
    script.expect(["announce cam", "#0 subscribe cam at 1"]);
    script.refuses(0, Reason::NotFound);
    script.expect(["#1 subscribe cam at 2"]);
    script.refuses(1, Reason::Unauthorized);
    script.expect(["10 gets not allowed", "11 gets not allowed"]);
    // The next subscriber asks anew, from the first.
    script.wants(12, "cam");
    script.expect(["#2 subscribe cam at 1"]);
}

#[test]
fn a_name_that_comes_back_is_a_new_track() {
    let mut script = Script::default();
    let (old, new) = (track("cam"), track("cam"));
    script.announces(1, "cam");
    script.wants(10, "cam");
    script.accepts(0, &old, None);
    script.withdraws(1, "cam");
    script.announces(1, "cam");
    script.expect([
        "announce cam",
        "#0 subscribe cam at 1",
        "10 gets track",
        "withdraw cam",
        "announce cam",
        "release track 0",
    ]);
    script.wants(11, "cam");
    script.expect(["#1 subscribe cam at 1"]);
    script.accepts(1, &new, None);
    script.expect(["11 gets track"]);
    assert_eq!((old.readers(), new.readers()), (1, 1));
}

#[test]
fn the_last_waiter_to_give_up_cancels_the_request() {
    let mut script = Script::default();
    script.announces(1, "cam");
    script.wants(10, "cam");
    script.wants(11, "cam");
    script.expect(["announce cam", "#0 subscribe cam at 1"]);
    script.router.gave_up(WaiterId(10));
    script.expect([]);
    script.router.gave_up(WaiterId(11));
    script.expect(["#0 cancel at 1"]);
    script.router.gave_up(WaiterId(11));
    script.accepts(0, &track("cam"), None);
    script.leaves(1);
    script.expect(["withdraw cam"]);
    script.expect_empty();
}

#[test]
fn info_of_a_track_that_is_not_active_is_asked_upstream_without_subscribing() {
    let mut script = Script::default();
    script.announces(1, "cam");
    script.asks_info(10, "cam");
    script.asks_info(11, "cam");
    script.expect(["announce cam", "#0 info cam at 1"]);
    let info = Info { track: TrackInfo::default(), latest: Some(7) };
    script.router.info_answered(AskId(0), Ok(info));
    script.expect(["10 gets info, latest Some(7)", "11 gets info, latest Some(7)"]);
    assert_eq!(script.router.active(), 0);
    script.withdraws(1, "cam");
    script.expect(["withdraw cam"]);
    script.expect_empty();
}

#[test]
fn info_of_an_active_track_is_answered_from_it() {
    let mut script = Script::default();
    let cam = track("cam");
    script.announces(1, "cam");
    script.wants(10, "cam");
    script.accepts(0, &cam, Some(4));
    script.expect(["announce cam", "#0 subscribe cam at 1", "10 gets track"]);
    script.asks_info(11, "cam");
    script.expect(["11 gets info, latest Some(4)"]);
    let _group = cam.create_group(5).unwrap();
    script.asks_info(12, "cam");
    script.expect(["12 gets info, latest Some(5)"]);
}

#[test]
fn info_that_the_first_publisher_refuses_is_asked_from_the_next() {
    let mut script = Script::default();
    script.announces(1, "cam");
    script.announces(2, "cam");
    script.asks_info(10, "cam");
    script.router.info_answered(AskId(0), Err(Reason::Unsupported));
    script.expect(["announce cam", "#0 info cam at 1", "#1 info cam at 2"]);
    script.router.info_answered(AskId(1), Err(Reason::Timeout));
    script.expect(["10 gets timed out"]);
}

#[test]
fn all_names_of_a_session_that_leaves_end() {
    let mut script = Script::default();
    for name in ["a/1", "a/2", "b"] {
        script.announces(1, name);
    }
    script.announces(2, "b");
    script.expect(["announce a/1", "announce a/2", "announce b"]);
    script.leaves(1);
    script.expect(["withdraw a/1", "withdraw a/2"]);
    script.leaves(2);
    script.expect(["withdraw b"]);
    script.expect_empty();
}

#[test]
fn more_names_or_waiters_than_the_limit_are_refused() {
    let router = Router::new(RouterLimits { names: 2, waiters: 2 }, Redundancy::Best);
    let mut script = Script { router, ..Script::default() };
    script.announces(1, "a");
    script.announces(2, "a");
    let third = script.router.announced(SessionId(3), "c".parse().unwrap());
    assert_eq!(third, Err(Reason::TooMany));
    script.leaves(2);
    script.announces(3, "c");
    script.expect(["announce a", "announce c"]);
    for waiter in 10..13 {
        script.wants(waiter, "a");
        script.asks_info(waiter + 10, "a");
    }
    script.expect([
        "#0 subscribe a at 1",
        "#1 info a at 1",
        "12 gets too many or too large",
        "22 gets too many or too large",
    ]);
}

#[test]
fn a_name_without_parts_is_announced_and_leads_nowhere() {
    let mut script = Script::default();
    script.router.announced(SessionId(1), Namespace::EMPTY).unwrap();
    script.expect(["announce "]);
    assert!(FullTrackName::try_from(Namespace::EMPTY).is_err());
    script.leaves(1);
    script.expect(["withdraw "]);
    script.expect_empty();
}

fn sources(script: &Script, name: &str) -> (bool, Vec<u64>) {
    let sources = script.router.sources(&name.parse().unwrap(), Level::Below);
    (sources.held.is_some(), sources.sessions.into_iter().map(|session| session.0).collect())
}

#[test]
fn a_group_comes_from_the_track_that_is_here_or_from_those_who_announced_it() {
    let mut script = Script::default();
    assert_eq!(sources(&script, "cam"), (false, vec![]));
    script.announces(1, "cam");
    script.announces(2, "cam");
    script.announces(3, "other");
    assert_eq!(sources(&script, "cam"), (false, vec![1, 2]));
    script.wants(1, "cam");
    assert_eq!(sources(&script, "cam"), (false, vec![1, 2]));
    script.refuses(0, Reason::NotFound);
    let cam = track("cam");
    script.accepts(1, &cam, None);
    script.expect([
        "announce cam",
        "announce other",
        "#0 subscribe cam at 1",
        "#1 subscribe cam at 2",
        "1 gets track",
    ]);
    // The one that sends it comes first.
    assert_eq!(sources(&script, "cam"), (true, vec![2, 1]));
    cam.finish();
    assert_eq!(sources(&script, "cam"), (false, vec![1, 2]));
    script.leaves(1);
    script.leaves(2);
    assert_eq!(sources(&script, "cam"), (false, vec![]));
}

#[test]
fn a_track_that_only_lingers_and_began_too_late_is_let_go_of_for_one_that_begins_early_enough() {
    let mut script = Script::default();
    let (late, early) = (track("cam"), track("cam"));
    script.announces(1, "cam");
    script.router.want(WaiterId(10), Level::Below, &"cam".parse().unwrap(), from(6));
    script.accepts(0, &late, Some(9));
    script.expect(["announce cam", "#0 subscribe cam at 1 from 6", "10 gets track"]);
    script.router.want(WaiterId(11), Level::Below, &"cam".parse().unwrap(), from(2));
    script.expect(["release track 0", "#1 subscribe cam at 1 from 2"]);
    script.accepts(1, &early, Some(9));
    script.router.want(WaiterId(12), Level::Below, &"cam".parse().unwrap(), from(7));
    script.expect(["11 gets track", "12 gets track"]);
}
