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

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or_default() % limit.max(1)
    }

    /// A few bytes of it changed, taken out, doubled, or set to what sizes and counts break at.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(16)).min(bytes.len());
            match self.below(6) {
                0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.splice(at..at, bytes.get(at..end).unwrap_or_default().to_vec()).for_each(drop),
                3 => bytes.truncate(at),
                4 => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0xff),
                _ => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0),
            }
        }
    }
}

/// `FUZZ_ROUNDS` makes it more than a glance.
#[test]
fn what_is_near_a_corpus_file_keeps_the_promises_too() {
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let files = fs::read_dir(corpora.join(name)).expect("a folder can be listed");
        let mut files: Vec<_> = files.map(|entry| entry.expect("a folder can be listed").path()).collect();
        files.sort();
        for file in files {
            let seed = fs::read(&file).expect("a corpus file can be read");
            for round in 0..rounds {
                let mut bytes = seed.clone();
                random.mutate(&mut bytes);
                let kept = bytes.clone();
                if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                    let broken = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("broken-{name}"));
                    fs::write(&broken, kept).expect("the input can be kept");
                    panic!("{name}, {}, round {round}: the input is {}", file.display(), broken.display());
                }
            }
        }
    }
}
