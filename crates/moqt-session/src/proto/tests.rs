//! The conversation as scripts.

use moqt_transport::Code;
use moqt_wire::Version;

use super::{
    endpoint::{Endpoint, Refused, Side},
    limits::Limits,
    message::{AnnounceStatus, Message},
    request::{Event, Range, RequestId, RequestKind},
    script::{Script, announce, gap, info, range, subscribe},
};
use crate::{
    error::{PeerMisbehaved, Reason, RequestError},
    model::{Announced, Interest},
};

const ANNOUNCE: u64 = 1;
const SUBSCRIBE: u64 = 2;
const INFO: u64 = 4;

fn publisher() -> Script {
    Script::new(Version::TRANSFORK_04, Side::Server)
}

fn subscriber() -> Script {
    Script::new(Version::TRANSFORK_04, Side::Client)
}

/// A subscription of the peer, accepted.
fn serving(script: &mut Script) -> RequestId {
    let request = script.opens(SUBSCRIBE).unwrap();
    script.endpoint.handle_message(request, Message::Subscribe(subscribe(1, "cam/video")));
    assert!(matches!(script.event(), Event::Subscribed { .. }));
    script.endpoint.accept(request, info(7));
    script.sends(request, Message::Accepted(info(7)));
    request
}

/// A subscription of ours, accepted.
fn subscribed(script: &mut Script) -> RequestId {
    let request = script.endpoint.subscribe(subscribe(0, "cam/video")).unwrap();
    assert_eq!(script.opened(RequestKind::Subscribe), request);
    script.sends(request, Message::Subscribe(subscribe(0, "cam/video")));
    script.endpoint.handle_message(request, Message::Accepted(info(7)));
    assert!(matches!(script.event(), Event::Accepted { .. }));
    request
}

/// A watch of ours.
fn watching(script: &mut Script) -> RequestId {
    let interest = Interest::Prefix("meeting".parse().unwrap());
    let request = script.endpoint.watch(interest.clone()).unwrap();
    script.opened(RequestKind::Announce);
    script.sends(request, Message::Watch(interest));
    request
}

#[test]
fn a_subscription_is_served_and_completed() {
    let mut script = publisher();
    let request = serving(&mut script);
    script.endpoint.gap(request, 8, 9, Reason::NotFound);
    script.sends(request, Message::Gap(gap(8, 9, 13)));
    script.endpoint.complete(request);
    script.finishes(request);
    script.endpoint.handle_finished(request);
    script.forgets(request);
    script.silent();
    assert_eq!(script.endpoint.open_requests(), 1, "the Session stream is left");
}

#[test]
fn a_refused_subscription_ends_both_halves_with_the_code() {
    let mut script = publisher();
    let request = script.opens(SUBSCRIBE).unwrap();
    script.endpoint.handle_message(request, Message::Subscribe(subscribe(1, "no/such")));
    script.event();
    script.endpoint.refuse(request, Reason::NotFound);
    script.fails(request, 13);
    script.silent();
}

#[test]
fn a_subscribe_id_used_twice_resets_that_stream_and_nothing_else() {
    let mut script = publisher();
    let first = serving(&mut script);
    let second = script.opens(SUBSCRIBE).unwrap();
    script.endpoint.handle_message(second, Message::Subscribe(subscribe(1, "cam/audio")));
    assert!(matches!(script.event(), Event::Unsubscribed { request, .. } if request == second));
    script.fails(second, 12);
    script.endpoint.gap(first, 8, 8, Reason::Cancelled);
    script.sends(first, Message::Gap(gap(8, 8, 0)));
}

#[test]
fn a_range_that_ends_before_it_starts_is_refused_with_15() {
    let mut script = publisher();
    let request = script.opens(SUBSCRIBE).unwrap();
    let mut wish = subscribe(1, "cam/video");
    (wish.first, wish.last) = (Some(9), Some(8));
    script.endpoint.handle_message(request, Message::Subscribe(wish));
    script.fails(request, 15);
    script.silent();
}

#[test]
fn an_update_narrows_the_range_and_never_widens_it() {
    let from_5_to_20 = Range { first: Some(5), last: Some(20) };
    for (first, last, expected) in [
        (None, None, Some((5, 20))),
        (Some(5), Some(20), Some((5, 20))),
        (Some(9), None, Some((9, 20))),
        (None, Some(9), Some((5, 9))),
        (Some(4), None, None),
        (None, Some(21), None),
        (Some(21), None, None),
        (None, Some(4), None),
    ] {
        let expected = expected.map(|(first, last)| Range { first: Some(first), last: Some(last) });
        assert_eq!(from_5_to_20.narrow(first, last), expected, "{first:?}..{last:?}");
    }
    let open = Range::default();
    assert_eq!(open.narrow(None, Some(0)), Some(Range { first: None, last: Some(0) }));

    let mut script = publisher();
    let request = serving(&mut script);
    script.endpoint.handle_message(request, Message::SubscribeUpdate(range(None, Some(20))));
    assert!(matches!(script.event(), Event::Updated { .. }));
    script.endpoint.handle_message(request, Message::SubscribeUpdate(range(None, Some(21))));
    assert!(matches!(script.event(), Event::Unsubscribed { graceful: false, .. }));
    script.fails(request, 15);
}

#[test]
fn a_subscriber_that_finishes_leaves_gracefully() {
    let mut script = publisher();
    let request = serving(&mut script);
    script.endpoint.handle_finished(request);
    assert!(matches!(script.event(), Event::Unsubscribed { graceful: true, .. }));
    script.silent();
    script.endpoint.complete(request);
    script.finishes(request);
    script.forgets(request);
}

#[test]
fn a_subscriber_that_finishes_before_the_answer_still_gets_it() {
    let asked = |script: &mut Script| {
        let request = script.opens(SUBSCRIBE).unwrap();
        script.endpoint.handle_message(request, Message::Subscribe(subscribe(1, "cam/video")));
        script.event();
        script.endpoint.handle_finished(request);
        script.silent();
        request
    };
    let mut script = publisher();
    let request = asked(&mut script);
    script.endpoint.accept(request, info(7));
    script.sends(request, Message::Accepted(info(7)));
    assert!(matches!(script.event(), Event::Unsubscribed { graceful: true, .. }));

    let mut script = publisher();
    let request = asked(&mut script);
    script.endpoint.refuse(request, Reason::NotFound);
    script.resets(request, 13);
    script.forgets(request);
}

#[test]
fn a_subscriber_that_resets_or_stops_leaves_at_once() {
    for stop in [false, true] {
        let mut script = publisher();
        let request = serving(&mut script);
        if stop {
            script.endpoint.handle_stopped(request, Code(0));
        } else {
            script.endpoint.handle_reset(request, Code(0));
        }
        assert!(matches!(script.event(), Event::Unsubscribed { graceful: false, .. }));
        if stop {
            script.stops(request, 0);
        }
        script.resets(request, 0);
        script.forgets(request);
        // Answers that come too late go nowhere.
        script.endpoint.accept(request, info(1));
        script.endpoint.gap(request, 1, 1, Reason::Cancelled);
        script.endpoint.complete(request);
        script.silent();
    }
}

#[test]
fn a_message_out_of_order_resets_its_stream() {
    let mut script = publisher();
    let request = script.opens(SUBSCRIBE).unwrap();
    script.endpoint.handle_message(request, Message::SubscribeUpdate(range(None, None)));
    script.fails(request, 15);

    let mut script = subscriber();
    let request = subscribed(&mut script);
    script.endpoint.handle_message(request, Message::Accepted(info(8)));
    match script.event() {
        Event::Ended { result: Err(RequestError::Peer(PeerMisbehaved::OutOfOrder { .. })), .. } => {}
        other => panic!("{other:?}"),
    }
    script.fails(request, 15);
}

#[test]
fn a_stream_that_ends_before_its_first_message_is_malformed() {
    for (stream_type, kind) in [(ANNOUNCE, "announce"), (SUBSCRIBE, "subscribe"), (INFO, "info")] {
        let mut script = publisher();
        let request = script.opens(stream_type).unwrap();
        script.endpoint.handle_finished(request);
        script.resets(request, 5);
        script.forgets(request);
        script.silent();
        assert_eq!(script.endpoint.open_requests(), 1, "{kind}");
    }
}

#[test]
fn a_second_session_stream_closes_the_session() {
    let mut script = publisher();
    assert_eq!(script.opens(0), Err(Refused(Code(10))));
    script.closes_with(&PeerMisbehaved::SecondSessionStream);

    let mut script = subscriber();
    assert_eq!(script.opens(0), Err(Refused(Code(10))));
    script.closes_with(&PeerMisbehaved::SessionStreamFromServer);
}

#[test]
fn an_unknown_stream_type_closes_a_draft_session_and_resets_a_deployed_peers_stream() {
    // The latter is for those who have agreed on it.
    for number in [9, 0x0f05] {
        for version in [Version::TRANSFORK_03, Version::TRANSFORK_04] {
            let mut script = Script::new(version, Side::Client);
            assert_eq!(script.opens(number), Err(Refused(Code(10))));
            script.closes_with(&PeerMisbehaved::UnknownStreamType(number));
        }
        for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
            let mut script = Script::new(version, Side::Client);
            assert_eq!(script.opens(number), Err(Refused(Code(5))));
            script.silent();
        }
    }
}

#[test]
fn the_info_stream_has_the_number_of_its_version() {
    for (version, number) in [(Version::TRANSFORK_04, 4), (Version::TRANSFORK_04_RS12, 3)] {
        let mut script = Script::new(version, Side::Server);
        let request = script.opens(number).unwrap();
        script.endpoint.handle_message(request, Message::AskInfo("clock".parse().unwrap()));
        assert!(matches!(script.event(), Event::InfoAsked { .. }), "{version}");
    }
}

#[test]
fn a_question_that_is_finished_is_still_answered() {
    let mut script = publisher();
    let request = script.opens(INFO).unwrap();
    script.endpoint.handle_message(request, Message::AskInfo("clock".parse().unwrap()));
    script.event();
    script.endpoint.handle_finished(request);
    script.silent();
    script.endpoint.answer_info(request, info(3));
    script.sends(request, Message::Info(info(3)));
    script.finishes(request);
    script.forgets(request);
}

#[test]
fn our_question_gets_its_answer_and_both_sides_finish() {
    let mut script = subscriber();
    let request = script.endpoint.ask_info("clock".parse().unwrap()).unwrap();
    script.opened(RequestKind::Info);
    script.sends(request, Message::AskInfo("clock".parse().unwrap()));
    script.finishes(request);
    script.endpoint.handle_message(request, Message::Info(info(3)));
    assert!(matches!(script.event(), Event::Info { .. }));
    assert!(matches!(script.event(), Event::Ended { result: Ok(()), .. }));
    script.endpoint.handle_finished(request);
    script.forgets(request);
    script.silent();
}

#[test]
fn our_subscription_knows_its_groups_before_it_is_accepted_and_not_after_its_end() {
    let mut script = subscriber();
    let request = script.endpoint.subscribe(subscribe(0, "cam/video")).unwrap();
    assert_eq!(script.endpoint.subscription(0), Some(request));
    script.opened(RequestKind::Subscribe);
    script.sends(request, Message::Subscribe(subscribe(0, "cam/video")));
    script.endpoint.handle_reset(request, Code(13));
    match script.event() {
        Event::Ended { result: Err(RequestError::Refused(Reason::NotFound)), .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(script.endpoint.subscription(0), None);
    script.resets(request, 0);
    script.forgets(request);

    let next = script.endpoint.subscribe(subscribe(0, "cam/video")).unwrap();
    assert_eq!(script.endpoint.subscription(1), Some(next), "ids are never used twice");
}

#[test]
fn our_unsubscribe_resets_and_stops() {
    let mut script = subscriber();
    let request = subscribed(&mut script);
    script.endpoint.cancel(request);
    assert!(matches!(script.event(), Event::Ended { result: Ok(()), .. }));
    script.fails(request, 0);
    script.endpoint.handle_message(request, Message::Gap(gap(1, 1, 0)));
    script.silent();
}

#[test]
fn a_publisher_that_finishes_ends_our_subscription_well() {
    let mut script = subscriber();
    let request = subscribed(&mut script);
    script.endpoint.handle_message(request, Message::Gap(gap(3, 4, 70)));
    assert!(matches!(script.event(), Event::Gap { .. }));
    script.endpoint.handle_finished(request);
    assert!(matches!(script.event(), Event::Ended { result: Ok(()), .. }));
    script.silent();
    assert_eq!(script.endpoint.subscription(0), Some(request), "groups may still be on their way");
    script.endpoint.retire(request);
    assert_eq!(script.endpoint.subscription(0), None);
    script.finishes(request);
    script.forgets(request);
}

#[test]
fn a_publisher_that_finishes_without_an_answer_broke_a_rule() {
    let mut script = subscriber();
    let request = script.endpoint.subscribe(subscribe(0, "cam/video")).unwrap();
    script.opened(RequestKind::Subscribe);
    script.next();
    script.endpoint.handle_finished(request);
    match script.event() {
        Event::Ended { result: Err(RequestError::Peer(PeerMisbehaved::EndedEarly(_))), .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn announcements_are_told_with_their_full_names() {
    let mut script = subscriber();
    let request = watching(&mut script);
    let told = |script: &mut Script| match script.event() {
        Event::Announced { event, .. } => event,
        other => panic!("{other:?}"),
    };
    let alice = "meeting/1234/alice".parse().unwrap();
    script.endpoint.handle_message(request, announce(AnnounceStatus::Active, "1234/alice"));
    assert_eq!(told(&mut script), Announced::Active(alice));
    script.endpoint.handle_message(request, announce(AnnounceStatus::CaughtUp, ""));
    assert_eq!(told(&mut script), Announced::CaughtUp);
    script.endpoint.handle_message(request, announce(AnnounceStatus::CaughtUp, ""));
    script.silent();
    script.endpoint.handle_message(request, announce(AnnounceStatus::Active, ""));
    assert_eq!(told(&mut script), Announced::Active("meeting".parse().unwrap()));
    script.endpoint.handle_message(request, announce(AnnounceStatus::Ended, "1234/alice"));
    assert_eq!(told(&mut script), Announced::Ended("meeting/1234/alice".parse().unwrap()));
    // The stream's end is the end of what it announced.
    script.endpoint.handle_finished(request);
    assert_eq!(told(&mut script), Announced::Ended("meeting".parse().unwrap()));
    assert!(matches!(script.event(), Event::Ended { result: Ok(()), .. }));
    script.finishes(request);
    script.forgets(request);
}

#[test]
fn an_announcement_made_twice_or_ended_unmade_resets_its_stream() {
    for (statuses, code) in [
        ([AnnounceStatus::Active, AnnounceStatus::Active], 12),
        ([AnnounceStatus::CaughtUp, AnnounceStatus::Ended], 13),
    ] {
        let mut script = subscriber();
        let request = watching(&mut script);
        for status in statuses {
            let suffix = if status == AnnounceStatus::CaughtUp { "" } else { "alice" };
            script.endpoint.handle_message(request, announce(status, suffix));
        }
        script.event();
        if code == 12 {
            assert!(matches!(script.event(), Event::Announced { event: Announced::Ended(_), .. }));
        }
        assert!(matches!(script.event(), Event::Ended { result: Err(RequestError::Peer(_)), .. }));
        script.fails(request, code);
    }
}

#[test]
fn names_are_announced_to_a_watch_by_what_is_behind_its_prefix() {
    let mut script = publisher();
    let request = script.opens(ANNOUNCE).unwrap();
    let interest = Interest::Prefix("meeting".parse().unwrap());
    script.endpoint.handle_message(request, Message::Watch(interest));
    assert!(matches!(script.event(), Event::Watched { .. }));
    script.endpoint.announce(request, &Announced::Active("meeting/1".parse().unwrap()));
    script.sends(request, announce(AnnounceStatus::Active, "1"));
    script.endpoint.announce(request, &Announced::CaughtUp);
    script.sends(request, announce(AnnounceStatus::CaughtUp, ""));
    script.endpoint.announce(request, &Announced::Active("other/1".parse().unwrap()));
    script.silent();
    script.endpoint.handle_finished(request);
    assert!(matches!(script.event(), Event::Unwatched { .. }));
    script.finishes(request);
    script.forgets(request);
}

#[test]
fn the_end_of_the_session_stream_ends_the_session() {
    let mut script = subscriber();
    script.endpoint.handle_finished(Endpoint::SESSION);
    script.closes_as(Reason::Cancelled);

    let mut script = subscriber();
    script.endpoint.handle_reset(Endpoint::SESSION, Code(68));
    script.closes_as(Reason::GoingAway);

    let mut script = subscriber();
    script.endpoint.handle_stopped(Endpoint::SESSION, Code(5));
    script.closes_as(Reason::Malformed);
    script.endpoint.handle_finished(Endpoint::SESSION);
    script.silent();
}

#[test]
fn the_peers_bitrate_is_told_and_0_is_unknown() {
    let mut script = subscriber();
    script.endpoint.handle_message(Endpoint::SESSION, Message::Bitrate(2_500_000));
    assert!(matches!(script.event(), Event::Bitrate(Some(2_500_000))));
    script.endpoint.handle_message(Endpoint::SESSION, Message::Bitrate(0));
    assert!(matches!(script.event(), Event::Bitrate(None)));
}

#[test]
fn limits_on_the_peers_requests_refuse_one_stream_at_a_time() {
    let limits = Limits { subscriptions: 2, watches: 1, requests: 4, ..Limits::default() };
    let mut script = Script::limited(Version::TRANSFORK_04, Side::Server, limits);
    let too_many = Err(Refused(Code(69)));
    let first = script.opens(SUBSCRIBE).unwrap();
    script.opens(SUBSCRIBE).unwrap();
    assert_eq!(script.opens(SUBSCRIBE), too_many);
    script.opens(ANNOUNCE).unwrap();
    assert_eq!(script.opens(ANNOUNCE), too_many);
    script.opens(INFO).unwrap();
    assert_eq!(script.opens(INFO), too_many);
    // What ends makes room.
    script.endpoint.handle_reset(first, Code(0));
    script.opens(SUBSCRIBE).unwrap();
    assert_eq!(script.opens(INFO), too_many);
}

#[test]
fn a_peer_that_announces_too_much_loses_its_stream() {
    let limits = Limits { announced: 2, ..Limits::default() };
    let mut script = Script::limited(Version::TRANSFORK_04, Side::Client, limits);
    let request = watching(&mut script);
    for name in ["1", "2", "3"] {
        script.endpoint.handle_message(request, announce(AnnounceStatus::Active, name));
    }
    script.event();
    script.event();
    for _ in 0..3 {
        assert!(matches!(script.event(), Event::Announced { event: Announced::Ended(_), .. }));
    }
    match script.event() {
        Event::Ended { result: Err(RequestError::Peer(PeerMisbehaved::LimitReached(_))), .. } => {}
        other => panic!("{other:?}"),
    }
    script.fails(request, 69);
    // The room is free again for an honest watch.
    let request = watching(&mut script);
    script.endpoint.handle_message(request, announce(AnnounceStatus::Active, "1"));
    assert!(matches!(script.event(), Event::Announced { .. }));
}

#[test]
fn what_the_version_cannot_say_is_refused_before_anything_is_sent() {
    let mut script = Script::new(Version::TRANSFORK_04_RS12, Side::Client);
    let slash = moqt_wire::FullTrackName::from_parts(["a/b"]).unwrap();
    let mut wish = subscribe(0, "x");
    wish.name = slash;
    assert!(matches!(script.endpoint.subscribe(wish), Err(RequestError::Encode(_))));
    script.silent();
}
