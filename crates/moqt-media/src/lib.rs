#![doc = include_str!("../README.md")]
//!

pub mod catalog;
pub mod codec;
pub mod fmp4;
pub mod fuzz;
pub mod groups;
pub mod loc;
pub mod test_source;
