//! What readers say a track matters.

use std::sync::Arc;

use moqt_wire::Priority;

use super::{wakes::Woken, *};

#[test]
fn the_highest_of_those_who_are_there_counts() {
    let track = producer(Retention::default());
    let preferences = track.preferences();
    assert_eq!(preferences.highest(), None);
    let reader = track.consume();
    let mut first = reader.prefer(Priority(5));
    let second = reader.prefer(Priority(9));
    let third = track.consume().prefer(Priority(9));
    assert_eq!(preferences.highest(), Some(Priority(9)));
    drop(second);
    assert_eq!(preferences.highest(), Some(Priority(9)), "there is another one");
    drop(third);
    assert_eq!(preferences.highest(), Some(Priority(5)));
    first.set(Priority(2));
    assert_eq!(preferences.highest(), Some(Priority(2)));
    drop(first);
    assert_eq!(preferences.highest(), None);
}

#[test]
fn who_brings_a_track_is_woken_when_the_highest_changes_and_not_otherwise() {
    let track = producer(Retention::default());
    let (preferences, reader) = (track.preferences(), track.consume());
    let first = reader.prefer(Priority(5));
    let mut changed = pin!(preferences.changed(Priority(5)));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut poll = || changed.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    let lower = reader.prefer(Priority(4));
    drop(lower);
    assert_eq!(woken.times(), 0);
    drop(first);
    assert!(poll().is_pending(), "without a reader that says something nothing changes");
    let _again = reader.prefer(Priority(5));
    assert!(poll().is_pending());
    let before = woken.times();
    let _higher = reader.prefer(Priority(6));
    assert_eq!(woken.times(), before + 1);
    assert_eq!(poll(), Poll::Ready(Priority(6)));
}
