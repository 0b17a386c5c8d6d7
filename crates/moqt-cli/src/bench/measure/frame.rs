//! Frames that say where they belong and when they were written, and show whether they came as they went.

use bytes::{Bytes, BytesMut};

/// Bytes of a frame before its filling: the smallest frame there is.
pub const HEADER: usize = SUMMED + 8;

/// Of them, what the checksum covers beside the filling.
const SUMMED: usize = 32;

const MAGIC: u32 = 0x6d71_6231;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Which of the run's tracks, so that a mix-up is seen.
    pub track: u32,
    /// The group's number.
    pub group: u64,
    /// Place in the group, from 0.
    pub frame: u32,
    /// How many frames the group is to have.
    pub frames: u32,
    /// [`monotonic_ns`](super::clock::monotonic_ns) when it was written.
    pub sent_ns: u64,
}

/// A frame that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Makes frames. All of one run share their filling.
#[derive(Clone, Debug)]
pub struct Maker {
    filling: Bytes,
}

impl Maker {
    /// For frames of at most `largest` bytes.
    #[must_use]
    pub fn new(largest: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self { filling: words.flatten().take(largest).collect() }
    }

    /// A frame of `len` bytes, or as many as its header takes.
    #[must_use]
    pub fn frame(&self, stamp: Stamp, len: usize) -> Bytes {
        let filling = self.filling.get(..len.saturating_sub(HEADER)).unwrap_or(&self.filling);
        let head = stamp.to_bytes();
        let mut sum = Sum::default();
        sum.push(&head);
        sum.push(filling);
        let mut frame = BytesMut::with_capacity(HEADER + filling.len());
        frame.extend_from_slice(&head);
        frame.extend_from_slice(&sum.finish().to_le_bytes());
        frame.extend_from_slice(filling);
        frame.freeze()
    }
}

impl Stamp {
    fn to_bytes(self) -> [u8; SUMMED] {
        let mut head = [0; SUMMED];
        let fields = MAGIC
            .to_le_bytes()
            .into_iter()
            .chain(self.track.to_le_bytes())
            .chain(self.group.to_le_bytes())
            .chain(self.frame.to_le_bytes())
            .chain(self.frames.to_le_bytes())
            .chain(self.sent_ns.to_le_bytes());
        for (place, byte) in head.iter_mut().zip(fields) {
            *place = byte;
        }
        head
    }

    /// `None` where the frame is none of ours.
    fn read(head: &[u8; HEADER]) -> Option<(Self, u64)> {
        let four = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let eight = |at: usize| head.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        if four(0)? != MAGIC {
            return None;
        }
        let stamp = Self {
            track: four(4)?,
            group: eight(8)?,
            frame: four(16)?,
            frames: four(20)?,
            sent_ns: eight(24)?,
        };
        Some((stamp, eight(SUMMED)?))
    }
}

/// Reads one frame, piece by piece.
#[derive(Clone, Debug)]
pub struct Checker {
    head: [u8; HEADER],
    len: usize,
    sum: Sum,
}

impl Default for Checker {
    fn default() -> Self {
        Self { head: [0; HEADER], len: 0, sum: Sum::default() }
    }
}

impl Checker {
    /// The next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let wanted = HEADER.saturating_sub(self.len).min(piece.len());
        let (head, filling) = piece.split_at(wanted);
        if let Some(place) = self.head.get_mut(self.len..self.len + head.len()) {
            place.copy_from_slice(head);
        }
        self.len += piece.len();
        if wanted > 0 && self.len >= HEADER {
            self.sum.push(self.head.get(..SUMMED).unwrap_or_default());
        }
        self.sum.push(filling);
    }

    /// What the frame says, and how many bytes it has.
    ///
    /// # Errors
    ///
    /// [`Damaged`] when it is not as it was written.
    pub fn finish(self) -> Result<(Stamp, usize), Damaged> {
        if self.len < HEADER {
            return Err(Damaged);
        }
        let (stamp, sum) = Stamp::read(&self.head).ok_or(Damaged)?;
        if self.sum.finish() == sum { Ok((stamp, self.len)) } else { Err(Damaged) }
    }
}

/// A checksum that costs little: eight bytes a step. It finds accidents, not malice.
#[derive(Clone, Debug, Default)]
struct Sum {
    state: u64,
    /// Bytes that do not make up a word yet.
    rest: [u8; 8],
    waiting: usize,
    len: u64,
}

impl Sum {
    fn push(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        while self.waiting > 0 && !bytes.is_empty() {
            self.single(&mut bytes);
        }
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            if let Ok(word) = word.try_into() {
                self.word(u64::from_le_bytes(word));
            }
        }
        let mut tail = words.remainder();
        while !tail.is_empty() {
            self.single(&mut tail);
        }
    }

    fn single(&mut self, bytes: &mut &[u8]) {
        let Some((first, others)) = bytes.split_first() else { return };
        if let Some(place) = self.rest.get_mut(self.waiting) {
            *place = *first;
        }
        *bytes = others;
        self.waiting += 1;
        if self.waiting == 8 {
            self.waiting = 0;
            self.word(u64::from_le_bytes(self.rest));
        }
    }

    fn word(&mut self, word: u64) {
        self.state = (self.state ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29);
    }

    fn finish(mut self) -> u64 {
        if let Some(unused) = self.rest.get_mut(self.waiting..) {
            unused.fill(0);
        }
        self.word(u64::from_le_bytes(self.rest));
        self.word(self.len);
        self.state ^ (self.state >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { track: 3, group: 70_000, frame: 59, frames: 60, sent_ns: 123_456_789_012 }
    }

    fn check(frame: &[u8], pieces: usize) -> Result<(Stamp, usize), Damaged> {
        let mut checker = Checker::default();
        frame.chunks(pieces).for_each(|piece| checker.push(piece));
        checker.finish()
    }

    #[test]
    fn a_frame_reads_alike_in_whichever_pieces_it_comes() {
        let maker = Maker::new(5000);
        for len in [0, HEADER, HEADER + 1, 160, 1201, 5000] {
            let frame = maker.frame(stamp(), len);
            assert_eq!(frame.len(), len.max(HEADER));
            for pieces in [1, 3, 8, 39, 40, 41, 1000, 6000] {
                assert_eq!(check(&frame, pieces), Ok((stamp(), frame.len())), "{len} in {pieces}");
            }
        }
    }

    #[test]
    fn any_flipped_bit_and_any_missing_byte_shows() {
        let frame = Maker::new(200).frame(stamp(), 200);
        for at in 0..frame.len() {
            let mut changed = frame.to_vec();
            changed[at] ^= 1 << (at % 8);
            assert_eq!(check(&changed, 64), Err(Damaged), "byte {at}");
            assert_eq!(check(&frame[..at], 64), Err(Damaged), "cut at {at}");
        }
    }
}
