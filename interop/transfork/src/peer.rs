//! A peer: told on stdin what to do, says on stdout what happens. The same for both releases of the crate.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use moqt_interop_transfork::{
    dial,
    lines::{payload, Checked, Command},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    task::AbortHandle,
};
use url::Url;

use crate::{
    names,
    transfork::{
        coding::{Buf as _, Bytes, BytesMut, Decode as _, Encode as _},
        message, Announced, Error, GroupProducer, Session, Track, TrackProducer,
    },
};

/// How long the other side may take to hear of a close.
const GOODBYE: Duration = Duration::from_secs(3);

macro_rules! say {
    ($($words:tt)*) => {
        println!($($words)*)
    };
}

#[tokio::main]
pub async fn main() -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let first = args.next().context("a URL, or `listen ADDRESS`")?;
    if first == "listen" {
        let address: SocketAddr = args.next().context("an address to listen on")?.parse()?;
        let endpoint = dial::listen(address)?;
        say!("listening {}", endpoint.local_addr()?);
        let carrier = dial::accept(&endpoint).await?;
        let session = Session::accept(web_transport::Session::from(carrier.clone())).await?;
        Peer::new(carrier, session).run().await?;
        let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
    } else {
        let (endpoint, carrier) = dial::connect(&first.parse::<Url>()?).await?;
        let session = Session::connect(web_transport::Session::from(carrier.clone())).await?;
        Peer::new(carrier, session).run().await?;
        let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
    }
    // Somebody may still wait for a line of stdin, which must not keep the program.
    std::process::exit(0);
}

struct Published {
    track: TrackProducer,
    /// The group that is open, and its number of frames.
    open: Option<(GroupProducer, u64)>,
}

struct Peer {
    carrier: web_transport_quinn::Session,
    session: Session,
    published: HashMap<String, Published>,
    subscribed: HashMap<String, AbortHandle>,
}

impl Peer {
    fn new(carrier: web_transport_quinn::Session, session: Session) -> Self {
        say!("connected {:?}", message::Version::CURRENT);
        Self { carrier, session, published: HashMap::new(), subscribed: HashMap::new() }
    }

    /// Does as told until there is nothing more to be told, or the session ends.
    async fn run(mut self) -> Result<()> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        loop {
            // The connection below the session knows the code.
            let connection: web_transport_quinn::quinn::Connection = (*self.carrier).clone();
            tokio::select! {
                error = connection.closed() => {
                    say!("closed {}", dial::end(&error));
                    return Ok(());
                }
                line = lines.next_line() => match line? {
                    Some(line) if line.trim().is_empty() => {}
                    Some(line) => {
                        if !self.perform(Command::parse(&line).map_err(anyhow::Error::msg)?).await? {
                            return Ok(());
                        }
                    }
                    None => {
                        self.session.close(Error::Cancel);
                        return Ok(());
                    }
                },
            }
        }
    }

    async fn perform(&mut self, command: Command) -> Result<bool> {
        match command {
            Command::Publish { path, priority } => {
                let priority = (i16::from(priority) - 128) as i8;
                let track = Track { path: names::path(&path), priority, ..Track::default() };
                let (track, consumer) = track.produce();
                self.session.publish(consumer)?;
                say!("published {path}");
                self.published.insert(path, Published { track, open: None });
            }
            Command::Unpublish { path } => {
                self.published.remove(&path);
                say!("unpublished {path}");
            }
            Command::Begin { path, group } => {
                let published = self.published(&path)?;
                published.open = Some((published.track.create_group(group), 0));
            }
            Command::Frame { path, bytes } => {
                let (group, index) = self.published(&path)?.open.as_mut().context("no open group")?;
                group.write_frame(payload(&path, group.sequence, *index, bytes));
                *index += 1;
            }
            Command::Finish { path } => self.published(&path)?.open = None,
            Command::Group { path, group, frames, bytes } => {
                let mut producer = self.published(&path)?.track.create_group(group);
                for index in 0..frames {
                    producer.write_frame(payload(&path, group, index, bytes));
                }
            }
            Command::Round { prefix, tracks, group, bytes } => {
                for number in 0..tracks {
                    let path = format!("{prefix}/{number}");
                    let mut producer = self.published(&path)?.track.create_group(group);
                    producer.write_frame(payload(&path, group, 0, bytes));
                }
            }
            Command::Subscribe { path, priority, .. } => {
                let priority = (i16::from(priority) - 128) as i8;
                let track = Track { path: names::path(&path), priority, ..Track::default() };
                let mut track = self.session.subscribe(track);
                let key = path.clone();
                let reading = tokio::spawn(async move {
                    let why = loop {
                        match track.next_group().await {
                            Ok(Some(mut group)) => {
                                let path = path.clone();
                                tokio::spawn(async move {
                                    let mut checked = Checked::new(&path, group.sequence);
                                    let well = loop {
                                        match group.read_frame().await {
                                            Ok(Some(frame)) => say!("{}", checked.frame(&frame)),
                                            Ok(None) => break true,
                                            Err(_) => break false,
                                        }
                                    };
                                    say!("{}", checked.end(well));
                                });
                            }
                            Ok(None) => break "finished".to_owned(),
                            Err(error) => break error.to_string(),
                        }
                    };
                    say!("over {path} {why}");
                });
                self.subscribed.insert(key, reading.abort_handle());
            }
            Command::Unsubscribe { path } => {
                self.subscribed.remove(&path).context("not subscribed")?.abort();
                say!("left {path}");
            }
            Command::Watch { prefix } => {
                let interest = names::interest(&prefix);
                let mut announced = self.session.announced(interest.clone());
                tokio::spawn(async move {
                    while let Some(event) = announced.next().await {
                        match event {
                            Announced::Active(name) => say!("active {}", names::full(&interest, name)),
                            Announced::Ended(name) => say!("ended {}", names::full(&interest, name)),
                            Announced::Live => say!("live"),
                        }
                    }
                    say!("unwatched");
                });
            }
            Command::Info { path } => {
                let carrier = self.carrier.clone();
                tokio::spawn(async move {
                    match info(&carrier, &path).await {
                        Ok(info) => {
                            let priority = i16::from(info.track_priority) + 128;
                            say!("info {path} {priority} {:?} {}", info.group_order, info.group_latest);
                        }
                        Err(error) => say!("refused {path} {error:#}"),
                    }
                });
            }
            Command::Fetch { path, .. } => say!("refused {path} this release has no fetch"),
            Command::Close { code } => {
                self.session.clone().close(code.map_or(Error::Cancel, Error::App));
                say!("closed locally");
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn published(&mut self, path: &str) -> Result<&mut Published> {
        self.published.get_mut(path).with_context(|| format!("{path} is not published"))
    }
}

/// Asks about a track. The crate has the messages for it and no call.
async fn info(carrier: &web_transport_quinn::Session, path: &str) -> Result<message::Info> {
    let mut ask = BytesMut::new();
    names::INFO.encode(&mut ask);
    message::InfoRequest { path: names::path(path) }.encode(&mut ask);
    let (mut send, mut recv) = carrier.open_bi().await?;
    send.write_all(&ask).await?;
    let mut answer = Bytes::from(recv.read_to_end(1024).await?);
    let info = message::Info::decode(&mut answer)?;
    anyhow::ensure!(!answer.has_remaining(), "bytes after the answer");
    Ok(info)
}
