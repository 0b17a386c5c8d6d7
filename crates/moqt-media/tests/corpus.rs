//! Replays the committed fuzz corpora: what once broke a promise keeps it from then on.

use std::fs;
use std::path::Path;

use moqt_media::fuzz::TARGETS;

#[test]
fn every_corpus_file_keeps_the_promises_of_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let folder = corpora.join(name);
        let files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("a folder can be listed").path())
            .collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            eprintln!("{}", file.display());
            target(&fs::read(&file).expect("a corpus file can be read"));
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for entry in fs::read_dir(corpora).expect("there are corpora") {
        let name = entry.expect("a folder can be listed").file_name();
        assert!(TARGETS.iter().any(|(target, _)| name == *target), "no target is called {name:?}");
    }
}
