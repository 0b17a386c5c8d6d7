//! The rate at which a connection delivers, which `quinn` does not keep itself.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::RttEstimator;

/// The shortest time over which a rate is taken.
const SHORTEST: Duration = Duration::from_millis(50);

/// Bytes acknowledged over time, once a round trip.
///
/// What is delivered while the application has nothing more to send says little of the path: it can show that the path
/// takes more than was known, never that it takes less.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    from: Option<Instant>,
    bytes: u64,
    /// Whether the path, not the application, set the pace since `from`.
    full: bool,
    bits_per_second: Option<u64>,
}

impl Rate {
    fn acked(&mut self, now: Instant, bytes: u64, app_limited: bool, rtt: Duration) {
        let Some(from) = self.from else {
            (self.from, self.full) = (Some(now), !app_limited);
            return;
        };
        self.bytes += bytes;
        self.full &= !app_limited;
        let elapsed = now.saturating_duration_since(from);
        if elapsed < rtt.max(SHORTEST) {
            return;
        }
        let rate = u128::from(self.bytes) * 8_000_000_000 / elapsed.as_nanos().max(1);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        if self.full || self.bits_per_second.is_some_and(|known| rate > known) {
            self.bits_per_second = Some(rate);
        }
        (self.from, self.bytes, self.full) = (Some(now), 0, !app_limited);
    }
}

/// How long a path may be kept busy beyond its round trip, at least: for the time that writers take to come back.
const SLACK: Duration = Duration::from_millis(20);

/// What a round trip takes beyond the shortest where packets wait in a queue.
const QUEUE: Duration = Duration::from_millis(10);

/// How long there must have been no queue before more may be under way again.
const CALM: Duration = Duration::from_secs(1);

/// What may be under way on any path, in bytes: a few packets.
const LEAST: u64 = 8 * 1024;

/// How many round trips of a busy path are remembered.
const REMEMBERED: usize = 8;

/// The shortest time over which the pace of a path is taken.
const BEAT: Duration = Duration::from_millis(10);

/// What a path carries: the best of its last busy round trips, in bytes per second.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    from: Option<Instant>,
    bytes: u64,
    busy: bool,
    recent: [u64; REMEMBERED],
    next: usize,
}

impl Pace {
    fn acked(&mut self, now: Instant, bytes: u64, busy: bool, rtt: Duration) {
        let from = *self.from.get_or_insert(now);
        self.bytes += bytes;
        self.busy |= busy;
        let elapsed = now.saturating_duration_since(from);
        if elapsed < rtt.max(BEAT) {
            return;
        }
        let pace = u128::from(self.bytes) * 1_000_000_000 / elapsed.as_nanos().max(1);
        let pace = u64::try_from(pace).unwrap_or(u64::MAX);
        // An application that pauses can show that a path takes more than was known, never that it takes less.
        let known = self.best();
        if (self.busy || known > 0 && pace > known)
            && let Some(place) = self.recent.get_mut(self.next)
        {
            *place = pace;
            self.next = (self.next + 1) % REMEMBERED;
        }
        (self.from, self.bytes, self.busy) = (Some(now), 0, false);
    }

    /// Nothing is under way or waits: the time until there is something again says nothing of the path.
    fn rest(&mut self) {
        (self.from, self.bytes, self.busy) = (None, 0, false);
    }

    /// 0 while nothing is known.
    fn best(&self) -> u64 {
        self.recent.into_iter().max().unwrap_or(0)
    }
}

/// What `bytes_per_second` come to in `time`, of which whole microseconds count.
///
/// Without a division of 128 bits; 64 are enough for 18 TB/s over a second.
fn bytes_in(time: Duration, bytes_per_second: u64) -> u64 {
    let micros = time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into());
    bytes_per_second.saturating_mul(micros) / 1_000_000
}

/// What a controller tells the writers of its connection.
#[derive(Debug, Default)]
pub(crate) struct Path {
    /// Bytes that may be under way.
    pub(crate) window: AtomicU64,
    /// The most that the send window may become, in bytes.
    pub(crate) most: u64,
    /// Streams that the peer may have open once some are expected.
    pub(crate) uni_streams: u32,
    /// The same of bidirectional ones, once it makes use of them.
    pub(crate) bidi_streams: u32,
}

/// A congestion controller, and the rate beside it.
///
/// What is under way waits in the queue of the path's narrowest link, in front of everything that comes later, however
/// important. So once there is a queue, no more is under way than keeps the path busy: what it delivers in two round
/// trips. That is more than fits without a queue, so a higher rate is found out by trying, and less than it takes to
/// lose something. Where a queue is shorter than that, the controller inside learns of it by loss, as ever; where there
/// is none, a large frame leaves in one piece.
struct Measured {
    inner: Box<dyn Controller>,
    rate: Rate,
    pace: Pace,
    /// Bytes that keep the path busy; 0 while that is not known.
    enough: u64,
    /// When packets last waited in a queue, and whether that was a short while ago.
    queued: Option<Instant>,
    calm: bool,
    by_loss: bool,
    /// What has come of the acknowledgement that is being taken in.
    acked: Option<Acked>,
    /// Bytes that may be under way, and whether the controller inside would have more.
    window: u64,
    capped: bool,
    path: Arc<Path>,
}

/// What one acknowledgement says of all the packets in it.
#[derive(Clone, Copy, Debug)]
struct Acked {
    bytes: u64,
    app_limited: bool,
    rtt: Duration,
    min_rtt: Duration,
    /// Whether packets have waited, and not just one of them because somebody was busy for a moment.
    queued: bool,
}

impl Measured {
    fn new(inner: Box<dyn Controller>, by_loss: bool, path: Arc<Path>) -> Self {
        let (rate, pace, window) = (Rate::default(), Pace::default(), inner.window());
        Self {
            inner,
            rate,
            pace,
            enough: 0,
            queued: None,
            calm: false,
            by_loss,
            acked: None,
            window,
            capped: false,
            path,
        }
    }

    fn take_in(&mut self, now: Instant, acked: Acked) {
        self.rate.acked(now, acked.bytes, acked.app_limited, acked.rtt);
        self.pace.acked(now, acked.bytes, !acked.app_limited, acked.rtt);
        if acked.queued {
            self.queued = Some(now);
        }
        self.calm = self.queued.is_none_or(|at| now.saturating_duration_since(at) > CALM);
        let time = acked.min_rtt + acked.min_rtt.max(SLACK);
        self.enough = bytes_in(time, self.pace.best());
    }

    /// Takes over what has become of the window, and tells the writers.
    fn tell(&mut self) {
        let inner = self.inner.window();
        self.window = if self.enough == 0 || self.calm || !self.by_loss {
            inner
        } else {
            // Round trips may have become longer since the shortest of them: then the window inside knows better.
            self.enough.max(inner / 2).max(LEAST).min(inner)
        };
        self.capped = self.window < inner;
        self.path.window.store(self.window, Ordering::Relaxed);
    }
}

impl Controller for Measured {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    /// For each packet, so what is the same for all packets of an acknowledgement waits for its end.
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        let acked = self.acked.get_or_insert_with(|| Acked {
            bytes: 0,
            app_limited,
            rtt: rtt.get(),
            min_rtt: rtt.min(),
            queued: rtt.get() > rtt.min() + QUEUE,
        });
        acked.bytes += bytes;
        // A window that is not used does not grow.
        self.inner.on_ack(now, sent, bytes, app_limited || self.capped, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        if let Some(acked) = self.acked.take() {
            self.take_in(now, acked);
        }
        // Otherwise there is more that only waits for this acknowledgement.
        if in_flight == 0 && app_limited {
            self.pace.rest();
        }
        self.inner.on_end_acks(now, in_flight, app_limited || self.capped, largest);
        self.tell();
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent, lost_bytes);
        self.tell();
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
        self.tell();
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            rate: self.rate,
            pace: self.pace,
            enough: self.enough,
            queued: self.queued,
            calm: self.calm,
            by_loss: self.by_loss,
            acked: self.acked,
            window: self.window,
            capped: self.capped,
            path: Arc::clone(&self.path),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Makes the controllers of `F`, with the rate beside them.
pub(crate) struct Measure<F> {
    pub(crate) factory: Arc<F>,
    /// The most that the send window may become, in bytes.
    pub(crate) send_window: u64,
    /// Streams that the peer may have open once some are expected, and once it makes use of them.
    pub(crate) uni_streams: u32,
    pub(crate) bidi_streams: u32,
    /// Whether the controllers only know loss, and are better kept from filling queues.
    pub(crate) by_loss: bool,
}

impl<F: ControllerFactory + Send + Sync + 'static> ControllerFactory for Measure<F> {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.factory).build(now, current_mtu);
        let Self { send_window: most, uni_streams, bidi_streams, .. } = *self;
        let path = Arc::new(Path { window: inner.window().into(), most, uni_streams, bidi_streams });
        Box::new(Measured::new(inner, self.by_loss, path))
    }
}

/// What the connection delivers in bits per second, where it was made with [`Measure`] and has had to wait for its path.
pub(crate) fn delivery_rate(connection: &quinn::Connection) -> Option<u64> {
    connection.congestion_state().into_any().downcast::<Measured>().ok()?.rate.bits_per_second
}

/// What the controller says of the path that the connection uses now, where it was made with [`Measure`].
pub(crate) fn path(connection: &quinn::Connection) -> Option<Arc<Path>> {
    Some(connection.congestion_state().into_any().downcast::<Measured>().ok()?.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Acknowledges `bytes` every ten milliseconds, for so many of them.
    fn run(rate: &mut Rate, now: &mut Instant, times: u32, bytes: u64, app_limited: bool) {
        for _ in 0..times {
            *now += 10 * MS;
            rate.acked(*now, bytes, app_limited, 40 * MS);
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time will do")]
    fn a_full_path_shows_its_rate_and_an_idle_application_does_not_lower_it() {
        let (mut now, mut rate) = (Instant::now(), Rate::default());
        run(&mut rate, &mut now, 20, 10, true);
        assert_eq!(rate.bits_per_second, None, "nothing is known of the path");
        run(&mut rate, &mut now, 20, 1000, false);
        assert_eq!(rate.bits_per_second, Some(800_000));
        run(&mut rate, &mut now, 20, 10, true);
        assert_eq!(rate.bits_per_second, Some(800_000), "frozen");
        run(&mut rate, &mut now, 20, 2000, true);
        assert_eq!(rate.bits_per_second, Some(1_600_000), "it takes more than was known");
        run(&mut rate, &mut now, 20, 500, false);
        assert_eq!(rate.bits_per_second, Some(400_000));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time will do")]
    fn a_rate_is_taken_over_a_round_trip_at_least() {
        let (mut now, mut rate) = (Instant::now(), Rate::default());
        for _ in 0..30 {
            rate.acked(now, 1000, false, 300 * MS);
            now += 10 * MS;
        }
        assert_eq!(rate.bits_per_second, None);
        rate.acked(now, 1000, false, 300 * MS);
        assert_eq!(rate.bits_per_second, Some(800_000));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time will do")]
    fn an_application_that_pauses_does_not_slow_the_pace() {
        let (mut now, mut pace) = (Instant::now(), Pace::default());
        // Bursts of 12 kB that a path of 1 MB/s takes, each once everything has arrived.
        for _ in 0..30 {
            for _ in 0..12 {
                pace.acked(now, 1000, true, MS);
                now += MS;
            }
            pace.rest();
            now += 30 * MS;
        }
        assert!(pace.recent.iter().all(|&pace| (900_000..1_200_000).contains(&pace)), "{:?}", pace.recent);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time will do")]
    fn an_application_that_has_little_to_send_makes_no_pace_known() {
        let (mut now, mut pace) = (Instant::now(), Pace::default());
        for _ in 0..20 {
            pace.acked(now, 30, false, 40 * MS);
            now += 10 * MS;
        }
        assert_eq!(pace.best(), 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any point in time will do")]
    fn the_pace_is_the_best_of_the_last_busy_round_trips() {
        let (mut now, mut pace) = (Instant::now(), Pace::default());
        let mut acked = |bytes, busy, rounds: u32| {
            for _ in 0..rounds * 4 {
                pace.acked(now, bytes, busy, 40 * MS);
                now += 10 * MS;
            }
            pace.best()
        };
        // The first one opens the interval.
        assert_eq!(acked(1000, true, 2), 125_000);
        assert!(acked(100, false, 20) > 100_000, "an idle application says nothing of the path");
        assert!(acked(3000, false, 2) > 290_000, "but that it takes more than was known");
        assert!(acked(2000, true, 4) > 290_000, "the best counts");
        assert!((190_000..210_000).contains(&acked(2000, true, 8)), "for a while");
    }

    #[test]
    fn bytes_in_a_time_are_right_to_the_microsecond() {
        for pace in [0, 1, 999, 125_000, 1_250_000_000, 125_000_000_000] {
            for nanos in [0, 999, 20_000_000, 20_000_999, 333_333_333, 5_000_000_001] {
                let (time, exact) =
                    (Duration::from_nanos(nanos), u128::from(pace) * u128::from(nanos) / 1_000_000_000);
                let (got, micro) = (u128::from(bytes_in(time, pace)), u128::from(pace) / 1_000_000 + 1);
                assert!((got..=got + micro).contains(&exact), "{pace} {nanos}: {got} for {exact}");
            }
        }
        assert!(bytes_in(Duration::MAX, u64::MAX) > 1 << 43, "it saturates");
    }

    /// A window that says what it is.
    #[derive(Clone)]
    struct Fixed(u64);

    impl Controller for Fixed {
        fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}
        fn on_mtu_update(&mut self, _: u16) {}
        fn window(&self) -> u64 {
            self.0
        }
        fn clone_box(&self) -> Box<dyn Controller> {
            Box::new(self.clone())
        }
        fn initial_window(&self) -> u64 {
            self.0
        }
        fn into_any(self: Box<Self>) -> Box<dyn Any> {
            self
        }
    }

    #[test]
    fn no_more_is_under_way_than_keeps_the_path_busy() {
        for (window, enough, calm, by_loss, expected) in [
            (100_000, 0, false, true, 100_000),
            (100_000, 60_000, false, true, 60_000),
            (100_000, 1000, false, true, 50_000),
            (20_000, 90_000, false, true, 20_000),
            (9000, 10, false, true, LEAST),
            (3000, 10, false, true, 3000),
            (100_000, 60_000, false, false, 100_000),
            (100_000, 60_000, true, true, 100_000),
        ] {
            let mut measured = Measured::new(Box::new(Fixed(window)), by_loss, Arc::default());
            (measured.enough, measured.calm) = (enough, calm);
            measured.tell();
            assert_eq!(measured.window(), expected, "{window} {enough} {calm} {by_loss}");
            assert_eq!(measured.path.window.load(Ordering::Relaxed), expected);
            assert_eq!(measured.capped, expected < window);
        }
    }

    #[test]
    fn a_measured_controller_is_the_one_inside() {
        let factory = Arc::new(quinn::congestion::CubicConfig::default());
        let factory =
            Arc::new(Measure { factory, send_window: 1, uni_streams: 1, bidi_streams: 1, by_loss: true });
        #[expect(clippy::disallowed_methods, reason = "any point in time will do")]
        let mut controller = factory.build(Instant::now(), 1200);
        controller.on_mtu_update(1400);
        let copy = controller.clone_box();
        assert_eq!(copy.window(), controller.window());
        assert_eq!(copy.metrics().congestion_window, controller.initial_window());
        assert!(copy.into_any().downcast::<Measured>().is_ok());
    }
}
