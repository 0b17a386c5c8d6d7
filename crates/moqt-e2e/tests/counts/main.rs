//! What forwarding costs, in things that can be counted whatever the machine is busy with: allocations, copies, wakes,
//! writes and system calls for each frame and subscriber.
//!
//! `model` counts in the tracks alone, `driver` on the whole way from a stream that comes in to those that go out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod driver;
mod model;
