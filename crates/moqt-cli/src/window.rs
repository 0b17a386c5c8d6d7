//! Holding back an input that is faster than the network.

use std::time::Duration;

use moqt::Link;
use tokio::time::Instant;

use crate::waiting::now;

/// What an input may bring before the peer must have it, if it comes faster than any live source.
///
/// A track keeps so much for those who fall behind; without a window a file would be through and forgotten before the
/// network has taken it.
#[derive(Debug)]
pub(crate) struct Window {
    began: Instant,
    groups: usize,
    bytes: u64,
}

impl Window {
    /// A quarter of what a track keeps.
    const GROUPS: usize = 256;
    /// A quarter of what a track keeps.
    const BYTES: u64 = 16 << 20;
    /// Brought within this time, it is no live source.
    const FAST: Duration = Duration::from_secs(1);
    /// Longest wait: a peer that stands still does not stop the input.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(crate) fn new(began: Instant) -> Self {
        Self { began, groups: 0, bytes: 0 }
    }

    /// A group has begun.
    pub(crate) fn group(&mut self) {
        self.groups += 1;
    }

    /// So many bytes were written.
    pub(crate) fn payload(&mut self, len: usize) {
        self.bytes += len as u64;
    }

    /// Waits before `len` more bytes until the peer has what was brought, if that was much in a short time.
    pub(crate) async fn hold_back(&mut self, link: &Link, len: usize) {
        if self.is_full(now(), len) {
            let taken = async {
                if let Ok(session) = link.session().await {
                    session.publisher().flushed().await;
                }
            };
            let _ = tokio::time::timeout(Self::PATIENCE, taken).await;
            *self = Self::new(now());
        }
    }

    /// Whether the peer must have what was brought before there are `len` bytes more.
    pub(crate) fn is_full(&mut self, now: Instant, len: usize) -> bool {
        if now.saturating_duration_since(self.began) >= Self::FAST {
            *self = Self::new(now);
        }
        self.groups >= Self::GROUPS || self.bytes + len as u64 > Self::BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_live_source_is_never_held_back() {
        let began = now();
        let mut window = Window::new(began);
        for group in 0..10_000_u32 {
            // 200 groups of 60 kB a second.
            assert!(!window.is_full(began + Duration::from_millis(5) * group, 60_000));
            window.groups += 1;
            window.bytes += 60_000;
        }
    }

    #[tokio::test]
    async fn a_file_is_held_back_after_a_quarter_of_what_is_kept() {
        let began = now();
        let mut window = Window::new(began);
        window.bytes = Window::BYTES - 10;
        assert!(!window.is_full(began, 10));
        assert!(window.is_full(began, 11));
        window = Window::new(began);
        window.groups = Window::GROUPS;
        assert!(window.is_full(began, 1));
    }
}
