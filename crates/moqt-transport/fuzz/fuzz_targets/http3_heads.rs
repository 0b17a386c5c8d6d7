//! Runs [`moqt_transport::fuzz::http3_heads`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqt_transport::fuzz::http3_heads(data));
