//! The versions that can be spoken, each one row of constants.
//!
//! One version number on the wire can hide several encodings, so a row is a *profile*: what one kind of peer
//! really sends. Field presence is not here but on the fields, as marks against [`Spec::draft`].

use std::fmt;
use std::str::FromStr;

/// ALPN of HTTP/3, on which WebTransport sessions of every version run.
pub const ALPN_WEBTRANSPORT: &[u8] = b"h3";

/// ALPN of Transfork over raw QUIC; deployed peers never changed it between versions.
pub const ALPN_TRANSFORK: &[u8] = b"moqf-02";

/// A version of the protocol together with the way it is written: a handle to a [`Spec`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u8);

impl Version {
    /// Draft 04 to the letter, agreed by both sides through an extension.
    pub const TRANSFORK_04: Self = Self(0);
    /// What the released Rust crate `moq-transfork` 0.12 speaks under the number of draft 04.
    pub const TRANSFORK_04_RS12: Self = Self(1);
    /// Draft 03: groups carry an expiry.
    pub const TRANSFORK_03: Self = Self(2);
    /// What `moq-transfork` 0.9 to 0.11 speak under the number of draft 04; chosen by configuration only.
    pub const TRANSFORK_04_RS9: Self = Self(3);

    /// Every version, the preferred first.
    pub const ALL: [Self; 4] =
        [Self::TRANSFORK_04, Self::TRANSFORK_04_RS12, Self::TRANSFORK_03, Self::TRANSFORK_04_RS9];

    /// The constants of this version.
    pub fn spec(self) -> &'static Spec {
        match self {
            Self::TRANSFORK_03 => &TRANSFORK_03,
            Self::TRANSFORK_04_RS12 => &TRANSFORK_04_RS12,
            Self::TRANSFORK_04_RS9 => &TRANSFORK_04_RS9,
            _ => &TRANSFORK_04,
        }
    }

    /// The versions that share `code` on the wire, the preferred first.
    pub fn with_code(code: u64) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |version| version.spec().code == code)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.spec().name)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|version| version.spec().name == name).ok_or(UnknownVersion)
    }
}

/// The text names no version of [`Version::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown version; known are transfork-03, transfork-04, transfork-04-rs12 and transfork-04-rs9")]
pub struct UnknownVersion;

/// Protocols that share messages and stream topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// MoQ Transfork.
    Transfork,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transfork => "transfork",
        })
    }
}

/// An ability that a version has or lacks. Ask before a request, not while encoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// A past group can be fetched.
    Fetch,
    /// Estimated bitrates may be sent; peers that lack this close the session on one.
    SessionUpdate,
    /// The publisher honours the first and last group of a subscription.
    Ranges,
    /// Subscriptions and infos say how long a finished group stays useful.
    GroupExpires,
    /// A subscriber can leave the group order to the publisher.
    DefaultOrder,
    /// Interest in announcements is a pattern over joined text rather than a prefix of parts.
    Patterns,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetch => "fetch",
            Self::SessionUpdate => "session update",
            Self::Ranges => "group ranges",
            Self::GroupExpires => "group expiry",
            Self::DefaultOrder => "default group order",
            Self::Patterns => "announce patterns",
        })
    }
}

/// The constants of one version.
#[derive(Debug)]
pub struct Spec {
    /// The version whose row this is.
    pub version: Version,
    /// Its name, as in configuration and logs.
    pub name: &'static str,
    /// Its number in the handshake.
    pub code: u64,
    /// The protocol it belongs to.
    pub family: Family,
    /// Which draft of the family it follows; what `[since n]` and `[until n]` marks compare with.
    pub draft: u16,
    /// ALPNs on raw QUIC, the preferred first. WebTransport is always [`ALPN_WEBTRANSPORT`].
    pub alpns: &'static [&'static [u8]],
    /// What it can do; see [`supports`](Self::supports).
    pub features: &'static [Feature],
    /// How paths are written.
    pub path: PathForm,
    /// How priorities are written.
    pub priority: PriorityForm,
    /// How group orders are numbered.
    pub order: OrderForm,
    /// How the fields of an info stand.
    pub info: InfoLayout,
    /// The largest error code that a message may carry.
    pub code_max: u64,
    /// The numbers that open streams.
    pub streams: StreamTypes,
}

impl Spec {
    /// Whether the version has `feature`.
    pub fn supports(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
    }
}

impl Eq for Spec {}

/// How a path stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    /// A count, then each part with its length.
    Parts,
    /// The same, and each part has to be UTF-8.
    TextParts,
    /// One UTF-8 string, the parts joined by `/`.
    Joined,
}

/// How a priority stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriorityForm {
    /// A varint; more than 255 counts as 255.
    Varint,
    /// One byte: the peer's signed priority plus 128, which is our unsigned one.
    BiasedByte,
}

/// How a group order is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderForm {
    /// 0 default, 1 ascending, 2 descending.
    WithDefault,
    /// 0 ascending, 1 descending; the default is sent as descending.
    WithoutDefault,
}

/// How the fields of an info stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfoLayout {
    /// Priority, latest group, order.
    LatestBeforeOrder,
    /// Priority, order, latest group.
    OrderBeforeLatest,
}

/// The numbers that open streams; `None` where the version has no such stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamTypes {
    /// Bidirectional: the handshake.
    pub session: u64,
    /// Bidirectional: announcements.
    pub announce: u64,
    /// Bidirectional: a subscription.
    pub subscribe: u64,
    /// Bidirectional: a fetch.
    pub fetch: Option<u64>,
    /// Bidirectional: a question about a track.
    pub info: u64,
    /// Bidirectional: a request to move elsewhere (our own extension).
    pub drain: u64,
    /// Unidirectional: one group.
    pub group: u64,
}

const DRAFT_STREAMS: StreamTypes =
    StreamTypes { session: 0, announce: 1, subscribe: 2, fetch: Some(3), info: 4, drain: 0x0f05, group: 0 };

static TRANSFORK_04: Spec = Spec {
    version: Version::TRANSFORK_04,
    name: "transfork-04",
    code: 0xff0b_ad04,
    family: Family::Transfork,
    draft: 4,
    alpns: &[ALPN_TRANSFORK],
    features: &[Feature::Fetch, Feature::SessionUpdate, Feature::Ranges, Feature::DefaultOrder],
    path: PathForm::Parts,
    priority: PriorityForm::Varint,
    order: OrderForm::WithDefault,
    info: InfoLayout::LatestBeforeOrder,
    code_max: crate::varint::MAX,
    streams: DRAFT_STREAMS,
};

static TRANSFORK_04_RS12: Spec = Spec {
    version: Version::TRANSFORK_04_RS12,
    name: "transfork-04-rs12",
    features: &[Feature::Patterns],
    path: PathForm::Joined,
    streams: StreamTypes { fetch: None, info: 3, ..DRAFT_STREAMS },
    ..TRANSFORK_04_RS9
};

static TRANSFORK_03: Spec = Spec {
    version: Version::TRANSFORK_03,
    name: "transfork-03",
    code: 0xff0b_ad03,
    draft: 3,
    features: &[
        Feature::Fetch,
        Feature::SessionUpdate,
        Feature::Ranges,
        Feature::DefaultOrder,
        Feature::GroupExpires,
    ],
    ..TRANSFORK_04
};

static TRANSFORK_04_RS9: Spec = Spec {
    version: Version::TRANSFORK_04_RS9,
    name: "transfork-04-rs9",
    features: &[],
    path: PathForm::TextParts,
    priority: PriorityForm::BiasedByte,
    order: OrderForm::WithoutDefault,
    info: InfoLayout::OrderBeforeLatest,
    code_max: u32::MAX as u64,
    ..TRANSFORK_04
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_under_its_own_version_and_name() {
        for version in Version::ALL {
            assert_eq!(version.spec().version, version);
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert_eq!("transfork-05".parse::<Version>(), Err(UnknownVersion));
    }

    #[test]
    fn three_versions_share_the_number_of_draft_04() {
        let names = |code| Version::with_code(code).map(|v| v.to_string()).collect::<Vec<_>>();
        assert_eq!(names(0xff0b_ad04), ["transfork-04", "transfork-04-rs12", "transfork-04-rs9"]);
        assert_eq!(names(0xff0b_ad03), ["transfork-03"]);
        assert!(names(0xff0b_ad02).is_empty());
    }

    #[test]
    fn features_follow_the_table() {
        let has = |feature| Version::ALL.map(|version| version.spec().supports(feature));
        // In the order of `ALL`: 04, 04-rs12, 03, 04-rs9.
        assert_eq!(has(Feature::Fetch), [true, false, true, false]);
        assert_eq!(has(Feature::SessionUpdate), [true, false, true, false]);
        assert_eq!(has(Feature::Ranges), [true, false, true, false]);
        assert_eq!(has(Feature::GroupExpires), [false, false, true, false]);
        assert_eq!(has(Feature::DefaultOrder), [true, false, true, false]);
        assert_eq!(has(Feature::Patterns), [false, true, false, false]);
    }
}
