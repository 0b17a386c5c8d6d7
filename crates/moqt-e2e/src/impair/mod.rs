//! A network between two ends that is as bad as wished: a UDP proxy with loss, delay, a rate and a queue for each
//! direction. It needs no rights, works for whatever speaks UDP, and loses the same packets for the same seed.
//!
//! [`Link`] decides and knows no clock; [`Proxy`] carries packets in threads of its own, because timers of async
//! runtimes are a millisecond coarse.

mod link;
mod proxy;

pub use link::{Counts, Fate, Link, LinkOptions};
pub use proxy::Proxy;
