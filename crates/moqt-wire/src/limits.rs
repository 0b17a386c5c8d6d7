//! How much a peer may make us hold.

/// The most that one message or frame may ask for; checked before anything is allocated for it.
///
/// The defaults follow the drafts where they say something (paths) and are generous elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Parts in one path, prefix or suffix.
    pub path_parts: usize,
    /// Bytes in one path: the sum of its parts, without separators or lengths.
    pub path_bytes: usize,
    /// Versions a client may offer.
    pub versions: usize,
    /// Extensions in one handshake message.
    pub extensions: usize,
    /// Bytes in the payload of one extension.
    pub extension_bytes: usize,
    /// Bytes in a URL.
    pub url_bytes: usize,
    /// Bytes in one whole control message; the most a [`StreamDecoder`](crate::StreamDecoder) waits for.
    pub message_bytes: usize,
    /// Bytes in the payload of one frame.
    pub frame_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            path_parts: 32,
            path_bytes: 1023,
            versions: 64,
            extensions: 64,
            extension_bytes: 4096,
            url_bytes: 8192,
            message_bytes: 64 * 1024,
            frame_bytes: 16 * 1024 * 1024,
        }
    }
}
