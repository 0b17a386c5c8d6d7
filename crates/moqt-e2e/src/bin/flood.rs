//! A client that wants everything. See `moqt_e2e::flood`.

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use moqt::Fingerprint;
use moqt_e2e::flood::{Kind, Target};

/// Floods a relay for a time, one session after the other, and tells how much that was.
#[derive(Debug, Parser)]
#[command(name = "flood")]
struct Args {
    /// What of
    #[arg(value_enum)]
    kind: Kind,
    /// The relay
    address: SocketAddr,
    /// The SHA-256 of its certificate
    fingerprint: Fingerprint,
    /// How long
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { kind, address, fingerprint, duration } = Args::parse();
    let (mut sessions, mut turned_away, mut count) = (0_u64, 0_u64, 0);
    println!("started");
    let flooding = async {
        // One for all, so that what a session leaves behind is closed.
        let target = Target::new(address, fingerprint)?;
        loop {
            match kind.flood(&target).await {
                Ok(more) => count += more,
                Err(_) => {
                    turned_away += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            sessions += 1;
        }
    };
    let ended: Result<anyhow::Result<()>, _> = tokio::time::timeout(duration, flooding).await;
    ended.unwrap_or(Ok(()))?;
    println!("{sessions} sessions, {turned_away} turned away, {count} of {kind:?} by those that ended");
    Ok(())
}
