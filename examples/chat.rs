//! A chat room: everybody announces one track below the room's name, and reads all the others.
//!
//! `cargo run --example chat -- http://localhost:4443/ lobby alice`

use std::sync::Arc;

use anyhow::Context as _;
use moqt::{
    Announced, Client, ClientOptions, FullTrackName, Namespace, Retention, Session, SubscribeOptions,
    TrackInfo, TrackProducer, Tracks, Url,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut arg = |what| args.next().with_context(|| format!("usage: chat URL ROOM NAME; {what} is missing"));
    let (url, room, name): (Url, _, _) = (arg("URL")?.parse()?, arg("ROOM")?, arg("NAME")?);
    let room = Namespace::from_parts(["chat".to_owned(), room]);

    // One track for what we say: a message is a group of one frame.
    let own = FullTrackName::new(room.clone(), name.as_str());
    let track = TrackProducer::new(own.clone(), TrackInfo::default(), Retention::default());
    let tracks = Tracks::new();
    let published = tracks.publish(track.consume())?;

    let client = Client::new(ClientOptions::default())?;
    let session = client.connect_with(&url, Arc::new(tracks)).await?;
    let listening = tokio::spawn(listen(session.clone(), room, own));

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let mut group = track.append_group();
        group.write_frame(line)?;
        group.finish()?;
    }

    // Leave in order: no more words, no more name, then the session.
    track.finish();
    drop(published);
    session.publisher().flushed().await;
    listening.abort();
    session.close().await;
    Ok(())
}

/// Reads everybody who is announced in the room, and whoever comes later.
async fn listen(session: Session, room: Namespace, own: FullTrackName) -> anyhow::Result<()> {
    let mut names = session.subscriber().announced(room).await?;
    while let Some(change) = names.next().await {
        match change {
            // Relays tell us our own name too.
            Announced::Active(name) if name != own.to_namespace() => {
                let name = FullTrackName::try_from(name)?;
                eprintln!("* {} is here", name.name);
                tokio::spawn(read(session.clone(), name));
            }
            Announced::Ended(name) => eprintln!("* {name} left"),
            _ => {}
        }
    }
    Ok(())
}

async fn read(session: Session, name: FullTrackName) -> anyhow::Result<()> {
    let who = name.name.clone();
    let mut track = session.subscriber().subscribe(name, SubscribeOptions::default()).await?.into_track();
    while let Some(mut message) = track.next_group().await? {
        while let Some(text) = message.read_frame().await? {
            println!("{who}: {}", String::from_utf8_lossy(&text));
        }
    }
    Ok(())
}
