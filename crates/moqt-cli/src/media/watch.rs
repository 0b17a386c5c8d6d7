//! `moqt sub` of a broadcast: catalog, choice, and the tracks as one MP4.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use moqt::{
    Announced, FullTrackName, Namespace, RequestError, Session, SubscribeOptions, TrackConsumer, TrackName,
};
use moqt_media::{
    catalog::{self, Broadcast, Format, Kind, Packaging, Track},
    fmp4::Muxer,
    loc::{self, Frame},
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{
    merge::{Arrival, Merge},
    reader::{Item, Reader},
};
use crate::{
    common::{Connector, chain},
    output::Output,
    sub::{Gaps, Missing, SubArgs},
    ui::{self, Counts},
    waiting::{Waiting, now},
};

/// Frames that a track may have ahead of the others.
const AHEAD: usize = 8;
/// Pause between attempts to subscribe to what was announced a moment ago.
const PAUSE: Duration = Duration::from_millis(100);

/// Writes a broadcast as fragmented MP4.
pub(crate) struct Watch<'a> {
    args: &'a SubArgs,
    connector: &'a Connector,
    counts: Arc<Counts>,
    waiting: Waiting,
    session: Option<Session>,
    missing: u64,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(args: &'a SubArgs, connector: &'a Connector, counts: Arc<Counts>) -> Self {
        Self { args, connector, counts, waiting: Waiting::new(), session: None, missing: 0 }
    }

    /// Groups that are missing in the output.
    pub(crate) fn missing(&self) -> u64 {
        self.missing
    }

    /// Ends the session.
    pub(crate) async fn end(self) {
        if let Some(session) = &self.session {
            self.connector.close(session).await;
        }
    }

    /// Writes until the tracks have ended.
    pub(crate) async fn run(&mut self, output: &mut Output) -> anyhow::Result<()> {
        let session = self.connector.connect(&mut self.waiting).await?;
        self.session = Some(session.clone());
        let format = self.catalog_format(&session).await?;
        let broadcast = self.catalog(&session, format).await?;
        for problem in &broadcast.problems {
            ui::notice(&format!("track {} of the catalog is left out: {}", problem.track, problem.why));
        }
        let tracks = self.choose(&broadcast)?;
        let mut muxer = Muxer::new(tracks.clone()).context("cannot write this broadcast as MP4")?;
        let mut tasks = JoinSet::new();
        let mut receivers = Vec::new();
        for track in &tracks {
            let name = self.name(&track.name);
            let options = self.options(self.args.first());
            let consumer = self.subscribe(&session, &name, options).await?;
            let (sender, receiver) = mpsc::channel(AHEAD);
            let reader = Reader::new(consumer, self.args.latency());
            tasks.spawn(feed(reader, track.packaging.clone(), sender));
            receivers.push(receiver);
        }
        output.write(&muxer.header()).await?;
        let mut writing = Writing {
            tracks: &tracks,
            muxer: &mut muxer,
            output,
            counts: &self.counts,
            gaps: tracks.iter().map(|track| Gaps::new(self.name(&track.name), ui::notice)).collect(),
            last: now(),
        };
        let result = writing.run(Merge::new(receivers), &mut self.waiting, &self.args.track).await;
        self.missing = writing.missing();
        result
    }

    fn name(&self, track: &str) -> FullTrackName {
        FullTrackName::new(self.namespace(), TrackName::from(track.to_owned()))
    }

    fn namespace(&self) -> Namespace {
        self.args.track.to_namespace()
    }

    fn options(&self, first: Option<u64>) -> SubscribeOptions {
        SubscribeOptions { first, ..self.args.subscribe_options() }
    }

    /// Waits for a catalog of the namespace; the best there is.
    async fn catalog_format(&mut self, session: &Session) -> anyhow::Result<Format> {
        let place = format!("{} at {}", self.args.track, self.connector.url());
        let names = session.subscriber().announced(self.namespace()).await;
        let mut names = names.map_err(|error| anyhow!("cannot look for {place}: {}", chain(&error)))?;
        let wanted = Format::ALL.map(|format| (format, self.name(format.track()).to_namespace()));
        let no_wait = self.args.no_wait;
        let mut found = BTreeSet::new();
        let looking = async {
            let mut caught_up = false;
            while let Some(event) = names.next().await {
                match event {
                    Announced::Active(name) => {
                        let format = wanted.iter().find(|(_, wanted)| *wanted == name);
                        found.extend(format.map(|(format, _)| *format));
                    }
                    Announced::CaughtUp => caught_up = true,
                    _ => {}
                }
                if caught_up && (no_wait || !found.is_empty()) {
                    break;
                }
            }
        };
        let what = format!("for a catalog of {place} to be announced");
        self.waiting.during(&what, looking).await;
        found.first().copied().ok_or_else(|| {
            anyhow!(
                "no broadcast {place}; is it published? `moqt announced {}` lists what is",
                self.connector.url()
            )
        })
    }

    /// The catalog as it is now.
    async fn catalog(&mut self, session: &Session, format: Format) -> anyhow::Result<Broadcast> {
        let name = self.name(format.track());
        let mut track = self.subscribe(session, &name, self.options(None)).await?;
        let what = format!("for the catalog {name} (subscribed)");
        let read = async {
            let group = track.next_group().await.map_err(|error| anyhow!(chain(&error)))?;
            let mut group = group.ok_or_else(|| anyhow!("it has ended"))?;
            let frame = group.read_frame().await.map_err(|error| anyhow!(chain(&error)))?;
            frame.ok_or_else(|| anyhow!("its group is empty"))
        };
        let document = self.waiting.during(&what, read).await;
        let document = document.with_context(|| format!("cannot read the catalog {name}"))?;
        let mut reader = catalog::Reader::new(format);
        reader.frame(&document).with_context(|| format!("cannot read the catalog {name}"))
    }

    async fn subscribe(
        &mut self,
        session: &Session,
        name: &FullTrackName,
        options: SubscribeOptions,
    ) -> anyhow::Result<TrackConsumer> {
        let what = format!("for an answer to the subscription of {name}");
        let until = now() + self.args.reconnect;
        let subscriber = session.subscriber();
        loop {
            let asked = subscriber.subscribe(name.clone(), options);
            match self.waiting.during(&what, asked).await {
                Ok(subscription) => return Ok(subscription.into_track()),
                // It was announced a moment ago.
                Err(RequestError::Refused(_)) if now() < until && !self.args.no_wait => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(self.connector.request_failed("cannot subscribe", name, &error)),
            }
        }
    }

    /// The tracks that are asked for, or else the best of each kind that can be written.
    fn choose(&self, broadcast: &Broadcast) -> anyhow::Result<Vec<Track>> {
        let media = &self.args.media;
        let known =
            || broadcast.tracks.iter().map(|track| track.name.as_str()).collect::<Vec<_>>().join(", ");
        let named = |name: &str| {
            let track = broadcast.tracks.iter().find(|track| track.name == name);
            track.ok_or_else(|| anyhow!("{} has no track {name}; there are: {}", self.args.track, known()))
        };
        let mut chosen: Vec<&Track> = Vec::new();
        for (kind, wish) in [(Kind::Video, &media.video), (Kind::Audio, &media.audio)] {
            match wish.as_deref() {
                Some("none") => {}
                Some(name) => chosen.push(named(name)?),
                None if media.tracks.is_empty() => {
                    let works = |track: &&Track| {
                        let writes =
                            can_read(track).and_then(|()| Ok(Muxer::new(vec![(*track).clone()]).map(drop)?));
                        if let Err(error) = &writes {
                            ui::notice(&format!("track {} is left out: {error:#}", track.name));
                        }
                        writes.is_ok()
                    };
                    chosen.extend(broadcast.of(kind).find(works));
                }
                None => {}
            }
        }
        for name in &media.tracks {
            chosen.push(named(name)?);
        }
        let mut tracks: Vec<Track> = Vec::new();
        for track in chosen {
            can_read(track)?;
            if tracks.iter().all(|other| other.name != track.name) {
                tracks.push(track.clone());
            }
        }
        if tracks.is_empty() {
            bail!("{} has nothing that can be written as MP4; its tracks: {}", self.args.track, known());
        }
        Ok(tracks)
    }
}

fn can_read(track: &Track) -> anyhow::Result<()> {
    match &track.packaging {
        Packaging::Loc | Packaging::Legacy => Ok(()),
        other => bail!("track {} is packaged as {}, which is not read here", track.name, other.name()),
    }
}

/// Moves a track into the merge until either ends.
async fn feed(mut reader: Reader, packaging: Packaging, sender: mpsc::Sender<Arrival>) {
    loop {
        let arrival = match reader.next().await {
            Ok(Some(Item::Frame { begins, bytes })) => {
                let frame = match packaging {
                    Packaging::Legacy => loc::parse_legacy(&bytes),
                    _ => Frame::parse(&bytes),
                };
                match frame {
                    Ok(frame) => Arrival::Frame { begins, frame },
                    Err(error) => Arrival::Broken(error),
                }
            }
            Ok(Some(Item::Gap { first, last, reason })) => Arrival::Gap { first, last, reason },
            Ok(None) => return,
            Err(error) => Arrival::Lost(error),
        };
        let over = matches!(arrival, Arrival::Lost(_) | Arrival::Broken(_));
        if sender.send(arrival).await.is_err() || over {
            return;
        }
    }
}

/// The file being written.
struct Writing<'a> {
    tracks: &'a [Track],
    muxer: &'a mut Muxer,
    output: &'a mut Output,
    counts: &'a Counts,
    gaps: Vec<Gaps>,
    last: Instant,
}

impl Writing<'_> {
    async fn run(
        &mut self,
        mut merge: Merge,
        waiting: &mut Waiting,
        name: &FullTrackName,
    ) -> anyhow::Result<()> {
        let what = format!("for the first frame of {name} (subscribed)");
        while let Some((at, arrival)) = waiting.during(&what, self.output.until(merge.next())).await? {
            let Some(track) = self.tracks.get(at) else { continue };
            self.last = now();
            match arrival {
                Arrival::Frame { begins, frame } => {
                    waiting.over();
                    self.frame(at, track, begins, &frame).await?;
                }
                Arrival::Gap { first, last, reason } => {
                    self.counts.gap(last.saturating_sub(first) + 1);
                    if let Some(gaps) = self.gaps.get_mut(at) {
                        gaps.missing(Missing { first, last }, &reason, now());
                    }
                }
                Arrival::Lost(error) => bail!("lost: track {} of {name}: {}", track.name, chain(&error)),
                Arrival::Broken(error) => {
                    bail!("track {} of {name}: a frame cannot be read: {error}", track.name)
                }
            }
            for gaps in self.gaps.iter_mut().filter(|gaps| gaps.due().is_some_and(|due| due <= self.last)) {
                gaps.tell(self.last);
            }
        }
        self.gaps.iter_mut().for_each(|gaps| gaps.tell(now()));
        Ok(())
    }

    async fn frame(&mut self, at: usize, track: &Track, begins: bool, frame: &Frame) -> anyhow::Result<()> {
        if begins {
            self.counts.group();
        }
        // A mark of where the frame before it ends.
        if frame.payload.is_empty() {
            return Ok(());
        }
        let key = begins || track.kind == Kind::Audio || track.codec == "jpeg";
        let fragment = self.muxer.fragment(at, key, frame)?;
        self.counts.frame();
        self.counts.payload(frame.payload.len());
        self.output.write(&fragment).await
    }

    fn missing(&self) -> u64 {
        self.gaps.iter().map(Gaps::total).sum()
    }
}
