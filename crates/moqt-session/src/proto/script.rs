//! Words for tests of the core: what comes in, and what must go out, in order. No runtime.

use std::collections::VecDeque;

use moqt_transport::Code;
use moqt_wire::{GroupOrder, Priority, Version};

use super::{
    endpoint::{Endpoint, Refused, Side},
    limits::Limits,
    message::{AnnounceStatus, Gap, Info, Message, Subscribe, SubscribeUpdate},
    request::{Event, Output, RequestId, RequestKind},
};
use crate::{
    dialect,
    error::{PeerMisbehaved, Reason, SessionError},
    model::TrackInfo,
};

/// One side of a session whose other side is the test.
pub(super) struct Script {
    pub(super) endpoint: Endpoint,
    outputs: VecDeque<Output>,
}

impl Script {
    pub(super) fn new(version: Version, side: Side) -> Self {
        Self::limited(version, side, Limits::default())
    }

    pub(super) fn limited(version: Version, side: Side, limits: Limits) -> Self {
        Self { endpoint: Endpoint::new(dialect::of(version), side, limits), outputs: VecDeque::new() }
    }

    /// The peer opens a stream of this type.
    pub(super) fn opens(&mut self, stream_type: u64) -> Result<RequestId, Refused> {
        self.endpoint.handle_stream(stream_type).map(|(request, _)| request)
    }

    pub(super) fn next(&mut self) -> Output {
        while let Some(output) = self.endpoint.poll_output() {
            self.outputs.push_back(output);
        }
        self.outputs.pop_front().expect("nothing more is said or done")
    }

    /// Nothing more is said or done.
    #[track_caller]
    pub(super) fn silent(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            self.outputs.push_back(output);
        }
        assert!(self.outputs.is_empty(), "unexpected: {:?}", self.outputs);
    }

    #[track_caller]
    pub(super) fn opened(&mut self, kind: RequestKind) -> RequestId {
        match self.next() {
            Output::Open { request, kind: found } if found == kind => request,
            other => panic!("expected to open {kind:?}, got {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn sends(&mut self, request: RequestId, message: Message) {
        match self.next() {
            Output::Send { request: on, message: sent } => assert_eq!((on, sent), (request, message)),
            other => panic!("expected to send {message:?}, got {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn finishes(&mut self, request: RequestId) {
        match self.next() {
            Output::Finish { request: on } => assert_eq!(on, request),
            other => panic!("expected to finish, got {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn resets(&mut self, request: RequestId, expected: u64) {
        match self.next() {
            Output::Reset { request: on, code } => assert_eq!((on, code), (request, Code(expected))),
            other => panic!("expected a reset, got {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn stops(&mut self, request: RequestId, expected: u64) {
        match self.next() {
            Output::Stop { request: on, code } => assert_eq!((on, code), (request, Code(expected))),
            other => panic!("expected a stop, got {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn forgets(&mut self, request: RequestId) {
        match self.next() {
            Output::Forget { request: on } => assert_eq!(on, request),
            other => panic!("expected to forget, got {other:?}"),
        }
    }

    /// Both halves end with one code, and the request is forgotten.
    #[track_caller]
    pub(super) fn fails(&mut self, request: RequestId, code: u64) {
        self.stops(request, code);
        self.resets(request, code);
        self.forgets(request);
    }

    #[track_caller]
    pub(super) fn event(&mut self) -> Event {
        match self.next() {
            Output::Event(event) => event,
            other => panic!("expected an event, got {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn closes_with(&mut self, rule: &PeerMisbehaved) {
        match self.next() {
            Output::Close(SessionError::Peer(found)) => assert_eq!(&found, rule),
            other => panic!("expected to close for {rule:?}, got {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn closes_as(&mut self, reason: Reason) {
        match self.next() {
            Output::Close(SessionError::Closed { reason: found, .. }) => assert_eq!(found, reason),
            other => panic!("expected to close with {reason:?}, got {other:?}"),
        }
    }
}

pub(super) fn subscribe(id: u64, track: &str) -> Subscribe {
    Subscribe {
        id,
        name: track.parse().expect("a name"),
        priority: Priority(128),
        order: GroupOrder::Default,
        max_age: None,
        first: None,
        last: None,
    }
}

pub(super) fn range(first: Option<u64>, last: Option<u64>) -> SubscribeUpdate {
    SubscribeUpdate { priority: Priority(1), order: GroupOrder::Ascending, max_age: None, first, last }
}

pub(super) fn info(latest: u64) -> Info {
    Info { track: TrackInfo::default(), latest: Some(latest) }
}

pub(super) fn gap(first: u64, last: u64, code: u64) -> Gap {
    Gap { first, last, code: Code(code) }
}

pub(super) fn announce(status: AnnounceStatus, suffix: &str) -> Message {
    Message::Announce { status, suffix: suffix.parse().expect("a name") }
}
