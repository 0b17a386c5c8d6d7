//! `moqt pub`: an input becomes a track.

use std::{io::IsTerminal as _, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum, builder::FalseyValueParser};
use moqt::{FullTrackName, GroupProducer, Link, LinkError, LinkEvent};
use tokio::time::Instant;

use crate::{
    common::{ConnectArgs, Connector, chain},
    input::{self, Cut, Frames, Grouper, Grouping, Pacer},
    served::Served,
    shutdown::{Exit, Shutdown},
    ui::{self, Counts, Progress},
    units,
    waiting::{Waiting, now},
};

/// What `moqt pub` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct PubArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// The track: parts joined by `/`
    track: FullTrackName,

    /// Read this file instead of stdin
    #[arg(long, value_name = "FILE", env = "MOQT_PUB_INPUT")]
    input: Option<PathBuf>,

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

    /// Read nothing before somebody has subscribed
    #[arg(long, env = "MOQT_PUB_WAIT_SUBSCRIBER", value_parser = FalseyValueParser::new())]
    wait_subscriber: bool,

    /// Wait that long before reading, after a subscriber if that is waited for
    #[arg(long, value_name = "DURATION", env = "MOQT_PUB_START_AFTER", value_parser = units::duration, default_value = "0s")]
    start_after: Duration,

    /// At the end, wait at most that long until everything is acknowledged
    #[arg(long, value_name = "DURATION", env = "MOQT_PUB_LINGER", value_parser = units::duration, default_value = "2s")]
    linger: Duration,

    /// When the connection is lost, try that long to get it back; 0 ends at once
    #[arg(long, value_name = "DURATION", env = "MOQT_PUB_RECONNECT", value_parser = units::duration, default_value = "10s")]
    reconnect: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Chunks as they come
    Raw,
    /// A line is a frame, without its end
    Lines,
}

impl PubArgs {
    fn cut(&self) -> Cut {
        match self.format {
            Format::Raw => {
                let usual = self.rate.map_or(64 << 10, Pacer::frame_size);
                Cut::Raw { size: self.frame_size.unwrap_or(usual) }
            }
            Format::Lines => Cut::Lines,
        }
    }

    fn grouping(&self) -> Grouping {
        let usual = if self.format == Format::Lines { 1 } else { 32 };
        match self.group_every {
            Some(every) => Grouping::Every(every),
            None => Grouping::Frames(self.group_frames.unwrap_or(usual)),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: PubArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    if args.format == Format::Lines && args.frame_size.is_some() {
        let words = "--frame-size does not go with --format lines: a line is a frame, whatever its length";
        return Err(moqt_relay::Usage(words.to_owned()).into());
    }
    let connector = args.connect.steady()?;
    // An input that is not there is found before anything is announced.
    let reader = input::open(args.input.as_deref()).await?;
    let served = Served::new(args.track.clone());
    let mut waiting = Waiting::new();
    let connecting = connector.link(Arc::clone(&served) as _, args.reconnect, &mut waiting);
    let link = tokio::select! {
        biased;
        exit = shutdown.wanted() => return Ok(exit),
        link = connecting => link?,
    };

    let reading = async {
        if args.wait_subscriber {
            waiting.during(&format!("for a subscriber of {}", args.track), served.wanted()).await;
        }
        tokio::time::sleep(args.start_after).await;
        let frames = Frames::new(reader, args.cut());
        let mut feed = Feed::new(&args, &served, &link);
        feed.run(frames, &mut waiting).await
    };
    let ended = tokio::select! {
        biased;
        exit = shutdown.wanted() => Ended::Interrupted(exit),
        error = lost(&connector, &link, args.reconnect) => Ended::Lost(error),
        read = reading => Ended::Read(read),
    };

    let result = match ended {
        Ended::Lost(error) => Err(error),
        Ended::Interrupted(exit) => {
            finish(&served, &link, args.linger).await;
            Ok(exit)
        }
        Ended::Read(read) => {
            finish(&served, &link, args.linger).await;
            read.map(|()| Exit::Done)
        }
    };
    connector.close_link(&link).await;
    result
}

enum Ended {
    Interrupted(Exit),
    Lost(anyhow::Error),
    Read(anyhow::Result<()>),
}

/// Waits until the connection is lost for good, and says once for each time that it is lost for a while.
pub(crate) async fn lost(connector: &Connector, link: &Link, patience: Duration) -> anyhow::Error {
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

/// Completes the track and gives what was written the time to arrive.
pub(crate) async fn finish(served: &Served, link: &Link, linger: Duration) {
    served.track().finish();
    if tokio::time::timeout(linger, served.delivered(link)).await.is_err() {
        let linger = humantime::format_duration(linger);
        ui::notice(&format!("not everything was acknowledged within {linger}; --linger waits longer"));
    }
}

/// Moves frames from the input into the track.
struct Feed<'a> {
    served: &'a Served,
    link: &'a Link,
    grouper: Grouper,
    pacer: Option<Pacer>,
    group: Option<GroupProducer>,
    window: Window,
    counts: Arc<Counts>,
    _progress: Progress,
}

impl<'a> Feed<'a> {
    fn new(args: &PubArgs, served: &'a Served, link: &'a Link) -> Self {
        let counts = Arc::new(Counts::default());
        let typed = args.input.is_none() && std::io::stdin().is_terminal();
        Self {
            served,
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
                None => self.hold_back(frame.len()).await,
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
            self.group = Some(self.served.track().append_group());
            self.counts.group();
            self.window.groups += 1;
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
        self.window.bytes += len as u64;
        Ok(())
    }

    async fn hold_back(&mut self, len: usize) {
        if self.window.is_full(now(), len) {
            let taken = async {
                if let Ok(session) = self.link.session().await {
                    session.publisher().flushed().await;
                }
            };
            let _ = tokio::time::timeout(Window::PATIENCE, taken).await;
            self.window = Window::new(now());
        }
    }
}

/// What an input may bring before the peer must have it, if it comes faster than any live source.
///
/// A track keeps so much for those who fall behind; without a window a file would be through and forgotten before the
/// network has taken it.
#[derive(Debug)]
struct Window {
    began: Instant,
    groups: usize,
    bytes: u64,
}

impl Window {
    /// A quarter of what a track keeps.
    const GROUPS: usize = 256;
    /// A quarter of what a track keeps.
    const BYTES: u64 = 16 << 20;
    /// Brought within this time, it is no live source.
    const FAST: Duration = Duration::from_secs(1);
    /// Longest wait: a peer that stands still does not stop the input.
    const PATIENCE: Duration = Duration::from_secs(1);

    fn new(began: Instant) -> Self {
        Self { began, groups: 0, bytes: 0 }
    }

    fn is_full(&mut self, now: Instant, len: usize) -> bool {
        if now.saturating_duration_since(self.began) >= Self::FAST {
            *self = Self::new(now);
        }
        self.groups >= Self::GROUPS || self.bytes + len as u64 > Self::BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_live_source_is_never_held_back() {
        let began = now();
        let mut window = Window::new(began);
        for group in 0..10_000_u32 {
            // 200 groups of 60 kB a second.
            assert!(!window.is_full(began + Duration::from_millis(5) * group, 60_000));
            window.groups += 1;
            window.bytes += 60_000;
        }
    }

    #[tokio::test]
    async fn a_file_is_held_back_after_a_quarter_of_what_is_kept() {
        let began = now();
        let mut window = Window::new(began);
        window.bytes = Window::BYTES - 10;
        assert!(!window.is_full(began, 10));
        assert!(window.is_full(began, 11));
        window = Window::new(began);
        window.groups = Window::GROUPS;
        assert!(window.is_full(began, 1));
    }
}
