//! The receiving half of a stream, as one end keeps it.

use std::{
    collections::{BTreeMap, VecDeque},
    task::Waker,
};

use bytes::{Buf, Bytes};
use moqt_transport::Code;

use super::packet::StreamFrame;

/// What a read finds.
#[derive(Debug)]
pub(crate) enum Found {
    Data(Bytes),
    End,
    Reset(Code),
    Stopped,
    Nothing,
}

/// Bytes on their way in.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    /// In order, not read yet.
    ready: VecDeque<Bytes>,
    /// Out of order, by offset; pieces may overlap.
    early: BTreeMap<u64, Bytes>,
    /// Received without a gap.
    contiguous: u64,
    /// The end of the last byte received, gaps or not.
    highest: u64,
    read: u64,
    /// What has been given back to the connection's window.
    returned: u64,
    /// What the sender was told that it may send.
    max_data: u64,
    fin: Option<u64>,
    reset: Option<Code>,
    stopped: bool,
    ended: bool,
    /// Whether the application still holds the stream.
    pub(crate) held: bool,
    pub(crate) waker: Option<Waker>,
}

impl RecvHalf {
    pub(crate) fn new(window: u64) -> Self {
        Self {
            ready: VecDeque::new(),
            early: BTreeMap::new(),
            contiguous: 0,
            highest: 0,
            read: 0,
            returned: 0,
            max_data: window,
            fin: None,
            reset: None,
            stopped: false,
            ended: false,
            held: true,
            waker: None,
        }
    }

    /// Whether the application can have everything that there will be.
    pub(crate) fn is_complete(&self) -> bool {
        self.fin == Some(self.contiguous)
    }

    /// Whether nothing more is to come and nothing is left to read.
    pub(crate) fn is_done(&self) -> bool {
        self.ended || self.reset.is_some() || (self.stopped && self.is_complete())
    }

    pub(crate) fn handle_frame(&mut self, frame: &StreamFrame) {
        if self.reset.is_some() || self.ended {
            return;
        }
        let end = frame.offset + frame.data.len() as u64;
        self.highest = self.highest.max(end);
        if frame.fin {
            self.fin = Some(end);
        }
        if end > self.contiguous {
            if frame.offset == self.contiguous && self.early.is_empty() {
                self.append(frame.data.clone());
            } else {
                let piece = self.early.entry(frame.offset).or_default();
                if piece.len() < frame.data.len() {
                    *piece = frame.data.clone();
                }
                self.close_gaps();
            }
        }
    }

    fn append(&mut self, data: Bytes) {
        self.contiguous += data.len() as u64;
        if !self.stopped && !data.is_empty() {
            self.ready.push_back(data);
        }
    }

    fn close_gaps(&mut self) {
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.contiguous {
                break;
            }
            let (offset, mut data) = entry.remove_entry();
            let known = usize::try_from(self.contiguous - offset).unwrap_or(usize::MAX);
            if known < data.len() {
                data.advance(known);
                self.append(data);
            }
        }
    }

    /// The sender gave up after `sent` bytes.
    pub(crate) fn handle_reset(&mut self, code: Code, sent: u64) {
        if self.is_complete() || self.reset.is_some() {
            return;
        }
        self.reset = Some(code);
        self.highest = self.highest.max(sent);
        self.ready.clear();
        self.early.clear();
    }

    /// Discards the rest. Returns whether the sender must hear of it.
    pub(crate) fn stop(&mut self) -> bool {
        if self.stopped || self.ended || self.reset.is_some() {
            return false;
        }
        self.stopped = true;
        // Pieces that came early stay: they are acknowledged, so nothing else can close the gaps.
        self.ready.clear();
        !self.is_complete()
    }

    pub(crate) fn read(&mut self, max: usize) -> Found {
        if let Some(code) = self.reset {
            return Found::Reset(code);
        }
        if self.stopped {
            return Found::Stopped;
        }
        let Some(mut data) = self.ready.pop_front() else {
            if !self.is_complete() {
                return Found::Nothing;
            }
            self.ended = true;
            return Found::End;
        };
        if data.len() > max {
            self.ready.push_front(data.split_off(max));
        }
        self.read += data.len() as u64;
        Found::Data(data)
    }

    /// Bytes that no longer take room in the connection's window, since the last call.
    pub(crate) fn give_back(&mut self) -> u64 {
        let settled = if self.reset.is_some() || self.stopped { self.highest } else { self.read };
        let back = settled.saturating_sub(self.returned);
        self.returned += back;
        back
    }

    /// The new limit to tell the sender, when half of `window` is used up.
    pub(crate) fn new_limit(&mut self, window: u64) -> Option<u64> {
        if self.fin.is_some() || self.reset.is_some() || self.stopped {
            return None;
        }
        let left = self.max_data.saturating_sub(self.read);
        if left > window / 2 {
            return None;
        }
        self.max_data = self.read + window;
        Some(self.max_data)
    }
}

#[cfg(test)]
mod tests {
    use crate::net::packet::{Dir, Side, StreamId};

    use super::*;

    /// Gives the pieces (from, to) of `0123456789` and reads what there is.
    fn feed(half: &mut RecvHalf, pieces: &[(usize, usize)]) -> String {
        let id = StreamId { index: 0, initiator: Side::Client, dir: Dir::Uni };
        for &(from, to) in pieces {
            let data = Bytes::from_static(&b"0123456789"[from..to]);
            half.handle_frame(&StreamFrame { id, offset: from as u64, data, fin: to == 10 });
        }
        let mut read = String::new();
        while let Found::Data(data) = half.read(usize::MAX) {
            read.push_str(std::str::from_utf8(&data).unwrap());
        }
        read
    }

    #[test]
    fn pieces_that_overlap_and_repeat_come_out_once_and_in_order() {
        let mut half = RecvHalf::new(100);
        assert_eq!(feed(&mut half, &[(2, 4), (6, 8), (2, 3)]), "");
        assert_eq!(feed(&mut half, &[(0, 3)]), "0123");
        assert_eq!(feed(&mut half, &[(1, 4), (3, 5), (7, 10)]), "4");
        assert!(!half.is_complete());
        assert_eq!(feed(&mut half, &[(5, 7), (0, 10)]), "56789");
        assert!(half.is_complete() && matches!(half.read(1), Found::End));
        assert_eq!(half.give_back(), 10);
    }

    #[test]
    fn a_stopped_stream_is_done_once_every_piece_has_come() {
        let mut half = RecvHalf::new(100);
        assert_eq!(feed(&mut half, &[(0, 2), (4, 10)]), "01");
        assert!(half.stop() && !half.is_done());
        assert_eq!(feed(&mut half, &[(2, 4)]), "");
        assert!(half.is_done());
        assert_eq!(half.give_back(), 10);
    }
}
