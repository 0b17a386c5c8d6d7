//! Runs [`moqt_wire::fuzz::names`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moqt_wire::fuzz::names(data));
