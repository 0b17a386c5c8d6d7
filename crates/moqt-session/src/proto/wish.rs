//! Our requests: what we ask, what the answers mean, how we leave.

use std::collections::BTreeSet;

use moqt_transport::Code;
use moqt_wire::FullTrackName;

use super::{
    endpoint::Endpoint,
    message::{AnnounceStatus, Message, Subscribe, SubscribeUpdate},
    request::{Event, RequestId, RequestKind, State},
};
use crate::{
    error::{PeerMisbehaved, Reason, RequestError},
    model::{Announced, Interest},
};

impl Endpoint {
    /// Asks for a track. The wish's id is chosen here.
    ///
    /// # Errors
    ///
    /// When the version cannot say it; nothing is sent then.
    pub(crate) fn subscribe(&mut self, mut wish: Subscribe) -> Result<RequestId, RequestError> {
        let id = self.next_subscribe_id;
        wish.id = id;
        let message = Message::Subscribe(wish);
        self.dialect.check(&message)?;
        self.next_subscribe_id += 1;
        let request = self.open(RequestKind::Subscribe, State::Subscribing { id });
        // Groups may overtake the answer, so the id counts from now on.
        self.subscriptions.insert(id, request);
        self.send(request, message);
        Ok(request)
    }

    /// Changes a subscription of ours.
    ///
    /// # Errors
    ///
    /// When the version cannot say it; nothing is sent then.
    pub(crate) fn update(&mut self, id: RequestId, update: SubscribeUpdate) -> Result<(), RequestError> {
        let message = Message::SubscribeUpdate(update);
        self.dialect.check(&message)?;
        if let Some(State::Subscribing { .. } | State::Subscribed { .. }) =
            self.requests.get(&id).map(|request| &request.state)
        {
            self.send(id, message);
        }
        Ok(())
    }

    /// Watches the peer's names. There may be some among them that are of no interest: a version may be able to ask
    /// for more only.
    ///
    /// # Errors
    ///
    /// When the version cannot say it; nothing is sent then.
    pub(crate) fn watch(&mut self, interest: Interest) -> Result<RequestId, RequestError> {
        let interest = self.dialect.asked(interest);
        let message = Message::Watch(interest.clone());
        self.dialect.check(&message)?;
        let state = State::Watching { interest, active: BTreeSet::new(), caught_up: false };
        let request = self.open(RequestKind::Announce, state);
        self.send(request, message);
        Ok(request)
    }

    /// Asks what the peer knows of a track.
    ///
    /// # Errors
    ///
    /// When the version cannot say it; nothing is sent then.
    pub(crate) fn ask_info(&mut self, name: FullTrackName) -> Result<RequestId, RequestError> {
        let message = Message::AskInfo(name);
        self.dialect.check(&message)?;
        let request = self.open(RequestKind::Info, State::Asking);
        self.send(request, message);
        self.finish(request);
        Ok(request)
    }

    /// We want no more of a request of ours.
    ///
    /// Spec: digest 2.3; reset and stop is what every deployed peer understands.
    pub(crate) fn cancel(&mut self, id: RequestId) {
        if self.requests.get(&id).is_some_and(|request| request.ours && request.kind != RequestKind::Session)
        {
            self.subscriptions.retain(|_, of| *of != id);
            self.lost(id, Ok(()));
            self.fail(id, Reason::Cancelled);
        }
    }

    pub(super) fn on_answer(&mut self, id: RequestId, message: Message) -> Result<(), PeerMisbehaved> {
        let Some(request) = self.requests.get_mut(&id) else { return Ok(()) };
        match (&mut request.state, message) {
            (State::Subscribing { id: subscribe_id }, Message::Accepted(info)) => {
                request.state = State::Subscribed { id: *subscribe_id };
                self.event(Event::Accepted { request: id, info });
            }
            (State::Subscribed { .. }, Message::Gap(gap)) => {
                self.event(Event::Gap { request: id, gap });
            }
            (State::Watching { interest, active, caught_up }, Message::Announce { status, suffix }) => {
                let event = match status {
                    AnnounceStatus::CaughtUp if *caught_up => return Ok(()),
                    AnnounceStatus::CaughtUp => {
                        *caught_up = true;
                        Announced::CaughtUp
                    }
                    AnnounceStatus::Active => {
                        let name = interest.full_path(&suffix)?;
                        name.validate(&self.limits.wire)?;
                        if !active.insert(name.clone()) {
                            return Err(PeerMisbehaved::DuplicateAnnounce(name));
                        }
                        self.announced += 1;
                        if self.announced > self.limits.announced {
                            return Err(PeerMisbehaved::LimitReached("announced names"));
                        }
                        Announced::Active(name)
                    }
                    AnnounceStatus::Ended => {
                        let name = interest.full_path(&suffix)?;
                        if !active.remove(&name) {
                            return Err(PeerMisbehaved::EndedWithoutActive(name));
                        }
                        self.announced -= 1;
                        Announced::Ended(name)
                    }
                };
                self.event(Event::Announced { request: id, event });
            }
            (State::Asking, Message::Info(info)) => {
                self.event(Event::Info { request: id, info });
                self.lost(id, Ok(()));
            }
            (state, message) => {
                return Err(PeerMisbehaved::OutOfOrder { state: state.name(), got: message.name() });
            }
        }
        Ok(())
    }

    /// The peer's half of our request ended.
    pub(super) fn answer_ended(&mut self, id: RequestId, reset: Option<Code>) {
        let Some(request) = self.requests.get(&id) else { return };
        let result = match (&request.state, reset) {
            (_, Some(code)) => Err(RequestError::Refused(self.dialect.reason(code))),
            (State::Subscribing { .. } | State::Asking, None) => {
                Err(PeerMisbehaved::EndedEarly("info").into())
            }
            (_, None) => Ok(()),
        };
        let refused = result.is_err();
        let subscribed = matches!(request.state, State::Subscribed { .. });
        self.lost(id, result);
        if subscribed && !refused {
            // Groups may still be on their way; `retire` ends it.
        } else if refused {
            self.reset(id, Reason::Cancelled);
        } else {
            self.finish(id);
        }
    }
}
