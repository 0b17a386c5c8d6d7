//! Which estimates of the bitrate the peer is told, and when.

use std::time::Duration;

use tokio::time::Instant;

/// What the peer was told of what we can send it, in bits per second.
///
/// Spec: digest 4.2 "SESSION_UPDATE" and 7, row 6.2: on a change of more than a tenth, and at most once a second.
#[derive(Debug, Default)]
pub(crate) struct Bitrate {
    /// The application's own estimate, which goes before that of the connection.
    pub(crate) chosen: Option<u64>,
    /// 0 is unknown.
    told: u64,
    at: Option<Instant>,
}

impl Bitrate {
    /// The time from one estimate to the next.
    pub(crate) const PAUSE: Duration = Duration::from_secs(1);

    /// What to tell the peer now that the connection's estimate is `sampled`, if anything.
    pub(crate) fn tell(&mut self, now: Instant, sampled: Option<u64>) -> Option<u64> {
        let bits = self.chosen.or(sampled).unwrap_or(0);
        let soon = self.at.is_some_and(|at| now.saturating_duration_since(at) < Self::PAUSE);
        if soon || !self.is_news(bits) {
            return None;
        }
        (self.told, self.at) = (bits, Some(now));
        Some(bits)
    }

    /// Whether the application's estimate is still to be told.
    pub(crate) fn is_behind(&self) -> bool {
        self.chosen.is_some_and(|bits| self.is_news(bits))
    }

    fn is_news(&self, bits: u64) -> bool {
        (bits == 0) != (self.told == 0) || bits.abs_diff(self.told) > self.told / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now;

    #[test]
    fn an_estimate_is_told_when_it_changed_by_more_than_a_tenth_and_a_second_has_passed() {
        let (start, mut bitrate) = (now(), Bitrate::default());
        for (at, sampled, told) in [
            (0, None, None),
            (0, Some(1000), Some(1000)),
            (999, Some(2000), None),
            (1000, Some(2000), Some(2000)),
            (5000, Some(2200), None),
            (5000, Some(1800), None),
            (5000, Some(2201), Some(2201)),
            (9000, None, Some(0)),
            (9500, Some(1), None),
            (10_000, Some(1), Some(1)),
            (20_000, Some(1), None),
        ] {
            assert_eq!(
                bitrate.tell(start + Duration::from_millis(at), sampled),
                told,
                "{at} ms: {sampled:?}"
            );
        }
    }

    #[test]
    fn the_applications_estimate_goes_before_the_connections() {
        let (start, mut bitrate) = (now(), Bitrate { chosen: Some(500), ..Bitrate::default() });
        assert_eq!(bitrate.tell(start, Some(9000)), Some(500));
        bitrate.chosen = Some(800);
        assert!(bitrate.tell(start, Some(9000)).is_none() && bitrate.is_behind());
        assert_eq!(bitrate.tell(start + Bitrate::PAUSE, Some(9000)), Some(800));
        bitrate.chosen = None;
        assert_eq!(bitrate.tell(start + 2 * Bitrate::PAUSE, Some(9000)), Some(9000));
    }
}
