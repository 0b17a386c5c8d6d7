//! How the values in messages are written and read.

use bytes::{Buf as _, BufMut, Bytes, BytesMut};

use crate::code::Code;
use crate::cursor::{Cursor, ReadError, shared};
use crate::error::{DecodeErrorKind, EncodeErrorKind};
use crate::limits::Limits;
use crate::name::{FullTrackName, NameError, Namespace, TrackName};
use crate::value::{GroupOrder, GroupSequence, Millis, Priority, SubscribeId};
use crate::varint;
use crate::version::{OrderForm, PathForm, PriorityForm, Spec};

#[cfg(test)]
mod tests;

/// One way to write a `T`; chosen by the marks on a field.
pub(crate) trait Codec<T> {
    fn write(value: &T, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind>;
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<T, ReadError>;
}

/// A type with one obvious way to be written in each version.
pub(crate) trait Field: Sized {
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind>;
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError>;
}

/// The obvious way; what a field without marks uses.
pub(crate) struct Natural;

impl<T: Field> Codec<T> for Natural {
    #[inline]
    fn write(value: &T, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        value.write(spec, out)
    }

    #[inline]
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<T, ReadError> {
        T::read(spec, limits, cursor)
    }
}

/// `[plus_one]`: 0 is `None`, anything else the value plus one.
pub(crate) struct PlusOne;

impl Codec<Option<GroupSequence>> for PlusOne {
    #[inline]
    fn write(value: &Option<GroupSequence>, _: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        match value {
            None => varint::put(0, out),
            Some(sequence) if *sequence <= GroupSequence::MAX => varint::put(sequence.0 + 1, out),
            Some(sequence) => {
                Err(EncodeErrorKind::TooLarge { value: sequence.0, limit: GroupSequence::MAX.0 })
            }
        }
    }

    #[inline]
    fn read(_: &Spec, _: &Limits, cursor: &mut Cursor<'_>) -> Result<Option<GroupSequence>, ReadError> {
        Ok(cursor.varint()?.checked_sub(1).map(GroupSequence))
    }
}

/// `[plain]`: a varint, whatever the version does elsewhere.
pub(crate) struct Plain;

impl Codec<Priority> for Plain {
    #[inline]
    fn write(value: &Priority, _: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        varint::put(value.0.into(), out)
    }

    #[inline]
    fn read(_: &Spec, _: &Limits, cursor: &mut Cursor<'_>) -> Result<Priority, ReadError> {
        Ok(Priority(u8::try_from(cursor.varint()?).unwrap_or(u8::MAX)))
    }
}

impl Field for Priority {
    #[inline]
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        match spec.priority {
            PriorityForm::Varint => Plain::write(self, spec, out),
            PriorityForm::BiasedByte => {
                out.put_u8(self.0);
                Ok(())
            }
        }
    }

    #[inline]
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        match spec.priority {
            PriorityForm::Varint => Plain::read(spec, limits, cursor),
            PriorityForm::BiasedByte => cursor.u8().map(Self),
        }
    }
}

impl Field for GroupOrder {
    #[inline]
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        out.put_u8(match (spec.order, self) {
            (OrderForm::WithDefault, Self::Default) => 0,
            (OrderForm::WithDefault, Self::Ascending) => 1,
            (OrderForm::WithDefault, Self::Descending) => 2,
            (OrderForm::WithoutDefault, Self::Ascending) => 0,
            (OrderForm::WithoutDefault, Self::Default | Self::Descending) => 1,
        });
        Ok(())
    }

    #[inline]
    fn read(spec: &Spec, _: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        match (spec.order, cursor.varint()?) {
            (OrderForm::WithDefault, 0) => Ok(Self::Default),
            (OrderForm::WithDefault, 1) | (OrderForm::WithoutDefault, 0) => Ok(Self::Ascending),
            (OrderForm::WithDefault, 2) | (OrderForm::WithoutDefault, 1) => Ok(Self::Descending),
            (_, value) => Err(DecodeErrorKind::Invalid { value }.into()),
        }
    }
}

impl Field for Code {
    #[inline]
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        if self.0 > spec.code_max {
            return Err(EncodeErrorKind::TooLarge { value: self.0, limit: spec.code_max });
        }
        varint::put(self.0, out)
    }

    #[inline]
    fn read(spec: &Spec, _: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        match cursor.varint()? {
            value if value > spec.code_max => {
                Err(DecodeErrorKind::TooLarge { value, limit: spec.code_max }.into())
            }
            value => Ok(Self(value)),
        }
    }
}

impl Field for u64 {
    #[inline]
    fn write(&self, _: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        varint::put(*self, out)
    }

    #[inline]
    fn read(_: &Spec, _: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        cursor.varint()
    }
}

impl Field for SubscribeId {
    #[inline]
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        self.0.write(spec, out)
    }

    #[inline]
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        u64::read(spec, limits, cursor).map(Self)
    }
}

impl Field for GroupSequence {
    #[inline]
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        self.0.write(spec, out)
    }

    #[inline]
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        u64::read(spec, limits, cursor).map(Self)
    }
}

/// 0 is `None`: no time at all would mean nothing useful.
impl Field for Option<Millis> {
    #[inline]
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        self.unwrap_or_default().0.write(spec, out)
    }

    #[inline]
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        Ok(Some(Millis(u64::read(spec, limits, cursor)?)).filter(|millis| millis.0 > 0))
    }
}

impl Field for Namespace {
    #[inline]
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        write_path(self.as_slice(), None, spec, out)
    }

    #[inline]
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        if spec.path == PathForm::Joined {
            return read_joined(limits, cursor);
        }
        let mut parts = Parts::read(spec, limits, cursor)?;
        Ok(Self::from_parts((0..parts.count).map(|_| parts.next())))
    }
}

impl Field for FullTrackName {
    #[inline]
    fn write(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
        write_path(self.namespace.as_slice(), Some(&self.name.0), spec, out)
    }

    #[inline]
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        if spec.path == PathForm::Joined {
            return read_joined(limits, cursor)?.try_into().map_err(name_error);
        }
        let mut parts = Parts::read(spec, limits, cursor)?;
        let before = parts.count.checked_sub(1).ok_or_else(|| name_error(NameError::NoParts))?;
        let namespace = Namespace::from_parts((0..before).map(|_| parts.next()));
        Ok(Self { namespace, name: TrackName(parts.last()) })
    }
}

/// Writes a length and the bytes.
#[inline]
pub(crate) fn write_block(bytes: &[u8], out: &mut BytesMut) -> Result<(), EncodeErrorKind> {
    varint::put(bytes.len() as u64, out)?;
    out.put_slice(bytes);
    Ok(())
}

/// Reads a length and that many bytes of UTF-8.
pub(crate) fn read_text(limit: usize, cursor: &mut Cursor<'_>) -> Result<Bytes, ReadError> {
    utf8(cursor.block(limit)?)
}

/// The longest joined path that can keep the limits on its parts.
pub(crate) fn text_limit(limits: &Limits) -> usize {
    limits.path_bytes.saturating_add(limits.path_parts.saturating_sub(1))
}

fn write_path(
    parts: &[Bytes],
    last: Option<&Bytes>,
    spec: &Spec,
    out: &mut BytesMut,
) -> Result<(), EncodeErrorKind> {
    let all = || parts.iter().chain(last);
    if spec.path == PathForm::Joined {
        return write_block(join(all())?.as_bytes(), out);
    }
    check_path(all(), spec)?;
    varint::put((parts.len() + usize::from(last.is_some())) as u64, out)?;
    for part in parts {
        write_block(part, out)?;
    }
    last.map_or(Ok(()), |last| write_block(last, out))
}

/// Whether a version can write a path.
pub(crate) fn check_path<'a>(
    mut parts: impl Iterator<Item = &'a Bytes>,
    spec: &Spec,
) -> Result<(), NameError> {
    match spec.path {
        PathForm::Parts => Ok(()),
        PathForm::TextParts if parts.all(|part| std::str::from_utf8(part).is_ok()) => Ok(()),
        PathForm::TextParts => Err(NameError::NotUtf8),
        PathForm::Joined => join(parts).map(drop),
    }
}

/// The parts of a path in memory of their own: a name outlives by far the receive buffer that it came in.
struct Parts {
    count: usize,
    /// Each part with its length before it.
    bytes: Bytes,
}

impl Parts {
    /// Copies the parts once it is known that they are all there and within the limits.
    #[inline]
    fn read(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        let count = cursor.size(limits.path_parts)?;
        let bytes = match Self::measure(cursor.head(), count, limits.path_bytes) {
            Some(len) if spec.path == PathForm::Parts => shared(cursor.take(len)),
            _ => Self::copy(count, spec, limits, cursor)?,
        };
        Ok(Self { count, bytes })
    }

    /// How many bytes so many parts take, if they begin `bytes` and there is nothing wrong with them.
    #[inline]
    fn measure(bytes: &[u8], count: usize, mut budget: usize) -> Option<usize> {
        let mut rest = bytes;
        for _ in 0..count {
            let (len, after) = varint::split(rest)?;
            let len = usize::try_from(len).ok()?;
            budget = budget.checked_sub(len)?;
            rest = after.get(len..)?;
        }
        Some(bytes.len() - rest.len())
    }

    /// Copies so many parts wherever they lie, and says what is wrong with them.
    #[inline(never)]
    fn copy(count: usize, spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Bytes, ReadError> {
        let (mut start, mut budget) = (cursor.clone(), limits.path_bytes);
        for _ in 0..count {
            let part = cursor.block(budget)?;
            budget -= part.len();
            if spec.path == PathForm::TextParts {
                utf8(part)?;
            }
        }
        let len = cursor.position() - start.position();
        Ok(shared(&start.bytes(len)?))
    }

    /// The next part; empty after the last.
    #[inline]
    fn next(&mut self) -> Bytes {
        let len = self.len_of_next();
        self.bytes.split_to(len)
    }

    /// The next part, of which the caller knows that none follow.
    #[inline]
    fn last(mut self) -> Bytes {
        self.len_of_next();
        self.bytes
    }

    #[inline]
    fn len_of_next(&mut self) -> usize {
        let (len, size) = varint::peek(&self.bytes).unwrap_or_default();
        self.bytes.advance(size);
        usize::try_from(len).unwrap_or(usize::MAX).min(self.bytes.len())
    }
}

fn read_joined(limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Namespace, ReadError> {
    let path = split(&Bytes::copy_from_slice(&read_text(text_limit(limits), cursor)?));
    path.validate(limits).map_err(name_error)?;
    Ok(path)
}

/// The text of a path in versions that join its parts.
///
/// No parts are the empty text, so a single empty part has none.
pub(crate) fn join<'a>(parts: impl Iterator<Item = &'a Bytes>) -> Result<String, NameError> {
    let mut text = String::new();
    let mut count = 0;
    for part in parts {
        let part = std::str::from_utf8(part).map_err(|_| NameError::NotUtf8)?;
        if part.contains('/') {
            return Err(NameError::Reserved { character: '/' });
        }
        if count > 0 {
            text.push('/');
        }
        text.push_str(part);
        count += 1;
    }
    if count == 1 && text.is_empty() { Err(NameError::EmptyPart) } else { Ok(text) }
}

/// The parts of a joined path; a leading `/` gives an empty first part.
pub(crate) fn split(text: &Bytes) -> Namespace {
    if text.is_empty() {
        return Namespace::EMPTY;
    }
    Namespace::from_parts(text.split(|byte| *byte == b'/').map(|part| text.slice_ref(part)))
}

fn utf8(bytes: Bytes) -> Result<Bytes, ReadError> {
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(DecodeErrorKind::NotUtf8.into()),
    }
}

fn name_error(error: NameError) -> ReadError {
    let size =
        |value: usize, limit: usize| DecodeErrorKind::TooLarge { value: value as u64, limit: limit as u64 };
    ReadError::Invalid(match error {
        NameError::TooManyParts { parts, limit } => size(parts, limit),
        NameError::TooLong { bytes, limit } => size(bytes, limit),
        NameError::NotUtf8 => DecodeErrorKind::NotUtf8,
        _ => DecodeErrorKind::Invalid { value: 0 },
    })
}
