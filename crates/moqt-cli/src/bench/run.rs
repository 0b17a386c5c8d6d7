//! One run: all subscribe, then frames are written, then what is on its way arrives, then it is told.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use moqt::{Client, Namespace, Scheme};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    BenchArgs, Role,
    join::{Joined, come_and_go},
    measure::{clock::monotonic_ns, meter::Meter, report::Report, shape::Shape},
    names::{self, Names, Watcher},
    publish::{Begun, Publisher},
    read::{Reader, Shared},
    stalled::Stalled,
};
use crate::{
    common::Connector,
    output::{self, Output},
    shutdown::{Exit, Shutdown},
    ui,
    waiting::now,
};

/// Sessions that are being opened at a time.
const AT_A_TIME: usize = 32;

/// Runs the command.
pub(crate) async fn run(args: BenchArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let shape = args.knobs.shape().map_err(moqt_relay::Usage)?;
    let connector = args.connect.connector()?;
    let mut bench = Bench::new(args, shape, connector).await?;
    let ran = tokio::select! {
        biased;
        exit = shutdown.wanted() => return Ok(exit),
        ran = bench.run() => ran,
    };
    ran?;
    bench.tell().await?;
    Ok(Exit::Done)
}

struct Bench {
    args: BenchArgs,
    connector: Connector,
    shared: Arc<Shared>,
    joined: Arc<Joined>,
    json: Option<Output>,
    version: Option<String>,
}

impl Bench {
    async fn new(args: BenchArgs, shape: Shape, connector: Connector) -> anyhow::Result<Self> {
        let prefix = match (&args.name, args.role) {
            (Some(name), _) => name.clone(),
            // Runs at the same time do not meet.
            (None, Role::Both) => format!("bench/{:x}", monotonic_ns()).parse::<Namespace>()?,
            (None, _) => "bench".parse()?,
        };
        let json = match args.knobs.json.as_deref() {
            None => None,
            Some(path) if path == Path::new("-") => Some(Output::open(None).await?),
            Some(path) => Some(Output::open(Some(path)).await?),
        };
        let knobs = &args.knobs;
        let interval = if json.is_some() { knobs.interval } else { Duration::ZERO };
        let meters = shape.tracks.iter().map(|_| Arc::new(Meter::new(knobs.warmup, interval))).collect();
        let shared = Arc::new(Shared {
            begun: Begun::new(&shape),
            prefix,
            meters,
            first: watch::Sender::new(None),
            stop: watch::Sender::new(false),
            swap_at: knobs.swap_priorities_at,
            swapped_ns: watch::Sender::new(None),
            patience: knobs.patience,
            shape,
        });
        Ok(Self { args, connector, shared, joined: Arc::default(), json, version: None })
    }

    fn patience(&self) -> Duration {
        self.args.knobs.patience
    }

    /// Tells programs that follow along.
    async fn event(&mut self, kind: &str) -> anyhow::Result<()> {
        self.line(&json!({ "kind": kind, "at_ns": monotonic_ns() })).await
    }

    async fn line(&mut self, line: &Value) -> anyhow::Result<()> {
        if let Some(json) = &mut self.json {
            json.write(format!("{line}\n").as_bytes()).await?;
            json.flush().await?;
        }
        Ok(())
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        if let Some(standing) = self.shared.shape.names {
            return self.run_names(standing).await;
        }
        let role = self.args.role;
        let (mut publishers, mut readers, mut stalled) = (Vec::new(), Vec::new(), Vec::new());
        let shape = self.shared.shape.clone();
        if role.publishes() {
            let publisher = |at| {
                let (connector, shared) = (self.connector.clone(), Arc::clone(&self.shared));
                async move { Publisher::connect(&connector, &shared.shape, &shared.prefix, at).await }
            };
            publishers = all(shape.publishers, publisher).await?;
            self.version = publishers.first().map(|publisher| publisher.session().version().to_string());
        }
        if role.subscribes() {
            let reader = |at| {
                let (connector, shared) = (self.connector.clone(), Arc::clone(&self.shared));
                async move { Reader::subscribe(&connector, shared, at).await }
            };
            readers = all(shape.subscribers, reader).await?;
            let deaf = self.args.connect.connector_with(|options| {
                options.transport.connection_window = Stalled::WINDOW;
            })?;
            let stall = |at| {
                let (connector, shared) = (deaf.clone(), Arc::clone(&self.shared));
                async move { Stalled::subscribe(&connector, &shared, at).await }
            };
            stalled = all(shape.stalled, stall).await?;
        }
        self.event("subscribed").await?;
        let mut reading = JoinSet::new();
        for reader in readers {
            reading.spawn(reader.read());
        }
        // Those that still stay at the end leave then.
        let mut joining = JoinSet::new();
        if let Some(joins) = shape.joins.filter(|_| role.subscribes()) {
            let (connector, shared) = (self.connector.clone(), Arc::clone(&self.shared));
            joining.spawn(come_and_go(connector, shared, joins, Arc::clone(&self.joined)));
        }
        self.flow(publishers, &mut reading).await?;
        drop(joining);
        for subscriber in stalled {
            if !subscriber.lives().await {
                ui::notice("a subscriber that does not read was sent away by the relay");
            }
            subscriber.close().await;
        }
        let _ = timeout(Duration::from_secs(2), Client::wait_idle(self.connector.client())).await;
        Ok(())
    }

    /// Lets names come and go instead of frames.
    async fn run_names(&mut self, standing: usize) -> anyhow::Result<()> {
        if self.args.role != Role::Both {
            bail!(moqt_relay::Usage("names come and go within one process: leave --role out".to_owned()));
        }
        let shared = Arc::clone(&self.shared);
        let publisher = Names::announce(&self.connector, &shared, standing).await?;
        self.version = Some(publisher.version());
        let watcher = |_| {
            let (connector, shared) = (self.connector.clone(), Arc::clone(&shared));
            async move { Watcher::watch(&connector, &shared, standing).await }
        };
        let watchers = all(shared.shape.subscribers, watcher).await?;
        self.event("subscribed").await?;
        let per_second = shared.shape.tracks.first().map_or(0.0, |track| track.fps);
        let duration = self.args.knobs.duration;
        let mut reading = names::read_all(watchers, &shared, names::changes(per_second, duration));
        self.event("started").await?;
        publisher.change(per_second, now(), duration).await?;
        self.event("stopped").await?;
        drained(&mut reading).await;
        publisher.close().await;
        let wanted = names::changes(per_second, duration) * shared.shape.subscribers as u64;
        let seen: u64 = shared.meters.iter().map(|meter| meter.totals().frames).sum();
        if seen < wanted {
            bail!("{} of {wanted} names that came were not seen", wanted - seen);
        }
        let _ = timeout(Duration::from_secs(2), Client::wait_idle(self.connector.client())).await;
        Ok(())
    }

    /// Writes and reads, from the first frame to the last.
    async fn flow(
        &mut self,
        mut publishers: Vec<Publisher>,
        reading: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let (duration, patience) = (self.args.knobs.duration, self.patience());
        if publishers.is_empty() {
            ui::notice("subscribed; waiting for the first frame");
            let mut first = self.shared.first.subscribe();
            let silent = self.shared.shape.tracks.iter().all(|track| track.fps == 0.0);
            if !silent && timeout(patience, first.wait_for(Option::is_some)).await.is_err() {
                bail!("no frame came within {}; does the publisher run?", show(patience));
            }
            self.event("started").await?;
            // Joiners alone do not tell when the publisher is through.
            if reading.is_empty() {
                tokio::time::sleep(duration).await;
            } else if timeout(duration + patience, drained(reading)).await.is_err() {
                ui::notice("the tracks had not ended when it was time to go");
            }
            self.event("stopped").await?;
        } else {
            if self.args.role == Role::Publish {
                let wanted = async {
                    for publisher in &publishers {
                        publisher.wanted().await;
                    }
                };
                ui::notice("waiting for subscribers");
                let nobody = || anyhow!("nobody asked for the tracks within {}", show(patience));
                timeout(patience, wanted).await.map_err(|_| nobody())?;
                tokio::time::sleep(self.args.start_after).await;
            }
            self.event("started").await?;
            let start = now();
            publishers = write_all(publishers, &self.shared, start, duration).await?;
            self.event("stopped").await?;
            let ended = async {
                for publisher in &publishers {
                    publisher.finish().await;
                }
            };
            let flushed = timeout(patience, async { tokio::join!(ended, drained(reading)) }).await;
            if flushed.is_err() {
                ui::notice(&format!("not everything had arrived after {}", show(patience)));
            }
        }
        self.shared.stop.send_replace(true);
        // Bounded by the farewell of each reader.
        let _ = timeout(patience, drained(reading)).await;
        for publisher in publishers {
            let _ = timeout(Duration::from_secs(2), publisher.close()).await;
        }
        Ok(())
    }

    /// Says what became of it, and fails where frames were damaged or groups vanished.
    async fn tell(mut self) -> anyhow::Result<()> {
        let options = &self.args.connect.options;
        let carrier = match self.connector.url().scheme() {
            Scheme::Quic => "raw QUIC",
            Scheme::WebTransport | Scheme::Fingerprint => "WebTransport",
        };
        let shape = &self.shared.shape;
        let published = if self.args.role.publishes() {
            (0..shape.tracks.len()).map(|track| self.shared.begun.of_track(track)).collect()
        } else {
            Vec::new()
        };
        let swapped_ns = *self.shared.swapped_ns.borrow();
        let report = Report {
            shape,
            facts: json!({ "url": self.connector.url().to_string(), "carrier": carrier,
                "version": self.version, "congestion": format!("{:?}", options.congestion).to_lowercase(),
                "role": format!("{:?}", self.args.role).to_lowercase() }),
            meters: &self.shared.meters,
            published,
            joins: self.joined.counts(),
            swapped_ns,
        };
        let (lines, table, objection) = (report.lines(), report.table(), report.objection());
        for line in &lines {
            self.line(line).await?;
        }
        if self.json.as_ref().is_some_and(Output::is_stdout) {
            eprint!("{table}");
        } else {
            output::print(table.as_bytes()).await?;
        }
        match objection {
            Some(words) => Err(anyhow!(words)),
            None => Ok(()),
        }
    }
}

/// Writes all tracks in a task of its own: each frame wakes nothing else.
async fn write_all(
    publishers: Vec<Publisher>,
    shared: &Arc<Shared>,
    start: Instant,
    duration: Duration,
) -> anyhow::Result<Vec<Publisher>> {
    let shared = Arc::clone(shared);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut waiting: Vec<_> = publishers
            .iter()
            .map(|publisher| Box::pin(publisher.write(&shared.shape, start, duration, &shared.begun)))
            .collect();
        // What is due together is written together.
        std::future::poll_fn(|cx| {
            waiting.retain_mut(|writing| writing.as_mut().poll(cx).is_pending());
            if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        drop(waiting);
        publishers
    });
    task.join_next().await.context("nobody writes")?.context("writing failed")
}

async fn drained(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// Does the same `count` times, a few at a time, and gives what came of it in order of beginning.
async fn all<T, F>(count: usize, make: impl Fn(usize) -> F) -> anyhow::Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let (mut tasks, mut done) = (JoinSet::new(), Vec::with_capacity(count));
    for at in 0..count {
        if tasks.len() >= AT_A_TIME
            && let Some(one) = tasks.join_next().await
        {
            done.push(one??);
        }
        let making = make(at);
        tasks.spawn(async move { anyhow::Ok((at, making.await?)) });
    }
    while let Some(one) = tasks.join_next().await {
        done.push(one??);
    }
    done.sort_by_key(|(at, _): &(usize, T)| *at);
    Ok(done.into_iter().map(|(_, one)| one).collect())
}

fn show(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}
