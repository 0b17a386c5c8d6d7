//! Replays the committed fuzz corpora: what once broke a promise keeps it from then on.

#![cfg(all(feature = "webtransport", feature = "conformance"))]

use std::{fs, path::Path};

use moqt_transport::fuzz::TARGETS;

#[test]
fn every_corpus_file_keeps_the_promises_of_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let folder = corpora.join(name);
        let files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            eprintln!("{}", file.display());
            target(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for entry in fs::read_dir(corpora).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|(target, _)| name == *target), "no target is called {name:?}");
    }
}

#[test]
fn any_bytes_at_all_keep_the_promises() {
    // Bytes that mean something here, in any order.
    let words: [&[u8]; 16] = [
        &[0x00],
        &[0x01],
        &[0x04],
        &[0x07],
        &[0x21],
        &[0x40, 0x41],
        &[0x40, 0x54],
        &[0x68, 0x43],
        &[0x78, 0xae],
        &[0x05],
        &[0xff],
        &[0xc0, 0, 0, 0, 0, 0, 0, 9],
        &[0x51],
        &[0x27],
        b"a\"",
        &[0xd1],
    ];
    let mut state = 1_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for _ in 0..20_000 {
        let mut data = vec![random(256) as u8];
        for _ in 0..random(20) {
            data.extend_from_slice(words.get(random(words.len())).unwrap());
        }
        TARGETS.iter().for_each(|(_, target)| target(&data));
    }
}
