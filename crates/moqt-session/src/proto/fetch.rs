//! Fetches, ours and the peer's. The core hears of a fetch and of its end; frames pass by it.

#[cfg(test)]
mod tests;

use moqt_wire::Priority;

use super::{
    endpoint::Endpoint,
    message::{Fetch, Message},
    request::{RequestId, RequestKind, State},
};
use crate::error::{GroupError, PeerMisbehaved, Reason, RequestError};

impl Endpoint {
    /// Asks for one group. Our half stays open, for updates.
    ///
    /// # Errors
    ///
    /// When the version cannot say it; nothing is sent then.
    pub(crate) fn fetch(&mut self, fetch: Fetch) -> Result<RequestId, RequestError> {
        let message = Message::Fetch(fetch);
        self.dialect.check(&message)?;
        let request = self.open(RequestKind::Fetch, State::Fetching);
        self.send(request, message);
        Ok(request)
    }

    /// Changes the priority of a fetch of ours.
    pub(crate) fn update_fetch(&mut self, id: RequestId, priority: Priority) {
        if let Some(State::Fetching) = self.requests.get(&id).map(|request| &request.state) {
            self.send(id, Message::FetchUpdate(priority));
        }
    }

    /// The frames of a fetch of ours have ended, as the peer or what it sent would have it.
    pub(crate) fn fetch_ended(&mut self, id: RequestId, end: Result<(), GroupError>) {
        match end {
            Ok(()) => self.handle_finished(id),
            Err(GroupError::Reset(reason)) => self.handle_reset(id, self.code(reason)),
            Err(error) => {
                let rule = match error {
                    GroupError::TooLarge => PeerMisbehaved::LimitReached("size of a group"),
                    _ => PeerMisbehaved::EndedEarly("end of a frame"),
                };
                self.lost(id, Err(rule.into()));
                self.fail(id, error.reason());
            }
        }
    }

    /// The peer's fetch is being answered.
    pub(crate) fn serve_fetch(&mut self, id: RequestId) {
        if let Some(request) = self.requests.get_mut(&id)
            && matches!(request.state, State::FetchAsked)
        {
            request.state = State::FetchServing;
        }
    }

    /// The peer has all of what it fetched.
    pub(crate) fn fetch_sent(&mut self, id: RequestId) {
        if self.done_if(id, |state| matches!(state, State::FetchServing)) {
            self.finish(id);
        }
    }

    /// What the peer fetched will not come whole.
    pub(crate) fn fetch_lost(&mut self, id: RequestId, reason: Reason) {
        if self.done_if(id, |state| matches!(state, State::FetchServing)) {
            self.fail(id, reason);
        }
    }
}
