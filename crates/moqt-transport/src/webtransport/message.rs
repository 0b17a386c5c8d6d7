//! The request that makes a session, and the answer to it.

use bytes::{Bytes, BytesMut};
use wtransport::proto::{error::ErrorCode, session::SessionRequest};

use super::{
    error::Violation,
    fields::{Fields, InvalidHeader},
    frame,
    settings::Settings,
};

/// What sessions were called up to draft 14.
const PROTOCOL: &str = "webtransport";
/// What they have been called since.
const PROTOCOL_H3: &str = "webtransport-h3";

/// The protocols that a client offers above WebTransport.
pub(super) const OFFERED_PROTOCOLS: &str = "wt-available-protocols";
/// The one that the server picked.
pub(super) const PICKED_PROTOCOL: &str = "wt-protocol";

/// What a client asks for, before it knows in which dialect.
#[derive(Clone, Debug)]
pub(crate) struct ClientRequest {
    authority: String,
    path: String,
    headers: Fields,
}

/// A URL or a header cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidRequest {
    #[error("unusable URL")]
    Url(#[from] wtransport::proto::session::UrlParseError),
    #[error(transparent)]
    Header(#[from] InvalidHeader),
}

impl ClientRequest {
    pub(crate) fn new(url: &str, headers: &[(String, String)]) -> Result<Self, InvalidRequest> {
        let request = SessionRequest::new(url)?;
        let mut fields = Fields::default();
        for (name, value) in headers {
            fields.push(name, value)?;
        }
        let authority = request.authority();
        // Names and passwords have no place in it.
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Ok(Self { authority: authority.to_owned(), path: request.path().to_owned(), headers: fields })
    }

    /// Whom the server's certificate must be for.
    pub(crate) fn host(&self) -> &str {
        match self.authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((v6, _)) => v6,
            None => self.authority.split_once(':').map_or(&self.authority, |(host, _)| host),
        }
    }

    /// The frame to send to a server with these settings; `None` if it does not take sessions.
    pub(super) fn to_frame(&self, server: &Settings) -> Option<Bytes> {
        let protocol = match (server.webtransport, server.webtransport_h3) {
            (true, _) => PROTOCOL,
            (false, true) => PROTOCOL_H3,
            (false, false) => return None,
        };
        let mut fields = Fields::default();
        fields.push_pseudo(":method", "CONNECT");
        fields.push_pseudo(":scheme", "https");
        fields.push_pseudo(":authority", &self.authority);
        fields.push_pseudo(":path", &self.path);
        fields.push_pseudo(":protocol", protocol);
        Some(headers_frame(&fields, self.headers.iter()))
    }

    /// The protocols offered.
    pub(super) fn protocols(&self) -> Vec<String> {
        protocols(&self.headers)
    }
}

/// A client's request, as the server reads it.
#[derive(Debug)]
pub(super) struct ServerRequest {
    pub(super) fields: Fields,
}

/// Why a request makes no session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoSession {
    /// It is not one.
    Malformed(Violation),
    /// It asks for something else, which gets this status.
    Other(u16),
}

impl ServerRequest {
    pub(super) fn parse(fields: Fields) -> Result<Self, NoSession> {
        let malformed = |what| NoSession::Malformed(Violation::new(ErrorCode::Message, what));
        let once = |name| {
            let mut all = fields.all(name);
            match (all.next(), all.next()) {
                (Some(value), None) => Ok(value),
                _ => Err(malformed("a request without one of its parts, or with two of them")),
            }
        };
        if once(":method")? != "CONNECT" {
            return Err(NoSession::Other(405));
        }
        once(":authority")?;
        if fields.find(":protocol").is_none() {
            // A tunnel.
            return Err(NoSession::Other(405));
        }
        let protocol = once(":protocol")?;
        if once(":path")?.is_empty() || once(":scheme")? != "https" {
            return Err(malformed("a request with an impossible URL"));
        }
        if protocol != PROTOCOL && protocol != PROTOCOL_H3 {
            return Err(NoSession::Other(501));
        }
        Ok(Self { fields })
    }

    pub(super) fn authority(&self) -> &str {
        self.fields.find(":authority").unwrap_or_default()
    }

    pub(super) fn path(&self) -> &str {
        self.fields.find(":path").unwrap_or_default()
    }

    pub(super) fn protocols(&self) -> Vec<String> {
        protocols(&self.fields)
    }
}

fn protocols(fields: &Fields) -> Vec<String> {
    fields.joined(OFFERED_PROTOCOLS).map(|list| super::protocols::parse(&list)).unwrap_or_default()
}

/// The protocol in an answer, if it is one of those offered.
pub(super) fn picked_protocol(answer: &Fields, offered: &[String]) -> Option<String> {
    let picked = super::protocols::parse_item(answer.find(PICKED_PROTOCOL)?)?;
    offered.contains(&picked).then_some(picked)
}

/// The frame of an answer.
pub(super) fn answer<'a>(status: u16, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Bytes {
    let mut fields = Fields::default();
    fields.push_pseudo(":status", status.to_string());
    headers_frame(&fields, headers)
}

/// The status of an answer.
pub(super) fn status(answer: &Fields) -> Result<u16, Violation> {
    let status = answer.find(":status").filter(|status| status.len() == 3);
    let status = status.and_then(|status| status.parse().ok()).filter(|status| (100..=999).contains(status));
    status.ok_or(Violation::new(ErrorCode::Message, "an answer without a status"))
}

fn headers_frame<'a>(pseudo: &Fields, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Bytes {
    let mut fields = pseudo.clone();
    for (name, value) in headers {
        // Each was looked at when it was given.
        let _ = fields.push(name, value);
    }
    let mut out = BytesMut::new();
    frame::put(&mut out, frame::HEADERS, &fields.encode());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Settings = Settings { webtransport: true, webtransport_h3: false };
    const NEW: Settings = Settings { webtransport: false, webtransport_h3: true };
    const BOTH: Settings = Settings { webtransport: true, webtransport_h3: true };

    fn parse(frame: Bytes) -> Result<ServerRequest, NoSession> {
        let mut reader = frame::FrameReader::new(frame::Place::Message);
        match reader.next(&mut { frame }) {
            Ok(Some(frame::Frame::Headers(lines))) => ServerRequest::parse(Fields::decode(&lines).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn request(url: &str) -> ClientRequest {
        ClientRequest::new(url, &[("x-a".into(), "b".into())]).unwrap()
    }

    #[test]
    fn a_request_is_read_as_it_was_written_in_each_dialect() {
        for (settings, protocol) in [(OLD, PROTOCOL), (NEW, PROTOCOL_H3), (BOTH, PROTOCOL)] {
            let frame = request("https://me:pw@host.example:4443/room?a=b").to_frame(&settings).unwrap();
            let read = parse(frame).unwrap();
            assert_eq!((read.authority(), read.path()), ("host.example:4443", "/room?a=b"));
            assert_eq!(read.fields.find(":protocol"), Some(protocol));
            assert_eq!(read.fields.find("x-a"), Some("b"));
        }
        assert_eq!(request("https://host/").to_frame(&Settings::default()), None);
    }

    #[test]
    fn the_host_is_what_the_certificate_is_for() {
        for (url, host) in [
            ("https://host.example/", "host.example"),
            ("https://host.example:1/", "host.example"),
            ("https://[::1]:1/", "::1"),
            ("https://me@127.0.0.1/", "127.0.0.1"),
        ] {
            assert_eq!(request(url).host(), host);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_said_so() {
        assert!(matches!(ClientRequest::new("http://host/", &[]), Err(InvalidRequest::Url(_))));
        for name in [":path", "Upper", "a b", ""] {
            let headers = [(name.to_owned(), "x".to_owned())];
            let made = ClientRequest::new("https://host/", &headers);
            assert!(matches!(made, Err(InvalidRequest::Header(_))), "{name}");
        }
    }

    #[test]
    fn requests_for_something_else_get_a_status_and_broken_ones_an_error() {
        let lines = [
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":authority", "host"),
            (":path", "/"),
            (":protocol", "webtransport"),
        ];
        let with = |name: &str, value: Option<&str>| {
            let mut fields = Fields::default();
            for (own, usual) in lines {
                match (own == name, value) {
                    (true, Some(value)) => fields.push_pseudo(own, value),
                    (true, None) => {}
                    (false, _) => fields.push_pseudo(own, usual),
                }
            }
            ServerRequest::parse(fields)
        };
        assert!(with("", None).is_ok());
        assert!(with(":protocol", Some("webtransport-h3")).is_ok());
        assert_eq!(with(":method", Some("GET")).unwrap_err(), NoSession::Other(405));
        assert_eq!(with(":protocol", None).unwrap_err(), NoSession::Other(405));
        assert_eq!(with(":protocol", Some("websocket")).unwrap_err(), NoSession::Other(501));
        for (name, value) in [
            (":method", None),
            (":authority", None),
            (":path", None),
            (":path", Some("")),
            (":scheme", None),
            (":scheme", Some("http")),
        ] {
            assert!(matches!(with(name, value), Err(NoSession::Malformed(_))), "{name} {value:?}");
        }
        let mut twice = Fields::default();
        for (name, value) in lines.iter().chain(&lines) {
            twice.push_pseudo(name, *value);
        }
        assert!(matches!(ServerRequest::parse(twice), Err(NoSession::Malformed(_))));
    }

    #[test]
    fn a_status_has_three_digits() {
        let answered = |text: &str| {
            let mut fields = Fields::default();
            fields.push_pseudo(":status", text);
            status(&fields).ok()
        };
        assert_eq!(answered("200"), Some(200));
        assert_eq!(answered("503"), Some(503));
        for text in ["", "20", "2000", "099", "abc", "+20"] {
            assert_eq!(answered(text), None, "{text}");
        }
        assert!(status(&Fields::default()).is_err());
    }

    #[test]
    fn only_a_protocol_that_was_offered_can_be_picked() {
        let offered = ["a".to_owned(), "b".to_owned()];
        let picked = |value: &str| {
            let mut fields = Fields::default();
            fields.push(PICKED_PROTOCOL, value).unwrap();
            picked_protocol(&fields, &offered)
        };
        assert_eq!(picked("\"b\"").as_deref(), Some("b"));
        assert_eq!(picked("a").as_deref(), Some("a"));
        for value in ["\"c\"", "\"a", "\"a\", \"b\"", "a b"] {
            assert_eq!(picked(value), None, "{value}");
        }
    }
}
