//! A fragmented MP4, from stdin or a file, as a broadcast.

use std::{path::Path, pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::BytesMut;
use moqt::Link;
use moqt_media::{
    fmp4::{Demuxer, Event, Movie, Sample},
    groups::{Grouped, Grouper},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::Instant,
};

use super::broadcast::Broadcast;
use crate::{
    input, publish,
    served::Served,
    shutdown::{Exit, Shutdown},
    ui::{self, Counts, Progress},
    waiting::{Waiting, now},
    window::Window,
};

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// Publishes what an MP4 holds.
pub(crate) async fn publish(args: publish::PubArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let connector = args.connect.steady()?;
    // An input that is not there is found before anything is announced.
    let reader = input::open(args.input.as_deref()).await?;
    let served = Served::new();
    let mut waiting = Waiting::new();
    let Some(link) = publish::connect(&connector, &served, args.times(), &shutdown, &mut waiting).await?
    else {
        return Ok(shutdown.wanted().await);
    };
    let writing = async {
        let mut feed = Feed::new(&args, &served, &link, waiting);
        feed.pass(reader).await?;
        while let Some(again) = args.input.as_deref().filter(|_| args.media.repeat) {
            feed.again(again).await?;
        }
        feed.broadcast.finish()
    };
    publish::until_end(&connector, &served, &link, args.times(), &shutdown, writing).await
}

/// Moves samples from the input into tracks.
struct Feed<'a> {
    args: &'a publish::PubArgs,
    served: &'a Served,
    link: &'a Link,
    broadcast: Broadcast,
    waiting: Waiting,
    window: Window,
    /// Once it is known what there is.
    groups: Option<(Movie, Grouper)>,
    pace: Pace,
    /// Pictures that nobody could decode.
    too_early: u64,
    _progress: Progress,
}

impl<'a> Feed<'a> {
    fn new(args: &'a publish::PubArgs, served: &'a Arc<Served>, link: &'a Link, waiting: Waiting) -> Self {
        let counts = Arc::new(Counts::default());
        Self {
            args,
            served,
            link,
            broadcast: Broadcast::new(served, &args.track, args.media.formats(), &counts),
            waiting,
            window: Window::new(now()),
            groups: None,
            pace: Pace::default(),
            too_early: 0,
            _progress: Progress::start(args.track.to_string(), &counts, true),
        }
    }

    /// The file once more, from its begin.
    async fn again(&mut self, path: &Path) -> anyhow::Result<()> {
        if let Some((_, grouper)) = &mut self.groups {
            grouper.again();
        }
        self.pass(input::open(Some(path)).await?).await
    }

    /// Reads the input to its end.
    async fn pass(&mut self, mut reader: impl AsyncRead + Unpin) -> anyhow::Result<()> {
        let mut demuxer = Demuxer::new();
        let mut piece = BytesMut::with_capacity(PIECE);
        loop {
            while let Some(event) = demuxer.next().context("cannot read the input")? {
                match event {
                    Event::Movie(movie) => self.movie(movie).await?,
                    Event::Sample(sample) => self.sample(sample).await?,
                }
            }
            piece.clear();
            piece.reserve(PIECE);
            let read = pin!(reader.read_buf(&mut piece));
            let read = self.waiting.during("for input", read).await.context("cannot read the input")?;
            if read == 0 {
                return demuxer.finish().context("the input is not whole; what came before was published");
            }
            demuxer.push(&piece);
        }
    }

    async fn movie(&mut self, movie: Movie) -> anyhow::Result<()> {
        self.waiting.over();
        if let Some((before, _)) = &self.groups {
            anyhow::ensure!(*before == movie, "the file has changed while it was published");
            return Ok(());
        }
        let broadcast = movie.to_broadcast();
        for left_out in &broadcast.problems {
            ui::notice(&format!("{} is left out: {}", left_out.track, left_out.why));
        }
        self.broadcast.describe(&broadcast)?;
        let grouper = Grouper::new(&movie, &broadcast);
        self.groups = Some((movie, grouper));
        if self.args.wait_subscriber {
            let what = format!("for a subscriber of {}", self.args.track);
            Waiting::new().during(&what, self.served.wanted()).await;
        }
        tokio::time::sleep(self.args.start_after).await;
        Ok(())
    }

    async fn sample(&mut self, sample: Sample) -> anyhow::Result<()> {
        let Some((_, grouper)) = &mut self.groups else { return Ok(()) };
        let Some(Grouped { track, begins, leads, frame, due }) =
            grouper.place(sample).context("cannot read the input")?
        else {
            self.too_early += 1;
            if self.too_early == 1 {
                ui::notice("pictures before the first key frame are left out");
            }
            return Ok(());
        };
        if self.args.media.realtime {
            self.pace.pass(Duration::from_micros(due)).await;
        } else if leads && self.window.is_full(now(), frame.payload.len()) {
            // The peer has only what is complete.
            self.broadcast.end_groups(track)?;
            self.window.hold_back(self.link, frame.payload.len()).await;
        }
        if begins {
            self.window.group();
        }
        self.window.payload(frame.payload.len());
        self.broadcast.write(track, begins, &frame)
    }
}

/// Lets frames pass when their times have come.
#[derive(Debug, Default)]
struct Pace {
    /// When a frame of the time 0 was, or would have been, due.
    zero: Option<(Instant, Duration)>,
}

impl Pace {
    /// Lateness that is caught up with; after more than that, time goes on from where it is.
    const CATCH_UP: Duration = Duration::from_secs(1);

    async fn pass(&mut self, due: Duration) {
        let now = now();
        let (began, first) = *self.zero.get_or_insert((now, due));
        let at = began + due.saturating_sub(first);
        if now.saturating_duration_since(at) > Self::CATCH_UP {
            self.zero = Some((now, due));
        }
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn frames_pass_when_their_times_have_come_and_a_long_pause_is_not_caught_up_with() {
        let began = now();
        let mut pace = Pace::default();
        let ms = Duration::from_millis;
        for (due, passed) in [(5000, 0), (5040, 40), (5020, 40), (5100, 100)] {
            pace.pass(ms(due)).await;
            assert_eq!(began.elapsed().as_millis(), passed);
        }
        tokio::time::advance(ms(3000)).await;
        pace.pass(ms(5140)).await;
        pace.pass(ms(5180)).await;
        assert_eq!(began.elapsed().as_millis(), 3140);
    }
}
