//! Shapes of load, by the names that reports use.

use std::time::Duration;

/// Which groups of a track are sent first when not all fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// As the publisher wants.
    #[default]
    Default,
    /// Older ones.
    Asc,
    /// Newer ones.
    Desc,
}

impl Order {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Asc => "asc",
            Self::Desc => "desc",
        }
    }
}

/// One track of a publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackShape {
    /// Its name below the publisher's.
    pub name: String,
    /// Frames a second; 0 for a track without any.
    pub fps: f64,
    /// Bytes of the first frame of each group.
    pub first_bytes: usize,
    /// Bytes of the others.
    pub bytes: usize,
    /// Frames of a group.
    pub group_frames: u32,
    /// How subscribers rank it; higher is sent first.
    pub priority: u8,
    /// Which groups subscribers want first.
    pub order: Order,
}

impl TrackShape {
    fn new(name: &str, fps: f64, bytes: usize, group_frames: u32) -> Self {
        let (priority, order) = (128, Order::Default);
        Self { name: name.to_owned(), fps, first_bytes: bytes, bytes, group_frames, priority, order }
    }

    /// Size of a frame by its place in the group.
    #[must_use]
    pub fn frame_bytes(&self, frame: u32) -> usize {
        if frame == 0 { self.first_bytes } else { self.bytes }
    }

    /// Payload bits a second.
    #[must_use]
    pub fn bits_per_second(&self) -> f64 {
        let frames = f64::from(self.group_frames.max(1));
        let group = self.first_bytes as f64 + self.bytes as f64 * (frames - 1.0);
        group / frames * 8.0 * self.fps
    }
}

/// Subscribers that come, stay a while and go again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joins {
    /// From one to the next.
    pub every: Duration,
    /// How long each stays after its first frame.
    pub stay: Duration,
}

/// A load: who publishes what, and who reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// What it is called.
    pub name: String,
    /// Tracks of each publisher.
    pub tracks: Vec<TrackShape>,
    /// Publishers, each with a session.
    pub publishers: usize,
    /// Subscribers, each with a session.
    pub subscribers: usize,
    /// Whether each subscriber reads all publishers, or just one of them.
    pub all_to_all: bool,
    /// More subscribers, that never read.
    pub stalled: usize,
    /// More subscribers, that come and go.
    pub joins: Option<Joins>,
    /// Names that stand, where no frames are written but names come and go, as often as the track has frames.
    pub names: Option<usize>,
}

/// The names of the shapes, with what they are.
pub const NAMES: &[(&str, &str)] = &[
    ("V5", "live video: 30 fps of 20.8 kB, 60 frames a group, 1 to 100"),
    ("F4", "small frames: 60 fps of 4 kB, 60 frames a group, 1 to 100"),
    ("M2", "30 objects of 7.6/1.9 kB a group, 33 ms apart, 1 to 100"),
    ("A50", "audio: 50 fps of 160 B, a group each, 1 to 100"),
    ("C1", "chat: 10 rooms, a message of 300 B a second, 20 readers each"),
    ("MESH", "10 publishers of 60 fps of 8 kB, 8 readers each"),
    ("CONF", "8 participants with audio and two layers of video, all to all"),
    ("TRK", "one reader of 16 tracks of 30 fps of 2 kB"),
    ("PRIO", "audio before video: 50 fps of 160 B and V5 on one session, 1 to 1"),
    ("JOIN", "V5 with a reader, and one more every 250 ms that stays a second"),
    ("CHURN", "V5 with a reader, and 20 more a second that stay two seconds"),
    ("ANN", "10,000 names, 100 watchers of all, 100 names a second that come and go"),
    ("IDLE", "1000 subscribers of a track without frames"),
    ("SLOW", "V5 to 49 readers, and one that never reads"),
    ("CUSTOM", "30 fps of 4 kB, 30 frames a group, 1 to 1, before your own wishes"),
];

impl Shape {
    /// A shape by its name, whatever the case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let video = || TrackShape::new("video", 30.0, 20_833, 60);
        let audio = || TrackShape::new("audio", 50.0, 160, 1);
        let name = name.to_ascii_uppercase();
        let plain = |tracks: Vec<TrackShape>, subscribers| Self {
            name: name.clone(),
            tracks,
            publishers: 1,
            subscribers,
            all_to_all: false,
            stalled: 0,
            joins: None,
            names: None,
        };
        let joins = |every, stay| {
            Some(Joins { every: Duration::from_millis(every), stay: Duration::from_millis(stay) })
        };
        Some(match name.as_str() {
            "V5" => plain(vec![video()], 100),
            "F4" => plain(vec![TrackShape::new("video", 60.0, 4000, 60)], 100),
            "M2" => {
                let objects = TrackShape::new("objects", 1000.0 / 33.0, 1894, 30);
                plain(vec![TrackShape { first_bytes: 7576, ..objects }], 100)
            }
            "A50" => plain(vec![audio()], 100),
            "C1" => Self { publishers: 10, ..plain(vec![TrackShape::new("chat", 1.0, 300, 1)], 200) },
            "MESH" => Self { publishers: 10, ..plain(vec![TrackShape::new("video", 60.0, 8000, 60)], 80) },
            "CONF" => {
                let audio = TrackShape { priority: 200, ..audio() };
                let low = TrackShape { priority: 150, ..TrackShape::new("low", 15.0, 1500, 30) };
                let high = TrackShape { priority: 100, ..TrackShape::new("high", 30.0, 5000, 60) };
                Self { publishers: 8, all_to_all: true, ..plain(vec![audio, low, high], 8) }
            }
            "TRK" => {
                let tracks = (0..16).map(|at| TrackShape::new(&format!("track{at}"), 30.0, 2000, 30));
                plain(tracks.collect(), 1)
            }
            "PRIO" => {
                let audio = TrackShape { priority: 200, ..audio() };
                plain(vec![audio, TrackShape { priority: 100, order: Order::Desc, ..video() }], 1)
            }
            "JOIN" => Self { joins: joins(250, 1000), ..plain(vec![video()], 1) },
            "CHURN" => Self { joins: joins(50, 2000), ..plain(vec![video()], 1) },
            "ANN" => Self { names: Some(10_000), ..plain(vec![TrackShape::new("names", 100.0, 0, 1)], 100) },
            "IDLE" => plain(vec![TrackShape::new("nothing", 0.0, 0, 1)], 1000),
            "SLOW" => Self { stalled: 1, ..plain(vec![video()], 49) },
            "CUSTOM" => plain(vec![TrackShape::new("data", 30.0, 4000, 30)], 1),
            _ => return None,
        })
    }

    /// The largest frame of any track.
    #[must_use]
    pub fn largest_frame(&self) -> usize {
        self.tracks.iter().map(|track| track.first_bytes.max(track.bytes)).max().unwrap_or(0)
    }

    /// Which publishers the subscriber `index` reads.
    #[must_use]
    pub fn publishers_of(&self, index: usize) -> Vec<usize> {
        let publishers = self.publishers.max(1);
        if self.all_to_all { (0..publishers).collect() } else { vec![index % publishers] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_shape_and_is_found_in_any_case() {
        for (name, _) in NAMES {
            let shape = Shape::named(&name.to_lowercase()).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(shape.name, *name);
            assert!(!shape.tracks.is_empty() && shape.subscribers > 0);
        }
        assert_eq!(Shape::named("V6"), None);
    }

    #[test]
    fn rates_are_those_that_the_shapes_are_known_by() {
        let rate = |name: &str| Shape::named(name).unwrap().tracks[0].bits_per_second();
        assert!((rate("V5") / 5e6 - 1.0).abs() < 0.001);
        assert!((rate("F4") / 1.92e6 - 1.0).abs() < 0.001);
        assert!((rate("M2") / 505e3 - 1.0).abs() < 0.01, "{}", rate("M2"));
    }

    #[test]
    fn readers_are_spread_over_publishers_unless_everybody_reads_everybody() {
        let mesh = Shape::named("MESH").unwrap();
        assert_eq!([mesh.publishers_of(0), mesh.publishers_of(13)], [vec![0], vec![3]]);
        assert_eq!(Shape::named("CONF").unwrap().publishers_of(3), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
