//! A broadcast without any input.

use std::{sync::Arc, time::Duration};

use moqt_media::test_source::TestSource;

use super::broadcast::Broadcast;
use crate::{
    clock, publish,
    served::Served,
    shutdown::{Exit, Shutdown},
    ui::{Counts, Progress},
    waiting::{Waiting, now},
};

/// A machine that is so late leaves pictures out.
const LATE: Duration = Duration::from_millis(250);

/// Publishes pictures and beeps until it is told to end.
pub(crate) async fn publish(args: publish::PubArgs, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let connector = args.connect.steady()?;
    let served = Served::new();
    let counts = Arc::new(Counts::default());
    let mut broadcast = Broadcast::new(&served, &args.track, args.media.formats(), &counts);
    broadcast.describe(&TestSource::broadcast())?;
    let mut waiting = Waiting::new();
    let Some(link) = publish::connect(&connector, &served, args.times(), &shutdown, &mut waiting).await?
    else {
        return Ok(shutdown.wanted().await);
    };
    let writing = async {
        if args.wait_subscriber {
            waiting.during(&format!("for a subscriber of {}", args.track), served.wanted()).await;
        }
        tokio::time::sleep(args.start_after).await;
        let _progress = Progress::start(args.track.to_string(), &counts, true);
        run(&mut broadcast).await
    };
    publish::until_end(&connector, &served, &link, args.times(), &shutdown, writing).await
}

async fn run(broadcast: &mut Broadcast) -> anyhow::Result<()> {
    let began = now();
    let mut source = TestSource::new(clock::now());
    loop {
        let passed = began.elapsed();
        if passed > source.due() + LATE {
            source.skip_to(passed);
        }
        tokio::time::sleep_until(began + source.due()).await;
        let piece = source.make();
        for (track, frame) in piece.frames {
            broadcast.write(track, piece.begins, &frame)?;
        }
    }
}
