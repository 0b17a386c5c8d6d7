//! Leaving: one side says that the session will end soon, and serves nothing new.
//!
//! Spec: digest 7, row 3.6. The extension is ours; peers that did not agree on it are never sent its stream.

use super::{
    endpoint::{Endpoint, Side},
    message::Message,
    request::{RequestKind, State},
};
use crate::error::{Reason, RequestError};

/// How far an endpoint is with leaving.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drain {
    /// Both sides know the stream.
    pub(super) agreed: bool,
    /// We serve nothing new.
    pub(super) leaving: bool,
    /// The server has opened its one stream for it.
    opened: bool,
}

/// What the peer knows of our leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It was asked to move and goes by itself; running subscriptions go on until then.
    Asked,
    /// The wire has no words for it: it sees what we serve come to its end.
    Withdrawn,
}

impl Endpoint {
    /// Both sides agreed that a server may ask the client to move.
    #[must_use]
    pub(crate) fn with_drain(mut self, agreed: bool) -> Self {
        self.drain.agreed = agreed;
        self
    }

    /// Refuses what is new from now on, and asks a client that can be asked to move to `url`; `None` for the same.
    ///
    /// # Errors
    ///
    /// When the URL cannot be said; nothing has changed then.
    pub(crate) fn leave_for(&mut self, url: Option<String>) -> Result<Told, RequestError> {
        if self.side == Side::Client || !self.drain.agreed {
            self.drain.leaving = true;
            return Ok(Told::Withdrawn);
        }
        let limit = self.limits.wire.url_bytes;
        if let Some(len) = url.as_ref().map(String::len).filter(|len| *len > limit) {
            return Err(RequestError::Encode(format!("a URL of {len} bytes is above the limit of {limit}")));
        }
        let message = Message::Drain(url);
        self.dialect.check(&message)?;
        self.drain.leaving = true;
        if !std::mem::replace(&mut self.drain.opened, true) {
            let request = self.open(RequestKind::Drain, State::Draining);
            self.send(request, message);
            self.finish(request);
        }
        Ok(Told::Asked)
    }

    /// Whether a drain stream of the peer is in its place; true once.
    pub(super) fn may_be_drained(&mut self) -> bool {
        self.side == Side::Client && !std::mem::replace(&mut self.drain.opened, true)
    }

    /// The last word to a peer that saw what we serve come to its end.
    pub(crate) fn end_session(&mut self) {
        self.reset(Self::SESSION, Reason::GoingAway);
    }
}
