//! Encoding of Media over QUIC messages: bytes to messages and back, without I/O, clocks or tasks.
//!
//! A stream is read in two steps. [`StreamDecoder`] takes whatever chunks the transport gives and returns the
//! stream type and whole messages; on a stream that carries frames, what is left goes to a [`FrameDecoder`],
//! which passes payload on as slices of the chunks that came in. "Need more bytes" is `Ok(None)`, never an
//! error.
//!
//! ```
//! use bytes::Bytes;
//! use moqt_wire::transfork::{Group, StreamKind};
//! use moqt_wire::{FrameDecoder, FrameEvent, Limits, StreamDecoder, Version};
//!
//! # fn main() -> Result<(), moqt_wire::DecodeError> {
//! let spec = Version::TRANSFORK_04.spec();
//! let mut decoder = StreamDecoder::new(spec, Limits::default());
//! decoder.push(Bytes::from_static(b"\x00\x07\x43\xe8\x05hello"));
//! assert_eq!(decoder.next_varint()?.and_then(|kind| StreamKind::uni(spec, kind)), Some(StreamKind::Group));
//! let group = decoder.next::<Group>()?.expect("the header is complete");
//! assert_eq!((group.subscribe.0, group.sequence.0), (7, 1000));
//!
//! let mut frames = FrameDecoder::new(Limits::default());
//! frames.extend(decoder.take_rest());
//! assert_eq!(frames.next()?, Some(FrameEvent::Begin { size: 5 }));
//! assert_eq!(frames.next()?, Some(FrameEvent::Payload(Bytes::from_static(b"hello"))));
//! assert_eq!(frames.next()?, Some(FrameEvent::End));
//! # Ok(())
//! # }
//! ```
//!
//! Versions are data: a [`Spec`] row says how a version writes paths, priorities and orders, and which
//! [`Feature`]s it has. The messages of a family live in its own module; today that is [`transfork`].

#[macro_use]
mod message;
#[cfg(test)]
#[macro_use]
mod testing;

mod code;
mod codec;
mod cursor;
mod error;
pub mod fuzz;
mod group;
mod limits;
pub mod name;
mod stream;
#[cfg(test)]
mod tests;
pub mod transfork;
mod value;
pub mod varint;
pub mod version;

pub use code::Code;
pub use cursor::{Cursor, ReadError};
pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
pub use group::{FrameDecoder, FrameEvent, frame_header};
pub use limits::Limits;
pub use message::{Message, MessageKind};
pub use name::{FullTrackName, NameError, Namespace, TrackName};
pub use stream::StreamDecoder;
pub use value::{GroupOrder, GroupSequence, Millis, Priority, SubscribeId};
pub use varint::VarInt;
pub use version::{Family, Feature, Spec, Version};
