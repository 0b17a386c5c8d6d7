//! The peer of interop runs that stands on our own crates: told on stdin what to do, says on stdout what happens.
//!
//! `moqt-interop-peer [--unmarked VERSION] URL`, or `listen ADDRESS` in place of the URL. The lines are those of
//! `interop/lines.rs`.

#[allow(missing_docs, reason = "a file of its own package too, which has no such rule")]
#[path = "../../../../../interop/lines.rs"]
mod lines;
mod served;

use std::{
    collections::HashMap,
    io::{BufRead as _, Write as _},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use lines::{Checked, Command, payload};
use moqt::{
    Announced, Certificate, Client, ClientOptions, FetchOptions, FullTrackName, GroupConsumer, GroupProducer,
    Priority, Reason, RequestError, Server, ServerOptions, Session, SubscribeOptions, TrackEvent, TrackInfo,
    TrackProducer, Version,
};
use served::Served;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

/// How long the other side may take to hear of a close.
const GOODBYE: Duration = Duration::from_secs(3);

/// Lines of stdin that wait to be performed.
const LINES: usize = 1024;

fn say(line: &str) {
    // Whoever listened is gone: so is the reason to go on, and stdin says so, too.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    let mut unmarked = Version::TRANSFORK_04_RS12;
    if args.next_if_eq("--unmarked").is_some() {
        unmarked = args.next().context("--unmarked takes a version")?.parse()?;
    }
    let place = args.next().context("a URL, or `listen ADDRESS`")?;
    let served = Arc::new(Served::default());
    if place == "listen" {
        let address = args.next().context("an address to listen on")?.parse()?;
        let certificate = Certificate::generate(&["localhost".to_owned(), "127.0.0.1".to_owned()], 1)?;
        let mut options = ServerOptions::new(address, certificate);
        options.session.unmarked_04 = unmarked;
        let server = Server::bind(options)?;
        say(&format!("listening {}", server.local_addr()));
        let request = server.accept().await.context("closed")?.handshake().await?;
        let session = request.start(Arc::clone(&served) as _);
        Peer::new(session, served).run().await?;
        server.close();
        let _ = tokio::time::timeout(GOODBYE, server.wait_idle()).await;
    } else {
        let mut options = ClientOptions::default();
        options.tls.disable_verify = true;
        options.session.unmarked_04 = unmarked;
        let client = Client::new(options)?;
        let session = client.connect_with(&place.parse()?, Arc::clone(&served) as _).await?;
        Peer::new(session, served).run().await?;
        let _ = tokio::time::timeout(GOODBYE, client.wait_idle()).await;
    }
    Ok(())
}

struct Published {
    track: TrackProducer,
    /// The group that is open, and its number of frames.
    open: Option<(GroupProducer, u64)>,
}

struct Peer {
    session: Session,
    served: Arc<Served>,
    published: HashMap<String, Published>,
    subscribed: HashMap<String, AbortHandle>,
    work: JoinSet<()>,
}

impl Peer {
    fn new(session: Session, served: Arc<Served>) -> Self {
        say(&format!("connected {}", session.version()));
        let (published, subscribed, work) = (HashMap::new(), HashMap::new(), JoinSet::new());
        Self { session, served, published, subscribed, work }
    }

    /// Does as told until there is nothing more to be told, or the session ends.
    async fn run(mut self) -> Result<()> {
        let (send, mut lines) = mpsc::channel(LINES);
        // Reading stdin blocks, and must not keep the program from ending.
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if send.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        loop {
            tokio::select! {
                error = self.session.closed() => {
                    let why = match &error {
                        moqt::SessionError::Closed { reason, .. } => reason.to_string(),
                        other => format!("lost: {other}"),
                    };
                    say(&format!("closed {why}"));
                    return Ok(());
                }
                line = lines.recv() => match line {
                    Some(line) if line.trim().is_empty() => {}
                    Some(line) => {
                        if !self.perform(Command::parse(&line).map_err(anyhow::Error::msg)?).await? {
                            return Ok(());
                        }
                    }
                    None => {
                        self.session.close().await;
                        return Ok(());
                    }
                },
            }
        }
    }

    async fn perform(&mut self, command: Command) -> Result<bool> {
        while self.work.try_join_next().is_some() {}
        match command {
            Command::Publish { path, priority } => {
                let info = TrackInfo { priority: Priority(priority), ..TrackInfo::default() };
                let track = self.served.publish(path.parse()?, info);
                say(&format!("published {path}"));
                let (name, watched) = (path.clone(), track.clone());
                self.work.spawn(async move {
                    loop {
                        watched.used().await;
                        say(&format!("used {name}"));
                        watched.unused().await;
                        say(&format!("unused {name}"));
                    }
                });
                self.published.insert(path, Published { track, open: None });
            }
            Command::Unpublish { path } => {
                self.published.remove(&path).context("not published")?.track.finish();
                self.served.withdraw(&path.parse()?);
                say(&format!("unpublished {path}"));
            }
            Command::Begin { path, group } => {
                let published = self.published(&path)?;
                published.open = Some((published.track.create_group(group)?, 0));
            }
            Command::Frame { path, bytes } => {
                let (group, index) = self.published(&path)?.open.as_mut().context("no open group")?;
                group.write_frame(payload(&path, group.sequence(), *index, bytes))?;
                *index += 1;
            }
            Command::Finish { path } => {
                let (group, _) = self.published(&path)?.open.take().context("no open group")?;
                group.finish()?;
            }
            Command::Group { path, group, frames, bytes } => {
                let mut producer = self.published(&path)?.track.create_group(group)?;
                for index in 0..frames {
                    producer.write_frame(payload(&path, group, index, bytes))?;
                }
                producer.finish()?;
            }
            Command::Round { prefix, tracks, group, bytes } => {
                for number in 0..tracks {
                    let path = format!("{prefix}/{number}");
                    let mut producer = self.published(&path)?.track.create_group(group)?;
                    producer.write_frame(payload(&path, group, 0, bytes))?;
                    producer.finish()?;
                }
            }
            Command::Subscribe { path, priority, first, last } => {
                let priority = Priority(priority);
                let options = SubscribeOptions { priority, first, last, ..SubscribeOptions::default() };
                let reading = subscribe(self.session.clone(), path.clone(), options);
                self.subscribed.insert(path, self.work.spawn(reading));
            }
            Command::Unsubscribe { path } => {
                self.subscribed.remove(&path).context("not subscribed")?.abort();
                say(&format!("left {path}"));
            }
            Command::Watch { prefix } => {
                let names = self.session.subscriber().announced(prefix.parse()?).await?;
                self.work.spawn(watch(names));
            }
            Command::Info { path } => {
                let (session, name) = (self.session.clone(), path.parse::<FullTrackName>()?);
                self.work.spawn(async move {
                    match session.subscriber().info(name).await {
                        Ok(info) => {
                            let (priority, order) = (info.track.priority.0, info.track.order);
                            say(&format!("info {path} {priority} {order} {}", info.latest.unwrap_or(0)));
                        }
                        Err(error) => say(&format!("refused {path} {}", why(&error))),
                    }
                });
            }
            Command::Fetch { path, group } => {
                let (session, name) = (self.session.clone(), path.parse::<FullTrackName>()?);
                self.work.spawn(async move {
                    match session.subscriber().fetch(name, group, FetchOptions::default()).await {
                        Ok(fetched) => {
                            read(&path, fetched.into_group()).await;
                        }
                        Err(error) => say(&format!("refused {path} {}", why(&error))),
                    }
                });
            }
            Command::Close { code } => {
                match code {
                    Some(_) => bail!("our sessions are closed without a code of the application"),
                    None => self.session.close().await,
                };
                say("closed locally");
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn published(&mut self, path: &str) -> Result<&mut Published> {
        self.published.get_mut(path).with_context(|| format!("{path} is not published"))
    }
}

/// Why a request failed, the peer's reason alone if it had one.
fn why(error: &RequestError) -> String {
    match error {
        RequestError::Refused(reason) => reason.to_string(),
        other => format!("here: {other}"),
    }
}

async fn subscribe(session: Session, path: String, options: SubscribeOptions) {
    let name = match path.parse::<FullTrackName>() {
        Ok(name) => name,
        Err(error) => return say(&format!("refused {path} here: {error}")),
    };
    let subscription = match session.subscriber().subscribe(name, options).await {
        Ok(subscription) => subscription,
        Err(error) => return say(&format!("refused {path} {}", why(&error))),
    };
    let mut track = subscription.into_track();
    // Dropped with the subscription, so that nobody reads a track that was left.
    let mut groups = JoinSet::new();
    let end = loop {
        match track.next_event().await {
            Ok(Some(TrackEvent::Gap { first, last, reason })) => {
                say(&format!("gap {path} {first} {last} {reason}"));
            }
            Ok(Some(TrackEvent::Group(group))) => {
                let path = path.clone();
                groups.spawn(async move { read(&path, group).await });
                while groups.try_join_next().is_some() {}
            }
            Ok(None) => break "finished".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    while groups.join_next().await.is_some() {}
    say(&format!("over {path} {end}"));
}

/// Says what is in a group, to its end.
async fn read(path: &str, mut group: GroupConsumer) {
    let mut checked = Checked::new(path, group.sequence());
    let well = loop {
        match group.read_frame().await {
            Ok(Some(frame)) => say(&checked.frame(&frame)),
            Ok(None) => break true,
            Err(error) => {
                let nothing = checked.is_empty();
                let refused =
                    matches!(error, moqt::GroupError::Reset(Reason::NotFound | Reason::Unsupported));
                if nothing && refused {
                    return say(&format!("refused {path} {error}"));
                }
                break false;
            }
        }
    };
    say(&checked.end(well));
}

async fn watch(mut names: moqt::AnnounceConsumer) {
    while let Some(event) = names.next().await {
        match event {
            Announced::Active(name) => say(&format!("active {name}")),
            Announced::Ended(name) => say(&format!("ended {name}")),
            Announced::CaughtUp => say("live"),
        }
    }
    say("unwatched");
}
