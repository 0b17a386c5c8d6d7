//! Files of ffmpeg as frames and back: what ffprobe says of both is the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod support;

use std::path::Path;

use bytes::Bytes;
use moqt_media::{
    catalog::{Broadcast, Format, Reader},
    fmp4::{Demuxer, Event, Muxer},
    groups::Grouper,
    loc::Frame,
};
use support::*;

/// A file as a catalog, and frames as bytes with their tracks and whether they begin a group.
fn frames(file: &[u8], piece: usize) -> (String, Vec<(usize, bool, Bytes)>) {
    let mut demuxer = Demuxer::new();
    let (mut catalog, mut grouper, mut frames) = (String::new(), None, Vec::new());
    for piece in file.chunks(piece) {
        demuxer.push(piece);
        while let Some(event) = demuxer.next().unwrap() {
            match event {
                Event::Movie(movie) => {
                    let broadcast = movie.to_broadcast();
                    catalog = Format::Msf.write(&broadcast).unwrap();
                    grouper = Some(Grouper::new(&movie, &broadcast));
                }
                Event::Sample(sample) => {
                    let grouped = grouper.as_mut().unwrap().place(sample).unwrap().unwrap();
                    frames.push((grouped.track, grouped.begins, grouped.frame.to_bytes()));
                }
            }
        }
    }
    demuxer.finish().unwrap();
    (catalog, frames)
}

fn written(broadcast: Broadcast, frames: &[(usize, bool, Bytes)]) -> Vec<u8> {
    let audio: Vec<bool> = broadcast.tracks.iter().map(|track| track.sample_rate.is_some()).collect();
    let mut muxer = Muxer::new(broadcast.tracks).unwrap();
    let mut out = muxer.header().to_vec();
    for (track, begins, bytes) in frames {
        let frame = Frame::parse(bytes).unwrap();
        out.extend_from_slice(&muxer.fragment(*track, *begins || audio[*track], &frame).unwrap());
    }
    out
}

fn comes_back_the_same(name: &str, options: &str) {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = folder(name);
    let (from, to) = (folder.join("in.mp4"), folder.join("out.mp4"));
    if encode(&from, 3, options).is_none() {
        return;
    }
    remux(&from, &to);
    let (before, after) = (packets(&from), packets(&to));
    assert_eq!(before.len(), 2);
    for (before, after) in before.iter().zip(&after) {
        assert!(before.len() >= 30, "{} packets", before.len());
        for (before, after) in before.iter().zip(after) {
            assert_eq!(after, before);
        }
    }
    assert_eq!(before, after);
    decodes(&to);
}

fn remux(from: &Path, to: &Path) {
    let file = std::fs::read(from).unwrap();
    let (catalog, all) = frames(&file, 4096);
    assert_eq!(frames(&file, file.len()).1, all, "whatever the pieces are");
    assert_eq!(frames(&file, 7).1, all, "whatever the pieces are");
    let broadcast = Reader::new(Format::Msf).frame(catalog.as_bytes()).unwrap();
    assert_eq!(broadcast.problems, []);
    std::fs::write(to, written(broadcast, &all)).unwrap();
}

#[test]
fn h264_with_pictures_out_of_order_and_aac() {
    comes_back_the_same("h264", &format!("{H264} -c:a aac {FLAGS}"));
}

#[test]
fn h264_and_aac_with_edit_lists() {
    comes_back_the_same("edits", &format!("{H264} -c:a aac {EDITS}"));
}

#[test]
fn vp9_and_opus() {
    comes_back_the_same("vp9", &format!("{VP9} -c:a libopus {FLAGS}"));
}

#[test]
fn av1_and_opus_with_edit_lists() {
    comes_back_the_same("av1", &format!("-c:v libsvtav1 -preset 12 -g 30 -c:a libopus {EDITS}"));
}

#[test]
fn h265_and_flac() {
    let h265 = "-c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=none:keyint=30";
    comes_back_the_same("h265", &format!("{h265} -c:a flac -strict -2 {FLAGS}"));
}

#[test]
fn a_fragment_of_a_whole_group_with_both_tracks_in_it() {
    comes_back_the_same("whole", &format!("{H264} -c:a aac -movflags cmaf"));
}

#[test]
fn absolute_places_and_no_default_base() {
    let flags = "-movflags empty_moov+frag_keyframe";
    comes_back_the_same("absolute", &format!("{H264} -c:a aac {flags}"));
    let flags = "-movflags empty_moov+frag_keyframe+omit_tfhd_offset";
    comes_back_the_same("relative", &format!("{H264} -c:a aac {flags}"));
}

#[test]
fn files_that_are_not_fragmented_say_what_to_do() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = folder("plain");
    for (flags, words) in [
        ("", "its data come before its header"),
        ("-movflags faststart", "its header holds samples"),
        ("-movflags frag_keyframe", "its header holds samples"),
    ] {
        let file = folder.join("in.mp4");
        encode(&file, 2, &format!("{H264} -c:a aac {flags}")).unwrap();
        let mut demuxer = Demuxer::new();
        demuxer.push(&std::fs::read(&file).unwrap());
        let error = loop {
            match demuxer.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error: {flags}"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains(words) && error.contains("-frag_duration 1"), "{error}");
    }
}
