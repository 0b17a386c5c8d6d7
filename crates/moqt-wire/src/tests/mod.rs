//! Tests over every message in every version.

mod properties;
mod streams;
mod vectors;

use std::path::{Path, PathBuf};

use crate::version::Version;

fn vectors_of(version: Version) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(version.spec().name)
}

/// `SubscribeGap` is `subscribe_gap` where files are concerned.
fn file_name(message: &str) -> String {
    let mut name = String::new();
    for character in message.chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(character.to_lowercase());
    }
    name + ".json"
}
