//! The peer's requests: what it asks, how we answer, how it leaves.

use moqt_transport::Code;

use super::{
    endpoint::Endpoint,
    message::{AnnounceStatus, Gap, Info, Message},
    request::{Event, Range, Request, RequestId, RequestKind, State},
};
use crate::{
    error::{PeerMisbehaved, Reason, RequestError},
    model::Announced,
};

impl Endpoint {
    pub(super) fn on_request(&mut self, id: RequestId, message: Message) -> Result<(), PeerMisbehaved> {
        let Some(request) = self.requests.get_mut(&id) else { return Ok(()) };
        match (&mut request.state, message) {
            (State::Opened, Message::Subscribe(subscribe)) => {
                let range = Range { first: subscribe.first, last: subscribe.last };
                if !range.is_valid() {
                    return Err(PeerMisbehaved::InvalidRange);
                }
                request.state = State::Asked(range);
                if self.used_ids.len() > self.limits.subscriptions {
                    return Err(PeerMisbehaved::LimitReached("scattered subscribe ids"));
                }
                if !self.used_ids.insert(subscribe.id, subscribe.id) {
                    return Err(PeerMisbehaved::DuplicateSubscribeId(subscribe.id));
                }
                self.event(Event::Subscribed { request: id, subscribe });
            }
            (State::Asked(range) | State::Serving(range), Message::SubscribeUpdate(update)) => {
                *range = range.narrow(update.first, update.last).ok_or(PeerMisbehaved::InvalidRange)?;
                self.event(Event::Updated { request: id, update });
            }
            (State::Opened, Message::Watch(interest)) => {
                request.state = State::Watched { interest: interest.clone() };
                self.event(Event::Watched { request: id, interest });
            }
            (State::Opened, Message::AskInfo(name)) => {
                request.state = State::InfoAsked;
                self.event(Event::InfoAsked { request: id, name });
            }
            (State::Opened, Message::Fetch(fetch)) => {
                request.state = State::FetchAsked;
                self.event(Event::FetchAsked { request: id, fetch });
            }
            (State::FetchAsked | State::FetchServing, Message::FetchUpdate(priority)) => {
                self.event(Event::FetchUpdated { request: id, priority });
            }
            (State::Opened, Message::Drain(url)) => {
                request.state = State::Done;
                self.event(Event::Drain(url));
                self.finish(id);
            }
            // The other side's late wishes.
            (State::Unsubscribed | State::Done, _) => {}
            (state, message) => {
                return Err(PeerMisbehaved::OutOfOrder { state: state.name(), got: message.name() });
            }
        }
        Ok(())
    }

    /// The peer's half of its own request ended.
    pub(super) fn request_ended(&mut self, id: RequestId, reset: Option<Code>) {
        let Some(request) = self.requests.get(&id) else { return };
        match (&request.state, reset) {
            (State::Opened, None) => {
                let first = match request.kind {
                    RequestKind::Announce => "announce please",
                    RequestKind::Subscribe => "subscribe",
                    RequestKind::Fetch => "fetch",
                    RequestKind::Info => "info please",
                    RequestKind::Drain => "drain",
                    RequestKind::Session => "session",
                };
                self.handle_malformed(id, PeerMisbehaved::EndedEarly(first));
            }
            // The question is complete; the answer follows. Spec: digest 2.3.
            (State::InfoAsked | State::FetchAsked | State::FetchServing, None) => {}
            // The answer is still due; what follows it is not wanted.
            (State::Asked(_), None) => {
                if let Some(request) = self.requests.get_mut(&id) {
                    request.state = State::Unsubscribed;
                }
            }
            (State::Serving(_), None) => {
                self.abandoned(id, true);
                if let Some(request) = self.requests.get_mut(&id) {
                    request.state = State::Unsubscribed;
                }
            }
            (State::Watched { .. }, None) => {
                self.abandoned(id, true);
                self.done(id);
                self.finish(id);
            }
            (State::Unsubscribed | State::Done | State::Session, None) => {}
            (_, Some(_)) => {
                self.abandoned(id, false);
                self.fail(id, Reason::Cancelled);
            }
            (_, None) => self.finish(id),
        }
    }

    /// Tells the user that the peer left its request.
    pub(super) fn abandoned(&mut self, id: RequestId, graceful: bool) {
        match self.requests.get(&id).map(|request| &request.state) {
            Some(State::Asked(_) | State::Serving(_) | State::Unsubscribed) => {
                self.event(Event::Unsubscribed { request: id, graceful });
            }
            Some(State::Watched { .. }) => self.event(Event::Unwatched { request: id }),
            _ => {}
        }
    }

    /// Accepts the peer's subscription.
    pub(crate) fn accept(&mut self, id: RequestId, info: Info) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let draining = match request.state {
            State::Asked(range) => {
                request.state = State::Serving(range.resolved(info.latest));
                false
            }
            State::Unsubscribed => true,
            _ => return,
        };
        self.send(id, Message::Accepted(info));
        if draining {
            self.abandoned(id, true);
        }
    }

    /// Answers the peer's question.
    pub(crate) fn answer_info(&mut self, id: RequestId, info: Info) {
        if self.done_if(id, |state| matches!(state, State::InfoAsked)) {
            self.send(id, Message::Info(info));
            self.finish(id);
        }
    }

    /// Turns the peer's request down, or ends it for a reason; one of ours is given up, and its user told.
    pub(crate) fn refuse(&mut self, id: RequestId, reason: Reason) {
        let ours = |request: &Request| request.ours && request.kind != RequestKind::Session;
        if self.requests.get(&id).is_some_and(ours) {
            self.lost(id, Err(RequestError::TooMany));
            return self.fail(id, reason);
        }
        if self.done_if(id, |state| !matches!(state, State::Done | State::Session)) {
            self.fail(id, reason);
        }
    }

    /// Reports groups that will not come.
    pub(crate) fn gap(&mut self, id: RequestId, first: u64, last: u64, reason: Reason) {
        let code = self.code(reason);
        let state = self.requests.get(&id).map(|request| &request.state);
        if matches!(state, Some(State::Serving(_) | State::Unsubscribed)) {
            self.limits.meters.tells_gap(reason);
            self.send(id, Message::Gap(Gap { first, last, code }));
        }
    }

    /// The peer's subscription is complete: everything was sent.
    pub(crate) fn complete(&mut self, id: RequestId) {
        if self
            .done_if(id, |state| matches!(state, State::Asked(_) | State::Serving(_) | State::Unsubscribed))
        {
            self.finish(id);
        }
    }

    /// Says what changed among our names.
    pub(crate) fn announce(&mut self, id: RequestId, event: &Announced) {
        let Some(request) = self.requests.get(&id) else { return };
        let State::Watched { interest } = &request.state else { return };
        let (status, suffix) = match event {
            Announced::Active(name) => (AnnounceStatus::Active, interest.matches(name)),
            Announced::Ended(name) => (AnnounceStatus::Ended, interest.matches(name)),
            Announced::CaughtUp => (AnnounceStatus::CaughtUp, Some(Default::default())),
        };
        if let Some(suffix) = suffix {
            self.send(id, Message::Announce { status, suffix });
        }
    }

    /// Our names will not change any more.
    pub(crate) fn end_announce(&mut self, id: RequestId) {
        if self.done_if(id, |state| matches!(state, State::Watched { .. })) {
            self.finish(id);
        }
    }

    fn done(&mut self, id: RequestId) {
        self.done_if(id, |_| true);
    }

    pub(super) fn done_if(&mut self, id: RequestId, check: impl Fn(&State) -> bool) -> bool {
        match self.requests.get_mut(&id) {
            Some(request) if check(&request.state) => {
                request.state = State::Done;
                true
            }
            _ => false,
        }
    }
}

impl Endpoint {
    /// A message of ours has no form in this version; the request it belongs to cannot go on without it.
    ///
    /// An announcement is only left out: the version's peers could not ask for such a name anyway.
    pub(crate) fn unspeakable(&mut self, id: RequestId, message: &Message) {
        if !matches!(message, Message::Announce { .. }) {
            self.refuse(id, Reason::Unsupported);
        }
    }
}
