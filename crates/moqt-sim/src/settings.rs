//! How one end of a simulated connection behaves.

use std::time::Duration;

/// How fast an end sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Congestion {
    /// It knows the link: fills its rate, keeps about 8 ms in its queue and does not take loss for
    /// congestion. Goodput is what the link can carry, and latency says what the session does, not what a
    /// controller does.
    #[default]
    Informed,
    /// It learns from loss: slow start, then additive increase and multiplicative decrease, as NewReno does.
    /// Fills the queue of the link and collapses under random loss.
    Aimd,
}

/// The settings of one end. They chain from [`Settings::default`].
///
/// ```
/// # use moqt_sim::Settings;
/// let narrow = Settings::default().max_uni_streams(2).stream_window(4096);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub(crate) max_bidi_streams: u64,
    pub(crate) max_uni_streams: u64,
    pub(crate) stream_window: u64,
    pub(crate) connection_window: u64,
    pub(crate) send_buffer: u64,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) congestion: Congestion,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_bidi_streams: 100,
            max_uni_streams: 1000,
            stream_window: 1 << 20,
            connection_window: 16 << 20,
            send_buffer: 64 * 1024,
            idle_timeout: Some(Duration::from_secs(30)),
            keep_alive: Some(Duration::from_secs(10)),
            congestion: Congestion::default(),
        }
    }
}

impl Settings {
    /// How many bidirectional streams the peer may have open at once; default 100.
    #[must_use]
    pub fn max_bidi_streams(mut self, streams: u64) -> Self {
        self.max_bidi_streams = streams;
        self
    }

    /// How many unidirectional streams the peer may have open at once; default 1000.
    #[must_use]
    pub fn max_uni_streams(mut self, streams: u64) -> Self {
        self.max_uni_streams = streams;
        self
    }

    /// How many bytes the peer may write to a stream before they are read here; default 1 MiB.
    #[must_use]
    pub fn stream_window(mut self, bytes: u64) -> Self {
        self.stream_window = bytes;
        self
    }

    /// How many bytes the peer may send on all streams together before they are read; default 16 MiB.
    #[must_use]
    pub fn connection_window(mut self, bytes: u64) -> Self {
        self.connection_window = bytes;
        self
    }

    /// How many bytes a stream of ours takes from the writer before it has sent them; default 64 KiB.
    ///
    /// Bytes in flight do not count. With a buffer below the stream window of the peer, a writer that the
    /// buffer blocked goes on when the bytes have been sent; otherwise when the peer has read them.
    #[must_use]
    pub fn send_buffer(mut self, bytes: u64) -> Self {
        self.send_buffer = bytes.max(1);
        self
    }

    /// How long to hear nothing before the connection has timed out; default 30 s, `None` for ever.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// How long to be quiet before asking whether the peer is there; default 10 s, `None` for never.
    #[must_use]
    pub fn keep_alive(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.keep_alive = interval.into();
        self
    }

    /// How fast to send; default [`Congestion::Informed`].
    #[must_use]
    pub fn congestion(mut self, congestion: Congestion) -> Self {
        self.congestion = congestion;
        self
    }
}
