//! Asking a development server over HTTP for its certificate's fingerprint.

use std::time::Duration;

use moqt_transport::Fingerprint;

use crate::{error::ConnectError, url::Url};

/// Where relays serve it: ours and today's first, then older ones.
const PATHS: [&str; 2] = ["/certificate.sha256", "/fingerprint"];

/// Most bytes of an answer.
const MAX_ANSWER: u64 = 4096;

/// Fetches the fingerprint from the URL's host and port.
pub(crate) async fn fetch(url: &Url, timeout: Duration) -> Result<Fingerprint, ConnectError> {
    let urls = PATHS.map(|path| url.http(path));
    let first = urls.first().cloned().unwrap_or_default();
    let failed = move |message: String| ConnectError::Fingerprint { url: first.clone(), message };
    // The HTTP client blocks; it has its own time limit, so the thread comes back.
    let asking = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(timeout)).max_redirects(0).build().into();
        let mut last = String::new();
        for url in &urls {
            match agent.get(url).call() {
                Ok(mut answer) => {
                    return answer
                        .body_mut()
                        .with_config()
                        .limit(MAX_ANSWER)
                        .read_to_string()
                        .map_err(|error| error.to_string());
                }
                Err(ureq::Error::StatusCode(status)) => last = format!("HTTP status {status}"),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last)
    });
    let text = asking.await.map_err(|error| failed(error.to_string()))?.map_err(&failed)?;
    text.parse().map_err(|_| failed("the answer is no SHA-256 in hex".to_owned()))
}
