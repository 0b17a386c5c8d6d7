//! SESSION_CLIENT and SESSION_SERVER: which version, which encoding behind it, which extensions.
//!
//! Spec: digest 3.2 to 3.4.

use bytes::{BufMut, Bytes, BytesMut};
use moqt_wire::{
    DecodeError, DecodeErrorKind, Limits, Message as _, StreamDecoder, Version,
    transfork::{EXT_DRAIN, EXT_ENCODING, EXT_PATH, Extensions, SessionClient, SessionServer, StreamKind},
};

use crate::error::{PeerMisbehaved, Reason, SessionError};

/// The payload of [`EXT_ENCODING`] that stands for the encoding of draft 04.
const DRAFT_04: &[u8] = &[1];

/// What one side brings to the handshake.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Versions in order of preference.
    pub(crate) versions: Vec<Version>,
    /// What version 04 means when the handshake does not say.
    pub(crate) unmarked_04: Version,
    /// Path and query, for carriers that have no URL of their own; clients only.
    pub(crate) path: Option<String>,
    /// Whether the carrier brings a URL, so that a path in the handshake is wrong.
    pub(crate) carrier_has_url: bool,
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub(crate) version: Version,
    /// The client's path and query, where the handshake carried it.
    pub(crate) path: Option<String>,
    /// Whether a server may ask the client to move. Spec: digest 7, row 3.6.
    pub(crate) drain: bool,
}

/// Why the handshake failed, and the code for the Session stream.
#[derive(Debug)]
pub(crate) struct HandshakeError {
    pub(crate) error: SessionError,
    pub(crate) reason: Reason,
}

impl From<PeerMisbehaved> for HandshakeError {
    fn from(rule: PeerMisbehaved) -> Self {
        Self { reason: rule.reason(), error: rule.into() }
    }
}

impl From<DecodeError> for HandshakeError {
    fn from(error: DecodeError) -> Self {
        PeerMisbehaved::from(error).into()
    }
}

impl Offer {
    fn codes(&self) -> Vec<u64> {
        let mut codes = Vec::new();
        for version in &self.versions {
            let code = version.spec().code;
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        codes
    }

    fn knows_draft_04(&self) -> bool {
        self.versions.contains(&Version::TRANSFORK_04)
    }

    /// Whether a draft is among the versions: deployed peers are sent nothing that they do not send.
    fn knows_a_draft(&self) -> bool {
        self.knows_draft_04() || self.versions.contains(&Version::TRANSFORK_03)
    }

    /// Whether both sides can talk of moving.
    fn drain(&self, theirs: &Extensions) -> bool {
        self.knows_a_draft() && theirs.contains(EXT_DRAIN)
    }

    fn extensions(&self, client: bool) -> Extensions {
        let mut extensions = Extensions::default();
        if self.knows_draft_04() {
            extensions.set(EXT_ENCODING, Bytes::from_static(DRAFT_04));
        }
        if self.knows_a_draft() {
            extensions.set(EXT_DRAIN, Bytes::new());
        }
        if let Some(path) = self.path.as_ref().filter(|_| client && !self.carrier_has_url) {
            extensions.set(EXT_PATH, Bytes::copy_from_slice(path.as_bytes()));
        }
        extensions
    }

    /// The row behind a code, once both sides' extensions are known.
    fn row(&self, code: u64, theirs: &Extensions) -> Option<Version> {
        let draft_04 = Version::TRANSFORK_04.spec().code;
        if code != draft_04 {
            return self.versions.iter().copied().find(|version| version.spec().code == code);
        }
        let marked = self.knows_draft_04() && theirs.bytes(EXT_ENCODING).is_some_and(|p| p == DRAFT_04);
        if marked {
            return Some(Version::TRANSFORK_04);
        }
        // A deployed encoding among the versions is meant as such.
        let named = |version: &Version| version.spec().code == code && *version != Version::TRANSFORK_04;
        Some(self.versions.iter().copied().find(named).unwrap_or(self.unmarked_04))
    }

    fn negotiated(&self, code: u64, theirs: &Extensions, path: Option<String>) -> Option<Negotiated> {
        let version = self.row(code, theirs)?;
        Some(Negotiated { version, path, drain: self.drain(theirs) })
    }
}

/// A path as text; another one could not be told apart from it if it were read by guessing.
fn text(path: &[u8]) -> Result<String, DecodeError> {
    let refused = DecodeError { message: "SessionClient", field: "path", kind: DecodeErrorKind::NotUtf8 };
    str::from_utf8(path).map(str::to_owned).map_err(|_| refused)
}

fn decoder(limits: &Limits) -> StreamDecoder {
    // SESSION_CLIENT and SESSION_SERVER read the same in every row.
    StreamDecoder::new(Version::TRANSFORK_04.spec(), limits.clone())
}

fn write_type(out: &mut BytesMut) {
    let session = StreamKind::Session.to_wire(Version::TRANSFORK_04.spec()).unwrap_or(0);
    out.put_u8(u8::try_from(session).unwrap_or(0));
}

/// The client's half.
#[derive(Debug)]
pub(crate) struct ClientHandshake {
    offer: Offer,
    pub(crate) decoder: StreamDecoder,
}

impl ClientHandshake {
    pub(crate) fn new(offer: Offer, limits: &Limits) -> Self {
        Self { offer, decoder: decoder(limits) }
    }

    /// The first bytes of the Session stream.
    ///
    /// # Errors
    ///
    /// When the path does not fit.
    pub(crate) fn hello(&self) -> Result<Bytes, moqt_wire::EncodeError> {
        let mut out = BytesMut::new();
        write_type(&mut out);
        let hello = SessionClient { versions: self.offer.codes(), extensions: self.offer.extensions(true) };
        hello.encode(Version::TRANSFORK_04.spec(), &mut out)?;
        Ok(out.freeze())
    }

    /// Looks at what the server has said so far; `None`: more bytes.
    pub(crate) fn advance(&mut self) -> Result<Option<Negotiated>, HandshakeError> {
        let Some(answer) = self.decoder.next::<SessionServer>()? else { return Ok(None) };
        if !self.offer.codes().contains(&answer.version) {
            return Err(PeerMisbehaved::VersionNotOffered(answer.version).into());
        }
        if answer.extensions.contains(EXT_PATH) {
            return Err(PeerMisbehaved::UnexpectedPath.into());
        }
        let negotiated = self.offer.negotiated(answer.version, &answer.extensions, None);
        Ok(Some(negotiated.ok_or(PeerMisbehaved::VersionNotOffered(answer.version))?))
    }
}

/// The server's half.
#[derive(Debug)]
pub(crate) struct ServerHandshake {
    offer: Offer,
    typed: bool,
    pub(crate) decoder: StreamDecoder,
}

impl ServerHandshake {
    pub(crate) fn new(offer: Offer, limits: &Limits) -> Self {
        Self { offer, typed: false, decoder: decoder(limits) }
    }

    /// Looks at what the client has said so far; `None`: more bytes. Else what to answer, and what holds then.
    pub(crate) fn advance(&mut self) -> Result<Option<(Bytes, Negotiated)>, HandshakeError> {
        if !self.typed {
            let Some(kind) = self.decoder.next_varint()? else { return Ok(None) };
            if StreamKind::bidi(Version::TRANSFORK_04.spec(), kind) != Some(StreamKind::Session) {
                return Err(PeerMisbehaved::NotSessionFirst(kind).into());
            }
            self.typed = true;
        }
        let Some(hello) = self.decoder.next::<SessionClient>()? else { return Ok(None) };
        let path = match hello.extensions.bytes(EXT_PATH) {
            Some(_) if self.offer.carrier_has_url => return Err(PeerMisbehaved::UnexpectedPath.into()),
            Some(path) => Some(text(path)?),
            None => None,
        };
        let code = self.offer.codes().into_iter().find(|code| hello.versions.contains(code));
        let negotiated =
            code.and_then(|code| self.offer.negotiated(code, &hello.extensions, path).map(|n| (code, n)));
        let Some((code, negotiated)) = negotiated else {
            let error = SessionError::Version { offered: hello.versions };
            return Err(HandshakeError { error, reason: Reason::Version });
        };
        let answer = SessionServer { version: code, extensions: self.offer.extensions(false) };
        let answer = answer
            .to_bytes(Version::TRANSFORK_04.spec())
            .map_err(|_| HandshakeError { error: SessionError::LocallyClosed, reason: Reason::Internal })?;
        Ok(Some((answer, negotiated)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(carrier_has_url: bool) -> Offer {
        Offer {
            versions: vec![Version::TRANSFORK_04, Version::TRANSFORK_03],
            unmarked_04: Version::TRANSFORK_04_RS12,
            path: Some("/room/1?x=y".to_owned()),
            carrier_has_url,
        }
    }

    #[test]
    fn a_deployed_encoding_named_among_the_versions_is_the_one_behind_04() {
        let mut offer = offer(false);
        let code = Version::TRANSFORK_04.spec().code;
        let unmarked = |offer: &Offer| offer.row(code, &Default::default());
        assert_eq!(unmarked(&offer), Some(Version::TRANSFORK_04_RS12), "as configured");
        offer.versions = vec![Version::TRANSFORK_04_RS9];
        assert_eq!(unmarked(&offer), Some(Version::TRANSFORK_04_RS9));
        offer.versions = vec![Version::TRANSFORK_04];
        offer.unmarked_04 = Version::TRANSFORK_04;
        assert_eq!(unmarked(&offer), Some(Version::TRANSFORK_04));
    }

    #[test]
    fn a_path_beside_a_url_is_neither_sent_nor_taken() {
        let limits = Limits::default();
        let with_path = ClientHandshake::new(offer(false), &limits).hello().unwrap();
        let without = ClientHandshake::new(offer(true), &limits).hello().unwrap();
        assert!(with_path.windows(11).any(|bytes| bytes == b"/room/1?x=y"));
        assert!(!without.windows(5).any(|bytes| bytes == b"/room"));

        let receive = |carrier_has_url, hello: &Bytes| {
            let mut server = ServerHandshake::new(offer(carrier_has_url), &limits);
            server.decoder.push(hello.clone());
            server.advance()
        };
        let (_, negotiated) = receive(false, &with_path).unwrap().unwrap();
        assert_eq!(negotiated.path.as_deref(), Some("/room/1?x=y"));
        let (_, negotiated) = receive(true, &without).unwrap().unwrap();
        assert_eq!(negotiated.path, None);
        let refused = receive(true, &with_path).unwrap_err();
        assert!(matches!(refused.error, SessionError::Peer(PeerMisbehaved::UnexpectedPath)));
        assert_eq!(refused.reason, Reason::ProtocolViolation);
    }
}
