//! Names that come and go, and sessions that watch all of them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::{anyhow, bail};
use moqt::{
    AnnounceConsumer, Announced, Namespace, Published, Retention, Session, TrackInfo, TrackProducer, Tracks,
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    measure::{clock::monotonic_ns, frame::Stamp, meter::Meter},
    read::Shared,
};
use crate::{common::Connector, waiting::Waiting};

/// How long a name that came stays.
const STAY: Duration = Duration::from_secs(1);
/// Names are published so many at a time, so that the session has its turn.
const AT_A_TIME: usize = 256;

/// How many names come in this time.
pub(super) fn changes(per_second: f64, duration: Duration) -> u64 {
    (duration.as_secs_f64() * per_second).floor() as u64
}

/// A publisher of names.
pub(super) struct Names {
    session: Session,
    origin: Tracks,
    prefix: Namespace,
    standing: Vec<Published>,
}

impl Names {
    /// Connects, and announces names that stay.
    pub(super) async fn announce(
        connector: &Connector,
        shared: &Shared,
        standing: usize,
    ) -> anyhow::Result<Self> {
        let origin = Tracks::new();
        let session = connector.connect_with(Arc::new(origin.clone()), &mut Waiting::new()).await?;
        let (prefix, room) = (shared.prefix.clone(), Vec::with_capacity(standing));
        let mut names = Self { session, origin, prefix, standing: room };
        for at in 0..standing {
            let published = names.publish(&format!("stays/{at}"))?;
            names.standing.push(published);
            if at % AT_A_TIME == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(names)
    }

    fn publish(&self, name: &str) -> anyhow::Result<Published> {
        let name = format!("{}/{name}", self.prefix).parse()?;
        let track = TrackProducer::new(name, TrackInfo::default(), Retention::default());
        Ok(self.origin.publish(track.consume())?)
    }

    /// Announces one name after the other, so many a second, with the time of each in it, and takes back those that came
    /// a while ago.
    pub(super) async fn change(
        &self,
        per_second: f64,
        start: Instant,
        duration: Duration,
    ) -> anyhow::Result<()> {
        let mut here = VecDeque::new();
        for count in 0..changes(per_second, duration) {
            let due = Duration::from_secs_f64(count as f64 / per_second);
            tokio::time::sleep_until(start + due).await;
            here.push_back((due, self.publish(&format!("comes/{}", monotonic_ns()))?));
            while here.front().is_some_and(|(came, _)| due.saturating_sub(*came) >= STAY) {
                here.pop_front();
            }
        }
        tokio::time::sleep_until(start + duration).await;
        Ok(())
    }

    pub(super) fn version(&self) -> String {
        self.session.version().to_string()
    }

    /// Leaves.
    pub(super) async fn close(self) {
        drop(self.standing);
        self.session.close().await;
    }
}

/// A session that watches the names.
pub(super) struct Watcher {
    session: Session,
    names: AnnounceConsumer,
}

impl Watcher {
    /// Connects, and waits until all names are there that stay.
    pub(super) async fn watch(
        connector: &Connector,
        shared: &Shared,
        standing: usize,
    ) -> anyhow::Result<Self> {
        let session = connector.connect(&mut Waiting::new()).await?;
        let watch = async {
            let subscriber = session.subscriber();
            let mut names = subscriber.announced(shared.prefix.clone()).await?;
            let mut seen = 0;
            while seen < standing {
                match names.next().await {
                    Some(Announced::Active(_)) => seen += 1,
                    Some(_) => {}
                    None => bail!("the names ended"),
                }
            }
            Ok(names)
        };
        let late = || anyhow!("not all {standing} names came within {:?}", shared.patience);
        let names = timeout(shared.patience, watch).await.map_err(|_| late())??;
        Ok(Self { session, names })
    }

    /// Sees names come, until there were so many or nothing comes any more.
    async fn read(mut self, meter: Arc<Meter>, mut count: u64, patience: Duration) {
        let mut served = false;
        while count > 0 {
            let Ok(Some(event)) = timeout(patience, self.names.next()).await else { break };
            let Announced::Active(name) = event else { continue };
            let parts = name.to_string();
            let Some(sent_ns) = parts.rsplit('/').next().and_then(|text| text.parse().ok()) else { continue };
            meter.frame(&Stamp { sent_ns, ..Stamp::default() }, 0, monotonic_ns());
            count -= 1;
            if !std::mem::replace(&mut served, true) {
                meter.served();
            }
        }
        self.session.close().await;
    }
}

/// Lets all watchers see so many names come.
pub(super) fn read_all(watchers: Vec<Watcher>, shared: &Shared, count: u64) -> JoinSet<()> {
    let mut reading = JoinSet::new();
    if let Some(meter) = shared.meters.first() {
        for watcher in watchers {
            reading.spawn(watcher.read(Arc::clone(meter), count, shared.patience));
        }
    }
    reading
}
