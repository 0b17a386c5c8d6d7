//! One end of a connection, scripted.

use std::{future::Future, time::Duration};

use moqt_transport::{Connection, ConnectionError};
use moqt_wire::{
    Message, Spec, Version,
    transfork::{
        ENCODING_DRAFT_04, EXT_ENCODING, Extensions, Group, SessionClient, SessionServer, StreamKind,
    },
};
use tokio::{select, time::timeout};

use crate::{Side, SimConnection};

use super::{AnyCode, PeerStream, Step};

const PATIENCE: Duration = Duration::from_secs(10);

/// One end of a connection, scripted. Dropped, it closes with code 0 as any last handle does.
#[derive(Debug)]
pub struct Peer {
    connection: SimConnection,
    side: Side,
    spec: &'static Spec,
    patience: Duration,
    /// The Session stream, once there is one; it lives as long as the peer.
    session: Option<PeerStream>,
    /// Streams accepted while another kind was waited for.
    passed_over: Vec<(StreamKind, PeerStream)>,
}

impl Peer {
    /// Plays the client, so far without a handshake; messages are those of Transfork 04.
    #[must_use]
    pub fn client(connection: SimConnection) -> Self {
        Self::new(connection, Side::Client)
    }

    /// Plays the server, so far without a handshake; messages are those of Transfork 04.
    #[must_use]
    pub fn server(connection: SimConnection) -> Self {
        Self::new(connection, Side::Server)
    }

    fn new(connection: SimConnection, side: Side) -> Self {
        let spec = Version::TRANSFORK_04.spec();
        Self { connection, side, spec, patience: PATIENCE, session: None, passed_over: Vec::new() }
    }

    /// Writes and reads the messages of `version` from here on.
    #[must_use]
    pub fn speaking(mut self, version: Version) -> Self {
        self.spec = version.spec();
        self
    }

    /// Waits at most so long for each thing that is expected; default 10 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The connection, for faults and counters.
    #[must_use]
    pub fn connection(&self) -> &SimConnection {
        &self.connection
    }

    /// The version whose messages it writes and reads.
    #[must_use]
    pub fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// The Session stream.
    ///
    /// # Panics
    ///
    /// When no handshake has opened it.
    #[track_caller]
    pub fn session(&mut self) -> &mut PeerStream {
        self.session.as_mut().expect("a handshake opens the Session stream")
    }

    /// Does the handshake by the book, as the side that it plays, and speaks `version` from then on.
    ///
    /// # Panics
    ///
    /// When the other side does not agree on just this version.
    #[track_caller]
    pub fn handshake(self, version: Version) -> impl Future<Output = Self> {
        let step = self.step(format!("a handshake on {version}"));
        let mut peer = self.speaking(version);
        async move {
            let (code, extensions) = (version.spec().code, extensions_of(version));
            let theirs = match peer.side {
                Side::Client => {
                    let offer = SessionClient { versions: vec![code], extensions };
                    let answer = peer.offer_at(&step, &offer).await;
                    if answer.version != code {
                        step.fail(format_args!("version {:#x} was chosen", answer.version));
                    }
                    answer.extensions
                }
                Side::Server => {
                    let offer = peer.expect_offer_at(&step).await;
                    if !offer.versions.contains(&code) {
                        step.fail(format_args!("only versions {:x?} were offered", offer.versions));
                    }
                    peer.answer_at(&step, &SessionServer { version: code, extensions }).await;
                    offer.extensions
                }
            };
            if extensions_of(version).contains(EXT_ENCODING)
                && theirs.varint(EXT_ENCODING).ok().flatten() != Some(ENCODING_DRAFT_04)
            {
                step.fail(format_args!("the other side has only these extensions: {theirs:?}"));
            }
            peer
        }
    }

    /// As a client: opens the Session stream, sends `offer` and returns the answer.
    #[track_caller]
    pub fn offer(&mut self, offer: &SessionClient) -> impl Future<Output = SessionServer> {
        let step = self.step("an answer to the handshake");
        async move { self.offer_at(&step, offer).await }
    }

    async fn offer_at(&mut self, step: &Step, offer: &SessionClient) -> SessionServer {
        let mut stream = self.open_at(step, StreamKind::Session).await;
        stream.send_at(step, offer).await;
        let answer = stream.expect_at(step).await;
        self.session = Some(stream);
        answer
    }

    /// As a server: accepts the Session stream and returns what the client offers.
    #[track_caller]
    pub fn expect_offer(&mut self) -> impl Future<Output = SessionClient> {
        let step = self.step("a client's handshake");
        async move { self.expect_offer_at(&step).await }
    }

    async fn expect_offer_at(&mut self, step: &Step) -> SessionClient {
        let mut stream = self.accept_at(step, StreamKind::Session).await;
        let offer = stream.expect_at(step).await;
        self.session = Some(stream);
        offer
    }

    /// As a server: answers the offer.
    #[track_caller]
    pub fn answer(&mut self, answer: &SessionServer) -> impl Future<Output = ()> {
        let step = self.step("a way to answer the handshake");
        async move { self.answer_at(&step, answer).await }
    }

    async fn answer_at(&mut self, step: &Step, answer: &SessionServer) {
        self.session().send_at(step, answer).await;
    }

    /// Opens a stream and writes its kind.
    #[track_caller]
    pub fn open(&self, kind: StreamKind) -> impl Future<Output = PeerStream> {
        let step = self.step(format!("a {kind} stream to open"));
        async move { self.open_at(&step, kind).await }
    }

    async fn open_at(&self, step: &Step, kind: StreamKind) -> PeerStream {
        let Some(number) = kind.to_wire(self.spec) else {
            step.fail(format_args!("{} has none", self.spec.name));
        };
        let mut stream =
            if kind.is_bidi() { self.open_bi_at(step).await } else { self.open_uni_at(step).await };
        stream.set_label(kind.name());
        stream.send_varint_at(step, number).await;
        stream
    }

    /// Opens a stream and writes its kind and first message.
    #[track_caller]
    pub fn request<M: Message>(&self, kind: StreamKind, message: &M) -> impl Future<Output = PeerStream> {
        let step = self.step(format!("a {kind} stream to open"));
        async move {
            let mut stream = self.open_at(&step, kind).await;
            stream.send_at(&step, message).await;
            stream
        }
    }

    /// Opens a Group stream and writes its header.
    #[track_caller]
    pub fn group(&self, header: &Group) -> impl Future<Output = PeerStream> {
        self.request(StreamKind::Group, header)
    }

    /// Opens a bidirectional stream and writes nothing.
    #[track_caller]
    pub fn open_bi(&self) -> impl Future<Output = PeerStream> {
        let step = self.step("a bidirectional stream to open");
        async move { self.open_bi_at(&step).await }
    }

    async fn open_bi_at(&self, step: &Step) -> PeerStream {
        match step.wait(self.connection.open_bi()).await {
            Ok((send, recv)) => self.stream("bidirectional", Some(send), Some(recv)),
            Err(error) => step.fail(describe(&error)),
        }
    }

    /// Opens a unidirectional stream and writes nothing.
    #[track_caller]
    pub fn open_uni(&self) -> impl Future<Output = PeerStream> {
        let step = self.step("a unidirectional stream to open");
        async move { self.open_uni_at(&step).await }
    }

    async fn open_uni_at(&self, step: &Step) -> PeerStream {
        match step.wait(self.connection.open_uni()).await {
            Ok(send) => self.stream("unidirectional", Some(send), None),
            Err(error) => step.fail(describe(&error)),
        }
    }

    /// Waits for a stream of this kind. Others are kept for when the script asks for them.
    #[track_caller]
    pub fn accept(&mut self, kind: StreamKind) -> impl Future<Output = PeerStream> {
        let step = self.step(format!("a {kind} stream"));
        async move { self.accept_at(&step, kind).await }
    }

    async fn accept_at(&mut self, step: &Step, kind: StreamKind) -> PeerStream {
        if let Some(at) = self.passed_over.iter().position(|(known, _)| *known == kind) {
            return self.passed_over.remove(at).1;
        }
        loop {
            let mut stream = self.accept_raw_at(step, kind.is_bidi()).await;
            let number = stream.expect_varint_at(step).await;
            let read = if kind.is_bidi() { StreamKind::bidi } else { StreamKind::uni };
            match read(self.spec, number) {
                Some(found) => {
                    stream.set_label(found.name());
                    if found == kind {
                        return stream;
                    }
                    self.passed_over.push((found, stream));
                }
                None => step.fail(format_args!("a stream of unknown kind {number} came")),
            }
        }
    }

    /// Waits for a stream of this kind and reads its first message.
    #[track_caller]
    pub fn serve<M: Message>(&mut self, kind: StreamKind) -> impl Future<Output = (PeerStream, M)> {
        let step = self.step(format!("a {kind} stream with {}", M::NAME));
        async move {
            let mut stream = self.accept_at(&step, kind).await;
            let message = stream.expect_at(&step).await;
            (stream, message)
        }
    }

    /// Waits for the next bidirectional stream and reads nothing.
    #[track_caller]
    pub fn accept_bi(&self) -> impl Future<Output = PeerStream> {
        let step = self.step("a bidirectional stream");
        async move { self.accept_raw_at(&step, true).await }
    }

    /// Waits for the next unidirectional stream and reads nothing.
    #[track_caller]
    pub fn accept_uni(&self) -> impl Future<Output = PeerStream> {
        let step = self.step("a unidirectional stream");
        async move { self.accept_raw_at(&step, false).await }
    }

    async fn accept_raw_at(&self, step: &Step, bidi: bool) -> PeerStream {
        let accepted = if bidi {
            let accepted = step.wait(self.connection.accept_bi()).await;
            accepted.map(|(send, recv)| self.stream("bidirectional", Some(send), Some(recv)))
        } else {
            let accepted = step.wait(self.connection.accept_uni()).await;
            accepted.map(|recv| self.stream("unidirectional", None, Some(recv)))
        };
        accepted.unwrap_or_else(|error| step.fail(describe(&error)))
    }

    /// Closes the connection.
    pub fn close(&self, code: impl AnyCode, reason: &str) {
        self.connection.close(code.code(), reason);
    }

    /// Waits until the other side closes the connection with `code`; returns its words.
    #[track_caller]
    pub fn expect_close(&self, code: impl AnyCode) -> impl Future<Output = String> {
        let code = code.code();
        let step = self.step(format!("a close with code {code}"));
        async move {
            match step.wait(self.connection.closed()).await {
                ConnectionError::Closed { code: given, reason } if given == code => reason,
                other => step.fail(describe(&other)),
            }
        }
    }

    /// Checks that for `duration` the connection stays open and no new stream comes.
    #[track_caller]
    pub fn expect_quiet(&self, duration: Duration) -> impl Future<Output = ()> {
        let step = self.step(format!("{duration:?} of quiet"));
        async move {
            let news = async {
                select! {
                    biased;
                    error = self.connection.closed() => step.fail(describe(&error)),
                    _ = self.connection.accept_bi() => step.fail("a bidirectional stream came"),
                    _ = self.connection.accept_uni() => step.fail("a unidirectional stream came"),
                }
            };
            let quiet: Result<(), _> = timeout(duration, news).await;
            debug_assert!(quiet.is_err(), "news end the test");
        }
    }

    fn stream(
        &self,
        label: &'static str,
        send: Option<crate::SimSendStream>,
        recv: Option<crate::SimRecvStream>,
    ) -> PeerStream {
        PeerStream::new(label, self.spec, self.patience, send, recv)
    }

    #[track_caller]
    fn step(&self, waits_for: impl Into<String>) -> Step {
        Step::new(self.patience, waits_for)
    }
}

/// What a side that speaks `version` puts into the handshake: draft 04 proper has to be asked for.
fn extensions_of(version: Version) -> Extensions {
    let mut extensions = Extensions::new();
    if version == Version::TRANSFORK_04 {
        extensions.set_varint(EXT_ENCODING, ENCODING_DRAFT_04).expect("a small integer");
    }
    extensions
}

pub(super) fn describe(error: &ConnectionError) -> String {
    format!("the connection ended: {error}")
}
