//! Embeds a relay in a program, with a publisher and a subscriber that meet through it.
//!
//! `cargo run --example relay`

use std::sync::Arc;

use moqt::{
    Certificate, Client, ClientOptions, Retention, SubscribeOptions, TrackInfo, TrackProducer, Tracks, Url,
};
use moqt_relay::{Options, Relay};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let certificate = Certificate::generate(&["127.0.0.1".to_owned()], 1)?;
    let relay = Relay::bind(Options::new(certificate.clone()).listen("127.0.0.1:0".parse()?))?;
    let handle = relay.handle();
    let address = handle.addresses().first().copied().expect("the relay listens");
    let running = tokio::spawn(relay.run());

    let mut options = ClientOptions::default();
    options.tls.fingerprints.extend(certificate.fingerprint());
    let client = Client::new(options)?;

    // The publisher, over raw QUIC.
    let tracks = Tracks::new();
    let track = TrackProducer::new("weather/oslo".parse()?, TrackInfo::default(), Retention::default());
    let _published = tracks.publish(track.consume())?;
    let quic: Url = format!("moqf://{address}/").parse()?;
    let publisher = client.connect_with(&quic, Arc::new(tracks)).await?;

    // The subscriber, over WebTransport, in the same scope. The relay asks the publisher once, for everybody.
    let web: Url = format!("https://{address}/").parse()?;
    let subscriber = client.connect(&web).await?;
    let mut names = subscriber.subscriber().announced("weather".parse()?).await?;
    println!("{:?}", names.next().await);
    let wanted = subscriber.subscriber();
    let mut reader =
        wanted.subscribe("weather/oslo".parse()?, SubscribeOptions::default()).await?.into_track();

    let mut group = track.append_group();
    group.write_frame("rain")?;
    group.finish()?;
    if let Some(mut group) = reader.next_group().await? {
        println!("{:?}", group.read_frame().await?);
    }
    println!("{:?}", handle.counters());

    subscriber.close().await;
    publisher.close().await;
    handle.close().await;
    running.await?;
    Ok(())
}
