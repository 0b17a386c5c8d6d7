//! The settings of both sides, in the dialects that WebTransport has spoken.

use std::collections::BTreeSet;

use wtransport::proto::error::ErrorCode;

use super::{error::Violation, limits::FIELDS_BYTES, varint};

const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const QPACK_BLOCKED_STREAMS: u64 = 0x07;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
const H3_DATAGRAM: u64 = 0x33;
/// Draft 2, which browsers speak.
const ENABLE_WEBTRANSPORT: u64 = 0x2b60_3742;
/// Draft 7.
const WEBTRANSPORT_MAX_SESSIONS: u64 = 0xc671_706a;
/// Drafts 15 and 16.
const WT_ENABLED: u64 = 0x2c7c_f000;

/// What matters of a peer's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// It takes sessions by the name that they had up to draft 14.
    pub(super) webtransport: bool,
    /// It takes sessions by the name that they have had since.
    pub(super) webtransport_h3: bool,
}

impl Settings {
    /// Reads the payload of a SETTINGS frame.
    pub(super) fn parse(mut payload: &[u8]) -> Result<Self, Violation> {
        let mut settings = Self::default();
        // Bounded by the size of the frame.
        let mut seen = BTreeSet::new();
        while !payload.is_empty() {
            let (Some(id), Some(value)) = (varint::take(&mut payload), varint::take(&mut payload)) else {
                return Err(Violation::new(ErrorCode::Frame, "settings were cut short"));
            };
            if !seen.insert(id) {
                return Err(Violation::new(ErrorCode::Settings, "a setting came twice"));
            }
            match (id, value) {
                // What HTTP/2 had.
                (0x00 | 0x02..=0x05, _) => {
                    return Err(Violation::new(ErrorCode::Settings, "a setting of HTTP/2"));
                }
                (ENABLE_CONNECT_PROTOCOL | H3_DATAGRAM, 2..) => {
                    return Err(Violation::new(ErrorCode::Settings, "a switch that is neither on nor off"));
                }
                (ENABLE_WEBTRANSPORT | WEBTRANSPORT_MAX_SESSIONS, 1..) => settings.webtransport = true,
                (WT_ENABLED, 1..) => settings.webtransport_h3 = true,
                _ => {}
            }
        }
        Ok(settings)
    }

    /// The payload of our own: no dynamic table for headers, one session, in every dialect.
    pub(super) fn ours() -> Vec<u8> {
        let mut out = Vec::new();
        for (id, value) in [
            (QPACK_MAX_TABLE_CAPACITY, 0),
            (MAX_FIELD_SECTION_SIZE, FIELDS_BYTES as u64),
            (QPACK_BLOCKED_STREAMS, 0),
            (ENABLE_CONNECT_PROTOCOL, 1),
            (H3_DATAGRAM, 1),
            (ENABLE_WEBTRANSPORT, 1),
            (WT_ENABLED, 1),
            (WEBTRANSPORT_MAX_SESSIONS, 1),
        ] {
            varint::put(&mut out, id);
            varint::put(&mut out, value);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(u64, u64)]) -> Result<Settings, ErrorCode> {
        let mut payload = Vec::new();
        for &(id, value) in pairs {
            varint::put(&mut payload, id);
            varint::put(&mut payload, value);
        }
        Settings::parse(&payload).map_err(|violation| violation.code)
    }

    #[test]
    fn our_settings_read_back_as_both_dialects() {
        let all = Settings { webtransport: true, webtransport_h3: true };
        assert_eq!(Settings::parse(&Settings::ours()), Ok(all));
    }

    #[test]
    fn each_dialect_is_known_and_unknown_settings_are_ignored() {
        let old = Settings { webtransport: true, webtransport_h3: false };
        let new = Settings { webtransport: false, webtransport_h3: true };
        assert_eq!(parse(&[(0x21, 7), (ENABLE_WEBTRANSPORT, 1), (1 << 40, 9)]), Ok(old));
        assert_eq!(parse(&[(WEBTRANSPORT_MAX_SESSIONS, 16)]), Ok(old));
        assert_eq!(parse(&[(WT_ENABLED, 1)]), Ok(new));
        assert_eq!(parse(&[(ENABLE_WEBTRANSPORT, 0), (WT_ENABLED, 0)]), Ok(Settings::default()));
    }

    #[test]
    fn what_settings_must_not_be_is_an_error() {
        assert_eq!(parse(&[(0x33, 1), (0x33, 1)]), Err(ErrorCode::Settings));
        assert_eq!(parse(&[(0x21, 1), (0x21, 2)]), Err(ErrorCode::Settings));
        assert_eq!(parse(&[(0x08, 2)]), Err(ErrorCode::Settings));
        for id in [0x00, 0x02, 0x03, 0x04, 0x05] {
            assert_eq!(parse(&[(id, 0)]), Err(ErrorCode::Settings));
        }
        let ours = Settings::ours();
        assert_eq!(Settings::parse(&ours[..ours.len() - 1]).map_err(|v| v.code), Err(ErrorCode::Frame));
    }
}
