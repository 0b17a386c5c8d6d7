//! Tracks, groups and names, by themselves.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::error::{GroupError, Reason, TrackError};

mod cache;
mod gate;
mod merge;
mod names;
mod once;
mod preference;
mod wakes;
mod wire;

fn producer(retention: Retention) -> TrackProducer {
    TrackProducer::new("cam/video".parse().unwrap(), TrackInfo::default(), retention)
}

fn incoming(retention: Retention) -> TrackProducer {
    TrackProducer::incoming("cam/video".parse().unwrap(), retention, &CacheBudget::unlimited())
}

fn group(track: &TrackProducer, frames: &[&'static str]) {
    let mut group = track.append_group();
    frames.iter().for_each(|frame| group.write_frame(*frame).unwrap());
    group.finish().unwrap();
}

fn group_at(track: &TrackProducer, sequence: u64) {
    drop(track.create_group(sequence).unwrap());
}

impl TrackProducer {
    fn reader_from(&self, first: u64) -> TrackConsumer {
        self.consume().reader(Start::At(first))
    }
}

/// What a future has come to without waiting.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn sequences(track: &mut TrackConsumer) -> Vec<u64> {
    std::iter::from_fn(|| now_or_never(track.next_group())?.unwrap().map(|group| group.sequence())).collect()
}

#[tokio::test]
async fn frames_of_every_size_read_back_whole() {
    let track = producer(Retention::default());
    let mut reader = track.consume();
    let mut group = track.append_group();
    let frames: Vec<_> =
        [0, 1, 63, 64, 16383, 16384, 1 << 20].map(|len| Bytes::from(vec![len as u8; len])).into();
    for frame in &frames {
        group.write_frame(frame.clone()).unwrap();
    }
    group.finish().unwrap();
    let mut group = reader.next_group().await.unwrap().unwrap();
    for frame in &frames {
        assert_eq!(group.read_frame().await.unwrap().as_ref(), Some(frame));
    }
    assert_eq!(group.read_frame().await.unwrap(), None);
    assert!(group.is_finished());
}

#[tokio::test]
async fn a_large_frame_is_shared_and_not_copied() {
    let track = producer(Retention::default());
    let mut reader = track.consume();
    let payload = Bytes::from(vec![7; 4096]);
    track.append_group().write_frame(payload.clone()).unwrap();
    let frame = reader.next_group().await.unwrap().unwrap().read_frame().await.unwrap().unwrap();
    assert_eq!(frame.as_ptr(), payload.as_ptr());
}

#[tokio::test]
async fn a_frame_written_in_pieces_can_be_read_in_pieces_or_whole() {
    let track = producer(Retention::default());
    let mut by_piece = track.consume();
    let mut whole = track.consume();
    let mut group = track.append_group();
    let mut frame = group.create_frame(FrameMeta::sized(4)).unwrap();
    frame.write(Bytes::from_static(b"ab")).unwrap();

    let mut by_piece = by_piece.next_group().await.unwrap().unwrap();
    let mut whole = whole.next_group().await.unwrap().unwrap();
    let mut pieces = by_piece.next_frame().await.unwrap().unwrap();
    assert_eq!(pieces.read_chunk().await.unwrap().unwrap(), "ab");
    assert!(now_or_never(pieces.read_chunk()).is_none());
    assert!(now_or_never(whole.read_frame()).is_none());

    frame.write(Bytes::from_static(b"cd")).unwrap();
    frame.finish().unwrap();
    assert_eq!(pieces.read_chunk().await.unwrap().unwrap(), "cd");
    assert_eq!(pieces.read_chunk().await.unwrap(), None);
    assert_eq!(whole.read_frame().await.unwrap().unwrap(), "abcd");
}

#[tokio::test]
async fn a_frame_left_in_its_middle_is_skipped() {
    let track = producer(Retention::default());
    let mut reader = track.consume();
    let mut group = track.append_group();
    let mut frame = group.create_frame(FrameMeta::sized(4)).unwrap();
    frame.write(Bytes::from_static(b"ab")).unwrap();
    let mut incoming = reader.next_group().await.unwrap().unwrap();
    let mut second = incoming.clone();
    let mut left = incoming.next_frame().await.unwrap().unwrap();
    left.read_chunk().await.unwrap();
    let mut left = second.next_frame().await.unwrap().unwrap();
    left.read_chunk().await.unwrap();

    frame.write(Bytes::from_static(b"cd")).unwrap();
    frame.finish().unwrap();
    group.write_frame("next").unwrap();
    assert_eq!(incoming.read_frame().await.unwrap().unwrap(), "next");
    let mut next = second.next_frame().await.unwrap().unwrap();
    assert_eq!(next.read_chunk().await.unwrap().unwrap(), "next");
}

#[tokio::test]
async fn a_frame_cut_short_or_too_long_aborts_the_group() {
    let track = producer(Retention::default());
    let mut reader = track.consume();
    let mut group = track.append_group();
    group.write_frame("whole").unwrap();
    let mut frame = group.create_frame(FrameMeta::sized(4)).unwrap();
    assert_eq!(frame.write(Bytes::from_static(b"too long")), Err(GroupError::WrongSize));
    assert_eq!(frame.remaining(), 4);
    drop(frame);
    let mut incoming = reader.next_group().await.unwrap().unwrap();
    assert_eq!(incoming.read_frame().await.unwrap().unwrap(), "whole", "frames before stand");
    assert_eq!(incoming.read_frame().await, Err(GroupError::WrongSize));
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    let track = producer(Retention::default());
    let mut reader = track.consume();
    let mut group = track.append_group();
    let mut incoming = reader.next_group().await.unwrap().unwrap();
    assert!(now_or_never(incoming.read_frame()).is_none());
    assert!(now_or_never(incoming.next_frame()).is_none());
    group.write_frame("first").unwrap();
    assert_eq!(incoming.read_frame().await.unwrap().unwrap(), "first");
}

#[tokio::test]
async fn an_aborted_group_gives_its_reason_after_its_frames() {
    let track = producer(Retention::default());
    let mut reader = track.consume();
    let mut group = track.append_group();
    group.write_frame("first").unwrap();
    group.abort(Reason::App(7));
    let mut incoming = reader.next_group().await.unwrap().unwrap();
    assert_eq!(incoming.read_frame().await.unwrap().unwrap(), "first");
    assert_eq!(incoming.read_frame().await, Err(GroupError::Reset(Reason::App(7))));
}

#[tokio::test]
async fn a_group_dropped_unfinished_is_cancelled() {
    let track = producer(Retention::default());
    let mut reader = track.consume();
    drop(track.append_group());
    let mut incoming = reader.next_group().await.unwrap().unwrap();
    assert_eq!(incoming.read_frame().await, Err(GroupError::Reset(Reason::Cancelled)));
}

#[tokio::test]
async fn a_group_past_its_limits_is_aborted_as_too_large() {
    let retention = Retention { max_group_bytes: 10, max_group_frames: 3, ..Retention::default() };
    let track = producer(retention);
    let mut group = track.append_group();
    group.write_frame("12345").unwrap();
    assert_eq!(group.write_frame("123456"), Err(GroupError::TooLarge));
    assert_eq!(group.write_frame("1"), Err(GroupError::TooLarge));
    let mut group = track.append_group();
    for _ in 0..3 {
        group.write_frame("").unwrap();
    }
    assert_eq!(group.write_frame(""), Err(GroupError::TooLarge));
}

#[test]
fn many_small_frames_count_for_what_they_hold() {
    for payload in ["", "1"] {
        let track = producer(Retention { max_bytes: 1 << 20, ..Retention::default() });
        let keeper = track.consume();
        let mut groups: Vec<_> = (0..100).map(|_| track.append_group()).collect();
        for _ in 0..1000 {
            // Those that were pushed out take nothing more.
            groups.iter_mut().for_each(|group| drop(group.write_frame(payload)));
        }
        let held = keeper.held_bytes();
        // The newest group alone may grow past it, up to the limits of a group.
        assert!(held <= (1 << 20) + 200_000, "{held} bytes of {payload:?}");
    }
}

#[test]
fn groups_number_themselves_above_the_highest() {
    let track = producer(Retention::default());
    assert_eq!(track.append_group().sequence(), 0);
    assert_eq!(track.create_group(7).unwrap().sequence(), 7);
    assert_eq!(track.create_group(3).unwrap().sequence(), 3);
    assert_eq!(track.append_group().sequence(), 8);
    assert_eq!(track.create_group(7).unwrap_err(), CreateGroupError::Duplicate(7));
    assert_eq!(track.consume().latest(), Some(8));
}

#[test]
fn a_reader_starts_at_the_latest_group_or_where_it_wants() {
    let track = producer(Retention::default());
    (0..5).for_each(|_| group(&track, &["x"]));
    let mut latest = track.consume();
    let mut from_2 = latest.reader(Start::At(2));
    let mut from_9 = latest.reader(Start::At(9));
    assert_eq!(sequences(&mut latest), [4]);
    assert_eq!(sequences(&mut from_2), [2, 3, 4]);
    assert_eq!(sequences(&mut from_9), []);
    group(&track, &["x"]);
    assert_eq!(sequences(&mut latest.clone()), [5], "a clone goes on where the original stands");
    assert_eq!(sequences(&mut latest), [5]);
    track.create_group(9).unwrap();
    assert_eq!(sequences(&mut from_9), [9]);
}

#[test]
fn an_older_group_that_comes_late_is_for_those_who_started_before_it() {
    let track = producer(Retention::default());
    let mut early = track.consume();
    track.create_group(5).unwrap();
    let mut later = track.consume();
    track.create_group(4).unwrap();
    track.create_group(6).unwrap();
    assert_eq!(sequences(&mut early), [5, 4, 6], "the track was empty: whatever comes");
    assert_eq!(sequences(&mut later), [5, 6]);
}

#[test]
fn a_reader_of_the_latest_waits_for_the_one_that_the_publisher_named() {
    let (source, track) =
        TrackSource::only("cam/video".parse().unwrap(), Retention::default(), &CacheBudget::unlimited());
    source.set_latest(7);
    let mut reader = track.consume();
    assert_eq!((reader.start(), reader.latest()), (Some(7), Some(7)));
    for sequence in [6, 8, 7] {
        track.create_group(sequence).unwrap();
    }
    assert_eq!(sequences(&mut reader), [8, 7]);
}

#[tokio::test(start_paused = true)]
async fn ordered_groups_begin_with_the_lowest_of_those_that_come_together() {
    for (arrivals, expected) in [(&[1, 0][..], &[0, 1][..]), (&[29, 28], &[28, 29])] {
        let track = producer(Retention::default());
        let mut ordered = OrderedGroups::new(track.consume(), Duration::from_secs(1));
        for &sequence in arrivals {
            track.create_group(sequence).unwrap();
        }
        for &sequence in expected {
            let Some(OrderedItem::Group(group)) = ordered.next().await.unwrap() else { panic!("no group") };
            assert_eq!(group.sequence(), sequence);
        }
    }
}

#[test]
fn more_groups_or_bytes_than_are_kept_push_out_the_oldest() {
    let track = producer(Retention { max_groups: 3, ..Retention::default() });
    let keeper = track.consume();
    (0..10).for_each(|_| group(&track, &["x"]));
    assert_eq!(sequences(&mut keeper.reader(Start::At(0))), [7, 8, 9]);
    assert!(keeper.group(6).is_none());

    let track = producer(Retention { max_bytes: 3800, ..Retention::default() });
    let keeper = track.consume();
    for _ in 0..10 {
        track.append_group().write_frame(vec![0; 1000]).unwrap();
    }
    let _running = track.append_group();
    assert_eq!(sequences(&mut keeper.reader(Start::At(0))), [8, 9, 10]);
    let held = keeper.held_bytes();
    assert!((2000..3800).contains(&held), "what is pushed out is let go: {held}");
}

#[tokio::test(start_paused = true)]
async fn finished_groups_age_and_the_newest_stays() {
    let track = producer(Retention::max_age(Duration::from_secs(5)));
    let keeper = track.consume();
    group(&track, &["old"]);
    let _running = track.append_group();
    tokio::time::advance(Duration::from_secs(60)).await;
    group(&track, &["new"]);
    assert_eq!(sequences(&mut keeper.reader(Start::At(0))), [1, 2], "a running group does not age");
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(sequences(&mut keeper.reader(Start::At(0))), [1, 2], "nothing newer, nothing evicted");
}

#[tokio::test]
async fn a_reader_that_falls_behind_finds_its_group_expired() {
    let track = producer(Retention { max_groups: 2, ..Retention::default() });
    let mut reader = track.consume();
    group(&track, &["one", "two"]);
    let mut slow = reader.next_group().await.unwrap().unwrap();
    assert_eq!(slow.read_frame().await.unwrap().unwrap(), "one");
    (0..3).for_each(|_| group(&track, &["x"]));
    assert_eq!(slow.read_frame().await, Err(GroupError::Expired));
    assert_eq!(sequences(&mut reader), [2, 3], "it goes on with what is there");
}

#[test]
fn groups_that_arrive_behind_the_newest_cannot_pile_up() {
    let track = producer(Retention { max_groups: 4, ..Retention::default() });
    let keeper = track.consume();
    track.create_group(1 << 40).unwrap();
    for sequence in 0..1000 {
        track.create_group(sequence).unwrap().write_frame(vec![0; 1000]).unwrap();
    }
    assert!(keeper.held_bytes() <= 6000, "{}", keeper.held_bytes());
    let kept = (0..1000).filter(|&sequence| keeper.group(sequence).is_some()).count();
    assert!(kept <= 4, "{kept}");
}

#[test]
fn gaps_cannot_pile_up_either() {
    let track = producer(Retention { max_groups: 4, ..Retention::default() });
    let keeper = track.consume();
    group(&track, &["x"]);
    (1..1000).for_each(|at| track.gap(at, at, Reason::Expired));
    let mut reader = keeper.reader(Start::At(0));
    let mut events = 0;
    while now_or_never(reader.next_event()).is_some() {
        events += 1;
    }
    // Those of the log, and one for all that came before it.
    assert!(events <= 9, "{events}");
}

#[test]
fn a_flood_of_gaps_leaves_the_newest_group_where_it_is() {
    let track = producer(Retention { max_groups: 4, ..Retention::default() });
    let mut reader = track.consume();
    group(&track, &["x"]);
    (1..1000).for_each(|at| track.gap(at, at, Reason::Expired));
    assert!(reader.group(0).is_some());
    assert_eq!(sequences(&mut reader), [0]);
    assert_eq!(sequences(&mut reader.reader(Start::Latest)), [0]);
}

/// What a reader learns: groups as their number alone, gaps with their last number and their reason.
fn learns(track: &mut TrackConsumer) -> Vec<(u64, Option<(u64, Reason)>)> {
    std::iter::from_fn(|| match now_or_never(track.next_event())? {
        Ok(Some(TrackEvent::Group(group))) => Some((group.sequence(), None)),
        Ok(Some(TrackEvent::Gap { first, last, reason })) => Some((first, Some((last, reason)))),
        _ => None,
    })
    .collect()
}

#[test]
fn numbers_left_out_by_a_producer_are_a_gap_once_a_later_group_is_finished() {
    let track = producer(Retention::default());
    let mut reader = track.reader_from(5);
    group_at(&track, 5);
    let open = track.create_group(9).unwrap();
    drop(track.create_group(12));
    assert_eq!(learns(&mut reader), [(5, None), (9, None), (12, None)], "none of them is finished");
    open.finish().unwrap();
    assert_eq!(learns(&mut reader), [(6, Some((8, Reason::NotFound)))]);
    track.create_group(11).unwrap().finish().unwrap();
    assert_eq!(learns(&mut reader), [(11, None), (10, Some((10, Reason::NotFound)))]);
    let late = track.create_group(7).unwrap();
    assert_eq!(learns(&mut reader), [], "those who were told of the gap do not get it");
    assert!(reader.group(late.sequence()).is_some());
}

#[test]
fn numbers_left_out_are_a_gap_when_the_track_is_finished_and_not_when_it_is_given_up() {
    for finish in [true, false] {
        let track = incoming(Retention::default());
        let mut reader = track.reader_from(3);
        group_at(&track, 5);
        assert_eq!(learns(&mut reader), [(5, None)], "a peer's groups overtake each other");
        if finish {
            track.finish()
        } else {
            track.abort(Reason::GoingAway)
        }
        let gap = (3, Some((4, Reason::NotFound)));
        assert_eq!(learns(&mut reader), if finish { vec![gap] } else { vec![] });
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_left_out_are_a_gap_when_they_have_been_missing_for_too_long() {
    let track = incoming(Retention::max_age(Duration::from_secs(5)));
    let mut reader = track.reader_from(0);
    group_at(&track, 0);
    group_at(&track, 3);
    tokio::time::advance(Duration::from_secs(2)).await;
    group_at(&track, 5);
    group_at(&track, 2);
    assert_eq!(learns(&mut reader), [(0, None), (3, None), (5, None), (2, None)]);
    let before = now();
    for (number, after) in [(1, 3), (4, 5)] {
        tokio::time::sleep_until(reader.due().unwrap()).await;
        reader.settle();
        assert_eq!(learns(&mut reader), [(number, Some((number, Reason::NotFound)))]);
        assert_eq!(before.elapsed(), Duration::from_secs(after));
    }
    assert_eq!(reader.due(), None);
}

#[test]
fn numbers_that_are_missing_cannot_pile_up() {
    let track = incoming(Retention { max_groups: 4, ..Retention::default() });
    let mut reader = track.reader_from(0);
    for sequence in (1..100).step_by(2) {
        group_at(&track, sequence);
    }
    let gone = learns(&mut reader).into_iter().filter(|(_, gap)| gap.is_some()).map(|(first, gap)| {
        assert_eq!(gap.unwrap().1, Reason::NotFound);
        gap.unwrap().0 + 1 - first
    });
    assert_eq!(gone.sum::<u64>(), 92, "all but four groups and four numbers still missing");
}

#[test]
fn a_reader_that_was_overtaken_learns_of_everything_that_it_missed() {
    let track = producer(Retention { max_groups: 2, ..Retention::default() });
    let mut reader = track.reader_from(1);
    (0..3).for_each(|_| group(&track, &["x"]));
    assert_eq!(learns(&mut reader), [(1, None), (2, None)]);
    (3..9).for_each(|_| group(&track, &["x"]));
    assert_eq!(learns(&mut reader), [(3, Some((6, Reason::NotFound))), (7, None), (8, None)]);
    assert_eq!(learns(&mut track.reader_from(5)), [(5, Some((6, Reason::NotFound))), (7, None), (8, None)]);
    assert_eq!(learns(&mut track.consume()), [(8, None)]);
}

#[test]
fn a_gap_is_told_once_and_to_nobody_who_begins_behind_it() {
    let track = producer(Retention::default());
    let mut reader = track.reader_from(2);
    let mut latest = track.consume();
    track.gap(0, 3, Reason::Expired);
    track.gap(2, 5, Reason::App(9));
    group(&track, &["x"]);
    track.gap(6, 6, Reason::App(9));
    let (early, late) = ((2, Some((3, Reason::Expired))), (4, Some((5, Reason::App(9)))));
    let given_up = (6, Some((6, Reason::App(9))));
    assert_eq!(learns(&mut reader), [early, late, (6, None), given_up]);
    assert_eq!(
        learns(&mut latest),
        [(6, None), given_up],
        "what stands before the first group was not asked for"
    );
}

proptest::proptest! {
    #[test]
    fn every_reader_learns_of_every_number_once(
        steps in proptest::collection::vec((0..8_u8, 0..20_u64, 0..4_u64), 0..120),
        local in proptest::bool::ANY,
        max_groups in 1..6_usize,
    ) {
        let retention = Retention { max_groups, ..Retention::default() };
        let name = "cam/video".parse().unwrap();
        let track = if local {
            TrackProducer::new(name, TrackInfo::default(), retention)
        } else {
            TrackProducer::incoming(name, retention, &CacheBudget::unlimited())
        };
        let mut readers = vec![(track.reader_from(3), Vec::new()), (track.consume(), Vec::new())];
        let mut base = 0;
        for (step, number, more) in steps {
            let number = base + number;
            match step {
                0 => drop(track.append_group()),
                1 => drop(track.append_group().finish()),
                2 => drop(track.create_group(number).map(GroupProducer::finish)),
                3 => drop(track.create_group(number)),
                4 => track.gap(number, number + more, Reason::Internal),
                5 => base += more,
                6 if readers.len() < 6 => {
                    let reader = track.reader_from(number);
                    readers.push((reader, Vec::new()));
                }
                _ => {
                    let at = usize::try_from(number).unwrap() % readers.len();
                    let (reader, learned) = &mut readers[at];
                    learned.extend(learns(reader));
                }
            }
        }
        track.finish();
        for (mut reader, mut learned) in readers {
            learned.extend(learns(&mut reader));
            // A group that was had may be given up afterwards.
            let mut had = std::collections::BTreeSet::new();
            let groups: Vec<u64> = learned.iter().filter(|(_, gap)| gap.is_none()).map(|(at, _)| *at).collect();
            for (first, gap) in learned {
                for number in first..=gap.map_or(first, |(last, _)| last) {
                    let new = had.insert(number);
                    proptest::prop_assert!(new || (gap.is_some() && groups.contains(&number)), "{} twice", number);
                }
            }
            let lowest = reader.start().or(groups.iter().min().copied());
            if let (Some(lowest), Some(highest)) = (lowest, had.last().copied()) {
                proptest::prop_assert_eq!(had.into_iter().collect::<Vec<_>>(), (lowest..=highest).collect::<Vec<_>>());
            }
        }
    }
}

#[tokio::test]
async fn a_finished_track_ends_and_a_dropped_one_is_cancelled() {
    let track = producer(Retention::default());
    let mut reader = track.consume();
    group(&track, &["x"]);
    track.finish();
    drop(track);
    assert!(reader.next_group().await.unwrap().is_some());
    assert!(reader.next_group().await.unwrap().is_none());

    let track = producer(Retention::default());
    let mut reader = track.consume();
    let twin = track.clone();
    drop(track);
    assert!(now_or_never(reader.next_group()).is_none(), "a clone still writes");
    drop(twin);
    assert!(matches!(reader.next_group().await, Err(TrackError::Ended(Reason::Cancelled))));
}

#[tokio::test]
async fn a_producer_learns_when_readers_come_and_go() {
    let track = producer(Retention::default());
    assert!(now_or_never(track.unused()).is_some());
    let reader = track.consume();
    let second = reader.clone();
    assert_eq!(track.readers(), 2);
    assert!(now_or_never(track.unused()).is_none());
    assert!(now_or_never(track.readers_above(1)).is_some());
    assert!(now_or_never(track.readers_above(2)).is_none());
    let waiting = tokio::join!(track.unused(), async {
        drop(reader);
        tokio::task::yield_now().await;
        drop(second);
    });
    assert_eq!(waiting, ((), ()));
}

#[test]
fn a_wait_that_is_given_up_leaves_nothing_behind() {
    let track = producer(Retention::default());
    let _reader = track.consume();
    for _ in 0..100 {
        assert!(now_or_never(track.unused()).is_none());
        assert!(now_or_never(track.readers_above(1)).is_none());
    }
    assert_eq!(track.waiting(), 0);
}

#[test]
fn a_track_that_ended_for_want_of_readers_cannot_be_joined() {
    let track = producer(Retention::default());
    let reader = track.consume();
    let weak = reader.downgrade();
    assert!(weak.upgrade().is_some());
    assert!(!track.end_if_unused());
    drop(reader);
    assert!(weak.upgrade().is_some(), "still open");
    assert!(track.end_if_unused());
    assert!(weak.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn ordered_groups_come_by_number_and_gaps_stand_between() {
    let track = producer(Retention::default());
    track.create_group(3).unwrap();
    let mut ordered = OrderedGroups::new(track.consume(), Duration::from_millis(200));
    let mut next = async || match ordered.next().await.unwrap() {
        Some(OrderedItem::Group(group)) => (group.sequence(), group.sequence(), None),
        Some(OrderedItem::Gap { first, last, reason }) => (first, last, Some(reason)),
        None => (u64::MAX, u64::MAX, None),
    };
    for sequence in [5, 4, 8, 12] {
        track.create_group(sequence).unwrap();
    }
    track.gap(6, 7, Reason::Expired);
    for expected in [(3, 3, None), (4, 4, None), (5, 5, None), (6, 7, Some(Reason::Expired)), (8, 8, None)] {
        assert_eq!(next().await, expected);
    }
    let before = now();
    assert_eq!(next().await, (9, 11, Some(Reason::Timeout)));
    assert_eq!(before.elapsed(), Duration::from_millis(200));
    assert_eq!(next().await, (12, 12, None));
    track.create_group(14).unwrap();
    track.finish();
    assert_eq!(next().await, (13, 13, Some(Reason::NotFound)), "after the end nothing is waited for");
    assert_eq!(next().await, (14, 14, None));
    assert_eq!(next().await.0, u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn a_gap_before_the_first_group_is_given_out() {
    let track = producer(Retention::default());
    let mut ordered = OrderedGroups::new(track.consume().reader(Start::At(0)), Duration::from_secs(1));
    track.gap(0, 4, Reason::Expired);
    track.finish();
    let item = ordered.next().await.unwrap();
    assert!(
        matches!(item, Some(OrderedItem::Gap { first: 0, last: 4, reason: Reason::Expired })),
        "{item:?}"
    );
    assert!(ordered.next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_reader_in_order_may_wait_for_ever() {
    let track = producer(Retention::default());
    track.create_group(0).unwrap();
    let mut ordered = OrderedGroups::new(track.consume(), Duration::MAX);
    assert!(matches!(ordered.next().await.unwrap(), Some(OrderedItem::Group(_))));
    track.create_group(2).unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(3600), ordered.next()).await;
    assert!(waiting.is_err());
    track.create_group(1).unwrap();
    for sequence in [1, 2] {
        let Some(OrderedItem::Group(group)) = ordered.next().await.unwrap() else { panic!("no group") };
        assert_eq!(group.sequence(), sequence);
    }
}

#[tokio::test]
async fn a_reader_may_begin_at_a_frame_that_is_yet_to_come() {
    let track = producer(Retention::default());
    let mut writing = track.append_group();
    let reader = |frame| {
        let mut group = track.consume().group(0).unwrap();
        assert!(group.seek(frame));
        group
    };
    let (mut second, mut third, mut behind, mut beyond) = (reader(1), reader(2), reader(3), reader(4));
    writing.write_frame("a").unwrap();
    assert_eq!(now_or_never(second.read_frame()), None);
    writing.write_frame("b").unwrap();
    assert_eq!(second.read_frame().await.unwrap().unwrap(), "b");
    assert_eq!(now_or_never(third.next_frame()).map(drop), None);
    writing.write_frame("c").unwrap();
    assert_eq!(third.read_frame().await.unwrap().unwrap(), "c");
    assert_eq!(now_or_never(behind.read_frame()), None);
    assert_eq!(now_or_never(beyond.read_frame()), None);
    assert_eq!(behind.end(), None);
    writing.finish().unwrap();
    assert_eq!(third.read_frame().await, Ok(None));
    assert_eq!(behind.read_frame().await, Ok(None));
    assert_eq!(beyond.read_frame().await, Err(GroupError::Reset(Reason::OutOfRange)));
    assert_eq!(beyond.end(), Some(Ok(())));
}

#[tokio::test]
async fn a_gap_of_a_peer_is_not_told_of_a_group_that_came_whole_and_ends_one_that_did_not() {
    let track = incoming(Retention::default());
    let mut reader = track.consume().reader(Start::At(0));
    let mut whole = track.create_group(0).unwrap();
    whole.write_frame("x").unwrap();
    whole.finish().unwrap();
    let mut running = track.create_group(1).unwrap();
    running.write_frame("y").unwrap();
    track.gap(0, 1, Reason::Expired);

    let mut whole = reader.next_group().await.unwrap().unwrap();
    assert_eq!(whole.read_frame().await.unwrap().unwrap(), "x");
    assert_eq!(whole.read_frame().await, Ok(None));
    let mut cut = reader.next_group().await.unwrap().unwrap();
    assert_eq!(cut.read_frame().await.unwrap().unwrap(), "y");
    assert_eq!(cut.read_frame().await, Err(GroupError::Reset(Reason::Expired)));
    assert!(running.write_frame("more").is_err());
    let event = reader.next_event().await.unwrap();
    assert!(
        matches!(event, Some(TrackEvent::Gap { first: 1, last: 1, reason: Reason::Expired })),
        "{event:?}"
    );
    assert!(now_or_never(reader.next_event()).is_none());
}
