//! Groups in the order of their numbers.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{clock::now, group::GroupConsumer, terms::TrackEvent, track::TrackConsumer};
use crate::error::{Reason, TrackError};

/// What [`OrderedGroups`] gives out.
#[derive(Debug)]
pub enum OrderedItem {
    /// The next group by number.
    Group(GroupConsumer),
    /// Groups that will not come, or did not come in time.
    Gap {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// Why; [`Reason::Timeout`] when they were merely waited for in vain.
        reason: Reason,
    },
}

/// Puts the groups of a track into the order of their numbers.
///
/// Groups arrive on streams of their own and overtake each other. A group that is missing while later ones are
/// there is waited for until the publisher reports it as a gap, or for `patience` at most.
#[derive(Debug)]
pub struct OrderedGroups {
    track: TrackConsumer,
    patience: Duration,
    next: Option<u64>,
    groups: BTreeMap<u64, GroupConsumer>,
    gaps: BTreeMap<u64, (u64, Reason)>,
    /// Since when later groups wait for `next`.
    waiting: Option<Instant>,
    end: Option<Result<(), TrackError>>,
}

/// How long the very first groups may overtake each other, on a track whose first number is not known.
const SETTLE: Duration = Duration::from_millis(100);

/// Most groups held back while an earlier one is missing.
const MAX_HELD: usize = 1024;

impl OrderedGroups {
    /// Orders what `track` gives, waiting for a missing group for `patience`.
    #[must_use]
    pub fn new(track: TrackConsumer, patience: Duration) -> Self {
        let next = track.start();
        let (groups, gaps) = (BTreeMap::new(), BTreeMap::new());
        Self { track, patience, next, groups, gaps, waiting: None, end: None }
    }

    /// Waits for a missing group for `patience` from now on, however long it was waited for. For those who know that
    /// nothing comes just now, as from a session that is being replaced.
    pub fn set_patience(&mut self, patience: Duration) {
        if self.patience != patience {
            self.patience = patience;
            self.waiting = None;
        }
    }

    /// The next group by number, or a gap. `None` once the track is complete and all was given out.
    ///
    /// # Errors
    ///
    /// As [`TrackConsumer::next_group`], after everything that had arrived was given out.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Result<Option<OrderedItem>, TrackError> {
        loop {
            if let Some(item) = self.take() {
                self.waiting = None;
                return Ok(Some(item));
            }
            if let Some(end) = &self.end {
                return end.clone().map(|()| None);
            }
            let held = !self.groups.is_empty() || !self.gaps.is_empty();
            let event = if held {
                let patience = if self.next.is_some() { self.patience } else { self.patience.min(SETTLE) };
                let since = *self.waiting.get_or_insert_with(now);
                // A patience beyond the clock is one without end.
                let late = async {
                    match since.checked_add(patience) {
                        Some(deadline) => tokio::time::sleep_until(deadline).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    event = self.track.next_event() => event,
                    () = late => {
                        self.waiting = None;
                        if let Some(item) = self.skip() {
                            return Ok(Some(item));
                        }
                        continue;
                    }
                }
            } else {
                self.track.next_event().await
            };
            match event {
                Ok(Some(TrackEvent::Group(group))) => {
                    let sequence = group.sequence();
                    if self.next.is_none_or(|next| sequence >= next) {
                        self.groups.insert(sequence, group);
                    }
                }
                Ok(Some(TrackEvent::Gap { first, last, reason })) => {
                    if self.next.is_none_or(|next| last >= next) {
                        self.gaps.insert(first, (last, reason));
                    }
                }
                Ok(None) => self.end = Some(Ok(())),
                Err(error) => self.end = Some(Err(error)),
            }
            let crowded = self.groups.len() + self.gaps.len() > MAX_HELD;
            if let Some(item) = crowded.then(|| self.skip()).flatten() {
                return Ok(Some(item));
            }
        }
    }

    /// What is due now: the next group, a gap at it, or anything at all after the end.
    fn take(&mut self) -> Option<OrderedItem> {
        if self.next.is_none() && (self.groups.contains_key(&0) || self.end.is_some()) {
            self.begin();
        }
        let next = self.next?;
        if let Some(group) = self.groups.remove(&next) {
            self.next = Some(next.saturating_add(1));
            return Some(OrderedItem::Group(group));
        }
        while let Some((&first, &(last, reason))) = self.gaps.first_key_value() {
            if first > next {
                break;
            }
            self.gaps.remove(&first);
            if last < next {
                continue;
            }
            // A group inside the gap that did arrive ends it.
            let last = self.groups.range(next..=last).next().map_or(last, |(&group, _)| group - 1);
            self.next = Some(last.saturating_add(1));
            return Some(OrderedItem::Gap { first: next, last, reason });
        }
        if self.end.is_some() { self.skip() } else { None }
    }

    /// Takes the lowest number that came, of a group or a gap, for the first.
    fn begin(&mut self) {
        let group = self.groups.first_key_value().map(|(&first, _)| first);
        let gap = self.gaps.first_key_value().map(|(&first, _)| first);
        self.next = group.into_iter().chain(gap).min();
    }

    /// Gives up waiting for `next`, or for what may stand before the first group.
    fn skip(&mut self) -> Option<OrderedItem> {
        if self.next.is_none() {
            self.begin();
            return self.take();
        }
        let next = self.next?;
        let group = self.groups.first_key_value().map(|(&group, _)| group);
        let gap = self.gaps.first_key_value().map(|(&gap, _)| gap);
        let to = group.into_iter().chain(gap).filter(|&at| at > next).min()?;
        self.next = Some(to);
        Some(OrderedItem::Gap { first: next, last: to - 1, reason: Reason::Timeout })
    }
}
