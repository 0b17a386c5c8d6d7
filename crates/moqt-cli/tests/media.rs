//! `moqt pub` and `moqt sub` with media, through a relay.

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moqt::{FullTrackName, GroupConsumer, SubscribeOptions};
use moqt_media::{
    catalog::{Format, Reader},
    loc::Frame,
};
use support::*;

async fn frame(group: &mut GroupConsumer) -> bytes::Bytes {
    within("a frame", group.read_frame()).await.expect("the group goes on").expect("it has a frame")
}

#[expect(clippy::disallowed_methods, reason = "the times of frames are those of the wall clock")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_source_needs_no_input_and_is_found_by_its_catalogs() {
    let relay = TestRelay::start();
    let publisher = relay.moqt("pub", "demo/test --format test --catalog hang,common,msf").spawn().unwrap();
    let (client, url) = relay.client();
    let session = within("a session", client.connect(&url)).await.unwrap();
    let subscribe = async |track: &str| {
        let name: FullTrackName = format!("demo/test/{track}").parse().unwrap();
        // Asked for before it is published: tries again.
        let subscribed = async {
            loop {
                let subscriber = session.subscriber();
                match subscriber.subscribe(name.clone(), SubscribeOptions::default()).await {
                    Ok(subscription) => return subscription.into_track(),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let mut track = within("a subscription", subscribed).await;
        let group = within("a group", track.next_group()).await.unwrap().unwrap();
        (track, group)
    };
    for format in Format::ALL {
        let (_track, mut group) = subscribe(format.track()).await;
        let document = frame(&mut group).await;
        let broadcast = Reader::new(format).frame(&document).unwrap();
        let codecs: Vec<_> = broadcast.tracks.iter().map(|track| track.codec.as_str()).collect();
        assert_eq!((codecs, broadcast.problems.len()), (vec!["jpeg", "jpeg", "pcm-s16"], 0));
    }
    for (track, first, len) in [("video", [0xff, 0xd8].as_slice(), 4000..60_000), ("audio", &[], 1920..1921)]
    {
        let (_track, mut group) = subscribe(track).await;
        let frames = [frame(&mut group).await, frame(&mut group).await];
        let frames = frames.map(|bytes| Frame::parse(&bytes).unwrap());
        for frame in &frames {
            assert!(len.contains(&frame.payload.len()) && frame.payload.starts_with(first), "{track}");
            assert_eq!(frame.timescale, None, "times are those of the wall clock");
        }
        let apart = frames[1].timestamp - frames[0].timestamp;
        assert!((20_000..=33_334).contains(&apart), "{apart}");
        let age = since_1970() - Duration::from_micros(frames[0].timestamp);
        assert!(age < Duration::from_secs(60), "{age:?}");
    }
    #[cfg(unix)]
    interrupt(&publisher).await;
    #[cfg(unix)]
    assert_eq!(end(publisher).await, (130, vec![], String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_go_with_media_is_wrong_usage() {
    for (line, words) in [
        ("--format test --input x", "--format test makes its own pictures: leave --input out"),
        ("--format test --rate 5M", "--rate go with --format raw and lines"),
        ("--format raw --catalog msf", "--catalog, --loop and --realtime go with --format fmp4"),
        ("--format test --realtime", "--loop and --realtime go with --format fmp4"),
        ("--format fmp4 --loop", "--loop needs a file that it can read again: say which with --input"),
        ("--format test --catalog hls", "possible values: hang, msf, common"),
    ] {
        let (status, _, said) = run(moqt(&format!("pub https://relay/ a {line}"))).await;
        assert!(status == 2 && said.contains(words), "{line}: {said}");
    }
}
