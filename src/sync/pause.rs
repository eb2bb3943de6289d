//! Pauses between attempts: how long, and whether there is still time.

use super::failure::Failure;
use super::work::Work;
use crate::chance::jitter;
use crate::clock::Clock;
use crate::ledger::claim::LedgerError;
use crate::outbound::retry::RetryPolicy;
use std::future::Future;
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
    // before a long pause: others must not run into what was found here
    work.target.tell().await;
    let shut = work.target.gate.shut_for();
    let failure: Failure = error.into();
    if !work.patient && shut.is_some() {
        // who sent it waits for our answer
        return Err(failure.not_before(shut));
    }
    let policy = POLICY.unwrap_or(RetryPolicy::NEVER);
    let Some(delay) = policy.next_delay(attempt, after.or(shut), work.left(), jitter()) else {
        return Err(failure.not_before(shut));
    };
    tokio::time::sleep(delay).await;
    // repetitions are a share of all calls, never a multiple of them
    while let Err(wait) = work.target.gate.repeat() {
        if wait >= work.left() {
            return Err(failure);
        }
        tokio::time::sleep(wait).await;
    }
    Ok(())
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

/// Reads what must be known before an event may go on, again while the ledger cannot be reached (PROTOCOL R11), until the
/// deadline.
pub(super) async fn until_known<T, F>(
    clock: &dyn Clock,
    deadline: Duration,
    read: impl Fn() -> F + Send,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, LedgerError>> + Send,
{
    let left = || deadline.saturating_sub(clock.monotonic());
    let reading = async {
        let mut failures = 0;
        loop {
            match read().await {
                Ok(known) => return Ok(known),
                Err(error) if error.is_passing() => {
                    failures += 1;
                    within(left(), failures, None, error).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let late = |_| Err(Failure::ledger("the ledger: no answer in time"));
    tokio::time::timeout(left(), reading).await.unwrap_or_else(late)
}
