//! MOQT Streaming Format: a list of tracks. Drafts 00 and 01 are read, 01 is written.

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
    /// The number 1 in draft 00, a text from draft 01 on.
    pub version: Value,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated_at: Option<Number>,
    /// Nothing will be added any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_complete: Option<bool>,
    /// The tracks.
    pub tracks: Vec<Entry<Track>>,
    /// Configurations that tracks refer to, from draft 01 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_data_list: Option<Vec<Entry<InitData>>>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitData {
    /// What tracks call it.
    pub id: String,
    /// `inline`, where `data` has it.
    #[serde(rename = "type")]
    pub kind: String,
    /// In base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One track.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Track {
    /// Its name.
    pub name: String,
    /// `loc`, `cmaf` or another.
    pub packaging: String,
    /// Whether more is to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_live: Option<bool>,
    /// `video`, `audio` or another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Tracks of one number are shown together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render_group: Option<Number>,
    /// Tracks of one number are alternatives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alt_group: Option<Number>,
    /// As WebCodecs has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Pixels in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<Number>,
    /// Rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<Number>,
    /// Pictures a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framerate: Option<Number>,
    /// Samples a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samplerate: Option<Number>,
    /// Channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_config: Option<String>,
    /// Bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<Number>,
    /// The configuration in base64, in draft 00.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_data: Option<String>,
    /// Which configuration, from draft 01 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_ref: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
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
    /// When it is no MSF catalog, or beyond a limit.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        check(value)?;
        let format = |why: String| Error::Format { format: "MSF", why };
        let catalog = Self::deserialize(value).map_err(|error| format(error.to_string()))?;
        if catalog.version.is_string() || catalog.version.as_u64() == Some(1) {
            return Ok(catalog);
        }
        Err(format(format!("version {} is not known", catalog.version)))
    }

    /// The document of a broadcast, as draft 01 has it.
    #[must_use]
    pub fn from_broadcast(broadcast: &Broadcast) -> Self {
        let mut init = Vec::new();
        let mut tracks = Vec::new();
        for track in &broadcast.tracks {
            let init_ref = track.init_base64().map(|data| {
                let id = track.name.clone();
                let (kind, extra) = ("inline".to_owned(), Map::new());
                init.push(Entry::Known(InitData { id: id.clone(), kind, data: Some(data), extra }));
                id
            });
            let alternatives = broadcast.of(track.kind).count() > 1;
            let group = if track.kind == Kind::Video { 1_u8 } else { 2 };
            tracks.push(Entry::Known(Track {
                name: track.name.clone(),
                packaging: track.packaging.name().to_owned(),
                is_live: Some(true),
                role: Some(role(track.kind).to_owned()),
                render_group: Some(1_u8.into()),
                alt_group: alternatives.then(|| group.into()),
                codec: Some(track.codec.clone()),
                width: track.width.map(Number::from),
                height: track.height.map(Number::from),
                framerate: track.framerate.and_then(number),
                samplerate: track.sample_rate.map(Number::from),
                channel_config: track.channels.map(|channels| channels.to_string()),
                bitrate: track.bitrate.map(Number::from),
                init_data: None,
                init_ref,
                label: track.label.clone(),
                lang: track.lang.clone(),
                extra: extra(track),
            }));
        }
        Self {
            version: "1".into(),
            generated_at: None,
            is_complete: broadcast.complete.then_some(true),
            tracks,
            init_data_list: (!init.is_empty()).then_some(init),
            extra: Map::new(),
        }
    }

    /// What a player wants of it. Tracks that are neither video nor audio, or not as they should be, are left out, and
    /// the latter named.
    #[must_use]
    pub fn to_broadcast(&self) -> Broadcast {
        let mut broadcast = Broadcast { complete: self.is_complete == Some(true), ..Broadcast::default() };
        for (at, entry) in self.tracks.iter().enumerate() {
            let place = format!("number {at}");
            match entry.known(&place) {
                Ok(track) => {
                    if let Some(read) = self.track(track) {
                        let problem = |why| Problem { track: track.name.clone(), why };
                        broadcast.add(&track.name, read.map_err(problem));
                    }
                }
                Err(problem) => broadcast.problems.push(problem),
            }
        }
        broadcast
    }

    fn track(&self, from: &Track) -> Option<Result<super::Track, String>> {
        let kind = match from.role.as_deref() {
            Some("video") => Kind::Video,
            Some("audio") => Kind::Audio,
            Some(_) => return None,
            None => kind_of(from.codec.as_deref()?)?,
        };
        Some(self.media(from, kind))
    }

    fn media(&self, from: &Track, kind: Kind) -> Result<super::Track, String> {
        let codec = from.codec.as_deref().ok_or("it has no codec")?;
        let mut track = super::Track::new(&from.name, kind, codec);
        track.packaging = Packaging::named(&from.packaging);
        track.width = whole(from.width.as_ref(), "width")?;
        track.height = whole(from.height.as_ref(), "height")?;
        track.framerate = from.framerate.as_ref().and_then(Number::as_f64);
        track.bitrate = from.bitrate.as_ref().and_then(Number::as_u64);
        if kind == Kind::Audio {
            track.sample_rate = whole(from.samplerate.as_ref(), "samplerate")?.or(Some(48_000));
            let channels = from.channel_config.as_deref().and_then(|text| text.trim().parse().ok());
            track.channels = channels.or(Some(2));
        }
        track.label.clone_from(&from.label);
        track.lang.clone_from(&from.lang);
        track.source = source(&from.extra);
        let data = match (&from.init_data, &from.init_ref) {
            (Some(data), _) => Some(data.as_str()),
            (None, Some(id)) => Some(self.init(id)?),
            (None, None) => None,
        };
        track.set_init_base64(data)?;
        Ok(track)
    }

    fn init(&self, id: &str) -> Result<&str, String> {
        let inline = |entry: &'_ Entry<InitData>| match entry {
            Entry::Known(init) => init.id == id,
            Entry::Other(_) => false,
        };
        let found = self.init_data_list.iter().flatten().find(|entry| inline(entry));
        match found {
            Some(Entry::Known(InitData { data: Some(data), .. })) => Ok(data),
            Some(_) => Err(format!("its init data {id:?} is not in the catalog")),
            None => Err(format!("there is no init data {id:?}")),
        }
    }
}

fn role(kind: Kind) -> &'static str {
    match kind {
        Kind::Video => "video",
        Kind::Audio => "audio",
    }
}
