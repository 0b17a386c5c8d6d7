//! What a stream is for: the first integer on it.

use std::fmt;

use crate::version::Spec;

/// The kinds of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// Bidirectional, opened by the client, once: the handshake; the session lives as long as it does.
    Session,
    /// Bidirectional, opened by a subscriber: announcements.
    Announce,
    /// Bidirectional, opened by a subscriber: one subscription.
    Subscribe,
    /// Bidirectional, opened by a subscriber: one past group.
    Fetch,
    /// Bidirectional, opened by a subscriber: a question about a track.
    Info,
    /// Bidirectional, opened by the server if both sides agreed on it: the client should move elsewhere.
    Drain,
    /// Unidirectional, opened by a publisher: one group of a subscription.
    Group,
}

impl StreamKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Session, Self::Announce, Self::Subscribe, Self::Fetch, Self::Info, Self::Drain, Self::Group];

    /// What a bidirectional stream is that starts with `number`; `None` when the version has no such stream.
    pub fn bidi(spec: &Spec, number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.is_bidi() && kind.to_wire(spec) == Some(number))
    }

    /// What a unidirectional stream is that starts with `number`; `None` when the version has no such stream.
    pub fn uni(spec: &Spec, number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| !kind.is_bidi() && kind.to_wire(spec) == Some(number))
    }

    /// The number such a stream starts with; `None` when the version has none.
    pub fn to_wire(self, spec: &Spec) -> Option<u64> {
        match self {
            Self::Session => Some(spec.streams.session),
            Self::Announce => Some(spec.streams.announce),
            Self::Subscribe => Some(spec.streams.subscribe),
            Self::Fetch => spec.streams.fetch,
            Self::Info => Some(spec.streams.info),
            Self::Drain => Some(spec.streams.drain),
            Self::Group => Some(spec.streams.group),
        }
    }

    /// Whether both sides send on such a stream.
    pub fn is_bidi(self) -> bool {
        self != Self::Group
    }

    /// The kind as a lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Announce => "announce",
            Self::Subscribe => "subscribe",
            Self::Fetch => "fetch",
            Self::Info => "info",
            Self::Drain => "drain",
            Self::Group => "group",
        }
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;

    #[test]
    fn numbers_follow_the_table_of_the_version() {
        use StreamKind as Kind;
        for version in [Version::TRANSFORK_03, Version::TRANSFORK_04, Version::TRANSFORK_04_RS9] {
            let bidi = [0, 1, 2, 3, 4, 5].map(|number| Kind::bidi(version.spec(), number));
            let draft = [Kind::Session, Kind::Announce, Kind::Subscribe, Kind::Fetch, Kind::Info].map(Some);
            assert_eq!(bidi[..5], draft, "{version}");
            assert_eq!(bidi[5], None, "{version}");
        }
        let rs12 = Version::TRANSFORK_04_RS12.spec();
        assert_eq!(Kind::bidi(rs12, 3), Some(Kind::Info));
        assert_eq!(Kind::bidi(rs12, 4), None);
        assert_eq!(Kind::Fetch.to_wire(rs12), None);
    }

    #[test]
    fn both_directions_have_their_own_numbers() {
        for version in Version::ALL {
            assert_eq!(StreamKind::bidi(version.spec(), 0), Some(StreamKind::Session));
            assert_eq!(StreamKind::uni(version.spec(), 0), Some(StreamKind::Group));
            assert_eq!(StreamKind::uni(version.spec(), 1), None);
            assert_eq!(StreamKind::bidi(version.spec(), 0x0f05), Some(StreamKind::Drain));
        }
    }

    #[test]
    fn every_number_leads_back_to_its_kind() {
        for (version, kind) in Version::ALL.iter().flat_map(|v| StreamKind::ALL.map(|kind| (v, kind))) {
            if let Some(number) = kind.to_wire(version.spec()) {
                let read = if kind.is_bidi() { StreamKind::bidi } else { StreamKind::uni };
                assert_eq!(read(version.spec(), number), Some(kind));
            }
        }
    }
}
