//! What the handles of a session share.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{runtime::Handle, sync::Mutex};
use wtransport::proto::error::ErrorCode;

use super::{
    accept::{Bidi, BidiStreams, Kind, Uni, UniStream, UniStreams},
    end::Shared,
    error::{Failure, Violation},
    head::BidiHead,
};
use crate::{
    Code, ConnectionError,
    quinn::{close, room::Room},
    wire_code::Mapping,
};

/// An established session; its driver ends it when this is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) quic: quinn::Connection,
    pub(super) room: Room,
    pub(super) id: u64,
    pub(super) uni_head: Bytes,
    pub(super) bidi_head: Bytes,
    pub(super) runtime: Handle,
    pub(super) shared: Arc<Shared>,
    /// Whoever holds it waits for the next stream; the others wait for their turn.
    pub(super) uni: Mutex<UniStreams>,
    pub(super) bidi: Mutex<BidiStreams>,
    /// What came with the request, or with the answer.
    pub(super) headers: Vec<(String, String)>,
    pub(super) protocol: Option<String>,
}

impl Session {
    /// Gives the next unidirectional stream of the peer, and what has been read of it. Cancel safe.
    pub(super) async fn next_uni(&self) -> Result<(quinn::RecvStream, Bytes), ConnectionError> {
        self.or_end(async {
            let mut streams = self.uni.lock().await;
            loop {
                match streams.next().await? {
                    UniStream::Session(id, stream, ahead) if id == self.id => return Ok((stream, ahead)),
                    UniStream::Session(_, mut stream, _) => {
                        Uni::refuse(&mut stream, ErrorCode::BufferedStreamRejected);
                    }
                    UniStream::Qpack(stream) => self.shared.order(|orders| orders.qpack.push(stream)),
                    // The first one came with the settings, and there is no second one.
                    UniStream::Control(..) => {}
                }
            }
        })
        .await
    }

    /// Gives the next bidirectional stream of the peer, and what has been read of it. Cancel safe.
    pub(super) async fn next_bidi(
        &self,
    ) -> Result<(quinn::SendStream, quinn::RecvStream, Bytes), ConnectionError> {
        self.or_end(async {
            let mut streams = self.bidi.lock().await;
            loop {
                let mut opened = streams.next().await?;
                match opened.head {
                    BidiHead::Session(id) if id == self.id => {
                        return Ok((opened.stream.0, opened.stream.1, opened.ahead));
                    }
                    BidiHead::Session(_) => {
                        Bidi::refuse(&mut opened.stream, ErrorCode::BufferedStreamRejected);
                    }
                    BidiHead::Request if self.quic.side().is_server() => {
                        // One session is all there is.
                        Bidi::refuse(&mut opened.stream, ErrorCode::RequestRejected);
                    }
                    BidiHead::Request => {
                        let what = "a request from a server";
                        return Err(Violation::new(ErrorCode::StreamCreation, what).into());
                    }
                }
            }
        })
        .await
    }

    /// Gives what comes first, the future's result or the end of the session, which also ends the future.
    pub(super) async fn or_end<T>(
        &self,
        future: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, ConnectionError> {
        if let Some(end) = self.shared.end() {
            return Err(end);
        }
        match self.shared.until_end(future).await {
            Some(Ok(value)) => Ok(value),
            Some(Err(Failure::Violation(violation))) => {
                self.shared.order(|orders| orders.violation = Some(violation));
                Err(self.shared.ended().await)
            }
            // The driver knows whether the peer said more before.
            Some(Err(_)) | None => Err(self.shared.ended().await),
        }
    }

    /// Ends the session at once, and has the peer told by and by.
    pub(super) fn close(&self, code: Code, reason: &str) {
        // If the connection is gone, the driver knows why.
        if self.quic.close_reason().is_none() && self.shared.set_end(ConnectionError::LocallyClosed) {
            self.shared.order(|orders| orders.close = Some((code, reason.to_owned())));
        }
    }

    /// Ends the session and its connection at once.
    pub(super) fn abort(&self, code: Code, reason: &str) {
        if self.quic.close_reason().is_none() {
            self.shared.set_end(ConnectionError::LocallyClosed);
            close(&self.quic, Mapping::WebTransport.encode(code), reason);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A stream that has not said what it is may be one that ends the connection when it is stopped.
        let uni = std::mem::replace(self.uni.get_mut(), UniStreams::new(self.quic.clone()));
        self.shared.keep(uni);
        self.close(Code::NONE, "");
    }
}
