//! What one end does with a packet that arrives, and with timers.

use moqt_transport::ConnectionError;

use super::{
    Time,
    endpoint::{Alarm, Endpoint},
    packet::{AckRanges, Control, Dir, Ending, Packet, StreamFrame, StreamId},
    recovery::Verdicts,
    recv::RecvHalf,
    send::SendHalf,
};

impl Endpoint {
    pub(crate) fn handle_packet(&mut self, now: Time, packet: &Packet) {
        if self.dead {
            return;
        }
        self.dirty = true;
        if self.forgetful {
            // Never answer such a word with such a word.
            if !matches!(packet.ending, Some(Ending::Forgotten)) {
                self.last_word = Some(Ending::Forgotten);
            }
            return;
        }
        self.counters.packets_received += 1;
        self.counters.bytes_received += packet.size;
        self.counters.note(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) ^ packet.size.rotate_left(48));
        match &packet.ending {
            Some(Ending::Close { code, reason }) => {
                let error = ConnectionError::Closed { code: *code, reason: reason.as_ref().to_owned() };
                self.end(error, None);
                self.closing = None;
                self.last_word = Some(Ending::Understood);
                return;
            }
            Some(Ending::Understood) => {
                self.closing = None;
                return;
            }
            Some(Ending::Forgotten) => {
                self.end(ConnectionError::Reset, None);
                self.closing = None;
                return;
            }
            None => {}
        }
        if self.ended.is_some() {
            return;
        }
        self.last_heard = now;
        if let Some(number) = packet.number {
            note_received(&mut self.received, number, packet.floor);
            self.ack_pending = true;
        }
        if let Some(ranges) = &packet.ack {
            let mut verdicts = Verdicts::default();
            self.recovery.on_ack(now, ranges, &mut verdicts);
            self.handle_verdicts(verdicts);
        }
        for control in &packet.control {
            self.handle_control(control);
        }
        for frame in &packet.frames {
            self.handle_frame(frame);
        }
    }

    pub(crate) fn handle_alarm(&mut self, now: Time, alarm: Alarm) {
        self.dirty = true;
        let mut verdicts = Verdicts::default();
        match alarm {
            Alarm::Room => self.room_at = None,
            Alarm::Loss => self.recovery.detect_losses(now, &mut verdicts),
            Alarm::Probe => {
                self.recovery.on_probe(now, &mut verdicts);
                self.probes = 2;
            }
            Alarm::KeepAlive => {
                self.control.push_back(Control::Ping);
                self.last_spoke = now;
            }
            Alarm::Idle => self.end(ConnectionError::TimedOut, None),
            Alarm::Close => {}
        }
        self.handle_verdicts(verdicts);
    }

    fn handle_verdicts(&mut self, verdicts: Verdicts) {
        for packet in verdicts.acked {
            self.packet_acked(&packet);
        }
        for packet in verdicts.lost {
            self.packet_lost(&packet);
        }
    }

    fn packet_acked(&mut self, packet: &Packet) {
        for frame in &packet.frames {
            if let Some(half) = self.send.get_mut(&frame.id) {
                half.frame_acked(frame);
                self.check_sent(frame.id);
            }
        }
        for control in &packet.control {
            if let Control::Reset { id, .. } = control
                && let Some(half) = self.send.get_mut(id)
            {
                half.reset_acked();
                self.check_sent(*id);
            }
        }
    }

    fn check_sent(&mut self, id: StreamId) {
        if let Some(half) = self.send.get_mut(&id)
            && half.is_done()
        {
            self.wakes.extend(half.waker.take());
            self.tidy(id);
        }
    }

    fn packet_lost(&mut self, packet: &Packet) {
        self.counters.packets_lost += 1;
        for control in &packet.control {
            if !matches!(control, Control::Ping) {
                self.control.push_back(*control);
            }
        }
        for frame in &packet.frames {
            if let Some(half) = self.send.get_mut(&frame.id) {
                half.frame_lost(frame);
                self.enqueue(frame.id);
            }
        }
    }

    fn handle_control(&mut self, control: &Control) {
        match *control {
            Control::Reset { id, code, sent } => {
                self.meet(id);
                if let Some(half) = self.recv.get_mut(&id) {
                    half.handle_reset(code, sent);
                    self.wakes.extend(half.waker.take());
                    let back = half.give_back();
                    self.consume(back);
                    self.tidy(id);
                }
            }
            Control::Stop { id, code } => {
                self.meet(id);
                if let Some(half) = self.send.get_mut(&id)
                    && half.is_unsettled()
                {
                    half.stop(code);
                    self.wakes.extend(half.waker.take());
                    self.reset(id, code);
                }
            }
            Control::MaxStreamData { id, max } => {
                if let Some(half) = self.send.get_mut(&id) {
                    half.allow(max);
                    self.wakes.extend(half.waker.take());
                }
            }
            Control::MaxData { max } => {
                self.max_data = self.max_data.max(max);
                let ids: Vec<StreamId> = self.send.keys().copied().collect();
                for id in ids {
                    self.enqueue(id);
                }
            }
            Control::MaxStreams { dir, max } => {
                let limit = self.open_limit.get_mut(dir);
                *limit = max.max(*limit);
                self.openers.get_mut(dir).wake(&mut self.wakes);
            }
            Control::Ping => {}
        }
    }

    fn handle_frame(&mut self, frame: &StreamFrame) {
        self.meet(frame.id);
        let Some(half) = self.recv.get_mut(&frame.id) else { return };
        half.handle_frame(frame);
        self.wakes.extend(half.waker.take());
        let back = half.give_back();
        if half.is_done() {
            self.tidy(frame.id);
        }
        if back > 0 {
            self.consume(back);
        }
    }

    /// Learns of a stream of the peer, and with it of those that the peer opened before.
    fn meet(&mut self, id: StreamId) {
        if id.initiator == self.side {
            return;
        }
        while *self.remote_opened.get(id.dir) <= id.index {
            let opened = self.remote_opened.get_mut(id.dir);
            let new = StreamId { index: *opened, ..id };
            *opened += 1;
            self.recv.insert(new, RecvHalf::new(self.settings.stream_window));
            if id.dir == Dir::Bi {
                self.send.insert(new, SendHalf::new(new, self.peer_stream_window));
            }
            self.remote_live.insert(new);
            self.accept.get_mut(id.dir).push_back(new);
            self.acceptors.get_mut(id.dir).wake(&mut self.wakes);
        }
    }
}

/// Adds `number` and forgets what lies below `floor`.
fn note_received(ranges: &mut AckRanges, number: u64, floor: u64) {
    let at = ranges.partition_point(|&(_, to)| to < number);
    match ranges.get_mut(at) {
        Some((_, to)) if *to == number => *to += 1,
        Some((from, _)) if *from == number + 1 => *from = number,
        Some((from, _)) if *from <= number => {}
        _ => ranges.insert(at, (number, number + 1)),
    }
    if let (Some(&(_, to)), Some(&(next, after))) = (ranges.get(at), ranges.get(at + 1))
        && to == next
    {
        if let Some(range) = ranges.get_mut(at) {
            range.1 = after;
        }
        ranges.remove(at + 1);
    }
    ranges.retain(|&(_, to)| to > floor);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(numbers: &[u64], floor: u64) -> AckRanges {
        let mut ranges = AckRanges::new();
        for &number in numbers {
            note_received(&mut ranges, number, floor);
        }
        ranges
    }

    #[test]
    fn numbers_join_to_ranges_in_any_order() {
        assert_eq!(ranges(&[0, 1, 2], 0), [(0, 3)]);
        assert_eq!(ranges(&[5, 3, 1], 0), [(1, 2), (3, 4), (5, 6)]);
        assert_eq!(ranges(&[5, 3, 4], 0), [(3, 6)]);
        assert_eq!(ranges(&[4, 3, 3, 4], 0), [(3, 5)]);
        assert_eq!(ranges(&[1, 2, 8, 9], 3), [(8, 10)]);
    }
}
