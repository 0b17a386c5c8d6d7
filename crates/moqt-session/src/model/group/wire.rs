//! A group as it goes onto the wire: what all share who send it.

use bytes::{Bytes, BytesMut};
use moqt_wire::Version;

use super::{GroupShared, State};
use crate::model::frame::FrameMeta;

/// How the headers of frames are written. All that is sent of a group shares those of its first sender's form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderForm {
    /// Tells the forms apart.
    pub(crate) id: u8,
    pub(crate) write: fn(&FrameMeta, &mut BytesMut),
}

/// What groups begin with on the wire, before their first frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preamble {
    /// Of one group, two with the same key are the same.
    pub(crate) key: (Version, u64),
    /// Writes that of the group of this number; `false` where it cannot be said.
    pub(crate) write: fn((Version, u64), u64, &mut BytesMut) -> bool,
}

/// A group with less payload than this, and of no more frames, is brought into one piece before it is sent. To copy it
/// once costs less than a header, a piece and their reference counts for each who sends it.
const WHOLE_BELOW: u64 = 1 << 10;
const WHOLE_FRAMES: usize = 4;

/// How many bytes of headers are allocated at a time.
const HEADERS: usize = 64;

/// What was written for one who sends the group, for the others.
#[derive(Debug)]
pub(super) struct Wire {
    /// The form of the headers that frames have.
    form: u8,
    /// Where headers are written.
    room: BytesMut,
    /// All of it in one piece, and what it begins with.
    whole: Option<((Version, u64), Bytes)>,
}

impl Wire {
    fn new(form: HeaderForm) -> Self {
        Self { form: form.id, room: BytesMut::new(), whole: None }
    }
}

impl State {
    /// What stands before a frame on the wire.
    pub(super) fn header(&mut self, frame: usize, form: HeaderForm, meta: &FrameMeta) -> Bytes {
        let Self { frames, wire, .. } = self;
        let wire = wire.get_or_insert_with(|| Box::new(Wire::new(form)));
        let mut write = || {
            if wire.room.capacity() == 0 {
                wire.room.reserve(HEADERS);
            }
            (form.write)(meta, &mut wire.room);
            wire.room.split().freeze()
        };
        match frames.get_mut(frame) {
            Some(entry) if wire.form == form.id => {
                if entry.header.is_empty() {
                    entry.header = write();
                }
                entry.header.clone()
            }
            _ => write(),
        }
    }
}

impl GroupShared {
    /// All of a small, complete group, behind the preamble of its first sender; `None` for those that have another one.
    pub(super) fn whole(&self, state: &mut State, form: HeaderForm, preamble: Preamble) -> Option<Bytes> {
        if let Some(wire) = &state.wire
            && let Some((key, piece)) = &wire.whole
        {
            return (wire.form == form.id && *key == preamble.key).then(|| piece.clone());
        }
        let small = state.payload < WHOLE_BELOW && state.frames.len() <= WHOLE_FRAMES;
        if !small || self.read_once || !matches!(state.end, Some(Ok(()))) {
            return None;
        }
        if state.frames.iter().any(|frame| frame.written < frame.meta.size) {
            return None;
        }
        let wire = state.wire.get_or_insert_with(|| Box::new(Wire::new(form)));
        if wire.form != form.id {
            return None;
        }
        let payload = usize::try_from(state.payload).ok()?;
        let mut out = BytesMut::with_capacity(payload + HEADERS);
        if !(preamble.write)(preamble.key, self.key.sequence, &mut out) {
            return None;
        }
        let mut places = [const { 0..0 }; WHOLE_FRAMES];
        for (frame, place) in state.frames.iter().zip(&mut places) {
            let from = out.len();
            (form.write)(&frame.meta, &mut out);
            *place = from..out.len();
            let chunks = state.chunks.get(frame.chunks.clone()).unwrap_or_default();
            chunks.iter().for_each(|chunk| out.extend_from_slice(chunk));
        }
        let piece = out.freeze();
        // What was there in pieces is in this one from now on.
        for (frame, place) in state.frames.iter_mut().zip(places) {
            let mut from = place.end;
            for chunk in state.chunks.get_mut(frame.chunks.clone()).unwrap_or_default() {
                *chunk = piece.slice(from..from + chunk.len());
                from += chunk.len();
            }
            frame.header = piece.slice(place);
        }
        wire.whole = Some((preamble.key, piece.clone()));
        Some(piece)
    }
}
