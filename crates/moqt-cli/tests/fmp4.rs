//! Fragmented MP4 from ffmpeg through a relay and back, with `moqt pub` and `moqt sub`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

#[path = "../../moqt-media/tests/support/mod.rs"]
mod ffmpeg;
mod support;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use ffmpeg::{EDITS, FLAGS, H264, VP9, decodes, encode, ffmpeg_is_here, packets};
use moqt::{Reason, Retention, SubscribeOptions, TrackInfo, TrackProducer, Tracks};
use moqt_media::{
    catalog::Format,
    fmp4::{Demuxer, Event},
    groups::{Grouped, Grouper},
};
use support::*;
use tokio::io::AsyncReadExt as _;

/// A file through the relay: what ffprobe says of each packet is the same, and it decodes.
async fn comes_through(name: &str, catalog: &str, options: &str) {
    let folder = folder(name);
    let (from, to) = (folder.join("in.mp4"), folder.join("out.mp4"));
    if !ffmpeg_is_here() || encode(&from, 4, options).is_none() {
        return;
    }
    let relay = TestRelay::start();
    let watch = format!("demo/{name} --format fmp4 --from 0 --strict --output {}", to.display());
    let subscriber = relay.moqt("sub", &watch).spawn().unwrap();
    let publish =
        format!("demo/{name} --format fmp4 --catalog {catalog} --wait-subscriber --input {}", from.display());
    assert_eq!(run(relay.moqt("pub", &publish)).await, (0, vec![], String::new()));
    assert_eq!(end(subscriber).await, (0, vec![], String::new()));
    let (before, after) = (packets(&from), packets(&to));
    assert_eq!((before.len(), before[0].len()), (2, 120));
    assert!(before == after, "the packets differ: {} and {}", from.display(), to.display());
    decodes(&to);
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_and_aac_come_through_as_they_were() {
    comes_through("h264", "hang", &format!("{H264} -c:a aac {FLAGS}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_and_aac_with_edit_lists_come_through_as_they_were() {
    comes_through("edits", "msf", &format!("{H264} -c:a aac {EDITS}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp9_and_opus_come_through_as_they_were() {
    comes_through("vp9", "common,msf", &format!("{VP9} -c:a libopus {FLAGS}")).await;
}

/// The begin of what comes, up to so many bytes.
async fn begin_of(relay: &TestRelay, what: &str, bytes: u64, to: &Path) {
    let (child, mut stdout) = watched(relay.moqt("sub", what));
    let mut begin = vec![0; usize::try_from(bytes).unwrap()];
    within("the begin of a broadcast", stdout.read_exact(&mut begin)).await.unwrap();
    drop((child, stdout));
    // Up to the last whole fragment.
    let mut end = 0;
    while let Some(size) = begin.get(end..end + 8) {
        let size = u32::from_be_bytes(size[..4].try_into().unwrap()) as usize;
        let mdat = begin.get(end..end + size).is_some();
        if !mdat {
            break;
        }
        end += size;
    }
    let whole = begin[..end].windows(4).rposition(|kind| kind == b"moof").unwrap() - 4;
    std::fs::write(to, &begin[..whole]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_begins_with_a_key_frame_and_decodes_from_there() {
    let folder = folder("late");
    let (from, to) = (folder.join("in.mp4"), folder.join("out.mp4"));
    if !ffmpeg_is_here() || encode(&from, 4, &format!("{H264} -c:a aac {FLAGS}")).is_none() {
        return;
    }
    let relay = TestRelay::start();
    let publish = format!("demo/late --format fmp4 --realtime --loop --input {}", from.display());
    let publisher = relay.moqt("pub", &publish).spawn().unwrap();
    // In the middle of a later group.
    let (client, url) = relay.client();
    let session = within("a session", client.connect(&url)).await.unwrap();
    let joined = async {
        loop {
            let name = "demo/late/video".parse().unwrap();
            let asked = session.subscriber().subscribe(name, SubscribeOptions::default()).await;
            let Ok(subscription) = asked else { continue };
            let mut track = subscription.into_track();
            while let Some(mut group) = track.next_group().await.unwrap() {
                for _ in 0..10 {
                    group.read_frame().await.unwrap().unwrap();
                }
                if group.sequence() > 0 {
                    return;
                }
            }
        }
    };
    within("the middle of a group", joined).await;
    // More than what is left of the file: over its end and on.
    let len = std::fs::metadata(&from).unwrap().len();
    begin_of(&relay, "demo/late --format fmp4", len + 20_000, &to).await;
    let streams = packets(&to);
    let first = &streams[0][0];
    assert!(first.contains("flags=K"), "{first}");
    assert!(!first.contains("pts_time=0.000000"), "it was late: {first}");
    let keys = streams[0].iter().filter(|packet| packet.contains("flags=K")).count();
    assert!(keys > 3, "{keys} key frames");
    decodes(&to);
    drop(publisher);
}

/// The frames of a file by groups and tracks, and its catalog.
fn groups(file: &[u8]) -> (String, Vec<Vec<Vec<Bytes>>>) {
    let mut demuxer = Demuxer::new();
    demuxer.push(file);
    let (mut catalog, mut grouper, mut tracks) = (String::new(), None, Vec::new());
    while let Some(event) = demuxer.next().unwrap() {
        match event {
            Event::Movie(movie) => {
                let broadcast = movie.to_broadcast();
                catalog = Format::Hang.write(&broadcast).unwrap();
                tracks = vec![Vec::new(); broadcast.tracks.len()];
                grouper = Some(Grouper::new(&movie, &broadcast));
            }
            Event::Sample(sample) => {
                let placed = grouper.as_mut().unwrap().place(sample).unwrap();
                let Grouped { track, begins, frame, .. } = placed.unwrap();
                if begins {
                    tracks[track].push(Vec::new());
                }
                tracks[track].last_mut().unwrap().push(frame.to_bytes());
            }
        }
    }
    (catalog, tracks)
}

/// A broadcast from this process: its catalog, and a track `video` to be written.
async fn published(relay: &TestRelay, catalog: &str) -> (moqt::Session, TrackProducer, Vec<moqt::Published>) {
    let tracks = Tracks::new();
    let track = |name: &str| {
        let name = format!("demo/own/{name}").parse().unwrap();
        TrackProducer::new(name, TrackInfo::default(), Retention::default())
    };
    let (description, video) = (track("catalog.json"), track("video"));
    let mut group = description.append_group();
    group.write_frame(catalog.to_owned()).unwrap();
    group.finish().unwrap();
    let kept = vec![tracks.publish(description.consume()).unwrap(), tracks.publish(video.consume()).unwrap()];
    let (client, url) = relay.client();
    let session = within("a session", client.connect_with(&url, Arc::new(tracks))).await.unwrap();
    // Its end would be that of the catalog.
    std::mem::forget(description);
    (session, video, kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_gap_the_file_goes_on_with_the_next_group_and_decodes() {
    let folder = folder("gap");
    let (from, to) = (folder.join("in.mp4"), folder.join("out.mp4"));
    if !ffmpeg_is_here() || encode(&from, 4, &format!("{H264} -c:a aac {FLAGS}")).is_none() {
        return;
    }
    let (catalog, tracks) = groups(&std::fs::read(&from).unwrap());
    let video = &tracks[0];
    assert_eq!(video.iter().map(Vec::len).collect::<Vec<_>>(), [30, 30, 30, 30]);
    let relay = TestRelay::start();
    let (_session, track, _kept) = published(&relay, &catalog).await;
    let watch = format!("demo/own --format fmp4 --audio none --from 0 --strict --output {}", to.display());
    let subscriber = relay.moqt("sub", &watch).spawn().unwrap();
    // One group whole, one cut after ten frames, one that does not come, one whole.
    let (client, url) = relay.client();
    let other = within("a session", client.connect(&url)).await.unwrap();
    let from_0 = SubscribeOptions { first: Some(0), ..SubscribeOptions::default() };
    within("a subscriber", track.used()).await;
    let name = "demo/own/video".parse().unwrap();
    let other = within("a subscription", other.subscriber().subscribe(name, from_0)).await.unwrap();
    let mut other = other.into_track();
    for (at, frames) in video.iter().enumerate() {
        if at == 2 {
            track.gap(2, 2, Reason::NotFound);
            continue;
        }
        let mut group = track.create_group(at as u64).unwrap();
        for frame in frames.iter().take(if at == 1 { 10 } else { 30 }) {
            group.write_frame(frame.clone()).unwrap();
        }
        if at == 1 {
            let arrived = async {
                loop {
                    let mut arrived = other.next_group().await.unwrap().unwrap();
                    if arrived.sequence() == 1 {
                        for _ in 0..10 {
                            arrived.read_frame().await.unwrap().unwrap();
                        }
                        return;
                    }
                }
            };
            within("what was written has arrived", arrived).await;
            group.abort(Reason::Cancelled);
        } else {
            group.finish().unwrap();
        }
    }
    track.finish();
    let (status, _, words) = end(subscriber).await;
    assert_eq!(status, 1, "{words}");
    assert!(words.contains("gap: group 1 of demo/own/video is missing"), "{words}");
    assert!(words.contains("groups missing: 2 of demo/own"), "{words}");
    let stream = &packets(&to)[0];
    assert!((60..=70).contains(&stream.len()), "{} packets", stream.len());
    assert!(stream[stream.len() - 30].contains("flags=K"));
    decodes(&to);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_media_ends_with_what_to_do() {
    let folder = folder("wrong");
    let relay = TestRelay::start();
    let file = folder.join("in.mp4");
    for (input, words) in [
        (b"this is a text and no film".to_vec(), "this is no MP4: it begins with this is"),
        (b"\0\0\0\x10ftypiso6\0\0\0\0\0\0\0\x08moof".to_vec(), "it comes before the header moov"),
        (b"\0\0\0\x10ftypiso6\0\0\0\0\x7f\xff\xff\xffmoov".to_vec(), "a moov of 2147483647"),
        (b"\0\0\0\x10ftypiso6\0\0\0\0\0\0\0\x20moov".to_vec(), "the input ends within a box"),
        (vec![], "the input ends within its header"),
    ] {
        std::fs::write(&file, input).unwrap();
        let (status, _, said) =
            run(relay.moqt("pub", &format!("demo/wrong --format fmp4 --input {}", file.display()))).await;
        assert_eq!((status, said.lines().count()), (1, 1), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_and_frames_that_cannot_be_read_end_with_a_clear_line() {
    let many = format!(
        r#"{{"video":{{"renditions":{{{}}}}}}}"#,
        (0..100_000).map(|at| format!(r#""{at}":{{"codec":"vp8"}}"#)).collect::<Vec<_>>().join(",")
    );
    let vp8 = r#"{"video":{"renditions":{"video":{"codec":"vp8","container":{"kind":"loc"}}}}}"#;
    for (catalog, words) in [
        (many.as_str(), "where 1048576 are the most"),
        (&vp8[..30], "the catalog is no JSON: EOF"),
        ("[]", "this is no hang catalog"),
        (&vp8.replace("vp8", "theora"), "codec theora has no form in MP4 here"),
        (&vp8.replace("vp8", "avc1.42c00d"), "its catalog has no description of the codec"),
        (&vp8.replace("loc", "zzz"), "packaged as zzz, which is not read here"),
        (vp8, "a frame cannot be read: the frame has no whole block"),
    ] {
        let relay = TestRelay::start();
        let (_session, track, _kept) = published(&relay, catalog).await;
        let mut group = track.append_group();
        group.write_frame(Bytes::from_static(b"\x05\x10")).unwrap();
        let (status, _, said) = run(relay.moqt("sub", "demo/own --format fmp4 --from 0")).await;
        assert_eq!(status, 1, "{said}");
        assert!(said.contains(words), "{said}");
    }
}
