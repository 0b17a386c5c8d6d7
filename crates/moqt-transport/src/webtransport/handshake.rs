//! From a QUIC connection to a session, on either side.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quinn::SendStream;
use tokio::{runtime::Handle, time::timeout};
use wtransport::proto::error::ErrorCode;

use super::{
    WebTransportConnection,
    accept::{BidiStreams, UniStream, UniStreams},
    capsule::CapsuleReader,
    driver::Driver,
    end::Shared,
    error::{self, Failure, Violation},
    fields::Fields,
    frame::{self, Frame, Place},
    head::{self, BidiHead},
    limits::{ANSWER, FAREWELL, INTERIM_ANSWERS},
    message::{self, ClientRequest, NoSession, ServerRequest},
    session::Session,
    settings::Settings,
    stream::Frames,
};
use crate::{
    ConnectionError,
    quinn::{close, room::Room},
};

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The connection ended.
    Quic(quinn::ConnectionError),
    /// The session could not be had on this connection.
    Http3(ConnectionError),
    /// The server said no.
    Rejected { status: u16, headers: Vec<(String, String)> },
    /// The peer makes no room for what we have to say.
    TimedOut,
}

impl From<HandshakeError> for ConnectionError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Quic(error) => error::lost(error),
            HandshakeError::Http3(error) => error,
            HandshakeError::Rejected { status, .. } => Self::Transport(Arc::new(Rejected(status))),
            HandshakeError::TimedOut => Self::TimedOut,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("rejected with status {0}")]
struct Rejected(u16);

/// The server does not take sessions.
#[derive(Debug, thiserror::Error)]
#[error("server does not speak WebTransport")]
struct NotOffered;

/// The client asked for something that is no session.
#[derive(Debug, thiserror::Error)]
#[error("client did not ask for a WebTransport session")]
struct NotAsked;

/// Closes the connection, unless a session takes over: a handshake that is given up leaves nothing behind.
#[derive(Debug)]
struct Guard(Option<quinn::Connection>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(quic) = &self.0 {
            close(quic, error::wire(ErrorCode::NoError), "");
        }
    }
}

/// HTTP/3 on a connection, as far as both sides need it.
#[derive(Debug)]
struct Http3 {
    // First: it closes the connection before the streams end, which the peer would take for an error.
    guard: Guard,
    quic: quinn::Connection,
    room: Room,
    control: SendStream,
    peer_control: Option<Frames>,
    qpack: Vec<quinn::RecvStream>,
    uni: UniStreams,
    bidi: BidiStreams,
}

impl Http3 {
    /// Opens our control stream, and says what we can.
    async fn start(quic: quinn::Connection) -> Result<Self, HandshakeError> {
        let guard = Guard(Some(quic.clone()));
        let room = Room::of(&quic);
        let mut control = quic.open_uni().await.map_err(HandshakeError::Quic)?;
        let mut bytes = BytesMut::from(&[0x00][..]);
        frame::put(&mut bytes, frame::SETTINGS, &Settings::ours());
        prefer(&control);
        let http = Self {
            guard,
            peer_control: None,
            qpack: Vec::new(),
            uni: UniStreams::new(quic.clone()),
            bidi: BidiStreams::new(quic.clone(), room.clone()),
            room,
            quic,
            control: {
                let written = control.write_chunk(bytes.freeze()).await;
                if let Err(quinn::WriteError::ConnectionLost(error)) = written {
                    return Err(HandshakeError::Quic(error));
                }
                control
            },
        };
        Ok(http)
    }

    /// Closes the connection for what the peer did, if it did something.
    fn fail(&self, failure: Failure) -> HandshakeError {
        match failure {
            Failure::Lost(error) => HandshakeError::Quic(error),
            Failure::Reset(code) => HandshakeError::Http3(error::given_up(code)),
            Failure::Violation(violation) => {
                close(&self.quic, error::wire(violation.code), violation.what);
                HandshakeError::Http3(ConnectionError::Transport(Arc::new(violation)))
            }
        }
    }

    /// Waits for what the peer can.
    async fn settings(&mut self) -> Result<Settings, Failure> {
        loop {
            let peer_control = self.peer_control.as_mut();
            let frame = async {
                match peer_control {
                    Some(frames) => frames.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                frame = frame => match frame {
                    Ok(Some(Frame::Settings(payload))) => return Ok(Settings::parse(&payload)?),
                    // The reader lets nothing else come first.
                    Ok(Some(_)) => {}
                    Ok(None) | Err(Failure::Reset(_)) => {
                        let what = "the control stream has ended";
                        return Err(Violation::new(ErrorCode::ClosedCriticalStream, what).into());
                    }
                    Err(failure) => return Err(failure),
                },
                stream = self.uni.next_new() => match stream? {
                    UniStream::Control(stream, ahead) => {
                        self.peer_control = Some(Frames::new(stream, Place::Control, ahead));
                    }
                    UniStream::Qpack(stream) => self.qpack.push(stream),
                    early @ UniStream::Session(..) => self.uni.keep(early),
                },
            }
        }
    }

    /// Makes the session that `stream` and `frames` stand for.
    fn establish(
        mut self,
        stream: SendStream,
        mut frames: Frames,
        peer: Fields,
        protocol: Option<String>,
    ) -> Option<WebTransportConnection> {
        // Settings came on it before.
        let peer_control = self.peer_control.take()?;
        self.guard.0 = None;
        frames.begin_session();
        let runtime = Handle::current();
        let shared = Arc::new(Shared::default());
        let id = frames.id();
        let driver = Driver {
            quic: self.quic.clone(),
            shared: shared.clone(),
            control: self.control,
            peer_control,
            qpack: self.qpack,
            session: stream,
            peer_session: frames,
            capsules: CapsuleReader::default(),
            has_drained: false,
        };
        runtime.spawn(driver.run());
        Some(WebTransportConnection::new(Session {
            room: self.room,
            quic: self.quic,
            id,
            uni_head: head::write(head::UNI_STREAM, id),
            bidi_head: head::write(head::BIDI_STREAM, id),
            runtime,
            shared,
            uni: self.uni.into(),
            bidi: self.bidi.into(),
            headers: peer.into_vec(),
            protocol,
        }))
    }
}

/// HTTP/3's own streams say little, and everybody waits for it.
fn prefer(stream: &SendStream) {
    // Fails only when it has ended.
    let _ = stream.set_priority(i32::MAX);
}

/// Asks the server for a session.
pub(crate) async fn connect(
    quic: quinn::Connection,
    request: &ClientRequest,
) -> Result<WebTransportConnection, HandshakeError> {
    let mut http = Http3::start(quic).await?;
    let settings = http.settings().await.map_err(|failure| http.fail(failure))?;
    let Some(asked) = request.to_frame(&settings) else {
        return Err(HandshakeError::Http3(ConnectionError::Transport(Arc::new(NotOffered))));
    };
    let (mut send, recv) = http.quic.open_bi().await.map_err(HandshakeError::Quic)?;
    prefer(&send);
    let _ = send.write_chunk(asked).await;
    let mut frames = Frames::new(recv, Place::Message, Bytes::new());
    let answer = read_answer(&mut frames).await.map_err(|failure| http.fail(failure))?;
    let status = message::status(&answer).map_err(|violation| http.fail(violation.into()))?;
    if !(200..300).contains(&status) {
        return Err(HandshakeError::Rejected { status, headers: answer.into_vec() });
    }
    let protocol = message::picked_protocol(&answer, &request.protocols());
    let lost = || HandshakeError::Http3(ConnectionError::LocallyClosed);
    http.establish(send, frames, answer, protocol).ok_or_else(lost)
}

/// The answer that counts.
async fn read_answer(frames: &mut Frames) -> Result<Fields, Failure> {
    for _ in 0..=INTERIM_ANSWERS {
        let answer = read_fields(frames).await?;
        if message::status(&answer)? >= 200 {
            return Ok(answer);
        }
    }
    Err(Violation::new(ErrorCode::ExcessiveLoad, "no answer that counts").into())
}

async fn read_fields(frames: &mut Frames) -> Result<Fields, Failure> {
    match frames.next().await? {
        Some(Frame::Headers(payload)) => Ok(Fields::decode(&payload)?),
        // The reader lets nothing else come first.
        _ => Err(Violation::new(ErrorCode::Message, "a request or an answer without headers").into()),
    }
}

/// A client that asked for a session, and waits. Dropped, its connection closes.
#[derive(Debug)]
pub(crate) struct Asked {
    http: Http3,
    send: SendStream,
    frames: Frames,
    request: ServerRequest,
}

/// Waits for a client's request.
pub(crate) async fn accept(quic: quinn::Connection) -> Result<Asked, HandshakeError> {
    let mut http = Http3::start(quic).await?;
    // Only then is it clear that the client can be answered.
    http.settings().await.map_err(|failure| http.fail(failure))?;
    let (send, recv, ahead) = loop {
        let opened = http.bidi.next_new().await.map_err(|failure| http.fail(failure))?;
        match opened.head {
            BidiHead::Session(_) => http.bidi.keep(opened),
            BidiHead::Request => break (opened.stream.0, opened.stream.1, opened.ahead),
        }
    };
    prefer(&send);
    let mut frames = Frames::new(recv, Place::Message, ahead);
    let fields = read_fields(&mut frames).await.map_err(|failure| http.fail(failure))?;
    match ServerRequest::parse(fields) {
        Ok(request) => Ok(Asked { http, send, frames, request }),
        Err(NoSession::Malformed(violation)) => Err(http.fail(violation.into())),
        Err(NoSession::Other(status)) => {
            refuse(&http.quic, send, frames, status, std::iter::empty()).await;
            Err(HandshakeError::Http3(ConnectionError::Transport(Arc::new(NotAsked))))
        }
    }
}

impl Asked {
    pub(crate) fn quic(&self) -> &quinn::Connection {
        &self.http.quic
    }

    pub(crate) fn authority(&self) -> &str {
        self.request.authority()
    }

    pub(crate) fn path(&self) -> &str {
        self.request.path()
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.request.fields.iter()
    }

    pub(crate) fn protocols(&self) -> Vec<String> {
        self.request.protocols()
    }

    /// Lets the client in, naming the protocol picked, if that can be written.
    pub(crate) async fn accept(
        mut self,
        protocol: Option<&str>,
    ) -> Result<WebTransportConnection, HandshakeError> {
        let written = protocol.and_then(super::protocols::string);
        let headers = written.as_deref().map(|name| (message::PICKED_PROTOCOL, name));
        let answer = message::answer(200, headers.into_iter());
        match timeout(ANSWER, self.send.write_chunk(answer)).await {
            Err(_) => return Err(HandshakeError::TimedOut),
            Ok(Ok(())) => {}
            Ok(Err(quinn::WriteError::ConnectionLost(error))) => return Err(HandshakeError::Quic(error)),
            Ok(Err(quinn::WriteError::Stopped(code))) => {
                return Err(HandshakeError::Http3(error::given_up(code)));
            }
            Ok(Err(_)) => return Err(HandshakeError::Http3(ConnectionError::LocallyClosed)),
        }
        let lost = || HandshakeError::Http3(ConnectionError::LocallyClosed);
        let protocol = written.and(protocol).map(str::to_owned);
        self.http.establish(self.send, self.frames, self.request.fields, protocol).ok_or_else(lost)
    }

    /// Turns the client down, and waits until it has heard of it, or is too slow.
    pub(crate) async fn reject(self, status: u16, headers: &[(String, String)]) {
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        refuse(&self.http.quic, self.send, self.frames, status, headers).await;
    }
}

/// The request's stream stays as it is until the close: browsers take a stop before the answer for a broken protocol.
async fn refuse<'a>(
    quic: &quinn::Connection,
    mut send: SendStream,
    _request: Frames,
    status: u16,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let answer = message::answer(status, headers);
    let told = async {
        send.write_chunk(answer).await.ok()?;
        send.finish().ok()?;
        // The client closes when it has read that; a silent one only acknowledges it.
        tokio::select! {
            biased;
            _ = quic.closed() => {}
            _ = send.stopped() => {}
        }
        Some(())
    };
    // A client that does not acknowledge has no right to more of our time.
    let _ = timeout(2 * FAREWELL, told).await;
    close(quic, error::wire(ErrorCode::NoError), "");
}
