//! LOC: a frame is a block of properties and the codec's bytes.
//!
//! The layout is in the crate's documentation. The numbers of the properties have moved between drafts; they stand here
//! alone.
//!
//! Spec: draft-ietf-moq-loc-04, with the properties in the payload.

use std::num::NonZeroU32;

use bytes::{BufMut as _, Bytes, BytesMut};
use moqt::wire::varint;

/// Units a second where the frame has no time scale: microseconds.
pub const MICROSECONDS: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();

/// Most bytes of a block that carries no configuration of a codec.
pub const MAX_BLOCK: usize = 4 << 10;
/// Most bytes of a block with one.
pub const MAX_BLOCK_WITH_CONFIG: usize = 64 << 10;
/// Most properties of a frame.
pub const MAX_PROPERTIES: usize = 64;
/// Most units a second.
pub const MAX_TIMESCALE: u32 = 1_000_000_000;
/// The latest time of a frame, in its units: what an integer on the wire holds, and a browser's number.
pub const MAX_TIMESTAMP: u64 = (1 << 53) - 1;

const TIMESTAMP: u64 = 0x10;
/// As drafts before 04 have it; read, and never written.
const OLD_TIMESTAMP: u64 = 0x06;
const TIMESCALE: u64 = 0x08;
const FRAME_MARKING: u64 = 0x09;
const AUDIO_LEVEL: u64 = 0x0c;
const VIDEO_CONFIG: u64 = 0x0d;
const AUDIO_CONFIG: u64 = 0x0f;
/// Ours: how long the frame lasts.
const DURATION: u64 = 0x3e02;
/// Ours: presentation time less decoding time, zigzag.
const OFFSET: u64 = 0x3e04;

/// One encoded picture or packet of audio, with its time.
///
/// A clone shares the payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Presentation time, in units of the time scale.
    pub timestamp: u64,
    /// Units a second; `None` where the frame does not say, which means microseconds of the wall clock.
    pub timescale: Option<NonZeroU32>,
    /// How long the frame lasts, in units of the time scale, where the publisher says so.
    pub duration: Option<u32>,
    /// Presentation time less decoding time, in units of the time scale.
    pub offset: i64,
    /// RFC 9626 bits of a picture.
    pub marking: Option<Bytes>,
    /// RFC 6464 level of audio.
    pub audio_level: Option<u8>,
    /// A configuration that holds from this frame on.
    pub config: Option<Config>,
    /// What the codec wrote. Empty for a mark that only says where the frame before it ends.
    pub payload: Bytes,
}

/// A codec's configuration in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// Of a video decoder.
    Video(Bytes),
    /// Of an audio decoder.
    Audio(Bytes),
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The frame ends before its block does.
    #[error("the frame has no whole block of properties: {0}")]
    Short(&'static str),
    /// A block of that size is none.
    #[error("a block of {len} bytes, where {limit} are the most")]
    TooLong {
        /// Its length.
        len: u64,
        /// [`MAX_BLOCK`] or [`MAX_BLOCK_WITH_CONFIG`].
        limit: usize,
    },
    /// More than [`MAX_PROPERTIES`].
    #[error("more than {MAX_PROPERTIES} properties")]
    TooMany,
    /// A property that is understood came twice.
    #[error("property {0:#x} twice")]
    Twice(u64),
    /// A value that the property cannot have.
    #[error("property {property:#x} cannot be {value}")]
    Value {
        /// Its type.
        property: u64,
        /// What it says.
        value: u64,
    },
    /// There is no property with the time.
    #[error("no timestamp")]
    NoTimestamp,
}

impl Frame {
    /// A frame of this time in microseconds, with nothing else to say.
    #[must_use]
    pub fn at_micros(timestamp: u64, payload: Bytes) -> Self {
        Self { timestamp, payload, ..Self::default() }
    }

    /// Units a second of all its times.
    #[must_use]
    pub fn scale(&self) -> NonZeroU32 {
        self.timescale.unwrap_or(MICROSECONDS)
    }

    /// The presentation time in microseconds, rounded to the nearest.
    #[must_use]
    pub fn micros(&self) -> u64 {
        rescale(self.timestamp, self.scale(), MICROSECONDS)
    }

    /// The time of decoding, in units of the time scale. `None` where it lies out of bounds.
    #[must_use]
    pub fn decode_time(&self) -> Option<i64> {
        i64::try_from(self.timestamp).ok()?.checked_sub(self.offset)
    }

    /// What stands in front of the payload on the wire.
    ///
    /// Sent as it is in one piece with the payload behind it, so that the payload is not copied.
    #[must_use]
    pub fn head(&self) -> Bytes {
        let mut block = Block::default();
        if let Some(scale) = self.timescale {
            block.integer(TIMESCALE, scale.get().into());
        }
        if let Some(marking) = &self.marking {
            block.bytes(FRAME_MARKING, marking);
        }
        if let Some(level) = self.audio_level {
            block.integer(AUDIO_LEVEL, level.into());
        }
        match &self.config {
            Some(Config::Video(config)) => block.bytes(VIDEO_CONFIG, config),
            Some(Config::Audio(config)) => block.bytes(AUDIO_CONFIG, config),
            None => {}
        }
        block.integer(TIMESTAMP, self.timestamp.min(MAX_TIMESTAMP));
        if let Some(duration) = self.duration {
            block.integer(DURATION, duration.into());
        }
        if self.offset != 0 {
            block.integer(OFFSET, zigzag(self.offset));
        }
        let mut head = BytesMut::with_capacity(block.out.len() + 4);
        put(block.out.len() as u64, &mut head);
        head.extend_from_slice(&block.out);
        head.freeze()
    }

    /// The frame as one piece of bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let head = self.head();
        let mut out = BytesMut::with_capacity(head.len() + self.payload.len());
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.payload);
        out.freeze()
    }

    /// Reads a frame. Its payload shares memory with `bytes`.
    ///
    /// # Errors
    ///
    /// When `bytes` do not begin with a block of properties that holds a timestamp and keeps the limits.
    pub fn parse(bytes: &Bytes) -> Result<Self, Error> {
        let (len, head) = varint::peek(bytes).ok_or(Error::Short("its length is cut off"))?;
        let limit = MAX_BLOCK_WITH_CONFIG;
        let size = usize::try_from(len).ok().filter(|size| *size <= limit);
        let end = head + size.ok_or(Error::TooLong { len, limit })?;
        let block = bytes.get(head..end).ok_or(Error::Short("it is longer than the frame"))?;
        let mut frame = Self { payload: bytes.slice(end..), ..Self::default() };
        frame.read(bytes, block)?;
        if frame.config.is_none() && block.len() > MAX_BLOCK {
            return Err(Error::TooLong { len, limit: MAX_BLOCK });
        }
        Ok(frame)
    }

    fn read(&mut self, whole: &Bytes, mut block: &[u8]) -> Result<(), Error> {
        let (mut kind, mut count) = (0_u64, 0_usize);
        let (mut timestamp, mut old_timestamp, mut offset) = (None, None, None);
        while !block.is_empty() {
            count += 1;
            if count > MAX_PROPERTIES {
                return Err(Error::TooMany);
            }
            kind = kind.checked_add(take(&mut block)?).ok_or(Error::Short("a type is out of bounds"))?;
            let value = take(&mut block)?;
            if kind % 2 == 1 {
                let bytes = usize::try_from(value).ok().and_then(|len| block.split_at_checked(len));
                let (bytes, rest) = bytes.ok_or(Error::Short("a value is longer than the block"))?;
                block = rest;
                match kind {
                    FRAME_MARKING => once(&mut self.marking, kind, whole.slice_ref(bytes))?,
                    VIDEO_CONFIG => {
                        once(&mut self.config, kind, Config::Video(whole.slice_ref(bytes)))?;
                    }
                    AUDIO_CONFIG => {
                        once(&mut self.config, kind, Config::Audio(whole.slice_ref(bytes)))?;
                    }
                    _ => {}
                }
                continue;
            }
            let wrong = Error::Value { property: kind, value };
            match kind {
                TIMESTAMP | OLD_TIMESTAMP if value > MAX_TIMESTAMP => return Err(wrong),
                TIMESTAMP => once(&mut timestamp, kind, value)?,
                OLD_TIMESTAMP => once(&mut old_timestamp, kind, value)?,
                TIMESCALE => {
                    let scale = u32::try_from(value).ok().filter(|scale| *scale <= MAX_TIMESCALE);
                    let scale = scale.and_then(NonZeroU32::new).ok_or(wrong)?;
                    once(&mut self.timescale, kind, scale)?;
                }
                AUDIO_LEVEL => once(&mut self.audio_level, kind, u8::try_from(value).map_err(|_| wrong)?)?,
                DURATION => once(&mut self.duration, kind, u32::try_from(value).map_err(|_| wrong)?)?,
                OFFSET => once(&mut offset, kind, unzigzag(value))?,
                _ => {}
            }
        }
        self.timestamp = timestamp.or(old_timestamp).ok_or(Error::NoTimestamp)?;
        self.offset = offset.unwrap_or_default();
        Ok(())
    }
}

/// The smallest packaging: a presentation time in microseconds and the codec's bytes. hang calls it `legacy`.
///
/// # Errors
///
/// When the time is cut off or out of bounds.
pub fn parse_legacy(bytes: &Bytes) -> Result<Frame, Error> {
    let (timestamp, len) = varint::peek(bytes).ok_or(Error::Short("its timestamp is cut off"))?;
    if timestamp > MAX_TIMESTAMP {
        return Err(Error::Value { property: TIMESTAMP, value: timestamp });
    }
    // A block of properties begins with a small number, a time in microseconds hardly ever stays one.
    Ok(Frame::at_micros(timestamp, bytes.slice(len..)))
}

/// A frame in the packaging that hang calls `legacy`.
#[must_use]
pub fn legacy(micros: u64, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + payload.len());
    put(micros.min(MAX_TIMESTAMP), &mut out);
    out.put_slice(payload);
    out.freeze()
}

/// Turns a time from one scale to another, rounded to the nearest. Out of bounds, the greatest there is.
#[must_use]
pub fn rescale(time: u64, from: NonZeroU32, to: NonZeroU32) -> u64 {
    if from == to {
        return time;
    }
    let from = u128::from(from.get());
    let scaled = (u128::from(time) * u128::from(to.get()) + from / 2) / from;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Builds a block; types come in ascending order.
#[derive(Default)]
struct Block {
    out: BytesMut,
    last: u64,
}

impl Block {
    fn kind(&mut self, kind: u64) {
        put(kind - self.last, &mut self.out);
        self.last = kind;
    }

    fn integer(&mut self, kind: u64, value: u64) {
        self.kind(kind);
        put(value, &mut self.out);
    }

    fn bytes(&mut self, kind: u64, value: &[u8]) {
        self.kind(kind);
        put(value.len() as u64, &mut self.out);
        self.out.extend_from_slice(value);
    }
}

/// What is put here fits by far; the greatest stands for anything else.
fn put(value: u64, out: &mut BytesMut) {
    varint::VarInt::new(value).unwrap_or(varint::VarInt::MAX).put(out);
}

fn take(block: &mut &[u8]) -> Result<u64, Error> {
    let (value, len) = varint::peek(block).ok_or(Error::Short("a property is cut off"))?;
    *block = block.get(len..).unwrap_or_default();
    Ok(value)
}

fn once<T>(place: &mut Option<T>, kind: u64, value: T) -> Result<(), Error> {
    if place.replace(value).is_some() { Err(Error::Twice(kind)) } else { Ok(()) }
}

/// Small numbers of either sign become small ones without.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests;
