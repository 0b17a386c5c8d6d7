//! What holds for the documents of each format: limits, and fields that may be anything.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Number, Value};

use super::model::Problem;

/// Most bytes of a document, of an update, and of a document after an update.
pub const MAX_DOCUMENT: usize = 1 << 20;
/// Most tracks of a document.
pub const MAX_TRACKS: usize = 256;
/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 32;
/// Most bytes of a text in it.
pub const MAX_STRING: usize = 256 << 10;

/// Why a catalog cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than [`MAX_DOCUMENT`].
    #[error("the catalog has {0} bytes, where {MAX_DOCUMENT} are the most")]
    TooLong(usize),
    /// More than [`MAX_TRACKS`].
    #[error("the catalog has {0} tracks, where {MAX_TRACKS} are the most")]
    TooManyTracks(usize),
    /// Deeper than [`MAX_DEPTH`].
    #[error("the catalog is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A text longer than [`MAX_STRING`].
    #[error("the catalog has a text of {0} bytes, where {MAX_STRING} are the most")]
    LongText(usize),
    /// More operations than [`MAX_OPERATIONS`](super::MAX_OPERATIONS) in one update.
    #[error("the update has {0} operations, where {limit} are the most", limit = super::MAX_OPERATIONS)]
    TooManyOperations(usize),
    /// It ends early, or is no JSON at all.
    #[error("the catalog is no JSON: {0}")]
    Json(String),
    /// JSON, but not a catalog of this format.
    #[error("this is no {format} catalog: {why}")]
    Format {
        /// Which was expected.
        format: &'static str,
        /// What is not as it has to be.
        why: String,
    },
    /// An update that cannot be applied. The catalog stays as it was.
    #[error("the update of the catalog cannot be applied: {0}")]
    Update(String),
    /// An update, and nothing before it.
    #[error("an update of a catalog came before the catalog")]
    NothingToUpdate,
}

/// A thing of a list: as it should be, or anything else, which is kept as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry<T> {
    /// As it should be.
    Known(T),
    /// Anything else.
    Other(Value),
}

impl<T: DeserializeOwned> Entry<T> {
    /// The thing, or what keeps it from being one.
    pub(super) fn known(&self, track: &str) -> Result<&T, Problem> {
        match self {
            Self::Known(known) => Ok(known),
            Self::Other(value) => {
                let why = match T::deserialize(value) {
                    Ok(_) => "it is not as it should be".to_owned(),
                    Err(error) => error.to_string(),
                };
                Err(Problem { track: track.to_owned(), why })
            }
        }
    }
}

/// Reads a document, within the limits that hold before anything is known of it.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Error> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(Error::TooLong(bytes.len()));
    }
    let value = serde_json::from_slice(bytes).map_err(|error| Error::Json(error.to_string()))?;
    check(&value)?;
    Ok(value)
}

/// Checks depth, texts and the number of tracks.
pub(super) fn check(value: &Value) -> Result<(), Error> {
    check_depth(value, MAX_DEPTH)?;
    let tracks = value.get("tracks").and_then(Value::as_array).map_or(0, Vec::len);
    let sections = value.as_object().into_iter().flat_map(Map::values);
    let renditions = sections.filter_map(|section| section.get("renditions")?.as_object()).map(Map::len);
    match tracks + renditions.sum::<usize>() {
        count if count > MAX_TRACKS => Err(Error::TooManyTracks(count)),
        _ => Ok(()),
    }
}

fn check_depth(value: &Value, left: usize) -> Result<(), Error> {
    let text =
        |text: &String| if text.len() > MAX_STRING { Err(Error::LongText(text.len())) } else { Ok(()) };
    match value {
        Value::Array(_) | Value::Object(_) if left == 0 => Err(Error::TooDeep),
        Value::Array(values) => values.iter().try_for_each(|value| check_depth(value, left - 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            text(name)?;
            check_depth(value, left - 1)
        }),
        Value::String(string) => text(string),
        _ => Ok(()),
    }
}

/// Bytes of a document without spaces, counted without writing it.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(values) => values.iter().map(|value| size(value) + 1).sum::<usize>() + 2,
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + size(value) + 4).sum::<usize>() + 2
        }
    }
}

/// A number as JSON has it, whole where it is whole.
pub(super) fn number(value: f64) -> Option<Number> {
    if value.fract() == 0.0 && (0.0..=9e15).contains(&value) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
        return Some(Number::from(value as u64));
    }
    Number::from_f64(value)
}

/// A number that should be whole and of 32 bits.
pub(super) fn whole(number: Option<&Number>, what: &str) -> Result<Option<u32>, String> {
    let Some(number) = number else { return Ok(None) };
    let wrong = || format!("its {what} is {number}, and should be a whole number");
    number.as_u64().and_then(|number| u32::try_from(number).ok()).map(Some).ok_or_else(wrong)
}
