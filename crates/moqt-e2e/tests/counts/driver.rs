//! Through sessions: a publisher's session, that of a relay which takes the track, and one for each subscriber.
//!
//! What one more subscriber costs is the difference between many of them and few, so whatever the publisher and the
//! simulation cost falls out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use moqt::{
    Published, Retention, Session, SessionConfig, SubscribeOptions, Subscription, TrackInfo, TrackProducer,
    Tracks, session::Handshake,
};
use moqt_sim::{Link, Sim, Sink, Tally};
use tracing::{Metadata, Subscriber, span};

const FEW: usize = 10;
const MANY: usize = 40;
/// Groups of each track before counting begins, and while it lasts.
const WARM_UP: usize = 10;
const ROUNDS: usize = 20;
const PAUSE: Duration = Duration::from_millis(33);

/// Counts how often the tasks of sessions are polled: each time is a wake that led to something.
struct Polls(Arc<AtomicU64>);

impl Subscriber for Polls {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name() == "driver"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &span::Id) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn exit(&self, _: &span::Id) {}
}

/// What is published in each round.
#[derive(Clone, Copy)]
struct Shape {
    frame: usize,
    /// Frames of a group; one round is one frame.
    frames: usize,
    tracks: usize,
}

/// All that takes part; dropped, it ends.
struct Path {
    sim: Sim,
    tracks: Vec<TrackProducer>,
    tallies: Vec<Arc<Tally>>,
    polls: Arc<AtomicU64>,
    _sessions: Vec<Session>,
    _subscriptions: Vec<Subscription>,
    _published: Vec<Published>,
}

impl Path {
    async fn new(shape: Shape, subscribers: usize, polls: Arc<AtomicU64>) -> Self {
        let sim = Sim::new(1);
        let (mut sessions, mut subscriptions, mut published) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tracks, mut tallies) = (Vec::new(), Vec::new());
        let (near, far) = sim.connect(Link::delay(Duration::from_millis(5)));
        let config = SessionConfig::default;
        let (near, far) = tokio::join!(Handshake::connect(near, config()), Handshake::accept(far, config()));
        let (origin, relayed) = (Tracks::new(), Tracks::new());
        for track in 0..shape.tracks {
            let name = format!("cam/{track}").parse().unwrap();
            let track = TrackProducer::new(name, TrackInfo::default(), Retention::default());
            published.push(origin.publish(track.consume()).unwrap());
            tracks.push(track);
        }
        sessions.push(near.unwrap().start(Arc::new(origin)));
        let upstream = far.unwrap().start(Arc::new(Tracks::new()));
        for track in &tracks {
            let name = track.name().clone();
            let taken = upstream.subscriber().subscribe(name, SubscribeOptions::default()).await.unwrap();
            published.push(relayed.publish(taken.into_track()).unwrap());
        }
        sessions.push(upstream);
        for _ in 0..subscribers {
            let (near, far) = sim.connect(Link::delay(Duration::from_millis(5)));
            let tally = Tally::with_room(1 << 16);
            let far = Sink::new(far, Arc::clone(&tally));
            let (near, far) =
                tokio::join!(Handshake::connect(near, config()), Handshake::accept(far, config()));
            sessions.push(far.unwrap().start(Arc::new(relayed.clone())));
            let near = near.unwrap().start(Arc::new(Tracks::new()));
            for track in &tracks {
                let name = track.name().clone();
                let subscriber = near.subscriber();
                let wish = subscriber.subscribe(name, SubscribeOptions::default());
                subscriptions.push(wish.await.unwrap());
            }
            sessions.push(near);
            tallies.push(tally);
        }
        let (_sessions, _subscriptions, _published) = (sessions, subscriptions, published);
        Self { sim, tracks, tallies, polls, _sessions, _subscriptions, _published }
    }

    /// Publishes so many rounds, each of which has gone through before the next begins.
    async fn publish(&self, shape: Shape, rounds: usize, payload: &Bytes) {
        let mut groups = Vec::with_capacity(shape.tracks);
        for round in 0..rounds {
            if round % shape.frames == 0 {
                groups.clear();
                groups.extend(self.tracks.iter().map(TrackProducer::append_group));
            }
            for group in &mut groups {
                group.write_frame(payload.clone()).unwrap();
            }
            if round % shape.frames + 1 == shape.frames {
                groups.drain(..).for_each(|group| group.finish().unwrap());
            }
            self.sim.sleep(PAUSE).await;
        }
    }

    fn sum(&self, of: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        self.tallies.iter().map(|tally| of(tally).load(Ordering::Relaxed)).sum()
    }

    fn counts(&self, allocated: &allocation_counter::AllocationInfo) -> Counts {
        Counts {
            allocations: allocated.count_total as f64,
            allocated: allocated.bytes_total as f64,
            polls: self.polls.load(Ordering::Relaxed) as f64,
            writes: self.sum(|tally| &tally.writes) as f64,
            bytes: self.sum(|tally| &tally.bytes) as f64,
            watched: self.sum(|tally| &tally.watched) as f64,
            ranked: self.sum(|tally| &tally.ranked) as f64,
        }
    }
}

/// All that is counted; at last, for each round and subscriber.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    allocations: f64,
    allocated: f64,
    polls: f64,
    writes: f64,
    bytes: f64,
    watched: f64,
    ranked: f64,
}

impl Counts {
    fn map(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            allocations: f(self.allocations, other.allocations),
            allocated: f(self.allocated, other.allocated),
            polls: f(self.polls, other.polls),
            writes: f(self.writes, other.writes),
            bytes: f(self.bytes, other.bytes),
            watched: f(self.watched, other.watched),
            ranked: f(self.ranked, other.ranked),
        }
    }
}

fn run(shape: Shape, subscribers: usize) -> Counts {
    let polls = Arc::new(AtomicU64::new(0));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _guard = tracing::subscriber::set_default(Polls(Arc::clone(&polls)));
    let payload = Bytes::from(vec![7; shape.frame]);
    let path = runtime.block_on(async {
        let path = Path::new(shape, subscribers, polls).await;
        path.publish(shape, WARM_UP * shape.frames, &payload).await;
        path
    });
    let before = path.counts(&Default::default());
    let allocated = allocation_counter::measure(|| {
        runtime.block_on(path.publish(shape, ROUNDS * shape.frames, &payload));
    });
    let counts = path.counts(&allocated).map(before, |now, before| now - before);
    assert_eq!(
        path.sum(|tally| &tally.finished),
        (ROUNDS + WARM_UP) as u64 * shape.tracks as u64 * subscribers as u64
    );
    let first = path.tallies[0].places();
    assert!(!first.is_empty());
    for tally in &path.tallies {
        assert_eq!(tally.places(), first, "payload was copied for a subscriber");
    }
    counts
}

/// What one more subscriber costs for each frame of each track, at most. What a group costs is spread over its frames.
struct Bars {
    allocations: f64,
    polls: f64,
    writes: f64,
    watched: f64,
}

fn one_more_costs_at_most(shape: Shape, bars: &Bars) {
    let (few, many) = (run(shape, FEW), run(shape, MANY));
    let times = ((MANY - FEW) * ROUNDS * shape.frames * shape.tracks) as f64;
    let counts = many.map(few, |many, few| (many - few) / times);
    println!("{counts:.3?}");
    assert!(counts.polls * shape.tracks as f64 > 0.9, "the polls are not counted: {counts:?}");
    for (what, count, bar) in [
        ("allocations", counts.allocations, bars.allocations),
        ("polls of the session's task", counts.polls, bars.polls),
        ("writes", counts.writes, bars.writes),
        ("waits for the stream to be stopped", counts.watched, bars.watched),
        // Once a group, with room for rounding.
        ("changes of priority", counts.ranked, 1.001 / shape.frames as f64),
    ] {
        assert!(
            count <= bar,
            "{count:.3} {what} for each frame and subscriber, and {bar} is the bar: {counts:?}"
        );
    }
}

#[test]
fn a_frame_of_a_long_group_costs_a_wake_and_a_write() {
    let shape = Shape { frame: 4000, frames: 60, tracks: 1 };
    one_more_costs_at_most(shape, &Bars { allocations: 0.03, polls: 1.04, writes: 1.001, watched: 1.01 });
}

#[test]
fn a_group_of_one_frame_costs_a_wake() {
    let shape = Shape { frame: 160, frames: 1, tracks: 1 };
    one_more_costs_at_most(shape, &Bars { allocations: 0.01, polls: 1.02, writes: 1.001, watched: 1.01 });
}

#[test]
fn tracks_that_tick_together_share_a_wake() {
    let shape = Shape { frame: 1000, frames: 30, tracks: 4 };
    one_more_costs_at_most(shape, &Bars { allocations: 0.01, polls: 0.26, writes: 1.001, watched: 1.01 });
}
