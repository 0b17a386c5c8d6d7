//! A catalog as it changes, over all sessions of a link.

use std::time::Duration;

use moqt::{FullTrackName, Link, RequestError, SubscribeOptions, TrackConsumer, TrackError};
use moqt_media::catalog::{self, Broadcast, Format};
use tokio::{sync::mpsc, task::JoinSet};

use super::super::reader::{Item, Reader};

/// Pause between attempts to get it.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a group may stand still while there is a newer one.
const LATENCY: Duration = Duration::from_secs(1);

/// Why there is no catalog, or not yet.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was asked for in vain; it will be again.
    Refused(RequestError),
    /// There is one that cannot be read.
    Wrong(catalog::Error),
}

/// Reads a catalog for as long as it is held.
pub(super) struct Catalogs {
    receiver: mpsc::Receiver<Result<Broadcast, Trouble>>,
    _task: JoinSet<()>,
}

impl Catalogs {
    pub(super) fn new(link: Link, name: FullTrackName, format: Format, options: SubscribeOptions) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let mut task = JoinSet::new();
        let reading = Reading { link, name, format, options, known: None, sender };
        task.spawn(reading.run());
        Self { receiver, _task: task }
    }

    /// The catalog when it is there first, and whenever it says something else. `None` when it has ended, or there will
    /// be no session any more. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Result<Broadcast, Trouble>> {
        self.receiver.recv().await
    }
}

struct Reading {
    link: Link,
    name: FullTrackName,
    format: Format,
    options: SubscribeOptions,
    known: Option<Broadcast>,
    sender: mpsc::Sender<Result<Broadcast, Trouble>>,
}

impl Reading {
    /// With each session the newest is read anew: a publisher that was started again has numbers of its own.
    async fn run(mut self) {
        while let Ok(session) = self.link.session().await {
            match session.subscriber().subscribe(self.name.clone(), self.options).await {
                Ok(subscription) => {
                    if self.read(subscription.into_track()).await.is_ok() {
                        return;
                    }
                }
                Err(RequestError::Session(_)) => {}
                Err(error) => {
                    if self.sender.send(Err(Trouble::Refused(error))).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn read(&mut self, track: TrackConsumer) -> Result<(), TrackError> {
        let mut frames = Reader::new(track, LATENCY);
        let mut reader = catalog::Reader::new(self.format);
        while let Some(item) = frames.next().await? {
            let Item::Frame { begins, bytes } = item else { continue };
            if begins {
                reader.begin();
            }
            let found = match reader.frame(&bytes) {
                Ok(found) if self.known.as_ref() == Some(&found) => continue,
                Ok(found) => {
                    self.known = Some(found.clone());
                    Ok(found)
                }
                Err(error) => Err(Trouble::Wrong(error)),
            };
            if self.sender.send(found).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}
