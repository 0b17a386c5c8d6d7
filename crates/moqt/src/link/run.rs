//! The task of a link: it has a session, or gets one.

use std::{convert::Infallible, sync::Arc, time::Duration};

use moqt_session::{Origin, Session, SessionError};
use tokio::sync::{broadcast, mpsc, watch};

use super::{
    LinkEvent, Reconnect,
    connect::{Connect, Current, Lease, LinkError, deadline, spawn, until},
    policy::Backoff,
};
use crate::url::{Scheme, Url};

/// How long a session that nobody seems to use is kept beside the new one, in which the server hears of our names.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Task {
    pub(super) connect: Arc<dyn Connect>,
    pub(super) origin: Arc<dyn Origin>,
    pub(super) policy: Reconnect,
    /// Where the user wanted to go, and where the server has sent us.
    pub(super) home: Url,
    pub(super) at: Url,
    pub(super) current: watch::Sender<Current>,
    pub(super) events: broadcast::Sender<LinkEvent>,
    /// Ends with the last handle.
    pub(super) wanted: watch::Receiver<bool>,
    pub(super) backoff: Backoff,
    pub(super) generation: u64,
}

/// Why a session is no longer the current one.
enum Next {
    Close,
    Lost(SessionError),
    Move(Option<String>),
}

impl Task {
    /// Makes a session the current one. The receiver ends when nobody uses it any more.
    pub(super) fn adopt(&mut self, session: &Session) -> mpsc::Receiver<Infallible> {
        self.generation += 1;
        let (user, users) = mpsc::channel(1);
        let lease = Lease { session: session.clone(), generation: self.generation, _user: user };
        self.current.send_modify(|current| current.lease = Some(lease));
        self.backoff.reset();
        self.tell(LinkEvent::Connected { url: self.at.clone(), session: session.id() });
        users
    }

    fn tell(&self, event: LinkEvent) {
        let _ = self.events.send(event);
    }

    pub(super) async fn run(mut self, mut session: Session, mut users: mpsc::Receiver<Infallible>) {
        let over = loop {
            let next = {
                let mut wanted = self.wanted.clone();
                tokio::select! {
                    biased;
                    _ = wanted.wait_for(|wanted| !wanted) => Next::Close,
                    error = session.closed() => Next::Lost(error),
                    Ok(drain) = session.draining() => Next::Move(drain.url),
                }
            };
            let error = match next {
                Next::Close => {
                    self.current.send_modify(|current| current.lease = None);
                    session.close().await;
                    break LinkError::Closed;
                }
                Next::Lost(error) => error,
                Next::Move(url) => match self.move_from(&session, url).await {
                    Ok(new) => {
                        let old = std::mem::replace(&mut session, new);
                        let new = self.adopt(&session);
                        spawn(leave(old, std::mem::replace(&mut users, new), self.policy.leave));
                        continue;
                    }
                    Err(None) => continue,
                    Err(Some(error)) => error,
                },
            };
            self.current.send_modify(|current| current.lease = None);
            match self.again(error).await {
                Ok(new) => {
                    session = new;
                    users = self.adopt(&session);
                }
                Err(over) => break over,
            }
        };
        self.tell(LinkEvent::Over(over.clone()));
        self.current.send_modify(|current| (current.lease, current.over) = (None, Some(over)));
    }

    /// The server wants us elsewhere: another session, while this one goes on. `Err` with its end where that comes
    /// first, and without where nobody wants the link any more.
    async fn move_from(
        &mut self,
        old: &Session,
        url: Option<String>,
    ) -> Result<Session, Option<SessionError>> {
        if let Some(url) = url {
            match url.parse::<Url>() {
                Ok(url) if allowed(&self.at, &url) => self.at = url,
                _ => tracing::warn!("the server names a place to move to that is of no use"),
            }
        }
        self.tell(LinkEvent::Moving { to: self.at.clone() });
        let mut wanted = self.wanted.clone();
        loop {
            let attempt = self.connect.connect(self.at.clone(), Arc::clone(&self.origin));
            let result = tokio::select! {
                biased;
                _ = wanted.wait_for(|wanted| !wanted) => return Err(None),
                error = old.closed() => return Err(Some(error)),
                result = attempt => result,
            };
            match result {
                Ok(session) => return Ok(session),
                Err(error) => self.tell(LinkEvent::Failed { error: Arc::new(error) }),
            }
            let pause = self.backoff.pause();
            tokio::select! {
                biased;
                _ = wanted.wait_for(|wanted| !wanted) => return Err(None),
                error = old.closed() => return Err(Some(error)),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The session is gone: another one.
    async fn again(&mut self, lost: SessionError) -> Result<Session, LinkError> {
        self.tell(LinkEvent::Lost { error: lost.clone() });
        let deadline = deadline(self.policy.patience);
        let mut last = None;
        let mut wanted = self.wanted.clone();
        loop {
            let (url, pause) = (self.at.clone(), self.backoff.pause());
            let attempt = async {
                tokio::time::sleep(pause).await;
                self.connect.connect(url, Arc::clone(&self.origin)).await
            };
            let result = tokio::select! {
                biased;
                _ = wanted.wait_for(|wanted| !wanted) => return Err(LinkError::Closed),
                result = until(deadline, attempt) => result,
            };
            match result {
                None => return Err(LinkError::GaveUp { lost, last }),
                Some(Ok(session)) => return Ok(session),
                Some(Err(error)) => {
                    let error = Arc::new(error);
                    self.tell(LinkEvent::Failed { error: Arc::clone(&error) });
                    last = Some(error);
                }
            }
            // Where the server has sent us, there may be nobody any more.
            self.at = self.home.clone();
        }
    }
}

/// Whether a server may send its client there: nowhere where less is proven than here.
fn allowed(from: &Url, to: &Url) -> bool {
    to.scheme() != Scheme::Fingerprint || from.scheme() == Scheme::Fingerprint
}

/// Keeps a session for those who use it, and for the server while it takes anything from us.
async fn leave(session: Session, mut users: mpsc::Receiver<Infallible>, patience: Duration) {
    let through = async {
        users.recv().await;
        tokio::time::sleep(LINGER).await;
        session.publisher().unasked().await;
    };
    tokio::select! {
        biased;
        _ = session.closed() => return,
        _ = tokio::time::timeout(patience, through) => {}
    }
    session.close().await;
}
