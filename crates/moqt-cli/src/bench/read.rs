//! The subscribing side: a session that reads all its tracks and keeps book.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use moqt::{
    FullTrackName, GroupConsumer, Namespace, Priority, Reason, RequestError, Retention, Session,
    SubscribeOptions, SubscribeUpdate, Subscription, TrackConsumer, TrackEvent,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    measure::{
        clock::monotonic_ns,
        frame::Checker,
        ledger::Ledger,
        meter::{End, Meter},
        shape::{Shape, TrackShape},
    },
    publish::Begun,
    track_name,
};
use crate::{
    common::{Connector, chain},
    waiting::{Waiting, now},
};

/// Pause between two questions for a track that is not there yet.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What all readers of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) shape: Shape,
    pub(super) prefix: Namespace,
    pub(super) meters: Vec<Arc<Meter>>,
    pub(super) begun: Arc<Begun>,
    /// When the first frame of the run came.
    pub(super) first: watch::Sender<Option<Instant>>,
    /// Becomes true when readers are to stop, whatever is missing.
    pub(super) stop: watch::Sender<bool>,
    pub(super) swap_at: Option<Duration>,
    pub(super) swapped_ns: watch::Sender<Option<u64>>,
    /// How long a session and its subscriptions may take.
    pub(super) patience: Duration,
}

impl Shared {
    /// Waits until readers are to stop. Cancel safe.
    async fn stopped(&self) {
        // The sender lives here, so this cannot fail.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

/// Asks for a track, again and again while it is not there.
pub(super) async fn subscribe(
    session: &Session,
    name: &FullTrackName,
    track: &TrackShape,
) -> Result<Subscription, RequestError> {
    let options = SubscribeOptions {
        priority: Priority(track.priority),
        order: track.order.into(),
        retention: Retention::read_once(),
        ..SubscribeOptions::default()
    };
    loop {
        match session.subscriber().subscribe(name.clone(), options).await {
            Err(RequestError::Refused(Reason::NotFound)) => tokio::time::sleep(ASK_AGAIN).await,
            other => return other,
        }
    }
}

/// One track of one publisher, subscribed to.
#[derive(Debug)]
struct Wanted {
    publisher: usize,
    track: usize,
    subscription: Subscription,
}

/// A subscriber whose subscriptions are all there.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    session: Session,
    wanted: Vec<Wanted>,
}

impl Reader {
    /// Opens a session and subscribes to everything that the subscriber `index` is to read.
    pub(super) async fn subscribe(
        connector: &Connector,
        shared: Arc<Shared>,
        index: usize,
    ) -> anyhow::Result<Self> {
        let session = connector.connect(&mut Waiting::new()).await?;
        let mut wanted = Vec::new();
        for publisher in shared.shape.publishers_of(index) {
            for (at, track) in shared.shape.tracks.iter().enumerate() {
                let name = track_name(&shared.prefix, publisher, &track.name)?;
                let asked = now();
                let subscription = timeout(shared.patience, subscribe(&session, &name, track)).await;
                let subscription = subscription
                    .map_err(|_| anyhow!("{name} is not there at {}; is it published?", connector.url()))?
                    .map_err(|error| connector.request_failed("cannot subscribe", &name, &error))?;
                if let Some(meter) = shared.meters.get(at) {
                    meter.answered(asked.elapsed());
                }
                wanted.push(Wanted { publisher, track: at, subscription });
            }
        }
        Ok(Self { shared, session, wanted })
    }

    /// Reads all tracks to their ends, or until readers are to stop.
    pub(super) async fn read(self) {
        let Self { shared, session, wanted } = self;
        let mut tracks = JoinSet::new();
        for Wanted { publisher, track, subscription } in &wanted {
            let reading = TrackReading {
                shared: Arc::clone(&shared),
                publisher: *publisher,
                track: *track,
                ledger: Ledger::default(),
                served: false,
            };
            tracks.spawn(reading.run(subscription.track()));
        }
        let all = async { while tracks.join_next().await.is_some() {} };
        let swap = async {
            swap_priorities(&shared, &wanted).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = all => {}
            () = swap => {}
        }
        let _ = timeout(Duration::from_secs(2), session.close()).await;
    }
}

/// Turns the priorities around when it is time.
async fn swap_priorities(shared: &Shared, wanted: &[Wanted]) {
    let Some(after) = shared.swap_at else { return std::future::pending().await };
    let mut first = shared.first.subscribe();
    let Ok(Some(first)) = first.wait_for(Option::is_some).await.map(|first| *first) else { return };
    tokio::time::sleep_until(first + after).await;
    let tracks = &shared.shape.tracks;
    shared.swapped_ns.send_if_modified(|at| at.is_none() && at.replace(monotonic_ns()).is_none());
    for Wanted { track, subscription, .. } in wanted {
        let (Some(own), Some(other)) = (tracks.get(*track), tracks.get(tracks.len() - 1 - *track)) else {
            continue;
        };
        let update = SubscribeUpdate {
            priority: Priority(other.priority),
            order: own.order.into(),
            max_age: None,
            first: None,
            last: None,
        };
        if let Err(error) = subscription.update(update).await {
            crate::ui::notice(&format!("cannot change priorities: {}", chain(&error)));
        }
    }
}

/// Reads one track.
struct TrackReading {
    shared: Arc<Shared>,
    publisher: usize,
    track: usize,
    ledger: Ledger,
    served: bool,
}

/// How the reading of a group ended.
struct GroupRead {
    group: u64,
    whole: bool,
    frames: u32,
}

impl TrackReading {
    async fn run(mut self, mut consumer: TrackConsumer) {
        let Some(meter) = self.shared.meters.get(self.track).map(Arc::clone) else { return };
        let id = (self.publisher * self.shared.shape.tracks.len() + self.track) as u32;
        let mut groups = JoinSet::new();
        let shared = Arc::clone(&self.shared);
        let mut stopped = std::pin::pin!(shared.stopped());
        let (mut over, mut end) = (false, End::Finished);
        while !over || !groups.is_empty() {
            tokio::select! {
                biased;
                () = &mut stopped => {
                    end = End::Stopped;
                    break;
                }
                Some(read) = groups.join_next(), if !groups.is_empty() => {
                    if let Ok(read) = read {
                        self.note(&read, &meter);
                    }
                }
                event = consumer.next_event(), if !over => match event {
                    Ok(Some(TrackEvent::Group(group))) => {
                        self.ledger.begun(group.sequence());
                        groups.spawn(read_group(group, id, Arc::clone(&meter), Arc::clone(&self.shared)));
                    }
                    Ok(Some(TrackEvent::Gap { first, last, .. })) => self.ledger.gap(first, last),
                    Ok(None) => over = true,
                    Err(_) => (over, end) = (true, End::Broken),
                },
            }
        }
        let last = self.shared.begun.last(self.publisher, self.track);
        meter.close(self.ledger, last, end);
    }

    fn note(&mut self, read: &GroupRead, meter: &Meter) {
        if read.whole {
            self.ledger.whole(read.group);
        } else {
            self.ledger.cut(read.group);
        }
        if read.frames > 0 && !self.served {
            self.served = true;
            meter.served();
        }
    }
}

/// Reads a group as it comes, and checks each frame.
async fn read_group(mut group: GroupConsumer, id: u32, meter: Arc<Meter>, shared: Arc<Shared>) -> GroupRead {
    let sequence = group.sequence();
    let (mut frames, mut promised, mut sound) = (0, None, true);
    let whole = loop {
        let mut frame = match group.next_frame().await {
            Ok(Some(frame)) => frame,
            Ok(None) => break sound && promised == Some(frames),
            Err(_) => break false,
        };
        let mut checker = Checker::default();
        let complete = loop {
            match frame.read_chunk().await {
                Ok(Some(chunk)) => checker.push(&chunk),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if !complete {
            break false;
        }
        match checker.finish() {
            Ok((stamp, len)) if (stamp.track, stamp.group, stamp.frame) == (id, sequence, frames) => {
                meter.frame(&stamp, len, monotonic_ns());
                promised = Some(stamp.frames);
                if shared.first.borrow().is_none() {
                    shared.first.send_if_modified(|first| first.is_none() && first.replace(now()).is_none());
                }
            }
            _ => {
                meter.damaged();
                sound = false;
            }
        }
        frames += 1;
    };
    GroupRead { group: sequence, whole, frames }
}
