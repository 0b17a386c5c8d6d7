//! Boxes in bytes, read without keeping and written without knowing their size beforehand.

use mp4_atom::{Decode, Encode};

use super::Error;

/// A box: its type, all of its bytes, and those behind its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Box<'a> {
    pub(super) kind: [u8; 4],
    /// Where it begins in the file.
    pub(super) at: u64,
    pub(super) whole: &'a [u8],
    pub(super) body: &'a [u8],
}

/// The header of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: [u8; 4],
    /// Of the header itself.
    pub(super) len: u8,
    /// Of the whole box; `None` where it goes on to the end of the file.
    pub(super) size: Option<u64>,
}

impl Header {
    /// Reads a header. `None` if there are too few bytes.
    pub(super) fn read(bytes: &[u8], at: u64) -> Result<Option<Self>, Error> {
        let (Some(size), Some(kind)) = (read_u32(bytes, 0), array::<4>(bytes, 4)) else { return Ok(None) };
        let (len, size) = match size {
            0 => (8, None),
            1 => match array::<8>(bytes, 8) {
                Some(size) => (16, Some(u64::from_be_bytes(size))),
                None => return Ok(None),
            },
            size => (8, Some(u64::from(size))),
        };
        if size.is_some_and(|size| size < u64::from(len)) {
            let why = format!("its size is {}, less than its header", size.unwrap_or_default());
            return Err(Error::Box { kind: name(kind), at, why });
        }
        Ok(Some(Self { kind, len, size }))
    }
}

impl<'a> Box<'a> {
    /// The first box in these bytes, which begin at this place of the file, and the rest.
    fn first(bytes: &'a [u8], at: u64) -> Result<Option<(Self, &'a [u8])>, Error> {
        // Less than a header is padding.
        let Some(Header { kind, len, size }) = Header::read(bytes, at)? else { return Ok(None) };
        let size = size.map_or(Some(bytes.len()), |size| usize::try_from(size).ok());
        let split = size.and_then(|size| bytes.split_at_checked(size));
        let Some((whole, rest)) = split else {
            return Err(Error::Box {
                kind: name(kind),
                at,
                why: "it is larger than the box around it".to_owned(),
            });
        };
        let body = whole.get(usize::from(len)..).unwrap_or_default();
        Ok(Some((Self { kind, at, whole, body }, rest)))
    }

    /// The boxes in this one, behind so many bytes of its own.
    pub(super) fn children(&self, skip: usize) -> Children<'a> {
        let rest = self.body.get(skip..).unwrap_or_default();
        Children { rest, at: self.at + (self.whole.len() - rest.len()) as u64 }
    }

    /// The only child of this type.
    pub(super) fn child(&self, kind: &[u8; 4]) -> Result<Option<Self>, Error> {
        for child in self.children(0) {
            let child = child?;
            if child.kind == *kind {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    /// The same, and an error without it.
    pub(super) fn needs(&self, kind: &[u8; 4]) -> Result<Self, Error> {
        self.child(kind)?.ok_or_else(|| self.wrong(format!("it has no box {}", name(*kind))))
    }

    /// What the parser makes of it.
    pub(super) fn decode<T: Decode>(&self) -> Result<T, Error> {
        T::decode(&mut &*self.whole).map_err(|error| self.wrong(error.to_string()))
    }

    pub(super) fn wrong(&self, why: impl Into<String>) -> Error {
        Error::Box { kind: name(self.kind), at: self.at, why: why.into() }
    }
}

/// The whole of a box that was collected.
pub(super) fn whole(bytes: &[u8], at: u64) -> Result<Box<'_>, Error> {
    match Box::first(bytes, at)? {
        Some((found, _)) => Ok(found),
        None => Err(Error::CutOff { within: "a box" }),
    }
}

/// Boxes one behind the other.
pub(super) struct Children<'a> {
    rest: &'a [u8],
    at: u64,
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<Box<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match Box::first(self.rest, self.at) {
            Ok(None) => None,
            Ok(Some((found, rest))) => {
                self.rest = rest;
                self.at += found.whole.len() as u64;
                Some(Ok(found))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

pub(super) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// A type for people, whatever its bytes are.
pub(super) fn name(kind: [u8; 4]) -> String {
    kind.escape_ascii().to_string()
}

/// Writes a box around what `body` writes.
pub(super) fn put(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    body(out);
    let size = u32::try_from(out.len() - begin).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(begin..begin + 4) {
        place.copy_from_slice(&size.to_be_bytes());
    }
}

/// Writes a box of the parser's. Those written here have values that it can write.
pub(super) fn put_atom(out: &mut Vec<u8>, atom: &impl Encode) {
    let written = atom.encode(out);
    debug_assert!(written.is_ok(), "{written:?}");
}
