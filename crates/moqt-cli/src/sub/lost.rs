//! What is said of what is lost, and of what does not come back.

use std::time::Duration;

use anyhow::anyhow;
use moqt::{FollowState, LinkError};
use tokio::sync::watch;

use crate::{common::chain, ui};

/// What is said of losses.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    place: String,
    patience: Duration,
}

impl Lost {
    pub(crate) fn new(place: String, patience: Duration) -> Self {
        Self { place, patience }
    }

    /// Says once for each outage what is lost.
    pub(super) async fn watch(&self, state: Option<watch::Receiver<FollowState>>) {
        if let Some(mut state) = state {
            while state.changed().await.is_ok() {
                if let FollowState::Lost { why } = state.borrow_and_update().clone() {
                    self.tell(&*why);
                }
            }
        }
        std::future::pending().await
    }

    pub(crate) fn tell(&self, why: &dyn std::error::Error) {
        let Self { place, patience } = self;
        if !patience.is_zero() {
            let shown = humantime::format_duration(*patience);
            ui::notice(&format!("lost: {place}: {}; trying for {shown} to get it back", chain(why)));
        }
    }

    pub(crate) fn given_up(&self, why: &str, last: Option<String>) -> anyhow::Error {
        let Self { place, patience } = self;
        if patience.is_zero() {
            return anyhow!("lost: {place}: {why}; --reconnect waits for its return");
        }
        let last = last.map(|last| format!("; last attempt: {last}")).unwrap_or_default();
        let shown = humantime::format_duration(*patience);
        anyhow!("lost: {place}: {why}{last}; not back within {shown} (--reconnect)")
    }

    /// What to end with when there will be no session any more.
    pub(crate) fn over(&self, over: &LinkError) -> anyhow::Error {
        match over {
            LinkError::GaveUp { lost, last } => {
                self.given_up(&chain(lost), last.as_ref().map(|last| chain(&**last)))
            }
            other => self.given_up(&chain(other), None),
        }
    }
}
