//! `moqt clock`: the field's hello world, a group a minute and a frame a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use moqt::{FullTrackName, GroupProducer, TrackInfo, TrackProducer};

use crate::{
    common::ConnectArgs,
    publish,
    served::Served,
    shutdown::{Exit, Shutdown},
    sub,
    waiting::Waiting,
};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Role {
    /// Publish the time (UTC): a group a minute, that begins with the date; a frame a second
    Pub(ClockRoleArgs),
    /// Print the time as it comes, a line a second
    Sub(ClockRoleArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ClockRoleArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,

    /// The track: parts joined by `/`
    #[arg(default_value = "clock")]
    pub(crate) track: FullTrackName,
}

/// A clock has no options for it.
const TIMES: publish::Times =
    publish::Times { linger: Duration::from_secs(2), reconnect: Duration::from_secs(10) };

/// Runs the command.
pub(crate) async fn run(role: Role, shutdown: Shutdown) -> anyhow::Result<Exit> {
    match role {
        Role::Pub(args) => publish(args, shutdown).await,
        Role::Sub(args) => sub::run(sub::Options::clock(args), shutdown).await,
    }
}

async fn publish(args: ClockRoleArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let connector = args.connect.steady()?;
    let served = Served::new();
    let track = served.add(args.track, TrackInfo::default());
    let mut waiting = Waiting::new();
    let Some(link) = publish::connect(&connector, &served, TIMES, &shutdown, &mut waiting).await? else {
        return Ok(shutdown.wanted().await);
    };
    publish::until_end(&connector, &served, &link, TIMES, &shutdown, tick(&track)).await
}

/// Writes the time until it cannot.
async fn tick(track: &TrackProducer) -> anyhow::Result<()> {
    let mut group: Option<GroupProducer> = None;
    let mut last: Option<u64> = None;
    loop {
        let now = now();
        let rest = Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into());
        // A clock that is set back shows nothing until it is where it was.
        if last.is_some_and(|last| last >= now.as_secs()) {
            tokio::time::sleep(rest).await;
            continue;
        }
        last = Some(now.as_secs());
        let minute = Minute::of(now);
        let mut current = match group.take() {
            Some(group) if group.sequence() >= minute.number => group,
            before => {
                if let Some(before) = before {
                    before.finish()?;
                }
                let mut begun = track.create_group(minute.number)?;
                begun.write_frame(minute.date)?;
                begun
            }
        };
        current.write_frame(format!("{:02}", now.as_secs() % 60))?;
        group = Some(current);
        tokio::time::sleep(rest).await;
    }
}

/// A minute and what its group begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Minute {
    /// Since 1970.
    number: u64,
    /// The date, to the minute.
    date: String,
}

impl Minute {
    fn of(since_1970: Duration) -> Self {
        let seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
        let at =
            time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute) = (at.hour(), at.minute());
        Self {
            number: since_1970.as_secs() / 60,
            date: format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a clock shows the time")]
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_named_by_its_date() {
        let minute = Minute::of(Duration::from_secs(1_795_361_340 + 59));
        assert_eq!(minute, Minute { number: 29_922_689, date: "2026-11-22 15:29:".to_owned() });
        assert_eq!(Minute::of(Duration::from_secs(60)).date, "1970-01-01 00:01:");
        assert_eq!(Minute::of(Duration::from_secs(1_709_164_800)).date, "2024-02-29 00:00:");
    }
}
