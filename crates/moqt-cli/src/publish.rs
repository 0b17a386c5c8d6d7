//! `moqt pub`: an input becomes a track, or a broadcast.

use std::{io::IsTerminal as _, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum, builder::FalseyValueParser};
use moqt::{FullTrackName, GroupProducer, Link, LinkError, LinkEvent, TrackInfo, TrackProducer};

use crate::{
    common::{ConnectArgs, Connector, chain},
    input::{self, Cut, Frames, Grouper, Grouping, Pacer},
    media,
    served::Served,
    shutdown::{Exit, Shutdown},
    ui::{self, Counts, Progress},
    units,
    waiting::{Waiting, now},
    window::Window,
};

/// What `moqt pub` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct PubArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,

    /// The track, or the namespace of fmp4 and test: parts joined by `/`
    pub(crate) track: FullTrackName,

    /// Read this file instead of stdin
    #[arg(long, value_name = "FILE", env = "MOQT_PUB_INPUT")]
    pub(crate) input: Option<PathBuf>,

    /// How the input becomes frames
    #[arg(long, value_name = "FORMAT", env = "MOQT_PUB_FORMAT", default_value = "raw")]
    format: Format,

    /// Most bytes of a frame; what is there is sent at once, even if it is less [default: 64KiB, or what --rate sends
    /// in 50ms if that is less]
    #[arg(long, value_name = "BYTES", env = "MOQT_PUB_FRAME_SIZE", value_parser = units::frame_size)]
    frame_size: Option<usize>,

    /// Begin a new group after so many frames [default: 32, with lines 1]
    #[arg(long, value_name = "N", env = "MOQT_PUB_GROUP_FRAMES", value_parser = clap::value_parser!(u64).range(1..=32768))]
    group_frames: Option<u64>,

    /// Begin a new group with the first frame after so long
    #[arg(long, value_name = "DURATION", env = "MOQT_PUB_GROUP_EVERY", value_parser = units::duration, conflicts_with = "group_frames")]
    group_every: Option<Duration>,

    /// Read the input at this rate, e.g. 800k or 5M
    #[arg(long, value_name = "BITS_PER_SECOND", env = "MOQT_PUB_RATE", value_parser = units::bits_per_second)]
    rate: Option<u64>,

    /// Read nothing before somebody has subscribed, or no more than says what is in it
    #[arg(long, env = "MOQT_PUB_WAIT_SUBSCRIBER", value_parser = FalseyValueParser::new())]
    pub(crate) wait_subscriber: bool,

    /// Wait that long before reading, after a subscriber if that is waited for
    #[arg(long, value_name = "DURATION", env = "MOQT_PUB_START_AFTER", value_parser = units::duration, default_value = "0s")]
    pub(crate) start_after: Duration,

    /// At the end, wait at most that long until everything is acknowledged
    #[arg(long, value_name = "DURATION", env = "MOQT_PUB_LINGER", value_parser = units::duration, default_value = "2s")]
    pub(crate) linger: Duration,

    /// When the connection is lost, try that long to get it back; 0 ends at once
    #[arg(long, value_name = "DURATION", env = "MOQT_PUB_RECONNECT", value_parser = units::duration, default_value = "10s")]
    pub(crate) reconnect: Duration,

    #[command(flatten)]
    pub(crate) media: media::MediaPubArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Chunks as they come
    Raw,
    /// A line is a frame, without its end
    Lines,
    /// Fragmented MP4, as ffmpeg writes it: each track in it is a track, each sample a frame
    Fmp4,
    /// No input: a moving picture with a clock in it, and a beep
    Test,
}

impl PubArgs {
    fn cut(&self) -> Cut {
        match self.format {
            Format::Raw => {
                let usual = self.rate.map_or(64 << 10, Pacer::frame_size);
                Cut::Raw { size: self.frame_size.unwrap_or(usual) }
            }
            _ => Cut::Lines,
        }
    }

    fn grouping(&self) -> Grouping {
        let usual = if self.format == Format::Lines { 1 } else { 32 };
        match self.group_every {
            Some(every) => Grouping::Every(every),
            None => Grouping::Frames(self.group_frames.unwrap_or(usual)),
        }
    }

    /// What was asked for and does not go together.
    fn check(&self) -> Result<(), moqt_relay::Usage> {
        let media = matches!(self.format, Format::Fmp4 | Format::Test);
        let words = match self.format {
            Format::Lines if self.frame_size.is_some() => {
                "--frame-size does not go with --format lines: a line is a frame, whatever its length"
            }
            Format::Test if self.input.is_some() => "--format test makes its own pictures: leave --input out",
            Format::Test if self.media.is_of_files() => "--loop and --realtime go with --format fmp4",
            Format::Fmp4 if self.media.repeat && self.input.is_none() => {
                "--loop needs a file that it can read again: say which with --input"
            }
            _ if media && self.is_of_bytes() => {
                "--frame-size, --group-frames, --group-every and --rate go with --format raw and lines"
            }
            _ if !media && self.media.is_any() => "--catalog, --loop and --realtime go with --format fmp4",
            _ => return Ok(()),
        };
        Err(moqt_relay::Usage(words.to_owned()))
    }

    fn is_of_bytes(&self) -> bool {
        self.frame_size.is_some()
            || self.group_frames.is_some()
            || self.group_every.is_some()
            || self.rate.is_some()
    }
}

impl PubArgs {
    pub(crate) fn times(&self) -> Times {
        Times { linger: self.linger, reconnect: self.reconnect }
    }
}

/// Runs the command.
pub(crate) async fn run(args: PubArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    args.check()?;
    match args.format {
        Format::Raw | Format::Lines => bytes(args, shutdown).await,
        Format::Fmp4 => media::publish_file(args, shutdown).await,
        Format::Test => media::publish_test(args, shutdown).await,
    }
}

async fn bytes(args: PubArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let connector = args.connect.steady()?;
    // An input that is not there is found before anything is announced.
    let reader = input::open(args.input.as_deref()).await?;
    let served = Served::new();
    let track = served.add(args.track.clone(), TrackInfo::default());
    let mut waiting = Waiting::new();
    let Some(link) = connect(&connector, &served, args.times(), &shutdown, &mut waiting).await? else {
        return Ok(shutdown.wanted().await);
    };
    let reading = async {
        if args.wait_subscriber {
            waiting.during(&format!("for a subscriber of {}", args.track), served.wanted()).await;
        }
        tokio::time::sleep(args.start_after).await;
        let frames = Frames::new(reader, args.cut());
        let mut feed = Feed::new(&args, &track, &link);
        feed.run(frames, &mut waiting).await
    };
    until_end(&connector, &served, &link, args.times(), &shutdown, reading).await
}

/// How long to wait at the end, and for a connection that is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) linger: Duration,
    pub(crate) reconnect: Duration,
}

/// Opens the session that serves the tracks, and is had anew when it is lost. `None` when the user wants the end before.
pub(crate) async fn connect(
    connector: &Connector,
    served: &Arc<Served>,
    times: Times,
    shutdown: &Shutdown,
    waiting: &mut Waiting,
) -> anyhow::Result<Option<Link>> {
    tokio::select! {
        biased;
        _ = shutdown.wanted() => Ok(None),
        link = connector.link(Arc::clone(served) as _, times.reconnect, waiting) => link.map(Some),
    }
}

/// Publishes until `writing` is through, the user wants the end, or the connection is lost for good.
pub(crate) async fn until_end(
    connector: &Connector,
    served: &Served,
    link: &Link,
    times: Times,
    shutdown: &Shutdown,
    writing: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Exit> {
    let ended = tokio::select! {
        biased;
        exit = shutdown.wanted() => Ended::Interrupted(exit),
        error = lost(connector, link, times.reconnect) => Ended::Lost(error),
        read = writing => Ended::Read(read),
    };
    let result = match ended {
        Ended::Lost(error) => Err(error),
        Ended::Interrupted(exit) => {
            finish(served, link, times.linger).await;
            Ok(exit)
        }
        Ended::Read(read) => {
            finish(served, link, times.linger).await;
            read.map(|()| Exit::Done)
        }
    };
    connector.close_link(link).await;
    result
}

enum Ended {
    Interrupted(Exit),
    Lost(anyhow::Error),
    Read(anyhow::Result<()>),
}

/// Waits until the connection is lost for good, and says once for each time that it is lost for a while.
async fn lost(connector: &Connector, link: &Link, patience: Duration) -> anyhow::Error {
    let mut events = link.events();
    let shown = humantime::format_duration(patience);
    let url = connector.url();
    let telling = async {
        while let Some(event) = events.next().await {
            if let (LinkEvent::Lost { error }, false) = (event, patience.is_zero()) {
                let why = chain(&error);
                ui::notice(&format!("connection lost: {url}: {why}; trying for {shown} to get it back"));
            }
        }
        std::future::pending::<()>().await;
    };
    let over = tokio::select! {
        biased;
        () = telling => LinkError::Closed,
        over = link.closed() => over,
    };
    match over {
        LinkError::GaveUp { lost, .. } if patience.is_zero() => {
            anyhow!("connection lost: {url}: {}; --reconnect waits for its return", chain(&lost))
        }
        LinkError::GaveUp { lost, last } => {
            let last = last.map(|last| format!("; last attempt: {}", chain(&*last))).unwrap_or_default();
            anyhow!("connection lost: {url}: {}{last}; not back within {shown} (--reconnect)", chain(&lost))
        }
        over => anyhow!("connection lost: {url}: {}", chain(&over)),
    }
}

/// Completes the tracks and gives what was written the time to arrive.
async fn finish(served: &Served, link: &Link, linger: Duration) {
    served.finish();
    if tokio::time::timeout(linger, served.delivered(link)).await.is_err() {
        let linger = humantime::format_duration(linger);
        ui::notice(&format!("not everything was acknowledged within {linger}; --linger waits longer"));
    }
}

/// Moves frames from the input into the track.
struct Feed<'a> {
    track: &'a TrackProducer,
    link: &'a Link,
    grouper: Grouper,
    pacer: Option<Pacer>,
    group: Option<GroupProducer>,
    window: Window,
    counts: Arc<Counts>,
    _progress: Progress,
}

impl<'a> Feed<'a> {
    fn new(args: &PubArgs, track: &'a TrackProducer, link: &'a Link) -> Self {
        let counts = Arc::new(Counts::default());
        let typed = args.input.is_none() && std::io::stdin().is_terminal();
        Self {
            track,
            link,
            grouper: Grouper::new(args.grouping()),
            pacer: args.rate.map(Pacer::new),
            group: None,
            window: Window::new(now()),
            _progress: Progress::start(args.track.to_string(), &counts, !typed),
            counts,
        }
    }

    async fn run<R>(&mut self, mut frames: Frames<R>, waiting: &mut Waiting) -> anyhow::Result<()>
    where
        R: tokio::io::AsyncRead + Unpin,
    {
        loop {
            let next = pin!(frames.next());
            let frame = waiting.during("for input", next).await.context("cannot read the input")?;
            let Some(frame) = frame else { break };
            waiting.over();
            match &mut self.pacer {
                Some(pacer) => pacer.pass(frame.len()).await,
                None => self.window.hold_back(self.link, frame.len()).await,
            }
            self.write(frame)?;
        }
        if let Some(group) = self.group.take() {
            group.finish()?;
        }
        Ok(())
    }

    fn write(&mut self, frame: bytes::Bytes) -> anyhow::Result<()> {
        let len = frame.len();
        if self.grouper.place(now(), len) {
            if let Some(group) = self.group.take() {
                group.finish()?;
            }
            self.group = Some(self.track.append_group());
            self.counts.group();
            self.window.group();
        }
        if let Some(group) = &mut self.group {
            group.write_frame(frame)?;
        }
        if self.grouper.ends()
            && let Some(group) = self.group.take()
        {
            group.finish()?;
        }
        self.counts.frame();
        self.counts.payload(len);
        self.window.payload(len);
        Ok(())
    }
}
