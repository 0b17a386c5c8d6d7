#![doc = include_str!("../README.md")]
//!

pub mod catalog;
pub mod loc;
pub mod test_source;
