//! A server that ends its sessions in the ways a client has to notice; the browser suite runs against it.
//!
//! Prints its URL and its certificate's fingerprint. Of each client the path says what happens:
//!
//! - `/close?CODE&REASON` closes the connection, once the client has told which tracks it has;
//! - any other waits for the client to leave.
//!
//! When a client is gone, prints `closed PATH CODE REASON`, or `lost PATH ERROR` where nobody closed.

use std::{sync::Arc, time::Duration};

use moqt::{
    Announced, Certificate, Code, Namespace, Server, ServerOptions, SessionConfig, Tracks,
    session::Handshake,
    transport::{Connection as _, ConnectionError, Incoming},
};

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "a program serves its clients beside each other")]
async fn main() -> anyhow::Result<()> {
    let certificate = Certificate::generate(&["127.0.0.1".to_owned()], 1)?;
    let server = Server::bind(ServerOptions::new("127.0.0.1:0".parse()?, certificate.clone()))?;
    let fingerprint = certificate.fingerprint().map(|fingerprint| fingerprint.to_string());
    println!("https://{}/ {}", server.local_addr(), fingerprint.unwrap_or_default());
    while let Some(incoming) = server.listener().accept().await {
        tokio::spawn(async move {
            if let Err(error) = serve(incoming).await {
                println!("failed {error:#}");
            }
        });
    }
    Ok(())
}

async fn serve(incoming: Incoming) -> anyhow::Result<()> {
    let request = incoming.accept(Duration::from_secs(10)).await?;
    let path = request.path().to_owned();
    let connection = request.accept().await?;
    let handshake = Handshake::accept(connection.clone(), SessionConfig::default()).await?;
    let session = handshake.start(Arc::new(Tracks::new()));
    if let Some(("/close", words)) = path.split_once('?') {
        let (code, reason) = words.split_once('&').unwrap_or((words, ""));
        let mut tracks = session.subscriber().announced(Namespace::default()).await?;
        while !matches!(tracks.next().await, Some(Announced::CaughtUp) | None) {}
        connection.close(Code(code.parse()?), &reason.replace('+', " "));
    }
    match connection.closed().await {
        ConnectionError::Closed { code, reason } => println!("closed {path} {} {reason}", code.0),
        error => println!("lost {path} {error}"),
    }
    // Until here, so that the session does not close the connection before.
    drop(session);
    Ok(())
}
