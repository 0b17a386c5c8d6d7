//! `moqt bench`: load on a relay, and what became of it.

mod join;
mod measure;
mod names;
mod publish;
mod read;
mod run;
mod stalled;
#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::{Args, ValueEnum};
use moqt::{FullTrackName, Namespace};

use self::measure::{knobs::Knobs, shape::Order};
pub(crate) use self::{measure::knobs::shapes_help, run::run};
use crate::{common::ConnectArgs, units};

/// What `moqt bench` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    knobs: Knobs,

    /// Which side to be. Two processes on one machine are two sides of one load, with the same shape and name
    #[arg(long, value_name = "ROLE", env = "MOQT_BENCH_ROLE", default_value = "both")]
    role: Role,

    /// Names of tracks begin with this [default: bench, and for both sides in one a number after it]
    #[arg(long, value_name = "NAME", env = "MOQT_BENCH_NAME")]
    name: Option<Namespace>,

    /// Alone, a publisher begins so long after somebody has asked for each of its tracks
    #[arg(long, value_name = "DURATION", env = "MOQT_BENCH_START_AFTER", value_parser = units::duration, default_value = "1s")]
    start_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Publish and subscribe, on sessions of their own
    Both,
    /// Publish to subscribers in other processes
    Publish,
    /// Subscribe to publishers in other processes
    Subscribe,
}

impl Role {
    fn publishes(self) -> bool {
        self != Self::Subscribe
    }

    fn subscribes(self) -> bool {
        self != Self::Publish
    }
}

/// The name of one track of one publisher.
fn track_name(prefix: &Namespace, publisher: usize, track: &str) -> Result<FullTrackName, moqt::NameError> {
    format!("{prefix}/{publisher}/{track}").parse()
}

impl From<Order> for moqt::GroupOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Default => Self::Default,
            Order::Asc => Self::Ascending,
            Order::Desc => Self::Descending,
        }
    }
}
