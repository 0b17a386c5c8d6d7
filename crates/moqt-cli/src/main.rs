//! The `moqt` command: publish, subscribe, relay.

mod announced;
mod args;
mod bench;
mod cert;
mod clock;
mod common;
mod fetch;
mod info;
mod input;
mod media;
mod output;
mod publish;
mod served;
mod shutdown;
mod sub;
mod ui;
mod units;
mod waiting;
mod window;

use std::process::ExitCode;

use args::{Cli, Verb};
use clap::{CommandFactory as _, FromArgMatches as _};
use shutdown::{Exit, Shutdown};

fn main() -> ExitCode {
    let matches = args::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    common::start_logs(cli.log, cli.verb.default_level());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ui::error(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // On one of the runtime's threads: what wakes and is woken beside the sessions would cross over to this one each time.
    let ran = runtime.block_on(runtime.spawn(run(cli.verb)));
    let result = ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    ui::clear();
    // A thread that still reads a terminal must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.code(),
        Err(error) if error.is::<output::Closed>() => ExitCode::SUCCESS,
        Err(error) if error.is::<moqt_relay::Interrupted>() => moqt_relay::exit_code(&error).into(),
        Err(error) => {
            ui::error(&format!("{error:#}"));
            moqt_relay::exit_code(&error).into()
        }
    }
}

async fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Relay(args) => moqt_relay::run(args).await.map(|()| Exit::Done),
        Verb::Pub(args) => publish::run(args, Shutdown::listen()).await,
        Verb::Sub(args) => sub::run(args.into(), Shutdown::listen()).await,
        Verb::Fetch(args) => fetch::run(args, Shutdown::listen()).await,
        Verb::Info(args) => info::run(args, Shutdown::listen()).await,
        Verb::Announced(args) => announced::run(args, Shutdown::listen()).await,
        Verb::Clock(args) => clock::run(args.role, Shutdown::listen()).await,
        Verb::Bench(args) => bench::run(*args, Shutdown::listen()).await,
        Verb::Cert(args) => cert::run(&args).await,
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "moqt", &mut script);
            output::print(&script).await.map(|()| Exit::Done)
        }
    }
}
