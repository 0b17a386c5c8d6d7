//! One subscription: its groups in order, each written as it comes.

use std::time::Duration;

use moqt::{
    FollowState, FullTrackName, GroupConsumer, GroupError, OrderedGroups, OrderedItem, Start, TrackConsumer,
    TrackError,
};
use tokio::sync::watch;

use super::{
    cursor::{Cursor, Missing, Part},
    gaps::Gaps,
    sink::Sink,
};
use crate::{
    ui,
    waiting::{Waiting, now},
};

/// How long the end of a track may lag behind the end of its groups.
const END_LAG: Duration = Duration::from_millis(250);

/// How a subscription ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Everything that was asked for is written, or will never come.
    Finished,
    /// The track was lost; the cursor says where to go on.
    Lost(TrackError),
}

/// Reads a subscription into a sink.
pub(super) struct Reading<'a> {
    pub(super) name: &'a FullTrackName,
    pub(super) sink: &'a mut Sink,
    pub(super) cursor: &'a mut Cursor,
    pub(super) waiting: &'a mut Waiting,
    pub(super) gaps: &'a mut Gaps,
    /// How long a missing group is waited for while later ones are there.
    pub(super) patience: Duration,
    /// How far a group is that is waited for.
    pub(super) stage: &'static str,
}

/// How a group ended.
pub(super) enum GroupEnd {
    Whole,
    Cut(GroupError),
}

impl Reading<'_> {
    /// Writes what comes until the track ends or is lost. While it is lost, as `state` says, nothing is given up that is
    /// merely missing.
    pub(super) async fn run(
        &mut self,
        track: TrackConsumer,
        mut state: Option<watch::Receiver<FollowState>>,
    ) -> anyhow::Result<Ended> {
        let mut ordered = OrderedGroups::new(track.clone(), self.patience);
        let what = format!("for the first group of {} (subscribed)", self.name);
        loop {
            let lost = state
                .as_mut()
                .is_some_and(|state| matches!(*state.borrow_and_update(), FollowState::Lost { .. }));
            ordered.set_patience(if lost { Duration::MAX } else { self.patience });
            let next = async {
                let changed = async {
                    if let Some(state) = &mut state
                        && state.changed().await.is_ok()
                    {
                        return;
                    }
                    std::future::pending().await
                };
                tokio::select! {
                    biased;
                    next = ordered.next() => Some(next),
                    () = changed => None,
                }
            };
            let next = self.waiting.during(&what, self.sink.output.until(next));
            let next = match self.gaps.due() {
                None => next.await?,
                Some(due) => match tokio::time::timeout_at(due, next).await {
                    Ok(next) => next?,
                    Err(_) => {
                        self.gaps.tell(now());
                        continue;
                    }
                },
            };
            match next {
                None => continue,
                Some(Ok(None)) => return Ok(Ended::Finished),
                Some(Err(error)) => return Ok(Ended::Lost(error)),
                Some(Ok(Some(OrderedItem::Gap { first, last, reason }))) => {
                    self.arrive(first);
                    self.missing(Missing { first, last }, &reason.to_string());
                    self.cursor.done(last);
                }
                Some(Ok(Some(OrderedItem::Group(mut group)))) => {
                    let sequence = group.sequence();
                    self.arrive(sequence);
                    if let GroupEnd::Cut(reason) = self.group(&mut group, 0).await? {
                        if let Some(error) = lost_soon(&track, END_LAG).await {
                            return Ok(Ended::Lost(error));
                        }
                        self.give_up(sequence, &reason.to_string());
                    }
                    self.cursor.done(sequence);
                }
            }
            if self.cursor.is_done() {
                return Ok(Ended::Finished);
            }
        }
    }

    /// The group `first` is next; usually it is the one that is due.
    fn arrive(&mut self, first: u64) {
        match self.cursor.due() {
            Some(due) if first < due => {
                ui::notice(&format!("{} has begun anew, with group {first}", self.name));
                self.give_up_part(due);
            }
            Some(due) if first > due && self.cursor.has_moved() => {
                let from = if self.give_up_part(due) { due + 1 } else { due };
                if from < first {
                    self.missing(Missing { first: from, last: first - 1 }, "no longer there");
                }
            }
            _ => {}
        }
        self.cursor.jump(first);
    }

    /// The rest of the group that is due will not come. `false` if nothing of it was written.
    fn give_up_part(&mut self, due: u64) -> bool {
        let begun = !self.cursor.part().is_empty();
        if begun {
            self.give_up(due, "its rest is no longer there");
        }
        begun
    }

    /// The group, or its rest, will not come.
    fn give_up(&mut self, group: u64, reason: &str) {
        let part = self.cursor.part();
        if part.is_empty() {
            self.missing(Missing { first: group, last: group }, reason);
        } else {
            self.sink.missing(1);
            self.gaps.cut(group, part, reason, now());
        }
    }

    fn missing(&mut self, missing: Missing, reason: &str) {
        self.sink.missing(missing.groups());
        self.gaps.missing(missing, reason, now());
    }

    /// Writes a group as it comes, without what of it was written before. Its first frame here is number `first`.
    pub(super) async fn group(&mut self, group: &mut GroupConsumer, first: u64) -> anyhow::Result<GroupEnd> {
        if self.cursor.part().is_empty() {
            self.sink.group();
        }
        let written = self.cursor.part();
        let mut index = first;
        loop {
            let old = index < written.frames;
            let skip = if index == written.frames { written.bytes } else { 0 };
            let more = if self.sink.takes_pieces() && !old {
                self.pieces(group, Part { frames: index, bytes: skip }).await?
            } else {
                self.whole(group, index, old).await?
            };
            match more {
                Ok(true) => index += 1,
                Ok(false) => return Ok(GroupEnd::Whole),
                Err(error) => return Ok(GroupEnd::Cut(error)),
            }
            if !old {
                self.cursor.at(Part { frames: index, bytes: 0 });
            }
        }
    }

    /// The next frame at once. `false` at the end of the group.
    async fn whole(
        &mut self,
        group: &mut GroupConsumer,
        index: u64,
        old: bool,
    ) -> anyhow::Result<Result<bool, GroupError>> {
        let sequence = group.sequence();
        let what = format!("for a whole frame of {} (group {sequence} {})", self.name, self.stage);
        let frame = self.waiting.during(&what, self.sink.output.until(group.read_frame())).await?;
        Ok(match frame {
            Ok(Some(payload)) => {
                self.waiting.over();
                if !old {
                    self.sink.frame(sequence, index, payload).await?;
                }
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        })
    }

    /// The next frame piece by piece, without the bytes that `at` says are written. `false` at the end of the group.
    async fn pieces(
        &mut self,
        group: &mut GroupConsumer,
        mut at: Part,
    ) -> anyhow::Result<Result<bool, GroupError>> {
        let what = format!("for the first byte of {} (group {} {})", self.name, group.sequence(), self.stage);
        let frame = self.waiting.during(&what, self.sink.output.until(group.next_frame())).await?;
        let mut frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Ok(false)),
            Err(error) => return Ok(Err(error)),
        };
        let size = frame.meta().size;
        let mut seen = 0;
        loop {
            let chunk = self.waiting.during(&what, self.sink.output.until(frame.read_chunk())).await?;
            match chunk {
                Ok(Some(chunk)) => {
                    self.waiting.over();
                    let known = usize::try_from(at.bytes.saturating_sub(seen)).unwrap_or(usize::MAX);
                    seen += chunk.len() as u64;
                    let fresh = chunk.get(known..).unwrap_or_default();
                    self.sink.piece(fresh).await?;
                    at.bytes = at.bytes.max(seen);
                    self.cursor.at(at);
                }
                Ok(None) if seen < size => return Ok(Err(GroupError::WrongSize)),
                Ok(None) => {
                    self.sink.frame_done();
                    return Ok(Ok(true));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

/// Whether the track has ended with an error, or does so within `lag`.
async fn lost_soon(track: &TrackConsumer, lag: Duration) -> Option<TrackError> {
    let mut end = track.reader(Start::At(u64::MAX));
    let end = async {
        loop {
            match end.next_group().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    };
    tokio::time::timeout(lag, end).await.ok().flatten()
}
