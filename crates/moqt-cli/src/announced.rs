//! `moqt announced`: tracks as they come and go.

use anyhow::anyhow;
use clap::{Args, builder::FalseyValueParser};
use moqt::{Announced, Namespace, Session};
use serde_json::json;

use crate::{
    common::{ConnectArgs, Connector, chain, prefix},
    output::Output,
    shutdown::{Exit, Shutdown},
    waiting::Waiting,
};

/// What `moqt announced` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct AnnouncedArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Only tracks whose first parts are these
    #[arg(default_value = "", value_parser = prefix, hide_default_value = true)]
    prefix: Namespace,

    /// End once all that are there are named
    #[arg(long, env = "MOQT_ANNOUNCED_ONCE", value_parser = FalseyValueParser::new())]
    once: bool,

    /// Print JSON, one object a line
    #[arg(long, env = "MOQT_ANNOUNCED_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: AnnouncedArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let connector = args.connect.connector()?;
    let mut waiting = Waiting::new();
    let session = tokio::select! {
        biased;
        exit = shutdown.wanted() => return Ok(exit),
        session = connector.connect(&mut waiting) => session?,
    };
    let result = tokio::select! {
        biased;
        exit = shutdown.wanted() => Ok(exit),
        watched = watch(&args, &connector, &session, waiting) => watched.map(|()| Exit::Done),
    };
    connector.close(&session).await;
    result
}

async fn watch(
    args: &AnnouncedArgs,
    connector: &Connector,
    session: &Session,
    mut waiting: Waiting,
) -> anyhow::Result<()> {
    let url = connector.url();
    let mut output = Output::open(None).await?;
    let subscriber = session.subscriber();
    let mut names = subscriber
        .announced(args.prefix.clone())
        .await
        .map_err(|error| anyhow!("cannot watch tracks: {url}: {}", chain(&error)))?;
    loop {
        let next = waiting.during("for the names of tracks", output.until(names.next())).await?;
        waiting.over();
        let Some(event) = next else {
            let reason = tokio::time::timeout(std::time::Duration::from_secs(1), session.closed()).await;
            let reason = reason.map_or("it names no more tracks".to_owned(), |error| chain(&error));
            return Err(anyhow!("watch ended: {url}: {reason}; start it again"));
        };
        output.write(line(&event, args.json).as_bytes()).await?;
        if args.once && event == Announced::CaughtUp {
            return output.flush().await;
        }
    }
}

fn line(event: &Announced, as_json: bool) -> String {
    let (sign, word, path) = match event {
        Announced::Active(path) => ('+', "active", Some(path)),
        Announced::Ended(path) => ('-', "ended", Some(path)),
        Announced::CaughtUp => ('=', "live", None),
    };
    match (as_json, path) {
        (true, Some(path)) => format!("{}\n", json!({"event": word, "path": path.to_string()})),
        (true, None) => format!("{}\n", json!({"event": word})),
        (false, Some(path)) => format!("{sign} {path}\n"),
        (false, None) => format!("{sign} {word}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_a_line() {
        let name: Namespace = "a/b%2Fc".parse().unwrap();
        assert_eq!(line(&Announced::Active(name.clone()), false), "+ a/b%2Fc\n");
        assert_eq!(line(&Announced::Ended(name.clone()), false), "- a/b%2Fc\n");
        assert_eq!(line(&Announced::CaughtUp, false), "= live\n");
        assert_eq!(line(&Announced::Active(name), true), "{\"event\":\"active\",\"path\":\"a/b%2Fc\"}\n");
        assert_eq!(line(&Announced::CaughtUp, true), "{\"event\":\"live\"}\n");
    }
}
