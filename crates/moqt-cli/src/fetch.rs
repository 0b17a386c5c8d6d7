//! `moqt fetch`: one group becomes output.

use std::{io::IsTerminal as _, path::PathBuf, sync::Arc};

use anyhow::anyhow;
use clap::Args;
use moqt::{FetchOptions, FullTrackName, GroupError, Priority, Reason, Session};

use crate::{
    common::{ConnectArgs, Connector},
    output::Output,
    shutdown::{Exit, Shutdown},
    sub::{Format, Sink, write_group},
    ui::{Counts, Progress},
    waiting::Waiting,
};

/// What `moqt fetch` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// The track: parts joined by `/`
    track: FullTrackName,

    /// The number of the group; `moqt info` tells the latest
    #[arg(value_parser = number())]
    group: u64,

    /// The first frame, counted from 0
    #[arg(long, value_name = "FRAME", env = "MOQT_FETCH_FRAME", value_parser = number(), default_value_t = 0)]
    frame: u64,

    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE", env = "MOQT_FETCH_OUTPUT")]
    output: Option<PathBuf>,

    /// Among all that a session sends, higher is sent first
    #[arg(long, value_name = "0..255", env = "MOQT_FETCH_PRIORITY", default_value_t = 128)]
    priority: u8,

    /// What is written
    #[arg(long, value_name = "FORMAT", env = "MOQT_FETCH_FORMAT", default_value = "raw")]
    format: Format,
}

/// What the wire has numbers for.
fn number() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(..1 << 62)
}

/// Runs the command.
pub(crate) async fn run(args: FetchArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let connector = args.connect.connector()?;
    let output = Output::open(args.output.as_deref()).await?;
    let mut waiting = Waiting::new();
    let session = tokio::select! {
        biased;
        exit = shutdown.wanted() => return Ok(exit),
        session = connector.connect(&mut waiting) => session?,
    };
    let counts = Arc::new(Counts::default());
    let free = !(output.is_stdout() && std::io::stdout().is_terminal());
    let progress = Progress::start(format!("{} {}", args.track, args.group), &counts, free);
    let mut sink = Sink::new(output, args.format, Arc::clone(&counts));
    let result = tokio::select! {
        biased;
        exit = shutdown.wanted() => Ok(exit),
        fetched = fetch(&args, &connector, &session, &mut sink, &mut waiting) => fetched.map(|()| Exit::Done),
    };
    let flushed = sink.output.flush().await;
    connector.close(&session).await;
    drop(progress);
    let exit = result?;
    flushed?;
    Ok(exit)
}

async fn fetch(
    args: &FetchArgs,
    connector: &Connector,
    session: &Session,
    sink: &mut Sink,
    waiting: &mut Waiting,
) -> anyhow::Result<()> {
    let options = FetchOptions {
        priority: Priority(args.priority),
        first_frame: args.frame,
        ..FetchOptions::default()
    };
    let subscriber = session.subscriber();
    let asked = subscriber.fetch(args.track.clone(), args.group, options).await;
    let asked = asked.map_err(|error| connector.request_failed("no fetch", &args.track, &error))?;
    let mut group = asked.into_group();
    let end = write_group(&args.track, &mut group, args.frame, sink, waiting).await?;
    end.map_err(|error| {
        let group = format!("group {} of {} at {}", args.group, args.track, connector.url());
        match error {
            GroupError::Reset(Reason::NotFound) => {
                let held = format!("`moqt info {} {}` tells the latest", connector.url(), args.track);
                anyhow!("not held: {group}; {held}")
            }
            GroupError::Reset(Reason::OutOfRange) => {
                anyhow!("no frame {}: {group} has fewer frames", args.frame)
            }
            GroupError::Reset(reason) => anyhow!("not whole: {group}: {reason}"),
            other => anyhow!("not whole: {group}: {other}"),
        }
    })
}
