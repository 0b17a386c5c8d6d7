//! The sending half of a stream, as one end keeps it.

use std::{
    collections::{BTreeMap, VecDeque},
    task::Waker,
};

use bytes::{Buf, Bytes};
use moqt_transport::Code;

use super::packet::{StreamFrame, StreamId};

/// How far the end of the stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    /// The application still writes.
    Open,
    /// To be sent (again).
    Pending,
    Sent,
    Acked,
}

/// How far giving up has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    No,
    Sent,
    Acked,
}

/// Bytes on their way out.
#[derive(Debug)]
pub(crate) struct SendHalf {
    id: StreamId,
    pub(crate) priority: i32,
    /// The place in the queue of streams that can send, while it has one.
    pub(crate) turn: Option<u64>,
    unsent: VecDeque<Bytes>,
    unsent_len: u64,
    /// Sent at least once: the offset of the next new byte.
    sent: u64,
    acked: u64,
    /// Sent, taken for lost, to be sent again: by offset.
    lost: BTreeMap<u64, Bytes>,
    /// What the receiver allows; held against what is written, so that what is written can be sent.
    max_data: u64,
    fin: Fin,
    reset: Given,
    stopped: Option<Code>,
    /// Whether the application still holds the stream.
    pub(crate) held: bool,
    /// A pending write or wait for a stop; there is one at a time.
    pub(crate) waker: Option<Waker>,
}

impl SendHalf {
    pub(crate) fn new(id: StreamId, max_data: u64) -> Self {
        Self {
            id,
            priority: 0,
            turn: None,
            unsent: VecDeque::new(),
            unsent_len: 0,
            sent: 0,
            acked: 0,
            lost: BTreeMap::new(),
            max_data,
            fin: Fin::Open,
            reset: Given::No,
            stopped: None,
            held: true,
            waker: None,
        }
    }

    pub(crate) fn unsent(&self) -> u64 {
        self.unsent_len
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn stopped(&self) -> Option<Code> {
        self.stopped
    }

    /// Whether the application may still write.
    pub(crate) fn is_open(&self) -> bool {
        self.fin == Fin::Open && self.reset == Given::No
    }

    /// Whether giving up would still tell the peer something.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.reset == Given::No && !self.is_complete()
    }

    /// Whether everything, the end included, has been acknowledged.
    pub(crate) fn is_complete(&self) -> bool {
        self.fin == Fin::Acked && self.acked == self.sent && self.unsent_len == 0
    }

    /// Whether the peer will hear nothing more of this stream.
    pub(crate) fn is_done(&self) -> bool {
        self.reset == Given::Acked || self.is_complete()
    }

    /// Takes from the front of `chunks` what the receiver allows and what fits below `buffer` unsent bytes.
    pub(crate) fn write(&mut self, chunks: &mut [Bytes], buffer: u64) -> usize {
        let credit = self.max_data.saturating_sub(self.sent + self.unsent_len);
        let room = buffer.saturating_sub(self.unsent_len).min(credit);
        let mut room = usize::try_from(room).unwrap_or(usize::MAX);
        let mut written = 0;
        for chunk in chunks {
            let take = chunk.len().min(room);
            if take > 0 {
                // What remains is an independent empty value, so it does not keep the payload alive.
                let piece = if take == chunk.len() { std::mem::take(chunk) } else { chunk.split_to(take) };
                self.unsent.push_back(piece);
            }
            room -= take;
            written += take;
            if room == 0 {
                break;
            }
        }
        self.unsent_len += written as u64;
        written
    }

    pub(crate) fn finish(&mut self) {
        self.fin = Fin::Pending;
    }

    /// Drops what is not delivered. Returns how many bytes were never sent.
    pub(crate) fn reset(&mut self) -> u64 {
        self.reset = Given::Sent;
        self.lost.clear();
        self.unsent.clear();
        std::mem::take(&mut self.unsent_len)
    }

    pub(crate) fn reset_acked(&mut self) {
        self.reset = Given::Acked;
    }

    pub(crate) fn stop(&mut self, code: Code) {
        self.stopped.get_or_insert(code);
    }

    pub(crate) fn allow(&mut self, max_data: u64) {
        self.max_data = self.max_data.max(max_data);
    }

    /// Whether [`next_frame`](Self::next_frame) would give something.
    pub(crate) fn can_send(&self, connection_credit: u64) -> bool {
        if self.reset != Given::No {
            return false;
        }
        let fresh = self.unsent_len > 0 && connection_credit > 0;
        let end = self.fin == Fin::Pending && self.unsent_len == 0;
        fresh || end || !self.lost.is_empty()
    }

    /// The next piece of at most `room` bytes, lost ones first, and how many of its bytes are new.
    pub(crate) fn next_frame(&mut self, room: u64, connection_credit: u64) -> Option<(StreamFrame, u64)> {
        if !self.can_send(connection_credit) || room == 0 {
            return None;
        }
        let (offset, data, fresh) = if let Some((offset, mut data)) = self.lost.pop_first() {
            let take = data.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let rest = data.split_off(take);
            if !rest.is_empty() {
                self.lost.insert(offset + take as u64, rest);
            }
            (offset, data, 0)
        } else {
            let data = self.take_unsent(room.min(connection_credit));
            let offset = self.sent;
            let fresh = data.len() as u64;
            self.sent += fresh;
            (offset, data, fresh)
        };
        let at_end = self.unsent_len == 0 && offset + data.len() as u64 == self.sent;
        let fin = at_end && self.fin == Fin::Pending;
        if fin {
            self.fin = Fin::Sent;
        }
        Some((StreamFrame { id: self.id, offset, data, fin }, fresh))
    }

    fn take_unsent(&mut self, room: u64) -> Bytes {
        let Some(front) = self.unsent.front_mut() else { return Bytes::new() };
        let take = front.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let data = front.split_to(take);
        if !front.has_remaining() {
            self.unsent.pop_front();
        }
        self.unsent_len -= take as u64;
        data
    }

    pub(crate) fn frame_acked(&mut self, frame: &StreamFrame) {
        self.acked += frame.data.len() as u64;
        if frame.fin {
            self.fin = Fin::Acked;
        }
    }

    pub(crate) fn frame_lost(&mut self, frame: &StreamFrame) {
        if self.reset != Given::No {
            return;
        }
        if !frame.data.is_empty() {
            self.lost.insert(frame.offset, frame.data.clone());
        }
        if frame.fin {
            self.fin = Fin::Pending;
        }
    }
}
