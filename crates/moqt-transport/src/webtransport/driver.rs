//! The task behind a session: HTTP/3's own streams, and the beginning of the end.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use tokio::time::timeout;
use wtransport::proto::error::ErrorCode;

use super::{
    capsule::{self, Capsule, CapsuleReader},
    end::{Orders, Shared},
    error::{self, Failure, Violation},
    frame::{self, Frame},
    limits::FAREWELL,
    stream::{Frames, read},
};
use crate::{Code, ConnectionError, quinn::close, wire_code::Mapping};

/// What HTTP/3 needs as long as there is a session.
pub(super) struct Driver {
    pub(super) quic: quinn::Connection,
    pub(super) shared: Arc<Shared>,
    /// Our control stream, which must stay open.
    pub(super) control: SendStream,
    pub(super) peer_control: Frames,
    /// The peer's streams for a dynamic table, which nobody uses.
    pub(super) qpack: Vec<RecvStream>,
    /// The stream that stands for the session, in both directions.
    pub(super) session: SendStream,
    pub(super) peer_session: Frames,
    pub(super) capsules: CapsuleReader,
    /// The peer has been asked to come to an end, which is said once.
    pub(super) has_drained: bool,
}

/// How a session ends.
enum End {
    /// We close it.
    Ours(Code, String),
    /// The peer closed it.
    Peers(ConnectionError),
    /// The peer broke a rule.
    Violation(Violation),
    /// The connection ended.
    Lost(quinn::ConnectionError),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Driver {
    /// Serves the session to its end, and the connection with it.
    pub(super) async fn run(mut self) {
        // Holds where the runtime drops the task, too.
        let unfinished = Unfinished { quic: self.quic.clone(), shared: self.shared.clone() };
        match self.serve().await {
            End::Ours(code, reason) => self.say_goodbye(code, &reason).await,
            End::Peers(end) => {
                self.shared.set_end(end);
                // Fails only when it has ended already.
                let _ = self.session.finish();
                // The peer waits for the connection's end, once it has heard that we agree.
                let _ = timeout(FAREWELL, self.session.stopped()).await;
                close(&self.quic, error::wire(ErrorCode::NoError), "");
            }
            End::Violation(violation) => self.blame(violation),
            End::Lost(error) => drop(self.shared.set_end(error::lost(error))),
        }
        drop(unfinished);
        // Not before the connection is closed: the peer would take the end of it for an error.
        drop(self.control);
    }

    async fn serve(&mut self) -> End {
        let mut outgoing = Bytes::new();
        let quic = self.quic.clone();
        let mut lost = pin!(quic.closed());
        let mut stopped = pin!(self.session.stopped());
        let mut is_stopped = false;
        loop {
            let result = tokio::select! {
                biased;
                orders = self.shared.ordered() => self.obey(orders, &mut outgoing),
                frame = self.peer_session.next() => self.session_frame(frame),
                frame = self.peer_control.next() => self.control_frame(frame),
                end = watch(&mut self.qpack) => Err(end),
                result = &mut stopped, if !is_stopped => {
                    is_stopped = true;
                    // Nobody listens any more. `None` is our own end, acknowledged.
                    match result {
                        Ok(Some(code)) => Err(End::Peers(error::given_up(code))),
                        _ => Ok(()),
                    }
                }
                written = self.session.write_chunks(std::slice::from_mut(&mut outgoing)), if !outgoing.is_empty() => {
                    if written.is_err() {
                        // Whatever it is, another branch knows more.
                        outgoing.clear();
                    }
                    Ok(())
                }
                error = &mut lost => Err(End::Lost(error)),
            };
            if let Err(end) = result {
                // What has been begun must be whole before the last words.
                if matches!(end, End::Ours(..)) && !outgoing.is_empty() {
                    let _ = timeout(FAREWELL, self.session.write_chunk(outgoing)).await;
                }
                return end;
            }
        }
    }

    fn obey(&mut self, orders: Orders, outgoing: &mut Bytes) -> Result<(), End> {
        if let Some(violation) = orders.violation {
            return Err(violation.into());
        }
        if let Some((code, reason)) = orders.close {
            return Err(End::Ours(code, reason));
        }
        self.qpack.extend(orders.qpack);
        if orders.drain && !std::mem::replace(&mut self.has_drained, true) {
            let mut data = BytesMut::from(&outgoing[..]);
            frame::put(&mut data, frame::DATA, &capsule::drain());
            *outgoing = data.freeze();
        }
        Ok(())
    }

    fn session_frame(&mut self, frame: Result<Option<Frame>, Failure>) -> Result<(), End> {
        let capsules = &mut self.capsules;
        match frame {
            Ok(Some(Frame::Data(mut bytes))) => {
                while let Some(capsule) = capsules.next(&mut bytes)? {
                    match capsule {
                        Capsule::Drain => self.shared.set_draining(),
                        Capsule::Close { code, reason } => {
                            return Err(End::Peers(ConnectionError::Closed { code: code.into(), reason }));
                        }
                    }
                }
                Ok(())
            }
            Ok(None) => {
                capsules.end()?;
                Err(End::Peers(ConnectionError::Closed { code: Code::NONE, reason: String::new() }))
            }
            // The reader lets nothing else through here.
            Ok(Some(_)) => Ok(()),
            Err(Failure::Violation(violation)) => Err(violation.into()),
            Err(Failure::Reset(code)) => Err(End::Peers(error::given_up(code))),
            Err(Failure::Lost(error)) => Err(End::Lost(error)),
        }
    }

    fn control_frame(&self, frame: Result<Option<Frame>, Failure>) -> Result<(), End> {
        match frame {
            Ok(Some(Frame::GoAway)) => {
                self.shared.set_draining();
                Ok(())
            }
            // The reader lets nothing else through here.
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(Failure::Reset(_)) => Err(critical_stream_closed().into()),
            Err(Failure::Violation(violation)) => Err(violation.into()),
            Err(Failure::Lost(error)) => Err(End::Lost(error)),
        }
    }

    /// Tells the peer, and gives it the time to agree.
    async fn say_goodbye(&mut self, code: Code, reason: &str) {
        let mut capsules = std::mem::take(&mut self.capsules);
        let farewell = async {
            // The same as where codes are mapped.
            let wide = u32::try_from(code.0).unwrap_or(u32::MAX);
            let mut data = BytesMut::new();
            frame::put(&mut data, frame::DATA, &capsule::close(wide, reason));
            if self.session.write_chunk(data.freeze()).await.is_err() || self.session.finish().is_err() {
                return Answer::None;
            }
            loop {
                match self.peer_session.next().await {
                    // What else it says does not matter any more.
                    Ok(Some(Frame::Data(mut bytes))) => {
                        if let Ok(Some(Capsule::Close { .. })) = capsules.next(&mut bytes) {
                            return Answer::ClosesToo;
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Answer::Agrees,
                }
            }
        };
        // A peer that was not told, or does not answer, has the connection's end to go by.
        match timeout(FAREWELL, farewell).await.unwrap_or(Answer::None) {
            // A browser agrees before it has told its page, and closes the connection after that; a close of ours in
            // between would be all that the page hears of.
            Answer::Agrees => drop(timeout(FAREWELL, self.quic.closed()).await),
            // Both would wait for the other's.
            Answer::ClosesToo => {}
            Answer::None => return close(&self.quic, Mapping::WebTransport.encode(code), reason),
        }
        close(&self.quic, error::wire(ErrorCode::NoError), "");
    }

    fn blame(&mut self, violation: Violation) {
        self.shared.set_end(ConnectionError::Transport(Arc::new(violation)));
        close(&self.quic, error::wire(violation.code), violation.what);
    }
}

/// What the peer says to our close.
enum Answer {
    None,
    Agrees,
    /// It wanted to end the session, too.
    ClosesToo,
}

/// Ends what the task leaves behind.
struct Unfinished {
    quic: quinn::Connection,
    shared: Arc<Shared>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(error) = self.quic.close_reason() {
            self.shared.set_end(error::lost(error));
        } else {
            self.shared.set_end(ConnectionError::LocallyClosed);
            close(&self.quic, error::wire(ErrorCode::NoError), "");
        }
    }
}

fn critical_stream_closed() -> Violation {
    Violation::new(ErrorCode::ClosedCriticalStream, "a stream that must stay has ended")
}

/// Reads streams whose bytes mean nothing, until one of them ends, which must not be.
async fn watch(streams: &mut [RecvStream]) -> End {
    let ended = poll_fn(|cx| {
        for stream in &mut *streams {
            loop {
                match pin!(read(stream)).poll(cx) {
                    Poll::Ready(Ok(Some(_))) => {}
                    Poll::Ready(Ok(None) | Err(Failure::Reset(_))) => return Poll::Ready(true),
                    // Another branch knows more of that.
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending => break,
                }
            }
        }
        Poll::Pending
    });
    if ended.await { critical_stream_closed().into() } else { pending().await }
}
