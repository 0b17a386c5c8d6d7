//! Ending one reader of a track.

use std::sync::Arc;

use super::{wakes::Woken, *};

#[tokio::test]
async fn a_closed_gate_ends_the_readers_behind_it_and_nobody_else() {
    let track = producer(Retention::default());
    let mut other = track.consume();
    let (mut first, gate) = track.consume().gated(Reason::NotFound);
    let (mut second, mut third) = (first.clone(), first.reader(Start::At(0)));
    group(&track, &["x"]);
    for reader in [&mut first, &mut second, &mut third, &mut other] {
        assert_eq!(sequences(reader), [0]);
    }
    assert!(!gate.is_unused());
    let waiting = pin!(first.next_group());
    assert!(now_or_never(poll_twice(waiting, || gate.close())).is_some());
    for mut reader in [second, third] {
        assert!(matches!(reader.next_group().await, Err(TrackError::Ended(Reason::NotFound))));
    }
    group(&track, &["y"]);
    assert_eq!(sequences(&mut other), [1]);
    let (left, gate) = track.consume().gated(Reason::NotFound);
    drop(left);
    assert!(gate.is_unused());
}

/// Polls, lets something happen, and polls again if that woke it.
async fn poll_twice<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>, between: impl FnOnce()) -> T {
    let mut between = Some(between);
    std::future::poll_fn(|cx| {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        if let Some(between) = between.take() {
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            between();
            assert!(woken.times() > 0, "nobody was woken");
        }
        future.as_mut().poll(cx)
    })
    .await
}
