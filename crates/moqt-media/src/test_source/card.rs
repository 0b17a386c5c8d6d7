//! The picture: bars that move, a ball that bounces, a clock and a number.

use std::time::Duration;

use bytes::Bytes;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::glyphs;

/// Brightness and two differences of colour.
type Colour = [u8; 3];

const WHITE: Colour = [235, 128, 128];
const BLACK: Colour = [16, 128, 128];
/// Dark bars, so that what stands on them is easily seen.
const BARS: [Colour; 8] = [
    [90, 128, 128],
    [84, 88, 136],
    [74, 150, 90],
    [66, 100, 96],
    [58, 150, 160],
    [50, 110, 176],
    [42, 176, 122],
    [34, 128, 128],
];
const QUALITY: u8 = 70;

/// Draws pictures of one size.
#[derive(Debug)]
pub(super) struct Card {
    width: usize,
    height: usize,
    /// Everything is so many times as large as in the smallest picture.
    unit: usize,
    pixels: Vec<u8>,
}

impl Card {
    pub(super) fn new(width: u16, height: u16) -> Self {
        let (width, height) = (usize::from(width), usize::from(height));
        Self { width, height, unit: (width / 320).max(1), pixels: vec![0; width * height * 3] }
    }

    /// The picture of this number, taken at this time since 1970, as JPEG.
    pub(super) fn draw(&mut self, number: u64, at: Duration) -> Bytes {
        let unit = self.unit;
        self.bars(number);
        self.ball(number);
        self.fill(0, 0, self.width, 8 * unit, BLACK);
        for bit in 0..32 {
            if number >> (31 - bit) & 1 == 1 {
                self.fill(bit * 8 * unit, 0, 8 * unit, 8 * unit, WHITE);
            }
        }
        let (seconds, millis) = (at.as_secs(), at.subsec_millis());
        let [hour, minute, second] = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
        self.text(28 * unit, 60 * unit, 4 * unit, &format!("{hour:02}:{minute:02}:{second:02}.{millis:03}"));
        self.text(100 * unit, 110 * unit, 2 * unit, &format!("#{number:08}"));
        self.encode()
    }

    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(32 << 10);
        let mut encoder = Encoder::new(&mut out, QUALITY);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        let size = |pixels: usize| u16::try_from(pixels).unwrap_or(u16::MAX);
        let encoded = encoder.encode(&self.pixels, size(self.width), size(self.height), ColorType::Ycbcr);
        debug_assert!(encoded.is_ok(), "the picture has the size that it says");
        out.into()
    }

    fn bars(&mut self, number: u64) {
        let shift = usize::try_from(number * 2 * self.unit as u64 % self.width as u64).unwrap_or(0);
        let bar = |x: usize| (x + shift) % self.width * BARS.len() / self.width;
        let row: Vec<u8> = (0..self.width).flat_map(|x| BARS.get(bar(x)).copied().unwrap_or(BLACK)).collect();
        for target in self.pixels.chunks_exact_mut(row.len()) {
            target.copy_from_slice(&row);
        }
    }

    fn ball(&mut self, number: u64) {
        let size = 24 * self.unit;
        let at = |speed: u64, room: usize| {
            let (way, room) = (number * speed * self.unit as u64, room as u64);
            let folded = way % (2 * room);
            usize::try_from(folded.min(2 * room - folded)).unwrap_or(0)
        };
        let (x, y) = (at(3, self.width - size), at(2, self.height - size));
        self.fill(x, y, size, size, [180, 60, 180]);
    }

    fn text(&mut self, x: usize, y: usize, dot: usize, text: &str) {
        self.fill(x - dot, y - dot, text.len() * 6 * dot + dot, 9 * dot, BLACK);
        for (place, character) in text.chars().enumerate() {
            for (row, bits) in glyphs::rows(character).into_iter().enumerate() {
                for column in (0..5).filter(|column| bits >> (4 - column) & 1 == 1) {
                    self.fill(x + (place * 6 + column) * dot, y + row * dot, dot, dot, WHITE);
                }
            }
        }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
        let stride = self.width * 3;
        let (from, to) = (x.min(self.width) * 3, (x + width).min(self.width) * 3);
        for row in self.pixels.chunks_exact_mut(stride).skip(y).take(height) {
            for pixel in row.get_mut(from..to).unwrap_or_default().chunks_exact_mut(3) {
                pixel.copy_from_slice(&colour);
            }
        }
    }
}
