//! `moqt sub`: a track becomes output, or a broadcast a file.

mod cursor;
mod follow;
mod gaps;
mod lost;
mod read;
mod sink;

use std::{io::IsTerminal as _, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use anyhow::anyhow;
use clap::{
    Args, ValueEnum,
    builder::{FalseyValueParser, PossibleValue},
};
use moqt::{FullTrackName, GroupConsumer, GroupError, GroupOrder, Priority, Retention, SubscribeOptions};

use self::{
    cursor::Cursor,
    follow::Follower,
    read::{GroupEnd, Reading},
};
pub(crate) use self::{cursor::Missing, gaps::Gaps, lost::Lost, sink::Sink};
use crate::{
    clock::ClockRoleArgs,
    common::{ConnectArgs, Connector},
    media,
    output::Output,
    shutdown::{Exit, Shutdown},
    ui::{self, Counts, Progress},
    units,
    waiting::Waiting,
};

/// What `moqt sub` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,

    /// The track, or the namespace of fmp4: parts joined by `/`
    pub(crate) track: FullTrackName,

    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE", env = "MOQT_SUB_OUTPUT")]
    output: Option<PathBuf>,

    /// First group: a number, or the latest there is
    #[arg(long, value_name = "GROUP", env = "MOQT_SUB_FROM", default_value = "latest")]
    from: From,

    /// Last group; ends with it
    #[arg(long, value_name = "GROUP", env = "MOQT_SUB_TO")]
    to: Option<u64>,

    /// Which groups are sent first when not all fit: older (asc) or newer (desc) ones [default: as the publisher wants]
    #[arg(long, value_name = "ORDER", env = "MOQT_SUB_ORDER")]
    order: Option<Order>,

    /// Among the tracks of a session, higher is sent first
    #[arg(long, value_name = "0..255", env = "MOQT_SUB_PRIORITY", default_value_t = 128)]
    priority: u8,

    /// What is written
    #[arg(long, value_name = "FORMAT", env = "MOQT_SUB_FORMAT", default_value = "raw")]
    format: Written,

    /// Fail if the track is not there, instead of waiting for it
    #[arg(long, env = "MOQT_SUB_NO_WAIT", value_parser = FalseyValueParser::new())]
    pub(crate) no_wait: bool,

    /// End with status 1 if any group was missing
    #[arg(long, env = "MOQT_SUB_STRICT", value_parser = FalseyValueParser::new())]
    strict: bool,

    /// When the track or the connection is lost, try that long to get it back; 0 ends at once
    #[arg(long, value_name = "DURATION", env = "MOQT_SUB_RECONNECT", value_parser = units::duration, default_value = "10s")]
    pub(crate) reconnect: Duration,

    #[command(flatten)]
    pub(crate) media: media::MediaSubArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Latest,
    Group(u64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            number => {
                number.parse().map(Self::Group).map_err(|_| "write `latest` or the number of a group".into())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    Asc,
    Desc,
}

/// What is written of a subscription: frames of one track, or a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Frames(Format),
    Fmp4,
}

impl ValueEnum for Written {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Frames(Format::Raw), Self::Frames(Format::Lines), Self::Frames(Format::Json), Self::Fmp4]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Frames(format) => format.to_possible_value(),
            Self::Fmp4 => {
                let help = "Fragmented MP4 of a broadcast: its catalog says what is in it";
                Some(PossibleValue::new("fmp4").help(help))
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Payload alone, as it comes
    Raw,
    /// A line for each frame
    Lines,
    /// A JSON object for each frame, without payload; `at_ms` is when it was there, in Unix time
    Json,
    /// A clock's frames as lines of date and time
    #[value(skip)]
    Clock,
}

impl SubArgs {
    /// The first group that is asked for.
    pub(crate) fn first(&self) -> Option<u64> {
        match self.from {
            From::Latest => None,
            From::Group(first) => Some(first),
        }
    }

    /// How long a group may stand still while later ones are there.
    pub(crate) fn latency(&self) -> Duration {
        self.media.latency.unwrap_or(Duration::from_secs(2))
    }

    /// What is asked of the relay, beginning at the latest group.
    pub(crate) fn subscribe_options(&self) -> SubscribeOptions {
        SubscribeOptions {
            priority: Priority(self.priority),
            order: match self.order {
                None => GroupOrder::Default,
                Some(Order::Asc) => GroupOrder::Ascending,
                Some(Order::Desc) => GroupOrder::Descending,
            },
            retention: Retention::read_once(),
            ..SubscribeOptions::default()
        }
    }

    /// What was asked for and does not go together.
    fn check(&self) -> Result<(), moqt_relay::Usage> {
        let words = match (self.format, self.first(), self.to) {
            (Written::Fmp4, _, Some(_)) => "--to does not go with --format fmp4".to_owned(),
            (Written::Fmp4, ..) => return Ok(()),
            _ if self.media.is_any() => {
                "--video, --audio, --track and --latency go with --format fmp4".to_owned()
            }
            (_, Some(first), Some(last)) if last < first => format!("--to {last} is before --from {first}"),
            _ => return Ok(()),
        };
        Err(moqt_relay::Usage(words))
    }
}

/// What a subscription is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Options(SubArgs);

impl std::convert::From<SubArgs> for Options {
    fn from(args: SubArgs) -> Self {
        Self(args)
    }
}

impl Options {
    /// A clock shown as lines.
    pub(crate) fn clock(args: ClockRoleArgs) -> Self {
        Self(SubArgs {
            connect: args.connect,
            track: args.track,
            output: None,
            from: From::Latest,
            to: None,
            order: None,
            priority: Priority::default().0,
            format: Written::Frames(Format::Clock),
            no_wait: false,
            strict: false,
            reconnect: Duration::from_secs(10),
            media: media::MediaSubArgs::default(),
        })
    }

    /// What is asked of the relay, beginning at `first`.
    fn subscribe(&self, first: Option<u64>) -> SubscribeOptions {
        SubscribeOptions { first, last: self.0.to, ..self.0.subscribe_options() }
    }

    /// How long a missing group is waited for while later ones are there.
    fn patience(&self) -> Duration {
        match self.0.order {
            // As long as anything is kept.
            Some(Order::Asc) => Duration::from_secs(10),
            _ => Duration::from_secs(2),
        }
    }
}

/// Writes one group as it comes, beginning with frame `first`; how it ended, unless the output failed.
pub(crate) async fn write_group(
    name: &FullTrackName,
    group: &mut GroupConsumer,
    first: u64,
    sink: &mut Sink,
    waiting: &mut Waiting,
) -> anyhow::Result<Result<(), GroupError>> {
    let mut reading = Reading {
        name,
        sink,
        cursor: &mut Cursor::new(Some(group.sequence()), None),
        waiting,
        gaps: &mut Gaps::new(name.clone(), ui::notice),
        patience: Duration::ZERO,
        stage: "was asked for",
    };
    Ok(match reading.group(group, first).await? {
        GroupEnd::Whole => Ok(()),
        GroupEnd::Cut(error) => Err(error),
    })
}

/// Runs the command.
pub(crate) async fn run(options: Options, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let args = &options.0;
    args.check()?;
    let connector = args.connect.steady()?;
    let output = Output::open(args.output.as_deref()).await?;
    let counts = Arc::new(Counts::default());
    let free = !(output.is_stdout() && std::io::stdout().is_terminal());
    let progress = Progress::start(args.track.to_string(), &counts, free);
    let format = match args.format {
        Written::Frames(format) => format,
        Written::Fmp4 => {
            let watched = watch(args, &connector, output, counts, &shutdown).await;
            drop(progress);
            return watched;
        }
    };
    let sink = Sink::new(output, format, counts);
    let (strict, track) = (args.strict, args.track.clone());
    let cursor = Cursor::new(args.first(), args.to);
    let mut follower = Follower::new(options, connector, sink, cursor, Waiting::new());
    let result = tokio::select! {
        biased;
        exit = shutdown.wanted() => Ok(exit),
        followed = follower.follow() => followed.map(|()| Exit::Done),
    };
    let missing = follower.missing();
    let flushed = follower.end().await;
    drop(progress);
    let exit = result?;
    flushed?;
    strictly(exit, strict, missing, &track)
}

/// The end of a command that missed so many groups.
fn strictly(exit: Exit, strict: bool, missing: u64, track: &FullTrackName) -> anyhow::Result<Exit> {
    match missing {
        1.. if strict && exit == Exit::Done => {
            Err(anyhow!("groups missing: {missing} of {track}; without --strict this is only a warning"))
        }
        _ => Ok(exit),
    }
}

async fn watch(
    args: &SubArgs,
    connector: &Connector,
    mut output: Output,
    counts: Arc<Counts>,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let mut watch = media::Watch::new(args, connector, counts);
    let result = tokio::select! {
        biased;
        exit = shutdown.wanted() => Ok(exit),
        watched = watch.run(&mut output) => watched.map(|()| Exit::Done),
    };
    let missing = watch.missing();
    watch.end().await;
    let flushed = output.flush().await;
    let exit = result?;
    flushed?;
    strictly(exit, args.strict, missing, &args.track)
}
