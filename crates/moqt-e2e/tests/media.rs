//! Real input, byte for byte, through the real programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests may panic, and these run in real time"
)]

use std::{
    fs::File,
    process::{Command, Stdio},
};

use moqt_e2e::{Folder, Process, Relay};

/// Least size of the input.
const SIZE: u64 = 20 << 20;
/// The input lasts so long at its own pace, and is sent five times as fast.
const SECONDS: u64 = 20;
const SPEED: u64 = 5;

/// An MPEG transport stream of a moving picture and a tone, or as many bytes of noise where ffmpeg is missing.
fn input(path: &str) -> &'static str {
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-y"])
        .args(["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440"])
        .args([
            "-t",
            &SECONDS.to_string(),
            "-c:v",
            "mpeg2video",
            "-b:v",
            "9M",
            "-minrate",
            "9M",
            "-maxrate",
            "9M",
        ])
        .args(["-bufsize", "4M", "-g", "25", "-c:a", "mp2", "-muxrate", "9800k", "-f", "mpegts", path])
        .stdin(Stdio::null())
        .status();
    match made {
        Ok(status) if status.success() => "an MPEG transport stream",
        _ => {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            })
            .take((SIZE / 8 + 1) as usize)
            .flatten()
            .collect();
            std::fs::write(path, noise).unwrap();
            "generated data (no ffmpeg)"
        }
    }
}

#[test]
fn a_transport_stream_reaches_three_subscribers_byte_for_byte_and_a_late_one_from_a_group_on() {
    let folder = Folder::new("media");
    let source = folder.file("input.ts");
    let kind = input(&source);
    let sent = std::fs::read(&source).unwrap();
    assert!(sent.len() as u64 >= SIZE, "{kind} of {} bytes", sent.len());
    let rate = sent.len() as u64 * 8 / SECONDS * SPEED;

    let relay = Relay::start(&[]);
    let (web, quic) = (relay.pinned("https"), relay.pinned("moqf"));
    let sub = |[url, option, pin]: &[String; 3], output: &str| {
        Process::start(&["sub", url, "demo/video", option, pin, "--output", output])
    };
    let [b, c, late] = ["b.ts", "c.ts", "late.ts"].map(|name| folder.file(name));
    let [url, option, pin] = &web;
    let to_stdout = Process::start(&["sub", url, "demo/video", option, pin]);
    let mut subscribers = vec![to_stdout, sub(&web, &b), sub(&quic, &c)];
    // Nobody waits in silence: each says that there is no such track yet.
    for subscriber in &subscribers {
        subscriber.says("announced");
    }

    let [url, option, pin] = &quic;
    let rate = rate.to_string();
    let mut publisher = Process::start_with(
        &[
            "pub",
            url,
            "demo/video",
            option,
            pin,
            "--format",
            "raw",
            "--rate",
            &rate,
            "--wait-subscriber",
            "--start-after",
            "1s",
        ],
        File::open(&source).unwrap().into(),
    );

    // The late one joins when a good part has gone through.
    let joined = subscribers[0].writes(sent.len() / 4).len();
    subscribers.push(sub(&web, &late));

    assert!(publisher.ends().success(), "{}", publisher.stderr());
    for subscriber in &mut subscribers {
        assert!(subscriber.ends().success(), "{}", subscriber.stderr());
    }
    let received = [subscribers[0].stdout(), std::fs::read(b).unwrap(), std::fs::read(c).unwrap()];
    for (number, received) in received.iter().enumerate() {
        assert!(received == &sent, "{number}: {} of {} bytes, or other ones", received.len(), sent.len());
    }
    let received = std::fs::read(&late).unwrap();
    assert!(!received.is_empty() && received.len() < sent.len() - joined / 2, "{}", received.len());
    assert!(sent.ends_with(&received), "the late one's {} bytes are no suffix", received.len());

    if kind.starts_with("an MPEG") {
        let probe = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "stream=codec_type", "-of", "csv=p=0", &late])
            .output();
        if let Ok(probe) = probe {
            let streams = String::from_utf8_lossy(&probe.stdout);
            assert!(streams.contains("video") && streams.contains("audio"), "{streams}");
        }
    }
}
