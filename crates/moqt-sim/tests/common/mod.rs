//! Helpers that the suites share.
#![allow(dead_code, reason = "each suite uses some of them")]

use std::time::Duration;

use bytes::Bytes;
use moqt_sim::{SimRecvStream, SimSendStream};
use moqt_transport::{ReadError, RecvStream, SendStream};

/// Milliseconds.
pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Seconds.
pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Writes all and finishes.
pub async fn send(mut stream: SimSendStream, data: Bytes) {
    stream.write_all(data).await.unwrap();
    stream.finish().unwrap();
}

/// Reads to the end.
pub async fn read_to_end(stream: &mut SimRecvStream) -> Result<Vec<u8>, ReadError> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.read_chunk(usize::MAX).await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

/// Reads to the end and says how many bytes there were.
pub async fn count_to_end(stream: &mut SimRecvStream) -> usize {
    let mut total = 0;
    while let Some(chunk) = stream.read_chunk(usize::MAX).await.unwrap() {
        total += chunk.len();
    }
    total
}
