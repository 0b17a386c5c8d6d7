//! A broadcast made of nothing: a moving picture with a clock in it, and a beep.
//!
//! Pictures are JPEG and audio is PCM: encoders of what browsers decode are large, these are not. What it looks and
//! sounds like, and how it is laid out, is in the crate's documentation. It knows no clock; see [`TestSource::due`].

mod card;
mod glyphs;
mod tone;

use std::time::Duration;

use bytes::Bytes;

use self::card::Card;
use crate::{
    catalog::{Broadcast, Kind, Track},
    loc::Frame,
};

/// Pictures a second.
pub const PICTURES: u64 = 30;
/// Pictures of a group.
pub const GROUP: u64 = 15;
/// Samples of audio a second.
pub const SAMPLE_RATE: u32 = 48_000;
/// How long a packet of audio is.
pub const PACKET: Duration = Duration::from_millis(20);
/// Packets of a group, which is as long as one of pictures.
const PACKETS: u64 = 25;

/// Where the tracks are in [`TestSource::broadcast`].
pub const TRACKS: [&str; 3] = ["video", "video-low", "audio"];
const SIZES: [(u16, u16); 2] = [(640, 360), (320, 180)];

/// Writes frames of a test broadcast, one after the other.
#[derive(Debug)]
pub struct TestSource {
    /// Since 1970.
    start: Duration,
    cards: [Card; 2],
    picture: u64,
    packet: u64,
    /// Groups that have begun.
    groups: [Option<u64>; 2],
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// It begins a group.
    pub begins: bool,
    /// The frame of each track it is for, by its place in [`TRACKS`].
    pub frames: Vec<(usize, Frame)>,
}

impl TestSource {
    /// A source that begins at this time since 1970.
    #[must_use]
    pub fn new(start: Duration) -> Self {
        let cards = SIZES.map(|(width, height)| Card::new(width, height));
        Self { start, cards, picture: 0, packet: 0, groups: [None; 2] }
    }

    /// What it publishes.
    #[must_use]
    pub fn broadcast() -> Broadcast {
        let mut tracks = Vec::new();
        for (name, (width, height)) in TRACKS.into_iter().zip(SIZES) {
            let mut track = Track::new(name, Kind::Video, "jpeg");
            track.width = Some(width.into());
            track.height = Some(height.into());
            track.framerate = Some(30.0);
            tracks.push(track);
        }
        let mut audio = Track::new("audio", Kind::Audio, "pcm-s16");
        audio.sample_rate = Some(SAMPLE_RATE);
        audio.channels = Some(1);
        audio.bitrate = Some(u64::from(SAMPLE_RATE) * 16);
        tracks.push(audio);
        Broadcast { tracks, ..Broadcast::default() }
    }

    /// When the next piece is due, from the start on.
    #[must_use]
    pub fn due(&self) -> Duration {
        picture_at(self.picture).min(packet_at(self.packet))
    }

    /// Leaves out what was due before this time, from the start on.
    pub fn skip_to(&mut self, now: Duration) {
        while picture_at(self.picture) < now {
            self.picture += 1;
        }
        while packet_at(self.packet) < now {
            self.packet += 1;
        }
    }

    /// Makes the next piece.
    pub fn make(&mut self) -> Piece {
        if picture_at(self.picture) <= packet_at(self.packet) {
            let (number, at) = (self.picture, self.start + picture_at(self.picture));
            self.picture += 1;
            let frame = |card: &mut Card| Frame::at_micros(micros(at), card.draw(number, at));
            let frames = self.cards.iter_mut().map(frame).enumerate().collect();
            Piece { begins: begins(&mut self.groups[0], number / GROUP), frames }
        } else {
            let (number, at) = (self.packet, self.start + packet_at(self.packet));
            self.packet += 1;
            let frame = Frame::at_micros(micros(at), Bytes::from(tone::packet(at)));
            Piece { begins: begins(&mut self.groups[1], number / PACKETS), frames: vec![(2, frame)] }
        }
    }
}

fn begins(begun: &mut Option<u64>, group: u64) -> bool {
    begun.replace(group) != Some(group)
}

fn picture_at(number: u64) -> Duration {
    Duration::from_micros(number * 1_000_000 / PICTURES)
}

fn packet_at(number: u64) -> Duration {
    PACKET * u32::try_from(number).unwrap_or(u32::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
