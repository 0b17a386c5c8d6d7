//! What each hop of a relay tree adds to the latency, on this machine.
//!
//! Three relays as processes of the release build, each below the one before; a publisher at the top, and a subscriber at
//! each. Beside them, in the same time, a bare QUIC connection to an echo. Prints a line for each, and fails where a hop
//! adds more than a millisecond to the median.
//!
//! `cargo build --release -p moqt-relay && cargo run --release -p moqt-e2e --example tree`

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use moqt::{
    Client, ClientOptions, FullTrackName, Retention, SubscribeOptions, TrackInfo, TrackProducer, Tracks, Url,
    transport::NoVerification,
};
use moqt_e2e::{Process, measure::clock::monotonic_ns};
use tokio::task::JoinSet;

const HOPS: usize = 3;
const FRAMES: u32 = 600;
const FRAME_BYTES: usize = 1000;
const EVERY: Duration = Duration::from_millis(20);

/// What a hop may add to the median.
const MOST: Duration = Duration::from_millis(1);

#[tokio::main]
async fn main() -> Result<()> {
    let relay = std::env::current_exe()?.ancestors().nth(2).context("no target folder")?.join("moqt-relay");
    ensure!(relay.exists(), "build it first: cargo build --release -p moqt-relay");
    let (mut relays, mut urls) = (Vec::new(), Vec::<Url>::new());
    for _ in 0..HOPS {
        let above = urls.last().map(ToString::to_string);
        let mut args = vec!["--dev", "--bind", "127.0.0.1:0"];
        args.extend(above.iter().flat_map(|url| ["--upstream", url.as_str()]));
        let process = Process::run(&relay, &args, std::process::Stdio::null());
        let line = process.says("http://");
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).context("no URL")?;
        urls.push(url.parse()?);
        relays.push(process);
    }

    let client = Client::new(ClientOptions::default())?;
    let name: FullTrackName = "tree/clock".parse()?;
    let (tracks, live) =
        (Tracks::new(), TrackProducer::new(name.clone(), TrackInfo::default(), Retention::default()));
    let _published = tracks.publish(live.consume())?;
    let top = urls.first().context("no relay")?;
    let _publisher = client.connect_with(top, Arc::new(tracks)).await?;
    let mut reading = JoinSet::new();
    for (at, url) in urls.iter().enumerate() {
        let (client, url, name) = (client.clone(), url.clone(), name.clone());
        reading.spawn(async move { Ok::<_, anyhow::Error>((at, read(client, url, name).await?)) });
    }
    live.readers_above(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let echo = async { echo().await };
    let (echo, ()) = tokio::try_join!(echo, async {
        let mut clock = tokio::time::interval(EVERY);
        let mut group = live.append_group();
        for frame in 0..FRAMES {
            clock.tick().await;
            if frame > 0 && frame % 50 == 0 {
                group.finish()?;
                group = live.append_group();
            }
            group.write_frame(stamped())?;
        }
        group.finish()?;
        live.finish();
        Ok(())
    })?;
    let mut medians = [Duration::ZERO; HOPS];
    let mut lines = Vec::new();
    while let Some(read) = reading.join_next().await {
        let (at, took) = read??;
        lines.push((at, line(&format!("{} relays", at + 1), &took)));
        if let Some(median) = medians.get_mut(at) {
            *median = percentile(&took, 50);
        }
    }
    lines.sort();
    println!("| way | frames | p50 us | p90 us | p99 us |\n|---|---|---|---|---|");
    println!("{}", line("bare QUIC, there and back", &echo));
    lines.iter().for_each(|(_, line)| println!("{line}"));
    let mut most = Duration::ZERO;
    for (hop, pair) in medians.windows(2).enumerate() {
        if let [before, after] = pair {
            let added = after.saturating_sub(*before);
            println!("hop {} adds {} us to the median", hop + 2, added.as_micros());
            most = most.max(added);
        }
    }
    ensure!(most <= MOST, "a hop adds {most:?}, more than {MOST:?}");
    Ok(())
}

/// A frame with the time in it.
fn stamped() -> Vec<u8> {
    let mut frame = monotonic_ns().to_be_bytes().to_vec();
    frame.resize(FRAME_BYTES, 0);
    frame
}

/// How long ago a frame was written.
fn age(frame: &[u8]) -> Result<Duration> {
    let stamp = frame.get(..8).context("a short frame")?.try_into()?;
    Ok(Duration::from_nanos(monotonic_ns().saturating_sub(u64::from_be_bytes(stamp))))
}

/// How long each frame took to arrive, sorted.
async fn read(client: Client, url: Url, name: FullTrackName) -> Result<Vec<Duration>> {
    let session = client.connect(&url).await?;
    let mut names = session.subscriber().announced(moqt::Namespace::EMPTY).await?;
    while names.next().await.context("the relay is gone")? != moqt::Announced::Active(name.to_namespace()) {}
    let subscription = session.subscriber().subscribe(name, SubscribeOptions::default()).await?;
    let mut track = subscription.into_track();
    let mut took = Vec::new();
    while let Some(mut group) = track.next_group().await? {
        while let Some(frame) = group.read_frame().await? {
            took.push(age(&frame)?);
        }
    }
    ensure!(took.len() == FRAMES as usize, "{} of {FRAMES} frames came", took.len());
    took.sort_unstable();
    Ok(took)
}

/// How long frames take to a QUIC server that sends them back, sorted.
async fn echo() -> Result<Vec<Duration>> {
    let local: SocketAddr = ([127, 0, 0, 1], 0).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())?;
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let server = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(tls)), local)?;
    let address = server.local_addr()?;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let connection = server.accept().await.context("no client")?.await?;
        let (mut send, mut recv) = connection.accept_bi().await?;
        let mut buffer = vec![0; FRAME_BYTES];
        while recv.read_exact(&mut buffer).await.is_ok() {
            send.write_all(&buffer).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    let tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NoVerification::new(provider)))
        .with_no_client_auth();
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
    let endpoint = quinn::Endpoint::client(local)?;
    let config = quinn::ClientConfig::new(Arc::new(tls));
    let connection = endpoint.connect_with(config, address, "localhost")?.await?;
    let (mut send, mut recv) = connection.open_bi().await?;
    let (mut took, mut clock) = (Vec::new(), tokio::time::interval(EVERY));
    for _ in 0..FRAMES {
        clock.tick().await;
        send.write_all(&stamped()).await?;
        let mut frame = vec![0; FRAME_BYTES];
        recv.read_exact(&mut frame).await?;
        took.push(age(&frame)?);
    }
    took.sort_unstable();
    Ok(took)
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

fn line(way: &str, sorted: &[Duration]) -> String {
    let [p50, p90, p99] = [50, 90, 99].map(|percent| percentile(sorted, percent).as_micros());
    format!("| {way} | {} | {p50} | {p90} | {p99} |", sorted.len())
}
