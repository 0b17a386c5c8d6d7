//! A track with several sources.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(5);

fn merged() -> MergedTrack {
    let name = "cam/video".parse().unwrap();
    MergedTrack::new(&CacheBudget::unlimited(), name, Retention::default(), GRACE)
}

fn source(track: &MergedTrack) -> TrackSource {
    let (source, _) = TrackSource::of(track);
    source.begins_at(0);
    source
}

fn write(pen: &mut Pen, frames: &[&'static str]) {
    for frame in frames {
        pen.begin_frame(FrameMeta::sized(frame.len() as u64)).unwrap();
        pen.append_payload(Bytes::from_static(frame.as_bytes())).unwrap();
    }
}

fn reset() -> GroupError {
    GroupError::Reset(Reason::Internal)
}

/// What the track tells a reader now: groups as their numbers, gaps as negative ones.
fn events(reader: &mut TrackConsumer) -> Vec<(u64, Option<Reason>)> {
    let mut events = Vec::new();
    while let Some(Ok(Some(event))) = now_or_never(reader.next_event()) {
        match event {
            TrackEvent::Group(group) => events.push((group.sequence(), None)),
            TrackEvent::Gap { first, last, reason } => {
                events.extend((first..=last).map(|number| (number, Some(reason))));
            }
        }
    }
    events
}

fn first_group(track: &MergedTrack) -> GroupConsumer {
    let mut reader = track.consume().reader(Start::At(0));
    now_or_never(reader.next_group()).unwrap().unwrap().unwrap()
}

/// Frames that are there whole, and how the group ended if it did.
fn content(group: &mut GroupConsumer) -> (Vec<Bytes>, Option<Result<(), GroupError>>) {
    let mut frames = Vec::new();
    loop {
        match now_or_never(group.read_frame()) {
            None => return (frames, None),
            Some(Ok(Some(frame))) => frames.push(frame),
            Some(Ok(None)) => return (frames, Some(Ok(()))),
            Some(Err(error)) => return (frames, Some(Err(error))),
        }
    }
}

#[test]
fn who_is_ahead_appends_and_the_other_takes_over_in_the_middle_of_a_frame() {
    let track = merged();
    let (a, b) = (source(&track), source(&track));
    let mut ahead = a.create_group(0).unwrap();
    let mut behind = b.create_group(0).unwrap();
    let mut group = first_group(&track);
    write(&mut ahead, &["one"]);
    ahead.begin_frame(FrameMeta::sized(4)).unwrap();
    ahead.append_payload("tw".into()).unwrap();
    behind.begin_frame(FrameMeta::sized(3)).unwrap();
    behind.append_payload("on".into()).unwrap();
    assert_eq!(content(&mut group).0, ["one"]);
    ahead.end(reset());
    assert_eq!(content(&mut group), (vec![], None), "the other may still bring it");
    behind.append_payload("e".into()).unwrap();
    behind.begin_frame(FrameMeta::sized(4)).unwrap();
    behind.append_payload("two!".into()).unwrap();
    write(&mut behind, &[""]);
    behind.complete().unwrap();
    assert_eq!(content(&mut group), (vec!["two!".into(), "".into()], Some(Ok(()))));
}

#[tokio::test]
async fn the_pen_of_a_group_that_others_completed_is_told() {
    let track = merged();
    let (a, b) = (source(&track), source(&track));
    let (mut first, mut second) = (a.create_group(0).unwrap(), b.create_group(0).unwrap());
    write(&mut first, &["x", "y"]);
    write(&mut second, &["x"]);
    assert!(now_or_never(second.let_go()).is_none());
    first.complete().unwrap();
    assert_eq!(second.let_go().await, GroupError::Finished);
    assert_eq!(second.begin_frame(FrameMeta::sized(1)), Err(GroupError::Finished));
    second.end(GroupError::Finished);
    // And whoever comes later finds it whole.
    assert!(matches!(b.create_group(0), Err(CreateGroupError::Duplicate(0))));
    let mut reader = track.consume().reader(Start::At(0));
    assert_eq!(events(&mut reader), [(0, None)]);
}

#[test]
fn a_gap_is_one_once_all_sources_have_told_it() {
    let track = merged();
    let (a, b) = (source(&track), source(&track));
    let mut reader = track.consume().reader(Start::At(0));
    a.gap(0, 4, Reason::NotFound);
    assert_eq!(events(&mut reader), []);
    b.create_group(1).unwrap().complete().unwrap();
    b.gap(2, 3, Reason::Expired);
    assert_eq!(events(&mut reader), [(1, None), (2, Some(Reason::Expired)), (3, Some(Reason::Expired))]);
    assert_eq!(track.resume_at(), Some(0));
    // A third one may bring what is left.
    let c = source(&track);
    b.gap(0, 4, Reason::NotFound);
    c.begins_at(4);
    assert_eq!(events(&mut reader), [(0, Some(Reason::NotFound))]);
    c.create_group(4).unwrap().complete().unwrap();
    assert_eq!(events(&mut reader), [(4, None)]);
    assert_eq!(track.resume_at(), Some(5));
}

#[test]
fn a_cut_group_is_given_up_when_the_last_who_could_bring_it_says_no() {
    for leaves in [false, true] {
        let track = merged();
        let (a, b) = (source(&track), source(&track));
        let mut reader = track.consume().reader(Start::At(0));
        let mut pen = a.create_group(0).unwrap();
        write(&mut pen, &["x"]);
        pen.end(reset());
        let mut group = first_group(&track);
        assert_eq!(content(&mut group), (vec!["x".into()], None));
        assert_eq!(track.cut_groups(), [0]);
        if leaves {
            // The one that is left has said that it will not.
            drop(b);
        } else {
            b.gap(0, 0, Reason::TooMany);
        }
        let why = if leaves { Reason::NotFound } else { Reason::TooMany };
        assert_eq!(content(&mut group), (vec![], Some(Err(GroupError::Reset(why)))));
        assert_eq!(events(&mut reader), [(0, None), (0, Some(why))]);
        assert_eq!(track.resume_at(), Some(1));
        assert!(matches!(a.create_group(0), Err(CreateGroupError::Duplicate(0))), "it had its chance");
    }
}

#[test]
fn a_gap_that_a_source_tells_ends_what_of_the_group_it_still_sends() {
    let track = merged();
    let (a, b) = (source(&track), source(&track));
    let (mut one, mut other) = (a.create_group(0).unwrap(), b.create_group(0).unwrap());
    write(&mut one, &["x"]);
    a.gap(0, 0, Reason::Expired);
    assert_eq!(one.begin_frame(FrameMeta::sized(1)), Err(GroupError::Reset(Reason::Expired)));
    one.end(GroupError::Reset(Reason::Expired));
    write(&mut other, &["x", "y"]);
    other.complete().unwrap();
    assert_eq!(content(&mut first_group(&track)), (vec!["x".into(), "y".into()], Some(Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn without_a_source_nothing_is_given_up_before_the_grace_has_passed() {
    let track = merged();
    let mut reader = track.consume().reader(Start::At(0));
    let a = source(&track);
    let mut pen = a.create_group(1).unwrap();
    write(&mut pen, &["x"]);
    // The session dies: the source goes before its pens.
    a.fail(TrackError::Ended(Reason::Transport));
    drop(pen);
    assert_eq!(track.sources(), 0);
    assert_eq!(events(&mut reader), [(1, None)]);
    tokio::time::timeout(GRACE / 2, track.abandoned()).await.unwrap_err();
    // One that comes in time begins the time anew.
    let b = source(&track);
    tokio::time::timeout(GRACE * 2, track.abandoned()).await.unwrap_err();
    drop(b);
    tokio::time::timeout(GRACE - Duration::from_millis(1), track.abandoned()).await.unwrap_err();
    assert_eq!(events(&mut reader), []);
    track.abandoned().await;
    let timeout = Some(Reason::Timeout);
    assert_eq!(events(&mut reader), [(1, timeout), (0, Some(Reason::NotFound))]);
    let c = source(&track);
    assert_eq!(track.resume_at(), Some(2));
    c.create_group(2).unwrap().complete().unwrap();
    assert_eq!(events(&mut reader), [(2, None)]);
}

#[test]
fn another_session_brings_the_rest_of_a_cut_group() {
    let track = merged();
    let a = source(&track);
    let mut pen = a.create_group(0).unwrap();
    write(&mut pen, &["one"]);
    pen.begin_frame(FrameMeta::sized(3)).unwrap();
    pen.append_payload("t".into()).unwrap();
    drop((a, pen));
    let mut group = first_group(&track);
    let mut mending = track.mend(0).unwrap();
    assert_eq!(mending.frame, 1);
    // One that begins behind it does not end the hope.
    let (b, _) = TrackSource::of(&track);
    b.begins_at(1);
    write(&mut mending.pen, &["two", "three"]);
    mending.pen.complete().unwrap();
    assert_eq!(content(&mut group), (vec!["one".into(), "two".into(), "three".into()], Some(Ok(()))));
    assert!(track.mend(0).is_none(), "nothing is missing");

    // Refused, it takes the group along; with its session gone, it leaves that to who may ask another one.
    for refused in [false, true] {
        let number = 1 + u64::from(refused);
        let mut mending = track.mend(number).unwrap();
        b.begins_at(number + 1);
        let mut reader = track.consume().reader(Start::At(number));
        assert_eq!(events(&mut reader), [(number, None)]);
        if refused {
            mending.pen.end(reset());
            assert_eq!(events(&mut reader), [(number, Some(Reason::Internal))]);
        } else {
            drop(mending);
            assert_eq!(events(&mut reader), []);
            track.settle();
            assert_eq!(events(&mut reader), [(number, Some(Reason::NotFound))]);
        }
    }
}

#[test]
fn a_copy_of_another_shape_is_dropped_and_counted() {
    let track = merged();
    let (a, b, c) = (source(&track), source(&track), source(&track));
    let mut pens = [&a, &b, &c].map(|source| source.create_group(0).unwrap());
    write(&mut pens[0], &["abc", "d"]);
    assert_eq!(pens[1].begin_frame(FrameMeta::sized(2)), Err(GroupError::Differs));
    pens[1].end(GroupError::Differs);
    write(&mut pens[2], &["abc"]);
    assert_eq!(pens[2].complete(), Err(GroupError::Differs), "it would be shorter");
    pens[2].end(GroupError::Differs);
    assert_eq!(track.mismatches(), 2);
    pens[0].complete().unwrap();
    assert_eq!(content(&mut first_group(&track)), (vec!["abc".into(), "d".into()], Some(Ok(()))));
}

#[test]
fn a_track_is_finished_when_a_source_came_to_its_end_and_none_is_left() {
    let track = merged();
    let mut reader = track.consume();
    let (a, b) = (source(&track), source(&track));
    a.create_group(0).unwrap().complete().unwrap();
    a.finish();
    assert!(!track.is_ended());
    b.fail(TrackError::Ended(Reason::Transport));
    assert!(track.is_ended());
    assert_eq!(events(&mut reader), [(0, None)]);
    assert!(matches!(now_or_never(reader.next_event()), Some(Ok(None))));
    assert!(track.mend(1).is_none());

    // Where it goes on with another one, it was not its end.
    let track = merged();
    let (a, b) = (source(&track), source(&track));
    a.finish();
    b.create_group(0).unwrap().complete().unwrap();
    b.fail(TrackError::Ended(Reason::Transport));
    assert!(!track.is_ended());
    let c = source(&track);
    c.create_group(1).unwrap().complete().unwrap();
    c.finish();
    assert!(track.is_ended());
}

#[test]
fn a_track_that_came_to_its_end_waits_for_the_rest_of_a_group_that_is_fetched() {
    let track = merged();
    let a = source(&track);
    let mut pen = a.create_group(0).unwrap();
    write(&mut pen, &["one"]);
    drop((a, pen));
    let fetch = track.mend(0).unwrap();
    let b = source(&track);
    b.begins_at(1);
    b.create_group(1).unwrap().complete().unwrap();
    b.finish();
    assert!(!track.is_ended());
    // The session of the fetch dies as well, and another one brings it.
    drop(fetch);
    assert!(!track.is_ended());
    let mut fetch = track.mend(0).unwrap();
    write(&mut fetch.pen, &["two"]);
    fetch.pen.complete().unwrap();
    assert!(track.is_ended());
    let mut group = first_group(&track);
    assert_eq!(content(&mut group), (vec!["one".into(), "two".into()], Some(Ok(()))));
}

#[test]
fn who_takes_over_is_enough_once_what_it_does_not_bring_is_whole() {
    let track = merged();
    let (a, (b, _)) = (source(&track), TrackSource::of(&track));
    let coverage = b.coverage().unwrap();
    b.begins_at(1);
    assert!(now_or_never(coverage.covers()).is_some());
    let mut old = a.create_group(0).unwrap();
    write(&mut old, &["x"]);
    let mut shared = a.create_group(1).unwrap();
    assert!(now_or_never(coverage.covers()).is_none());
    let mut new = b.create_group(1).unwrap();
    new.complete().unwrap();
    shared.end(GroupError::Finished);
    assert!(now_or_never(coverage.covers()).is_none());
    old.complete().unwrap();
    assert!(now_or_never(coverage.covers()).is_some());
    // What nobody brings any more is not waited for either.
    let cut = a.create_group(2).unwrap();
    b.gap(2, 2, Reason::NotFound);
    assert!(now_or_never(coverage.covers()).is_none());
    drop((a, cut));
    assert!(now_or_never(coverage.covers()).is_some());
}

#[test]
fn a_track_that_is_ended_leaves_no_reader_waiting() {
    for how in 0..3 {
        let track = merged();
        let (a, b) = (source(&track), source(&track));
        let mut cut = a.create_group(0).unwrap();
        let mut running = b.create_group(1).unwrap();
        write(&mut cut, &["x"]);
        cut.end(reset());
        write(&mut running, &["y"]);
        let mut reader = track.consume().reader(Start::At(0));
        let mut groups = Vec::new();
        while let Some(Ok(Some(group))) = now_or_never(reader.next_group()) {
            groups.push(group);
        }
        match how {
            0 => track.finish(),
            1 => track.abort(Reason::GoingAway),
            _ => drop(track),
        }
        assert!(matches!(content(&mut groups[0]).1, Some(Err(GroupError::Reset(_)))));
        assert_eq!(content(&mut groups[1]).1, None, "it is still written");
        drop((a, b, running));
        assert!(matches!(content(&mut groups[1]).1, Some(Err(GroupError::Reset(_)))));
        assert!(now_or_never(reader.next_event()).is_some());
    }
}

#[test]
fn what_has_fallen_out_of_retention_is_not_taken_again() {
    let retention = Retention { max_groups: 2, ..Retention::default() };
    let name = "cam/video".parse().unwrap();
    let track = MergedTrack::new(&CacheBudget::unlimited(), name, retention, GRACE);
    let (a, b) = (source(&track), source(&track));
    for sequence in 0..4 {
        a.create_group(sequence).unwrap().complete().unwrap();
    }
    assert!(matches!(b.create_group(0), Err(CreateGroupError::Duplicate(0))));
    assert!(track.mend(0).is_none());
    assert_eq!(track.resume_at(), Some(4));
}

#[test]
fn what_a_source_can_tell_of_gaps_is_bounded() {
    let retention = Retention { max_groups: 8, ..Retention::default() };
    let name = "cam/video".parse().unwrap();
    let track = MergedTrack::new(&CacheBudget::unlimited(), name, retention, GRACE);
    let (a, b) = (source(&track), source(&track));
    for number in 0..1000 {
        a.gap(number * 2, number * 2, Reason::NotFound);
    }
    // What is kept of them is the newest; between the others nothing is expected any more.
    let mut reader = track.consume().reader(Start::At(0));
    b.gap(1, 1, Reason::NotFound);
    assert_eq!(events(&mut reader), [(1, Some(Reason::NotFound))]);
    b.gap(1997, 1997, Reason::NotFound);
    assert_eq!(events(&mut reader), [], "the other one may still bring it");
}

/// What is in a group: frames of many sizes.
fn reference(sequence: u64) -> Vec<Bytes> {
    let frames = 1 + sequence % 4;
    let frame = |number: u64| {
        let len = (sequence * 31 + number * 17) % 23;
        (0..len).map(|at| (sequence * 7 + number * 5 + at) as u8).collect()
    };
    (0..frames).map(frame).collect()
}

/// One copy of a group on its way.
struct Copy {
    pen: Pen,
    frames: Vec<Bytes>,
    at: usize,
    offset: usize,
    begun: bool,
}

impl Copy {
    fn new(pen: Pen, first: u64) -> Self {
        let frames = reference(pen.sequence());
        Self { pen, frames, at: usize::try_from(first).unwrap(), offset: 0, begun: false }
    }

    /// Brings up to `bytes` more. Returns whether it is through.
    fn bring(&mut self, mut bytes: usize) -> bool {
        loop {
            let Some(frame) = self.frames.get(self.at) else {
                let end = self.pen.complete();
                self.pen.end(GroupError::Finished);
                return matches!(end, Ok(()) | Err(GroupError::Finished));
            };
            let mut written = Ok(());
            if !std::mem::replace(&mut self.begun, true) {
                written = self.pen.begin_frame(FrameMeta::sized(frame.len() as u64));
            }
            let piece = bytes.min(frame.len() - self.offset);
            let written =
                written.and_then(|()| self.pen.append_payload(frame.slice(self.offset..self.offset + piece)));
            if let Err(error) = written {
                assert_eq!(error, GroupError::Finished);
                self.pen.end(error);
                return true;
            }
            self.offset += piece;
            bytes -= piece;
            if self.offset < frame.len() {
                return false;
            }
            (self.at, self.offset, self.begun) = (self.at + 1, 0, false);
            if bytes == 0 {
                return false;
            }
        }
    }
}

/// A session that brings groups.
struct Peer {
    source: TrackSource,
    next: u64,
    copies: BTreeMap<u64, Copy>,
}

impl Peer {
    fn new(track: &MergedTrack) -> Self {
        let (source, _) = TrackSource::of(track);
        let next = track.resume_at().unwrap_or(0);
        source.begins_at(next);
        Self { source, next, copies: BTreeMap::new() }
    }

    fn begin(&mut self, last: u64) {
        if self.next <= last {
            if let Ok(pen) = self.source.create_group(self.next) {
                self.copies.insert(self.next, Copy::new(pen, 0));
            }
            self.next += 1;
        }
    }

    fn bring(&mut self, which: u64, bytes: usize) {
        let Some(&sequence) = self.copies.keys().nth(which as usize % self.copies.len().max(1)) else {
            return;
        };
        if self.copies.get_mut(&sequence).unwrap().bring(bytes) {
            self.copies.remove(&sequence);
        }
    }
}

const GROUPS: u64 = 12;

type Groups = BTreeMap<u64, Vec<Bytes>>;

/// Feeds a track as `steps` say, and in the end all the rest. Returns what one reader from the start got: how often
/// each group, and which gaps.
fn run(steps: &[(u8, u64, u64)], resets: bool) -> Result<(Groups, BTreeSet<u64>), TestCaseError> {
    let track = merged();
    let mut reader = track.consume().reader(Start::At(0));
    let mut peers: Vec<Peer> = (0..2).map(|_| Peer::new(&track)).collect();
    let mut fetches: Vec<Copy> = Vec::new();
    for &(step, which, amount) in steps {
        let count = peers.len() as u64;
        let peer = peers.get_mut((which % count.max(1)) as usize);
        match (step, peer) {
            (0 | 1, Some(peer)) => peer.begin(GROUPS - 1),
            (2..=7, Some(peer)) => peer.bring(amount, amount as usize),
            // The session dies, with its pens before or after it.
            (8, Some(_)) => {
                let Peer { source, copies, .. } = peers.remove((which % count) as usize);
                if amount % 2 == 0 {
                    drop(copies);
                    drop(source);
                } else {
                    source.fail(TrackError::Ended(Reason::Transport));
                    drop(copies);
                }
            }
            (9, _) if count < 3 => peers.push(Peer::new(&track)),
            (10, Some(peer)) if resets => {
                if let Some((_, mut copy)) = peer.copies.pop_first() {
                    copy.pen.end(reset());
                }
            }
            (11, _) => {
                for sequence in track.cut_groups() {
                    let mending = track.mend(sequence).unwrap();
                    fetches.push(Copy::new(mending.pen, mending.frame));
                }
            }
            (12, _) => fetches.retain_mut(|fetch| !fetch.bring(amount as usize)),
            (13, _) => drop(fetches.pop()),
            _ => {}
        }
    }
    drop(fetches);
    // Without resets a copy ends only with its session.
    let mut last = Peer::new(&track);
    drop(peers);
    while last.next < GROUPS || !last.copies.is_empty() {
        last.begin(GROUPS - 1);
        last.bring(0, 5);
    }
    last.source.finish();
    prop_assert!(track.is_ended());
    prop_assert_eq!(track.mismatches(), 0);
    let (mut groups, mut gaps) = (BTreeMap::new(), BTreeSet::new());
    while let Some(event) = now_or_never(reader.next_event()).unwrap().unwrap() {
        match event {
            TrackEvent::Group(mut group) => {
                let (frames, end) = content(&mut group);
                let sequence = group.sequence();
                match end {
                    Some(Ok(())) => {
                        prop_assert!(groups.insert(sequence, frames).is_none(), "{} twice", sequence)
                    }
                    Some(Err(_)) => prop_assert_eq!(&frames[..], &reference(sequence)[..frames.len()]),
                    None => prop_assert!(false, "{} hangs", sequence),
                }
            }
            TrackEvent::Gap { first, last, .. } => {
                for number in first..=last {
                    prop_assert!(gaps.insert(number), "gap {} twice", number);
                }
            }
        }
    }
    for (sequence, frames) in &groups {
        prop_assert_eq!(frames, &reference(*sequence));
        prop_assert!(!gaps.contains(sequence), "{} is whole and a gap", sequence);
    }
    Ok((groups, gaps))
}

fn steps() -> impl Strategy<Value = Vec<(u8, u64, u64)>> {
    proptest::collection::vec((0..14_u8, 0..3_u64, 0..30_u64), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn sessions_that_die_at_any_byte_cost_no_byte_and_repeat_none(steps in steps()) {
        let (groups, gaps) = run(&steps, false)?;
        prop_assert_eq!(gaps.len(), 0);
        prop_assert_eq!(groups.len() as u64, GROUPS);
    }

    #[test]
    fn where_streams_are_reset_too_each_group_is_whole_or_a_gap(steps in steps()) {
        let (groups, gaps) = run(&steps, true)?;
        let all: BTreeSet<u64> = groups.keys().chain(&gaps).copied().collect();
        prop_assert_eq!(all, (0..GROUPS).collect::<BTreeSet<_>>());
    }
}
