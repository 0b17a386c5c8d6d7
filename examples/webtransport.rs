//! Publish and subscribe over WebTransport: a server that publishes a track, and a client that reads it.
//!
//! `cargo run --example webtransport`

use std::sync::Arc;

use moqt::{
    Certificate, Client, ClientOptions, Retention, Server, ServerOptions, SubscribeOptions, TrackInfo,
    TrackProducer, Tracks, Url,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The server shows a certificate made for this run; the client pins it.
    let certificate = Certificate::generate(&["127.0.0.1".to_owned()], 1)?;
    let server = Server::bind(ServerOptions::new("127.0.0.1:0".parse()?, certificate.clone()))?;
    let url: Url = format!("https://{}/", server.local_addr()).parse()?;

    // What the server publishes: one track, whose groups anyone can read from the newest on.
    let tracks = Tracks::new();
    let track = TrackProducer::new("demo/counter".parse()?, TrackInfo::default(), Retention::default());
    let _published = tracks.publish(track.consume())?;

    let serving = tokio::spawn(async move {
        let incoming = server.accept().await.expect("the server is open");
        let session = incoming.handshake().await?.start(Arc::new(tracks));
        // Two groups of three frames, once somebody reads.
        track.readers_above(1).await;
        for number in 0..2 {
            let mut group = track.append_group();
            for frame in 0..3 {
                group.write_frame(format!("frame {frame} of group {number}"))?;
            }
            group.finish()?;
        }
        track.finish();
        session.closed().await;
        anyhow::Ok(())
    });

    let mut options = ClientOptions::default();
    options.tls.fingerprints.extend(certificate.fingerprint());
    let client = Client::new(options)?;
    let session = client.connect(&url).await?;
    println!("connected to {url}, speaking {}", session.version());

    let wanted = session.subscriber();
    let mut track =
        wanted.subscribe("demo/counter".parse()?, SubscribeOptions::default()).await?.into_track();
    // Groups travel on streams of their own and may overtake each other; `OrderedGroups` waits where that matters.
    while let Some(mut group) = track.next_group().await? {
        while let Some(frame) = group.read_frame().await? {
            println!("{}", String::from_utf8_lossy(&frame));
        }
    }
    session.close().await;
    serving.await?
}
