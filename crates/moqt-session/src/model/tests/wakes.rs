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

#[test]
fn who_reads_on_is_told_whether_to_ask_again() {
    let track = incoming(Retention::default());
    let mut reader = track.consume();
    let cx = Context::from_waker(Waker::noop());
    assert!(reader.poll_on(&cx).is_pending());
    group(&track, &["a"]);
    group(&track, &["b"]);
    let mut next = || match reader.poll_on(&cx) {
        Poll::Ready((Ok(Some(TrackEvent::Group(group))), next)) => (group.sequence(), next),
        other => panic!("{other:?}"),
    };
    assert_eq!(next(), (0, Next::Now));
    assert_eq!(next(), (1, Next::Woken { due: None }));
    track.create_group(5).unwrap().finish().unwrap();
    assert!(matches!(next(), (5, Next::Woken { due: Some(_) })), "some are missing");
    group(&track, &["c"]);
    track.finish();
    assert_eq!(next(), (6, Next::Now), "it has ended");
    let gap = reader.poll_on(&cx);
    assert!(
        matches!(gap, Poll::Ready((Ok(Some(TrackEvent::Gap { first: 2, last: 4, .. })), Next::Now))),
        "{gap:?}"
    );
    assert!(matches!(reader.poll_on(&cx), Poll::Ready((Ok(None), Next::Now))));
}
