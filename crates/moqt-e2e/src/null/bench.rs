//! The load for the null relay: the same shapes, frames and books as `moqt bench`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{ANSWER, Congestion, END, GROUP_HEADER, PUBLISHER, SUBSCRIBER, client, socket};
use crate::measure::{
    clock::monotonic_ns,
    frame::{Checker, Maker},
    knobs::Knobs,
    ledger::Ledger,
    meter::{End, Meter},
    pace::Pace,
    report::{Joins, Report},
    shape::Shape,
};

/// Puts the load on the relay at `address`. Writes lines of JSON to `out`; returns the table, and what is to be
/// objected to, if anything.
///
/// # Errors
///
/// When the relay is not there, or the shape asks for what this load cannot do.
pub async fn run(
    address: SocketAddr,
    knobs: &Knobs,
    congestion: Congestion,
    out: &mut dyn std::io::Write,
) -> Result<(String, Option<String>)> {
    let shape = knobs.shape().map_err(anyhow::Error::msg)?;
    ensure!(shape.stalled == 0 && shape.joins.is_none(), "the null relay has no --stall and no --join-every");
    ensure!(shape.names.is_none(), "the null relay knows no names");
    ensure!(knobs.swap_priorities_at.is_none(), "the null relay knows no priorities");
    let meters: Vec<_> =
        shape.tracks.iter().map(|_| Arc::new(Meter::new(knobs.warmup, knobs.interval))).collect();
    let begun: Arc<Vec<AtomicU64>> =
        Arc::new((0..shape.tracks.len() * shape.publishers).map(|_| AtomicU64::new(0)).collect());
    let any: SocketAddr = if address.is_ipv4() { ([127, 0, 0, 1], 0).into() } else { "[::1]:0".parse()? };
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket(any)?, runtime)?;
    let connect = async |alpn| {
        let connecting = endpoint.connect_with(client(congestion, alpn)?, address, "localhost")?;
        let connected = timeout(ANSWER, connecting).await.context("no answer")?;
        connected.with_context(|| format!("cannot connect to {address}"))
    };

    let mut publishers = Vec::new();
    for _ in 0..shape.publishers {
        publishers.push(connect(PUBLISHER).await?);
    }
    let stop = watch::Sender::new(false);
    let mut readers = JoinSet::new();
    for index in 0..shape.subscribers {
        let connection = connect(SUBSCRIBER).await?;
        let tracks = subscribe(&connection, &shape, &meters, index).await?;
        let (begun, meters) = (Arc::clone(&begun), meters.clone());
        readers.spawn(read(connection, tracks, meters, begun, stop.subscribe()));
    }
    event(out, "subscribed")?;
    event(out, "started")?;
    let start = now();
    let mut writers = JoinSet::new();
    for (index, connection) in publishers.into_iter().enumerate() {
        for at in 0..shape.tracks.len() {
            let writing = Writing { connection: connection.clone(), shape: shape.clone(), index, at };
            writers.spawn(writing.run(start, knobs.duration, Arc::clone(&begun)));
        }
    }
    let mut written = Vec::new();
    while let Some(writer) = writers.join_next().await {
        written.push(writer??);
    }
    event(out, "stopped")?;
    let _ = timeout(knobs.patience, async { while readers.join_next().await.is_some() {} }).await;
    stop.send_replace(true);
    let _ = timeout(ANSWER, async { while readers.join_next().await.is_some() {} }).await;
    endpoint.close(0_u32.into(), b"");
    let _ = timeout(Duration::from_secs(1), endpoint.wait_idle()).await;

    let groups =
        |at| begun.iter().skip(at).step_by(shape.tracks.len()).map(|n| n.load(Ordering::Acquire)).sum();
    let report = Report {
        shape: &shape,
        facts: json!({ "url": address.to_string(), "carrier": "null relay",
            "congestion": format!("{congestion:?}").to_lowercase(), "role": "both" }),
        meters: &meters,
        published: (0..shape.tracks.len()).map(groups).collect(),
        joins: Joins::default(),
        swapped_ns: None,
    };
    for line in report.lines() {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok((report.table(), report.objection()))
}

fn event(out: &mut dyn std::io::Write, kind: &str) -> Result<()> {
    writeln!(out, "{}", json!({ "kind": kind, "at_ns": monotonic_ns() }))?;
    Ok(out.flush()?)
}

#[expect(clippy::disallowed_methods, reason = "the load generator's own clock")]
fn now() -> Instant {
    Instant::now()
}

/// The tracks, by number, that a subscriber is let in to.
async fn subscribe(
    connection: &Connection,
    shape: &Shape,
    meters: &[Arc<Meter>],
    index: usize,
) -> Result<Vec<u32>> {
    let kinds = shape.tracks.len();
    let publishers = shape.publishers_of(index).into_iter();
    let tracks: Vec<u32> =
        publishers.flat_map(|publisher| (0..kinds).map(move |at| (publisher * kinds + at) as u32)).collect();
    let asked = now();
    let (mut send, mut receive) = connection.open_bi().await?;
    let wish: Vec<u8> = tracks.iter().flat_map(|track| track.to_le_bytes()).collect();
    send.write_all(&wish).await?;
    send.finish()?;
    timeout(ANSWER, receive.read_to_end(1)).await.context("no answer")??;
    meters.iter().for_each(|meter| meter.answered(asked.elapsed()));
    Ok(tracks)
}

/// Writes one track.
struct Writing {
    connection: Connection,
    shape: Shape,
    index: usize,
    at: usize,
}

impl Writing {
    /// The connection comes back, so that it outlives what is still on its way.
    async fn run(self, start: Instant, duration: Duration, begun: Arc<Vec<AtomicU64>>) -> Result<Connection> {
        let Self { connection, shape, index, at } = self;
        let id = index * shape.tracks.len() + at;
        let Some(track) = shape.tracks.get(at) else { return Ok(connection) };
        let maker = Maker::new(shape.largest_frame());
        let mut pace = Pace::new(track.clone(), id as u32);
        let share = index as f64 / shape.publishers.max(1) as f64;
        let offset = Duration::from_secs_f64(if track.fps > 0.0 { share / track.fps } else { 0.0 });
        let mut group: Option<SendStream> = None;
        while let Some(due) = pace.due().filter(|due| *due < duration || group.is_some()) {
            sleep_until(start + offset + due).await;
            let due = pace.make(&maker);
            let mut head = BytesMut::new();
            if due.begins {
                group = Some(connection.open_uni().await?);
                head.extend_from_slice(&group_header(id as u32, due.group));
                if let Some(count) = begun.get(id) {
                    count.store(due.group + 1, Ordering::Release);
                }
            }
            head.extend_from_slice(&(due.frame.len() as u32).to_le_bytes());
            if let Some(stream) = &mut group {
                stream.write_all_chunks(&mut [head.freeze(), due.frame]).await?;
            }
            if due.ends
                && let Some(mut stream) = group.take()
            {
                stream.finish()?;
            }
        }
        sleep_until(start + duration).await;
        let mut stream = connection.open_uni().await?;
        stream.write_all(&group_header(id as u32, END)).await?;
        stream.finish()?;
        Ok(connection)
    }
}

fn group_header(track: u32, group: u64) -> Vec<u8> {
    track.to_le_bytes().into_iter().chain(group.to_le_bytes()).collect()
}

/// How a stream ended: the track, the group, and whether it came whole.
struct StreamRead {
    track: u32,
    group: u64,
    whole: bool,
}

async fn read(
    connection: Connection,
    tracks: Vec<u32>,
    meters: Vec<Arc<Meter>>,
    begun: Arc<Vec<AtomicU64>>,
    mut stop: watch::Receiver<bool>,
) {
    let kinds = meters.len() as u32;
    let meter = |track: u32| meters.get((track % kinds.max(1)) as usize);
    let mut ledgers: std::collections::BTreeMap<u32, Ledger> =
        tracks.iter().map(|track| (*track, Ledger::default())).collect();
    let mut streams = JoinSet::new();
    let (mut open, mut end) = (tracks.len(), End::Finished);
    while open > 0 || !streams.is_empty() {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {
                end = End::Stopped;
                break;
            }
            Some(done) = streams.join_next(), if !streams.is_empty() => {
                let Ok(Some(StreamRead { track, group, whole })) = done else { continue };
                match ledgers.get_mut(&track) {
                    Some(_) if group == END => open = open.saturating_sub(1),
                    Some(ledger) if whole => ledger.whole(group),
                    Some(ledger) => ledger.cut(group),
                    None => {}
                }
            }
            stream = connection.accept_uni(), if open > 0 => match stream {
                Ok(stream) => {
                    streams.spawn(read_group(stream, meters.clone()));
                }
                Err(_) => (open, end) = (0, End::Broken),
            },
        }
    }
    for (track, ledger) in ledgers {
        let count = begun.get(track as usize).map_or(0, |count| count.load(Ordering::Acquire));
        if let Some(meter) = meter(track) {
            meter.close(ledger, count.checked_sub(1), end);
        }
    }
}

/// `None` for a stream that broke off before it said what it is.
async fn read_group(mut stream: RecvStream, meters: Vec<Arc<Meter>>) -> Option<StreamRead> {
    let mut head = [0; GROUP_HEADER];
    stream.read_exact(&mut head).await.ok()?;
    let track = u32::from_le_bytes(*head.first_chunk()?);
    let group = u64::from_le_bytes(*head.last_chunk()?);
    let meter = meters.get(track as usize % meters.len().max(1))?;
    let whole = group == END || frames(&mut stream, track, group, meter).await.unwrap_or(false);
    if group == 0 {
        meter.served();
    }
    Some(StreamRead { track, group, whole })
}

/// Reads and checks the frames of a group; whether it is whole.
async fn frames(stream: &mut RecvStream, track: u32, group: u64, meter: &Meter) -> Result<bool> {
    let mut reader = Pieces { stream, rest: Bytes::new() };
    let (mut count, mut promised) = (0, None);
    loop {
        let mut len = [0; 4];
        let mut have = 0;
        while let Some(place) = len.get_mut(have..).filter(|place| !place.is_empty()) {
            match reader.next(place.len()).await? {
                Some(piece) => {
                    place.iter_mut().zip(&piece).for_each(|(place, byte)| *place = *byte);
                    have += piece.len();
                }
                None => return Ok(have == 0 && promised == Some(count)),
            }
        }
        let mut left = u32::from_le_bytes(len) as usize;
        let mut checker = Checker::default();
        while left > 0 {
            let Some(piece) = reader.next(left).await? else { return Ok(false) };
            left -= piece.len();
            checker.push(&piece);
        }
        match checker.finish() {
            Ok((stamp, len)) if (stamp.track, stamp.group, stamp.frame) == (track, group, count) => {
                meter.frame(&stamp, len, monotonic_ns());
                promised = Some(stamp.frames);
            }
            _ => meter.damaged(),
        }
        count += 1;
    }
}

/// A stream in pieces of wanted lengths.
struct Pieces<'a> {
    stream: &'a mut RecvStream,
    rest: Bytes,
}

impl Pieces<'_> {
    /// At most `wanted` bytes; `None` at the end.
    async fn next(&mut self, wanted: usize) -> Result<Option<Bytes>> {
        if !self.rest.has_remaining() {
            match self.stream.read_chunk(1 << 16, true).await? {
                Some(chunk) => self.rest = chunk.bytes,
                None => return Ok(None),
            }
        }
        Ok(Some(self.rest.split_to(wanted.min(self.rest.len()))))
    }
}
