//! The subscriber's half: our subscriptions, watches and questions, and the groups they bring.

use std::{cmp::Reverse, sync::Arc};

use futures_util::FutureExt as _;
use moqt_transport::{Connection, RecvStream as _};
use moqt_wire::{Feature, GroupOrder, Priority};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, trace, warn};

use super::{Done, Driver, Use, ingest};
use crate::{
    error::{PeerMisbehaved, Reason, RequestError, TrackError},
    model::{
        AnnounceProducer, Announced, CreateGroupError, Retention, Sorted, Start, TrackConsumer, TrackSource,
        now,
    },
    proto::{Gap, Info, Refused, RequestId, SendOrder, Subscribe},
    session::{Caller, Command, Granted, Into, Reply},
};

/// Where the answer to a question goes.
pub(super) type InfoReply = oneshot::Sender<Result<Info, RequestError>>;

/// One subscription of ours.
#[derive(Debug)]
pub(super) struct Wish {
    track: TrackSource,
    first: Option<u64>,
    last: Option<u64>,
    /// What the subscriber wants most.
    rank: (Priority, GroupOrder),
    /// Groups that have begun to arrive, and those of them whose streams are open.
    groups: u64,
    open: Sorted<u64, ()>,
    /// The range as updates have narrowed it.
    wanted: (Option<u64>, Option<u64>),
    /// Groups that have begun and are neither whole nor named by a gap; kept while the range has an end.
    unfinished: Sorted<u64, ()>,
    /// Whether somebody waits for what is missing to be too old.
    settling: bool,
    /// Taken when the answer comes; the consumer keeps the track in use until then.
    pending: Option<(Reply<Granted>, Option<TrackConsumer>)>,
}

impl Wish {
    /// Whether each group of a range with an end is whole, or will not come. Spec: digest 5.3.
    fn is_complete(&self) -> bool {
        let (Some(first), Some(last)) = self.wanted else { return false };
        self.pending.is_none()
            && self.unfinished.range(first..=last.max(first)).next().is_none()
            && self.track.is_settled(first, last)
    }

    fn order(&self, sequence: u64) -> SendOrder {
        let ((priority, order), info) = (self.rank, self.track.info());
        SendOrder::new(priority, info.priority, order, info.order, sequence)
    }

    /// The group that matters least, of those that are open and perhaps one more.
    fn least(&self, more: Option<u64>) -> Option<SendOrder> {
        // In order of their numbers, one end or the other.
        let ends = [self.open.first(), self.open.last()].map(|end| end.map(|(sequence, ())| sequence));
        ends.into_iter()
            .chain([more])
            .flatten()
            .map(|sequence| self.order(sequence))
            .min_by(SendOrder::within)
    }

    /// A group has begun; `most` that do not end well are kept in mind.
    fn began(&mut self, sequence: u64, most: usize) {
        self.groups += 1;
        self.open.insert(sequence, ());
        if self.wanted.1.is_some() {
            self.unfinished.insert(sequence, ());
            if self.unfinished.len() > most {
                // It is for the publisher alone to say when this range is through.
                self.wanted = (None, None);
                self.unfinished.clear();
            }
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&self) {
        self.track.finish();
    }

    /// The session ended.
    pub(super) fn fail(self, error: TrackError) {
        if let (Some((reply, _)), TrackError::Session(error)) = (self.pending, &error) {
            let _ = reply.send(Err(error.clone().into()));
        }
        self.track.fail(error);
    }
}

impl<C: Connection> Driver<C> {
    pub(super) fn wait_for(&self, mut commands: mpsc::Receiver<Box<Command>>) {
        self.spawn(async move {
            let command = commands.recv().await;
            Done::Command(commands, command)
        });
    }

    pub(super) fn command(&mut self, commands: mpsc::Receiver<Box<Command>>, command: Option<Command>) {
        match command {
            None => return self.close(),
            Some(Command::Close) => self.close(),
            // Behind everything that is ready now.
            Some(Command::Flush { reply }) => self.spawn(async move { Done::Flush(reply) }),
            Some(Command::Unasked { reply }) => self.leavers.push(reply),
            Some(Command::Bitrate(bits)) => self.set_bitrate(bits),
            Some(Command::Drain { url, patience, reply }) => {
                let _ = reply.send(self.drain(url, patience));
            }
            Some(Command::Subscribe { wish, into, reply, caller }) => {
                self.subscribe(wish, into, reply, caller);
            }
            Some(Command::Update { request, update, reply }) => {
                let result = self.endpoint.update(request, update);
                if result.is_ok()
                    && let Some(Use::Wish(wish)) = self.uses.get_mut(&request)
                {
                    let (first, last) = wish.wanted;
                    wish.wanted = (update.first.or(first), update.last.or(last));
                    wish.rank = (update.priority, update.order);
                }
                let _ = reply.send(result);
                self.finish_if_complete(request);
            }
            Some(Command::Watch { interest, reply }) => match self.endpoint.watch(interest.clone()) {
                Ok(request) => {
                    let names = AnnounceProducer::learning();
                    // Whatever the peer tells beyond that, nobody sees.
                    let watch = names.watch(interest);
                    let producer = names.clone();
                    self.uses.insert(request, Use::Watching(names));
                    self.spawn(async move {
                        producer.unused().await;
                        Done::Unused(request)
                    });
                    let _ = reply.send(Ok(watch));
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            },
            Some(Command::Fetch(command)) => self.fetch_command(command),
            Some(Command::Info { name, reply, caller }) => match self.endpoint.ask_info(name) {
                Ok(request) => {
                    self.watch_caller(request, caller);
                    self.uses.insert(request, Use::Asking(reply));
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            },
        }
        self.wait_for(commands);
    }

    fn subscribe(&mut self, wish: Subscribe, into: Into, reply: Reply<Granted>, caller: Caller) {
        let (first, last, max_age, name) = (wish.first, wish.last, wish.max_age, wish.name.clone());
        let rank = (wish.priority, wish.order);
        let request = match self.endpoint.subscribe(wish) {
            Ok(request) => request,
            Err(error) => {
                // A source of a track is none from here on.
                drop(into);
                let _ = reply.send(Err(error));
                return;
            }
        };
        debug!(request = request.0, track = %name, "subscribe");
        self.connection.expect_streams();
        let (track, consumer) = match into {
            Into::New(retention) => {
                let max_age = max_age.map_or(retention.max_age, |age| age.min(retention.max_age));
                let retention = Retention { max_age, ..retention };
                let (source, track) = TrackSource::only(name, retention, &self.limits.cache);
                let consumer = track.consume();
                let consumer = first.map_or(consumer.clone(), |first| consumer.reader(Start::At(first)));
                self.watch_use(request, &source);
                (source, Some(consumer))
            }
            Into::Merged(source, held) => {
                let ended = source.unused();
                self.spawn(async move {
                    tokio::select! {
                        biased;
                        _ = held => {}
                        () = ended => {}
                    }
                    Done::Unused(request)
                });
                (source, None)
            }
        };
        self.watch_caller(request, caller);
        if first.is_some() || !track.is_shared() {
            track.begins_at(first.unwrap_or(0));
        }
        let wish = Wish {
            track,
            first,
            last,
            rank,
            groups: 0,
            open: Sorted::default(),
            wanted: (first, last),
            unfinished: Sorted::default(),
            settling: false,
            pending: Some((reply, consumer)),
        };
        self.uses.insert(request, Use::Wish(Box::new(wish)));
    }

    pub(super) fn watch_caller(&self, request: RequestId, caller: Caller) {
        self.spawn(async move {
            let _ = caller.await;
            Done::CallerLeft(request)
        });
    }

    /// Whoever made this request has its answer, or waits no longer for it.
    pub(super) fn caller_left(&mut self, request: RequestId) {
        match self.uses.get_mut(&request) {
            // With the consumer that was meant for the caller, the last use goes.
            Some(Use::Wish(wish)) => drop(wish.pending.take()),
            Some(Use::Asking(_) | Use::Fetching(_)) => self.endpoint.cancel(request),
            _ => {}
        }
    }

    fn watch_use(&self, request: RequestId, track: &TrackSource) {
        let unused = track.unused();
        self.spawn(async move {
            unused.await;
            Done::Unused(request)
        });
    }

    /// Nobody reads what a request of ours brings, or nobody did a moment ago.
    pub(super) fn unused(&mut self, request: RequestId) {
        match self.uses.get(&request) {
            Some(Use::Wish(wish)) if !wish.track.end_if_unused() => {
                self.watch_use(request, &wish.track);
            }
            _ => self.endpoint.cancel(request),
        }
    }

    pub(super) fn wish_accepted(&mut self, request: RequestId, info: Info) {
        let Some(Use::Wish(wish)) = self.uses.get_mut(&request) else { return };
        wish.track.set_info(info.track);
        // 0 may stand for "none", and says nothing then.
        let latest = info.latest.filter(|&latest| latest > 0);
        if let Some(latest) = latest {
            wish.track.set_latest(latest);
            if wish.first.is_none() {
                wish.track.begins_at(latest);
                wish.wanted.0 = wish.wanted.0.or(Some(latest));
            }
        }
        if let Some((reply, track)) = wish.pending.take() {
            let track = match (wish.first, latest) {
                (None, Some(latest)) => track.map(|track| track.reader(Start::At(latest))),
                _ => track,
            };
            // Where the caller has gone, the track drops with the answer and is unused.
            let _ = reply.send(Ok(Granted { request, track, info }));
        }
        self.finish_if_complete(request);
    }

    pub(super) fn wish_gap(&mut self, request: RequestId, gap: Gap) {
        let Some(Use::Wish(wish)) = self.uses.get_mut(&request) else { return };
        let reason = self.dialect.reason(gap.code);
        debug!(request = request.0, first = gap.first, last = gap.last, %reason, "gap");
        wish.track.gap(gap.first, gap.last, reason);
        wish.unfinished.retain(|group, ()| !(gap.first..=gap.last).contains(&group));
        self.finish_if_complete(request);
    }

    /// Where publishers name no gaps, what is missing for too long is given up, so that a range comes to its end.
    fn settle_later(&mut self, request: RequestId) {
        if self.dialect.version().spec().supports(Feature::Ranges) {
            return;
        }
        let Some(Use::Wish(wish) | Use::Late(wish)) = self.uses.get_mut(&request) else { return };
        if wish.settling {
            return;
        }
        let Some(due) = wish.track.settle() else { return };
        wish.settling = true;
        self.spawn(async move {
            tokio::time::sleep_until(due).await;
            Done::Settle(request)
        });
    }

    pub(super) fn settle(&mut self, request: RequestId) {
        if let Some(Use::Wish(wish) | Use::Late(wish)) = self.uses.get_mut(&request) {
            wish.settling = false;
            self.settle_later(request);
            self.finish_if_complete(request);
        }
    }

    /// A group stream is through; `whole` if with all that it was to bring.
    pub(super) fn ingested(&mut self, request: RequestId, sequence: u64, whole: bool) {
        self.groups_in = self.groups_in.saturating_sub(1);
        let Some(Use::Wish(wish) | Use::Late(wish)) = self.uses.get_mut(&request) else { return };
        wish.open.remove(sequence);
        if whole {
            wish.unfinished.remove(sequence);
            self.finish_if_complete(request);
        }
    }

    /// Leaves a subscription whose range has come to its end.
    fn finish_if_complete(&mut self, request: RequestId) {
        let complete = |used: &Use<C::SendStream>| matches!(used, Use::Wish(wish) | Use::Late(wish) if wish.is_complete());
        if !self.uses.get(&request).is_some_and(complete) {
            return;
        }
        debug!(request = request.0, "range complete");
        if let Some(Use::Wish(wish) | Use::Late(wish)) = self.uses.remove(&request) {
            wish.finish();
        }
        self.endpoint.leave(request);
    }

    /// A request of ours is over.
    pub(super) fn wish_ended(&mut self, request: RequestId, result: Result<(), RequestError>) {
        debug!(
            request = request.0,
            error = result.as_ref().err().map(tracing::field::display),
            "request over"
        );
        match self.uses.remove(&request) {
            Some(Use::Wish(wish)) if result.is_ok() && wish.track.is_used() => {
                // What the peer's stack has acknowledged may not have reached us yet.
                let groups = wish.groups;
                self.uses.insert(request, Use::Late(wish));
                self.wait_for_late(request, groups);
                self.finish_if_complete(request);
            }
            Some(Use::Wish(wish)) => {
                self.endpoint.retire(request);
                let Wish { track, pending, .. } = *wish;
                match result {
                    Ok(()) => track.finish(),
                    Err(RequestError::Refused(reason)) => track.abort(reason),
                    Err(RequestError::TooMany) => track.abort(Reason::TooMany),
                    Err(RequestError::Session(ref error)) => track.fail(error.clone().into()),
                    Err(_) => track.abort(Reason::ProtocolViolation),
                }
                if let (Some((reply, _)), Err(error)) = (pending, result) {
                    let _ = reply.send(Err(error));
                }
            }
            Some(Use::Asking(reply)) => {
                if let Err(error) = result {
                    let _ = reply.send(Err(error));
                }
            }
            Some(Use::Fetching(group)) => Self::fetch_over(&group, result),
            Some(Use::Watching(names)) => names.close(result.err()),
            _ => {}
        }
    }

    fn wait_for_late(&self, request: RequestId, groups: u64) {
        let patience = self.limits.late_groups;
        self.spawn(async move {
            tokio::time::sleep(patience).await;
            Done::LateOver(request, groups)
        });
    }

    pub(super) fn late_over(&mut self, request: RequestId, before: u64) {
        let Some(Use::Late(wish)) = self.uses.get(&request) else { return };
        if wish.groups > before && wish.track.is_used() {
            return self.wait_for_late(request, wish.groups);
        }
        wish.finish();
        self.uses.remove(&request);
        self.endpoint.retire(request);
    }

    pub(super) fn announced(&mut self, request: RequestId, event: Announced) {
        let Some(Use::Watching(names)) = self.uses.get(&request) else { return };
        match event {
            Announced::Active(name) => {
                names.insert(name);
            }
            Announced::Ended(name) => {
                names.remove(&name);
            }
            Announced::CaughtUp => names.caught_up(),
        }
    }

    /// A unidirectional stream of the peer.
    pub(super) fn group_stream(&mut self, mut stream: C::RecvStream) {
        if self.opening >= self.limits.groups {
            let Refused(code) = self.too_many_groups();
            stream.stop(code);
            return;
        }
        let mut opening = ingest::Opening::new(stream, self.dialect, &self.limits.wire);
        match opening.said().now_or_never() {
            Some(said) => self.group_opened(opening.turned_out(said)),
            None => {
                self.opening += 1;
                let patience = self.limits.first_message;
                self.spawn(async move { Done::GroupOpened(opening.wait(patience).await) });
            }
        }
    }

    fn too_many_groups(&mut self) -> Refused {
        let Self { endpoint, intake, .. } = self;
        intake.span().in_scope(|| endpoint.too_many_groups(now()))
    }

    pub(super) fn group_opened(&mut self, opened: ingest::Opened<C::RecvStream>) {
        let head = match opened {
            ingest::Opened::Group(head) => head,
            ingest::Opened::Unknown(stream_type, mut stream) => {
                let rule = PeerMisbehaved::UnknownStreamType(stream_type);
                if self.dialect.unknown_stream_ends_session() {
                    self.endpoint.close(rule.into());
                } else {
                    self.intake.span().in_scope(|| warn!(stream_type, "unknown stream type"));
                    stream.stop(self.dialect.code(Reason::Malformed));
                }
                return;
            }
            ingest::Opened::Dropped => return,
        };
        let ingest::Head { subscribe_id, sequence, mut stream, rest } = head;
        trace!(subscribe_id, group = sequence, "group");
        let request = self.endpoint.subscription(subscribe_id);
        if let Some(request) = request.filter(|_| self.groups_in >= self.limits.groups)
            && !self.make_room(request, sequence)
        {
            let Refused(code) = self.too_many_groups();
            return stream.stop(code);
        }
        let wish = request.and_then(|request| Some((request, self.uses.get_mut(&request)?)));
        let refused = match wish {
            Some((request, Use::Wish(wish) | Use::Late(wish))) => {
                let outside = wish.first.is_some_and(|first| sequence < first)
                    || wish.last.is_some_and(|last| sequence > last);
                if outside {
                    Reason::ProtocolViolation
                } else {
                    match wish.track.begin_group(sequence) {
                        Ok((group, notice)) => {
                            if !self.dialect.version().spec().supports(Feature::Ranges) {
                                // A relay may not have known its latest group; then this is it.
                                wish.wanted.0.get_or_insert(sequence);
                            }
                            wish.began(sequence, self.limits.groups);
                            self.groups_in += 1;
                            self.settle_later(request);
                            let (dialect, limits) = (self.dialect, self.limits.wire.clone());
                            let intake = Arc::clone(&self.intake);
                            self.begin(async move {
                                let into = (group, notice);
                                let whole =
                                    ingest::frames(stream, rest, into, dialect, limits, &intake).await;
                                Done::Ingested(request, sequence, whole)
                            });
                            return;
                        }
                        // Others brought it, or it is not wanted any more.
                        Err(_) if wish.track.is_shared() => {
                            self.finish_if_complete(request);
                            Reason::Cancelled
                        }
                        Err(CreateGroupError::Duplicate(_)) => Reason::Duplicate,
                        Err(_) => Reason::Cancelled,
                    }
                }
            }
            // Late, or never ours; one is never fatal. Spec: digest 5.3.
            _ => {
                self.endpoint.stray_group(now());
                Reason::Cancelled
            }
        };
        stream.stop(self.dialect.code(refused));
    }

    /// Stops the group stream that matters least of all that are open. `false` if that would be this one. Spec: digest
    /// 7, row 8.1.
    fn make_room(&mut self, of: RequestId, sequence: u64) -> bool {
        let candidates = self.uses.iter().filter_map(|(&request, used)| match used {
            Use::Wish(wish) | Use::Late(wish) => {
                let least = wish.least((request == of).then_some(sequence))?;
                // Among equals the one that has most streams gives.
                let level = (least.subscriber, least.publisher, Reverse(wish.open.len()));
                Some((level, request, least.sequence))
            }
            _ => None,
        });
        let Some((_, request, least)) = candidates.min_by_key(|(level, ..)| *level) else { return false };
        if (request, least) == (of, sequence) {
            return false;
        }
        let _ = self.too_many_groups();
        debug!(request = request.0, group = least, "stopped to make room");
        if let Some(Use::Wish(wish) | Use::Late(wish)) = self.uses.get_mut(&request) {
            wish.open.remove(least);
            wish.track.give_up(least, Reason::TooMany);
        }
        true
    }
}
