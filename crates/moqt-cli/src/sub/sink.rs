//! What becomes of frames.

use std::sync::Arc;

use bytes::Bytes;

use super::Format;
use crate::{clock, output::Output, ui::Counts};

/// Writes frames in a format.
pub(crate) struct Sink {
    pub(crate) output: Output,
    format: Format,
    counts: Arc<Counts>,
    /// A clock's date, from the first frame of its group.
    date: Bytes,
}

impl Sink {
    pub(crate) fn new(output: Output, format: Format, counts: Arc<Counts>) -> Self {
        Self { output, format, counts, date: Bytes::new() }
    }

    /// Whether frames can be written while they still come.
    pub(super) fn takes_pieces(&self) -> bool {
        self.format == Format::Raw
    }

    /// A group begins.
    pub(super) fn group(&self) {
        self.counts.group();
    }

    /// Groups are missing.
    pub(super) fn missing(&self, groups: u64) {
        self.counts.gap(groups);
    }

    /// A piece of a frame, where [`takes_pieces`](Self::takes_pieces).
    pub(super) async fn piece(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.counts.payload(bytes.len());
        self.output.write(bytes).await
    }

    /// The frame of which all pieces were written is complete.
    pub(super) fn frame_done(&self) {
        self.counts.frame();
    }

    /// A whole frame.
    pub(super) async fn frame(&mut self, group: u64, frame: u64, payload: Bytes) -> anyhow::Result<()> {
        self.counts.frame();
        self.counts.payload(payload.len());
        match self.format {
            Format::Raw => self.output.write(&payload).await,
            Format::Lines => {
                self.output.write(&payload).await?;
                self.output.write(b"\n").await
            }
            Format::Json => {
                let line = json_line(group, frame, payload.len(), clock::now().as_millis());
                self.output.write(line.as_bytes()).await
            }
            Format::Clock if frame == 0 => {
                self.date = payload;
                Ok(())
            }
            Format::Clock => {
                let line = [&self.date[..], &payload, b"\n"].concat();
                self.output.write(&line).await
            }
        }
    }
}

fn json_line(group: u64, frame: u64, bytes: usize, at_ms: u128) -> String {
    format!("{{\"group\":{group},\"frame\":{frame},\"bytes\":{bytes},\"at_ms\":{at_ms}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_has_the_documented_fields_in_order() {
        let line = json_line(7, 0, 1200, 1_795_361_340_123);
        assert_eq!(line, "{\"group\":7,\"frame\":0,\"bytes\":1200,\"at_ms\":1795361340123}\n");
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["at_ms"], 1_795_361_340_123_u64);
    }
}
