//! Which of many waiting streams has something new, without asking each of them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
};

/// Collects the numbers of those that were woken, and wakes whoever looks after them.
#[derive(Debug, Default)]
pub(super) struct WakeSet(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared(Mutex<Woken>);

#[derive(Debug, Default)]
struct Woken {
    numbers: BTreeSet<u64>,
    keeper: Option<Waker>,
}

impl WakeSet {
    /// The waker for the one with this number.
    pub(super) fn waker(&self, number: u64) -> Waker {
        Arc::new(Member { shared: self.0.clone(), number }).into()
    }

    /// Takes the lowest number that was woken. Without one, `keeper` is woken with the next.
    pub(super) fn take(&self, keeper: &Waker) -> Option<u64> {
        let mut woken = self.0.lock();
        let first = woken.numbers.pop_first();
        if first.is_none() && !woken.keeper.as_ref().is_some_and(|known| known.will_wake(keeper)) {
            woken.keeper = Some(keeper.clone());
        }
        first
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Woken> {
        // No code that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Member {
    shared: Arc<Shared>,
    number: u64,
}

impl Wake for Member {
    fn wake(self: Arc<Self>) {
        let keeper = {
            let mut woken = self.shared.lock();
            woken.numbers.insert(self.number);
            woken.keeper.take()
        };
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_woken_are_found_in_order_and_the_keeper_hears_of_them() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let keeper = Waker::from(count.clone());
        let set = WakeSet::default();
        let wakers = [5, 3, 9].map(|number| set.waker(number));
        assert_eq!(set.take(&keeper), None);
        for waker in &wakers {
            waker.wake_by_ref();
            waker.wake_by_ref();
        }
        // It is told once, and then comes to see.
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!([(); 4].map(|()| set.take(&keeper)), [Some(3), Some(5), Some(9), None]);
        wakers.into_iter().for_each(Waker::wake);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
    }
}
