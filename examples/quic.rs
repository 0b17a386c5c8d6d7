//! Publish and subscribe over raw QUIC: the client publishes, the server reads. Either side may do either.
//!
//! `cargo run --example quic`

use std::sync::Arc;

use moqt::{
    Announced, Certificate, Client, ClientOptions, FullTrackName, Namespace, Retention, Server,
    ServerOptions, SubscribeOptions, TrackInfo, TrackProducer, Tracks, Url,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let certificate = Certificate::generate(&["127.0.0.1".to_owned()], 1)?;
    let server = Server::bind(ServerOptions::new("127.0.0.1:0".parse()?, certificate.clone()))?;
    // `moqf://` instead of `https://` is all the difference.
    let url: Url = format!("moqf://{}/", server.local_addr()).parse()?;

    let reading = tokio::spawn(async move {
        let incoming = server.accept().await.expect("the server is open");
        let session = incoming.handshake().await?.start(Arc::new(Tracks::new()));
        let subscriber = session.subscriber();
        // Nobody told us the track's name: the client announces it.
        let mut names = subscriber.announced(Namespace::EMPTY).await?;
        let name = loop {
            match names.next().await {
                Some(Announced::Active(name)) => break FullTrackName::try_from(name)?,
                Some(_) => {}
                None => anyhow::bail!("the client left"),
            }
        };
        println!("announced: {name}");
        let mut track = subscriber.subscribe(name, SubscribeOptions::default()).await?.into_track();
        while let Some(mut group) = track.next_group().await? {
            while let Some(frame) = group.read_frame().await? {
                println!("group {}: {}", group.sequence(), String::from_utf8_lossy(&frame));
            }
        }
        session.close().await;
        anyhow::Ok(())
    });

    let tracks = Tracks::new();
    let track = TrackProducer::new("sensor/7/celsius".parse()?, TrackInfo::default(), Retention::default());
    let _published = tracks.publish(track.consume())?;
    let mut options = ClientOptions::default();
    options.tls.fingerprints.extend(certificate.fingerprint());
    let client = Client::new(options)?;
    let session = client.connect_with(&url, Arc::new(tracks)).await?;

    track.readers_above(1).await;
    for celsius in ["21.5", "21.6", "21.4"] {
        let mut group = track.append_group();
        group.write_frame(celsius)?;
        group.finish()?;
    }
    track.finish();
    session.closed().await;
    reading.await?
}
