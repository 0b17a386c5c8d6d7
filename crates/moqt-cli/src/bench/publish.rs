//! The publishing side: sessions, their tracks, and frames when they are due.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moqt::{GroupProducer, Namespace, Published, Retention, Session, TrackInfo, TrackProducer, Tracks};
use tokio::time::Instant;

use super::{
    measure::{frame::Maker, pace::Pace, shape::Shape},
    track_name,
};
use crate::{common::Connector, waiting::Waiting};

/// How many groups each track has begun, by publisher and track.
#[derive(Debug)]
pub(super) struct Begun {
    tracks: usize,
    counts: Vec<AtomicU64>,
}

impl Begun {
    pub(super) fn new(shape: &Shape) -> Arc<Self> {
        let tracks = shape.tracks.len();
        let counts = (0..tracks * shape.publishers).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { tracks, counts })
    }

    fn at(&self, publisher: usize, track: usize) -> Option<&AtomicU64> {
        self.counts.get(publisher * self.tracks + track)
    }

    /// The last group; `None` where none is known.
    pub(super) fn last(&self, publisher: usize, track: usize) -> Option<u64> {
        self.at(publisher, track)?.load(Ordering::Acquire).checked_sub(1)
    }

    /// Groups of one track, over all publishers.
    pub(super) fn of_track(&self, track: usize) -> u64 {
        let counts = self.counts.iter().skip(track).step_by(self.tracks);
        counts.map(|count| count.load(Ordering::Acquire)).sum()
    }
}

/// One publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    index: usize,
    session: Session,
    tracks: Vec<TrackProducer>,
    published: Vec<Published>,
}

impl Publisher {
    /// Connects and announces all tracks of the shape.
    pub(super) async fn connect(
        connector: &Connector,
        shape: &Shape,
        prefix: &Namespace,
        index: usize,
    ) -> anyhow::Result<Self> {
        let origin = Tracks::new();
        let (mut tracks, mut published) = (Vec::new(), Vec::new());
        for track in &shape.tracks {
            let name = track_name(prefix, index, &track.name)?;
            let producer = TrackProducer::new(name, TrackInfo::default(), Retention::default());
            published.push(origin.publish(producer.consume())?);
            tracks.push(producer);
        }
        let session = connector.connect_with(Arc::new(origin), &mut Waiting::new()).await?;
        Ok(Self { index, session, tracks, published })
    }

    /// Waits until somebody has asked for each track. The origin's own reader is one. Cancel safe.
    pub(super) async fn wanted(&self) {
        for track in &self.tracks {
            track.readers_above(1).await;
        }
    }

    /// Writes each track's frames for `duration`, and on to the end of its last group.
    pub(super) async fn write(&self, shape: &Shape, start: Instant, duration: Duration, begun: &Begun) {
        let maker = Maker::new(shape.largest_frame());
        // Publishers spread over the time of a frame; the tracks of each tick together.
        let share = self.index as f64 / shape.publishers.max(1) as f64;
        let fps = shape.tracks.first().map_or(0.0, |track| track.fps);
        let offset = if fps > 0.0 { Duration::from_secs_f64(share / fps) } else { Duration::ZERO };
        let mut writers: Vec<Writer<'_>> = Vec::new();
        for (at, (track, producer)) in shape.tracks.iter().zip(&self.tracks).enumerate() {
            let id = self.index * shape.tracks.len() + at;
            let pace = Pace::new(track.clone(), id as u32);
            writers.push(Writer { at, pace, producer, group: None });
        }
        loop {
            // A writer is through once it has come to the end of a group after the time.
            let due = |writer: &Writer<'_>| {
                writer.pace.due().filter(|due| *due < duration || writer.group.is_some())
            };
            let Some(next) = writers.iter().filter_map(due).min() else { break };
            tokio::time::sleep_until(start + offset + next).await;
            for writer in &mut writers {
                if due(writer).is_some_and(|due| due <= next) {
                    let group = writer.write(&maker);
                    if let Some(count) = begun.at(self.index, writer.at) {
                        count.store(group + 1, Ordering::Release);
                    }
                }
            }
        }
        // A track without frames lasts as long as the others.
        tokio::time::sleep_until(start + duration).await;
    }

    /// Ends the tracks and waits until the peer has what it is to get.
    pub(super) async fn finish(&self) {
        for track in &self.tracks {
            track.finish();
        }
        self.session.publisher().flushed().await;
    }

    /// Leaves.
    pub(super) async fn close(self) {
        drop(self.published);
        self.session.close().await;
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

/// Writes one track.
struct Writer<'a> {
    at: usize,
    pace: Pace,
    producer: &'a TrackProducer,
    group: Option<GroupProducer>,
}

impl Writer<'_> {
    /// Writes the next frame; the number of its group.
    fn write(&mut self, maker: &Maker) -> u64 {
        let due = self.pace.make(maker);
        if due.begins {
            self.group = Some(self.producer.append_group());
        }
        if let Some(group) = &mut self.group {
            // Fails for nobody but a group past the limits of the track, which the reader then sees cut.
            let _ = group.write_frame(due.frame);
        }
        if due.ends
            && let Some(group) = self.group.take()
        {
            let _ = group.finish();
        }
        due.group
    }
}
