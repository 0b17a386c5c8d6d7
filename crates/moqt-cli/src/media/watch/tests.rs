//! Broadcasts whose servers and publishers go away and come back, in virtual time.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser as _;
use moqt::{
    ConnectError, Connecting, FullTrackName, Origin, Published, Reconnect, Retention, SessionConfig,
    SessionError, TrackInfo, TrackProducer, Url, session::Handshake, transport::Connection as _,
};
use moqt_media::{
    catalog::{Kind, Track},
    fmp4::{Demuxer, Event, Sample},
    loc::Frame,
};
use moqt_sim::{Settings, Sim, SimConnection};
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::args::{Cli, Verb};

/// Frames of a group, and microseconds between them.
const FRAMES: u64 = 10;
const STEP: u64 = 50_000;

/// A server that can be away, and what it has.
#[derive(Clone)]
struct World {
    sim: Sim,
    server: Arc<Mutex<Server>>,
}

struct Server {
    up: bool,
    tracks: Tracks,
    connections: Vec<SimConnection>,
}

impl World {
    fn new(sim: &Sim) -> Self {
        let server = Server { up: true, tracks: Tracks::new(), connections: Vec::new() };
        Self { sim: sim.clone(), server: Arc::new(Mutex::new(server)) }
    }

    fn server<T>(&self, act: impl FnOnce(&mut Server) -> T) -> T {
        act(&mut self.server.lock().unwrap())
    }

    fn connect(&self, url: Url, origin: Arc<dyn Origin>) -> Connecting {
        let world = self.clone();
        Box::pin(async move {
            if !world.server(|server| server.up) {
                world.sim.sleep(Duration::from_millis(200)).await;
                return Err(ConnectError::Session { url, source: SessionError::HandshakeTimeout });
            }
            let settings = || {
                Settings::default()
                    .idle_timeout(Duration::from_secs(2))
                    .keep_alive(Duration::from_millis(500))
            };
            let link = moqt_sim::Link::delay(Duration::from_millis(15)).loss(0.01);
            let (near, far) = world.sim.connect_with(link, settings(), settings());
            let server = world.clone();
            drop(world.sim.spawn(async move {
                let connection = far.clone();
                let Ok(handshake) = Handshake::accept(far, SessionConfig::default()).await else { return };
                let session = server.server(|server| {
                    server.connections.push(connection);
                    handshake.start(Arc::new(server.tracks.clone()))
                });
                session.closed().await;
            }));
            let failed = |source| ConnectError::Session { url, source };
            let handshake = Handshake::connect(near, SessionConfig::default()).await.map_err(failed)?;
            Ok(handshake.start(origin))
        })
    }

    /// The server is gone, and has other tracks when it is back.
    fn down(&self) {
        let silent = self.sim.rng().chance(0.5);
        self.server(|server| {
            (server.up, server.tracks) = (false, Tracks::new());
            for connection in server.connections.drain(..) {
                if silent {
                    connection.kill();
                } else {
                    connection.close(moqt::Code(0), "restart");
                }
            }
        });
    }

    fn up(&self) {
        self.server(|server| server.up = true);
    }

    async fn sleep(&self, millis: u64) {
        self.sim.sleep(Duration::from_millis(millis)).await;
    }

    /// Serves a broadcast of this publisher.
    fn serve(&self, publisher: &Publisher) -> Vec<Published> {
        self.server(|server| {
            let all = std::iter::once(&publisher.catalog).chain(&publisher.tracks);
            all.map(|track| server.tracks.publish(track.consume()).unwrap()).collect()
        })
    }

    /// Runs the command, while `script` does what it does; its end, what it missed and what it wrote.
    async fn watch(
        &self,
        options: &str,
        script: impl Future<Output = ()>,
    ) -> (anyhow::Result<()>, u64, Vec<u8>) {
        let line = format!("moqt sub moqf://relay/ demo --format fmp4 {options}");
        let Verb::Sub(args) = Cli::parse_from(line.split_whitespace()).verb else { panic!("{line}") };
        let (writer, mut reader) = tokio::io::duplex(1 << 16);
        let mut output = Output::new(Box::new(writer), None);
        let reading = self.sim.spawn(async move {
            let mut file = Vec::new();
            reader.read_to_end(&mut file).await.unwrap();
            file
        });
        let world = self.clone();
        let connect = move |url: Url, origin: Arc<dyn Origin>| world.connect(url, origin);
        let mut policy = Reconnect::default();
        (policy.seed, policy.patience) = (Some(self.sim.rng().next_u64()), Some(args.reconnect));
        policy.longest_pause = Duration::from_secs(1);
        let link =
            Link::connect(connect, args.connect.url.clone(), Arc::new(Tracks::new()), policy).await.unwrap();
        let mut writing = Writing {
            args: &args,
            url: &args.connect.url,
            counts: Arc::default(),
            waiting: Waiting::new(),
            missing: 0,
        };
        let (result, ()) = tokio::join!(writing.run(link, &mut output), script);
        output.flush().await.unwrap();
        drop(output);
        (result, writing.missing, reading.await.unwrap())
    }
}

/// A broadcast that is published.
struct Publisher {
    sim: Sim,
    catalog: TrackProducer,
    tracks: Vec<TrackProducer>,
    /// Group and time of what comes next.
    at: (u64, u64),
}

impl Publisher {
    /// With this time at its begin.
    fn new(sim: &Sim, names: &[&str], begin: u64) -> Self {
        let track = |name: &str| {
            let name: FullTrackName = format!("demo/{name}").parse().unwrap();
            TrackProducer::new(name, TrackInfo::default(), Retention::default())
        };
        let tracks = names.iter().map(|name| track(name)).collect();
        Self { sim: sim.clone(), catalog: track("catalog.json"), tracks, at: (0, begin) }
    }

    fn describe(&self, tracks: &[Track]) {
        let broadcast = Broadcast { tracks: tracks.to_vec(), ..Broadcast::default() };
        let mut group = self.catalog.append_group();
        group.write_frame(Format::Hang.write(&broadcast).unwrap()).unwrap();
        group.finish().unwrap();
    }

    /// Writes so many groups, each frame when its time has come.
    async fn write(&mut self, groups: u64) {
        for _ in 0..groups {
            let (group, time) = self.at;
            let mut all: Vec<_> = self.tracks.iter().map(TrackProducer::append_group).collect();
            for frame in 0..FRAMES {
                let time = time + frame * STEP;
                for group in &mut all {
                    let words = format!("group {} frame {frame} at {time}", self.at.0);
                    group.write_frame(Frame::at_micros(time, words.into()).to_bytes()).unwrap();
                }
                self.sim.sleep(Duration::from_micros(STEP)).await;
            }
            all.into_iter().for_each(|group| group.finish().unwrap());
            self.at = (group + 1, time + FRAMES * STEP);
        }
    }

    fn finish(&self) {
        self.catalog.finish();
        self.tracks.iter().for_each(TrackProducer::finish);
    }
}

fn video(name: &str) -> Track {
    Track { width: Some(64), height: Some(36), framerate: Some(20.0), ..Track::new(name, Kind::Video, "vp8") }
}

fn described(name: &str, level: u8) -> Track {
    let record = [1, 0x42, 0xc0, level, 0xff, 0xe1, 0, 1, 0x67, 1, 0, 1, 0x68];
    let codec = format!("avc1.42c0{level:02x}");
    Track { description: Some(Bytes::copy_from_slice(&record)), ..Track::new(name, Kind::Video, codec) }
}

/// The samples of a file, which has to be whole, with one header, and times that rise.
fn samples(file: &[u8]) -> Vec<Sample> {
    let mut demuxer = Demuxer::new();
    demuxer.push(file);
    let (mut headers, mut samples) = (0, Vec::<Sample>::new());
    while let Some(event) = demuxer.next().unwrap() {
        match event {
            Event::Movie(_) => headers += 1,
            Event::Sample(sample) => samples.push(sample),
        }
    }
    demuxer.finish().unwrap();
    assert_eq!(headers, 1);
    samples
}

/// What each sample says of itself: its group, its frame and its time when it was published.
fn words(sample: &Sample) -> (u64, u64, u64) {
    let text = std::str::from_utf8(&sample.payload).unwrap();
    let mut numbers = text.split(' ').filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap(), numbers.next().unwrap())
}

/// Each group begins with its first frame, a key frame, and nothing in it is missing before something that is there.
fn decodes(samples: &[Sample]) {
    let mut last = None;
    for sample in samples {
        let (group, frame, _) = words(sample);
        assert_eq!(sample.key, frame == 0);
        let follows = last.is_some_and(|(before, at)| group == before && frame == at + 1);
        assert!(frame == 0 || follows, "frame {frame} of group {group} after {last:?}");
        last = Some((group, frame));
    }
}

#[test]
fn a_server_that_was_away_costs_no_frame_that_it_still_has_and_times_go_on() {
    moqt_sim::for_each_seed(|sim| async move {
        let world = World::new(&sim);
        let mut publisher = Publisher::new(&sim, &["video"], 0);
        publisher.describe(&[video("video")]);
        let mut served = world.serve(&publisher);
        let (result, missing, file) = world
            .watch("--from 0 --reconnect 30s", async {
                for _ in 0..3 {
                    publisher.write(3).await;
                    let tracks = world.server(|server| server.tracks.clone());
                    world.down();
                    publisher.write(4).await;
                    world.server(|server| server.tracks = tracks);
                    world.up();
                }
                publisher.write(3).await;
                publisher.finish();
                world.sleep(20_000).await;
                served.clear();
            })
            .await;
        result.unwrap();
        let samples = samples(&file);
        decodes(&samples);
        let seen: Vec<_> = samples.iter().map(|sample| (words(sample).0, words(sample).1)).collect();
        let all: Vec<_> = (0..24).flat_map(|group| (0..FRAMES).map(move |frame| (group, frame))).collect();
        assert_eq!((seen, missing), (all, 0));
        assert!(samples.iter().all(|sample| sample.decode_time == words(sample).2 * 9 / 100));
    });
}

#[test]
fn what_a_server_forgot_is_a_gap_that_ends_with_a_whole_group() {
    moqt_sim::for_each_seed(|sim| async move {
        let world = World::new(&sim);
        let mut publisher = Publisher::new(&sim, &["video"], 0);
        publisher.describe(&[video("video")]);
        let _served = world.serve(&publisher);
        let mut again = Publisher::new(&sim, &["video"], 0);
        let (result, missing, file) = world
            .watch("--reconnect 30s", async {
                publisher.write(4).await;
                world.sleep(20).await;
                world.down();
                world.sleep(3000).await;
                // The same publisher goes on, at a server that knows nothing of what was before.
                again.describe(&[video("video")]);
                for _ in 0..11 {
                    again.tracks[0].append_group().finish().unwrap();
                }
                again.at = (11, 11 * FRAMES * STEP);
                std::mem::forget(world.serve(&again));
                world.up();
                again.write(6).await;
                again.finish();
            })
            .await;
        result.unwrap();
        let samples = samples(&file);
        decodes(&samples);
        let last = samples.last().map(words).unwrap();
        assert_eq!((last.0, last.1), (16, FRAMES - 1), "missing {missing}");
        assert!(samples.iter().all(|sample| sample.decode_time == words(sample).2 * 9 / 100));
    });
}

#[test]
fn a_publisher_that_was_started_again_goes_on_at_the_end_of_the_file() {
    moqt_sim::for_each_seed(|sim| async move {
        let world = World::new(&sim);
        let mut publisher = Publisher::new(&sim, &["video"], 7_000_000);
        publisher.describe(&[video("video")]);
        let _served = world.serve(&publisher);
        let mut again = Publisher::new(&sim, &["video"], 0);
        let (result, _, file) = world
            .watch("--reconnect 30s", async {
                publisher.write(12).await;
                world.sleep(20).await;
                world.down();
                world.sleep(1000).await;
                again.describe(&[video("video")]);
                std::mem::forget(world.serve(&again));
                world.up();
                again.write(14).await;
                again.finish();
            })
            .await;
        result.unwrap();
        let samples = samples(&file);
        decodes(&samples);
        let anew = samples.iter().position(|sample| words(sample).2 < 7_000_000).expect("it begins anew");
        let (before, after) = samples.split_at(anew);
        assert!(before.len() > 100 && after.len() > 20, "{} and {}", before.len(), after.len());
        assert_eq!(words(after.last().unwrap()).0, 13);
        let end = before.last().unwrap();
        assert_eq!(after[0].decode_time, end.decode_time + u64::from(end.duration));
        let spaced = |pair: &[Sample]| pair[1].decode_time - pair[0].decode_time;
        assert!(after.windows(2).all(|pair| spaced(pair) == STEP * 9 / 100), "{after:?}");
    });
}

#[test]
fn a_track_that_leaves_the_catalog_is_followed_by_one_that_is_decoded_alike() {
    moqt_sim::for_each_seed(|sim| async move {
        let world = World::new(&sim);
        let mut publisher = Publisher::new(&sim, &["video", "low"], 0);
        publisher.describe(&[video("video")]);
        let _served = world.serve(&publisher);
        let (result, missing, file) = world
            .watch("--from 0", async {
                publisher.write(3).await;
                let sound = Track {
                    sample_rate: Some(48_000),
                    channels: Some(1),
                    ..Track::new("sound", Kind::Audio, "pcm-s16")
                };
                // What is new beside it changes nothing.
                publisher.describe(&[video("video"), sound.clone(), described("high", 13)]);
                publisher.write(2).await;
                publisher.tracks.remove(0).finish();
                publisher.describe(&[sound, described("high", 13), video("low")]);
                publisher.write(4).await;
                publisher.finish();
            })
            .await;
        result.unwrap();
        let samples = samples(&file);
        decodes(&samples);
        let groups: Vec<_> =
            samples.iter().filter(|sample| sample.key).map(|sample| words(sample).0).collect();
        assert!(groups.starts_with(&[0, 1, 2, 3, 4]) && groups.ends_with(&[6, 7, 8]), "{groups:?}");
        assert_eq!(missing, 0);
    });
}

#[test]
fn a_track_that_is_coded_otherwise_ends_the_file_at_a_fragment_with_a_clear_error() {
    moqt_sim::for_each_seed(|sim| async move {
        let world = World::new(&sim);
        let mut publisher = Publisher::new(&sim, &["video"], 0);
        publisher.describe(&[described("video", 13)]);
        let _served = world.serve(&publisher);
        let (result, _, file) = world
            .watch("--from 0", async {
                publisher.write(3).await;
                // The same again, and then a new one.
                publisher.describe(&[described("video", 13)]);
                publisher.write(1).await;
                world.sleep(100).await;
                publisher.describe(&[described("video", 31)]);
                world.sleep(100).await;
                publisher.write(3).await;
            })
            .await;
        let error = format!("{:#}", result.unwrap_err());
        assert!(
            error.contains("\"video\" is coded otherwise now (avc1.42c00d before, avc1.42c01f now)"),
            "{error}"
        );
        let samples = samples(&file);
        decodes(&samples);
        assert_eq!(samples.len() as u64, 4 * FRAMES);
    });
}

#[test]
fn what_does_not_come_back_ends_with_what_was_lost_and_a_whole_file() {
    moqt_sim::for_each_seed(|sim| async move {
        let world = World::new(&sim);
        let mut publisher = Publisher::new(&sim, &["video"], 0);
        publisher.describe(&[video("video")]);
        let _served = world.serve(&publisher);
        let (result, _, file) = world
            .watch("--from 0 --reconnect 5s", async {
                publisher.write(3).await;
                world.sleep(100).await;
                world.down();
            })
            .await;
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.starts_with("lost: demo at moqf://relay:443/: "), "{error}");
        assert!(error.ends_with("not back within 5s (--reconnect)"), "{error}");
        assert_eq!(samples(&file).len() as u64, 3 * FRAMES);
    });
}
