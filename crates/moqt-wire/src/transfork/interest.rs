//! Which tracks a subscriber wants to hear of.

use bytes::BytesMut;

use super::Pattern;
use crate::codec::{Field, read_text, text_limit, write_block};
use crate::cursor::{Cursor, ReadError};
use crate::error::EncodeErrorKind;
use crate::limits::Limits;
use crate::name::{NameError, Namespace};
use crate::version::{PathForm, Spec};

#[cfg(test)]
mod tests;

/// A set of paths.
///
/// Versions with parts write a prefix and read a prefix. Versions with joined text write both, a prefix as the
/// pattern that comes nearest, and read a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Paths whose first parts are these, the path that has only these among them.
    Prefix(Namespace),
    /// Paths whose joined text matches.
    Pattern(Pattern),
}

impl Interest {
    /// What an announcement of `path` has to carry, or `None` when it is of no interest.
    pub fn matches(&self, path: &Namespace) -> Option<Namespace> {
        match self {
            Self::Prefix(prefix) => path.strip_prefix(prefix),
            Self::Pattern(pattern) => pattern.matches(path),
        }
    }

    /// The path that an announcement with this suffix or capture is about.
    ///
    /// # Errors
    ///
    /// A capture that has no text, see [`Pattern::full_path`].
    pub fn full_path(&self, suffix: &Namespace) -> Result<Namespace, NameError> {
        match self {
            Self::Prefix(prefix) => Ok(prefix.join(suffix)),
            Self::Pattern(pattern) => pattern.full_path(suffix),
        }
    }
}

impl Field for Interest {
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        match (self, spec.path) {
            (Self::Prefix(prefix), PathForm::Parts | PathForm::TextParts) => prefix.write(spec, out),
            (Self::Prefix(prefix), PathForm::Joined) => {
                write_block(Pattern::below(prefix)?.as_str().as_bytes(), out)
            }
            (Self::Pattern(pattern), PathForm::Joined) => write_block(pattern.as_str().as_bytes(), out),
            (Self::Pattern(_), PathForm::Parts | PathForm::TextParts) => {
                Err(EncodeErrorKind::Unsupported { version: spec.version })
            }
        }
    }

    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        match spec.path {
            PathForm::Parts | PathForm::TextParts => Namespace::read(spec, limits, cursor).map(Self::Prefix),
            PathForm::Joined => {
                // One byte more than a path, for the star.
                let text = read_text(text_limit(limits).saturating_add(1), cursor)?;
                Ok(Self::Pattern(Pattern::new(String::from_utf8_lossy(&text))))
            }
        }
    }
}
