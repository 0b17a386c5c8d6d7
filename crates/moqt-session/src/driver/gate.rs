//! Whose turn it is to write. Where a session has more to send than its connection takes, streams of higher rank
//! go first.
//!
//! A connection that has room again wakes everybody whom it kept waiting, in any order. Those streams ask here, and
//! the driver lets them in one by one, the highest first, once it has heard all that was ready. As long as nobody is
//! kept waiting, everybody writes at once.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::egress::Rank;

/// The gate that all streams with payload of a session pass. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<State>>);

/// Highest rank first; among equals, who has waited longest.
type Order = (Reverse<i32>, Ticket);
type Ticket = u64;

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<Order, Waker>,
    /// Who may write and has not been polled since.
    admitted: BTreeSet<Ticket>,
    /// How many the connection keeps waiting to write.
    held_up: usize,
    /// How many it keeps waiting for a stream.
    opening: usize,
    next_ticket: Ticket,
    /// Lists for the pieces of one write, empty, for whoever is next.
    spare: Vec<Vec<Bytes>>,
}

/// How many empty lists are kept. A stream holds one only while it has something to write.
const SPARE: usize = 4;

/// Pieces that one stream is about to write; dropped, the list is for the next one.
pub(super) struct Batch<'a> {
    pub(super) pieces: Vec<Bytes>,
    gate: &'a Gate,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.pieces.clear();
        let mut state = self.gate.lock();
        if state.spare.len() < SPARE {
            state.spare.push(std::mem::take(&mut self.pieces));
        }
    }
}

impl State {
    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody is kept waiting.
    pub(super) fn is_open(&self) -> bool {
        let state = self.lock();
        state.held_up == 0 && state.opening == 0 && state.waiting.is_empty()
    }

    /// One more waits for a stream.
    pub(super) fn opening(&self) -> Opening {
        self.lock().opening += 1;
        Opening(self.clone())
    }

    /// An empty list of pieces to write.
    pub(super) fn batch(&self) -> Batch<'_> {
        let pieces = self.lock().spare.pop();
        Batch { pieces: pieces.unwrap_or_default(), gate: self }
    }

    /// Lets the next one write; `false` when nobody waits.
    pub(super) fn admit(&self) -> bool {
        let mut state = self.lock();
        let Some(((_, ticket), waker)) = state.waiting.pop_first() else { return false };
        state.admitted.insert(ticket);
        drop(state);
        waker.wake();
        true
    }

    /// Does one write when it is the stream's turn. As cancel safe as the write.
    pub(super) async fn pass<T>(&self, rank: &Rank, write: impl Future<Output = T>) -> T {
        let mut write = pin!(write);
        let mut turn = Turn { gate: self, at: At::Outside };
        std::future::poll_fn(|cx| {
            if !turn.has_come(rank.value(), cx) {
                return Poll::Pending;
            }
            let written = write.as_mut().poll(cx);
            if written.is_pending() {
                turn.hold_up();
            }
            written
        })
        .await
    }
}

/// The place of one that waits for a stream.
#[derive(Debug)]
pub(super) struct Opening(Gate);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.lock().opening -= 1;
    }
}

/// Where one writer is.
#[derive(Clone, Copy, Debug)]
enum At {
    Outside,
    /// It may write now.
    Admitted(Ticket),
    Waiting(Order),
    /// The connection keeps it waiting. It has its place among those that wait from then on.
    HeldUp(Ticket),
}

struct Turn<'a> {
    gate: &'a Gate,
    at: At,
}

impl Turn<'_> {
    /// Whether to write now; if not, the waker of `cx` is kept.
    fn has_come(&mut self, rank: i32, cx: &Context<'_>) -> bool {
        let mut state = self.gate.lock();
        let ticket = match self.at {
            At::Outside if state.held_up == 0 && state.waiting.is_empty() => return true,
            At::Waiting((_, ticket)) if state.admitted.remove(&ticket) => {
                self.at = At::Admitted(ticket);
                return true;
            }
            At::Waiting(order) => {
                state.waiting.remove(&order);
                order.1
            }
            At::Outside => state.ticket(),
            At::Admitted(ticket) => ticket,
            At::HeldUp(ticket) => {
                state.held_up -= 1;
                ticket
            }
        };
        let order = (Reverse(rank), ticket);
        state.waiting.insert(order, cx.waker().clone());
        self.at = At::Waiting(order);
        false
    }

    fn hold_up(&mut self) {
        let mut state = self.gate.lock();
        state.held_up += 1;
        // Who wakes those that are held up begins with any of them, which must not cost the others their places.
        let ticket = match self.at {
            At::Admitted(ticket) | At::HeldUp(ticket) | At::Waiting((_, ticket)) => ticket,
            At::Outside => state.ticket(),
        };
        self.at = At::HeldUp(ticket);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        match self.at {
            At::Outside | At::Admitted(_) => {}
            At::HeldUp(_) => state.held_up -= 1,
            At::Waiting(order) => {
                state.waiting.remove(&order);
                state.admitted.remove(&order.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        rc::Rc,
    };

    use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};

    use super::*;

    /// A connection that takes so many bytes, and wakes everybody when it can take more.
    #[derive(Default)]
    struct Pipe {
        room: Cell<usize>,
        blocked: RefCell<Vec<Waker>>,
        log: RefCell<Vec<&'static str>>,
    }

    impl Pipe {
        async fn write(self: Rc<Self>, gate: Gate, rank: Rank, name: &'static str, times: usize) {
            for _ in 0..times {
                gate.pass(
                    &rank,
                    std::future::poll_fn(|cx| {
                        if self.room.get() == 0 {
                            self.blocked.borrow_mut().push(cx.waker().clone());
                            return Poll::Pending;
                        }
                        self.room.set(self.room.get() - 1);
                        self.log.borrow_mut().push(name);
                        Poll::Ready(())
                    }),
                )
                .await;
            }
        }

        fn make_room(&self, room: usize) {
            self.room.set(room);
            // As quinn does: the last one first.
            self.blocked.borrow_mut().drain(..).rev().for_each(Waker::wake);
        }

        fn log(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.log.borrow_mut())
        }
    }

    fn rank(value: i32) -> Rank {
        let rank = Rank::default();
        rank.set(value);
        rank
    }

    /// Does what is ready, as the driver does.
    fn run(work: &mut FuturesUnordered<impl Future<Output = ()>>, gate: &Gate) {
        while work.next().now_or_never().flatten().is_some() || gate.admit() {}
    }

    #[test]
    fn with_room_everybody_writes_at_once() {
        let (pipe, gate) = (Rc::new(Pipe::default()), Gate::default());
        pipe.make_room(10);
        let mut work = FuturesUnordered::new();
        work.push(pipe.clone().write(gate.clone(), rank(1), "low", 2));
        work.push(pipe.clone().write(gate.clone(), rank(2), "high", 2));
        while work.next().now_or_never().flatten().is_some() {}
        assert!(work.is_empty());
        assert_eq!(pipe.log().len(), 4);
        assert!(!gate.admit());
    }

    #[test]
    fn it_is_open_while_nobody_waits_for_a_stream_or_to_write() {
        let (pipe, gate) = (Rc::new(Pipe::default()), Gate::default());
        assert!(gate.is_open());
        let (first, second) = (gate.opening(), gate.opening());
        drop(first);
        assert!(!gate.is_open());
        drop(second);
        assert!(gate.is_open());
        let mut work = FuturesUnordered::new();
        work.push(pipe.clone().write(gate.clone(), rank(1), "a", 1));
        run(&mut work, &gate);
        assert!(!gate.is_open(), "one is held up");
        pipe.make_room(1);
        assert!(!gate.is_open(), "one has its turn coming");
        run(&mut work, &gate);
        assert!(gate.is_open());
    }

    #[test]
    fn who_ranks_higher_gets_the_room_and_equals_take_turns() {
        let (pipe, gate) = (Rc::new(Pipe::default()), Gate::default());
        let mut work = FuturesUnordered::new();
        let changing = rank(0);
        work.push(pipe.clone().write(gate.clone(), rank(1), "a", 4));
        work.push(pipe.clone().write(gate.clone(), rank(1), "b", 4));
        work.push(pipe.clone().write(gate.clone(), changing.clone(), "last", 4));
        work.push(pipe.clone().write(gate.clone(), rank(5), "first", 3));
        run(&mut work, &gate);
        assert_eq!(pipe.log(), [""; 0]);
        pipe.make_room(2);
        run(&mut work, &gate);
        assert_eq!(pipe.log(), ["first", "first"]);
        pipe.make_room(3);
        run(&mut work, &gate);
        assert_eq!(pipe.log(), ["first", "a", "b"]);
        changing.set(9);
        pipe.make_room(2);
        run(&mut work, &gate);
        assert_eq!(pipe.log(), ["last", "last"]);
    }

    #[test]
    fn equals_that_are_woken_in_another_order_keep_their_places() {
        let (pipe, gate) = (Rc::new(Pipe::default()), Gate::default());
        let mut work = FuturesUnordered::new();
        for name in ["a", "b", "c", "d"] {
            work.push(pipe.clone().write(gate.clone(), rank(1), name, 1));
        }
        run(&mut work, &gate);
        for name in ["a", "b", "c", "d"] {
            // All are woken, the last one first, and all but one are held up again.
            pipe.make_room(1);
            run(&mut work, &gate);
            assert_eq!(pipe.log(), [name]);
        }
    }

    #[test]
    fn one_that_cannot_write_does_not_keep_others_from_it_and_leaves_nothing_behind() {
        let (pipe, stalled, gate) = (Rc::new(Pipe::default()), Rc::new(Pipe::default()), Gate::default());
        pipe.make_room(2);
        let mut work = FuturesUnordered::new();
        work.push(stalled.clone().write(gate.clone(), rank(9), "stalled", 1));
        run(&mut work, &gate);
        work.push(pipe.clone().write(gate.clone(), rank(1), "other", 3));
        run(&mut work, &gate);
        assert_eq!(pipe.log(), ["other", "other"]);
        drop(work);
        let state = gate.lock();
        assert!(state.waiting.is_empty() && state.admitted.is_empty());
        assert_eq!(state.held_up, 0);
    }
}
