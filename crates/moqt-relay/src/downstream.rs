//! What a session is served: the names of its scope, and the tracks behind them.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use moqt::{
    AnnounceConsumer, FetchRequest, FullTrackName, InfoRequest, Interest, Origin, Reason, TrackConsumer,
    TrackRequest,
};
use tokio::task::JoinSet;

use crate::{authorize::Permissions, relay::Shared, scope::Scope, upstream};

/// One session's view of its scope. Dropped with the session, it withdraws the session's questions.
#[derive(Debug)]
pub(crate) struct Downstream {
    scope: Arc<Scope>,
    permissions: Permissions,
    shared: Arc<Shared>,
    /// Questions that wait for an answer from upstream.
    waiting: Mutex<JoinSet<()>>,
}

impl Downstream {
    pub(crate) fn new(scope: Arc<Scope>, permissions: Permissions, shared: Arc<Shared>) -> Self {
        Self { scope, permissions, shared, waiting: Mutex::default() }
    }

    fn may_have(&self, name: &FullTrackName) -> Result<(), Reason> {
        self.permissions.subscribe(name).inspect_err(|_| {
            self.shared.refusals.unauthorized.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits for them, so those that are done are cleared away here.
        while waiting.try_join_next().is_some() {}
        waiting.spawn(work);
    }
}

impl Origin for Downstream {
    fn watch(&self, interest: Interest) -> AnnounceConsumer {
        self.scope.watch(interest)
    }

    fn track(&self, mut request: TrackRequest) {
        if let Err(reason) = self.may_have(&request.name) {
            return request.refuse(reason);
        }
        let mut waiting = self.scope.want(&request.name, request.first);
        if let Some(answer) = waiting.now() {
            return answer_track(request, answer);
        }
        self.spawn(async move {
            tokio::select! {
                biased;
                answer = waiting.answer() => answer_track(request, answer),
                () = request.cancelled() => {}
            }
        });
    }

    fn info(&self, mut request: InfoRequest) {
        if let Err(reason) = self.may_have(&request.name) {
            return request.refuse(reason);
        }
        let mut waiting = self.scope.ask_info(&request.name);
        if let Some(answer) = waiting.now() {
            return match answer {
                Ok(info) => request.answer(info),
                Err(reason) => request.refuse(reason),
            };
        }
        self.spawn(async move {
            tokio::select! {
                biased;
                answer = waiting.answer() => match answer {
                    Ok(info) => request.answer(info),
                    Err(reason) => request.refuse(reason),
                },
                () = request.cancelled() => {}
            }
        });
    }

    fn fetch(&self, request: FetchRequest) {
        if let Err(reason) = self.may_have(&request.name) {
            return request.refuse(reason);
        }
        let (held, sessions) = self.scope.sources(&request.name);
        if let Some(track) = held
            && let Some(group) = track.group(request.group)
            // What was cut on its way here may be whole where it came from.
            && !matches!(group.end(), Some(Err(_)))
        {
            return request.accept_from(&track);
        }
        if sessions.is_empty() {
            return request.refuse(Reason::NotFound);
        }
        self.spawn(upstream::fetch(sessions, request, Arc::clone(self.scope.settings())));
    }
}

fn answer_track(request: TrackRequest, answer: Result<TrackConsumer, Reason>) {
    match answer {
        // What came since the track was answered is for those who waited for it, too.
        Ok(track) if request.first.is_none() => request.accept_as(track),
        Ok(track) => request.accept(track),
        Err(reason) => request.refuse(reason),
    }
}
