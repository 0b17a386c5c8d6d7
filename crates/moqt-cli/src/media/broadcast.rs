//! The tracks of a broadcast being written, catalogs first.

use std::sync::Arc;

use anyhow::Context as _;
use moqt::{
    FrameMeta, FullTrackName, GroupProducer, Namespace, Priority, TrackInfo, TrackName, TrackProducer,
};
use moqt_media::{
    catalog::{self, Format, Kind},
    loc::Frame,
};

use crate::{served::Served, ui::Counts};

/// Writes a broadcast.
pub(super) struct Broadcast {
    served: Arc<Served>,
    namespace: Namespace,
    catalogs: Vec<(Format, TrackProducer)>,
    tracks: Vec<Track>,
    counts: Arc<Counts>,
}

/// One of its tracks.
struct Track {
    name: String,
    kind: Kind,
    producer: TrackProducer,
    group: Option<GroupProducer>,
}

impl Broadcast {
    /// A broadcast of this name with catalogs in these formats, and nothing in it yet.
    pub(super) fn new(
        served: &Arc<Served>,
        name: &FullTrackName,
        formats: Vec<Format>,
        counts: &Arc<Counts>,
    ) -> Self {
        let namespace = name.to_namespace();
        let info = TrackInfo { priority: Priority(catalog::priority::CATALOG), ..TrackInfo::default() };
        let add = |format: Format| {
            let name = FullTrackName::new(namespace.clone(), TrackName::from(format.track()));
            (format, served.add_beside(name, info))
        };
        let catalogs = formats.into_iter().map(add).collect();
        let (served, counts) = (Arc::clone(served), Arc::clone(counts));
        Self { served, namespace, catalogs, tracks: Vec::new(), counts }
    }

    /// Says what there is. Tracks that are new are announced, those that are left out are finished.
    pub(super) fn describe(&mut self, broadcast: &catalog::Broadcast) -> anyhow::Result<()> {
        let mut documents = Vec::new();
        for (format, _) in &self.catalogs {
            documents.push(format.write(broadcast).context("cannot describe what is published")?);
        }
        let kept = |track: &Track| broadcast.tracks.iter().any(|wanted| wanted.name == track.name);
        let (mut before, ended): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.tracks).into_iter().partition(kept);
        for track in ended {
            track.finish()?;
        }
        for (at, wanted) in broadcast.tracks.iter().enumerate() {
            let there = before.iter().position(|track| track.name == wanted.name);
            let track = match there {
                Some(there) => before.swap_remove(there),
                None => self.add(broadcast, at, wanted),
            };
            self.tracks.push(track);
        }
        for ((_, track), document) in self.catalogs.iter().zip(documents) {
            let mut group = track.append_group();
            group.write_frame(document)?;
            group.finish()?;
        }
        Ok(())
    }

    fn add(&self, broadcast: &catalog::Broadcast, at: usize, wanted: &catalog::Track) -> Track {
        let first = broadcast.of(wanted.kind).next().is_some_and(|first| first.name == wanted.name);
        let priority = match wanted.kind {
            Kind::Audio => catalog::priority::AUDIO,
            Kind::Video => catalog::priority::VIDEO,
        };
        // Alternatives after the first give way.
        let less = if first { 0 } else { 10 + u8::try_from(at).unwrap_or(u8::MAX).min(20) };
        let info = TrackInfo { priority: Priority(priority - less), ..TrackInfo::default() };
        let name = FullTrackName::new(self.namespace.clone(), TrackName::from(wanted.name.clone()));
        Track {
            name: wanted.name.clone(),
            kind: wanted.kind,
            producer: self.served.add(name, info),
            group: None,
        }
    }

    /// Writes a frame of the track at this place; `begins` a group or go on with the one that runs.
    pub(super) fn write(&mut self, track: usize, begins: bool, frame: &Frame) -> anyhow::Result<()> {
        let Some(track) = self.tracks.get_mut(track) else { return Ok(()) };
        if begins || track.group.is_none() {
            track.end_group()?;
            track.group = Some(track.producer.append_group());
            self.counts.group();
        }
        let Some(group) = &mut track.group else { return Ok(()) };
        let head = frame.head();
        let len = head.len() + frame.payload.len();
        let mut out = group.create_frame(FrameMeta::sized(len as u64))?;
        out.write(head)?;
        out.write(frame.payload.clone())?;
        out.finish()?;
        self.counts.frame();
        self.counts.payload(len);
        Ok(())
    }

    /// Completes the groups that run of this track, and of all audio.
    pub(super) fn end_groups(&mut self, track: usize) -> anyhow::Result<()> {
        let ends = |(at, each): &(usize, &mut Track)| *at == track || each.kind == Kind::Audio;
        self.tracks.iter_mut().enumerate().filter(ends).try_for_each(|(_, track)| track.end_group())
    }

    /// Completes all groups.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.tracks.iter_mut().try_for_each(Track::end_group)
    }
}

impl Track {
    fn end_group(&mut self) -> anyhow::Result<()> {
        self.group.take().map_or(Ok(()), GroupProducer::finish)?;
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.end_group()?;
        self.producer.finish();
        Ok(())
    }
}
