//! What groups hold, of one track and of many that share a budget, and how it is let go.

use proptest::prelude::*;

use super::*;

fn within(budget: &CacheBudget, retention: Retention) -> TrackProducer {
    TrackProducer::within(budget, "cam/video".parse().unwrap(), TrackInfo::default(), retention)
}

/// One finished group of about a kilobyte.
fn kilobyte(track: &TrackProducer) {
    let mut group = track.append_group();
    group.write_frame(vec![0; 500]).unwrap();
    group.finish().unwrap();
}

fn held(track: &TrackProducer) -> Vec<u64> {
    (0..1000).filter(|&sequence| track.shared().group(sequence).is_some()).collect()
}

impl TrackProducer {
    /// Without becoming a reader for longer than that.
    fn shared(&self) -> TrackConsumer {
        self.consume()
    }
}

#[test]
fn all_tracks_together_keep_to_the_budget_exactly() {
    let budget = CacheBudget::new(100_000);
    let tracks: Vec<_> = (0..7).map(|_| within(&budget, Retention::default())).collect();
    for round in 0..200 {
        for track in &tracks {
            kilobyte(track);
            assert!(budget.held() <= budget.limit(), "{budget:?} in round {round}");
        }
    }
    assert!(budget.held() > 95_000, "{budget:?}: no more is let go than has to");
    let sum: u64 = tracks.iter().map(|track| track.shared().held_bytes()).sum();
    assert_eq!(budget.held(), sum);
    assert!(budget.evicted() > 1000);
    assert_eq!(
        (budget.tracks(), budget.groups()),
        (7, tracks.iter().map(|track| held(track).len() as u64).sum())
    );
    drop(tracks);
    assert_eq!((budget.held(), budget.groups(), budget.tracks()), (0, 0, 0));
}

#[test]
fn a_track_that_holds_too_much_loses_its_own_and_not_its_neighbours() {
    let budget = CacheBudget::new(210_000);
    let modest: Vec<_> = (0..4).map(|_| within(&budget, Retention::default())).collect();
    // Half of what a fair share of five would be.
    modest.iter().for_each(|track| (0..20).for_each(|_| kilobyte(track)));
    let before: Vec<_> = modest.iter().map(held).collect();
    let greedy = within(&budget, Retention { max_bytes: u64::MAX, ..Retention::default() });
    for _ in 0..1000 {
        kilobyte(&greedy);
    }
    assert_eq!(modest.iter().map(held).collect::<Vec<_>>(), before);
    assert!(budget.held() <= 210_000);
    let left = held(&greedy);
    assert!(left.len() > 100, "it has all that the others do not use: {}", left.len());
    assert_eq!(left.last(), Some(&999), "its oldest went first");
    assert_eq!(left.len() as u64, 1000 - left.first().unwrap());

    // When the others want their shares, they get them.
    modest.iter().for_each(|track| (0..20).for_each(|_| kilobyte(track)));
    let shares: Vec<_> = modest.iter().map(|track| track.shared().held_bytes()).collect();
    assert!(shares.iter().all(|&share| share >= 200_000 / 5 * 7 / 8 - 4096), "{shares:?}");
}

#[test]
fn the_newest_group_of_each_track_is_kept_and_where_those_are_too_much_the_largest_goes() {
    let budget = CacheBudget::new(100_000);
    let tracks: Vec<_> = (0..10).map(|_| within(&budget, Retention::default())).collect();
    for track in &tracks {
        kilobyte(track);
        kilobyte(track);
    }
    let large = within(&budget, Retention::default());
    let mut group = large.append_group();
    let mut reader = large.consume();
    let mut behind = now_or_never(reader.next_group()).unwrap().unwrap().unwrap();
    while budget.evicted() < 10 {
        group.write_frame(vec![0; 1000]).unwrap();
    }
    assert!(tracks.iter().all(|track| held(track) == [1]), "only what was left of others");
    let end = std::iter::repeat_with(|| group.write_frame(vec![0; 1000])).find_map(Result::err);
    assert_eq!(end, Some(GroupError::Expired));
    assert_eq!(budget.evicted(), 11);
    assert!(tracks.iter().all(|track| held(track) == [1]), "nobody else's newest for it");
    assert!(matches!(now_or_never(behind.read_frame()), Some(Err(GroupError::Expired))));
    assert!(budget.held() < 20_000);
}

#[test]
fn groups_fetched_alone_count_too() {
    let budget = CacheBudget::new(50_000);
    let (writing, mut reader, _unread) = GroupProducer::alone(7, 0, &Retention::default(), &budget);
    let mut writing = writing;
    let end = (0..100).find_map(|_| writing.write_frame(vec![0; 1000]).err());
    assert_eq!(end, Some(GroupError::Expired));
    assert!(matches!(now_or_never(reader.read_frame()), Some(Err(GroupError::Expired))));
    assert_eq!((budget.held(), budget.evicted()), (0, 1));
    drop((writing, reader));
    assert_eq!((budget.groups(), budget.tracks()), (0, 0));
}

#[test]
fn a_slice_from_a_peer_keeps_no_more_alive_than_it_counts_for() {
    let batch = Bytes::from(vec![7; 64 << 10]);
    for (track, shared) in [(incoming(Retention::default()), false), (producer(Retention::default()), true)] {
        let mut group = track.create_group(0).unwrap();
        group.write_frame(batch.slice(1000..2400)).unwrap();
        let frame = now_or_never(track.consume().group(0).unwrap().read_frame()).unwrap().unwrap().unwrap();
        assert_eq!(frame.as_ptr() == batch.slice(1000..).as_ptr(), shared);
    }
    let track = incoming(Retention::default());
    track.create_group(0).unwrap().write_frame(batch.slice(..20_000)).unwrap();
    let frame = now_or_never(track.consume().group(0).unwrap().read_frame()).unwrap().unwrap().unwrap();
    assert_eq!(frame.as_ptr(), batch.as_ptr(), "a large part is no reason to copy");
}

const AGE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn groups_of_a_quiet_track_go_by_age_too() {
    let budget = CacheBudget::unlimited();
    let track = within(&budget, Retention::max_age(AGE));
    (0..5).for_each(|_| kilobyte(&track));
    tokio::time::advance(AGE).await;
    budget.sweep_now();
    assert_eq!(held(&track), [0, 1, 2, 3, 4], "as old as they may be");
    tokio::time::advance(Duration::from_millis(1)).await;
    budget.sweep_now();
    assert_eq!(held(&track), [4], "the newest stays");
    tokio::time::advance(Duration::from_secs(3600)).await;
    budget.sweep_now();
    assert_eq!(held(&track), [4]);
    // Who comes late learns of what is gone.
    assert_eq!(learns(&mut track.reader_from(0)), [(0, Some((3, Reason::NotFound))), (4, None)]);
}

#[tokio::test(start_paused = true)]
async fn the_sweep_runs_by_itself_for_all_tracks_of_a_budget() {
    let budget = CacheBudget::unlimited();
    let tracks: Vec<_> = (0..3).map(|_| within(&budget, Retention::max_age(AGE))).collect();
    tracks.iter().for_each(|track| (0..3).for_each(|_| kilobyte(track)));
    let timeout = tokio::time::timeout(AGE + Duration::from_millis(300), budget.sweep()).await;
    assert!(timeout.is_err());
    assert!(tracks.iter().all(|track| held(track) == [2]));
}

#[tokio::test(start_paused = true)]
async fn a_group_behind_the_newest_ages_while_it_stands_still() {
    let budget = CacheBudget::unlimited();
    let track = within(&budget, Retention::max_age(AGE));
    let mut running = track.append_group();
    let mut stuck = track.append_group();
    stuck.write_frame("x").unwrap();
    kilobyte(&track);
    for _ in 0..60 {
        tokio::time::advance(Duration::from_millis(250)).await;
        running.write_frame("x").unwrap();
        budget.sweep_now();
    }
    assert_eq!(held(&track), [0, 2]);
    assert_eq!(stuck.write_frame("x"), Err(GroupError::Expired));
    running.finish().unwrap();
    tokio::time::advance(AGE + Duration::from_millis(1)).await;
    budget.sweep_now();
    assert_eq!(held(&track), [2], "one that ran ages from its end");
}

#[tokio::test(start_paused = true)]
async fn an_old_group_that_still_runs_does_not_keep_those_behind_it() {
    let track = producer(Retention::max_age(AGE));
    let mut running = track.append_group();
    (0..3).for_each(|_| kilobyte(&track));
    tokio::time::advance(AGE + Duration::from_millis(1)).await;
    running.write_frame("x").unwrap();
    kilobyte(&track);
    assert_eq!(held(&track), [0, 4]);
}

#[tokio::test(start_paused = true)]
async fn the_publishers_expiry_holds_where_it_is_shorter() {
    for (said, age) in [(Some(2), 2), (Some(60), 5), (None, 5)] {
        let budget = CacheBudget::unlimited();
        let track = within(&budget, Retention::max_age(AGE));
        track.set_info(TrackInfo { max_age: said.map(Duration::from_secs), ..TrackInfo::default() });
        (0..2).for_each(|_| kilobyte(&track));
        tokio::time::advance(Duration::from_secs(age)).await;
        budget.sweep_now();
        assert_eq!(held(&track), [0, 1]);
        tokio::time::advance(Duration::from_millis(1)).await;
        budget.sweep_now();
        assert_eq!(held(&track), [1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_readers_own_expiry_is_for_it_alone() {
    let track = producer(Retention::max_age(Duration::from_secs(60)));
    (0..2).for_each(|_| kilobyte(&track));
    let (mut patient, mut hasty) = (track.reader_from(0), track.reader_from(0));
    let lifetime = Lifetime::default();
    lifetime.set(Some(AGE));
    hasty.serve(lifetime.clone(), crate::Meters::default().tally());
    let mut slow = now_or_never(hasty.next_group()).unwrap().unwrap().unwrap();
    let before = now();
    slow.expired().await;
    assert_eq!(before.elapsed(), AGE);
    assert_eq!(learns(&mut hasty), [(1, Some((1, Reason::NotFound)))]);
    assert_eq!(learns(&mut patient), [(0, None), (1, None)]);
    // One that still runs is of use.
    let running = track.append_group();
    tokio::time::advance(AGE * 10).await;
    let mut group = now_or_never(hasty.next_group()).unwrap().unwrap().unwrap();
    assert!(now_or_never(group.expired()).is_none());
    running.finish().unwrap();
    let before = now();
    group.expired().await;
    assert_eq!(before.elapsed(), AGE, "from its end on");
}

#[test]
fn a_track_that_has_ended_takes_no_groups() {
    let track = producer(Retention::default());
    kilobyte(&track);
    track.finish();
    assert_eq!(track.create_group(7).unwrap_err(), CreateGroupError::Ended);
    let mut late = track.append_group();
    assert_eq!((late.sequence(), late.write_frame("x")), (1, Err(GroupError::TrackEnded)));
    assert_eq!(late.finish(), Err(GroupError::TrackEnded));
    assert_eq!(sequences(&mut track.reader_from(0)), [0]);
}

#[tokio::test(start_paused = true)]
async fn numbers_come_to_an_end() {
    let track = producer(Retention::default());
    let mut last = track.create_group(u64::MAX).unwrap();
    last.write_frame("last").unwrap();
    let mut ordered = OrderedGroups::new(track.reader_from(u64::MAX), Duration::from_secs(1));
    let mut none = track.append_group();
    assert_eq!(none.write_frame("x"), Err(GroupError::TrackEnded));
    assert_eq!(track.create_group(u64::MAX).unwrap_err(), CreateGroupError::Duplicate(u64::MAX));
    last.finish().unwrap();
    track.finish();
    let Ok(Some(OrderedItem::Group(mut group))) = ordered.next().await else { panic!("no group") };
    assert_eq!(group.read_frame().await.unwrap().unwrap(), "last");
    assert!(matches!(ordered.next().await, Ok(None)));
}

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    Create(usize, u64),
    Write(usize, usize),
    Piece(usize, usize),
    Finish(usize),
    Abort(usize),
    Read(usize),
    Take(usize),
    Leave(usize),
    Gap(usize, u64),
    Info(usize, u64),
    Replace(usize),
    Wait(u64),
}

const TRACKS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let track = 0..TRACKS;
    let any = 0..64_usize;
    prop_oneof![
        4 => track.clone().prop_map(Step::Begin),
        1 => (track.clone(), 0..40_u64).prop_map(|(track, sequence)| Step::Create(track, sequence)),
        8 => (any.clone(), 0..3000_usize).prop_map(|(group, len)| Step::Write(group, len)),
        2 => (any.clone(), 0..20_000_usize).prop_map(|(group, len)| Step::Piece(group, len)),
        2 => any.clone().prop_map(Step::Finish),
        1 => any.clone().prop_map(Step::Abort),
        2 => track.clone().prop_map(Step::Read),
        4 => any.clone().prop_map(Step::Take),
        1 => any.clone().prop_map(Step::Leave),
        1 => (track.clone(), 0..40_u64).prop_map(|(track, first)| Step::Gap(track, first)),
        1 => (track.clone(), 0..4_u64).prop_map(|(track, secs)| Step::Info(track, secs)),
        1 => track.prop_map(Step::Replace),
        1 => (0..4_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_counted_is_what_is_held_after_whatever_happens(
        steps in proptest::collection::vec(step(), 0..300),
        limit in prop_oneof![Just(u64::MAX), 2_000..100_000_u64],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let budget = CacheBudget::new(limit);
            let retention = Retention {
                max_age: Duration::from_secs(2),
                max_groups: 8,
                max_bytes: 60_000,
                max_group_bytes: 30_000,
                max_group_frames: 20,
                read_once: false,
            };
            let open = |number: usize| {
                let retention = Retention { read_once: number >= 2, ..retention };
                match number % 2 {
                    0 => within(&budget, retention),
                    _ => TrackProducer::incoming("cam/video".parse().unwrap(), retention, &budget),
                }
            };
            let mut tracks: Vec<_> = (0..TRACKS).map(open).collect();
            let (mut groups, mut readers) = (Vec::new(), Vec::new());
            for step in steps {
                let len = groups.len().max(1);
                match step {
                    Step::Begin(track) => groups.push(tracks[track].append_group()),
                    Step::Create(track, sequence) => groups.extend(tracks[track].create_group(sequence)),
                    Step::Write(group, size) => {
                        if let Some(group) = groups.get_mut(group % len) {
                            let _ = group.write_frame(vec![0; size]);
                        }
                    }
                    Step::Piece(group, size) => {
                        if let Some(group) = groups.get_mut(group % len)
                            && let Ok(mut frame) = group.create_frame(FrameMeta::sized(size as u64))
                        {
                            let _ = frame.write(vec![0; size / 2].into());
                            let _ = frame.write(vec![0; size - size / 2].into());
                            let _ = frame.finish();
                        }
                    }
                    Step::Finish(group) if !groups.is_empty() => drop(groups.swap_remove(group % len).finish()),
                    Step::Abort(group) if !groups.is_empty() => drop(groups.swap_remove(group % len)),
                    Step::Finish(_) | Step::Abort(_) => {}
                    Step::Read(track) => readers.extend(tracks[track].consume().group(3)),
                    Step::Take(_) | Step::Leave(_) if readers.is_empty() => {}
                    Step::Take(reader) => {
                        let reader = reader % readers.len();
                        let _ = now_or_never(readers[reader].read_frame());
                    }
                    Step::Leave(reader) => drop(readers.swap_remove(reader % readers.len())),
                    Step::Gap(track, first) => tracks[track].gap(first, first + 3, Reason::NotFound),
                    Step::Info(track, secs) => {
                        let max_age = (secs > 0).then(|| Duration::from_secs(secs));
                        tracks[track].set_info(TrackInfo { max_age, ..TrackInfo::default() });
                    }
                    Step::Replace(track) => tracks[track] = open(track),
                    Step::Wait(secs) => {
                        tokio::time::advance(Duration::from_secs(secs)).await;
                        budget.sweep_now();
                    }
                }
                let counted: u64 = tracks.iter().map(|track| track.shared().held_bytes()).sum();
                let real: u64 = tracks.iter().map(TrackProducer::holds).sum();
                // Groups of tracks that were replaced live on while they are written or read.
                prop_assert!(budget.held() >= counted);
                prop_assert_eq!(counted, real);
                prop_assert!(budget.held() <= limit, "{} of {}", budget.held(), limit);
            }
            drop((tracks, groups, readers));
            prop_assert_eq!((budget.held(), budget.groups(), budget.tracks()), (0, 0, 0));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn what_was_copied_on_its_way_in_is_not_copied_again() {
    let track = incoming(Retention::default());
    let group = track.append_group();
    let own = Bytes::from(vec![7; 1000]);
    group
        .write_parts(|parts| {
            parts.begin(FrameMeta::sized(1000))?;
            parts.append_own(own.clone())
        })
        .unwrap();
    let frame = track.consume().group(0).unwrap().read_frame().await.unwrap().unwrap();
    assert_eq!(frame.as_ptr(), own.as_ptr());
}
