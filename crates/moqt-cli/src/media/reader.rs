//! The frames of one track, group after group.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use moqt::{GroupConsumer, OrderedGroups, OrderedItem, TrackConsumer, TrackError};
use tokio::time::Instant;

use crate::waiting::now;

/// What a track brings.
#[derive(Debug)]
pub(super) enum Item {
    /// The next frame.
    Frame {
        /// It is the first of its group.
        begins: bool,
        bytes: Bytes,
    },
    /// Groups that did not come, or not whole.
    Gap { first: u64, last: u64, reason: String },
}

/// Reads a track in order. A group that stands still for too long while later ones are there is left.
pub(super) struct Reader {
    groups: OrderedGroups,
    latency: Duration,
    group: Option<Current>,
    /// What comes behind the group that is read, and since when.
    ahead: Option<(Option<OrderedItem>, Instant)>,
}

struct Current {
    group: GroupConsumer,
    frames: u64,
    /// When it brought something last.
    since: Instant,
}

impl Reader {
    pub(super) fn new(track: TrackConsumer, latency: Duration) -> Self {
        Self { groups: OrderedGroups::new(track, latency), latency, group: None, ahead: None }
    }

    /// How long a group may stand still from now on, as from a track that is lost for a while.
    pub(super) fn set_latency(&mut self, latency: Duration) {
        self.groups.set_patience(latency);
        self.latency = latency;
    }

    /// The next of the track; `None` at its end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, TrackError> {
        loop {
            if let Some(current) = &mut self.group {
                let late = match &self.ahead {
                    Some((Some(_), since)) => (*since).max(current.since).checked_add(self.latency),
                    _ => None,
                };
                let late = async {
                    match late {
                        Some(late) => tokio::time::sleep_until(late).await,
                        None => pending().await,
                    }
                };
                let none_ahead = self.ahead.is_none();
                tokio::select! {
                    biased;
                    frame = current.group.read_frame() => match frame {
                        Ok(Some(bytes)) => {
                            let begins = current.frames == 0;
                            current.frames += 1;
                            current.since = now();
                            return Ok(Some(Item::Frame { begins, bytes }));
                        }
                        Ok(None) => self.group = None,
                        Err(error) => return Ok(Some(self.leave(error.to_string()))),
                    },
                    next = self.groups.next(), if none_ahead => self.ahead = Some((next?, now())),
                    () = late => return Ok(Some(self.leave("it was late".to_owned()))),
                }
                continue;
            }
            let next = match self.ahead.take() {
                Some((next, _)) => next,
                None => self.groups.next().await?,
            };
            match next {
                Some(OrderedItem::Group(group)) => {
                    self.group = Some(Current { group, frames: 0, since: now() });
                }
                Some(OrderedItem::Gap { first, last, reason }) => {
                    return Ok(Some(Item::Gap { first, last, reason: reason.to_string() }));
                }
                None => return Ok(None),
            }
        }
    }

    /// The rest of the group will not be read.
    fn leave(&mut self, reason: String) -> Item {
        let sequence = self.group.take().map_or(0, |current| current.group.sequence());
        Item::Gap { first: sequence, last: sequence, reason }
    }
}

#[cfg(test)]
mod tests {
    use moqt::{Reason, Retention, TrackInfo, TrackProducer};

    use super::*;

    fn track() -> (TrackProducer, Reader) {
        let name = "a/b".parse().unwrap();
        let producer = TrackProducer::new(name, TrackInfo::default(), Retention::default());
        let reader = Reader::new(producer.consume(), Duration::from_secs(2));
        (producer, reader)
    }

    async fn next(reader: &mut Reader) -> String {
        match reader.next().await.unwrap() {
            Some(Item::Frame { begins, bytes }) => {
                format!("{}{}", if begins { "*" } else { "" }, String::from_utf8_lossy(&bytes))
            }
            Some(Item::Gap { first, last, reason }) => format!("gap {first}-{last}: {reason}"),
            None => "end".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_come_in_order_and_know_whether_they_begin_a_group() {
        let (producer, mut reader) = track();
        for group in ["ab", "cd"] {
            let mut writing = producer.append_group();
            group.chars().for_each(|frame| writing.write_frame(frame.to_string()).unwrap());
            writing.finish().unwrap();
        }
        producer.finish();
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(next(&mut reader).await);
        }
        assert_eq!(all, ["*a", "b", "*c", "d", "end"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_stands_still_is_left_for_the_next_one_after_the_latency() {
        let (producer, mut reader) = track();
        let mut stuck = producer.append_group();
        stuck.write_frame("a").unwrap();
        assert_eq!(next(&mut reader).await, "*a");
        // Without a later one there is nothing to go on with.
        assert!(tokio::time::timeout(Duration::from_secs(60), next(&mut reader)).await.is_err());
        let mut later = producer.append_group();
        later.write_frame("b").unwrap();
        let began = now();
        assert_eq!(next(&mut reader).await, "gap 0-0: it was late");
        assert!(began.elapsed() >= Duration::from_secs(2) && began.elapsed() < Duration::from_secs(3));
        assert_eq!(next(&mut reader).await, "*b");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_is_cut_and_groups_that_do_not_come_are_gaps() {
        let (producer, mut reader) = track();
        let mut cut = producer.append_group();
        cut.write_frame("a").unwrap();
        assert_eq!(next(&mut reader).await, "*a");
        cut.abort(Reason::Cancelled);
        producer.gap(1, 3, Reason::NotFound);
        let mut last = producer.append_group();
        last.write_frame("b").unwrap();
        last.finish().unwrap();
        producer.finish();
        assert!(next(&mut reader).await.starts_with("gap 0-0: group given up"));
        assert_eq!(next(&mut reader).await, "gap 1-3: not found");
        assert_eq!(next(&mut reader).await, "*b");
        assert_eq!(next(&mut reader).await, "end");
    }
}
