//! Runs [`moqt_media::fuzz::msf`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqt_media::fuzz::msf(data));
