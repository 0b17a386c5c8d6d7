//! A world: a clock that jumps, randomness from a seed, connections.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    Links, Rng, Settings, Side, SimConnection,
    net::{
        Pair,
        driver::{Shared, drive, now},
    },
    seeds::panic_message,
};

/// A world with its own time and its own randomness, made by [`for_each_seed`](crate::for_each_seed); clones
/// are handles to the same one.
///
/// Time stands still while any task can run and then jumps to the next timer (with the grain of tokio's
/// timers, 1 ms), so an hour takes as long as its events.
#[derive(Clone, Debug)]
pub struct Sim {
    seed: u64,
    epoch: Instant,
    rng: Arc<Mutex<Rng>>,
    trouble: Arc<Trouble>,
}

/// The first panic in a task, if there was one.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    message: Mutex<Option<String>>,
    notify: Notify,
}

impl Trouble {
    /// Waits until a task has panicked, and says with what.
    pub(crate) async fn happens(&self) -> String {
        loop {
            if let Some(message) = self.message.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return message;
            }
            self.notify.notified().await;
        }
    }

    fn report(&self, panic: &(dyn Any + Send)) {
        let mut message = self.message.lock().unwrap_or_else(PoisonError::into_inner);
        message.get_or_insert_with(|| panic_message(panic));
        self.notify.notify_one();
    }
}

impl Sim {
    /// Makes a world in the runtime of the caller, which must be a current-thread one with paused time; for
    /// tests that bring their own. [`for_each_seed`](crate::for_each_seed) does this, names the seed in
    /// failures and notices panics in tasks.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, once it is used.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, epoch: now(), rng: Arc::new(Mutex::new(Rng::new(seed))), trouble: Arc::default() }
    }

    pub(crate) fn trouble(&self) -> Arc<Trouble> {
        Arc::clone(&self.trouble)
    }

    /// What determines this world.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        now()
    }

    /// The virtual time since the world began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        now() - self.epoch
    }

    /// Waits in virtual time.
    pub async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    /// A new generator, which the seed and the calls before this one determine.
    #[must_use]
    pub fn rng(&self) -> Rng {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    /// Runs a task beside the caller until it ends or the world does. A panic in it fails the seed.
    #[expect(clippy::disallowed_methods, reason = "the tasks of the simulated world belong to it")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let trouble = Arc::clone(&self.trouble);
        tokio::spawn(async move {
            let mut task = pin!(task);
            poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
                Ok(poll) => poll,
                Err(panic) => {
                    trouble.report(&*panic);
                    resume_unwind(panic)
                }
            })
            .await
        })
    }

    /// Connects a client and a server over `links`, with default settings; returns both ends, the client's
    /// first.
    ///
    /// One [`Link`](crate::Link) serves both directions, a pair is (client to server, server to client).
    /// No handshake is simulated: both ends are there at once.
    #[must_use]
    pub fn connect(&self, links: impl Into<Links>) -> (SimConnection, SimConnection) {
        self.connect_with(links, Settings::default(), Settings::default())
    }

    /// Connects with settings for each end.
    #[must_use]
    pub fn connect_with(
        &self,
        links: impl Into<Links>,
        client: Settings,
        server: Settings,
    ) -> (SimConnection, SimConnection) {
        let pair = Pair::new(self.elapsed(), links.into(), client, server, self.rng());
        let shared = Arc::new(Shared::new(self.epoch, pair));
        drop(self.spawn(drive(Arc::clone(&shared))));
        (SimConnection::new(Arc::clone(&shared), Side::Client), SimConnection::new(shared, Side::Server))
    }
}
