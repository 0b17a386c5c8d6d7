//! Whole sessions under random use and faults: whatever the order of things, what arrives is what was written,
//! and in the end nothing is left.
//!
//! `SIM_SEED=17` replays one world.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use common::*;
use moqt_session::{
    AnnounceConsumer, Announced, FetchOptions, GroupConsumer, GroupProducer, Published, Reason, RequestError,
    Retention, SubscribeOptions, SubscribeUpdate, Subscriber, Subscription, TrackConsumer, TrackEvent,
    TrackProducer,
};
use moqt_sim::{Link, Rng, Seeds, Sim, SimConnection};
use moqt_transport::Connection as _;
use moqt_wire::{Feature, GroupOrder, Namespace, Priority};
use tokio::task::JoinHandle;

const NAMES: [&str; 4] = ["room/alice/audio", "room/alice/video", "room/bob/video", "other"];

/// Bytes that say where they belong: track, group, frame; the rest follows from these.
fn payload(track: u64, group: u64, frame: u64) -> Bytes {
    let mut rng = Rng::new(track << 40 ^ group << 20 ^ frame);
    let len = if rng.chance(0.1) { rng.below(20_000) } else { rng.below(600) };
    let fill = rng.bytes(len as usize);
    [&track.to_be_bytes()[..], &group.to_be_bytes(), &frame.to_be_bytes(), &fill].concat().into()
}

/// Where a payload says that it belongs, if all of it is right.
fn place(bytes: &[u8]) -> (u64, u64, u64) {
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let place = (number(0), number(8), number(16));
    assert_eq!(payload(place.0, place.1, place.2), bytes, "bytes changed on the way");
    place
}

/// What was written: for each group of each track the number of frames, once it was finished.
type Finished = BTreeMap<(u64, u64), u64>;

/// A track and a group of it, and its number of frames.
type WholeGroup = ((u64, u64), u64);

/// A track while it is written; a new one under the same name has another number.
struct Writing {
    number: u64,
    producer: TrackProducer,
    published: Option<Published>,
    open: Vec<(GroupProducer, u64)>,
}

/// What one reader has seen.
#[derive(Default)]
struct Seen {
    /// Which track it turned out to be.
    track: Option<u64>,
    /// Groups read to their end, with the number of frames.
    whole: BTreeMap<u64, u64>,
    /// Groups that began, whatever became of them.
    began: BTreeSet<u64>,
    gaps: BTreeSet<u64>,
}

async fn read_group(mut group: GroupConsumer, seen: Arc<Mutex<Seen>>) {
    let mut frames = 0;
    while let Ok(frame) = group.read_frame().await {
        let mut seen = seen.lock().unwrap();
        let Some(frame) = frame else {
            seen.whole.insert(group.sequence(), frames);
            return;
        };
        let (track, sequence, index) = place(&frame);
        assert_eq!((sequence, index), (group.sequence(), frames), "a frame in the wrong place");
        assert_eq!(*seen.track.get_or_insert(track), track, "two tracks in one subscription");
        frames += 1;
    }
}

/// Reads a track, its groups side by side.
async fn read_track(sim: Sim, mut track: TrackConsumer, seen: Arc<Mutex<Seen>>) {
    while let Ok(Some(event)) = track.next_event().await {
        match event {
            TrackEvent::Group(group) => {
                assert!(seen.lock().unwrap().began.insert(group.sequence()), "a group came twice");
                sim.spawn(read_group(group, seen.clone()));
            }
            TrackEvent::Gap { first, last, .. } => seen.lock().unwrap().gaps.extend(first..=last),
        }
    }
}

/// Which names a watcher takes to be there.
type Believes = Arc<Mutex<BTreeSet<Namespace>>>;

async fn follow(mut watch: AnnounceConsumer, believes: Believes) {
    while let Some(event) = watch.next().await {
        let mut believes = believes.lock().unwrap();
        match event {
            Announced::Active(name) => assert!(believes.insert(name), "announced twice"),
            Announced::Ended(name) => assert!(believes.remove(&name), "ended without having been there"),
            Announced::CaughtUp => {}
        }
    }
}

struct Reading {
    name: &'static str,
    subscription: Subscription,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
    bounded: bool,
}

struct World {
    sim: Sim,
    rng: Rng,
    publisher: Option<Side>,
    subscriber: Option<Side>,
    ends: [SimConnection; 2],
    tracks: BTreeMap<&'static str, Writing>,
    retired: Vec<TrackProducer>,
    finished: Finished,
    next_track: u64,
    reading: Vec<Reading>,
    watches: Vec<(Namespace, Believes, JoinHandle<()>)>,
    asking: Vec<JoinHandle<()>>,
    fetching: Vec<JoinHandle<()>>,
    /// Groups fetched to their end, with the number of frames that this makes.
    fetched: Arc<Mutex<Vec<WholeGroup>>>,
}

impl World {
    async fn new(sim: Sim) -> Self {
        let mut rng = sim.rng();
        let version = VERSIONS[rng.below(4) as usize];
        let link = Link::delay(ms(rng.range(1..80)))
            .jitter(ms(rng.range(1..40)))
            .loss([0.0, 0.02, 0.1][rng.below(3) as usize]);
        let (near, far) = sim.connect(link);
        let ends = [near.clone(), far.clone()];
        let (client, server) = pair(near, far, version).await;
        let swap = rng.chance(0.5);
        let (publisher, subscriber) = if swap { (client, server) } else { (server, client) };
        Self {
            sim,
            rng,
            publisher: Some(publisher),
            subscriber: Some(subscriber),
            ends,
            tracks: BTreeMap::new(),
            retired: Vec::new(),
            finished: BTreeMap::new(),
            next_track: 1,
            reading: Vec::new(),
            watches: Vec::new(),
            asking: Vec::new(),
            fetching: Vec::new(),
            fetched: Arc::default(),
        }
    }

    fn pick_name(&mut self) -> &'static str {
        NAMES[self.rng.below(NAMES.len() as u64) as usize]
    }

    fn wanted(&self) -> Subscriber {
        self.subscriber.as_ref().unwrap().session.subscriber()
    }

    async fn step(&mut self) {
        match self.rng.below(100) {
            0..10 => self.publish_or_retire(),
            10..30 => self.begin_group(),
            30..55 => self.write(),
            55..68 => self.end_group(),
            68..76 => self.subscribe().await,
            76..79 => self.unsubscribe(),
            79..81 => self.update().await,
            81..85 => self.watch().await,
            85..87 => self.ask(),
            87..89 => self.give_up_asking(),
            89..91 => self.disturb().await,
            91..96 => self.fetch().await,
            _ => {
                let pause = ms(self.rng.below(300));
                self.sim.sleep(pause).await;
            }
        }
    }

    fn publish_or_retire(&mut self) {
        let text = self.pick_name();
        let Some(mut gone) = self.tracks.remove(text) else {
            let producer = track(text);
            let published = self.publisher.as_ref().unwrap().tracks.publish(producer.consume()).unwrap();
            let number = self.next_track;
            self.next_track += 1;
            let published = Some(published);
            self.tracks.insert(text, Writing { number, producer, published, open: Vec::new() });
            return;
        };
        for (group, frames) in gone.open.drain(..) {
            self.finished.insert((gone.number, group.sequence()), frames);
            group.finish().unwrap();
        }
        gone.published.take();
        match self.rng.below(3) {
            0 => gone.producer.abort(Reason::GoingAway),
            _ => gone.producer.finish(),
        }
        self.retired.push(gone.producer);
    }

    fn begin_group(&mut self) {
        let name = self.pick_name();
        if let Some(track) = self.tracks.get_mut(name)
            && track.open.len() < 3
        {
            track.open.push((track.producer.append_group(), 0));
        }
    }

    fn write(&mut self) {
        let name = self.pick_name();
        let Some(track) = self.tracks.get_mut(name) else { return };
        let Some((group, frames)) = track.open.last_mut() else { return };
        for _ in 0..self.rng.range(1..5) {
            group.write_frame(payload(track.number, group.sequence(), *frames)).unwrap();
            *frames += 1;
        }
    }

    fn end_group(&mut self) {
        let name = self.pick_name();
        let Some(track) = self.tracks.get_mut(name) else { return };
        if track.open.is_empty() {
            return;
        }
        let at = self.rng.below(track.open.len() as u64) as usize;
        let (group, frames) = track.open.remove(at);
        match self.rng.below(8) {
            0 => group.abort(Reason::App(100)),
            1 => drop(group),
            _ => {
                self.finished.insert((track.number, group.sequence()), frames);
                group.finish().unwrap();
            }
        }
    }

    async fn subscribe(&mut self) {
        let text = self.pick_name();
        if self.reading.len() > 8 {
            return;
        }
        let bounded = self.rng.chance(0.2);
        let options = SubscribeOptions {
            priority: Priority(self.rng.below(256) as u8),
            order: [GroupOrder::Default, GroupOrder::Ascending, GroupOrder::Descending]
                [self.rng.below(3) as usize],
            first: bounded.then(|| self.rng.below(5)),
            last: bounded.then(|| 5 + self.rng.below(5)),
            ..SubscribeOptions::default()
        };
        let patience = ms(if self.rng.chance(0.2) { self.rng.below(100) } else { 20_000 });
        let subscription = tokio::time::timeout(patience, self.wanted().subscribe(name(text), options)).await;
        match subscription {
            Ok(Ok(subscription)) => {
                let seen = Arc::new(Mutex::new(Seen::default()));
                let reader = subscription.track();
                let task = self.sim.spawn(read_track(self.sim.clone(), reader, seen.clone()));
                self.reading.push(Reading { name: text, subscription, seen, task, bounded });
            }
            Ok(Err(RequestError::Refused(Reason::NotFound))) => {}
            // It was published when the question left, and its end had been written before it came.
            Ok(Err(RequestError::Refused(Reason::GoingAway))) => {}
            Ok(Err(error)) => panic!("{error:?}"),
            Err(_) => {}
        }
    }

    fn unsubscribe(&mut self) {
        if !self.reading.is_empty() {
            let at = self.rng.below(self.reading.len() as u64) as usize;
            self.reading.swap_remove(at).task.abort();
        }
    }

    async fn update(&mut self) {
        let update = SubscribeUpdate {
            priority: Priority(self.rng.below(256) as u8),
            order: GroupOrder::Ascending,
            max_age: None,
            first: None,
            last: None,
        };
        if let Some(reading) = self.reading.last() {
            reading.subscription.update(update).await.unwrap();
        }
    }

    async fn watch(&mut self) {
        if self.rng.chance(0.4) && !self.watches.is_empty() {
            let at = self.rng.below(self.watches.len() as u64) as usize;
            self.watches.swap_remove(at).2.abort();
            return;
        }
        let prefix = namespace(["", "room", "room/alice", "nobody"][self.rng.below(4) as usize]);
        let watch = self.wanted().announced(prefix.clone()).await.unwrap();
        let believes = Believes::default();
        let task = self.sim.spawn(follow(watch, believes.clone()));
        self.watches.push((prefix, believes, task));
    }

    fn ask(&mut self) {
        let (wanted, text) = (self.wanted(), self.pick_name());
        self.asking.push(self.sim.spawn(async move {
            match wanted.info(name(text)).await {
                Ok(_) | Err(RequestError::Refused(Reason::NotFound)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }));
    }

    fn give_up_asking(&mut self) {
        if let Some(asking) = self.asking.pop() {
            asking.abort();
        }
    }

    async fn fetch(&mut self) {
        if self.rng.chance(0.3) && !self.fetching.is_empty() {
            let at = self.rng.below(self.fetching.len() as u64) as usize;
            return self.fetching.swap_remove(at).abort();
        }
        let (wanted, text) = (self.wanted(), self.pick_name());
        let latest = self.tracks.get(text).and_then(|track| track.producer.consume().latest());
        // Now and then one that is yet to come.
        let group = self.rng.below(latest.map_or(2, |latest| latest + 2));
        let first_frame = if self.rng.chance(0.6) { 0 } else { self.rng.below(4) };
        let priority = Priority(self.rng.below(256) as u8);
        let fetched =
            wanted.fetch(name(text), group, FetchOptions { first_frame, ..Default::default() }).await;
        let mut fetched = match fetched {
            Ok(fetched) => fetched,
            Err(RequestError::Unsupported { feature: Feature::Fetch, .. }) => return,
            Err(error) => panic!("{error:?}"),
        };
        fetched.update_priority(priority).await.unwrap();
        let whole = self.fetched.clone();
        self.fetching.push(self.sim.spawn(async move {
            let (mut index, mut of) = (first_frame, None);
            loop {
                match fetched.group().read_frame().await {
                    Ok(Some(frame)) => {
                        let (track, sequence, frame) = place(&frame);
                        assert_eq!((sequence, frame), (group, index), "a frame in the wrong place");
                        assert_eq!(*of.get_or_insert(track), track, "two tracks in one fetch");
                        index += 1;
                    }
                    Ok(None) => {
                        whole.lock().unwrap().extend(of.map(|track| ((track, group), index)));
                        return;
                    }
                    Err(_) => return,
                }
            }
        }));
    }

    async fn disturb(&mut self) {
        let link = self.ends[0].link();
        let pause = ms(self.rng.below(2000));
        if self.rng.chance(0.5) {
            link.cut();
            self.sim.sleep(pause).await;
            link.restore();
        } else {
            link.set_loss(0.3);
            self.sim.sleep(pause).await;
            link.set_loss(0.0);
        }
    }

    /// Both sides are of one mind once the network has had its time.
    async fn agree(&mut self) {
        self.ends[0].link().restore();
        self.sim.sleep(secs(8)).await;
        let published: BTreeSet<_> = self.tracks.keys().map(|name| namespace(name)).collect();
        for (prefix, believes, _) in &self.watches {
            let covered: BTreeSet<_> =
                published.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
            assert_eq!(*believes.lock().unwrap(), covered, "watching {prefix}");
        }
        for (group, frames) in self.fetched.lock().unwrap().iter() {
            assert_eq!(self.finished.get(group), Some(frames), "fetched {group:?}");
        }
        for reading in &self.reading {
            let seen = reading.seen.lock().unwrap();
            let Some(track) = seen.track else { continue };
            for (group, frames) in &seen.whole {
                let written = self.finished.get(&(track, *group));
                assert_eq!(written, Some(frames), "{} group {group}", reading.name);
            }
            // From the first group on that came, nothing is missing that was finished.
            let from = seen.began.first().copied().unwrap_or(u64::MAX);
            for (&(number, group), frames) in self.finished.range((track, from)..=(track, u64::MAX)) {
                assert_eq!(number, track);
                let inside = !reading.bounded || seen.began.contains(&group);
                assert!(
                    !inside || seen.whole.get(&group) == Some(frames),
                    "{} group {group}: {:?} of {frames} frames, gap: {}",
                    reading.name,
                    seen.whole.get(&group),
                    seen.gaps.contains(&group),
                );
            }
        }
    }

    /// Everything is let go of, in one way or another.
    async fn end(mut self) {
        match self.rng.below(5) {
            0 => drop(self.publisher.as_ref().unwrap().session.close().await),
            1 => drop(self.subscriber.as_ref().unwrap().session.close().await),
            2 => drop(self.publisher.take()),
            3 => self.ends[self.rng.below(2) as usize].kill(),
            _ => {}
        }
        self.asking.iter().for_each(JoinHandle::abort);
        self.reading.clear();
        drop((self.publisher.take(), self.subscriber.take()));
        for end in &self.ends {
            tokio::time::timeout(secs(60), end.closed()).await.expect("a connection outlives its session");
        }
        self.sim.sleep(ms(100)).await;
        for track in self.tracks.values() {
            assert_eq!(track.producer.readers(), 1, "beside the one that is published");
        }
        for track in &self.retired {
            assert_eq!(track.readers(), 0);
        }
        for task in self.fetching {
            tokio::time::timeout(secs(1), task).await.expect("a fetch outlives its session").unwrap();
        }
        for (_, _, task) in self.watches {
            tokio::time::timeout(secs(1), task).await.expect("a watch outlives its session").unwrap();
        }
    }
}

#[test]
fn whatever_is_done_in_whichever_order_what_arrives_was_written_and_nothing_is_left() {
    Seeds::default().count(1000).run(|sim| async move {
        let mut world = World::new(sim).await;
        for _ in 0..world.rng.range(50..400) {
            world.step().await;
        }
        world.agree().await;
        world.end().await;
    });
}

/// What a reader of a range got, and how its track ended.
#[derive(Default)]
struct Got {
    whole: Vec<u64>,
    gaps: Vec<u64>,
}

/// Reads a track to its end.
async fn read_range(sim: Sim, mut track: TrackConsumer) -> Got {
    let (mut got, mut groups) = (Got::default(), Vec::new());
    while let Some(event) = track.next_event().await.unwrap() {
        match event {
            TrackEvent::Group(mut group) => groups.push(sim.spawn(async move {
                let sequence = group.sequence();
                frames_of(&mut group).await.1.is_ok().then_some(sequence)
            })),
            TrackEvent::Gap { first, last, .. } => got.gaps.extend(first..=last),
        }
    }
    for group in groups {
        got.whole.extend(group.await.unwrap());
    }
    got
}

/// A producer that leaves out numbers, goes back to some, reports others, and gives groups up.
fn produce(rng: &mut Rng, live: &TrackProducer, open: &mut Vec<GroupProducer>, next: &mut u64) {
    match rng.below(12) {
        0..5 => {
            let mut group = live.append_group();
            *next = group.sequence() + 1;
            for _ in 0..rng.below(4) {
                group.write_frame(vec![7; rng.below(3000) as usize]).unwrap();
            }
            if rng.chance(0.5) { group.finish().unwrap() } else { open.push(group) }
        }
        5 => {
            let sequence = *next + rng.below(4);
            open.extend(live.create_group(sequence));
            *next = (*next).max(sequence + 1);
        }
        6 => open.extend(live.create_group(next.saturating_sub(rng.below(6)))),
        7 => {
            let (first, more) = (next.saturating_sub(rng.below(4)), rng.below(4));
            live.gap(first, first + more, Reason::App(100));
            *next = (*next).max(first + more + 1);
        }
        _ if open.is_empty() => {}
        _ => {
            let group = open.swap_remove(rng.below(open.len() as u64) as usize);
            match rng.below(4) {
                0 => group.abort(Reason::Internal),
                // It may have been pushed out meanwhile.
                _ => drop(group.finish()),
            }
        }
    }
}

#[test]
fn each_group_of_a_range_is_delivered_or_reported_exactly_once() {
    Seeds::default().count(1000).run(|sim| async move {
        let mut rng = sim.rng();
        let version = VERSIONS[rng.below(4) as usize];
        let link = Link::delay(ms(rng.range(1..80)))
            .jitter(ms(rng.range(1..40)))
            .loss([0.0, 0.05, 0.2][rng.below(3) as usize]);
        let (publisher, subscriber) = connected(&sim, link, version).await;
        let retention = Retention {
            max_groups: rng.range(2..20) as usize,
            max_age: ms(rng.range(200..3000)),
            ..Retention::default()
        };
        let live = TrackProducer::new(name("cam/video"), Default::default(), retention);
        let _published = publisher.tracks.publish(live.consume()).unwrap();
        let (mut open, mut next, mut reading) = (Vec::new(), 0_u64, Vec::new());
        for _ in 0..rng.range(50..250) {
            match rng.below(20) {
                0 if reading.len() < 5 => {
                    let first = next.saturating_sub(rng.below(10)) + rng.below(10);
                    let mut last = first + rng.below(30);
                    let options =
                        SubscribeOptions { first: Some(first), last: Some(last), ..Default::default() };
                    let wanted = subscriber.session.subscriber();
                    let subscription = wanted.subscribe(name("cam/video"), options).await.unwrap();
                    let task = sim.spawn(read_range(sim.clone(), subscription.track()));
                    if rng.chance(0.3) {
                        last = first + rng.below(last - first + 1);
                        let update = SubscribeUpdate {
                            priority: Priority::default(),
                            order: GroupOrder::Ascending,
                            max_age: None,
                            first: None,
                            last: Some(last),
                        };
                        subscription.update(update).await.unwrap();
                    }
                    reading.push((first, last, task));
                }
                1 | 2 => sim.sleep(ms(rng.below(300))).await,
                _ => produce(&mut rng, &live, &mut open, &mut next),
            }
        }
        for group in open {
            drop(group.finish());
        }
        let beyond = reading.iter().map(|(_, last, _)| *last).max().unwrap_or(0).max(next) + 1;
        if rng.chance(0.5) {
            // A group that is finished settles what stands before it.
            drop(live.create_group(beyond).unwrap().finish());
        } else {
            live.gap(next, beyond, Reason::NotFound);
            live.finish();
        }
        for (first, last, task) in reading {
            let got = tokio::time::timeout(secs(60), task).await.expect("a range does not end").unwrap();
            let mut all: Vec<u64> = got.whole.iter().chain(&got.gaps).copied().collect();
            all.retain(|group| (first..=last).contains(group));
            all.sort_unstable();
            assert_eq!(
                all,
                (first..=last).collect::<Vec<_>>(),
                "whole: {:?}, gaps: {:?}",
                got.whole,
                got.gaps
            );
        }
        sim.sleep(secs(5)).await;
        assert_eq!(live.readers(), 1, "beside the one that is published");
    });
}
