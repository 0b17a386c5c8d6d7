//! What a session is served: the names of its scope, and the tracks behind them.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use moqt::{
    AnnounceConsumer, FetchRequest, FullTrackName, Info, InfoRequest, Interest, Origin, Reason, Subscriber,
    TrackConsumer, TrackRequest,
};
use tokio::task::JoinSet;

use crate::{
    authorize::Permissions,
    router::{Level, Wanted},
    scope::{Scope, Waiting},
    shared::Shared,
    upstream,
};

fn wanted(request: &TrackRequest) -> Wanted {
    Wanted { first: request.first, priority: request.priority }
}

/// One session's view of its scope. Dropped with the session, it withdraws the session's questions.
#[derive(Debug)]
pub(crate) struct Downstream {
    scope: Arc<Scope>,
    level: Level,
    /// `None` for relays above, which were chosen by whoever runs this one.
    permissions: Option<Permissions>,
    shared: Arc<Shared>,
    /// Questions that wait for an answer from upstream.
    waiting: Mutex<JoinSet<()>>,
}

impl Downstream {
    pub(crate) fn new(scope: Arc<Scope>, permissions: Permissions, shared: Arc<Shared>) -> Self {
        let permissions = Some(permissions);
        Self { scope, level: Level::Below, permissions, shared, waiting: Mutex::default() }
    }

    /// What a relay above sees.
    pub(crate) fn above(scope: Arc<Scope>, shared: Arc<Shared>) -> Self {
        Self { scope, level: Level::Above, permissions: None, shared, waiting: Mutex::default() }
    }

    fn may_have(&self, name: &FullTrackName) -> Result<(), Reason> {
        let Some(permissions) = &self.permissions else { return Ok(()) };
        permissions.subscribe(name).inspect_err(|_| {
            self.shared.refusals.unauthorized.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Whether relays above may yet tell of what is not known here.
    fn must_wait(&self, name: &FullTrackName) -> bool {
        self.level == Level::Below && self.scope.is_settling() && !self.scope.knows(name)
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
        self.scope.watch(self.level, interest)
    }

    fn track(&self, request: TrackRequest) {
        if let Err(reason) = self.may_have(&request.name) {
            return request.refuse(reason);
        }
        let (scope, level) = (Arc::clone(&self.scope), self.level);
        if self.must_wait(&request.name) {
            return self.spawn(async move {
                scope.settled().await;
                let waiting = scope.want(level, &request.name, wanted(&request));
                track(waiting, request).await;
            });
        }
        let mut waiting = scope.want(level, &request.name, wanted(&request));
        match waiting.now() {
            Some(answer) => answer_track(request, answer),
            None => self.spawn(track(waiting, request)),
        }
    }

    fn info(&self, request: InfoRequest) {
        if let Err(reason) = self.may_have(&request.name) {
            return request.refuse(reason);
        }
        let (scope, level) = (Arc::clone(&self.scope), self.level);
        if self.must_wait(&request.name) {
            return self.spawn(async move {
                scope.settled().await;
                let waiting = scope.ask_info(level, &request.name);
                info(waiting, request).await;
            });
        }
        let mut waiting = scope.ask_info(level, &request.name);
        match waiting.now() {
            Some(answer) => answer_info(request, answer),
            None => self.spawn(info(waiting, request)),
        }
    }

    fn fetch(&self, request: FetchRequest) {
        if let Err(reason) = self.may_have(&request.name) {
            return request.refuse(reason);
        }
        let (scope, level) = (Arc::clone(&self.scope), self.level);
        if self.must_wait(&request.name) {
            return self.spawn(async move {
                scope.settled().await;
                if let Err((sessions, request)) = fetch_here(&scope, level, request) {
                    upstream::fetch(sessions, request, Arc::clone(scope.settings())).await;
                }
            });
        }
        if let Err((sessions, request)) = fetch_here(&scope, level, request) {
            self.spawn(upstream::fetch(sessions, request, Arc::clone(scope.settings())));
        }
    }
}

async fn track(mut waiting: Waiting<TrackConsumer>, mut request: TrackRequest) {
    tokio::select! {
        biased;
        answer = waiting.answer() => answer_track(request, answer),
        () = request.cancelled() => {}
    }
}

async fn info(mut waiting: Waiting<Info>, mut request: InfoRequest) {
    tokio::select! {
        biased;
        answer = waiting.answer() => answer_info(request, answer),
        () = request.cancelled() => {}
    }
}

fn answer_info(request: InfoRequest, answer: Result<Info, Reason>) {
    match answer {
        Ok(info) => request.answer(info),
        Err(reason) => request.refuse(reason),
    }
}

/// Answers a fetch with what is here, or hands it back with those to ask.
fn fetch_here(
    scope: &Scope,
    level: Level,
    request: FetchRequest,
) -> Result<(), (Vec<Subscriber>, FetchRequest)> {
    let (held, sessions) = scope.sources(level, &request.name);
    if let Some(track) = held
        && let Some(group) = track.group(request.group)
        // What was cut on its way here may be whole where it came from.
        && !matches!(group.end(), Some(Err(_)))
    {
        request.accept_from(&track);
    } else if sessions.is_empty() {
        request.refuse(Reason::NotFound);
    } else {
        return Err((sessions, request));
    }
    Ok(())
}

fn answer_track(request: TrackRequest, answer: Result<TrackConsumer, Reason>) {
    match answer {
        // What came since the track was answered is for those who waited for it, too.
        Ok(track) if request.first.is_none() => request.accept_as(track),
        Ok(track) => request.accept(track),
        Err(reason) => request.refuse(reason),
    }
}
