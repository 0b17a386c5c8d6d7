//! A whole session against arbitrary bytes: the committed corpus, and more from seeds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

use std::sync::atomic::{AtomicBool, Ordering};

#[path = "../fuzz/body.rs"]
mod body;

static PANICKED: AtomicBool = AtomicBool::new(false);

/// A panic in the session's own task would otherwise go unnoticed.
fn watch_for_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.store(true, Ordering::Relaxed);
        before(panic);
    }));
}

#[test]
fn a_session_survives_every_input_of_the_corpus_and_a_thousand_more() {
    watch_for_panics();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/session");
    let mut inputs: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!inputs.is_empty());
    let mut rng = moqt_sim::Rng::new(0x5e55_1044);
    for _ in 0..1000 {
        // The first bytes of what a peer would say, then noise.
        let mut input = Vec::new();
        for _ in 0..4 {
            input.extend_from_slice(&rng.next_u64().to_le_bytes());
            input.extend_from_slice(&[0, 2, 0, 4, (rng.next_u64() % 5) as u8]);
            input.extend_from_slice(&rng.next_u64().to_le_bytes()[..3]);
        }
        inputs.push(input);
    }
    for (number, input) in inputs.iter().enumerate() {
        body::session(input);
        assert!(!PANICKED.load(Ordering::Relaxed), "input {number}: {input:02x?}");
    }
}
