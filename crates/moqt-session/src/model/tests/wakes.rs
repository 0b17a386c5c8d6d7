//! Who is woken, and when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

use super::*;

/// Counts its wakes.
#[derive(Default)]
pub(super) struct Woken(AtomicUsize);

impl Woken {
    pub(super) fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn readers_are_told_of_a_group_when_its_notice_goes() {
    let track = incoming(Retention::default());
    let (mut reader, woken) = (track.consume(), Arc::new(Woken::default()));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(pin!(reader.next_group()).poll(&mut cx).is_pending());
    let (mut group, notice) = track.begin_group(0).unwrap();
    group.write_frame("x").unwrap();
    group.finish().unwrap();
    assert_eq!(woken.times(), 0);
    drop(notice);
    assert_eq!(woken.times(), 1);
    let group = now_or_never(reader.next_group()).unwrap().unwrap().unwrap();
    assert_eq!((group.sequence(), group.end()), (0, Some(Ok(()))));
}
