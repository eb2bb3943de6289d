//! The only place that asks for the time, so that simulations can decide it.
//!
//! Wall-clock time (`now`) is for what other processes read: leases, due times, records. Monotonic
//! time (`monotonic`) is for a worker's own deadlines (PROTOCOL R2): it never jumps.

use chrono::{DateTime, Utc};
use std::time::Duration;

/// Wall-clock and monotonic time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock, which may differ from other machines' by `clock_skew`.
    fn now(&self) -> DateTime<Utc>;
    /// Time since an arbitrary fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock. The monotonic part is tokio's, so that tests on paused time work unchanged.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
