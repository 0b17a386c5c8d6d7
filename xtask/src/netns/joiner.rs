//! Who comes late has its first frame within one round trip and a little, on a live track and on one where nothing
//! has happened for long.

use std::time::Duration;

use anyhow::Result;

use super::load::{Load, Relay, Way, number};
use super::space::Space;
use super::{Claims, NetnsArgs};
use crate::bench::Carrier;
use crate::lab::programs::Programs;

const RTT: Duration = Duration::from_millis(50);

/// What a machine may take beside the round trip.
const TICK: Duration = Duration::from_millis(10);

pub(super) fn run(programs: &Programs, args: &NetnsArgs, carrier: Carrier) -> Result<()> {
    let mut claims = Claims::new();
    let bound = (RTT + TICK).as_secs_f64() * 1e3;
    // A frame that fits the first flight of a connection: more takes more round trips, whoever sends it.
    for (name, shape) in [
        ("live", "--shape CUSTOM --fps 30 --frame-bytes 4000 --group-frames 30"),
        ("sparse", "--shape CUSTOM --fps 0.02 --frame-bytes 4000 --group-frames 1"),
    ] {
        let space = Space::new()?;
        let mut relay = Relay::start(&space, programs, &args.congestion)?;
        let _proxy = Way::rtt(RTT).start(&space, programs)?;
        let load = Load {
            name: format!("joiner-{}-{name}", carrier.scheme()),
            space: &space,
            programs,
            carrier,
            congestion: &args.congestion,
            duration: args.duration(15),
            far: true,
            shape: shape.split(' ').map(str::to_owned).collect(),
            subscribing: "--join-every 250ms --join-stay 1s".split(' ').map(str::to_owned).collect(),
            patience: Duration::from_secs(15),
        };
        let outcome = load.run(&mut relay)?;
        let joins = outcome.kind("joins")?;
        let ms = |what: &str| number(joins, &format!("/first_frame_us/{what}")) / 1e3;
        let figures = format!(
            "{} joins, first frame after ms p50 {:.1}, p90 {:.1}, max {:.1}",
            number(joins, "/done"),
            ms("p50"),
            ms("p90"),
            ms("max")
        );
        claims.claim(format!("{name}: nobody fails"), number(joins, "/failed") == 0.0, &figures);
        let enough = number(joins, "/done") >= 10.0;
        claims.claim(format!("{name}: half within {bound:.0} ms"), enough && ms("p50") <= bound, &figures);
        claims.claim_in_time(format!("{name}: 9 of 10 within {bound:.0} ms"), ms("p90") <= bound, &figures);
    }
    claims.finish()
}
