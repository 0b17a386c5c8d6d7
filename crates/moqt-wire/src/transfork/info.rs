//! INFO.

use bytes::BytesMut;

use crate::cursor::Cursor;
use crate::error::{DecodeError, EncodeErrorKind};
use crate::limits::Limits;
use crate::message::{Message, MessageKind};
use crate::value::{GroupOrder, GroupSequence, Millis, Priority};
use crate::version::{InfoLayout, Spec};

message_struct! {
    /// What the publisher knows about a track; answers [`Subscribe`](super::Subscribe) and
    /// [`InfoPlease`](super::InfoPlease).
    ///
    /// Spec: transfork-03 "INFO"; `expires` left in transfork-04. Deployed peers send the order before the
    /// latest group.
    pub struct Info {
        /// The publisher's own preference, which breaks ties.
        priority: Priority,
        /// The publisher's own preference.
        order: GroupOrder,
        /// The newest group; 0 also when there is none yet.
        latest: GroupSequence,
        /// How long a finished group stays useful; `None`: without end.
        expires: Option<Millis>,
    }
}

impl Message for Info {
    const KIND: MessageKind = message_kind!(Info Transfork);

    fn encode_fields(&self, spec: &Spec, out: &mut BytesMut) -> Result<(), (&'static str, EncodeErrorKind)> {
        let Self { priority, order, latest, expires } = self;
        encode_field!(spec, out, priority, []);
        match spec.info {
            InfoLayout::LatestBeforeOrder => {
                encode_field!(spec, out, latest, []);
                encode_field!(spec, out, order, []);
            }
            InfoLayout::OrderBeforeLatest => {
                encode_field!(spec, out, order, []);
                encode_field!(spec, out, latest, []);
            }
        }
        encode_field!(spec, out, expires, [until 4]);
        Ok(())
    }

    fn decode(spec: &Spec, limits: &Limits, cursor: &mut Cursor<'_>) -> Result<Option<Self>, DecodeError> {
        let priority = decode_field!(Info, spec, limits, cursor, priority, []);
        let (order, latest) = match spec.info {
            InfoLayout::LatestBeforeOrder => {
                let latest = decode_field!(Info, spec, limits, cursor, latest, []);
                (decode_field!(Info, spec, limits, cursor, order, []), latest)
            }
            InfoLayout::OrderBeforeLatest => {
                let order = decode_field!(Info, spec, limits, cursor, order, []);
                (order, decode_field!(Info, spec, limits, cursor, latest, []))
            }
        };
        let expires = decode_field!(Info, spec, limits, cursor, expires, [until 4]);
        Ok(Some(Self { priority, order, latest, expires }))
    }
}

#[cfg(test)]
message_testing! {
    Info {
        priority: Priority [],
        order: GroupOrder [],
        latest: GroupSequence [],
        expires: Option<Millis> [until 4],
    }
}
