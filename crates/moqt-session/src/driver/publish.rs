//! The publisher's half: serving the peer's subscriptions, watches and questions.

use std::collections::BTreeMap;

use futures_util::future::AbortHandle;
use moqt_transport::{Connection, SendStream};
use moqt_wire::{Feature, FullTrackName};
use tokio::time::Instant;
use tracing::debug;

use super::{
    Done, Driver, Use,
    drain::Leaving,
    egress::{self, Progress, Rank, Sent},
    live::{Live, LiveGroups},
    queue,
    tracks::{Read, Reading},
    trail::{Trail, Trailing},
    writers::Job,
};
use crate::{
    dialect::Dialect,
    error::{Reason, TrackError},
    model::{
        AnnounceConsumer, Announced, GroupConsumer, Interest, Lifetime, Preference, TrackConsumer,
        TrackEvent, TrackInfo, now,
    },
    origin::{InfoRequest, TrackRequest},
    proto::{Accounting, Info, Limits, RequestId, SendOrder, Subscribe, SubscribeUpdate},
};

/// How many ranks are kept for groups to come.
const SPARE: usize = 8;

/// One subscription of the peer.
pub(super) struct Serving<S: SendStream> {
    wish: Subscribe,
    /// Aborts the answering, and what waits until the answer is on its way.
    pub(super) answering: AbortHandle,
    /// The track, once the peer is answered and until it takes no new groups.
    pub(super) reading: Option<Reading>,
    info: TrackInfo,
    accounts: Accounting,
    /// Group streams that are open, by group.
    live: LiveGroups,
    /// Those of them of which nothing is left to be handed to the connection.
    pub(super) trail: Trail<S>,
    /// The newest group when the peer was answered: what came before is asked for as the past.
    past: Option<u64>,
    /// Whether it will be looked at again because the peer is behind.
    watched: bool,
    /// Gaps that the peer has not been told of, by their first groups.
    unreported: BTreeMap<u64, (u64, Reason)>,
    /// How long a group is of use to the subscriber.
    lifetime: Lifetime,
    /// What the track's source may know of the wish.
    preference: Option<Preference>,
    /// How the track ended, once it did.
    end: Option<Result<(), Reason>>,
}

/// How far a subscriber is behind the newest group.
#[derive(Debug, Default)]
struct Lag {
    groups: Vec<u64>,
    bytes: u64,
    since: Option<Instant>,
}

impl Lag {
    /// Why it is too much, if it is.
    fn excess(&self, limits: &Limits, now: Instant) -> Option<Reason> {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) >= limits.lag_age) {
            Some(Reason::Expired)
        } else {
            (self.bytes > limits.lag_bytes).then_some(Reason::TooMany)
        }
    }
}

impl<S: SendStream> Serving<S> {
    /// The oldest group of the trail and how it ended, once it has.
    pub(super) fn arrived(&mut self, dialect: &'static dyn Dialect) -> Option<(u64, Sent)> {
        let oldest = self.trail.front_mut()?;
        let arrived = (oldest.sequence, oldest.outcome(dialect)?);
        // With it goes its rank, which then can be used again.
        queue::pop(&mut self.trail);
        Some(arrived)
    }

    /// The peer has all of a group.
    pub(super) fn delivered(&mut self, sequence: u64, ranks: &mut Vec<Rank>) {
        self.accounts.delivered(sequence);
        self.remove(sequence, ranks);
    }

    /// A group is not being sent any more.
    fn remove(&mut self, sequence: u64, ranks: &mut Vec<Rank>) {
        let live = self.live.remove(sequence);
        if ranks.len() < SPARE {
            ranks.extend(live.and_then(|live| live.rank.reused()));
        }
    }

    /// Keeps room for what is usual.
    pub(super) fn shrink(&mut self) {
        queue::shrink(&mut self.trail);
        self.live.shrink();
    }

    /// What of the track the peer has not got although there is a newer group.
    fn lag(&self) -> Lag {
        let mut lag = Lag::default();
        let past = self.past.map_or(0, |past| past.saturating_add(1));
        for (sequence, live) in self.live.from(past) {
            let Some(since) = live.superseded else { continue };
            let left = live.bytes_left();
            if left > 0 {
                lag.bytes = lag.bytes.saturating_add(left);
                lag.since = Some(lag.since.map_or(since, |oldest| oldest.min(since)));
                lag.groups.push(sequence);
            }
        }
        lag
    }

    /// Whether this group is being sent and not given up.
    pub(super) fn is_sending(&self, sequence: u64) -> bool {
        self.live.contains(sequence)
    }

    /// Whether something depends on when the peer has the groups that are under way.
    pub(super) fn awaits_delivery(&self) -> bool {
        self.end.is_some() || self.accounts.has_end()
    }

    /// Another future looks after a group.
    pub(super) fn follow(&mut self, sequence: u64, rank: Rank) {
        if let Some(live) = self.live.get_mut(sequence) {
            live.rank = rank;
        }
    }

    fn order(&self, sequence: u64) -> SendOrder {
        SendOrder::new(self.wish.priority, self.info.priority, self.wish.order, self.info.order, sequence)
    }

    /// Whether groups are being sent or a look at the track will find some, or it has ended and the peer does not know.
    fn is_busy(&self) -> bool {
        let begins = self.reading.as_ref().is_some_and(|reading| !reading.has_begun());
        begins || !self.live.is_empty() || !self.unreported.is_empty() || self.end.is_some()
    }

    /// The track has ended.
    fn ended(&mut self, end: Result<(), Reason>) {
        self.reading = None;
        self.end = Some(end);
    }

    /// Takes no new groups; those that have begun go on, and the subscription ends after them.
    pub(super) fn wind_up(&mut self, end: Result<(), Reason>) {
        self.answering.abort();
        self.reading = None;
        self.preference = None;
        self.end.get_or_insert(end);
    }

    /// Gives everything up; streams that are open are reset.
    fn abort(&self) {
        self.answering.abort();
        self.live.iter().for_each(|(_, live)| live.rank.abort());
    }

    /// Gives each live stream its place among the others of this subscription.
    pub(super) fn rank(&mut self) {
        // The number of the group has no part in it: they come in order.
        self.live.rank(&self.order(0));
        self.trail.iter_mut().for_each(Trailing::follow_rank);
    }
}

impl<C: Connection> Driver<C> {
    pub(super) fn subscribed(&mut self, request: RequestId, wish: Subscribe) {
        debug!(request = request.0, track = %wish.name, "peer subscribes");
        let (ask, answer) = TrackRequest::new(&wish);
        let answering = self.spawn_abortable(async move {
            Done::TrackAnswer(request, answer.await.unwrap_or(Err(Reason::Internal)).map(Box::new))
        });
        let mut accounts = Accounting::default();
        accounts.narrow(wish.first, wish.last);
        let lifetime = Lifetime::default();
        lifetime.set(wish.max_age);
        let serving = Serving {
            wish,
            answering,
            reading: None,
            info: TrackInfo::default(),
            accounts,
            live: LiveGroups::default(),
            trail: Trail::new(),
            past: None,
            watched: false,
            unreported: BTreeMap::new(),
            lifetime,
            preference: None,
            end: None,
        };
        self.uses.insert(request, Use::Serving(Box::new(serving)));
        self.origin.track(ask);
    }

    pub(super) fn track_answer(&mut self, request: RequestId, answer: Result<TrackConsumer, Reason>) {
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return };
        let mut reader = match answer {
            Ok(reader) => reader,
            Err(reason) => {
                debug!(request = request.0, %reason, "subscription refused");
                self.endpoint.refuse(request, reason);
                return;
            }
        };
        reader.serve(serving.lifetime.clone(), self.tally.clone());
        serving.preference = Some(reader.prefer(serving.wish.priority));
        serving.info = reader.info();
        serving.accounts.starts_at(reader.start());
        serving.past = reader.latest().filter(|_| serving.wish.first.is_some());
        // Where the latest was asked for, it is the one that the reader starts at.
        let latest = if serving.wish.first.is_none() { reader.start() } else { reader.latest() };
        let info = Info { track: reader.info(), latest };
        self.endpoint.accept(request, info);
        self.read_track(request, reader);
    }

    /// Something happened on a track that is served.
    pub(super) fn track_event(&mut self, request: RequestId, event: Read) {
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return };
        match event {
            Ok(Some(TrackEvent::Group(group))) => {
                if serving.accounts.begin(group.sequence()) {
                    self.send_group(request, group);
                }
            }
            Ok(Some(TrackEvent::Gap { first, last, reason })) => {
                for (first, last) in serving.accounts.missing(first, last) {
                    self.report(request, first, last, reason);
                }
            }
            Ok(None) => serving.ended(Ok(())),
            Err(TrackError::Ended(reason)) => serving.ended(Err(reason)),
            Err(TrackError::Session(_)) => serving.ended(Err(Reason::Transport)),
        }
    }

    /// Reports groups that will not come, together with others that become known at the same time.
    fn report(&mut self, request: RequestId, first: u64, last: u64, reason: Reason) {
        if let Some(Use::Serving(serving)) = self.uses.get_mut(&request) {
            serving.unreported.insert(first, (last, reason));
            self.reporting.insert(request);
        }
    }

    /// Tells the peer of the gaps so far; neighbours with the same code in one message. Spec: digest 5.4.
    pub(super) fn tell_gaps(&mut self, request: RequestId) {
        self.reporting.remove(&request);
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return };
        let mut gaps = std::mem::take(&mut serving.unreported).into_iter().peekable();
        while let Some((first, (mut last, reason))) = gaps.next() {
            let code = self.dialect.code(reason);
            while let Some((_, (next, _))) = gaps.next_if(|(first, (_, reason))| {
                last.checked_add(1) == Some(*first) && self.dialect.code(*reason) == code
            }) {
                last = next;
            }
            self.endpoint.gap(request, first, last, reason);
        }
    }

    /// Whether nothing is on its way to the peer.
    pub(super) fn is_flushed(&self) -> bool {
        let busy = |used: &Use<C::SendStream>| matches!(used, Use::Serving(serving) if serving.is_busy());
        self.groups_out == 0 && self.called.is_empty() && !self.uses.values().any(busy)
    }

    pub(super) fn sample(&mut self) {
        let trails = self.sweep();
        self.happened.shrink();
        self.finished.shrink();
        let told = self.dialect.version().spec().supports(Feature::SessionUpdate);
        if told && let Some(bits) = self.bitrate.tell(now(), self.connection.stats().delivery_rate) {
            self.endpoint.bitrate(bits);
        }
        if trails || told && (self.groups_out > 0 || self.bitrate.is_behind()) {
            self.sample_later();
        }
    }

    /// The application says what gets through, or leaves that to the connection again.
    pub(super) fn set_bitrate(&mut self, bits: Option<u64>) {
        self.bitrate.chosen = bits;
        if !self.sampler.is_wanted() {
            self.sample();
        }
    }

    fn send_group(&mut self, request: RequestId, mut group: GroupConsumer) {
        self.catch_up(request);
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return };
        let sequence = group.sequence();
        let rank = self.ranks.pop().unwrap_or_default();
        let (dialect, id) = (self.dialect, serving.wish.id);
        self.groups_out += 1;
        let at = now();
        serving.live.begin(sequence, Live::new(rank.clone(), group.size(), at));
        serving.rank();
        let (heads, gate) = (&self.heads, &self.gate);
        match egress::begin(&self.connection, dialect, (id, heads), &mut group, (&rank, gate)) {
            Ok(Progress::Written(stream, priority)) => {
                self.sent_off(request, Trailing::new((sequence, rank), (stream, priority), group, dialect));
            }
            Ok(Progress::Unfinished(rest)) => {
                self.write_group(Job { request, subscribe_id: id, group, rest, rank });
            }
            Err(sent) => self.group_sent(request, sequence, sent),
        }
        self.sample_later();
        self.keep_up(request, at);
    }

    /// The peer may have been behind for too long.
    pub(super) fn lag_due(&mut self, request: RequestId) {
        if let Some(Use::Serving(serving)) = self.uses.get_mut(&request) {
            serving.watched = false;
            self.keep_up(request, now());
            self.end_if_sent(request);
        }
    }

    /// Takes a peer that is too far behind to the newest group, and tells it what it misses.
    fn keep_up(&mut self, request: RequestId, now: Instant) {
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return };
        if !serving.live.are_behind() {
            return;
        }
        let lag = serving.lag();
        let Some(reason) = lag.excess(&self.limits, now) else {
            let due = lag.since.and_then(|since| since.checked_add(self.limits.lag_age));
            if let Some(due) = due.filter(|_| !std::mem::replace(&mut serving.watched, true)) {
                self.spawn(async move {
                    tokio::time::sleep_until(due).await;
                    Done::LagDue(request)
                });
            }
            return;
        };
        debug!(request = request.0, groups = lag.groups.len(), %reason, "peer is too slow");
        for sequence in lag.groups {
            if let Some(live) = serving.live.remove(sequence) {
                live.rank.abort();
            }
            if serving.accounts.given_up(sequence) {
                serving.unreported.insert(sequence, (sequence, reason));
                self.reporting.insert(request);
            }
        }
    }

    pub(super) fn group_sent(&mut self, request: RequestId, sequence: u64, sent: Sent) {
        self.groups_out -= 1;
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return };
        serving.remove(sequence, &mut self.ranks);
        match sent {
            Sent::Whole => serving.accounts.delivered(sequence),
            Sent::Lost(reason) => {
                debug!(request = request.0, group = sequence, %reason, "group given up");
                if serving.accounts.given_up(sequence) {
                    // What is too old to be kept is not there any more. Spec: digest 5.4.
                    let reason = if reason == Reason::Expired { Reason::NotFound } else { reason };
                    self.report(request, sequence, sequence, reason);
                }
            }
            Sent::Gone => {}
        }
        self.end_if_sent(request);
    }

    /// Ends the subscription once its track has ended, or there is nothing more of its range to come, and each of its
    /// groups is through.
    pub(super) fn end_if_sent(&mut self, request: RequestId) {
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return };
        if serving.end.is_none() && serving.accounts.is_complete() {
            debug!(request = request.0, "range complete");
            serving.wind_up(Ok(()));
        }
        if !serving.live.is_empty() {
            if serving.end.is_some() {
                self.chase(request);
            }
            return;
        }
        let Some(end) = serving.end else { return };
        self.tell_gaps(request);
        match end {
            Ok(()) => self.endpoint.complete(request),
            Err(reason) => self.endpoint.refuse(request, reason),
        }
    }

    pub(super) fn updated(&mut self, request: RequestId, update: SubscribeUpdate) {
        // Some may be given up, and the end may depend on the others.
        self.chase(request);
        let Some(Use::Serving(serving)) = self.uses.get_mut(&request) else { return };
        let wish = &mut serving.wish;
        (wish.priority, wish.order) = (update.priority, update.order);
        wish.max_age = update.max_age;
        if let Some(preference) = &mut serving.preference {
            preference.set(update.priority);
        }
        serving.lifetime.set(update.max_age);
        // What the range no longer covers is given up, and reported like everything that is. Spec: digest 5.4.
        for sequence in serving.accounts.narrow(update.first, update.last) {
            if let Some(live) = serving.live.remove(sequence) {
                live.rank.abort();
            }
            if serving.accounts.given_up(sequence) {
                serving.unreported.insert(sequence, (sequence, Reason::Cancelled));
                self.reporting.insert(request);
            }
        }
        serving.rank();
        self.end_if_sent(request);
    }

    /// Nobody wants a subscription any more.
    pub(super) fn give_up(&mut self, serving: Serving<C::SendStream>) {
        serving.abort();
        self.groups_out -= serving.trail.len();
    }

    pub(super) fn unsubscribed(&mut self, request: RequestId, graceful: bool) {
        debug!(request = request.0, graceful, "peer unsubscribed");
        if !graceful {
            if let Some(Use::Serving(serving)) = self.uses.remove(&request) {
                self.give_up(*serving);
            }
            return;
        }
        if let Some(Use::Serving(serving)) = self.uses.get_mut(&request) {
            serving.wind_up(Ok(()));
        }
        self.end_if_sent(request);
    }

    pub(super) fn watched(&mut self, request: RequestId, interest: Interest) {
        debug!(request = request.0, "peer watches names");
        let names = self.origin.watch(interest);
        if !self.endpoint.watch_holds(request, names.holds()) {
            return;
        }
        self.feed(request, names);
    }

    fn feed(&mut self, request: RequestId, mut names: AnnounceConsumer) {
        let Some(outbox) = self.outboxes.get(&request).cloned() else { return };
        let withdrawal = names.withdrawal();
        if self.leaving == Some(Leaving::Withdrawing) {
            withdrawal.withdraw();
        }
        let feeding = self.spawn_abortable(async move {
            // A peer that does not read is not fed; changes meet in the set meanwhile.
            outbox.empty().await;
            let event = names.next().await;
            Done::NamesChanged(request, names, event)
        });
        self.uses.insert(request, Use::Watched(feeding, withdrawal));
    }

    pub(super) fn names_changed(
        &mut self,
        request: RequestId,
        names: AnnounceConsumer,
        event: Option<Announced>,
    ) {
        if !matches!(self.uses.get(&request), Some(Use::Watched(..))) {
            return;
        }
        match event {
            Some(event) => {
                self.endpoint.announce(request, &event);
                if !self.endpoint.watch_holds(request, names.holds()) {
                    return;
                }
                self.feed(request, names);
            }
            None => self.endpoint.end_announce(request),
        }
    }

    pub(super) fn info_asked(&mut self, request: RequestId, name: FullTrackName) {
        debug!(request = request.0, track = %name, "peer asks for info");
        let (ask, answer) = InfoRequest::new(name);
        let answering = self.spawn_abortable(async move {
            Done::InfoAnswer(request, answer.await.unwrap_or(Err(Reason::Internal)))
        });
        self.uses.insert(request, Use::InfoAsked(answering));
        self.origin.info(ask);
    }

    pub(super) fn info_answer(&mut self, request: RequestId, answer: Result<Info, Reason>) {
        if self.uses.remove(&request).is_none() {
            return;
        }
        match answer {
            Ok(info) => self.endpoint.answer_info(request, info),
            Err(reason) => self.endpoint.refuse(request, reason),
        }
    }
}
