//! A beep at the begin of each second.

use std::{f64::consts::TAU, time::Duration};

use super::{PACKET, SAMPLE_RATE};

/// How many samples a beep has, and its ramps at both ends.
const BEEP: u64 = SAMPLE_RATE as u64 / 10;
const RAMP: u64 = SAMPLE_RATE as u64 / 200;
const HERTZ: f64 = 1000.0;
const LOUDNESS: f64 = 0.3;

/// A packet of samples that begins at this time since 1970, 16 bits each, little-endian.
pub(super) fn packet(at: Duration) -> Vec<u8> {
    let rate = u64::from(SAMPLE_RATE);
    let first = u64::from(at.subsec_micros()) * rate / 1_000_000;
    let count = PACKET.as_millis() as u64 * rate / 1000;
    (first..first + count).flat_map(|at| sample(at % rate).to_le_bytes()).collect()
}

/// The sample that comes `at` samples after the begin of a second.
fn sample(at: u64) -> i16 {
    let Some(left) = BEEP.checked_sub(at + 1) else { return 0 };
    let ramp = at.min(left).min(RAMP) as f64 / RAMP as f64;
    let wave = (TAU * HERTZ * at as f64 / f64::from(SAMPLE_RATE)).sin();
    #[expect(clippy::cast_possible_truncation, reason = "within a third of the range")]
    let sample = (wave * ramp * LOUDNESS * f64::from(i16::MAX)) as i16;
    sample
}
