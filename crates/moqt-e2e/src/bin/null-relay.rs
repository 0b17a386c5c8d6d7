//! The relay without a protocol, and the load for it. See `moqt_e2e::null`.

use std::{fs::File, io::Write, net::SocketAddr, path::Path};

use anyhow::{Context as _, bail};
use clap::Parser;
use moqt::TransportOptions;
use moqt_e2e::{
    measure::knobs::{Knobs, shapes_help},
    null::{Congestion, bench, relay::Relay},
};

/// What a relay costs that does nothing: a floor to measure against.
#[derive(Debug, Parser)]
#[command(name = "null-relay")]
enum Verb {
    /// Pass bytes on until killed; prints its address
    Relay {
        /// UDP address to listen on
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
        bind: SocketAddr,
        /// Congestion control
        #[arg(long, value_name = "NAME", default_value = "cubic")]
        congestion: Congestion,
        /// Unidirectional streams that a client may have open; each that may be takes memory
        #[arg(long, value_name = "N")]
        uni_streams: Option<u32>,
        /// The same of bidirectional ones
        #[arg(long, value_name = "N")]
        bidi_streams: Option<u32>,
        /// Threads; as many as there are cores unless given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        threads: Option<u16>,
    },
    /// Put a load on such a relay, as `moqt bench` on a real one
    #[command(after_help = shapes_help())]
    Bench(Box<BenchArgs>),
}

#[derive(Debug, clap::Args)]
struct BenchArgs {
    /// Where the relay is
    #[arg(value_name = "ADDR")]
    address: SocketAddr,
    /// Congestion control
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    congestion: Congestion,
    #[command(flatten)]
    knobs: Knobs,
}

fn main() -> anyhow::Result<()> {
    let verb = Verb::parse();
    let threads = match &verb {
        Verb::Relay { threads, .. } => *threads,
        Verb::Bench(_) => None,
    };
    let mut runtime = match threads {
        Some(1) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(threads) = threads {
        runtime.worker_threads(threads.into());
    }
    runtime.enable_all().build()?.block_on(run(verb))
}

async fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Relay { bind, congestion, uni_streams, bidi_streams, .. } => {
            let mut options = TransportOptions::default();
            options.max_uni_streams = uni_streams.unwrap_or(options.max_uni_streams);
            options.max_bidi_streams = bidi_streams.unwrap_or(options.max_bidi_streams);
            let relay = Relay::bind(bind, congestion, &options)?;
            println!("{}", relay.address()?);
            relay.run().await;
            Ok(())
        }
        Verb::Bench(args) => {
            let to_stdout = args.knobs.json.as_deref() == Some(Path::new("-"));
            let mut out: Box<dyn Write> = match &args.knobs.json {
                None => Box::new(std::io::sink()),
                Some(_) if to_stdout => Box::new(std::io::stdout()),
                Some(path) => Box::new(File::create(path).with_context(|| format!("cannot write {path:?}"))?),
            };
            let (table, objection) =
                bench::run(args.address, &args.knobs, args.congestion, &mut *out).await?;
            if to_stdout {
                eprint!("{table}");
            } else {
                print!("{table}");
            }
            match objection {
                Some(words) => bail!(words),
                None => Ok(()),
            }
        }
    }
}
