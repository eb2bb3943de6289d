//! A clock that moves only when told.

use chrono::{DateTime, Utc};
use dataverse_sync::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Starts at a fixed time; `skew_ms` is how far its wall clock is off the shared time.
#[derive(Clone, Debug)]
pub struct TestClock {
    shared_ms: Arc<AtomicI64>,
    skew_ms: i64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { shared_ms: Arc::new(AtomicI64::new(1_790_000_000_000)), skew_ms: 0 }
    }
}

impl TestClock {
    /// Another machine's clock: the same time, off by this much.
    pub fn skewed(&self, skew_ms: i64) -> Self {
        Self { shared_ms: Arc::clone(&self.shared_ms), skew_ms }
    }

    /// Time passes, for all clocks made from this one.
    pub fn advance(&self, by: Duration) {
        self.shared_ms.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.shared_ms.load(Ordering::SeqCst) + self.skew_ms).unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.shared_ms.load(Ordering::SeqCst)).unwrap())
    }
}
