//! Leaving a session: the peer is told if it can be, and has a while to go.

use std::time::Duration;

use moqt_transport::Connection;
use tracing::info;

use super::{Done, Driver, Use};
use crate::{
    error::{Reason, RequestError},
    proto::{RequestId, Told},
};

/// How a session is being left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The peer was asked to move and goes by itself.
    Asked,
    /// What we serve comes to its end; then we go.
    Withdrawing,
    /// The last word is said.
    Said,
}

impl<C: Connection> Driver<C> {
    /// Begins to leave; a second time changes nothing.
    pub(super) fn drain(&mut self, url: Option<String>, patience: Duration) -> Result<(), RequestError> {
        if self.leaving.is_some() {
            return Ok(());
        }
        let told = self.endpoint.leave_for(url)?;
        info!(asked = told == Told::Asked, ?patience, "leaving the session");
        self.leaving = Some(match told {
            Told::Asked => Leaving::Asked,
            Told::Withdrawn => Leaving::Withdrawing,
        });
        if told == Told::Withdrawn {
            self.withdraw();
        }
        self.wait_for_drain(patience);
        Ok(())
    }

    fn wait_for_drain(&self, patience: Duration) {
        self.spawn(async move {
            tokio::time::sleep(patience).await;
            Done::DrainOver
        });
    }

    /// Lets everything that the peer has from us come to its end.
    fn withdraw(&mut self) {
        let mut subscriptions: Vec<RequestId> = Vec::new();
        for (request, used) in &mut self.uses {
            match used {
                Use::Serving(serving) => {
                    serving.wind_up(Err(Reason::GoingAway));
                    subscriptions.push(*request);
                }
                Use::Watched(_, withdrawal) => withdrawal.withdraw(),
                _ => {}
            }
        }
        subscriptions.into_iter().for_each(|request| self.end_if_sent(request));
    }

    /// Whether the peer has had all that it should have before we go.
    pub(super) fn is_withdrawn(&self) -> bool {
        let served = |used: &Use<C::SendStream>| {
            matches!(used, Use::Serving(_) | Use::Watched(..) | Use::InfoAsked(_) | Use::FetchServing(_))
        };
        self.leaving == Some(Leaving::Withdrawing)
            && self.groups_out == 0
            && !self.uses.values().any(served)
            // A half without an outbox has ended; as long as it has a writer, the peer does not have it all.
            && self.writers.iter().all(|request| self.outboxes.contains_key(request))
    }

    /// Ends the Session stream with the reason; the peer has a moment to go before the connection does.
    pub(super) fn say_farewell(&mut self) {
        self.leaving = Some(Leaving::Said);
        self.endpoint.end_session();
        self.wait_for_drain(self.limits.close);
    }
}
