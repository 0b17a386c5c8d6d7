//! What a peer may make grow in one session.

use std::time::Duration;

use crate::{allowance::Allowance, meters::Meters, model::CacheBudget};

/// Limits on what a peer can make a session hold. Reaching one refuses the request, or ends the session where
/// nothing smaller can be refused, with the code for "too many".
///
/// Spec: digest 7, row 8.1.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Sizes inside messages.
    pub wire: moqt_wire::Limits,
    /// Requests of the peer that are open at a time, of all kinds.
    pub requests: usize,
    /// Requests of the peer in a second; those of four seconds may come at once.
    pub requests_per_second: u32,
    /// Bytes of the peer's messages in a second, beside the payload of groups; those of sixteen seconds may come at
    /// once. Ends the request that brings more.
    pub control_bytes_per_second: u64,
    /// Bytes of groups that the peer sends in a second; those of four seconds may come at once. A group that brings
    /// more is stopped.
    pub payload_bytes_per_second: u64,
    /// Names of the peer that come or go in a second; those of an eighth of one may come at once. What follows on
    /// that stream is read later.
    pub names_per_second: u32,
    /// What the peer may ask and send together with all sessions that are given a clone of the same allowance.
    pub source: Allowance,
    /// Requests of the peer that are refused at a limit or broke a rule, and groups that belong to no subscription, in a
    /// second; those of ten seconds may come at once. More of them end the session.
    pub refusals_per_second: u32,
    /// Subscriptions of the peer that are open at a time.
    pub subscriptions: usize,
    /// Announce streams of the peer that are open at a time.
    pub watches: usize,
    /// Fetches of the peer that are open at a time. Each may hold one group in memory.
    pub fetches: usize,
    /// Names that the peer may have announced to us at a time, over all our announce streams.
    pub announced: usize,
    /// Names that wait for, or were told to, the peer's announce streams at a time, over all of them.
    pub told: usize,
    /// Group streams of the peer that are open at a time. One more, and the least important of them is stopped; as
    /// many may be open beside that have not said which group they are.
    pub groups: usize,
    /// How long a group may wait for a subscriber after a newer one has begun. A subscriber that is further behind
    /// is taken to the newest group, and told which it missed. What was there before it subscribed does not count: it
    /// waits as long as it is kept.
    pub lag_age: Duration,
    /// Payload of such groups that may wait for one subscription.
    pub lag_bytes: u64,
    /// What groups of the peer may hold in memory, together with those of all sessions that are given a clone of the
    /// same budget. Unlimited by default, but for the [`Retention`](crate::Retention) of each track.
    pub cache: CacheBudget,
    /// Control bytes that wait for a peer that does not read them, for each stream.
    pub outbox_bytes: usize,
    /// From the connection to the end of the handshake.
    pub handshake: Duration,
    /// From the first byte of a stream to the end of its first message.
    pub first_message: Duration,
    /// How long after the end of a subscription its last groups may still begin to arrive.
    pub late_groups: Duration,
    /// How long a closing session waits for the peer to agree.
    pub close: Duration,
    /// Where it is counted how often a limit was reached.
    pub(crate) meters: Meters,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wire: moqt_wire::Limits::default(),
            requests: 1200,
            requests_per_second: 1000,
            control_bytes_per_second: 1 << 20,
            payload_bytes_per_second: 1 << 30,
            names_per_second: 8000,
            source: Allowance::unlimited(),
            refusals_per_second: 1000,
            subscriptions: 1024,
            watches: 64,
            fetches: 64,
            announced: 1 << 14,
            told: 1 << 18,
            groups: 1024,
            lag_age: Duration::from_secs(10),
            lag_bytes: 16 << 20,
            cache: CacheBudget::unlimited(),
            outbox_bytes: 1 << 20,
            handshake: Duration::from_secs(10),
            first_message: Duration::from_secs(10),
            late_groups: Duration::from_millis(500),
            close: Duration::from_secs(1),
            meters: Meters::default(),
        }
    }
}
