//! Runs [`moqt_transport::fuzz::http3_frames`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqt_transport::fuzz::http3_frames(data));
