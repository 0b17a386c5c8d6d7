//! What both peers have in common: the lines, and connections.

#[path = "../../lines.rs"]
pub mod lines;

pub mod dial;
