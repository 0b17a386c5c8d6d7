//! Nobody waits in silence: what a command waits for is said when it takes long.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use tokio::time::Instant;

use crate::ui;

/// Silence after which a command says what it waits for.
const SILENCE: Duration = Duration::from_secs(3);

/// A state that lasts shorter than this is not worth a line, however long the command runs.
const BRIEF: Duration = Duration::from_secs(1);

/// Says once for each state what is being waited for, until the first byte is there.
#[derive(Debug)]
pub(crate) struct Waiting {
    since: Instant,
    said: BTreeSet<String>,
    over: bool,
    say: fn(&str),
}

impl Waiting {
    pub(crate) fn new() -> Self {
        Self::with(ui::notice)
    }

    fn with(say: fn(&str)) -> Self {
        Self { since: now(), said: BTreeSet::new(), over: false, say }
    }

    /// The first byte is there: silent from now on.
    pub(crate) fn over(&mut self) {
        self.over = true;
    }

    /// Waits for `future`; `what` goes on after "waiting".
    pub(crate) async fn during<T>(&mut self, what: &str, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        if self.over || self.said.contains(what) {
            return future.await;
        }
        let due = (self.since + SILENCE).max(now() + BRIEF);
        match tokio::time::timeout_at(due, &mut future).await {
            Ok(done) => done,
            Err(_) => {
                self.said.insert(what.to_owned());
                (self.say)(&format!("waiting {what}"));
                future.await
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command's own clock; virtual in tests")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static SAID: RefCell<Vec<(String, Duration)>> = const { RefCell::new(Vec::new()) };
        static BEGAN: RefCell<Option<Instant>> = const { RefCell::new(None) };
    }

    fn say(line: &str) {
        let at = BEGAN.with_borrow(|began| now() - began.unwrap());
        SAID.with_borrow_mut(|said| said.push((line.to_owned(), at)));
    }

    fn begin() -> Waiting {
        BEGAN.with_borrow_mut(|began| *began = Some(now()));
        Waiting::with(say)
    }

    fn said() -> Vec<(String, u64)> {
        SAID.take().into_iter().map(|(line, at)| (line, at.as_millis() as u64)).collect()
    }

    async fn pass(milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_state_is_named_once_after_three_seconds() {
        let mut waiting = begin();
        waiting.during("for an answer", pass(3500)).await;
        waiting.during("for the track", pass(2000)).await;
        waiting.during("for an answer", pass(9000)).await;
        assert_eq!(said(), [("waiting for an answer".into(), 3000), ("waiting for the track".into(), 4500)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_quick_is_not_named() {
        let mut waiting = begin();
        waiting.during("for an answer", pass(2900)).await;
        waiting.during("for the answer", pass(900)).await;
        assert_eq!(said(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_first_byte_there_is_silence() {
        let mut waiting = begin();
        waiting.over();
        waiting.during("for more", pass(60_000)).await;
        assert_eq!(said(), []);
    }
}
