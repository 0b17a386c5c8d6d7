//! What one end sends next.

use std::sync::Arc;

use moqt_transport::ConnectionError;

use super::{
    Time,
    endpoint::Endpoint,
    packet::{CONTROL_SIZE, Control, FRAME_HEADER, PACKET_HEADER, PACKET_ROOM, Packet},
};

impl Endpoint {
    /// The next packet, if there is something to send and it may be sent. `room_at` tells when the link
    /// has room, for a sender that knows.
    pub(crate) fn next_packet(&mut self, now: Time, room_at: impl Fn() -> Option<Time>) -> Option<Packet> {
        if self.dead {
            return None;
        }
        if let Some(ending) = self.last_word.take().or_else(|| self.due_close(now)) {
            return Some(Packet { size: PACKET_HEADER, ending: Some(ending), ..Packet::default() });
        }
        if self.ended.is_some() {
            return None;
        }
        let mut packet = Packet { size: PACKET_HEADER, ..Packet::default() };
        if self.may_send(room_at) {
            self.fill(&mut packet);
        }
        if !packet.control.is_empty() || !packet.frames.is_empty() {
            packet.number = Some(self.recovery.next_number());
            packet.floor = self.recovery.floor();
            self.last_spoke = now;
        } else if !self.ack_pending {
            return None;
        }
        if std::mem::take(&mut self.ack_pending) {
            packet.ack = Some(self.received.clone());
        }
        Some(packet)
    }

    fn may_send(&mut self, room_at: impl Fn() -> Option<Time>) -> bool {
        if self.probes > 0 {
            self.probes -= 1;
            if self.control.is_empty() && self.ready.is_empty() {
                self.control.push_back(Control::Ping);
                self.probes = 0;
            }
            return true;
        }
        if self.control.is_empty() && self.ready.is_empty() {
            return false;
        }
        if !self.recovery.is_open() {
            self.recovery.limited = true;
            return false;
        }
        self.room_at = room_at();
        if self.room_at.is_some() {
            self.recovery.limited = true;
            return false;
        }
        true
    }

    fn fill(&mut self, packet: &mut Packet) {
        let mut room = PACKET_ROOM;
        while room >= CONTROL_SIZE
            && let Some(control) = self.control.pop_front()
        {
            packet.control.push(control);
            room -= CONTROL_SIZE;
        }
        while room > FRAME_HEADER
            && let Some((_, &id)) = self.ready.first_key_value()
        {
            let credit = self.max_data.saturating_sub(self.data_sent);
            let Some(half) = self.send.get_mut(&id) else {
                self.ready.pop_first();
                continue;
            };
            let Some((frame, fresh)) = half.next_frame(room - FRAME_HEADER, credit) else {
                self.dequeue(id);
                continue;
            };
            let len = frame.data.len() as u64;
            // Woken at half, a writer takes its turn once for many packets.
            if half.unsent() <= self.settings.send_buffer / 2 && half.is_open() {
                self.wakes.extend(half.waker.take_if(|_| fresh > 0));
            }
            self.data_sent += fresh;
            self.counters.bytes_queued -= fresh;
            self.counters.bytes_resent += len - fresh;
            room = room.saturating_sub(len + FRAME_HEADER);
            packet.frames.push(frame);
            if room <= FRAME_HEADER {
                // The packet was this stream's turn; now the next of its priority.
                self.dequeue(id);
                self.enqueue(id);
            }
        }
        packet.size += PACKET_ROOM - room;
    }

    /// Notes that a packet has been given to the link.
    pub(crate) fn packet_sent(&mut self, now: Time, departs: Time, packet: &Arc<Packet>) {
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += packet.size;
        let time = u64::try_from(departs.as_nanos()).unwrap_or(u64::MAX);
        self.counters.note(time ^ packet.size.rotate_left(32) ^ packet.number.unwrap_or(0).rotate_left(16));
        if packet.number.is_some() {
            self.recovery.on_sent(now, departs, Arc::clone(packet));
        }
    }

    /// Whether the last word of this end has been said and nothing can happen here any more.
    pub(crate) fn is_over(&self) -> bool {
        self.dead || (self.ended.is_some() && self.closing.is_none() && self.last_word.is_none())
    }

    /// Ends without a word: local operations fail, the peer hears nothing.
    pub(crate) fn kill(&mut self) {
        self.end(ConnectionError::LocallyClosed, None);
        self.closing = None;
        self.last_word = None;
        self.dead = true;
    }

    /// Ends as by a restart: silent until the peer speaks, which then hears that nobody knows it.
    pub(crate) fn forget(&mut self) {
        self.end(ConnectionError::LocallyClosed, None);
        self.closing = None;
        self.last_word = None;
        self.forgetful = true;
    }
}
