//! The one place where the model learns the time.

use tokio::time::Instant;

/// The time by tokio's clock, so that a paused runtime pauses retention too.
#[expect(clippy::disallowed_methods, reason = "the model's one clock; virtual under a paused runtime")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
