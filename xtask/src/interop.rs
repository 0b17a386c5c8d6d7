//! Runs against peers that no one here wrote.

pub(crate) mod browser;

use anyhow::Result;
use clap::ValueEnum;

/// What is wanted of a run.
#[derive(clap::Args, Debug)]
pub(crate) struct Ask {
    /// The peer to run against
    #[arg(value_enum)]
    peer: Peer,
    /// Only cases with this in their names
    #[arg(long, value_name = "TEXT", default_value = "")]
    case: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// Chromium, by the client in examples/browser
    Browser,
}

/// Runs what is asked for.
pub(crate) fn run(ask: &Ask) -> Result<()> {
    match ask.peer {
        Peer::Browser => browser::run(&ask.case),
    }
}
