//! Running a test once per seed.

use std::{
    any::Any,
    fmt::Debug,
    future::Future,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    time::Duration,
};

use tokio::{runtime, select, time::timeout};

use crate::Sim;

const DEFAULT_SEEDS: u64 = 8;
const DEFAULT_LIMIT: Duration = Duration::from_secs(3600);

/// Runs `test` in one world per seed, with the defaults of [`Seeds`].
///
/// # Panics
///
/// When the test panics, fails or hangs; the message names the seed, and the environment variable
/// `SIM_SEED` replays it.
#[track_caller]
pub fn for_each_seed<F, Fut>(test: F)
where
    F: FnMut(Sim) -> Fut,
    Fut: Future<Output: Outcome>,
{
    Seeds::default().run(test);
}

/// Which seeds to run, and for how long.
///
/// The environment wins: `SIM_SEED=17` runs that seed alone, `SIM_SEEDS=500` runs so many from 0 on.
#[derive(Clone, Debug)]
pub struct Seeds {
    range: Range<u64>,
    limit: Duration,
    fixed: bool,
}

impl Default for Seeds {
    /// Eight seeds, one virtual hour for each.
    fn default() -> Self {
        Self { range: 0..DEFAULT_SEEDS, limit: DEFAULT_LIMIT, fixed: false }
    }
}

impl Seeds {
    /// Runs so many seeds, from 0 on.
    #[must_use]
    pub fn count(mut self, seeds: u64) -> Self {
        self.range = 0..seeds;
        self
    }

    /// Runs just these seeds, whatever the environment says.
    #[must_use]
    pub fn fixed(seeds: Range<u64>) -> Self {
        Self { range: seeds, fixed: true, ..Self::default() }
    }

    /// Takes a test that needs more virtual time than this for one that hangs.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs `test` in one world per seed.
    ///
    /// # Panics
    ///
    /// When the test panics, fails or hangs; the message names the seed.
    #[track_caller]
    pub fn run<F, Fut>(&self, mut test: F)
    where
        F: FnMut(Sim) -> Fut,
        Fut: Future<Output: Outcome>,
    {
        for seed in self.chosen() {
            let result = attempt(seed, self.limit, &mut test).and_then(|outcome| outcome.into_result());
            if let Err(message) = result {
                panic!("seed {seed} (SIM_SEED={seed} replays it): {message}");
            }
        }
    }

    fn chosen(&self) -> Range<u64> {
        if self.fixed {
            return self.range.clone();
        }
        match (number("SIM_SEED"), number("SIM_SEEDS")) {
            (Some(seed), _) => seed..seed.saturating_add(1),
            (None, Some(count)) => 0..count,
            (None, None) => self.range.clone(),
        }
    }
}

/// Runs `test` in the world of one seed and returns what it returns.
///
/// # Panics
///
/// When the test panics or hangs for a virtual hour; the message names the seed.
#[track_caller]
pub fn run<F, Fut>(seed: u64, test: F) -> Fut::Output
where
    F: FnOnce(Sim) -> Fut,
    Fut: Future,
{
    attempt(seed, DEFAULT_LIMIT, test).unwrap_or_else(|message| panic!("seed {seed}: {message}"))
}

/// What a test may return: nothing, or a result.
pub trait Outcome {
    /// The failure as a message.
    ///
    /// # Errors
    ///
    /// When the test failed.
    fn into_result(self) -> Result<(), String>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Debug> Outcome for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| format!("test failed: {error:?}"))
    }
}

#[track_caller]
fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {value:?}")))
}

fn attempt<F, Fut>(seed: u64, limit: Duration, test: F) -> Result<Fut::Output, String>
where
    F: FnOnce(Sim) -> Fut,
    Fut: Future,
{
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let world = async {
        let sim = Sim::new(seed);
        let trouble = sim.trouble();
        let test = pin!(timeout(limit, test(sim)));
        select! {
            biased;
            message = trouble.happens() => Err(format!("a spawned task panicked: {message}")),
            outcome = test => outcome.map_err(|_| {
                format!("nothing came of it within {limit:?} of virtual time: the test hangs")
            }),
        }
    };
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(world)))
        .unwrap_or_else(|panic| Err(panic_message(&*panic)))
}

/// What a panic says.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message.clone()
    } else {
        "panicked".to_owned()
    }
}
