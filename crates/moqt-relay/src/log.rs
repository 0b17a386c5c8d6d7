//! What is logged: to stderr, at the level that the user wants.

use std::io::{IsTerminal as _, stderr};

use clap::builder::FalseyValueParser;
use tracing_subscriber::EnvFilter;

/// How much to log. `RUST_LOG` says it more precisely, unless one of these is given.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct LogArgs {
    /// Log what happens to sessions and requests
    #[arg(short, long, global = true, env = "MOQT_VERBOSE", value_parser = FalseyValueParser::new())]
    pub verbose: bool,
    /// Log errors only
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        env = "MOQT_QUIET",
        value_parser = FalseyValueParser::new()
    )]
    pub quiet: bool,
}

impl LogArgs {
    /// Starts logging; `default` is a level such as `info`. Does nothing where logging was started before.
    pub fn init(self, default: &str) {
        let filter = match (self.verbose, self.quiet) {
            // The transports below have much to say at this level.
            (true, _) => EnvFilter::new("info,moqt=debug"),
            (_, true) => EnvFilter::new("error"),
            _ => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default)),
        };
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .try_init();
    }
}
