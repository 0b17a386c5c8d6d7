//! A clock that all processes of one machine read alike.

/// Nanoseconds since some moment in the past: the system's monotonic clock, which knows no namespaces of its own
/// unless one asks for them.
#[cfg(unix)]
#[must_use]
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Seconds since boot, and less than 10^9.
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds since the process first asked: publisher and subscribers have to be in one process here.
#[cfg(not(unix))]
#[must_use]
pub fn monotonic_ns() -> u64 {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "the load generator's one clock")]
    let began = *BEGAN.get_or_init(std::time::Instant::now);
    1 + began.elapsed().as_nanos() as u64
}
