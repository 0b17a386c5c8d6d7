//! Fetches as scripts.

use moqt_transport::Code;
use moqt_wire::{Feature, Priority, Version};

use crate::{
    error::{GroupError, PeerMisbehaved, Reason, RequestError},
    proto::{
        Limits, Refused, Side,
        message::{Fetch, Message},
        request::{Event, RequestId, RequestKind},
        script::Script,
    },
};

const FETCH: u64 = 3;

fn wish() -> Fetch {
    Fetch { name: "cam/video".parse().unwrap(), priority: Priority(128), group: 42, frame: 3 }
}

fn script() -> Script {
    Script::new(Version::TRANSFORK_04, Side::Client)
}

/// A fetch of ours.
fn fetching(script: &mut Script) -> RequestId {
    let request = script.endpoint.fetch(wish()).unwrap();
    assert_eq!(script.opened(RequestKind::Fetch), request);
    script.sends(request, Message::Fetch(wish()));
    request
}

/// A fetch of the peer.
fn asked(script: &mut Script) -> RequestId {
    let request = script.opens(FETCH).unwrap();
    script.endpoint.handle_message(request, Message::Fetch(wish()));
    match script.event() {
        Event::FetchAsked { fetch, .. } => assert_eq!(fetch, wish()),
        other => panic!("{other:?}"),
    }
    request
}

/// A fetch of the peer that is being answered.
fn serving(script: &mut Script) -> RequestId {
    let request = asked(script);
    script.endpoint.serve_fetch(request);
    request
}

#[test]
fn our_fetch_ends_with_its_last_frame() {
    let mut script = script();
    let request = fetching(&mut script);
    script.endpoint.update_fetch(request, Priority(10));
    script.sends(request, Message::FetchUpdate(Priority(10)));
    script.endpoint.fetch_ended(request, Ok(()));
    assert!(matches!(script.event(), Event::Ended { result: Ok(()), .. }));
    script.finishes(request);
    script.forgets(request);
    script.endpoint.update_fetch(request, Priority(20));
    script.endpoint.cancel(request);
    script.silent();
}

#[test]
fn our_fetch_may_be_refused() {
    let mut script = script();
    let request = fetching(&mut script);
    script.endpoint.fetch_ended(request, Err(GroupError::Reset(Reason::NotFound)));
    match script.event() {
        Event::Ended { result: Err(RequestError::Refused(Reason::NotFound)), .. } => {}
        other => panic!("{other:?}"),
    }
    script.resets(request, 0);
    script.forgets(request);
}

#[test]
fn an_answer_that_breaks_a_limit_or_a_frame_is_given_up() {
    for (error, rule, code) in [
        (GroupError::TooLarge, PeerMisbehaved::LimitReached("size of a group"), 69),
        (GroupError::WrongSize, PeerMisbehaved::EndedEarly("end of a frame"), 14),
    ] {
        let mut script = script();
        let request = fetching(&mut script);
        script.endpoint.fetch_ended(request, Err(error));
        match script.event() {
            Event::Ended { result: Err(RequestError::Peer(found)), .. } => assert_eq!(found, rule),
            other => panic!("{other:?}"),
        }
        script.fails(request, code);
    }
}

#[test]
fn our_cancel_resets_and_stops() {
    let mut script = script();
    let request = fetching(&mut script);
    script.endpoint.cancel(request);
    assert!(matches!(script.event(), Event::Ended { result: Ok(()), .. }));
    script.fails(request, 0);
    // What the frames came to meanwhile is of no interest.
    script.endpoint.fetch_ended(request, Ok(()));
    script.silent();
}

#[test]
fn a_version_without_fetch_refuses_before_anything_is_sent() {
    for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
        let mut script = Script::new(version, Side::Client);
        match script.endpoint.fetch(wish()) {
            Err(RequestError::Unsupported { feature: Feature::Fetch, version: of }) => {
                assert_eq!(of, version);
            }
            other => panic!("{other:?}"),
        }
        script.silent();
        assert_eq!(script.endpoint.open_requests(), 1);
    }
}

#[test]
fn the_peers_fetch_is_served_and_ends_when_both_halves_have() {
    let mut script = script();
    let request = serving(&mut script);
    script.endpoint.handle_message(request, Message::FetchUpdate(Priority(7)));
    assert!(matches!(script.event(), Event::FetchUpdated { priority: Priority(7), .. }));
    script.endpoint.fetch_sent(request);
    script.finishes(request);
    // Late words do no harm.
    script.endpoint.handle_message(request, Message::FetchUpdate(Priority(8)));
    script.silent();
    script.endpoint.handle_finished(request);
    script.forgets(request);
}

#[test]
fn a_finish_behind_the_peers_fetch_only_completes_the_request() {
    for before_the_answer in [true, false] {
        let mut script = script();
        let request = asked(&mut script);
        if before_the_answer {
            script.endpoint.handle_finished(request);
            script.silent();
            script.endpoint.serve_fetch(request);
        } else {
            script.endpoint.serve_fetch(request);
            script.endpoint.handle_finished(request);
        }
        script.silent();
        script.endpoint.fetch_sent(request);
        script.finishes(request);
        script.forgets(request);
    }
}

#[test]
fn the_peer_gives_its_fetch_up_by_reset_or_stop_in_each_state() {
    for serve in [true, false] {
        for stop in [true, false] {
            let mut script = script();
            let request = if serve { serving(&mut script) } else { asked(&mut script) };
            if stop {
                script.endpoint.handle_stopped(request, Code(9));
                script.stops(request, 0);
            } else {
                script.endpoint.handle_reset(request, Code(9));
            }
            script.resets(request, 0);
            script.forgets(request);
            // The answer that is under way finds nobody.
            script.endpoint.serve_fetch(request);
            script.endpoint.fetch_sent(request);
            script.endpoint.fetch_lost(request, Reason::Expired);
            script.endpoint.refuse(request, Reason::NotFound);
            script.silent();
        }
    }
}

#[test]
fn the_peers_fetch_is_refused_or_lost_with_a_reason() {
    let mut script = script();
    let request = asked(&mut script);
    script.endpoint.refuse(request, Reason::NotFound);
    script.fails(request, 13);
    let request = serving(&mut script);
    script.endpoint.fetch_lost(request, Reason::OutOfRange);
    script.fails(request, 11);
    // A version without the reason has a code for it.
    let request = asked(&mut script);
    script.endpoint.refuse(request, Reason::Unsupported);
    script.fails(request, 13);
}

#[test]
fn messages_that_do_not_belong_on_a_fetch_stream_end_the_fetch() {
    for message in [Message::Fetch(wish()), Message::AskInfo("a".parse().unwrap())] {
        let mut script = script();
        let request = serving(&mut script);
        script.endpoint.handle_message(request, message);
        script.fails(request, 15);
    }
    let mut script = script();
    let request = script.opens(FETCH).unwrap();
    script.endpoint.handle_message(request, Message::FetchUpdate(Priority(1)));
    script.fails(request, 15);
    let request = script.opens(FETCH).unwrap();
    script.endpoint.handle_finished(request);
    script.resets(request, 5);
    script.forgets(request);
}

#[test]
fn the_limit_on_the_peers_fetches_holds_for_them_alone() {
    let limits = Limits { fetches: 2, ..Limits::default() };
    let mut script = Script::limited(Version::TRANSFORK_04, Side::Server, limits);
    let first = asked(&mut script);
    let second = serving(&mut script);
    assert_eq!(script.opens(FETCH), Err(Refused(Code(69))));
    script.opens(4).unwrap();
    script.endpoint.handle_reset(first, Code(0));
    script.resets(first, 0);
    script.forgets(first);
    asked(&mut script);
    assert_eq!(script.opens(FETCH), Err(Refused(Code(69))));
    // Sent is not yet over.
    script.endpoint.fetch_sent(second);
    script.finishes(second);
    assert_eq!(script.opens(FETCH), Err(Refused(Code(69))));
    script.endpoint.handle_finished(second);
    script.forgets(second);
    script.opens(FETCH).unwrap();
    // Our own do not count.
    fetching(&mut script);
}
