//! `moqt info`: what is known of a track.

use std::fmt::Write as _;

use clap::{Args, builder::FalseyValueParser};
use moqt::{FullTrackName, Info};
use serde_json::json;

use crate::{
    common::ConnectArgs,
    output,
    shutdown::{Exit, Shutdown},
    waiting::Waiting,
};

/// What `moqt info` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// The track: parts joined by `/`
    track: FullTrackName,

    /// Print one JSON object
    #[arg(long, env = "MOQT_INFO_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: InfoArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let connector = args.connect.connector()?;
    let mut waiting = Waiting::new();
    let session = tokio::select! {
        biased;
        exit = shutdown.wanted() => return Ok(exit),
        session = connector.connect(&mut waiting) => session?,
    };
    let subscriber = session.subscriber();
    let asking = subscriber.info(args.track.clone());
    let what = format!("for an answer about {}", args.track);
    let result = tokio::select! {
        biased;
        exit = shutdown.wanted() => Ok(exit),
        info = waiting.during(&what, asking) => match info {
            Ok(info) => output::print(show(&args.track, &info, args.json).as_bytes()).await.map(|()| Exit::Done),
            Err(error) => Err(connector.request_failed("no info", &args.track, &error)),
        }
    };
    connector.close(&session).await;
    result
}

fn show(track: &FullTrackName, info: &Info, as_json: bool) -> String {
    let (priority, order) = (info.track.priority.0, info.track.order.to_string());
    let max_age = info.track.max_age;
    if as_json {
        let milliseconds = max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let object = json!({
            "track": track.to_string(),
            "priority": priority,
            "order": order,
            "latest": info.latest,
            "max_age_ms": milliseconds,
        });
        return format!("{object}\n");
    }
    let latest = info.latest.map_or("none yet".to_owned(), |latest| latest.to_string());
    let mut text = format!("track    {track}\npriority {priority}\norder    {order}\nlatest   {latest}\n");
    if let Some(age) = max_age {
        let _ = writeln!(text, "max age  {}", humantime::format_duration(age));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use moqt::{Priority, TrackInfo};

    use super::*;

    #[test]
    fn facts_are_shown_for_people_and_for_programs() {
        let track: FullTrackName = "demo/a%2Fb".parse().unwrap();
        let known = TrackInfo {
            priority: Priority(7),
            max_age: Some(Duration::from_secs(2)),
            ..TrackInfo::default()
        };
        let mut info = Info { track: known, latest: Some(42) };
        let text = show(&track, &info, false);
        assert_eq!(text, "track    demo/a%2Fb\npriority 7\norder    default\nlatest   42\nmax age  2s\n");
        (info.latest, info.track.max_age) = (None, None);
        let json: serde_json::Value = serde_json::from_str(&show(&track, &info, true)).unwrap();
        let expected = json!({"track": "demo/a%2Fb", "priority": 7, "order": "default", "latest": null, "max_age_ms": null});
        assert_eq!(json, expected);
    }
}
