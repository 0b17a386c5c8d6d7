//! When the frames of a track are due.

use std::time::Duration;

use super::{
    frame::{Maker, Stamp},
    shape::TrackShape,
};

/// Walks through the frames of a track: which is next, and when.
#[derive(Clone, Debug)]
pub struct Pace {
    shape: TrackShape,
    track: u32,
    count: u64,
}

/// A frame that is to be written.
#[derive(Debug)]
pub struct Due {
    /// Its payload.
    pub frame: bytes::Bytes,
    /// The group it belongs to.
    pub group: u64,
    /// Whether it is the first of its group.
    pub begins: bool,
    /// Whether it is the last of its group.
    pub ends: bool,
}

impl Pace {
    /// From the first frame of group 0 on. `track` goes into the stamps.
    #[must_use]
    pub fn new(shape: TrackShape, track: u32) -> Self {
        Self { shape, track, count: 0 }
    }

    /// When the next frame is due after the start; `None` for a track without frames.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        (self.shape.fps > 0.0).then(|| Duration::from_secs_f64(self.count as f64 / self.shape.fps))
    }

    /// Makes the next frame, written now.
    pub fn make(&mut self, maker: &Maker) -> Due {
        let frames = self.shape.group_frames.max(1);
        let group = self.count / u64::from(frames);
        let place = (self.count % u64::from(frames)) as u32;
        self.count += 1;
        let sent_ns = super::clock::monotonic_ns();
        let stamp = Stamp { track: self.track, group, frame: place, frames, sent_ns };
        let frame = maker.frame(stamp, self.shape.frame_bytes(place));
        Due { frame, group, begins: place == 0, ends: place + 1 == frames }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::shape::Shape, *};

    #[test]
    fn frames_are_due_at_their_rate_and_fill_their_groups() {
        let shape = Shape::named("M2").unwrap().tracks.remove(0);
        let mut pace = Pace::new(shape, 0);
        let maker = Maker::new(8000);
        for count in 0..90_u32 {
            let due = pace.due().unwrap().as_secs_f64();
            assert!((due - f64::from(count) * 0.033).abs() < 1e-6);
            let made = pace.make(&maker);
            assert_eq!(made.group, u64::from(count / 30));
            assert_eq!((made.begins, made.ends), (count % 30 == 0, count % 30 == 29));
            assert_eq!(made.frame.len(), if made.begins { 7576 } else { 1894 });
        }
    }
}
