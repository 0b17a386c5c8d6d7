//! One end of a connection: its state and its timers.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    task::Waker,
};

use moqt_transport::{Code, ConnectionError, Stats};

use crate::{Counters, Settings};

use super::{
    Time,
    packet::{AckRanges, Control, Dir, Ending, PACKET_ROOM, PerDir, Side, StreamId},
    recovery::Recovery,
    recv::RecvHalf,
    send::SendHalf,
};

/// How often a close is repeated while the peer does not say that it understood.
const CLOSE_TRIES: u32 = 10;

/// Those who wait for something that several may wait for.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Vec<Waker>);

impl Waiters {
    pub(crate) fn add(&mut self, waker: &Waker) {
        if !self.0.iter().any(|known| known.will_wake(waker)) {
            self.0.push(waker.clone());
        }
    }

    pub(crate) fn wake(&mut self, wakes: &mut Vec<Waker>) {
        wakes.append(&mut self.0);
    }
}

/// A close on its way.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) code: Code,
    pub(crate) reason: Arc<str>,
    /// `None`: now.
    pub(crate) send_at: Option<Time>,
    pub(crate) tries: u32,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) side: Side,
    pub(crate) settings: Settings,
    /// Why it has ended.
    pub(crate) ended: Option<ConnectionError>,
    pub(crate) closing: Option<Closing>,
    /// A word to a peer that talks to an ended connection.
    pub(crate) last_word: Option<Ending>,
    /// Neither sends nor hears.
    pub(crate) dead: bool,
    /// Answers that it knows nothing.
    pub(crate) forgetful: bool,
    /// Has something for the driver to do.
    pub(crate) dirty: bool,
    /// To be woken once the lock is gone.
    pub(crate) wakes: Vec<Waker>,

    pub(crate) send: BTreeMap<StreamId, SendHalf>,
    pub(crate) recv: BTreeMap<StreamId, RecvHalf>,
    /// The streams that can send: by priority, then by turn.
    pub(crate) ready: BTreeMap<(Reverse<i32>, u64), StreamId>,
    pub(crate) next_turn: u64,
    /// Streams that we opened, and how many the peer allows.
    pub(crate) opened: PerDir<u64>,
    pub(crate) open_limit: PerDir<u64>,
    /// Streams that the peer opened, and how many we allow.
    pub(crate) remote_opened: PerDir<u64>,
    pub(crate) remote_limit: PerDir<u64>,
    /// Streams that the peer opened and that still count.
    pub(crate) remote_live: BTreeSet<StreamId>,
    pub(crate) accept: PerDir<VecDeque<StreamId>>,
    pub(crate) openers: PerDir<Waiters>,
    pub(crate) acceptors: PerDir<Waiters>,
    pub(crate) closers: Waiters,

    /// What the peer allows on all streams together, and what we used of it.
    pub(crate) max_data: u64,
    pub(crate) data_sent: u64,
    /// What we allow, and what has been read or thrown away.
    pub(crate) granted: u64,
    pub(crate) consumed: u64,
    /// The window that the peer gives to each of our streams.
    pub(crate) peer_stream_window: u64,

    pub(crate) control: VecDeque<Control>,
    pub(crate) recovery: Recovery,
    pub(crate) received: AckRanges,
    pub(crate) ack_pending: bool,
    /// Packets that may be sent although the window is full.
    pub(crate) probes: u8,
    /// When the link has room again.
    pub(crate) room_at: Option<Time>,
    pub(crate) last_heard: Time,
    pub(crate) last_spoke: Time,
    pub(crate) counters: Counters,
}

/// Why an endpoint is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    Room,
    Loss,
    Probe,
    KeepAlive,
    Idle,
    Close,
}

impl Endpoint {
    pub(crate) fn new(side: Side, now: Time, ours: Settings, peers: &Settings, rtt: Time) -> Self {
        Self {
            side,
            ended: None,
            closing: None,
            last_word: None,
            dead: false,
            forgetful: false,
            dirty: false,
            wakes: Vec::new(),
            send: BTreeMap::new(),
            recv: BTreeMap::new(),
            ready: BTreeMap::new(),
            next_turn: 0,
            opened: PerDir::default(),
            open_limit: PerDir { bi: peers.max_bidi_streams, uni: peers.max_uni_streams },
            remote_opened: PerDir::default(),
            remote_limit: PerDir { bi: ours.max_bidi_streams, uni: ours.max_uni_streams },
            remote_live: BTreeSet::new(),
            accept: PerDir::default(),
            openers: PerDir::default(),
            acceptors: PerDir::default(),
            closers: Waiters::default(),
            max_data: peers.connection_window,
            data_sent: 0,
            granted: ours.connection_window,
            consumed: 0,
            peer_stream_window: peers.stream_window,
            control: VecDeque::new(),
            recovery: Recovery::new(ours.congestion, rtt),
            received: AckRanges::new(),
            ack_pending: false,
            probes: 0,
            room_at: None,
            last_heard: now,
            last_spoke: now,
            counters: Counters::default(),
            settings: ours,
        }
    }

    /// The next timer.
    pub(crate) fn alarm(&self) -> Option<(Time, Alarm)> {
        if self.dead {
            return None;
        }
        if let Some(closing) = &self.closing {
            return closing.send_at.map(|at| (at, Alarm::Close));
        }
        if self.ended.is_some() {
            return None;
        }
        let idle = self.settings.idle_timeout.map(|timeout| self.last_heard + timeout);
        let quiet = self.last_heard.max(self.last_spoke);
        let keep_alive = self.settings.keep_alive.map(|interval| quiet + interval);
        [
            self.room_at.map(|at| (at, Alarm::Room)),
            self.recovery.loss_at.map(|at| (at, Alarm::Loss)),
            self.recovery.probe_at().map(|at| (at, Alarm::Probe)),
            // While something is in flight, its probes do the asking.
            keep_alive.filter(|_| self.recovery.in_flight() == 0).map(|at| (at, Alarm::KeepAlive)),
            idle.map(|at| (at, Alarm::Idle)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends the connection at this end; `closing` says what the peer is told.
    pub(crate) fn end(&mut self, error: ConnectionError, closing: Option<(Code, Arc<str>)>) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(error);
        self.closing = closing.map(|(code, reason)| Closing { code, reason, send_at: None, tries: 0 });
        for half in self.send.values_mut() {
            self.wakes.extend(half.waker.take());
        }
        for half in self.recv.values_mut() {
            self.wakes.extend(half.waker.take());
        }
        for dir in [Dir::Bi, Dir::Uni] {
            self.openers.get_mut(dir).wake(&mut self.wakes);
            self.acceptors.get_mut(dir).wake(&mut self.wakes);
            self.accept.get_mut(dir).clear();
        }
        self.closers.wake(&mut self.wakes);
        self.send.clear();
        self.recv.clear();
        self.remote_live.clear();
        self.ready.clear();
        self.control.clear();
        self.recovery.clear();
        self.counters.bytes_queued = 0;
        self.ack_pending = false;
        self.dirty = true;
    }

    /// The close to send now, if one is due; arranges for the next try.
    pub(crate) fn due_close(&mut self, now: Time) -> Option<Ending> {
        let closing = self.closing.as_mut()?;
        if closing.send_at.is_some_and(|at| at > now) {
            return None;
        }
        let ending = Ending::Close { code: closing.code, reason: Arc::clone(&closing.reason) };
        closing.tries += 1;
        closing.send_at = Some(now + self.recovery.probe_interval() * closing.tries);
        if closing.tries >= CLOSE_TRIES {
            self.closing = None;
        }
        Some(ending)
    }

    /// Puts a stream into the queue of those that can send, at the end of its priority.
    pub(crate) fn enqueue(&mut self, id: StreamId) {
        let Some(half) = self.send.get_mut(&id) else { return };
        if half.turn.is_none() && half.can_send(self.max_data.saturating_sub(self.data_sent)) {
            let turn = self.next_turn;
            self.next_turn += 1;
            half.turn = Some(turn);
            self.ready.insert((Reverse(half.priority), turn), id);
            self.dirty = true;
        }
    }

    pub(crate) fn dequeue(&mut self, id: StreamId) {
        let Some(half) = self.send.get_mut(&id) else { return };
        if let Some(turn) = half.turn.take() {
            self.ready.remove(&(Reverse(half.priority), turn));
        }
    }

    /// Gives room back to the connection's window after something was read or thrown away.
    pub(crate) fn consume(&mut self, bytes: u64) {
        self.consumed += bytes;
        let window = self.settings.connection_window;
        if self.granted.saturating_sub(self.consumed) <= window / 2 {
            self.granted = self.consumed + window;
            self.control.push_back(Control::MaxData { max: self.granted });
            self.dirty = true;
        }
    }

    /// Forgets halves that are done and let go; lets the peer open another stream when one is done.
    pub(crate) fn tidy(&mut self, id: StreamId) {
        let send_done = self.send.get(&id).is_none_or(SendHalf::is_done);
        let recv_done = self.recv.get(&id).is_none_or(RecvHalf::is_done);
        if send_done && recv_done && self.remote_live.remove(&id) {
            let limit = self.remote_limit.get_mut(id.dir);
            *limit += 1;
            self.control.push_back(Control::MaxStreams { dir: id.dir, max: *limit });
            self.dirty = true;
        }
        if self.send.get(&id).is_some_and(|half| half.is_done() && !half.held) {
            self.send.remove(&id);
        }
        if self.recv.get(&id).is_some_and(|half| half.is_done() && !half.held) {
            self.recv.remove(&id);
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        stats.rtt = Some(self.recovery.rtt);
        stats.congestion_window = Some(self.recovery.window());
        stats.delivery_rate = self.recovery.delivery_rate;
        stats.bytes_sent = Some(self.counters.bytes_sent);
        stats.bytes_received = Some(self.counters.bytes_received);
        stats.packets_sent = Some(self.counters.packets_sent);
        stats.packets_lost = Some(self.counters.packets_lost);
        stats.mtu = u16::try_from(PACKET_ROOM).ok();
        stats
    }
}
