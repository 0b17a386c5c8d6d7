//! Which tracks of a broadcast are written.

use anyhow::{anyhow, bail};
use moqt::FullTrackName;
use moqt_media::{
    catalog::{Broadcast, Kind, Packaging, Track},
    fmp4::Muxer,
};

use super::super::MediaSubArgs;
use crate::ui;

/// A track that is written.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) track: Track,
    /// It was asked for by its name, so that no other can stand for it.
    pub(super) by_name: bool,
}

/// The tracks that are asked for, or else the best of each kind that can be written.
pub(super) fn choose(
    wish: &MediaSubArgs,
    broadcast: &Broadcast,
    name: &FullTrackName,
) -> anyhow::Result<Vec<Choice>> {
    let known = || broadcast.tracks.iter().map(|track| track.name.as_str()).collect::<Vec<_>>().join(", ");
    let named = |wanted: &str| {
        let track = broadcast.tracks.iter().find(|track| track.name == wanted);
        track.ok_or_else(|| anyhow!("{name} has no track {wanted}; there are: {}", known()))
    };
    let mut chosen: Vec<(&Track, bool)> = Vec::new();
    for (kind, one) in [(Kind::Video, &wish.video), (Kind::Audio, &wish.audio)] {
        match one.as_deref() {
            Some("none") => {}
            Some(one) => chosen.push((named(one)?, true)),
            None if wish.tracks.is_empty() => {
                let works = |track: &&Track| {
                    let writes = can_write(track);
                    if let Err(error) = &writes {
                        ui::notice(&format!("track {} is left out: {error:#}", track.name));
                    }
                    writes.is_ok()
                };
                chosen.extend(broadcast.of(kind).find(works).map(|track| (track, false)));
            }
            None => {}
        }
    }
    for one in &wish.tracks {
        chosen.push((named(one)?, true));
    }
    let mut choices: Vec<Choice> = Vec::new();
    for (track, by_name) in chosen {
        can_read(track)?;
        if choices.iter().all(|other| other.track.name != track.name) {
            choices.push(Choice { track: track.clone(), by_name });
        }
    }
    if choices.is_empty() {
        bail!("{name} has nothing that can be written as MP4; its tracks: {}", known());
    }
    Ok(choices)
}

/// Whether frames of the track are understood.
pub(super) fn can_read(track: &Track) -> anyhow::Result<()> {
    match &track.packaging {
        Packaging::Loc | Packaging::Legacy => Ok(()),
        other => bail!("track {} is packaged as {}, which is not read here", track.name, other.name()),
    }
}

fn can_write(track: &Track) -> anyhow::Result<()> {
    can_read(track)?;
    Ok(Muxer::new(vec![track.clone()]).map(drop)?)
}
