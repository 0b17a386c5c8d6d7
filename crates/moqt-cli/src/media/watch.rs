//! `moqt sub` of a broadcast: catalog, choice, and the tracks as one MP4.

mod catalogs;
mod choice;
mod feed;
mod outages;
mod recording;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use moqt::{Announced, Link, LinkEvent, RequestError, Session, Tracks, Url};
use moqt_media::catalog::{Broadcast, Format};

use self::{
    catalogs::{Catalogs, Trouble},
    outages::Outages,
    recording::{Recording, Source, full_name},
};
use crate::{
    common::{Connector, chain, request_failed},
    output::Output,
    sub::{Lost, SubArgs},
    ui::Counts,
    waiting::{Waiting, now},
};

/// Pause after a list of names that ended early.
const PAUSE: Duration = Duration::from_millis(100);

/// Writes a broadcast as fragmented MP4.
pub(crate) struct Watch<'a> {
    connector: &'a Connector,
    link: Option<Link>,
    writing: Writing<'a>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(args: &'a SubArgs, connector: &'a Connector, counts: Arc<Counts>) -> Self {
        let writing = Writing { args, url: connector.url(), counts, waiting: Waiting::new(), missing: 0 };
        Self { connector, link: None, writing }
    }

    /// Groups that are missing in the output.
    pub(crate) fn missing(&self) -> u64 {
        self.writing.missing
    }

    /// Ends the session.
    pub(crate) async fn end(self) {
        if let Some(link) = &self.link {
            self.connector.close_link(link).await;
        }
    }

    /// Writes until the tracks have ended.
    pub(crate) async fn run(&mut self, output: &mut Output) -> anyhow::Result<()> {
        let Writing { args, waiting, .. } = &mut self.writing;
        let link = self.connector.link(Arc::new(Tracks::new()), args.reconnect, waiting).await?;
        self.link = Some(link.clone());
        self.writing.run(link, output).await
    }
}

/// What is written of a link.
struct Writing<'a> {
    args: &'a SubArgs,
    url: &'a Url,
    counts: Arc<Counts>,
    waiting: Waiting,
    missing: u64,
}

impl Writing<'_> {
    async fn run(&mut self, link: Link, output: &mut Output) -> anyhow::Result<()> {
        let lost = Lost::new(self.place(), self.args.reconnect);
        let mut events = link.events();
        let telling = async {
            while let Some(event) = events.next().await {
                if let LinkEvent::Lost { error } = event {
                    lost.tell(&error);
                }
            }
            std::future::pending().await
        };
        let found = tokio::select! {
            biased;
            () = telling => unreachable!("it waits for ever"),
            found = self.find(link, &lost) => found,
        };
        let (source, broadcast, catalogs) = found?;
        let mut recording = Recording::new(self.args, source, Arc::clone(&self.counts), broadcast, catalogs)?;
        let result = recording.run(output, &mut self.waiting).await;
        self.missing = recording.missing();
        result
    }

    fn place(&self) -> String {
        format!("{} at {}", self.args.track, self.url)
    }

    /// Waits for the broadcast: which catalog there is, and what it says.
    async fn find(&mut self, link: Link, lost: &Lost) -> anyhow::Result<(Source, Broadcast, Catalogs)> {
        let what = format!("for a catalog of {} to be announced", self.place());
        let format = self.waiting.during(&what, announced(self.args, self.url, &link, lost)).await?;
        let source = Source { link, url: self.url.clone(), outages: Outages::new(lost.clone()), format };
        let mut catalogs = source.catalogs(self.args);
        let name = full_name(self.args, format.track());
        let what = format!("for the catalog {name} (subscribed)");
        let until = now() + self.args.reconnect;
        loop {
            match self.waiting.during(&what, catalogs.next()).await {
                Some(Ok(broadcast)) => return Ok((source, broadcast, catalogs)),
                // It was announced a moment ago.
                Some(Err(Trouble::Refused(RequestError::Refused(_))))
                    if now() < until && !self.args.no_wait => {}
                Some(Err(Trouble::Refused(error))) => {
                    return Err(request_failed("cannot subscribe", &name, self.url, &error));
                }
                Some(Err(Trouble::Wrong(error))) => {
                    return Err(error).with_context(|| format!("cannot read the catalog {name}"));
                }
                None if source.link.current().is_some() => {
                    return Err(anyhow!("cannot read the catalog {name}: it has ended"));
                }
                None => return Err(lost.over(&source.link.closed().await)),
            }
        }
    }
}

/// Waits for a catalog of the namespace; the best there is.
async fn announced(args: &SubArgs, url: &Url, link: &Link, lost: &Lost) -> anyhow::Result<Format> {
    loop {
        let session = link.session().await.map_err(|over| lost.over(&over))?;
        match names(args, &session).await {
            Ok(Some(format)) => return Ok(format),
            Ok(None) if args.no_wait => {
                return Err(anyhow!(
                    "no broadcast {} at {url}; is it published? `moqt announced {url}` lists what is",
                    args.track
                ));
            }
            Err(error) if !matches!(error, RequestError::Session(_)) => {
                return Err(anyhow!("cannot look for {} at {url}: {}", args.track, chain(&error)));
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The best catalog that a session knows of; `None` when its names have ended before, or there is none and nobody waits.
async fn names(args: &SubArgs, session: &Session) -> Result<Option<Format>, RequestError> {
    let mut names = session.subscriber().announced(args.track.to_namespace()).await?;
    let wanted = Format::ALL.map(|format| (format, full_name(args, format.track()).to_namespace()));
    let mut found = BTreeSet::new();
    let mut caught_up = false;
    while let Some(event) = names.next().await {
        match event {
            Announced::Active(name) => {
                let format = wanted.iter().find(|(_, wanted)| *wanted == name);
                found.extend(format.map(|(format, _)| *format));
            }
            Announced::CaughtUp => caught_up = true,
            _ => {}
        }
        if caught_up && (args.no_wait || !found.is_empty()) {
            break;
        }
    }
    Ok(found.first().copied())
}
