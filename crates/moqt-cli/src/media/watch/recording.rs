//! The file being written, from tracks that come and go.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use moqt::{FollowOptions, FullTrackName, Link, SubscribeOptions, TrackName, Url};
use moqt_media::{
    catalog::{Broadcast, Format, Kind, Track},
    fmp4::{Error, Muxer},
    loc::Frame,
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{
    super::merge::{Arrival, Merge},
    catalogs::{Catalogs, Trouble},
    choice::{self, Choice},
    feed::Feed,
    outages::Outages,
};
use crate::{
    output::Output,
    sub::{Gaps, Missing, SubArgs},
    ui::{self, Counts},
    waiting::{Waiting, now},
};

/// Frames that a track may have ahead of the others.
const AHEAD: usize = 8;
/// How long after the end of all tracks the catalog may name others.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Where a broadcast comes from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) link: Link,
    pub(super) url: Url,
    pub(super) outages: Outages,
    pub(super) format: Format,
}

/// A broadcast on its way into a file.
pub(super) struct Recording<'a> {
    args: &'a SubArgs,
    source: Source,
    counts: Arc<Counts>,
    /// What the catalog said last.
    broadcast: Broadcast,
    catalogs: Option<Catalogs>,
    slots: Vec<Slot>,
    muxer: Muxer,
    merge: Merge,
}

/// A track of the file, and what it is written from.
struct Slot {
    track: Track,
    by_name: bool,
    /// The catalog does not name it any more.
    gone: bool,
    /// The rest of the group is left out.
    skipping: bool,
    gaps: Gaps,
    feed: JoinSet<()>,
}

/// What happens next.
enum Next {
    Catalog(Option<Result<Broadcast, Trouble>>),
    Arrival(Option<(usize, Arrival)>),
    Over,
}

impl<'a> Recording<'a> {
    /// What is wanted of a broadcast, as its catalog says.
    pub(super) fn new(
        args: &'a SubArgs,
        source: Source,
        counts: Arc<Counts>,
        broadcast: Broadcast,
        catalogs: Catalogs,
    ) -> anyhow::Result<Self> {
        for problem in &broadcast.problems {
            ui::notice(&format!("track {} of the catalog is left out: {}", problem.track, problem.why));
        }
        let choices = choice::choose(&args.media, &broadcast, &args.track)?;
        let tracks = choices.iter().map(|choice| choice.track.clone()).collect();
        let muxer = Muxer::new(tracks).context("cannot write this broadcast as MP4")?;
        let mut receivers = Vec::new();
        let mut slots = Vec::new();
        for Choice { track, by_name } in choices {
            let gaps = Gaps::new(full_name(args, &track.name), ui::notice);
            let (sender, receiver) = mpsc::channel(AHEAD);
            let mut slot = Slot { track, by_name, gone: false, skipping: false, gaps, feed: JoinSet::new() };
            slot.follow(args, &source, args.first(), sender);
            receivers.push(receiver);
            slots.push(slot);
        }
        let merge = Merge::new(receivers);
        Ok(Self { args, source, counts, broadcast, catalogs: Some(catalogs), slots, muxer, merge })
    }

    /// Groups that are missing in the output.
    pub(super) fn missing(&self) -> u64 {
        self.slots.iter().map(|slot| slot.gaps.total()).sum()
    }

    /// Writes until the tracks have ended.
    pub(super) async fn run(&mut self, output: &mut Output, waiting: &mut Waiting) -> anyhow::Result<()> {
        output.write(&self.muxer.header()).await?;
        let what = format!("for the first frame of {} (subscribed)", self.args.track);
        let mut over: Option<Instant> = None;
        loop {
            let (catalogs, merge) = (&mut self.catalogs, &mut self.merge);
            let next = async {
                tokio::select! {
                    biased;
                    document = next_of(catalogs) => Next::Catalog(document),
                    arrival = merge.next(), if over.is_none() => Next::Arrival(arrival),
                    () = until(over) => Next::Over,
                }
            };
            match waiting.during(&what, output.until(next)).await? {
                Next::Catalog(Some(document)) => {
                    if document.is_ok() {
                        over = None;
                    }
                    self.document(document)?;
                }
                Next::Catalog(None) => {
                    self.catalogs = None;
                    over = over.map(|_| now());
                }
                Next::Arrival(Some((at, arrival))) => {
                    if matches!(arrival, Arrival::Frame { .. }) {
                        waiting.over();
                    }
                    self.arrival(at, arrival, output).await?;
                }
                Next::Arrival(None) => {
                    over = Some(if self.catalogs.is_some() { now() + LAST_WORD } else { now() });
                }
                Next::Over => break,
            }
            let now = now();
            for slot in &mut self.slots {
                if slot.gaps.due().is_some_and(|due| due <= now) {
                    slot.gaps.tell(now);
                }
            }
        }
        self.slots.iter_mut().for_each(|slot| slot.gaps.tell(now()));
        Ok(())
    }

    async fn arrival(&mut self, at: usize, arrival: Arrival, output: &mut Output) -> anyhow::Result<()> {
        let Some(slot) = self.slots.get_mut(at) else { return Ok(()) };
        match arrival {
            Arrival::Frame { begins, frame } => return self.frame(at, begins, &frame, output).await,
            Arrival::Gap { first, last, reason } => {
                self.counts.gap(last.saturating_sub(first) + 1);
                slot.gaps.missing(Missing { first, last }, &reason, now());
            }
            Arrival::Anew => return self.anew(output).await,
            // As was to be expected.
            Arrival::Lost(_) if slot.gone => {}
            Arrival::Lost(error) => return Err(error),
            Arrival::Broken(error) => {
                bail!("track {} of {}: a frame cannot be read: {error}", slot.track.name, self.args.track)
            }
        }
        Ok(())
    }

    async fn frame(
        &mut self,
        at: usize,
        begins: bool,
        frame: &Frame,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let Some(slot) = self.slots.get_mut(at) else { return Ok(()) };
        if begins {
            slot.skipping = false;
            self.counts.group();
        }
        // Without payload, it is a mark of where the frame before it ends.
        if slot.skipping || frame.payload.is_empty() {
            return Ok(());
        }
        let key = begins || slot.track.kind == Kind::Audio || slot.track.codec == "jpeg";
        let fragment = match self.muxer.fragment(at, key, frame) {
            Ok(fragment) => fragment,
            Err(Error::BegunAnew { .. }) if begins => return self.anew(output).await,
            Err(Error::BegunAnew { track }) => {
                slot.skipping = true;
                ui::notice(&format!(
                    "track {track}: the rest of a group is left out: its times are of another clock"
                ));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.counts.frame();
        self.counts.payload(frame.payload.len());
        output.write(&fragment).await
    }

    /// The publisher was started again: everything is asked for as at the beginning, and the file goes on.
    async fn anew(&mut self, output: &mut Output) -> anyhow::Result<()> {
        ui::notice(&format!("{} has begun anew", self.args.track));
        self.slots.iter_mut().for_each(|slot| slot.feed.abort_all());
        let mut catalogs = self.source.catalogs(self.args);
        let first = async {
            loop {
                match catalogs.next().await {
                    Some(Err(Trouble::Refused(_))) => {}
                    document => return document,
                }
            }
        };
        let patience = self.args.reconnect;
        let document = match output.until(tokio::time::timeout(patience, first)).await? {
            Ok(Some(document)) => document,
            Ok(None) => return Err(self.source.outages.lost().over(&self.source.link.closed().await)),
            Err(_) => {
                let patience = humantime::format_duration(patience);
                bail!("{} has begun anew, and has no catalog within {patience}", self.args.track);
            }
        };
        self.catalogs = Some(catalogs);
        self.document(document)?;
        self.muxer.begin_anew();
        for at in 0..self.slots.len() {
            self.follow(at);
        }
        Ok(())
    }

    /// The catalog says something else, or cannot be read.
    fn document(&mut self, document: Result<Broadcast, Trouble>) -> anyhow::Result<()> {
        match document {
            Ok(broadcast) => self.change(broadcast),
            // What is said of the session and the tracks is enough.
            Err(Trouble::Refused(_)) => Ok(()),
            Err(Trouble::Wrong(error)) => {
                ui::notice(&format!("the catalog of {} cannot be read: {error}", self.args.track));
                Ok(())
            }
        }
    }

    fn change(&mut self, broadcast: Broadcast) -> anyhow::Result<()> {
        for problem in broadcast.problems.iter().filter(|problem| !self.broadcast.problems.contains(problem))
        {
            ui::notice(&format!("track {} of the catalog is left out: {}", problem.track, problem.why));
        }
        for at in 0..self.slots.len() {
            self.change_slot(at, &broadcast)?;
        }
        for kind in [Kind::Video, Kind::Audio] {
            let new = broadcast.of(kind).next().filter(|_| self.broadcast.of(kind).next().is_none());
            if let Some(new) = new
                && self.slots.iter().all(|slot| slot.track.kind != kind)
                && self.args.media.wants(kind)
            {
                ui::notice(&format!(
                    "track {} is new, and left out: it is not in the file's header",
                    new.name
                ));
            }
        }
        self.broadcast = broadcast;
        Ok(())
    }

    /// What the catalog says of one track of the file: it goes on, as another one if need be, or ends.
    fn change_slot(&mut self, at: usize, broadcast: &Broadcast) -> anyhow::Result<()> {
        let Some(slot) = self.slots.get(at) else { return Ok(()) };
        let name = slot.track.name.clone();
        let next = match broadcast.tracks.iter().find(|track| track.name == name) {
            Some(same) => {
                choice::can_read(same)?;
                self.muxer
                    .replace(at, same.clone())
                    .with_context(|| format!("cannot go on with {}", self.args.track))?;
                Some(same)
            }
            None => self.other(at, broadcast),
        };
        let Some(slot) = self.slots.get_mut(at) else { return Ok(()) };
        let Some(next) = next else {
            if !std::mem::replace(&mut slot.gone, true) {
                ui::notice(&format!("track {name} is no longer in the catalog"));
            }
            return Ok(());
        };
        if next.name != name {
            ui::notice(&format!(
                "track {name} is no longer in the catalog: {} goes on in its place",
                next.name
            ));
            slot.gaps.tell(now());
        }
        let is_back = slot.gone && self.merge.is_over(at);
        let again = next.name != name || next.packaging != slot.track.packaging || is_back;
        (slot.track, slot.gone) = (next.clone(), false);
        if again {
            self.follow(at);
        }
        Ok(())
    }

    /// A track that can stand for one that is gone.
    fn other<'b>(&mut self, at: usize, broadcast: &'b Broadcast) -> Option<&'b Track> {
        let slot = self.slots.get(at).filter(|slot| !slot.by_name)?;
        let kind = slot.track.kind;
        let free = |track: &&Track| {
            choice::can_read(track).is_ok() && self.slots.iter().all(|slot| slot.track.name != track.name)
        };
        let others: Vec<&Track> = broadcast.of(kind).filter(free).collect();
        others.into_iter().find(|track| self.muxer.replace(at, (*track).clone()).is_ok())
    }

    /// Reads the track of a slot from its newest group on.
    fn follow(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let (sender, receiver) = mpsc::channel(AHEAD);
        slot.skipping = false;
        slot.follow(self.args, &self.source, None, sender);
        self.merge.replace(at, receiver);
    }
}

impl Source {
    /// The catalog, read from now on.
    pub(super) fn catalogs(&self, args: &SubArgs) -> Catalogs {
        let name = full_name(args, self.format.track());
        Catalogs::new(self.link.clone(), name, self.format, args.subscribe_options())
    }
}

impl Slot {
    fn follow(&mut self, args: &SubArgs, source: &Source, first: Option<u64>, sender: mpsc::Sender<Arrival>) {
        let mut options = FollowOptions::from(SubscribeOptions { first, ..args.subscribe_options() });
        options.wait = !args.no_wait && !args.reconnect.is_zero();
        let Source { link, url, outages, .. } = source.clone();
        let feed = Feed {
            link,
            url,
            name: full_name(args, &self.track.name),
            packaging: self.track.packaging.clone(),
            options,
            patience: args.reconnect,
            latency: args.latency(),
            outages,
        };
        self.feed = JoinSet::new();
        self.feed.spawn(feed.run(sender));
    }
}

/// A track of the broadcast.
pub(super) fn full_name(args: &SubArgs, track: &str) -> FullTrackName {
    FullTrackName::new(args.track.to_namespace(), TrackName::from(track.to_owned()))
}

async fn next_of(catalogs: &mut Option<Catalogs>) -> Option<Result<Broadcast, Trouble>> {
    match catalogs {
        Some(catalogs) => catalogs.next().await,
        None => std::future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
