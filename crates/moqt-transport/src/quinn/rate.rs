//! The rate at which a connection delivers, which `quinn` does not keep itself.

use std::{
    any::Any,
    sync::Arc,
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

/// A congestion controller, and the rate beside it.
struct Measured {
    inner: Box<dyn Controller>,
    rate: Rate,
}

impl Controller for Measured {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.rate.acked(now, bytes, app_limited, rtt.get());
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), rate: self.rate })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Makes the controllers of `F`, with the rate beside them.
pub(crate) struct Measure<F>(pub(crate) Arc<F>);

impl<F: ControllerFactory + Send + Sync + 'static> ControllerFactory for Measure<F> {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.0).build(now, current_mtu);
        Box::new(Measured { inner, rate: Rate::default() })
    }
}

/// What the connection delivers in bits per second, where it was made with [`Measure`] and has had to wait for its path.
pub(crate) fn delivery_rate(connection: &quinn::Connection) -> Option<u64> {
    connection.congestion_state().into_any().downcast::<Measured>().ok()?.rate.bits_per_second
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
    fn a_measured_controller_is_the_one_inside() {
        let factory = Arc::new(Measure(Arc::new(quinn::congestion::CubicConfig::default())));
        #[expect(clippy::disallowed_methods, reason = "any point in time will do")]
        let mut controller = factory.build(Instant::now(), 1200);
        controller.on_mtu_update(1400);
        let copy = controller.clone_box();
        assert_eq!(copy.window(), controller.window());
        assert_eq!(copy.metrics().congestion_window, controller.initial_window());
        assert!(copy.into_any().downcast::<Measured>().is_ok());
    }
}
