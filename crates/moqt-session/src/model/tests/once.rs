//! Tracks that are read once: what has been read is not kept.

use super::*;

fn once() -> TrackProducer {
    incoming(Retention::read_once())
}

fn next(track: &mut TrackConsumer) -> GroupConsumer {
    now_or_never(track.next_group()).unwrap().unwrap().unwrap()
}

fn frame(group: &mut GroupConsumer) -> Bytes {
    now_or_never(group.read_frame()).unwrap().unwrap().unwrap()
}

fn payload() -> Bytes {
    Bytes::from(vec![7; 20_000])
}

/// Beyond what it takes to keep order.
fn holds_payload(track: &TrackConsumer) -> bool {
    track.held_bytes() > 2000
}

#[test]
fn payload_goes_as_it_is_read_and_the_group_with_its_reader() {
    let track = once();
    let mut reader = track.consume();
    let mut writing = track.create_group(3).unwrap();
    writing.write_frame(payload()).unwrap();
    writing.write_frame("short").unwrap();
    let mut group = next(&mut reader);
    assert!(holds_payload(&reader), "nobody has read it");
    let first = frame(&mut group);
    assert!(!holds_payload(&reader));
    assert!(first == payload() && first.try_into_mut().is_ok(), "nobody else has it");
    let mut pieces = now_or_never(group.next_frame()).unwrap().unwrap().unwrap();
    assert_eq!(now_or_never(pieces.read_chunk()).unwrap().unwrap().unwrap(), "short");
    writing.write_frame("").unwrap();
    writing.write_frame(payload()).unwrap();
    assert_eq!(frame(&mut group), "");
    assert_eq!(frame(&mut group), payload());
    writing.finish().unwrap();
    assert!(matches!(now_or_never(group.read_frame()), Some(Ok(None))));
    assert!(group.is_finished());
    drop(group);
    assert_eq!(reader.held_bytes(), 0);

    // To the track it has been there all the same.
    assert_eq!(track.create_group(3).unwrap_err(), CreateGroupError::Duplicate(3));
    assert_eq!((reader.latest(), reader.group(3).is_none()), (Some(3), true));
    group_at(&track, 4);
    assert_eq!(sequences(&mut reader), [4]);
    assert_eq!(track.append_group().sequence(), 5);
}

#[test]
fn what_nobody_has_read_stays() {
    let track = once();
    let mut reader = track.consume();
    for _ in 0..10 {
        track.append_group().write_frame(payload()).unwrap();
    }
    assert!(reader.held_bytes() > 200_000);
    for _ in 0..10 {
        assert_eq!(frame(&mut next(&mut reader)), payload());
    }
    assert_eq!(reader.held_bytes(), 0);
}

#[test]
fn a_group_that_its_reader_drops_is_not_wanted_any_more() {
    let track = once();
    let mut reader = track.consume();
    let mut writing = track.append_group();
    writing.write_frame(payload()).unwrap();
    assert!(now_or_never(writing.let_go()).is_none());
    drop(next(&mut reader));
    assert_eq!(now_or_never(writing.let_go()), Some(GroupError::Expired));
    assert_eq!(writing.write_frame("more"), Err(GroupError::Expired));
    assert_eq!(reader.held_bytes(), 0);
}

#[test]
fn a_gap_that_names_a_group_which_was_cut_and_left_is_told() {
    let track = once();
    let mut reader = track.consume();
    let mut writing = track.create_group(0).unwrap();
    writing.write_frame(payload()).unwrap();
    let mut group = next(&mut reader);
    assert_eq!(frame(&mut group), payload());
    writing.abort(Reason::Expired);
    assert!(matches!(now_or_never(group.read_frame()), Some(Err(GroupError::Reset(Reason::Expired)))));
    drop(group);
    assert_eq!(reader.held_bytes(), 0);
    track.gap(0, 0, Reason::Expired);
    let told = now_or_never(reader.next_event());
    assert!(matches!(told, Some(Ok(Some(TrackEvent::Gap { first: 0, last: 0, .. })))), "{told:?}");
}

#[test]
fn while_there_are_two_readers_nothing_goes_and_who_comes_late_is_told() {
    let track = once();
    let (mut reader, mut other) = (track.consume(), track.consume());
    let mut writing = track.append_group();
    ["a", "b", "c", "d"].into_iter().for_each(|frame| writing.write_frame(frame).unwrap());
    let (mut group, mut same) = (next(&mut reader), next(&mut other));
    assert_eq!(frame(&mut group), "a");
    assert_eq!(frame(&mut same), "a");
    let mut twin = same.clone();
    drop(same);
    assert_eq!(frame(&mut group), "b");
    assert_eq!(frame(&mut twin), "b");
    drop(twin);
    assert_eq!(frame(&mut group), "c");
    let mut late = reader.group(0).unwrap();
    assert!(matches!(now_or_never(late.read_frame()), Some(Err(GroupError::Expired))));
    assert!(matches!(now_or_never(late.next_frame()), Some(Err(GroupError::Expired))));
    drop(late);
    assert_eq!(frame(&mut group), "d");
}

#[test]
fn a_second_source_goes_on_where_the_first_was_cut_though_that_has_been_read() {
    let name = "cam/video".parse().unwrap();
    let grace = Duration::from_secs(5);
    let track = MergedTrack::new(&CacheBudget::unlimited(), name, Retention::read_once(), grace);
    let mut reader = track.consume();
    let source = || {
        let (source, _) = TrackSource::of(&track);
        source.begins_at(0);
        source
    };
    let write = |pen: &mut Pen, frame: &'static str| {
        pen.begin_frame(FrameMeta::sized(frame.len() as u64)).unwrap();
        pen.append_payload(frame.into()).unwrap();
    };
    let (a, b) = (source(), source());
    let mut cut = a.create_group(0).unwrap();
    write(&mut cut, "one");
    let mut group = next(&mut reader);
    assert_eq!(frame(&mut group), "one");
    cut.end(GroupError::Reset(Reason::Internal));
    let mut whole = b.create_group(0).unwrap();
    ["one", "two"].into_iter().for_each(|frame| write(&mut whole, frame));
    assert_eq!(frame(&mut group), "two");
    whole.complete().unwrap();
    assert!(matches!(now_or_never(group.read_frame()), Some(Ok(None))));
    drop(group);
    assert_eq!((reader.held_bytes(), track.resume_at()), (0, Some(1)));
    assert!(a.create_group(0).is_err() && b.create_group(0).is_err());
}
