//! Groups that are not in the output: counted all, named a few at a time.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use moqt::FullTrackName;
use tokio::time::Instant;

use super::cursor::{Missing, Part};

/// The shortest time between two lines about gaps, so that a slow reader is not buried in them.
const QUIET: Duration = Duration::from_secs(1);

/// Most ranges named in one line.
const NAMED: usize = 8;

/// Tells of missing groups.
#[derive(Debug)]
pub(crate) struct Gaps {
    name: FullTrackName,
    total: u64,
    /// Ranges not yet told of.
    ranges: Vec<Missing>,
    reasons: BTreeSet<String>,
    told: Option<Instant>,
    say: fn(&str),
}

impl Gaps {
    pub(crate) fn new(name: FullTrackName, say: fn(&str)) -> Self {
        Self { name, total: 0, ranges: Vec::new(), reasons: BTreeSet::new(), told: None, say }
    }

    /// Groups missing so far.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Notes groups that will not come; told at once unless a line was just written.
    pub(crate) fn missing(&mut self, missing: Missing, reason: &str, now: Instant) {
        self.total += missing.groups();
        match self.ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(missing.first) => range.last = missing.last,
            _ => self.ranges.push(missing),
        }
        self.reasons.insert(reason.to_owned());
        if self.due().is_none_or(|due| due <= now) {
            self.tell(now);
        }
    }

    /// Tells at once of a group of which a part is in the output.
    pub(super) fn cut(&mut self, group: u64, part: Part, reason: &str, now: Instant) {
        self.tell(now);
        self.total += 1;
        let Part { frames, bytes } = part;
        let mut line =
            format!("gap: group {group} of {} was cut after {}", self.name, count(frames, "frame"));
        if bytes > 0 {
            let _ = write!(line, " and {} of the next", count(bytes, "byte"));
        }
        (self.say)(&format!("{line}: {reason}"));
    }

    /// When something is left to be told.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.ranges.is_empty() { None } else { self.told.map(|told| told + QUIET) }
    }

    /// Tells of what is left.
    pub(crate) fn tell(&mut self, now: Instant) {
        if self.ranges.is_empty() {
            return;
        }
        let ranges = std::mem::take(&mut self.ranges);
        let reasons = Vec::from_iter(std::mem::take(&mut self.reasons)).join(", ");
        let named = ranges.iter().take(NAMED).map(Missing::to_string).collect::<Vec<_>>().join(", ");
        let single = matches!(ranges.as_slice(), [range] if range.first == range.last);
        let (groups, are) = if single { ("group", "is") } else { ("groups", "are") };
        let mut line = format!("gap: {groups} {named}");
        if let (Some(rest), Some(last)) = (ranges.get(NAMED..).filter(|rest| !rest.is_empty()), ranges.last())
        {
            let more: u64 = rest.iter().map(Missing::groups).sum();
            let _ = write!(line, " and {more} more up to {}", last.last);
        }
        self.told = Some(now);
        (self.say)(&format!("{line} of {} {are} missing: {reasons}", self.name));
    }
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::waiting::now;

    thread_local! {
        static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn gaps() -> Gaps {
        Gaps::new("a/b".parse().unwrap(), |line| SAID.with_borrow_mut(|said| said.push(line.to_owned())))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_gap_is_told_at_once_and_the_next_ones_together() {
        let mut gaps = gaps();
        let at = now();
        for (first, last, reason) in
            [(5, 5, "expired"), (7, 7, "expired"), (8, 9, "timed out"), (11, 11, "expired")]
        {
            gaps.missing(Missing { first, last }, reason, at);
        }
        assert_eq!(SAID.take(), ["gap: group 5 of a/b is missing: expired"]);
        assert_eq!(gaps.due(), Some(at + QUIET));
        gaps.tell(at + QUIET);
        assert_eq!(SAID.take(), ["gap: groups 7 to 9, 11 of a/b are missing: expired, timed out"]);
        assert_eq!((gaps.due(), gaps.total()), (None, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_names_only_so_many_ranges() {
        let mut gaps = gaps();
        let at = now();
        for group in (0..24).step_by(2) {
            gaps.missing(Missing { first: group, last: group }, "expired", at);
        }
        SAID.take();
        gaps.tell(at);
        let line = "gap: groups 2, 4, 6, 8, 10, 12, 14, 16 and 3 more up to 22 of a/b are missing: expired";
        assert_eq!(SAID.take(), [line]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_group_is_told_with_what_of_it_was_written() {
        let mut gaps = gaps();
        gaps.cut(3, Part { frames: 1, bytes: 1200 }, "cancelled", now());
        gaps.cut(4, Part { frames: 2, bytes: 0 }, "expired", now());
        assert_eq!(
            SAID.take(),
            [
                "gap: group 3 of a/b was cut after 1 frame and 1200 bytes of the next: cancelled",
                "gap: group 4 of a/b was cut after 2 frames: expired"
            ]
        );
        assert_eq!(gaps.total(), 2);
    }
}
