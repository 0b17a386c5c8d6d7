//! Patterns over joined paths, as deployed peers use them.

use std::fmt;

use bytes::Bytes;

use crate::codec::{join, split};
use crate::name::{NameError, Namespace};

#[cfg(test)]
mod tests;

/// A path with at most one wildcard, matched against the joined text of a path, character by character.
///
/// | Pattern | Matches | Captures |
/// |---|---|---|
/// | empty, or `*` | every path | the path |
/// | `abc/*` | what starts with `abc/` | the rest |
/// | `*/xyz` | what ends with `/xyz` | what comes before |
/// | `abc/*/xyz` | what starts and ends so, without overlap | what is between |
/// | `abc` | `abc` | nothing |
///
/// Only the first `*` is a wildcard. A capture is split at `/` into parts, like a path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The form that is sent; never `*` alone.
    text: String,
    /// Where the wildcard is, if there is one; 0 for the empty text.
    star: Option<usize>,
}

impl Pattern {
    /// Reads a pattern; every text is one.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text == "*" {
            text.clear();
        }
        let star = if text.is_empty() { Some(0) } else { text.find('*') };
        Self { text, star }
    }

    /// Matches every path.
    pub fn any() -> Self {
        Self::new("")
    }

    /// Matches what lies below `prefix`; not `prefix` itself, except that no parts match everything.
    ///
    /// # Errors
    ///
    /// `prefix` cannot be joined, or contains a `*`.
    pub fn below(prefix: &Namespace) -> Result<Self, NameError> {
        let text = literal(prefix)?;
        Ok(if prefix.is_empty() { Self::any() } else { Self::new(text + "/*") })
    }

    /// Matches `prefix` itself and what lies below it, and with them, as patterns know no parts, whatever else begins
    /// with the same letters: for whoever asks to sort out.
    ///
    /// # Errors
    ///
    /// As [`below`](Self::below).
    pub fn covering(prefix: &Namespace) -> Result<Self, NameError> {
        let text = literal(prefix)?;
        Ok(if prefix.is_empty() { Self::any() } else { Self::new(text + "*") })
    }

    /// Matches `path` alone.
    ///
    /// # Errors
    ///
    /// `path` has no parts, cannot be joined, or contains a `*`.
    pub fn exact(path: &Namespace) -> Result<Self, NameError> {
        if path.is_empty() {
            return Err(NameError::NoParts);
        }
        literal(path).map(Self::new)
    }

    /// The pattern as it is sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the wildcard stands for in `path`, or `None` when the pattern does not match.
    ///
    /// A path that has no joined text, because a part is not UTF-8 or contains a `/`, is matched by nothing.
    pub fn matches(&self, path: &Namespace) -> Option<Namespace> {
        let text = join(path.parts()).ok()?;
        let Some((prefix, suffix)) = self.halves() else {
            return (text == self.text).then_some(Namespace::EMPTY);
        };
        let capture = text.strip_prefix(prefix)?.strip_suffix(suffix)?;
        Some(parts(capture))
    }

    /// The path that matched, from what the wildcard stood for.
    ///
    /// An exact pattern gives its own path, whatever the capture.
    ///
    /// # Errors
    ///
    /// The capture cannot be joined.
    pub fn full_path(&self, capture: &Namespace) -> Result<Namespace, NameError> {
        let capture = join(capture.parts())?;
        Ok(match self.halves() {
            Some((prefix, suffix)) => parts(&[prefix, &capture, suffix].concat()),
            None => parts(&self.text),
        })
    }

    /// What stands before and after the wildcard.
    fn halves(&self) -> Option<(&str, &str)> {
        let (prefix, suffix) = self.text.split_at_checked(self.star?)?;
        Some((prefix, suffix.strip_prefix('*').unwrap_or(suffix)))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "*" } else { &self.text })
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

/// The joined text of a path that a pattern can hold literally.
fn literal(path: &Namespace) -> Result<String, NameError> {
    let text = join(path.parts())?;
    if text.contains('*') { Err(NameError::Reserved { character: '*' }) } else { Ok(text) }
}

fn parts(text: &str) -> Namespace {
    split(&Bytes::copy_from_slice(text.as_bytes()))
}
