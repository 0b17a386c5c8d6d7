//! Who waits for a change of some shared state.
//!
//! A [`WaitList`] lives inside the mutex of the state it is about, so a reader that finds nothing and leaves
//! its waker cannot miss the change in between.

use std::{
    sync::MutexGuard,
    task::{Context, Waker},
};

/// Wakers of the readers that found nothing, one place a reader.
#[derive(Debug, Default)]
pub(crate) struct WaitList {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// A reader's place in one [`WaitList`]; given out at its first wait.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<usize>);

impl Place {
    /// Whether its reader has never waited.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl WaitList {
    /// Leaves the waker of `cx` in `place`.
    pub(crate) fn wait(&mut self, place: &mut Place, cx: &Context<'_>) {
        let index = *place.0.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            })
        });
        if let Some(held) = self.places.get_mut(index) {
            match held {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *held = Some(cx.waker().clone()),
            }
        }
    }

    /// Gives the place back; the reader is gone.
    pub(crate) fn leave(&mut self, place: &mut Place) {
        if let Some(index) = place.0.take() {
            if let Some(held) = self.places.get_mut(index) {
                *held = None;
            }
            self.free.push(index);
        }
    }

    /// How many places are given out.
    #[cfg(test)]
    pub(crate) fn places(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Wakes everybody who waits.
    ///
    /// Wakers only mark tasks as ready, so this may run under the lock of the state. Where many wait often, use
    /// [`wake_unlocked`].
    pub(crate) fn wake(&mut self) {
        for waker in self.places.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}

/// How many are woken between two looks at a list.
const AT_A_TIME: usize = 32;

/// Wakes everybody who waits in a list of the state behind `guard`, and lets go of it before: whoever runs at once, on
/// another thread, would only wait for the lock.
pub(crate) fn wake_unlocked<'a, S>(
    mut guard: MutexGuard<'a, S>,
    lock: impl Fn() -> MutexGuard<'a, S>,
    list: fn(&mut S) -> &mut WaitList,
) {
    let places = &mut list(&mut guard).places;
    let Some(first) = places.iter().position(Option::is_some) else { return };
    if first + 1 == places.len()
        && let Some(waker) = places.last_mut().and_then(Option::take)
    {
        drop(guard);
        return waker.wake();
    }
    let mut from = first;
    loop {
        let mut some = [const { None::<Waker> }; AT_A_TIME];
        let mut room = some.iter_mut();
        let places = &mut list(&mut guard).places;
        while let Some(place) = places.get_mut(from)
            && room.len() > 0
        {
            from += 1;
            if let Some(waker) = place.take()
                && let Some(room) = room.next()
            {
                *room = Some(waker);
            }
        }
        let through = from >= places.len();
        drop(guard);
        some.into_iter().flatten().for_each(Waker::wake);
        if through {
            return;
        }
        guard = lock();
    }
}

/// A place that is given back when the future that waits in it is dropped.
pub(crate) struct Waiting<F: FnMut(&mut Place)> {
    pub(crate) place: Place,
    leave: F,
}

impl<F: FnMut(&mut Place)> Waiting<F> {
    /// `leave` calls [`WaitList::leave`] on the list in question.
    pub(crate) fn new(leave: F) -> Self {
        Self { place: Place::default(), leave }
    }
}

impl<F: FnMut(&mut Place)> Drop for Waiting<F> {
    fn drop(&mut self) {
        (self.leave)(&mut self.place);
    }
}
