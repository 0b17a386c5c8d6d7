//! What wakes a session's task, and does not while it is awake.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    task::{Wake, Waker},
};

/// The task waits to be woken.
const ASLEEP: u8 = 0;
/// It runs, and will look at everything before it waits.
const AWAKE: u8 = 1;
/// Something was woken that it has to look at before it waits.
const RUNG: u8 = 2;

/// Wakes the session's task when one of its futures is woken. What the task wakes itself, by what it does for another of
/// its futures, costs no further round of the scheduler.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    inner: Arc<Inner>,
    waker: Waker,
}

#[derive(Debug)]
struct Inner {
    state: AtomicU8,
    /// A session has one task, and so one waker for good.
    task: OnceLock<Waker>,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::AcqRel) == ASLEEP
            && let Some(task) = self.task.get()
        {
            task.wake_by_ref();
        }
    }
}

impl Default for Bell {
    fn default() -> Self {
        let inner = Arc::new(Inner { state: AtomicU8::new(RUNG), task: OnceLock::new() });
        Self { waker: Arc::clone(&inner).into(), inner }
    }
}

impl Bell {
    /// The task that it wakes.
    pub(super) fn wakes(&self, task: &Waker) {
        self.inner.task.get_or_init(|| task.clone());
    }

    /// What the futures are polled with.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether something was woken since the last time, or is new. The task looks at it from here on.
    pub(super) fn is_heard(&self) -> bool {
        self.inner.state.swap(AWAKE, Ordering::AcqRel) == RUNG
    }

    /// The task is about to wait; `false` where there is something that it has to look at first.
    pub(super) fn may_sleep(&self) -> bool {
        let state = &self.inner.state;
        state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_wakes_who_sleeps_once_and_keeps_awake_who_is_up() {
        let (bell, woken) = (Bell::default(), Arc::new(Woken::default()));
        bell.wakes(&Arc::clone(&woken).into());
        let times = || woken.0.load(Ordering::Relaxed);
        assert!(!bell.may_sleep(), "everything is new");
        assert!(bell.is_heard());
        bell.waker().wake_by_ref();
        assert_eq!(times(), 0, "it is awake");
        assert!(!bell.may_sleep());
        assert!(bell.is_heard() && !bell.is_heard());
        assert!(bell.may_sleep());
        bell.waker().wake_by_ref();
        bell.waker().wake_by_ref();
        assert_eq!(times(), 1);
        assert!(!bell.may_sleep());
    }
}
