//! A bad network before a UDP server. See `moqt_e2e::impair`.

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use moqt_e2e::impair::{LinkOptions, Proxy};

/// Carries UDP to a server over a network that is as bad as wished; prints its address, and runs until killed.
///
/// A link is written as its parts, e.g. `loss=1%,delay=10ms,rate=10M,queue=62500,seed=7`.
#[derive(Debug, Parser)]
#[command(name = "impair")]
struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server
    #[arg(long, value_name = "ADDR")]
    to: SocketAddr,
    /// The way to the server
    #[arg(long, value_name = "LINK", default_value = "")]
    up: LinkOptions,
    /// The way back
    #[arg(long, value_name = "LINK", default_value = "")]
    down: LinkOptions,
}

fn main() -> anyhow::Result<()> {
    let Args { listen, to, up, down } = Args::parse();
    let proxy = Proxy::start(listen, to, up, down)?;
    println!("{}", proxy.address());
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
