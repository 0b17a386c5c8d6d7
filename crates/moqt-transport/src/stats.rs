//! What a connection knows about its path.

use std::time::Duration;

/// A snapshot of a connection's path. `None` means that the backend does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Congestion window, in bytes.
    pub congestion_window: Option<u64>,
    /// Estimated delivery rate, in bits per second.
    pub delivery_rate: Option<u64>,
    /// UDP payload bytes sent.
    pub bytes_sent: Option<u64>,
    /// UDP payload bytes received.
    pub bytes_received: Option<u64>,
    /// Packets sent.
    pub packets_sent: Option<u64>,
    /// Packets declared lost.
    pub packets_lost: Option<u64>,
    /// UDP payload that fits the path, in bytes.
    pub mtu: Option<u16>,
}
