//! What every load generator here has in common: shapes of load, frames that can be checked, tallies and reports.
//!
//! Nothing in it knows a protocol, so that a generator for another relay counts in the very same way.

pub mod clock;
pub mod frame;
pub mod knobs;
pub mod ledger;
pub mod meter;
pub mod pace;
pub mod report;
pub mod shape;
