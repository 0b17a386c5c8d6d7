//! The relay alone, as a program.

use std::process::ExitCode;

use clap::Parser;
use moqt_relay::{Args, Interrupted, LogArgs};

/// A relay for live Media over QUIC tracks.
#[derive(Parser)]
#[command(name = "moqt-relay", version)]
struct Command {
    #[command(flatten)]
    relay: Args,
    #[command(flatten)]
    log: LogArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command { relay, log } = Command::parse();
    log.init("info");
    match moqt_relay::run(relay).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<Interrupted>() {
                eprintln!("error: {error:#}");
            }
            moqt_relay::exit_code(&error).into()
        }
    }
}
