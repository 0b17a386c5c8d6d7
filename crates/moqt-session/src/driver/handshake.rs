//! The first bytes of a session, on a connection that is up.

use bytes::Bytes;
use moqt_transport::{Code, Connection, ReadError, RecvStream, SendStream, WriteError};
use moqt_wire::StreamDecoder;

use crate::{
    dialect::{self, ClientHandshake, Dialect, HandshakeError, Negotiated, Offer, ServerHandshake},
    error::{PeerMisbehaved, Reason, SessionError},
    proto::{Limits, Side},
};

/// A session whose version is known and whose driver does not run yet.
pub(crate) struct Established<C: Connection> {
    pub(crate) connection: C,
    pub(crate) side: Side,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) negotiated: Negotiated,
    pub(super) send: C::SendStream,
    pub(super) recv: C::RecvStream,
    pub(super) decoder: StreamDecoder,
}

/// Speaks first, as a client.
pub(crate) async fn connect<C: Connection>(
    connection: C,
    offer: Offer,
    limits: &Limits,
) -> Result<Established<C>, SessionError> {
    let side = Side::Client;
    within(connection, limits, async |connection| {
        let (mut send, mut recv) = connection.open_bi().await?;
        send.set_priority(i32::MAX);
        let mut handshake = ClientHandshake::new(offer, &limits.wire);
        let hello = handshake.hello().map_err(|_| {
            Broken::Handshake(HandshakeError { error: SessionError::LocallyClosed, reason: Reason::Internal })
        })?;
        write(&mut send, hello).await?;
        loop {
            match handshake.advance() {
                Ok(Some(negotiated)) => return Ok((side, negotiated, send, recv, handshake.decoder)),
                Ok(None) => {}
                Err(error) => return Err(refuse(&mut send, &mut recv, error)),
            }
            match read(&mut recv).await {
                Ok(Some(chunk)) => handshake.decoder.push(chunk),
                Ok(None) => {
                    let rule = PeerMisbehaved::EndedEarly("session server");
                    return Err(refuse(&mut send, &mut recv, rule.into()));
                }
                Err(error) => return Err(error),
            }
        }
    })
    .await
}

/// Listens first, as a server.
pub(crate) async fn accept<C: Connection>(
    connection: C,
    offer: Offer,
    limits: &Limits,
) -> Result<Established<C>, SessionError> {
    let side = Side::Server;
    within(connection, limits, async |connection| {
        let (mut send, mut recv) = connection.accept_bi().await?;
        send.set_priority(i32::MAX);
        let mut handshake = ServerHandshake::new(offer, &limits.wire);
        loop {
            match handshake.advance() {
                Ok(Some((answer, negotiated))) => {
                    write(&mut send, answer).await?;
                    return Ok((side, negotiated, send, recv, handshake.decoder));
                }
                Ok(None) => {}
                Err(error) => return Err(refuse(&mut send, &mut recv, error)),
            }
            match read(&mut recv).await {
                Ok(Some(chunk)) => handshake.decoder.push(chunk),
                Ok(None) => {
                    let rule = PeerMisbehaved::EndedEarly("session client");
                    return Err(refuse(&mut send, &mut recv, rule.into()));
                }
                Err(error) => return Err(error),
            }
        }
    })
    .await
}

type Agreed<C> =
    (Side, Negotiated, <C as Connection>::SendStream, <C as Connection>::RecvStream, StreamDecoder);

/// Runs a handshake under its time limit; where it fails, says why and closes the connection.
async fn within<C: Connection>(
    connection: C,
    limits: &Limits,
    handshake: impl AsyncFnOnce(&C) -> Result<Agreed<C>, Broken>,
) -> Result<Established<C>, SessionError> {
    let speak = dialect::of(moqt_wire::Version::TRANSFORK_04);
    let result = tokio::time::timeout(limits.handshake, handshake(&connection)).await;
    let broken = match result {
        Ok(Ok((side, negotiated, send, recv, mut decoder))) => {
            let dialect = dialect::of(negotiated.version);
            decoder.set_spec(negotiated.version.spec());
            return Ok(Established { connection, side, dialect, negotiated, send, recv, decoder });
        }
        Ok(Err(broken)) => broken,
        Err(_) => Broken::Handshake(HandshakeError {
            error: SessionError::HandshakeTimeout,
            reason: Reason::Timeout,
        }),
    };
    match broken {
        Broken::Handshake(HandshakeError { error, reason }) => {
            connection.close(speak.code(reason), &error.to_string());
            Err(error)
        }
        Broken::Refused(code) => {
            let reason = speak.reason(code);
            connection.close(Code::NONE, "");
            if reason == Reason::Version {
                return Err(SessionError::Version { offered: Vec::new() });
            }
            Err(SessionError::Closed { reason, message: String::new() })
        }
        Broken::Connection(error) => {
            Err(match SessionError::from_connection(error, |code| speak.reason(code)) {
                // The close overtook the reset of the stream.
                SessionError::Closed { reason: Reason::Version, .. } => {
                    SessionError::Version { offered: Vec::new() }
                }
                error => error,
            })
        }
    }
}

enum Broken {
    Handshake(HandshakeError),
    /// The peer reset or stopped the Session stream.
    Refused(Code),
    Connection(moqt_transport::ConnectionError),
}

impl From<moqt_transport::ConnectionError> for Broken {
    fn from(error: moqt_transport::ConnectionError) -> Self {
        Self::Connection(error)
    }
}

fn refuse(send: &mut impl SendStream, recv: &mut impl RecvStream, error: HandshakeError) -> Broken {
    let code = dialect::of(moqt_wire::Version::TRANSFORK_04).code(error.reason);
    send.reset(code);
    recv.stop(code);
    Broken::Handshake(error)
}

async fn read(recv: &mut impl RecvStream) -> Result<Option<Bytes>, Broken> {
    recv.read_chunk(4096).await.map_err(|error| match error {
        ReadError::Connection(error) => Broken::Connection(error),
        ReadError::Reset(code) => Broken::Refused(code),
        _ => Broken::Refused(Code::NONE),
    })
}

async fn write(send: &mut impl SendStream, bytes: Bytes) -> Result<(), Broken> {
    send.write_all(bytes).await.map_err(|error| match error {
        WriteError::Connection(error) => Broken::Connection(error),
        WriteError::Stopped(code) => Broken::Refused(code),
        _ => Broken::Refused(Code::NONE),
    })
}
