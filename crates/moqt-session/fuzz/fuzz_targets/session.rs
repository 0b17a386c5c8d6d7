//! Runs a whole session against arbitrary bytes under libFuzzer.
#![no_main]

#[path = "../body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::session(data));
