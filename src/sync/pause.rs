//! Pauses between attempts: how long, and whether there is still time.

use super::failure::Failure;
use super::work::Work;
use crate::chance::jitter;
use crate::outbound::retry::RetryPolicy;
use std::time::Duration;

/// Repeats of requests that fail for a passing reason: from 100 ms doubling to 5 s, bounded by the delivery's deadline
/// rather than by their number.
const POLICY: Result<RetryPolicy, crate::outbound::retry::RetryPolicyError> =
    RetryPolicy::new(1_000, Duration::from_millis(100), Duration::from_secs(5));

/// Between the first 412 of a race and the repeated write: 50 to 300 ms (facts 5.5).
pub(super) fn race_pause(jitter: f64) -> Duration {
    Duration::from_millis(50) + Duration::from_millis(250).mul_f64(jitter.clamp(0.0, 1.0))
}

/// Sleeps before attempt number `attempt + 1`, or gives the error back when there is no time for it.
pub(super) async fn before_next(
    work: &Work<'_>,
    attempt: u32,
    after: Option<Duration>,
    error: impl Into<Failure>,
) -> Result<(), Failure> {
    within(work.left(), attempt, after, error).await
}

/// The same for work that has no row yet and this much time left.
pub(super) async fn within(
    left: Duration,
    attempt: u32,
    after: Option<Duration>,
    error: impl Into<Failure>,
) -> Result<(), Failure> {
    let policy = POLICY.unwrap_or(RetryPolicy::NEVER);
    match policy.next_delay(attempt, after, left, jitter()) {
        Some(delay) => {
            tokio::time::sleep(delay).await;
            Ok(())
        }
        None => Err(error.into()),
    }
}
