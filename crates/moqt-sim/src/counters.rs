//! What one end did, for assertions.

/// What one end of a connection has sent and received so far.
///
/// Two runs of the same seed have equal counters, and equal [`digest`](Self::digest)s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets given to the link, acknowledgements included.
    pub packets_sent: u64,
    /// Packets that arrived here.
    pub packets_received: u64,
    /// Packets of ours that the link lost: by chance, or while it was cut.
    pub packets_dropped: u64,
    /// Packets of ours that found the queue of the link full.
    pub packets_overflowed: u64,
    /// Packets of ours that we took for lost and whose contents we sent again.
    pub packets_lost: u64,
    /// Bytes given to the link, headers included.
    pub bytes_sent: u64,
    /// Bytes that arrived here, headers included.
    pub bytes_received: u64,
    /// Stream bytes that the application wrote and that are not sent yet.
    pub bytes_queued: u64,
    /// Stream bytes sent more than once.
    pub bytes_resent: u64,
    /// A hash over each packet sent and received, with its time.
    pub digest: u64,
}

impl Counters {
    /// Mixes one fact into the digest.
    pub(crate) fn note(&mut self, fact: u64) {
        let mixed = (self.digest ^ fact).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = mixed ^ (mixed >> 29);
    }
}
