//! Reading one control stream: bytes in, neutral messages out.

use moqt_transport::{Code, ReadError, RecvStream};
use moqt_wire::StreamDecoder;

use crate::{
    dialect::Dialect,
    error::PeerMisbehaved,
    proto::{Message, RequestId, RequestKind, Sender},
};

/// Most bytes asked of a control stream at a time.
const CHUNK: usize = 4096;

/// The reading half of a request's stream.
#[derive(Debug)]
pub(super) struct Reader<R> {
    pub(super) request: RequestId,
    pub(super) kind: RequestKind,
    sender: Sender,
    dialect: &'static dyn Dialect,
    stream: R,
    decoder: StreamDecoder,
    index: u64,
    /// Bytes that have come since they were last counted.
    came: u64,
}

/// What a control stream brought.
#[derive(Debug)]
pub(super) enum Read {
    Message(Message),
    Finished,
    Reset(Code),
    Misbehaved(PeerMisbehaved),
    /// The connection ended; the driver learns why elsewhere.
    Lost,
}

impl<R: RecvStream> Reader<R> {
    pub(super) fn new(
        request: RequestId,
        (kind, sender): (RequestKind, Sender),
        dialect: &'static dyn Dialect,
        stream: R,
        decoder: StreamDecoder,
    ) -> Self {
        Self { request, kind, sender, dialect, stream, decoder, index: 0, came: 0 }
    }

    /// Waits for the next message or the end of the peer's half.
    pub(super) async fn next(&mut self) -> Read {
        loop {
            match self.dialect.decode(self.kind, self.sender, self.index, &mut self.decoder) {
                Ok(Some(message)) => {
                    self.index += 1;
                    return Read::Message(message);
                }
                Ok(None) => {}
                Err(error) => return Read::Misbehaved(error.into()),
            }
            match self.stream.read_chunk(CHUNK).await {
                Ok(Some(chunk)) => {
                    self.came += chunk.len() as u64;
                    self.decoder.push(chunk);
                }
                Ok(None) => {
                    return match self.decoder.finish() {
                        Ok(()) => Read::Finished,
                        Err(error) => Read::Misbehaved(error.into()),
                    };
                }
                Err(ReadError::Reset(code)) => return Read::Reset(code),
                Err(_) => return Read::Lost,
            }
        }
    }

    /// Bytes that have come since the last call.
    pub(super) fn came(&mut self) -> u64 {
        std::mem::take(&mut self.came)
    }

    pub(super) fn stop(&mut self, code: Code) {
        self.stream.stop(code);
    }
}

/// A stream's type; what followed it is in `decoder`. Cancel safe.
pub(super) async fn stream_type<R: RecvStream>(
    stream: &mut R,
    decoder: &mut StreamDecoder,
) -> Result<u64, TypeError> {
    loop {
        match decoder.next_varint() {
            Ok(Some(stream_type)) => return Ok(stream_type),
            Ok(None) => {}
            Err(error) => return Err(TypeError::Misbehaved(error.into())),
        }
        match stream.read_chunk(CHUNK).await {
            Ok(Some(chunk)) => decoder.push(chunk),
            Ok(None) => return Err(TypeError::Misbehaved(PeerMisbehaved::EndedEarly("stream type"))),
            Err(ReadError::Reset(_)) => return Err(TypeError::Gone),
            Err(_) => return Err(TypeError::Gone),
        }
    }
}

/// Why a stream never said what it is for.
#[derive(Debug)]
pub(super) enum TypeError {
    Misbehaved(PeerMisbehaved),
    /// Reset, or the connection ended; nobody needs to hear of it.
    Gone,
}
