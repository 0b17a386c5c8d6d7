//! The hang catalog: renditions by name, in a section for each kind.

use std::{collections::BTreeMap, fmt::Write as _};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::{
    document::{Entry, Error, check, number},
    model::{Broadcast, Kind, Packaging, Problem, Source, Track, base64},
};

/// A whole document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Section<Video>>,
    /// Sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<Section<Audio>>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Renditions of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section<T> {
    /// By the names of their tracks.
    pub renditions: BTreeMap<String, Entry<T>>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A rendition of video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Video {
    /// As WebCodecs has it.
    pub codec: String,
    /// WebCodecs' description, in lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Pixels in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coded_width: Option<u32>,
    /// Rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coded_height: Option<u32>,
    /// Pictures a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framerate: Option<Number>,
    /// Bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u64>,
    /// What a frame is; legacy without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A rendition of audio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audio {
    /// As WebCodecs has it.
    pub codec: String,
    /// WebCodecs' description, in lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels.
    pub number_of_channels: u32,
    /// Bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u64>,
    /// What a frame is; legacy without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// `legacy`, `loc`, `cmaf` or another.
    pub kind: String,
    /// For cmaf: `ftyp` and `moov`, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Catalog {
    /// Reads a document that is JSON already.
    ///
    /// # Errors
    ///
    /// When it is no hang catalog, or beyond a limit.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        check(value)?;
        let known = value.as_object().is_some_and(|root| root.contains_key("streamingFormat"));
        let catalog = Self::deserialize(value);
        let format = |why| Error::Format { format: "hang", why };
        if known {
            return Err(format("it has the field streamingFormat of another format".to_owned()));
        }
        catalog.map_err(|error| format(error.to_string()))
    }

    /// The document of a broadcast.
    #[must_use]
    pub fn from_broadcast(broadcast: &Broadcast) -> Self {
        let video: BTreeMap<_, _> =
            broadcast.of(Kind::Video).map(|track| (track.name.clone(), video(track))).collect();
        let audio: BTreeMap<_, _> =
            broadcast.of(Kind::Audio).map(|track| (track.name.clone(), audio(track))).collect();
        Self { video: section(video), audio: section(audio), extra: Map::new() }
    }

    /// What a player wants of it. Renditions that are not as they should be are left out, and named.
    #[must_use]
    pub fn to_broadcast(&self) -> Broadcast {
        let mut broadcast = Broadcast::default();
        for (name, entry) in self.video.iter().flat_map(|section| &section.renditions) {
            broadcast.add(name, entry.known(name).and_then(|video| from_video(name, video)));
        }
        for (name, entry) in self.audio.iter().flat_map(|section| &section.renditions) {
            broadcast.add(name, entry.known(name).and_then(|audio| from_audio(name, audio)));
        }
        let pixels =
            |track: &Track| u64::from(track.width.unwrap_or(0)) * u64::from(track.height.unwrap_or(0));
        broadcast.tracks.sort_by_key(|track| {
            (track.kind, std::cmp::Reverse((pixels(track), track.bitrate.unwrap_or(0))), track.name.clone())
        });
        broadcast
    }
}

impl Broadcast {
    /// Adds a track that was read, unless there is something wrong with it.
    pub(super) fn add(&mut self, name: &str, track: Result<Track, Problem>) {
        let problem = |why: String| Problem { track: name.to_owned(), why };
        match track.and_then(|track| track.check().map_err(|why| problem(why.to_owned())).map(|()| track)) {
            Ok(track) if self.tracks.iter().any(|other| other.name == track.name) => {
                self.problems.push(problem("another track has its name".to_owned()));
            }
            Ok(track) => self.tracks.push(track),
            Err(problem) => self.problems.push(problem),
        }
    }
}

fn section<T>(renditions: BTreeMap<String, Entry<T>>) -> Option<Section<T>> {
    (!renditions.is_empty()).then(|| Section { renditions, extra: Map::new() })
}

fn video(track: &Track) -> Entry<Video> {
    Entry::Known(Video {
        codec: track.codec.clone(),
        description: track.description.as_deref().map(to_hex),
        coded_width: track.width,
        coded_height: track.height,
        framerate: track.framerate.and_then(number),
        bitrate: track.bitrate,
        container: Some(container(track)),
        label: track.label.clone(),
        extra: extra(track),
    })
}

fn audio(track: &Track) -> Entry<Audio> {
    Entry::Known(Audio {
        codec: track.codec.clone(),
        description: track.description.as_deref().map(to_hex),
        sample_rate: track.sample_rate.unwrap_or_default(),
        number_of_channels: track.channels.unwrap_or_default(),
        bitrate: track.bitrate,
        container: Some(container(track)),
        label: track.label.clone(),
        extra: extra(track),
    })
}

fn container(track: &Track) -> Container {
    let init = if track.packaging == Packaging::Cmaf { track.init_base64() } else { None };
    Container { kind: track.packaging.name().to_owned(), init, extra: Map::new() }
}

fn from_video(name: &str, video: &Video) -> Result<Track, Problem> {
    let mut track = Track::new(name, Kind::Video, &video.codec);
    track.width = video.coded_width;
    track.height = video.coded_height;
    track.framerate = video.framerate.as_ref().and_then(Number::as_f64);
    track.bitrate = video.bitrate;
    track.label.clone_from(&video.label);
    rest(track, video.description.as_deref(), video.container.as_ref(), &video.extra)
}

fn from_audio(name: &str, audio: &Audio) -> Result<Track, Problem> {
    let mut track = Track::new(name, Kind::Audio, &audio.codec);
    track.sample_rate = Some(audio.sample_rate);
    track.channels = Some(audio.number_of_channels);
    track.bitrate = audio.bitrate;
    track.label.clone_from(&audio.label);
    rest(track, audio.description.as_deref(), audio.container.as_ref(), &audio.extra)
}

fn rest(
    mut track: Track,
    description: Option<&str>,
    container: Option<&Container>,
    extra: &Map<String, Value>,
) -> Result<Track, Problem> {
    let problem = |why| Problem { track: track.name.clone(), why };
    let description = description.map(from_hex).transpose().map_err(problem)?;
    let init = container.and_then(|container| container.init.as_deref()).map(base64).transpose();
    let init = init.map_err(problem)?.map(Bytes::from);
    track.packaging = container.map_or(Packaging::Legacy, |container| Packaging::named(&container.kind));
    track.description = description;
    track.init = init;
    track.source = source(extra);
    Ok(track)
}

/// Our own fields among those of others.
pub(super) fn extra(track: &Track) -> Map<String, Value> {
    let source = track.source.and_then(|source| serde_json::to_value(source).ok());
    source.map(|source| (Source::FIELD.to_owned(), source)).into_iter().collect()
}

/// The reverse. What is not as we write it does not count.
pub(super) fn source(extra: &Map<String, Value>) -> Option<Source> {
    Source::deserialize(extra.get(Source::FIELD)?).ok()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Result<Bytes, String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes.map(Bytes::from).ok_or_else(|| "its description is no hex".to_owned())
}
