//! What one end has in flight: round-trip time, loss, and how much may be sent.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::Congestion;

use super::{
    Time,
    packet::{AckRanges, PACKET_HEADER, PACKET_ROOM, Packet},
};

const FULL_PACKET: u64 = PACKET_ROOM + PACKET_HEADER;
const LEAST_WINDOW: u64 = 2 * FULL_PACKET;
const FIRST_WINDOW: u64 = 10 * FULL_PACKET;
const GRANULARITY: Duration = Duration::from_millis(1);
const PROBE_FLOOR: Duration = Duration::from_millis(10);
const PROBE_CEILING: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Sent {
    packet: Arc<Packet>,
    time: Time,
}

/// What became of packets, as far as the sender can tell.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    pub(crate) acked: Vec<Arc<Packet>>,
    pub(crate) lost: Vec<Arc<Packet>>,
}

/// The packets in flight and what they teach.
#[derive(Debug)]
pub(crate) struct Recovery {
    congestion: Congestion,
    /// By number, from `first` on; `None` where settled.
    sent: VecDeque<Option<Sent>>,
    first: u64,
    in_flight: u64,
    largest_acked: Option<u64>,
    pub(crate) rtt: Duration,
    variation: Duration,
    latest: Duration,
    /// How often in a row nothing was heard.
    backoff: u32,
    /// When the last packet that asks for an answer has left.
    last_departure: Time,
    pub(crate) loss_at: Option<Time>,
    window: u64,
    slow_start_until: u64,
    /// Losses of packets before this one belong to a decrease already made.
    decreased_at: u64,
    /// Whether the window or the link held something back since the rate was last measured.
    pub(crate) limited: bool,
    measured_from: Time,
    measured_bytes: u64,
    pub(crate) delivery_rate: Option<u64>,
}

impl Recovery {
    /// `rtt` is what a handshake would have measured.
    pub(crate) fn new(congestion: Congestion, rtt: Duration) -> Self {
        Self {
            congestion,
            sent: VecDeque::new(),
            first: 0,
            in_flight: 0,
            largest_acked: None,
            rtt,
            variation: rtt / 2,
            latest: rtt,
            backoff: 0,
            last_departure: Time::ZERO,
            loss_at: None,
            window: FIRST_WINDOW,
            slow_start_until: u64::MAX,
            decreased_at: 0,
            limited: false,
            measured_from: Time::ZERO,
            measured_bytes: 0,
            delivery_rate: None,
        }
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// What an informed sender has learnt of the link.
    pub(crate) fn inform(&mut self, window: u64) {
        if self.congestion == Congestion::Informed {
            self.window = window.max(LEAST_WINDOW);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.in_flight + FULL_PACKET <= self.window
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The number of the next packet.
    pub(crate) fn next_number(&self) -> u64 {
        self.first + self.sent.len() as u64
    }

    /// Each number below is settled.
    pub(crate) fn floor(&self) -> u64 {
        self.first
    }

    pub(crate) fn on_sent(&mut self, now: Time, departs: Time, packet: Arc<Packet>) {
        if self.in_flight == 0 && self.measured_bytes == 0 {
            self.measured_from = now;
        }
        self.in_flight += packet.size;
        self.last_departure = self.last_departure.max(departs);
        self.sent.push_back(Some(Sent { packet, time: now }));
    }

    /// When to send something again although no later packet was acknowledged.
    pub(crate) fn probe_at(&self) -> Option<Time> {
        let patience = self.probe_interval().saturating_mul(1 << self.backoff.min(10)).min(PROBE_CEILING);
        (self.in_flight > 0).then(|| self.last_departure + patience.max(self.probe_interval()))
    }

    pub(crate) fn probe_interval(&self) -> Duration {
        self.rtt + (self.variation * 4).max(PROBE_FLOOR)
    }

    pub(crate) fn on_ack(&mut self, now: Time, ranges: &AckRanges, verdicts: &mut Verdicts) {
        let mut sample = None;
        for &(from, to) in ranges {
            for number in from.max(self.first)..to.min(self.next_number()) {
                let Some(sent) = self.take(number) else { continue };
                self.largest_acked = self.largest_acked.max(Some(number));
                sample = Some(now.saturating_sub(sent.time));
                self.on_acked_bytes(sent.packet.size);
                verdicts.acked.push(sent.packet);
            }
        }
        let Some(sample) = sample else { return };
        self.latest = sample;
        let difference = self.rtt.abs_diff(sample);
        self.variation = (self.variation * 3 + difference) / 4;
        self.rtt = (self.rtt * 7 + sample) / 8;
        self.backoff = 0;
        self.measure(now);
        self.detect_losses(now, verdicts);
    }

    fn take(&mut self, number: u64) -> Option<Sent> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let sent = self.sent.get_mut(at)?.take()?;
        self.in_flight -= sent.packet.size;
        Some(sent)
    }

    fn forget_settled(&mut self) {
        while let Some(None) = self.sent.front() {
            self.sent.pop_front();
            self.first += 1;
        }
    }

    fn on_acked_bytes(&mut self, size: u64) {
        self.measured_bytes += size;
        if self.congestion == Congestion::Aimd && self.limited {
            self.window += if self.window < self.slow_start_until {
                size
            } else {
                (FULL_PACKET * size / self.window).max(1)
            };
        }
    }

    /// Publishes the delivery rate about once per round trip; what the application did not fill can only
    /// raise it.
    fn measure(&mut self, now: Time) {
        let elapsed = now.saturating_sub(self.measured_from);
        if elapsed < self.rtt.max(Duration::from_millis(50)) {
            return;
        }
        let nanos = elapsed.as_nanos().max(1);
        let rate = u128::from(self.measured_bytes) * 8_000_000_000 / nanos;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        if self.limited || self.delivery_rate.is_none_or(|known| rate > known) {
            self.delivery_rate = Some(rate);
        }
        self.measured_from = now;
        self.measured_bytes = 0;
        self.limited = self.in_flight >= self.window;
    }

    /// Takes packets for lost when a later one was acknowledged and theirs is overdue.
    pub(crate) fn detect_losses(&mut self, now: Time, verdicts: &mut Verdicts) {
        self.loss_at = None;
        let Some(largest) = self.largest_acked else { return };
        let slowest = self.rtt.max(self.latest);
        let patience = (slowest * 9 / 8).max(self.rtt + self.variation * 4).max(GRANULARITY);
        for number in self.first..largest {
            let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
            let Some(Some(sent)) = self.sent.get(at) else { continue };
            let due = sent.time + patience;
            if due > now {
                self.loss_at = Some(due);
                break; // later packets were sent later
            }
            if let Some(sent) = self.take(number) {
                self.on_lost(number);
                verdicts.lost.push(sent.packet);
            }
        }
        self.forget_settled();
    }

    fn on_lost(&mut self, number: u64) {
        if self.congestion == Congestion::Aimd && number >= self.decreased_at {
            self.window = (self.window / 2).max(LEAST_WINDOW);
            self.slow_start_until = self.window;
            self.decreased_at = self.next_number();
        }
    }

    /// Nothing was heard: gives up the two oldest packets, so that their contents are sent again.
    pub(crate) fn on_probe(&mut self, now: Time, verdicts: &mut Verdicts) {
        self.backoff += 1;
        self.last_departure = now;
        if self.backoff > 2 && self.congestion == Congestion::Aimd {
            self.window = LEAST_WINDOW;
        }
        let mut given_up = 0;
        for number in self.first..self.next_number() {
            if given_up == 2 {
                break;
            }
            if let Some(sent) = self.take(number) {
                given_up += 1;
                verdicts.lost.push(sent.packet);
            }
        }
        self.forget_settled();
    }

    /// Forgets everything: the connection has ended.
    pub(crate) fn clear(&mut self) {
        self.first = self.next_number();
        self.sent.clear();
        self.in_flight = 0;
        self.loss_at = None;
    }
}
