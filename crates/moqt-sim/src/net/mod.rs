//! The simulation itself: two ends, two links, packets on their way. No tasks and no clock in here: time is
//! an argument.

pub(crate) mod driver;
mod endpoint;
mod ops;
pub(crate) mod packet;
mod receive;
mod recovery;
mod recv;
mod send;
mod transmit;

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
    task::Waker,
    time::Duration,
};

pub(crate) use endpoint::Endpoint;
pub use packet::Side;
use packet::{PACKET_HEADER, PACKET_ROOM, Packet, PerSide};

use crate::{
    Links, Rng, Settings,
    link::{Fate, LinkState},
};

/// Virtual time since the start of the world.
pub(crate) type Time = Duration;

/// A packet on its way.
#[derive(Debug)]
struct Arrival {
    at: Time,
    sequence: u64,
    to: Side,
    packet: Arc<Packet>,
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Arrival {}

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Something at this time.
    At(Time),
    /// Nothing, unless an application does something.
    Quiet,
    /// Nothing ever.
    Over,
}

/// Two ends and what lies between.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) ends: PerSide<Endpoint>,
    /// By the side that sends into it.
    pub(crate) links: PerSide<LinkState>,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    next_sequence: u64,
    rng: Rng,
    driver: Option<Waker>,
}

impl Pair {
    pub(crate) fn new(now: Time, links: Links, client: Settings, server: Settings, rng: Rng) -> Self {
        let Links { up, down } = links;
        let full = PACKET_ROOM + PACKET_HEADER;
        let rtt = up.delay
            + down.delay
            + (up.jitter + down.jitter) / 2
            + up.serialisation(full)
            + down.serialisation(full);
        Self {
            ends: PerSide {
                client: Endpoint::new(Side::Client, now, client.clone(), &server, rtt),
                server: Endpoint::new(Side::Server, now, server, &client, rtt),
            },
            links: PerSide { client: LinkState::new(up), server: LinkState::new(down) },
            arrivals: BinaryHeap::new(),
            next_sequence: 0,
            rng,
            driver: None,
        }
    }

    /// Does all that is due by `now`, in the order of its time.
    pub(crate) fn run(&mut self, now: Time) -> Next {
        loop {
            let alarm = [Side::Client, Side::Server]
                .into_iter()
                .filter_map(|side| self.ends.get(side).alarm().map(|(at, alarm)| (at, side, alarm)))
                .min();
            let arrival = self.arrivals.peek().map(|Reverse(arrival)| arrival.at);
            let next = [alarm.map(|(at, ..)| at), arrival].into_iter().flatten().min();
            match next {
                Some(at) if at <= now => {
                    if arrival == Some(at) {
                        self.arrive();
                    } else if let Some((_, side, alarm)) = alarm {
                        self.ends.get_mut(side).handle_alarm(at, alarm);
                    }
                    // Answers leave once all that comes at this very time has come.
                    if self.arrivals.peek().is_none_or(|Reverse(arrival)| arrival.at > at) {
                        self.transmit(at);
                    }
                }
                _ if self.is_dirty() => self.transmit(now),
                Some(at) => return Next::At(at),
                None if self.ends.client.is_over() && self.ends.server.is_over() => return Next::Over,
                None => return Next::Quiet,
            }
        }
    }

    fn arrive(&mut self) {
        if let Some(Reverse(Arrival { at, to, packet, .. })) = self.arrivals.pop() {
            self.ends.get_mut(to).handle_packet(at, &packet);
        }
    }

    fn is_dirty(&self) -> bool {
        self.ends.client.dirty || self.ends.server.dirty
    }

    fn transmit(&mut self, now: Time) {
        for side in [Side::Client, Side::Server] {
            if std::mem::take(&mut self.ends.get_mut(side).dirty) {
                self.transmit_from(now, side);
            }
        }
    }

    fn transmit_from(&mut self, now: Time, side: Side) {
        let window = self.informed_window(side);
        let end = self.ends.get_mut(side);
        end.recovery.inform(window);
        let link = self.links.get_mut(side);
        let informed = end.settings.congestion == crate::Congestion::Informed;
        loop {
            let room_at = || if informed { link.room_at(now) } else { None };
            let Some(packet) = end.next_packet(now, room_at) else { return };
            let packet = Arc::new(packet);
            let (departs, fate) = link.send(now, packet.size, &mut self.rng);
            end.packet_sent(now, departs, &packet);
            match fate {
                Fate::Arrives(at) => {
                    let sequence = self.next_sequence;
                    self.next_sequence += 1;
                    self.arrivals.push(Reverse(Arrival { at, sequence, to: side.other(), packet }));
                }
                Fate::Lost => end.counters.packets_dropped += 1,
                Fate::Overflowed => end.counters.packets_overflowed += 1,
            }
        }
    }

    /// What fits on the way there and back, and a little more so that the link never runs dry.
    fn informed_window(&self, side: Side) -> u64 {
        let (out, back) = (&self.links.get(side).link, &self.links.get(side.other()).link);
        let round = out.delay + out.jitter + back.delay + back.jitter + Duration::from_millis(40);
        match out.bytes_in(round) {
            Some(bytes) => bytes.saturating_mul(5) / 4 + 16 * PACKET_ROOM,
            None => 4 << 20,
        }
    }

    /// Notes who is to be told when something is to do.
    pub(crate) fn park(&mut self, driver: &Waker) {
        self.driver = Some(driver.clone());
    }

    /// Those to wake once the lock is gone.
    pub(crate) fn take_wakes(&mut self) -> Vec<Waker> {
        let mut wakes = std::mem::take(&mut self.ends.client.wakes);
        wakes.append(&mut self.ends.server.wakes);
        if self.is_dirty() {
            wakes.extend(self.driver.take());
        }
        wakes
    }
}
