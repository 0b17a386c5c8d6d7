//! Data going out: stdout or a file.

use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
    task::Poll,
};

use anyhow::Context as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter};

/// Whoever read our output is gone; the command ends quietly.
#[derive(Debug, thiserror::Error)]
#[error("output closed")]
pub(crate) struct Closed;

/// Where a command's data goes. Buffered; see [`until`](Self::until).
pub(crate) struct Output {
    writer: BufWriter<Box<dyn AsyncWrite + Send + Unpin>>,
    path: Option<PathBuf>,
}

/// Bytes gathered before they are written; longer pieces pass by the buffer.
const BUFFER: usize = 64 << 10;

impl Output {
    /// Opens the file, or stdout without one.
    pub(crate) async fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let writer: Box<dyn AsyncWrite + Send + Unpin> = match path {
            Some(path) => {
                let file = tokio::fs::File::create(path).await;
                Box::new(file.with_context(|| format!("cannot write: {}", path.display()))?)
            }
            None => Box::new(tokio::io::stdout()),
        };
        Ok(Self::new(writer, path))
    }

    /// Writes to `writer`; `path` is what it is called in errors, unless it is stdout.
    pub(crate) fn new(writer: Box<dyn AsyncWrite + Send + Unpin>, path: Option<&Path>) -> Self {
        Self { writer: BufWriter::with_capacity(BUFFER, writer), path: path.map(Path::to_owned) }
    }

    /// Whether this is stdout.
    pub(crate) fn is_stdout(&self) -> bool {
        self.path.is_none()
    }

    /// Adds bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = self.writer.write_all(bytes).await;
        self.check(written)
    }

    /// Lets everything out.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        let flushed = self.writer.flush().await;
        self.check(flushed)
    }

    /// Waits for `future`; what was written goes out meanwhile, unless there is no meanwhile.
    pub(crate) async fn until<T>(&mut self, future: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut future = pin!(future);
        let first = std::future::poll_fn(|cx| {
            Poll::Ready(match future.as_mut().poll(cx) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            })
        });
        if let Some(done) = first.await {
            return Ok(done);
        }
        self.flush().await?;
        Ok(future.await)
    }

    fn check(&self, result: io::Result<()>) -> anyhow::Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
            result => result.with_context(|| match &self.path {
                Some(path) => format!("cannot write: {}", path.display()),
                None => "cannot write: stdout".to_owned(),
            }),
        }
    }
}

/// Writes all of `bytes` to stdout.
pub(crate) async fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut output = Output::open(None).await?;
    output.write(bytes).await?;
    output.flush().await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn pipe() -> (Output, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 20);
        (Output::new(Box::new(near), None), far)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_goes_out_while_something_is_waited_for() {
        let (mut output, mut far) = pipe();
        output.write(b"tick").await.unwrap();
        let read = async {
            let mut bytes = [0; 4];
            far.read_exact(&mut bytes).await.unwrap();
            bytes
        };
        assert_eq!(&output.until(read).await.unwrap(), b"tick");
    }

    #[tokio::test]
    async fn what_is_there_at_once_costs_no_write() {
        let (mut output, mut far) = pipe();
        output.write(b"tick").await.unwrap();
        output.until(std::future::ready(())).await.unwrap();
        let mut bytes = [0; 4];
        assert!(output.until(std::future::ready(())).await.is_ok());
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, far.read(&mut bytes));
        assert!(waiting.await.is_err());
    }

    #[tokio::test]
    async fn a_closed_pipe_is_told_apart_from_a_failure() {
        let (mut output, far) = pipe();
        drop(far);
        output.write(b"tick").await.unwrap();
        assert!(output.flush().await.unwrap_err().is::<Closed>());
    }
}
