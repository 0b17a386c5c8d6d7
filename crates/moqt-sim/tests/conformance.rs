//! The contract of the transport traits, over good links and bad ones.

use std::time::Duration;

use moqt_sim::{Congestion, Link, Settings, Sim, SimConnection};
use moqt_transport::conformance::{Pair, Setup};

/// A kind of world.
struct World {
    link: Link,
    /// For tests that need a slow link.
    starved: Link,
    settings: Settings,
}

impl Pair for World {
    type Connection = SimConnection;

    async fn connect(&self, setup: Setup) -> (SimConnection, SimConnection) {
        let mut settings = self.settings.clone();
        if let Some(streams) = setup.max_streams {
            settings = settings.max_uni_streams(streams.into()).max_bidi_streams(streams.into());
        }
        let link = if setup.starved { self.starved } else { self.link };
        Sim::new(1).connect_with(link, settings.clone(), settings)
    }
}

/// The suite fills a stream without waiting and takes it for blocked until it is read, so the window of the
/// peer must be what blocks it.
fn window(bytes: u64) -> Settings {
    Settings::default().stream_window(bytes).send_buffer(bytes)
}

fn ideal() -> World {
    World { link: Link::ideal(), starved: starved(), settings: window(1 << 20) }
}

fn starved() -> Link {
    Link::delay(Duration::from_millis(20)).rate(2_000_000)
}

/// Late, out of order, one packet in twenty lost; small windows.
fn bad() -> World {
    let spoil = |link: Link| link.jitter(Duration::from_millis(10)).loss(0.05);
    World {
        link: spoil(Link::delay(Duration::from_millis(30))),
        starved: spoil(starved()),
        settings: window(128 * 1024).connection_window(256 * 1024),
    }
}

/// The sender has to find out what the link can carry.
fn unknown() -> World {
    World {
        link: Link::delay(Duration::from_millis(5)).rate(50_000_000).queue(20_000),
        starved: starved().queue(20_000),
        settings: window(128 * 1024).congestion(Congestion::Aimd),
    }
}

mod over_an_ideal_link {
    moqt_transport::conformance_tests!(
        #[tokio::test(start_paused = true)]
        super::ideal()
    );
}

mod over_a_bad_link {
    moqt_transport::conformance_tests!(
        #[tokio::test(start_paused = true)]
        super::bad()
    );
}

mod over_an_unknown_link {
    moqt_transport::conformance_tests!(
        #[tokio::test(start_paused = true)]
        super::unknown()
    );
}
