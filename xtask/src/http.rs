//! One page over plain HTTP, for a relay that only its own network namespace reaches.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

const PATIENCE: Duration = Duration::from_secs(5);

/// More than any page of a relay.
const MAX_PAGE: u64 = 16 << 20;

/// Prints the page; status 4 where there is none.
pub(crate) fn get(address: &str, path: &str) -> Result<ExitCode> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("nobody answers at {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_PAGE).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer in HTTP")?;
    if head.split_whitespace().nth(1) != Some("200") {
        return Ok(ExitCode::from(4));
    }
    print!("{body}");
    Ok(ExitCode::SUCCESS)
}
