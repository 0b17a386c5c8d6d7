//! Names: namespaces, track names, and both together.
//!
//! A name is a list of byte strings, compared part by part and byte by byte. In Transfork a track path is all
//! parts of a [`FullTrackName`]; families with a separate track name split at the last part.
//!
//! As text the parts are joined by `/`; a `/` or `%` inside a part, and whatever is not printable UTF-8, is
//! percent-encoded, so that text and name convert both ways.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::codec::check_path;
use crate::limits::Limits;
use crate::version::Spec;

mod text;

#[cfg(test)]
mod tests;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A track needs at least one part.
    #[error("a track name needs at least one part")]
    NoParts,
    /// More parts than [`Limits::path_parts`].
    #[error("{parts} parts are more than the limit of {limit}")]
    TooManyParts {
        /// How many there are.
        parts: usize,
        /// How many there may be.
        limit: usize,
    },
    /// More bytes than [`Limits::path_bytes`].
    #[error("{bytes} bytes are more than the limit of {limit}")]
    TooLong {
        /// The sum of all parts.
        bytes: usize,
        /// What it may be.
        limit: usize,
    },
    /// A part without bytes where there has to be one.
    #[error("empty part")]
    EmptyPart,
    /// A `%` that two hex digits do not follow.
    #[error("`%` without two hex digits")]
    BadEscape,
    /// The version writes names as text, and a part is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// The version joins parts by `/` or gives `*` a meaning, and a part contains it.
    #[error("{character:?} cannot stand in a part")]
    Reserved {
        /// The character in the way.
        character: char,
    },
}

/// An ordered list of byte parts. Cloning costs a reference count.
#[derive(Clone, Default)]
pub struct Namespace(Option<Arc<[Bytes]>>);

impl Namespace {
    /// No parts: the prefix of everything.
    pub const EMPTY: Self = Self(None);

    /// Makes a namespace of `parts`, in their order.
    pub fn from_parts<I>(parts: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Bytes>,
    {
        let parts: Arc<[Bytes]> = parts.into_iter().map(Into::into).collect();
        Self((!parts.is_empty()).then_some(parts))
    }

    /// The same parts, moved into memory of their own.
    ///
    /// Parts that came from a receive buffer keep the whole buffer alive; a name outlives it by far.
    #[must_use]
    pub fn compact(&self) -> Self {
        let mut buffer = BytesMut::with_capacity(self.bytes());
        self.parts().for_each(|part| buffer.extend_from_slice(part));
        let mut buffer = buffer.freeze();
        Self::from_parts(self.parts().map(|part| buffer.split_to(part.len())))
    }

    /// The parts in order.
    pub fn parts(&self) -> std::slice::Iter<'_, Bytes> {
        self.as_slice().iter()
    }

    /// The parts as a slice.
    pub fn as_slice(&self) -> &[Bytes] {
        self.0.as_deref().unwrap_or_default()
    }

    /// How many parts there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are no parts.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many bytes all parts have together.
    pub fn bytes(&self) -> usize {
        self.parts().map(Bytes::len).sum()
    }

    /// Whether the first parts are those of `prefix`; every namespace starts with itself.
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.as_slice().starts_with(prefix.as_slice())
    }

    /// The parts after `prefix`, or `None` when this does not start with it.
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        let rest = self.as_slice().strip_prefix(prefix.as_slice())?;
        Some(if prefix.is_empty() { self.clone() } else { Self::from_parts(rest.iter().cloned()) })
    }

    /// The parts of this, then those of `suffix`.
    #[must_use]
    pub fn join(&self, suffix: &Self) -> Self {
        match (self.is_empty(), suffix.is_empty()) {
            (_, true) => self.clone(),
            (true, _) => suffix.clone(),
            _ => Self::from_parts(self.parts().chain(suffix.parts()).cloned()),
        }
    }

    /// Adds one part at the end; clones made before do not change.
    pub fn push(&mut self, part: impl Into<Bytes>) {
        *self = Self::from_parts(self.parts().cloned().chain([part.into()]));
    }

    /// Checks the number of parts and bytes.
    ///
    /// # Errors
    ///
    /// [`NameError::TooManyParts`], [`NameError::TooLong`].
    pub fn validate(&self, limits: &Limits) -> Result<(), NameError> {
        check(self.len(), self.bytes(), limits)
    }

    /// Checks that a version has a way to write this.
    ///
    /// # Errors
    ///
    /// [`NameError::NotUtf8`], [`NameError::Reserved`], [`NameError::EmptyPart`]: where names are text, or joined
    /// parts, not everything can be said.
    pub fn fits(&self, spec: &Spec) -> Result<(), NameError> {
        check_path(self.parts(), spec)
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Namespace {}

impl PartialOrd for Namespace {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Namespace {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl std::hash::Hash for Namespace {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl<P: Into<Bytes>> FromIterator<P> for Namespace {
    fn from_iter<I: IntoIterator<Item = P>>(parts: I) -> Self {
        Self::from_parts(parts)
    }
}

impl<'a> IntoIterator for &'a Namespace {
    type Item = &'a Bytes;
    type IntoIter = std::slice::Iter<'a, Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.parts()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write_parts(self.parts(), f)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({self})")
    }
}

impl FromStr for Namespace {
    type Err = NameError;

    /// The inverse of `Display`, but for one name: a single empty part has the text of no parts.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::EMPTY);
        }
        text.split('/').map(text::read_part).collect::<Result<Vec<_>, _>>().map(Self::from_parts)
    }
}

/// What a track is called inside its namespace.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackName(pub Bytes);

impl TrackName {
    /// Names a track.
    pub fn new(name: impl Into<Bytes>) -> Self {
        Self(name.into())
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<&str> for TrackName {
    fn from(name: &str) -> Self {
        Self(Bytes::copy_from_slice(name.as_bytes()))
    }
}

impl From<String> for TrackName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<Bytes> for TrackName {
    fn from(name: Bytes) -> Self {
        Self(name)
    }
}

impl From<TrackName> for Bytes {
    fn from(name: TrackName) -> Self {
        name.0
    }
}

impl fmt::Display for TrackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write_parts([&self.0], f)
    }
}

impl fmt::Debug for TrackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrackName({self})")
    }
}

impl FromStr for TrackName {
    type Err = NameError;

    /// The inverse of `Display`; a `/` has to be percent-encoded.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.contains('/') {
            true => Err(NameError::Reserved { character: '/' }),
            false => text::read_part(text).map(Self),
        }
    }
}

/// A track's name and the namespace it is in: at least one part.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullTrackName {
    /// All parts but the last; may be empty.
    pub namespace: Namespace,
    /// The last part.
    pub name: TrackName,
}

impl FullTrackName {
    /// The track `name` in `namespace`.
    pub fn new(namespace: Namespace, name: impl Into<TrackName>) -> Self {
        Self { namespace, name: name.into() }
    }

    /// Takes the last part as the track's name and those before it as its namespace.
    ///
    /// # Errors
    ///
    /// [`NameError::NoParts`] when there are none.
    pub fn from_parts<I>(parts: I) -> Result<Self, NameError>
    where
        I: IntoIterator,
        I::Item: Into<Bytes>,
    {
        let mut parts: Vec<Bytes> = parts.into_iter().map(Into::into).collect();
        let name = parts.pop().ok_or(NameError::NoParts)?;
        Ok(Self { namespace: Namespace::from_parts(parts), name: TrackName(name) })
    }

    /// All parts, the track's name last.
    pub fn parts(&self) -> impl Iterator<Item = &Bytes> + Clone {
        self.namespace.parts().chain([&self.name.0])
    }

    /// All parts as one namespace.
    pub fn to_namespace(&self) -> Namespace {
        Namespace::from_parts(self.parts().cloned())
    }

    /// Checks the number of parts and bytes, the track's name among them.
    ///
    /// # Errors
    ///
    /// [`NameError::TooManyParts`], [`NameError::TooLong`].
    pub fn validate(&self, limits: &Limits) -> Result<(), NameError> {
        check(self.namespace.len() + 1, self.namespace.bytes() + self.name.0.len(), limits)
    }
}

impl TryFrom<Namespace> for FullTrackName {
    type Error = NameError;

    fn try_from(parts: Namespace) -> Result<Self, Self::Error> {
        Self::from_parts(parts.parts().cloned())
    }
}

impl From<FullTrackName> for Namespace {
    fn from(name: FullTrackName) -> Self {
        name.to_namespace()
    }
}

impl fmt::Display for FullTrackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write_parts(self.parts(), f)
    }
}

impl fmt::Debug for FullTrackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FullTrackName({self})")
    }
}

impl FromStr for FullTrackName {
    type Err = NameError;

    /// The inverse of `Display` for names without empty parts, which are refused.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Namespace = text.parse()?;
        if parts.parts().any(Bytes::is_empty) {
            return Err(NameError::EmptyPart);
        }
        parts.try_into()
    }
}

fn check(parts: usize, bytes: usize, limits: &Limits) -> Result<(), NameError> {
    if parts > limits.path_parts {
        return Err(NameError::TooManyParts { parts, limit: limits.path_parts });
    }
    if bytes > limits.path_bytes {
        return Err(NameError::TooLong { bytes, limit: limits.path_bytes });
    }
    Ok(())
}
