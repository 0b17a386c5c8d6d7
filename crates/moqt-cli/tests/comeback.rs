//! Broadcasts over relays and publishers that are killed and started again, as processes of their own.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

#[path = "../../moqt-media/tests/support/mod.rs"]
mod ffmpeg;
mod support;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ffmpeg::{FLAGS, H264, decodes, encode, ffmpeg_is_here, packets};
use moqt_media::fmp4::{Demuxer, Event, Sample};
use support::*;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
    task::JoinSet,
};

/// A relay that can be killed.
struct Program {
    child: Child,
    address: String,
    _stderr: JoinSet<()>,
}

impl Program {
    async fn start(address: &str) -> Self {
        let line = format!("relay --dev --bind {address} --idle-timeout 2s");
        let mut child = moqt(&line).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = async {
            loop {
                let line = stderr.next_line().await.unwrap().expect("the relay says where it is");
                if let Some((_, rest)) = line.split_once("http://") {
                    return rest.split('/').next().unwrap().to_owned();
                }
            }
        };
        let address = within("the address of the relay", url).await;
        // Its pipe must not fill.
        let mut drain = JoinSet::new();
        drain.spawn(async move { while let Ok(Some(_)) = stderr.next_line().await {} });
        Self { child, address, _stderr: drain }
    }

    /// Kills it, and starts another one in its place.
    async fn again(mut self) -> Self {
        self.child.kill().await.unwrap();
        Self::start(&self.address).await
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// What is in a file that is being written, as far as it is whole.
fn samples(file: &Path) -> Vec<Sample> {
    let mut demuxer = Demuxer::new();
    demuxer.push(&std::fs::read(file).unwrap_or_default());
    let (mut headers, mut samples) = (0, Vec::new());
    while let Some(event) = demuxer.next().unwrap() {
        match event {
            Event::Movie(_) => headers += 1,
            Event::Sample(sample) => samples.push(sample),
        }
    }
    assert!(headers <= 1);
    samples
}

/// Waits until so many more samples of the first track are in the file; how many there are.
async fn grows(file: &Path, count: usize, child: &mut Child) -> usize {
    let of_first = || samples(file).iter().filter(|sample| sample.track == 0).count();
    let before = of_first();
    let growing = async {
        loop {
            let now = of_first();
            if now >= before + count {
                return now;
            }
            assert!(child.try_wait().unwrap().is_none(), "it has ended with {now} samples");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the file grows", growing).await
}

/// Names, a file to publish and one to write; `None` without ffmpeg.
fn files(name: &str) -> Option<(PathBuf, PathBuf)> {
    let folder = folder(name);
    let (from, to) = (folder.join("in.mp4"), folder.join("out.mp4"));
    (ffmpeg_is_here() && encode(&from, 4, &format!("{H264} -g 10 -c:a aac {FLAGS}")).is_some())
        .then_some((from, to))
}

/// ffprobe's number of a packet's field.
fn field(packet: &str, name: &str) -> f64 {
    let value = packet.split('|').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {packet}")).parse().unwrap()
}

/// The file decodes without a word; its times rise, and what follows a gap is a key frame. The lengths of the gaps.
fn plays(file: &Path) -> Vec<f64> {
    decodes(file);
    let streams = packets(file);
    assert_eq!(streams.len(), 2);
    let mut gaps = Vec::new();
    for stream in &streams {
        for pair in stream.windows(2) {
            let step = field(&pair[1], "dts_time") - field(&pair[0], "dts_time");
            assert!(step > 0.0, "{pair:?}");
        }
    }
    for pair in streams[0].windows(2) {
        let step = field(&pair[1], "dts_time") - field(&pair[0], "dts_time");
        if step > 0.1 {
            assert!(pair[1].contains("flags=K"), "{pair:?}");
            gaps.push(step);
        }
    }
    gaps
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_killed_twice_under_a_film_and_the_file_goes_on_and_decodes() {
    let Some((from, to)) = files("killed-relay") else { return };
    let mut relay = Program::start("127.0.0.1:0").await;
    let url = relay.url();
    let publish = format!(
        "pub {url} demo/film --format fmp4 --realtime --loop --reconnect 60s --input {}",
        from.display()
    );
    let publisher = moqt(&publish).spawn().unwrap();
    let watch = format!("sub {url} demo/film --format fmp4 --reconnect 60s --output {}", to.display());
    let mut subscriber = moqt(&watch).spawn().unwrap();
    grows(&to, 40, &mut subscriber).await;
    for _ in 0..2 {
        relay = relay.again().await;
        grows(&to, 60, &mut subscriber).await;
    }
    interrupt(&publisher).await;
    let (status, _, words) = end(publisher).await;
    assert_eq!((status, words.matches("connection lost: ").count()), (130, 2), "{words}");
    let (status, _, words) = end(subscriber).await;
    assert_eq!((status, words.matches("lost: demo/film at ").count()), (0, 2), "{words}");
    let gaps = plays(&to);
    println!("gaps of seconds, with two relays killed: {gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_whose_publisher_is_killed_and_started_again_goes_on_at_the_end_of_the_file() {
    let Some((from, to)) = files("killed-publisher") else { return };
    let relay = Program::start("127.0.0.1:0").await;
    let url = relay.url();
    let publish =
        || moqt(&format!("pub {url} demo/film --format fmp4 --realtime --loop --input {}", from.display()));
    let mut publisher = publish().spawn().unwrap();
    let watch = format!("sub {url} demo/film --format fmp4 --reconnect 60s --output {}", to.display());
    let mut subscriber = moqt(&watch).spawn().unwrap();
    let mut words = BufReader::new(subscriber.stderr.take().unwrap()).lines();
    let before = grows(&to, 150, &mut subscriber).await;
    publisher.kill().await.unwrap();
    let mut says = async |what: &str| {
        let says = async {
            while let Some(line) = words.next_line().await.unwrap() {
                if line.contains(what) {
                    return true;
                }
            }
            false
        };
        assert!(within("a word of the subscriber", says).await, "it does not say {what}");
    };
    says("lost: demo/film at ").await;
    let publisher = publish().spawn().unwrap();
    says("demo/film has begun anew").await;
    grows(&to, 60, &mut subscriber).await;
    interrupt(&publisher).await;
    assert_eq!(end(publisher).await.0, 130);
    assert_eq!(end(subscriber).await.0, 0);
    let gaps = plays(&to);
    // At the end of sound and picture, of which the last that was on its way is lost.
    assert!(gaps.len() <= 1 && gaps.iter().all(|gap| *gap < 1.0), "{gaps:?}");
    println!("{before} pictures, and {} with those after", packets(&to)[0].len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_source_is_killed_and_started_again_and_the_file_goes_on_in_its_time() {
    let to = folder("killed-source").join("out.mp4");
    let relay = Program::start("127.0.0.1:0").await;
    let url = relay.url();
    let publish = || moqt(&format!("pub {url} demo/test --format test"));
    let mut publisher = publish().spawn().unwrap();
    let watch = format!("sub {url} demo/test --format fmp4 --reconnect 60s --output {}", to.display());
    let mut subscriber = moqt(&watch).spawn().unwrap();
    grows(&to, 60, &mut subscriber).await;
    publisher.kill().await.unwrap();
    let publisher = publish().spawn().unwrap();
    grows(&to, 60, &mut subscriber).await;
    interrupt(&publisher).await;
    assert_eq!(end(publisher).await.0, 130);
    let (status, _, words) = end(subscriber).await;
    assert_eq!(status, 0, "{words}");
    let samples = samples(&to);
    for track in 0..2 {
        let of_it: Vec<_> = samples.iter().filter(|sample| sample.track == track).collect();
        assert!(of_it.len() > 100, "{} samples of track {track}", of_it.len());
        assert!(of_it.windows(2).all(|pair| pair[0].decode_time < pair[1].decode_time));
        let is_whole = |sample: &&Sample| match track {
            0 => sample.payload.starts_with(&[0xff, 0xd8]) && sample.payload.ends_with(&[0xff, 0xd9]),
            _ => sample.payload.len() == 1920,
        };
        assert!(of_it.iter().all(is_whole));
    }
}
