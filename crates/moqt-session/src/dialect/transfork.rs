//! MoQ Transfork: drafts 03 and 04, and the dialects of the deployed crates.

mod handshake;

use std::{ops::RangeInclusive, time::Duration};

use bytes::{Bytes, BytesMut};
use moqt_transport::Code;
use moqt_wire::{
    DecodeError, DecodeErrorKind, EncodeError, Feature, GroupSequence, Message as _, Millis, StreamDecoder,
    SubscribeId, Version,
    transfork::{self as wire, Interest, Pattern, StreamKind, code},
};

pub(crate) use handshake::{ClientHandshake, HandshakeError, Negotiated, Offer, ServerHandshake};

use super::{Dialect, GroupFormat};
use crate::{
    error::{Reason, RequestError},
    model::TrackInfo,
    proto::{AnnounceStatus, Fetch, Gap, Info, Message, RequestKind, Sender, Subscribe, SubscribeUpdate},
};

/// One row of the family.
#[derive(Debug)]
struct Transfork(Version);

/// Application codes whose places above [`code::APP_BASE`] are taken by codes of our own.
const OURS: RangeInclusive<u32> = 1..=6;

/// Where those stand instead: below the application's space, where nobody has any codes.
const APP_BASE_OF_OURS: u64 = 48;

static ROWS: [Transfork; 4] = [
    Transfork(Version::TRANSFORK_03),
    Transfork(Version::TRANSFORK_04),
    Transfork(Version::TRANSFORK_04_RS12),
    Transfork(Version::TRANSFORK_04_RS9),
];

pub(super) fn of(version: Version) -> &'static dyn Dialect {
    let [draft_03, draft_04, rs12, rs9] = &ROWS;
    match version {
        Version::TRANSFORK_03 => draft_03,
        Version::TRANSFORK_04_RS12 => rs12,
        Version::TRANSFORK_04_RS9 => rs9,
        _ => draft_04,
    }
}

impl Dialect for Transfork {
    fn version(&self) -> Version {
        self.0
    }

    fn request_kind(&self, stream_type: u64) -> Option<RequestKind> {
        Some(match StreamKind::bidi(self.0.spec(), stream_type)? {
            StreamKind::Session => RequestKind::Session,
            StreamKind::Announce => RequestKind::Announce,
            StreamKind::Subscribe => RequestKind::Subscribe,
            StreamKind::Fetch => RequestKind::Fetch,
            StreamKind::Info => RequestKind::Info,
            StreamKind::Drain => RequestKind::Drain,
            StreamKind::Group => return None,
        })
    }

    fn stream_type(&self, kind: RequestKind) -> Option<u64> {
        let kind = match kind {
            RequestKind::Session => StreamKind::Session,
            RequestKind::Announce => StreamKind::Announce,
            RequestKind::Subscribe => StreamKind::Subscribe,
            RequestKind::Fetch => StreamKind::Fetch,
            RequestKind::Info => StreamKind::Info,
            RequestKind::Drain => StreamKind::Drain,
        };
        kind.to_wire(self.0.spec())
    }

    fn unknown_stream_ends_session(&self) -> bool {
        self.0 == Version::TRANSFORK_03 || self.0 == Version::TRANSFORK_04
    }

    fn group_format(&self) -> GroupFormat {
        GroupFormat::Transfork
    }

    fn decode(
        &self,
        kind: RequestKind,
        sender: Sender,
        index: u64,
        decoder: &mut StreamDecoder,
    ) -> Result<Option<Message>, DecodeError> {
        Ok(match (kind, sender, index) {
            (RequestKind::Session, _, _) => {
                decoder.next::<wire::SessionUpdate>()?.map(|update| Message::Bitrate(update.bitrate))
            }
            (RequestKind::Announce, Sender::Requester, _) => {
                decoder.next::<wire::AnnouncePlease>()?.map(|please| Message::Watch(please.interest))
            }
            (RequestKind::Announce, Sender::Responder, _) => decoder.next()?.map(announce),
            (RequestKind::Subscribe, Sender::Requester, 0) => decoder.next()?.map(subscribe),
            (RequestKind::Subscribe, Sender::Requester, _) => decoder.next()?.map(update),
            (RequestKind::Subscribe, Sender::Responder, 0) => {
                decoder.next()?.map(info).map(Message::Accepted)
            }
            (RequestKind::Subscribe, Sender::Responder, _) => decoder.next()?.map(gap),
            (RequestKind::Info, Sender::Requester, 0) => {
                decoder.next::<wire::InfoPlease>()?.map(|please| Message::AskInfo(please.track))
            }
            // Nothing may follow. Spec: digest 9, row 43.
            (RequestKind::Info, Sender::Requester, _) => {
                decoder.expect_end()?;
                None
            }
            (RequestKind::Info, Sender::Responder, _) => decoder.next()?.map(info).map(Message::Info),
            (RequestKind::Fetch, Sender::Requester, 0) => decoder.next()?.map(fetch),
            (RequestKind::Fetch, Sender::Requester, _) => {
                decoder.next::<wire::FetchUpdate>()?.map(|update| Message::FetchUpdate(update.priority))
            }
            // Frames, which the data plane reads.
            (RequestKind::Fetch, Sender::Responder, _) => None,
            (RequestKind::Drain, Sender::Requester, 0) => decoder.next()?.map(drain).transpose()?,
            (RequestKind::Drain, _, _) => {
                decoder.expect_end()?;
                None
            }
        })
    }

    fn encode(&self, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError> {
        let spec = self.0.spec();
        let expires = |age: Option<Duration>| {
            spec.supports(Feature::GroupExpires).then(|| age.map_or(Millis(0), Millis::from))
        };
        match message {
            Message::Bitrate(bits) => wire::SessionUpdate { bitrate: *bits }.encode(spec, out),
            Message::Watch(interest) => wire::AnnouncePlease { interest: interest.clone() }.encode(spec, out),
            Message::Announce { status, suffix } => {
                let (status, suffix) = match status {
                    AnnounceStatus::Ended => (wire::AnnounceStatus::ENDED, Some(suffix.clone())),
                    AnnounceStatus::Active => (wire::AnnounceStatus::ACTIVE, Some(suffix.clone())),
                    AnnounceStatus::CaughtUp => (wire::AnnounceStatus::LIVE, None),
                };
                wire::Announce { status, suffix }.encode(spec, out)
            }
            Message::Subscribe(wish) => wire::Subscribe {
                id: SubscribeId(wish.id),
                track: wish.name.clone(),
                priority: wish.priority,
                order: wish.order,
                expires: expires(wish.max_age),
                first: wish.first.map(GroupSequence),
                last: wish.last.map(GroupSequence),
            }
            .encode(spec, out),
            Message::SubscribeUpdate(update) => wire::SubscribeUpdate {
                priority: update.priority,
                order: update.order,
                expires: expires(update.max_age),
                first: update.first.map(GroupSequence),
                last: update.last.map(GroupSequence),
            }
            .encode(spec, out),
            Message::Accepted(info) | Message::Info(info) => wire::Info {
                priority: info.track.priority,
                order: info.track.order,
                latest: GroupSequence(info.latest.unwrap_or(0)),
                expires: expires(info.track.max_age),
            }
            .encode(spec, out),
            Message::Gap(gap) => wire::SubscribeGap {
                first: GroupSequence(gap.first),
                additional: gap.last.saturating_sub(gap.first),
                code: moqt_wire::Code(gap.code.0),
            }
            .encode(spec, out),
            Message::AskInfo(name) => wire::InfoPlease { track: name.clone() }.encode(spec, out),
            Message::Fetch(fetch) => wire::Fetch {
                track: fetch.name.clone(),
                priority: fetch.priority,
                group: GroupSequence(fetch.group),
                frame: fetch.frame,
            }
            .encode(spec, out),
            Message::FetchUpdate(priority) => wire::FetchUpdate { priority: *priority }.encode(spec, out),
            Message::Drain(url) => {
                let url = url.as_ref().map(|url| Bytes::copy_from_slice(url.as_bytes())).unwrap_or_default();
                wire::Drain { url }.encode(spec, out)
            }
        }
    }

    fn check(&self, message: &Message) -> Result<(), RequestError> {
        let version = self.0;
        let needs = match message {
            Message::Fetch(_) => Some(Feature::Fetch),
            Message::Bitrate(_) => Some(Feature::SessionUpdate),
            _ => None,
        };
        if let Some(feature) = needs.filter(|feature| !version.spec().supports(*feature)) {
            return Err(RequestError::Unsupported { feature, version });
        }
        let mut scratch = BytesMut::new();
        self.encode(message, &mut scratch).map_err(|error| RequestError::Encode(error.to_string()))
    }

    fn asked(&self, interest: Interest) -> Interest {
        match interest {
            // The pattern for what is below a name leaves out the name itself.
            Interest::Prefix(prefix) if self.0.spec().supports(Feature::Patterns) => {
                // What no pattern can say is left for `check` to refuse.
                Pattern::covering(&prefix).map_or(Interest::Prefix(prefix), Interest::Pattern)
            }
            interest => interest,
        }
    }

    fn code(&self, reason: Reason) -> Code {
        let code = match reason {
            Reason::Cancelled => code::CANCEL,
            Reason::NotFound => code::NOT_FOUND,
            Reason::Unauthorized => code::UNAUTHORIZED,
            Reason::Expired => code::EXPIRED,
            Reason::Timeout => code::TIMEOUT,
            Reason::GoingAway => code::GOING_AWAY,
            Reason::TooMany => code::TOO_MANY,
            Reason::Internal => code::INTERNAL,
            Reason::Unsupported => code::NOT_FOUND,
            Reason::Transport => code::TRANSPORT,
            Reason::Malformed => code::DECODE,
            Reason::Duplicate => code::DUPLICATE,
            Reason::OutOfRange => code::BOUNDS,
            Reason::WrongSize => code::WRONG_SIZE,
            Reason::Version => code::VERSION,
            Reason::UnexpectedStream => code::UNEXPECTED_STREAM,
            Reason::ProtocolViolation => code::PROTOCOL_VIOLATION,
            Reason::App(app) => {
                let base = if OURS.contains(&app) { APP_BASE_OF_OURS } else { code::APP_BASE.0 };
                moqt_wire::Code(base + u64::from(app))
            }
            Reason::Unknown(code) => moqt_wire::Code(code),
        };
        // Deployed peers refuse larger ones where they stand in a message.
        if code.0 > self.0.spec().code_max { Code(code::INTERNAL.0) } else { Code(code.0) }
    }

    fn reason(&self, code: Code) -> Reason {
        match moqt_wire::Code(code.0) {
            code::CANCEL => Reason::Cancelled,
            code::TRANSPORT => Reason::Transport,
            code::DECODE => Reason::Malformed,
            code::VERSION => Reason::Version,
            code::UNEXPECTED_STREAM => Reason::UnexpectedStream,
            code::BOUNDS => Reason::OutOfRange,
            code::DUPLICATE => Reason::Duplicate,
            code::NOT_FOUND => Reason::NotFound,
            code::WRONG_SIZE => Reason::WrongSize,
            code::PROTOCOL_VIOLATION => Reason::ProtocolViolation,
            code::UNAUTHORIZED => Reason::Unauthorized,
            code::TIMEOUT => Reason::Timeout,
            code::GOING_AWAY => Reason::GoingAway,
            code::TOO_MANY => Reason::TooMany,
            code::EXPIRED => Reason::Expired,
            code::INTERNAL => Reason::Internal,
            moqt_wire::Code(code) => {
                let app = |base| code.checked_sub(base).and_then(|app| u32::try_from(app).ok());
                match (app(APP_BASE_OF_OURS), app(code::APP_BASE.0)) {
                    (Some(app), _) if OURS.contains(&app) => Reason::App(app),
                    (_, Some(app)) => Reason::App(app),
                    _ => Reason::Unknown(code),
                }
            }
        }
    }
}

fn age(expires: Option<Millis>) -> Option<Duration> {
    // 0 is "no expiry". Spec: digest 9, row 27.
    expires.filter(|millis| millis.0 > 0).map(Duration::from)
}

fn announce(announce: wire::Announce) -> Message {
    let status = match announce.status {
        wire::AnnounceStatus::ENDED => AnnounceStatus::Ended,
        wire::AnnounceStatus::ACTIVE => AnnounceStatus::Active,
        _ => AnnounceStatus::CaughtUp,
    };
    Message::Announce { status, suffix: announce.suffix.unwrap_or_default().compact() }
}

fn drain(drain: wire::Drain) -> Result<Message, DecodeError> {
    let refused = DecodeError { message: "Drain", field: "url", kind: DecodeErrorKind::NotUtf8 };
    let url = str::from_utf8(&drain.url).map_err(|_| refused)?;
    Ok(Message::Drain((!url.is_empty()).then(|| url.to_owned())))
}

fn subscribe(wish: wire::Subscribe) -> Message {
    Message::Subscribe(Subscribe {
        id: wish.id.0,
        name: wish.track,
        priority: wish.priority,
        order: wish.order,
        max_age: age(wish.expires),
        first: wish.first.map(|group| group.0),
        last: wish.last.map(|group| group.0),
    })
}

fn update(update: wire::SubscribeUpdate) -> Message {
    Message::SubscribeUpdate(SubscribeUpdate {
        priority: update.priority,
        order: update.order,
        max_age: age(update.expires),
        first: update.first.map(|group| group.0),
        last: update.last.map(|group| group.0),
    })
}

fn info(info: wire::Info) -> Info {
    let track = TrackInfo { priority: info.priority, order: info.order, max_age: age(info.expires) };
    Info { track, latest: Some(info.latest.0) }
}

fn gap(gap: wire::SubscribeGap) -> Message {
    let last = gap.first.0.saturating_add(gap.additional);
    Message::Gap(Gap { first: gap.first.0, last, code: Code(gap.code.0) })
}

fn fetch(fetch: wire::Fetch) -> Message {
    Message::Fetch(Fetch {
        name: fetch.track,
        priority: fetch.priority,
        group: fetch.group.0,
        frame: fetch.frame,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_the_version_cannot_say_is_an_internal_error() {
        let huge = Reason::Unknown(1 << 40);
        assert_eq!(of(Version::TRANSFORK_04).code(huge), Code(1 << 40));
        for version in [Version::TRANSFORK_04_RS12, Version::TRANSFORK_04_RS9] {
            assert_eq!(of(version).code(huge), Code(code::INTERNAL.0));
            let message = Message::Gap(Gap { first: 1, last: 2, code: of(version).code(huge) });
            of(version).check(&message).unwrap();
        }
    }

    #[test]
    fn codes_of_the_application_come_back_as_they_were_and_are_never_taken_for_ours() {
        let dialect = of(Version::TRANSFORK_04);
        for (app, code) in
            [(0, 64), (1, 49), (6, 54), (7, 71), (30, 94), (u32::MAX, 64 + u64::from(u32::MAX))]
        {
            assert_eq!(dialect.code(Reason::App(app)), Code(code));
            assert_eq!(dialect.reason(Code(code)), Reason::App(app));
        }
        for code in 0..200 {
            assert_eq!(dialect.code(dialect.reason(Code(code))), Code(code), "{code}");
        }
    }

    #[test]
    fn every_reason_of_ours_comes_back() {
        let dialect = of(Version::TRANSFORK_04_RS12);
        for reason in [
            Reason::Cancelled,
            Reason::NotFound,
            Reason::Unauthorized,
            Reason::Expired,
            Reason::Timeout,
            Reason::GoingAway,
            Reason::TooMany,
            Reason::Internal,
            Reason::Transport,
            Reason::Malformed,
            Reason::Duplicate,
            Reason::OutOfRange,
            Reason::WrongSize,
            Reason::Version,
            Reason::UnexpectedStream,
            Reason::ProtocolViolation,
            Reason::Unknown(3),
        ] {
            assert_eq!(dialect.reason(dialect.code(reason)), reason);
        }
    }
}
