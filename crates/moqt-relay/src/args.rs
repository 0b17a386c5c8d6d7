//! The command line of the relay.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration};

use clap::{ValueEnum, builder::FalseyValueParser};
use moqt::{Congestion, Fingerprint, Url, Version};

use crate::router::Redundancy;

use crate::limit::{self, LimitArg};

/// What hides behind version 04 of Transfork where the handshake does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Transfork04 {
    /// What the Rust crate moq-transfork 0.12 speaks
    #[default]
    Rs12,
    /// What moq-transfork 0.9 to 0.11 speak
    Rs9,
    /// The draft to the letter
    Draft,
}

impl From<Transfork04> for Version {
    fn from(encoding: Transfork04) -> Self {
        match encoding {
            Transfork04::Rs12 => Self::TRANSFORK_04_RS12,
            Transfork04::Rs9 => Self::TRANSFORK_04_RS9,
            Transfork04::Draft => Self::TRANSFORK_04,
        }
    }
}

/// How fast to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CongestionArg {
    /// Backs off on loss
    #[default]
    Cubic,
    /// Backs off on loss, and comes back more slowly
    #[value(name = "newreno")]
    NewReno,
    /// Keeps its rate under random loss; experimental
    Bbr,
}

impl From<CongestionArg> for Congestion {
    fn from(congestion: CongestionArg) -> Self {
        match congestion {
            CongestionArg::Cubic => Self::Cubic,
            CongestionArg::NewReno => Self::NewReno,
            CongestionArg::Bbr => Self::Bbr,
        }
    }
}

/// How many of a track's publishers are subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Publishers {
    /// One; the next takes over when it leaves or breaks off
    #[default]
    Best,
    /// All; the copy that is here first counts
    All,
}

impl From<Publishers> for Redundancy {
    fn from(publishers: Publishers) -> Self {
        match publishers {
            Publishers::Best => Self::Best,
            Publishers::All => Self::All,
        }
    }
}

/// An address to listen on, and what holds there: `ADDR` or `ADDR,transfork-04=rs9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bind {
    /// The address.
    pub address: SocketAddr,
    /// What hides behind version 04 of Transfork for clients of this address.
    pub transfork_04: Option<Transfork04>,
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = text.split(',');
        let address = pieces.next().unwrap_or_default();
        let address = address.parse().map_err(|_| {
            format!("{address:?} is no address with a port, such as [::]:4443 or 0.0.0.0:4443")
        })?;
        let mut bind = Self { address, transfork_04: None };
        for piece in pieces {
            match piece.split_once('=') {
                Some(("transfork-04", value)) => {
                    bind.transfork_04 = Some(Transfork04::from_str(value, false)?);
                }
                _ => return Err(format!("{piece:?} is no setting of an address; there is transfork-04=rs9")),
            }
        }
        Ok(bind)
    }
}

/// What the relay is told on its command line.
#[derive(clap::Args, Clone, Debug)]
#[command(after_long_help = limit::help())]
#[non_exhaustive]
pub struct Args {
    /// UDP address to listen on, for raw QUIC and WebTransport; repeatable; `[::]:4443` unless given
    ///
    /// `ADDR,transfork-04=rs9` sets what hides behind version 04 for this address alone.
    #[arg(long, value_name = "ADDR", env = "MOQT_BIND", value_delimiter = ' ')]
    pub bind: Vec<Bind>,

    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", env = "MOQT_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", env = "MOQT_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Make a self-signed certificate for these hosts, for clients that pin its fingerprint
    #[arg(
        long,
        value_name = "HOST,…",
        env = "MOQT_TLS_GENERATE",
        value_delimiter = ',',
        conflicts_with = "tls_cert"
    )]
    pub tls_generate: Vec<String>,

    /// Serve /certificate.sha256, /fingerprint, /health, /ready, /metrics and /announced over HTTP on this TCP address
    #[arg(long, value_name = "ADDR", env = "MOQT_HTTP")]
    pub http: Option<SocketAddr>,

    /// For development: loopback only, a certificate of its own, HTTP on the same port number, with a page that plays
    #[arg(long, env = "MOQT_DEV", value_parser = FalseyValueParser::new())]
    pub dev: bool,

    /// What hides behind version 04 of Transfork when the handshake does not say
    #[arg(
        long = "transfork-04",
        value_name = "ENCODING",
        env = "MOQT_TRANSFORK_04",
        value_enum,
        default_value_t
    )]
    pub transfork_04: Transfork04,

    /// Keep clients apart by the host name that they asked for, not only by the URL's path
    #[arg(long, env = "MOQT_SCOPE_BY_HOST", value_parser = FalseyValueParser::new())]
    pub scope_by_host: bool,

    /// Congestion control
    #[arg(long, value_name = "NAME", env = "MOQT_CONGESTION", value_enum, default_value_t)]
    pub congestion: CongestionArg,

    /// Silence after which a client counts as gone
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOQT_IDLE_TIMEOUT",
        default_value = "30s",
        value_parser = positive_duration
    )]
    pub idle_timeout: Duration,

    /// Threads that serve clients, each with a socket of its own, over which the system spreads clients
    ///
    /// Unless given, there is one socket, and a thread for each core serves whoever has something to do. With workers, a
    /// client stays with one; one whose address changes may lose its connection, and has to come again. Linux and FreeBSD
    /// only.
    #[arg(long, value_name = "N", env = "MOQT_WORKERS", value_parser = workers)]
    pub workers: Option<NonZeroUsize>,

    /// Most sessions at a time
    #[arg(long, value_name = "N", env = "MOQT_MAX_SESSIONS", default_value_t = 10_000)]
    pub max_sessions: usize,

    /// Most sessions at a time from one IPv4 address or IPv6 /64; with --dev as many as --max-sessions
    #[arg(long, value_name = "N", env = "MOQT_MAX_SESSIONS_PER_ADDRESS", default_value_t = 1000)]
    pub max_sessions_per_address: usize,

    /// How long a track is still taken from its publisher after its last subscriber has left
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOQT_LINGER",
        default_value = "2s",
        value_parser = duration
    )]
    pub linger: Duration,

    /// Relay above this one, as a URL without a path; repeatable, the most wanted first
    ///
    /// What clients here publish is there, too, and what is published there is here. A client's URL path holds there as
    /// well. `http://` fetches the fingerprint of the certificate first.
    #[arg(long, value_name = "URL", env = "MOQT_UPSTREAM", value_delimiter = ' ')]
    pub upstream: Vec<Url>,

    /// Trust the root certificates in FILE (PEM) for --upstream, beside the system's; repeatable
    #[arg(long, value_name = "FILE", env = "MOQT_UPSTREAM_TLS_ROOT")]
    pub upstream_tls_root: Vec<PathBuf>,

    /// Trust the certificate with this SHA-256 for --upstream, and no other; repeatable
    #[arg(long, value_name = "HEX", env = "MOQT_UPSTREAM_TLS_FINGERPRINT", value_delimiter = ',')]
    pub upstream_tls_fingerprint: Vec<Fingerprint>,

    /// Silence after which a relay above counts as gone
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOQT_UPSTREAM_TIMEOUT",
        default_value = "5s",
        value_parser = positive_duration
    )]
    pub upstream_timeout: Duration,

    /// How many of the publishers of one track are subscribed to
    #[arg(long, value_name = "WHICH", env = "MOQT_PUBLISHERS", value_enum, default_value_t)]
    pub publishers: Publishers,

    /// How long subscribers of a track that has lost its publishers wait for another to go on with it
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOQT_HOLD",
        default_value = "5s",
        value_parser = duration
    )]
    pub hold: Duration,

    /// Where clients are sent on SIGTERM; unless given, to the URL that they came by
    #[arg(long, value_name = "URL", env = "MOQT_DRAIN_TO")]
    pub drain_to: Option<Url>,

    /// How long clients may take to move away on SIGTERM
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOQT_DRAIN_TIMEOUT",
        default_value = "10s",
        value_parser = duration
    )]
    pub drain_timeout: Duration,

    /// How long finished groups are kept for late or slow subscribers; the latest is always kept
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOQT_CACHE_AGE",
        default_value = "10s",
        value_parser = duration
    )]
    pub cache_age: Duration,

    /// Most memory for groups of all tracks together, such as 512MiB; a quarter of the machine's, and at most 1GiB,
    /// unless given
    #[arg(long, value_name = "SIZE", env = "MOQT_CACHE_BYTES", value_parser = size)]
    pub cache_bytes: Option<u64>,

    /// Sets one of the limits below on what peers may make grow; repeatable
    #[arg(long, value_name = "NAME=VALUE", env = "MOQT_LIMIT", value_delimiter = ',')]
    pub limit: Vec<LimitArg>,
}

/// More threads than any machine has cores make no sense.
fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let wrong = || format!("{text:?} is no number from 1 to {MAX_WORKERS}");
    text.parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= MAX_WORKERS).ok_or_else(wrong)
}

const MAX_WORKERS: usize = 1024;

/// A number of bytes: `65536`, `64KiB`, `512MiB`, `1GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size, such as 65536, 512MiB or 1GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit: u64 = match unit {
        "" | "B" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

/// A number with a unit: `500ms`, `10s`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration, such as 500ms, 10s or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = |per: u64| number.checked_mul(per).map(Duration::from_secs);
    let duration = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        _ => None,
    };
    duration.filter(|duration| *duration <= MAX_DURATION).ok_or_else(wrong)
}

/// Longer than anybody means, and short enough to be added to any clock.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("must be more than 0".into()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_can_carry_its_own_encoding() {
        let bind: Bind = "[::]:4443".parse().unwrap();
        assert_eq!(bind, Bind { address: "[::]:4443".parse().unwrap(), transfork_04: None });
        let bind: Bind = "127.0.0.1:0,transfork-04=rs9".parse().unwrap();
        assert_eq!(bind.transfork_04, Some(Transfork04::Rs9));
        for wrong in ["", "4443", "localhost:4443", "[::]:4443,", "[::]:1,transfork-04=rs10", "[::]:1,x=y"] {
            assert!(wrong.parse::<Bind>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_may_have_units() {
        for (text, bytes) in [("0", 0), ("65536", 65_536), ("7B", 7), ("64KiB", 65_536), ("3MB", 3_000_000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in
            ["", "MiB", "1.5GiB", "-1", "1TB", "1 GiB", "99999999999999999999", "18446744073709551615KB"]
        {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in [("0s", 0), ("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "10", "s", "1d", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(positive_duration("0ms").is_err());
    }
}
