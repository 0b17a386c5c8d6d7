//! Helpers for suites and measurements across crates: real programs as processes, a network that is as bad as wished,
//! and a relay without any protocol to measure against.

pub mod flood;
pub mod impair;
/// The very files of `moqt bench`: both generators count in the same way, and nothing may depend on that crate.
#[path = "../../moqt-cli/src/bench/measure/mod.rs"]
pub mod measure;
pub mod null;
mod process;

pub use process::{Folder, PATIENCE, Process, Relay, example, free_address, moqt};
