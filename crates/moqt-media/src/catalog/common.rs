//! Common Catalog Format, draft 01: a list of tracks that inherit common fields.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::{
    document::{Entry, Error, check, number, whole},
    hang::{extra, source},
    model::{Broadcast, Kind, Packaging, Problem, kind_of},
};

/// A whole document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    /// 1, as number or text.
    pub version: Value,
    /// 1 for WARP, 2 for LOC, as number or text.
    pub streaming_format: Value,
    /// Of that format.
    pub streaming_format_version: String,
    /// Whether updates will come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supports_delta_updates: Option<bool>,
    /// What holds for each track that does not say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_track_fields: Option<Fields>,
    /// The tracks; or else there are `catalogs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracks: Option<Vec<Entry<Track>>>,
    /// Other catalogs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogs: Option<Vec<Value>>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Its name.
    pub name: String,
    /// What may be common to all.
    #[serde(flatten)]
    pub fields: Fields,
}

/// What a track says, or all of them together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fields {
    /// `loc` or `cmaf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packaging: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Tracks of one number are shown together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render_group: Option<Number>,
    /// Tracks of one number are alternatives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alt_group: Option<Number>,
    /// The configuration in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_data: Option<String>,
    /// The track that has the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_track: Option<String>,
    /// What a choice is made by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_params: Option<Selection>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a choice is made by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// As WebCodecs has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// For example `video/mp4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Pictures a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framerate: Option<Number>,
    /// Bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<Number>,
    /// Pixels in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<Number>,
    /// Rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<Number>,
    /// Samples a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samplerate: Option<Number>,
    /// Channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_config: Option<String>,
    /// Its language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Catalog {
    /// Reads a document that is JSON already.
    ///
    /// # Errors
    ///
    /// When it is no catalog of this format, or beyond a limit.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        check(value)?;
        let format = |why: String| Error::Format { format: "Common Catalog Format", why };
        let catalog = Self::deserialize(value).map_err(|error| format(error.to_string()))?;
        let is_one = catalog.version.as_u64() == Some(1) || catalog.version.as_str() == Some("1");
        match (&catalog.tracks, &catalog.catalogs) {
            _ if !is_one => Err(format(format!("version {} is not known", catalog.version))),
            (Some(_), Some(_)) => {
                Err(format("it has tracks and catalogs, and may have only one of them".into()))
            }
            (None, None) => Err(format("it has neither tracks nor catalogs".into())),
            _ => Ok(catalog),
        }
    }

    /// The document of a broadcast.
    #[must_use]
    pub fn from_broadcast(broadcast: &Broadcast) -> Self {
        let tracks = broadcast.tracks.iter().map(|track| {
            let alternatives = broadcast.of(track.kind).count() > 1;
            let group = if track.kind == Kind::Video { 1_u8 } else { 2 };
            let selection = Selection {
                codec: Some(track.codec.clone()),
                mime_type: None,
                // Released readers take whole numbers alone.
                framerate: track.framerate.map(f64::round).and_then(number),
                bitrate: track.bitrate.map(Number::from),
                width: track.width.map(Number::from),
                height: track.height.map(Number::from),
                samplerate: track.sample_rate.map(Number::from),
                channel_config: track.channels.map(|channels| channels.to_string()),
                lang: track.lang.clone(),
                extra: Map::new(),
            };
            let fields = Fields {
                packaging: Some(track.packaging.name().to_owned()),
                label: track.label.clone(),
                render_group: Some(1_u8.into()),
                alt_group: alternatives.then(|| group.into()),
                init_data: track.init_base64(),
                init_track: None,
                selection_params: Some(selection),
                extra: extra(track),
            };
            Entry::Known(Track { name: track.name.clone(), fields })
        });
        Self {
            version: 1.into(),
            streaming_format: 1.into(),
            streaming_format_version: "0.2".to_owned(),
            supports_delta_updates: Some(false),
            common_track_fields: Some(Fields::default()),
            tracks: Some(tracks.collect()),
            catalogs: None,
            extra: Map::new(),
        }
    }

    /// What a player wants of it. Tracks whose codec is neither of video nor of audio, or that are not as they should
    /// be, are left out, and the latter named.
    #[must_use]
    pub fn to_broadcast(&self) -> Broadcast {
        let tracks = self.tracks.as_deref().unwrap_or_default();
        let mut broadcast = Broadcast { complete: tracks.is_empty(), ..Broadcast::default() };
        let common = self.common_track_fields.clone().unwrap_or_default();
        for (at, entry) in tracks.iter().enumerate() {
            let place = format!("number {at}");
            match entry.known(&place) {
                Ok(track) => {
                    if let Some(read) = media(&track.name, &track.fields, &common) {
                        let problem = |why| Problem { track: track.name.clone(), why };
                        broadcast.add(&track.name, read.map_err(problem));
                    }
                }
                Err(problem) => broadcast.problems.push(problem),
            }
        }
        broadcast
    }
}

/// One track with what it inherits. `None` if it is neither video nor audio.
fn media(name: &str, own: &Fields, common: &Fields) -> Option<Result<super::Track, String>> {
    let empty = Selection::default();
    let selections = [own, common].map(|fields| fields.selection_params.as_ref().unwrap_or(&empty));
    let codec = selections.iter().find_map(|params| params.codec.as_deref());
    let mime = selections.iter().find_map(|params| params.mime_type.as_deref()).unwrap_or_default();
    let by_mime = match mime.split('/').next() {
        Some("video") => Some(Kind::Video),
        Some("audio") => Some(Kind::Audio),
        _ => None,
    };
    let kind = codec.and_then(kind_of).or(by_mime)?;
    Some(read(name, kind, codec, (own, common), selections))
}

fn read(
    name: &str,
    kind: Kind,
    codec: Option<&str>,
    (own, common): (&Fields, &Fields),
    selections: [&Selection; 2],
) -> Result<super::Track, String> {
    let param = |get: fn(&Selection) -> Option<&Number>| selections.into_iter().find_map(get);
    let text = |get: fn(&Selection) -> Option<&String>| selections.into_iter().find_map(get);
    let mut track = super::Track::new(name, kind, codec.ok_or("it has no codec")?);
    let packaging = own.packaging.as_ref().or(common.packaging.as_ref());
    let init_track = own.init_track.as_ref().or(common.init_track.as_ref());
    track.packaging = match packaging {
        Some(packaging) => Packaging::named(packaging),
        // As a released writer leaves it out.
        None if init_track.is_some() => Packaging::Cmaf,
        None => Packaging::Loc,
    };
    track.width = whole(param(|params| params.width.as_ref()), "width")?;
    track.height = whole(param(|params| params.height.as_ref()), "height")?;
    track.framerate = param(|params| params.framerate.as_ref()).and_then(Number::as_f64);
    track.bitrate = param(|params| params.bitrate.as_ref()).and_then(Number::as_u64);
    if kind == Kind::Audio {
        track.sample_rate = whole(param(|params| params.samplerate.as_ref()), "samplerate")?.or(Some(48_000));
        let channels = text(|params| params.channel_config.as_ref());
        track.channels = channels.and_then(|text| text.trim().parse().ok()).or(Some(2));
    }
    track.lang = text(|params| params.lang.as_ref()).cloned();
    track.label = own.label.as_ref().or(common.label.as_ref()).cloned();
    track.source = source(&own.extra).or_else(|| source(&common.extra));
    track.set_init_base64(own.init_data.as_deref().or(common.init_data.as_deref()))?;
    Ok(track)
}
