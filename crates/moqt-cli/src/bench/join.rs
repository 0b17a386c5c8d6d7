//! Subscribers that come while frames flow, stay a while and go.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moqt::{GroupConsumer, Session, TrackConsumer};
use tokio::{task::JoinSet, time::timeout};

use super::{
    measure::{
        meter::Durations,
        report::Joins,
        shape::{self, TrackShape},
    },
    read::{Shared, subscribe},
    track_name,
};
use crate::{
    common::Connector,
    waiting::{Waiting, now},
};

/// Most of them at a time; while there are so many, none comes.
const MAX_AT_A_TIME: usize = 4096;

/// What became of those that came.
#[derive(Debug, Default)]
pub(super) struct Joined(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: u64,
    failed: u64,
    connect: Durations,
    first_frame: Durations,
}

impl Joined {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> Joins {
        let counts = self.lock();
        Joins {
            done: counts.done,
            failed: counts.failed,
            connect: counts.connect.percentiles(),
            first_frame: counts.first_frame.percentiles(),
        }
    }
}

/// Lets them come from the first frame of the run on, until cancelled.
pub(super) async fn come_and_go(
    connector: Connector,
    shared: Arc<Shared>,
    joins: shape::Joins,
    joined: Arc<Joined>,
) {
    // Those who come before there is anything would be no late ones.
    let mut first = shared.first.subscribe();
    let _ = first.wait_for(Option::is_some).await;
    let mut tasks = JoinSet::new();
    let mut ticks = tokio::time::interval(joins.every);
    for index in 0_usize.. {
        ticks.tick().await;
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= MAX_AT_A_TIME {
            tasks.join_next().await;
        }
        let (connector, shared, joined) = (connector.clone(), Arc::clone(&shared), Arc::clone(&joined));
        tasks.spawn(async move {
            if join(&connector, &shared, joins.stay, index, &joined).await.is_none() {
                joined.lock().failed += 1;
            }
        });
    }
}

/// One of them; `None` where it got nothing.
async fn join(
    connector: &Connector,
    shared: &Shared,
    stay: Duration,
    index: usize,
    joined: &Joined,
) -> Option<()> {
    let began = now();
    let session = timeout(shared.patience, connector.connect(&mut Waiting::new())).await.ok()?.ok()?;
    joined.lock().connect.record(began.elapsed().as_micros() as u64);
    let publisher = shared.shape.publishers_of(index).first().copied()?;
    let track = shared.shape.tracks.first()?;
    let first = first_frame(&session, shared, publisher, track);
    let asked = now();
    let (consumer, group) = timeout(shared.patience, first).await.ok()??;
    {
        let mut counts = joined.lock();
        counts.first_frame.record(asked.elapsed().as_micros() as u64);
        counts.done += 1;
    }
    let _ = timeout(stay, read_on(consumer, group)).await;
    let _ = timeout(Duration::from_secs(2), session.close()).await;
    Some(())
}

/// Reads as a viewer does, to the end of the track.
async fn read_on(mut consumer: TrackConsumer, group: GroupConsumer) {
    let mut next = Some(group);
    while let Some(mut group) = next {
        while let Ok(Some(_)) = group.read_frame().await {}
        next = consumer.next_group().await.ok().flatten();
    }
}

/// Subscribes and waits for a frame to come whole; its group is not yet read to the end.
async fn first_frame(
    session: &Session,
    shared: &Shared,
    publisher: usize,
    track: &TrackShape,
) -> Option<(TrackConsumer, GroupConsumer)> {
    let name = track_name(&shared.prefix, publisher, &track.name).ok()?;
    let mut consumer = subscribe(session, &name, track).await.ok()?.into_track();
    loop {
        let mut group = consumer.next_group().await.ok()??;
        if let Ok(Some(_)) = group.read_frame().await {
            return Some((consumer, group));
        }
    }
}
