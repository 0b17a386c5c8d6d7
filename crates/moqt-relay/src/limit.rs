//! The limits of a relay by name, as `--limit NAME=VALUE` sets them.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
    time::Duration,
};

use moqt::{Limits as SessionLimits, Retention};

use crate::{
    args::{duration, size},
    options::{Limits, Options},
};

/// Everything that bounds what peers may make grow.
#[derive(Debug, Default)]
struct All {
    relay: Limits,
    session: SessionLimits,
    retention: Retention,
}

/// What a limit is a number of, and where it is kept.
#[derive(Clone, Copy)]
enum Place {
    Count(fn(&mut All) -> &mut usize),
    PerSecond(fn(&mut All) -> &mut u32),
    Bytes(fn(&mut All) -> &mut u64),
    Time(fn(&mut All) -> &mut Duration),
}

use Place::{Bytes, Count, PerSecond, Time};

/// Each limit that can be set: its name, what it bounds, and where it is kept.
const TABLE: &[(&str, &str, Place)] = &[
    ("sessions", "sessions at a time", Count(|o| &mut o.relay.sessions)),
    ("sessions-per-address", "sessions of a source at a time", Count(|o| &mut o.relay.sessions_per_address)),
    ("handshakes", "clients in their handshakes", Count(|o| &mut o.relay.handshakes)),
    (
        "handshakes-per-address",
        "clients of a source in their handshakes",
        Count(|o| &mut o.relay.handshakes_per_address),
    ),
    (
        "unproven-handshakes",
        "handshakes from which on addresses are proven first",
        Count(|o| &mut o.relay.unproven_handshakes),
    ),
    ("handshake", "time for QUIC, and again for MoQ", Time(|o| &mut o.session.handshake)),
    ("requests", "requests of a session at a time", Count(|o| &mut o.session.requests)),
    (
        "requests-per-second",
        "requests of a session in a second",
        PerSecond(|o| &mut o.session.requests_per_second),
    ),
    (
        "requests-per-second-per-address",
        "requests of a source in a second",
        Bytes(|o| &mut o.relay.requests_per_second_per_address),
    ),
    (
        "refusals-per-second",
        "refusals in a second; more of them end a session",
        PerSecond(|o| &mut o.session.refusals_per_second),
    ),
    ("subscriptions", "subscriptions of a session at a time", Count(|o| &mut o.session.subscriptions)),
    ("watches", "announce streams of a session at a time", Count(|o| &mut o.session.watches)),
    ("fetches", "fetches of a session at a time", Count(|o| &mut o.session.fetches)),
    ("announced", "names that a session may announce", Count(|o| &mut o.session.announced)),
    (
        "names-per-second",
        "names of a session that come or go in a second",
        PerSecond(|o| &mut o.session.names_per_second),
    ),
    (
        "names-per-second-per-address",
        "names of a source that come or go in a second",
        Bytes(|o| &mut o.relay.names_per_second_per_address),
    ),
    ("told", "names that a session may be told", Count(|o| &mut o.session.told)),
    ("names", "names of all sessions of a scope", Count(|o| &mut o.relay.router.names)),
    ("waiters", "requests that wait for one answer", Count(|o| &mut o.relay.router.waiters)),
    ("groups", "group streams of a session at a time", Count(|o| &mut o.session.groups)),
    ("path-parts", "parts of a name", Count(|o| &mut o.session.wire.path_parts)),
    ("path-bytes", "bytes of a name", Count(|o| &mut o.session.wire.path_bytes)),
    ("message-bytes", "bytes of a control message", Count(|o| &mut o.session.wire.message_bytes)),
    ("frame-bytes", "bytes of a frame", Bytes(|o| &mut o.session.wire.frame_bytes)),
    ("group-bytes", "bytes of a group", Bytes(|o| &mut o.retention.max_group_bytes)),
    ("group-frames", "frames of a group", Count(|o| &mut o.retention.max_group_frames)),
    ("track-bytes", "bytes kept of a track", Bytes(|o| &mut o.retention.max_bytes)),
    ("track-groups", "groups kept of a track", Count(|o| &mut o.retention.max_groups)),
    (
        "payload-bytes-per-second",
        "bytes of groups from a session in a second",
        Bytes(|o| &mut o.session.payload_bytes_per_second),
    ),
    (
        "payload-bytes-per-second-per-address",
        "bytes of groups from a source in a second",
        Bytes(|o| &mut o.relay.payload_bytes_per_second_per_address),
    ),
    (
        "control-bytes-per-second",
        "control bytes from a session in a second",
        Bytes(|o| &mut o.session.control_bytes_per_second),
    ),
    ("outbox-bytes", "control bytes that wait for a peer", Count(|o| &mut o.session.outbox_bytes)),
    ("lag", "how far behind a subscriber may be", Time(|o| &mut o.session.lag_age)),
    ("lag-bytes", "bytes that may wait for a subscriber", Bytes(|o| &mut o.session.lag_bytes)),
    ("first-message", "time for the first message of a stream", Time(|o| &mut o.session.first_message)),
    ("answer", "time for an answer from a publisher", Time(|o| &mut o.relay.answer)),
    ("http-connections", "HTTP connections at a time", Count(|o| &mut o.relay.http_connections)),
];

/// A limit that has another value than usual: `NAME=VALUE`.
#[derive(Clone, Copy)]
pub struct LimitArg {
    name: &'static str,
    place: Place,
    /// Times in milliseconds.
    value: u64,
}

impl fmt::Debug for LimitArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

impl FromStr for LimitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("a limit is set as NAME=VALUE")?;
        let known = TABLE.iter().find(|(known, ..)| *known == name);
        let &(name, _, place) =
            known.ok_or_else(|| format!("there is no limit {name:?}; --help names them"))?;
        let value = match place {
            Time(_) => u64::try_from(duration(value)?.as_millis()).unwrap_or(u64::MAX),
            Count(_) | PerSecond(_) | Bytes(_) => size(value)?,
        };
        Ok(Self { name, place, value })
    }
}

/// Sets limits.
pub(crate) fn apply(limits: &[LimitArg], options: &mut Options) {
    let mut all = All {
        relay: options.limits.clone(),
        session: options.session.limits.clone(),
        retention: options.retention,
    };
    for limit in limits {
        // More than fits is as good as no limit.
        match limit.place {
            Count(at) => *at(&mut all) = limit.value.try_into().unwrap_or(usize::MAX),
            PerSecond(at) => *at(&mut all) = limit.value.try_into().unwrap_or(u32::MAX),
            Bytes(at) => *at(&mut all) = limit.value,
            Time(at) => *at(&mut all) = Duration::from_millis(limit.value),
        }
    }
    (options.limits, options.session.limits, options.retention) = (all.relay, all.session, all.retention);
}

/// The limits with their usual values, a line each.
pub(crate) fn help() -> String {
    let mut all = All::default();
    let mut help = "Limits (times in ms, s, m or h; sizes in bytes, KiB, MiB or GiB):\n".to_owned();
    for (name, what, place) in TABLE {
        let value = match place {
            Count(at) if name.ends_with("-bytes") => binary(*at(&mut all) as u64),
            Count(at) => at(&mut all).to_string(),
            PerSecond(at) => at(&mut all).to_string(),
            Bytes(at) => binary(*at(&mut all)),
            Time(at) => format!("{:?}", at(&mut all)),
        };
        let _ = writeln!(help, "  {name:36}  {value:>6}  {what}");
    }
    help.trim_end().to_owned()
}

/// A number in the largest unit in which it is whole.
fn binary(number: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if number >> shift > 0 && number.trailing_zeros() >= shift {
            return format!("{}{unit}", number >> shift);
        }
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_can_be_set_by_its_name_and_is_told_as_it_is_typed() {
        for (name, _, place) in TABLE {
            let mut all = All::default();
            let (text, value) = match place {
                Time(_) => ("7s", 7000),
                _ => ("7", 7),
            };
            let limit: LimitArg = format!("{name}={text}").parse().unwrap();
            assert_eq!((limit.name, limit.value), (*name, value));
            let before = match place {
                Count(at) => *at(&mut all) as u64,
                PerSecond(at) => u64::from(*at(&mut all)),
                Bytes(at) => *at(&mut all),
                Time(at) => at(&mut all).as_millis() as u64,
            };
            assert_ne!(before, value, "{name}");
            assert!(help().contains(&format!("\n  {name} ")), "{name}");
        }
        let mut names: Vec<_> = TABLE.iter().map(|(name, ..)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn what_is_set_arrives_where_it_is_looked_at() {
        let certificate = moqt::Certificate::generate(&["localhost".into()], 1).unwrap();
        let mut options = Options::new(certificate);
        let limits = ["sessions=3", "group-bytes=2MiB", "lag=250ms", "requests-per-second=99999999999"];
        apply(&limits.map(|limit| limit.parse().unwrap()), &mut options);
        assert_eq!((options.limits.sessions, options.retention.max_group_bytes), (3, 2 << 20));
        assert_eq!(options.session.limits.lag_age, Duration::from_millis(250));
        assert_eq!(options.session.limits.requests_per_second, u32::MAX);
        assert_eq!(options.limits.handshakes, Limits::default().handshakes);
    }

    #[test]
    fn a_wrong_limit_is_refused_with_what_is_wrong() {
        for (text, words) in [
            ("sessions", "NAME=VALUE"),
            ("session=3", "no limit"),
            ("sessions=-1", "no size"),
            ("lag=10", "no duration"),
        ] {
            assert!(text.parse::<LimitArg>().unwrap_err().contains(words), "{text}");
        }
    }
}
