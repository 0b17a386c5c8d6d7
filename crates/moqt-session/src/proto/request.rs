//! One request: who asked, which halves of its stream are open, and how far it is.

use std::collections::BTreeSet;

use moqt_transport::Code;
use moqt_wire::{FullTrackName, Namespace, Priority};

use super::message::{Fetch, Gap, Info, Message, Subscribe, SubscribeUpdate};
use crate::{
    error::{RequestError, SessionError},
    model::{Announced, Interest},
};

/// Names a request inside a session, whichever side opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestId(pub(crate) u64);

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Session,
    Announce,
    Subscribe,
    Fetch,
    Info,
    Drain,
}

impl RequestKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Announce => "announce",
            Self::Subscribe => "subscribe",
            Self::Fetch => "fetch",
            Self::Info => "info",
            Self::Drain => "drain",
        }
    }
}

/// Who speaks on a request's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The side that opened it.
    Requester,
    /// The side that answers.
    Responder,
}

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Open a stream for the request and say its kind.
    Open { request: RequestId, kind: RequestKind },
    /// Write a message on the request's stream.
    Send { request: RequestId, message: Message },
    /// Finish our half; what was sent arrives.
    Finish { request: RequestId },
    /// Reset our half.
    Reset { request: RequestId, code: Code },
    /// Ask the peer to stop its half.
    Stop { request: RequestId, code: Code },
    /// Both halves are done; forget the request.
    Forget { request: RequestId },
    /// Tell the session's user.
    Event(Event),
    /// End the session.
    Close(SessionError),
}

/// What the user of a session learns.
#[derive(Debug)]
pub(crate) enum Event {
    /// The peer wants a track: answer with `accept` or `refuse`.
    Subscribed { request: RequestId, subscribe: Subscribe },
    /// The peer changed its wish.
    Updated { request: RequestId, update: SubscribeUpdate },
    /// The peer wants no more; `graceful`: groups already begun still matter.
    Unsubscribed { request: RequestId, graceful: bool },
    /// The peer watches names: feed it with `announce`.
    Watched { request: RequestId, interest: Interest },
    /// The peer watches no more.
    Unwatched { request: RequestId },
    /// The peer asks about a track: answer with `answer_info` or `refuse`.
    InfoAsked { request: RequestId, name: FullTrackName },
    /// The peer wants one group: answer with `serve_fetch` or `refuse`.
    FetchAsked { request: RequestId, fetch: Fetch },
    /// The peer ranks its fetch anew.
    FetchUpdated { request: RequestId, priority: Priority },
    /// Our subscription was accepted.
    Accepted { request: RequestId, info: Info },
    /// Groups of our subscription will not come.
    Gap { request: RequestId, gap: Gap },
    /// The peer's names changed.
    Announced { request: RequestId, event: Announced },
    /// The answer to our question.
    Info { request: RequestId, info: Info },
    /// Our request is over.
    Ended { request: RequestId, result: Result<(), RequestError> },
    /// The peer's estimate of what gets through, in bits per second; `None` for unknown.
    Bitrate(Option<u64>),
    /// The peer asks us to move to this URL; `None` for the same.
    Drain(Option<String>),
}

#[derive(Debug)]
pub(super) enum State {
    /// The peer opened the stream; its first message is not here yet.
    Opened,
    /// The Session stream.
    Session,
    /// The peer's subscription waits for our answer.
    Asked(Range),
    /// The peer's subscription is served.
    Serving(Range),
    /// The peer unsubscribed gracefully; groups already begun go on.
    Unsubscribed,
    /// The peer watches our names.
    Watched { interest: Interest },
    /// The peer's question waits for our answer.
    InfoAsked,
    /// The peer's fetch waits for our answer.
    FetchAsked,
    /// The peer's fetch is answered, by frames that pass by here.
    FetchServing,
    /// Our subscription waits for the answer.
    Subscribing { id: u64 },
    /// Our subscription was accepted.
    Subscribed { id: u64 },
    /// We watch the peer's names.
    Watching { interest: Interest, active: BTreeSet<Namespace>, caught_up: bool },
    /// The frames of our fetch come, or a refusal will.
    Fetching,
    /// Our question waits for the answer.
    Asking,
    /// We asked the peer to move.
    Draining,
    /// Nothing more will be said on it but the ends of its halves.
    Done,
}

impl State {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Opened => "waiting for the first message",
            Self::Session => "session",
            Self::Asked(_) => "asked for a track",
            Self::Serving(_) => "serving a track",
            Self::Unsubscribed => "unsubscribed",
            Self::Watched { .. } => "watched",
            Self::InfoAsked => "asked for info",
            Self::FetchAsked => "asked for a group",
            Self::FetchServing => "serving a fetch",
            Self::Subscribing { .. } => "subscribing",
            Self::Subscribed { .. } => "subscribed",
            Self::Watching { .. } => "watching",
            Self::Fetching => "fetching",
            Self::Asking => "asking for info",
            Self::Draining => "asking to move",
            Self::Done => "done",
        }
    }
}

/// The range of a subscription, as updates may narrow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: Option<u64>,
    pub(super) last: Option<u64>,
}

impl Range {
    /// Applies an update; `None` when it would widen the range. Spec: digest 5.5.
    pub(super) fn narrow(self, first: Option<u64>, last: Option<u64>) -> Option<Self> {
        let narrowed = Self { first: first.or(self.first), last: last.or(self.last) };
        let grows_down = matches!((self.first, first), (Some(old), Some(new)) if new < old);
        let grows_up = matches!((self.last, last), (Some(old), Some(new)) if new > old);
        (!grows_down && !grows_up && narrowed.is_valid()).then_some(narrowed)
    }

    /// "From the latest" means from this group on; later updates are compared with it. Spec: digest 5.5.
    pub(super) fn resolved(self, latest: Option<u64>) -> Self {
        let resolved = Self { first: self.first.or(latest), ..self };
        if resolved.is_valid() { resolved } else { self }
    }

    pub(super) fn is_valid(self) -> bool {
        !matches!((self.first, self.last), (Some(first), Some(last)) if last < first)
    }
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: RequestKind,
    /// Who opened it.
    pub(super) ours: bool,
    pub(super) state: State,
    /// Whether the peer may still send on it.
    pub(super) reading: bool,
    /// Whether we may still send on it.
    pub(super) writing: bool,
}
