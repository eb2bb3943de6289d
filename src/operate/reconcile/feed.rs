//! Differences become events of the engine, several at a time. An event is done with when the engine has answered: applied,
//! judged, or kept for later. One that is neither stops the run, which then goes on from before it.

use super::report::count;
use super::stop::Stop;
use crate::clock::Clock;
use crate::domain::delivery::{Channel, Delivery, NotHandled, Unfinished};
use crate::domain::event::ChangeEvent;
use crate::domain::outcome::Outcome;
use crate::sync::HandleEvent;
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often an event is handed over again that the engine could neither finish nor keep: the ledger is out of reach.
const ATTEMPTS_MAX: u32 = 8;
/// Longest wait between two of these.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Hands events to the engine.
#[derive(Debug)]
pub struct Feeder<'a> {
    engine: &'a dyn HandleEvent,
    clock: Arc<dyn Clock>,
    at_once: usize,
    /// On the monotonic clock: no event is begun after it.
    deadline: Option<Duration>,
    stop: Stop,
}

/// Why events could not be handed over.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FeedError {
    /// The time of this run is over.
    #[error("the time of this run is over")]
    OutOfTime,
    /// The engine can neither finish nor keep an event.
    #[error("an event could be neither finished nor kept: {0}")]
    NotKept(Unfinished),
}

impl<'a> Feeder<'a> {
    /// A feeder that works on `at_once` events side by side; the gate before the target narrows it further.
    #[must_use]
    pub fn new(engine: &'a dyn HandleEvent, clock: Arc<dyn Clock>, at_once: usize, deadline: Option<Duration>) -> Self {
        Self { engine, clock, at_once: at_once.max(1), deadline, stop: Stop::default() }
    }

    /// No event is begun after somebody has asked to stop.
    #[must_use]
    pub fn until(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// Has all events handled, and counts how they ended.
    ///
    /// # Errors
    /// [`FeedError`]: not all were handled; those that were are harmless when they come again.
    pub async fn feed(&self, events: Vec<ChangeEvent>, done: &mut BTreeMap<String, u64>) -> Result<(), FeedError> {
        let work = events.into_iter().map(|event| self.one(event));
        let mut results = stream::iter(work).buffer_unordered(self.at_once);
        let mut ended = Ok(());
        while let Some(result) = results.next().await {
            match result {
                Ok(outcome) => count(done, &outcome),
                // what is under way is not cut off: its rows would stay leased
                Err(error) => ended = ended.and(Err(error)),
            }
        }
        ended
    }

    async fn one(&self, event: ChangeEvent) -> Result<Outcome, FeedError> {
        let mut attempt = 0;
        loop {
            let now = self.clock.monotonic();
            if self.stop.is_asked() || self.deadline.is_some_and(|deadline| now >= deadline) {
                return Err(FeedError::OutOfTime);
            }
            let delivery = Delivery {
                channel: Channel::Inbox,
                arrival_ms: self.clock.now().timestamp_millis(),
                delivery_count: 1,
                invocation: "reconcile".to_owned(),
                traceparent: None,
                until: None,
            };
            attempt += 1;
            match self.engine.handle(event.clone(), &delivery).await {
                Ok(report) => return Ok(report.outcome),
                // parked beside the event that has the id, or refused for good: nothing is owed
                Err(NotHandled::IdReused { .. }) => {
                    return Ok(Outcome::Parked { reason: "id_reused".to_owned() });
                }
                Err(NotHandled::Unfinished(unfinished)) if attempt >= ATTEMPTS_MAX => {
                    return Err(FeedError::NotKept(unfinished));
                }
                Err(NotHandled::Unfinished(unfinished)) => {
                    tracing::debug!(%unfinished, attempt, "an event of a comparison comes again");
                    tokio::time::sleep(unfinished.retry_after.min(WAIT_MAX)).await;
                }
            }
        }
    }
}

/// Each event once.
pub(super) fn one_per_row(events: Vec<ChangeEvent>) -> Vec<ChangeEvent> {
    let mut seen = BTreeSet::new();
    events.into_iter().filter(|event| seen.insert(event.id.id().to_owned())).collect()
}
