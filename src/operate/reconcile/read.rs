//! Patient reads of one environment: through its gate, again when it asks for a pause or fails for a passing reason, within
//! the time of the run. Counts requests.

use super::stop::Stop;
use crate::chance;
use crate::clock::Clock;
use crate::dataverse::client::Call;
use crate::dataverse::error::{DataverseError, Kind};
use crate::dataverse::metadata::MetadataError;
use crate::domain::disposition::Disposition;
use crate::sync::environment::Environment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// First and longest pause before a request is repeated for a passing reason.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long one request is tried again in a run without an end of its own: longer than an environment is restarted, much
/// shorter than a person waits without looking.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why nothing was read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The time of this run is over; it goes on from here another time.
    #[error("the time of this run is over")]
    OutOfTime,
    /// The application user may not read the table.
    #[error("no privilege to read {table}: {error}")]
    Forbidden {
        /// The table.
        table: String,
        /// What was said.
        error: DataverseError,
    },
    /// Refused, or failed for too long.
    #[error("{0}")]
    Failed(DataverseError),
    /// The environment is not as it should be.
    #[error("{0}")]
    Metadata(MetadataError),
}

/// Reads one environment.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The environment.
    pub environment: &'a Environment,
    clock: Arc<dyn Clock>,
    request_timeout: Duration,
    /// On the monotonic clock.
    deadline: Option<Duration>,
    stop: Stop,
    requests: AtomicU64,
}

impl<'a> Reader<'a> {
    /// A reader that stops at `deadline` (of the monotonic clock), if there is one.
    #[must_use]
    pub fn new(
        environment: &'a Environment,
        clock: Arc<dyn Clock>,
        request_timeout: Duration,
        deadline: Option<Duration>,
    ) -> Self {
        Self { environment, clock, request_timeout, deadline, stop: Stop::default(), requests: AtomicU64::new(0) }
    }

    /// No request is sent after somebody has asked to stop.
    #[must_use]
    pub fn until(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// Requests sent so far, repetitions included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Asks until there is an answer that repeating does not change.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn ask<T, F>(&self, table: &str, request: impl Fn(Call) -> F + Send + Sync) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, DataverseError>> + Send,
    {
        let until = self.clock.monotonic().saturating_add(PATIENCE);
        let until = self.deadline.map_or(until, |deadline| deadline.min(until));
        let mut attempt: u32 = 0;
        loop {
            if self.stop.is_asked() {
                return Err(ReadError::OutOfTime);
            }
            let left = until.saturating_sub(self.clock.monotonic());
            let Ok(permit) = self.environment.gate.enter(left).await else { return Err(ReadError::OutOfTime) };
            self.requests.fetch_add(1, Ordering::Relaxed);
            // a token may have to be fetched first
            let latest_end = self.clock.monotonic().saturating_add(self.request_timeout.saturating_mul(3));
            let error = match request(Call::until(latest_end)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            drop(permit);
            attempt = attempt.saturating_add(1);
            let again = match (error.kind(), error.disposition()) {
                (Kind::Privilege, _) => return Err(ReadError::Forbidden { table: table.to_owned(), error }),
                (_, Disposition::Retry { after }) => after.or_else(|| self.environment.gate.closed_for()),
                (_, Disposition::Defer { .. } | Disposition::Park | Disposition::Stop) => {
                    return Err(ReadError::Failed(error));
                }
            };
            let repeats_max = error.repeats_max().unwrap_or(u32::MAX);
            let pause = again.unwrap_or_default().max(pause(attempt));
            let left = until.saturating_sub(self.clock.monotonic());
            if attempt > repeats_max || pause >= left {
                let over = self.deadline.is_some_and(|deadline| deadline <= until);
                return Err(if over { ReadError::OutOfTime } else { ReadError::Failed(error) });
            }
            tracing::debug!(%error, attempt, "a read is repeated");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.asked() => {}
            }
        }
    }

    /// The same for metadata.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn ask_metadata<T, F>(
        &self,
        table: &str,
        request: impl Fn(Call) -> F + Send + Sync,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, MetadataError>> + Send,
    {
        let request = &request;
        let asked = self
            .ask(table, |call| async move {
                match request(call).await {
                    Err(MetadataError::Request(error)) => Err(error),
                    other => Ok(other),
                }
            })
            .await?;
        asked.map_err(ReadError::Metadata)
    }
}

fn pause(attempt: u32) -> Duration {
    let full = PAUSE_MIN.saturating_mul(1 << attempt.min(10)).min(PAUSE_MAX);
    full.mul_f64(0.5 + chance::jitter() / 2.0)
}
