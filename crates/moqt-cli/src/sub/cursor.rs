//! How far the output is.

use std::fmt;

/// Where a group was cut that may yet be continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Frames written whole.
    pub(super) frames: u64,
    /// Bytes written of the frame after them.
    pub(super) bytes: u64,
}

impl Part {
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Groups that are not in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Missing {
    /// How many they are.
    pub(super) fn groups(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{} to {}", self.first, self.last)
        }
    }
}

/// How far the output is: which group is due, and what of it is written.
#[derive(Debug)]
pub(super) struct Cursor {
    due: Option<u64>,
    last: Option<u64>,
    /// Of the group that is due.
    part: Part,
    /// Whether anything was written or skipped.
    moved: bool,
}

impl Cursor {
    pub(super) fn new(first: Option<u64>, last: Option<u64>) -> Self {
        Self { due: first, last, part: Part::default(), moved: false }
    }

    /// The group that is due; `None` for whichever comes first.
    pub(super) fn due(&self) -> Option<u64> {
        self.due
    }

    /// What of the group that is due is written already.
    pub(super) fn part(&self) -> Part {
        self.part
    }

    /// Notes how far the group that is due is written.
    pub(super) fn at(&mut self, part: Part) {
        self.part = part;
    }

    /// Whether any group was dealt with, so that the next one cannot be just any.
    pub(super) fn has_moved(&self) -> bool {
        self.moved || !self.part.is_empty()
    }

    /// The group `first` is next, whatever was due.
    pub(super) fn jump(&mut self, first: u64) {
        if self.due.replace(first) != Some(first) {
            self.part = Part::default();
        }
    }

    /// Everything up to `group` is dealt with.
    pub(super) fn done(&mut self, group: u64) {
        self.moved = true;
        self.due = Some(group + 1);
        self.part = Part::default();
    }

    /// Whether all that was asked for is dealt with.
    pub(super) fn is_done(&self) -> bool {
        matches!((self.due, self.last), (Some(due), Some(last)) if due > last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_done_after_its_last_group() {
        let mut cursor = Cursor::new(Some(3), Some(4));
        assert!(!cursor.is_done());
        cursor.done(3);
        assert!(!cursor.is_done());
        cursor.done(4);
        assert!(cursor.is_done());
    }

    #[test]
    fn a_cut_group_is_continued_only_when_it_is_the_next_to_come() {
        let part = Part { frames: 2, bytes: 10 };
        for (next, expected) in [(7, part), (9, Part::default()), (0, Part::default())] {
            let mut cursor = Cursor::new(None, None);
            cursor.done(6);
            cursor.at(part);
            cursor.jump(next);
            assert_eq!((cursor.due(), cursor.part()), (Some(next), expected));
        }
    }
}
