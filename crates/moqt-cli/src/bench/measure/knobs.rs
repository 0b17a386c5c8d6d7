//! What can be turned on a load, on the command line.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    frame::HEADER,
    shape::{Joins, NAMES, Order, Shape},
};

/// The load, and what is written of it.
#[derive(Args, Clone, Debug)]
pub struct Knobs {
    /// The shape of the load, one of those below; the other options change it
    #[arg(long, value_name = "SHAPE", env = "MOQT_BENCH_SHAPE", default_value = "V5", value_parser = shape)]
    pub shape: Shape,

    /// Publishers, each with a session of its own
    #[arg(long, value_name = "N", env = "MOQT_BENCH_PUBLISHERS", value_parser = count)]
    pub publishers: Option<usize>,

    /// Subscribers, each with a session of its own
    #[arg(long, value_name = "N", env = "MOQT_BENCH_SUBSCRIBERS")]
    pub subscribers: Option<usize>,

    /// Tracks of each publisher, all as the first one of the shape
    #[arg(long, value_name = "N", env = "MOQT_BENCH_TRACKS", value_parser = count)]
    pub tracks: Option<usize>,

    /// Frames a second of each track; 0 for none at all
    #[arg(long, value_name = "FPS", env = "MOQT_BENCH_FPS", value_parser = fps)]
    pub fps: Option<f64>,

    /// Bytes of a frame, header included
    #[arg(long, value_name = "BYTES", env = "MOQT_BENCH_FRAME_BYTES", value_parser = bytes)]
    pub frame_bytes: Option<usize>,

    /// Bytes of the first frame of a group [default: as the others]
    #[arg(long, value_name = "BYTES", env = "MOQT_BENCH_FIRST_FRAME_BYTES", value_parser = bytes)]
    pub first_frame_bytes: Option<usize>,

    /// Frames of a group
    #[arg(long, value_name = "N", env = "MOQT_BENCH_GROUP_FRAMES", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub group_frames: Option<u32>,

    /// How subscribers rank the tracks: one for each track, or one for all
    #[arg(long, value_name = "0..255,…", env = "MOQT_BENCH_PRIORITY", value_delimiter = ',')]
    pub priority: Vec<u8>,

    /// Which groups of a track are sent first when not all fit: one for each track, or one for all
    #[arg(long, value_name = "ORDER,…", env = "MOQT_BENCH_ORDER", value_delimiter = ',')]
    pub order: Vec<Order>,

    /// More subscribers that ask for the tracks and never read them
    #[arg(long, value_name = "N", env = "MOQT_BENCH_STALL")]
    pub stall: Option<usize>,

    /// One more subscriber each time this has passed
    #[arg(long, value_name = "DURATION", env = "MOQT_BENCH_JOIN_EVERY", value_parser = humantime::parse_duration)]
    pub join_every: Option<Duration>,

    /// How long these stay after their first frame
    #[arg(long, value_name = "DURATION", env = "MOQT_BENCH_JOIN_STAY", value_parser = humantime::parse_duration)]
    pub join_stay: Option<Duration>,

    /// Names that stand, while others come and go instead of frames, as many a second as the track has
    #[arg(long, value_name = "N", env = "MOQT_BENCH_NAMES")]
    pub names: Option<usize>,

    /// How long frames are published
    #[arg(long, value_name = "DURATION", env = "MOQT_BENCH_DURATION", value_parser = humantime::parse_duration, default_value = "10s")]
    pub duration: Duration,

    /// What is written so long after the first frame does not count for latency
    #[arg(long, value_name = "DURATION", env = "MOQT_BENCH_WARMUP", value_parser = humantime::parse_duration, default_value = "1s")]
    pub warmup: Duration,

    /// Pieces in which the JSON lines tell of the run
    #[arg(long, value_name = "DURATION", env = "MOQT_BENCH_INTERVAL", value_parser = humantime::parse_duration, default_value = "1s")]
    pub interval: Duration,

    /// That long after its first frame, a subscriber turns the priorities of its tracks around
    #[arg(long, value_name = "DURATION", env = "MOQT_BENCH_SWAP_PRIORITIES_AT", value_parser = humantime::parse_duration)]
    pub swap_priorities_at: Option<Duration>,

    /// How long everything but the publishing itself may take: that all are subscribed, that the rest arrives
    #[arg(long, value_name = "DURATION", env = "MOQT_BENCH_PATIENCE", value_parser = humantime::parse_duration, default_value = "15s")]
    pub patience: Duration,

    /// Write what was measured to this file, a JSON object a line; `-` for stdout, and the table to stderr
    #[arg(long, value_name = "FILE", env = "MOQT_BENCH_JSON")]
    pub json: Option<PathBuf>,
}

/// The names of the shapes, for the end of a help text.
#[must_use]
pub fn shapes_help() -> String {
    let mut text = String::from("Shapes:\n");
    for (name, what) in NAMES {
        text.push_str(&format!("  {name:<8}{what}\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

impl Knobs {
    /// The shape with all wishes.
    ///
    /// # Errors
    ///
    /// Says which options do not go together.
    pub fn shape(&self) -> Result<Shape, String> {
        let mut shape = self.shape.clone();
        if let Some(count) = self.tracks {
            let first = shape.tracks.first().cloned();
            shape.tracks = first
                .into_iter()
                .flat_map(|track| std::iter::repeat_n(track, count).enumerate())
                .map(|(at, mut track)| {
                    track.name = format!("{}{at}", track.name.trim_end_matches(char::is_numeric));
                    track
                })
                .collect();
        }
        for track in &mut shape.tracks {
            if let Some(bytes) = self.frame_bytes {
                (track.bytes, track.first_bytes) = (bytes, bytes);
            }
            track.first_bytes = self.first_frame_bytes.unwrap_or(track.first_bytes);
            track.fps = self.fps.unwrap_or(track.fps);
            track.group_frames = self.group_frames.unwrap_or(track.group_frames);
        }
        let count = shape.tracks.len();
        spread(&self.priority, count, "--priority", |at, priority| {
            if let Some(track) = shape.tracks.get_mut(at) {
                track.priority = priority;
            }
        })?;
        spread(&self.order, count, "--order", |at, order| {
            if let Some(track) = shape.tracks.get_mut(at) {
                track.order = order;
            }
        })?;
        shape.publishers = self.publishers.unwrap_or(shape.publishers);
        shape.subscribers = self.subscribers.unwrap_or(shape.subscribers);
        shape.stalled = self.stall.unwrap_or(shape.stalled);
        shape.names = self.names.or(shape.names);
        let usual = shape.joins.unwrap_or(Joins { every: Duration::ZERO, stay: Duration::from_secs(1) });
        let joins = Joins {
            every: self.join_every.unwrap_or(usual.every),
            stay: self.join_stay.unwrap_or(usual.stay),
        };
        shape.joins = (!joins.every.is_zero()).then_some(joins);
        if self.join_stay.is_some() && shape.joins.is_none() {
            return Err("--join-stay needs --join-every".to_owned());
        }
        if self.swap_priorities_at.is_some() && count < 2 {
            return Err("--swap-priorities-at needs at least two tracks".to_owned());
        }
        Ok(shape)
    }
}

fn spread<T: Copy>(
    values: &[T],
    count: usize,
    option: &str,
    mut set: impl FnMut(usize, T),
) -> Result<(), String> {
    match values {
        [] => {}
        [all] => (0..count).for_each(|at| set(at, *all)),
        each if each.len() == count => each.iter().enumerate().for_each(|(at, value)| set(at, *value)),
        each => return Err(format!("{option} has {} values for {count} tracks", each.len())),
    }
    Ok(())
}

fn shape(name: &str) -> Result<Shape, String> {
    Shape::named(name).ok_or_else(|| {
        let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        format!("there are {}", names.join(", "))
    })
}

fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=100_000).contains(count))
        .ok_or("write a number from 1 on".to_owned())
}

fn fps(text: &str) -> Result<f64, String> {
    let wrong = "write a number of frames a second, up to 10000";
    text.parse().ok().filter(|fps| (0.0..=10_000.0).contains(fps)).ok_or(wrong.to_owned())
}

fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("write a number of bytes from {HEADER}, the header of a frame, to 16777216");
    text.parse().ok().filter(|bytes| (HEADER..=16 << 20).contains(bytes)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        knobs: Knobs,
    }

    fn shape(line: &str) -> Result<Shape, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).map_err(|error| error.to_string())?.knobs.shape()
    }

    #[test]
    fn wishes_change_the_shape() {
        let shape =
            shape("--shape v5 --tracks 2 --fps 25 --frame-bytes 10000 --priority 200,50 --order desc");
        let shape = shape.unwrap();
        let names: Vec<_> = shape.tracks.iter().map(|track| track.name.as_str()).collect();
        assert_eq!(names, ["video0", "video1"]);
        let priorities: Vec<_> = shape.tracks.iter().map(|track| (track.priority, track.order)).collect();
        assert_eq!(priorities, [(200, Order::Desc), (50, Order::Desc)]);
        assert!((shape.tracks[0].bits_per_second() - 2e6).abs() < 1.0);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "--shape V6",
            "--priority 1,2",
            "--join-stay 1s",
            "--swap-priorities-at 3s",
            "--frame-bytes 39",
            "--fps -1",
            "--tracks 0",
        ] {
            assert!(shape(line).is_err(), "{line}");
        }
    }

    #[test]
    fn joins_can_be_added_and_taken_away() {
        let joins = shape("--shape V5 --join-every 100ms").unwrap().joins.unwrap();
        assert_eq!((joins.every.as_millis(), joins.stay.as_secs()), (100, 1));
        assert_eq!(shape("--shape JOIN --join-every 0s").unwrap().joins, None);
    }
}
