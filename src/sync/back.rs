//! Coming back to what is owed: an entry's event is taken from the ledger and handled like any other, and an entry that could
//! not be worked on is due again soon. Knows neither sweeps nor messages.
//!
//! Who takes an entry out of the way of others (a sweep that hands it over) counts on whoever gets its name: there the entry
//! ends, is deferred, or is put off; and if not even that can be done, the name is given back to be brought again.

use super::engine::Engine;
use super::failure::Failure;
use super::keep::Track;
use super::pause;
use super::paused::PAUSED;
use crate::clock::Clock;
use crate::domain::delivery::{Channel, Delivery, NotHandled, Report, Unfinished};
use crate::domain::mapping::Limits;
use crate::domain::outcome::Outcome;
use crate::inbox::{Entry, Inbox, InboxError, Name, Slip};
use crate::outbound::gate::Permit;
use chrono::DateTime;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// First and longest pause after an entry could not be worked on. It doubles each time.
const FAILED_MIN: Duration = Duration::from_secs(2);
const FAILED_MAX: Duration = Duration::from_secs(900);

/// What became of an entry that could not be worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOff {
    /// It is due again then, in milliseconds.
    Until(i64),
    /// It waits for a person, for this reason.
    Parked(String),
    /// Somebody else has settled or moved it.
    Elsewhere,
}

/// Moves an entry that could not even be worked on away from the others, for longer each time, and parks it in the end.
///
/// # Errors
/// [`InboxError`]: it is where it was, or at its new time.
pub async fn put_off(
    inbox: &Inbox,
    limits: &Limits,
    now_ms: i64,
    (slip, entry): (&Slip, &Entry),
    why: &str,
) -> Result<PutOff, InboxError> {
    let attempts = entry.attempts.saturating_add(1);
    // the time that a pause took is not the event's
    let entry = &Entry { first_ms: if entry.reason == PAUSED { now_ms } else { entry.first_ms }, ..entry.clone() };
    let too_old = now_ms.saturating_sub(entry.first_ms) > millis(limits.age_max);
    if attempts >= limits.attempts_max || too_old {
        let word = if too_old { "too_old" } else { "attempts_exhausted" };
        let reason = format!("{word}: {why}");
        inbox.park(&entry.again(now_ms, attempts, why), &reason, now_ms).await?;
        inbox.settle(slip).await?;
        return Ok(PutOff::Parked(reason));
    }
    let pause = FAILED_MIN.saturating_mul(1 << entry.attempts.min(16)).min(FAILED_MAX);
    let later = entry.again(now_ms.saturating_add(millis(pause)), attempts, why);
    Ok(inbox.put_off(slip, &later).await?.map_or(PutOff::Elsewhere, |_| PutOff::Until(later.due_ms)))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// One of those that are coming back at the moment.
struct Coming<'a>(&'a AtomicUsize);

impl<'a> Coming<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    fn was_last(self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn told(partition: &str, event_key: &str, outcome: Outcome) -> Report {
    let event_id = event_key.strip_prefix("event:").unwrap_or(event_key).to_owned();
    let row = partition.rsplit(':').next().unwrap_or_default().to_owned();
    Report { outcome, event_id, table: String::new(), row }
}

/// The report on an entry that was not even looked at.
fn left_alone(name: &Name, why: &str) -> Report {
    let retry_at = DateTime::from_timestamp_millis(name.due_ms).unwrap_or_default();
    told(&name.partition, &name.event_key, Outcome::Deferred { retry_at, reason: why.to_owned() })
}

fn unfinished(reason: String) -> NotHandled {
    Unfinished { reason, retry_after: Duration::from_secs(1) }.into()
}

impl Engine {
    /// Comes back to the entry of this name. One that cannot be worked on is put off. While the inbox cannot be reached that
    /// is tried again, as long as a message may take.
    ///
    /// # Errors
    /// [`NotHandled::Unfinished`]: the entry, if it is there, is where it was.
    pub(super) async fn come_back_to(&self, name: &Name, invocation: &str) -> Result<Option<Report>, NotHandled> {
        let Some(inbox) = &self.parts.inbox else { return Ok(None) };
        let coming = Coming::one_more(&self.coming);
        let ended = self.come_back_in(inbox, name, invocation).await;
        if coming.was_last() {
            // nobody is left with whose entry it could go
            inbox.settle_all().await;
        }
        ended
    }

    async fn come_back_in(&self, inbox: &Inbox, name: &Name, invocation: &str) -> Result<Option<Report>, NotHandled> {
        let (clock, limits) = (&self.parts.clock, &self.parts.mapping.limits);
        let deadline = clock.monotonic().saturating_add(limits.queue_deadline);
        let place = match self.place(limits.queue_deadline).await {
            Ok(place) => place,
            // nothing is read and nothing is written: the entry, if it is there, is due again at its time
            Err(refusal) => return Ok(Some(left_alone(name, &refusal.to_string()))),
        };
        let found = patiently(clock.as_ref(), deadline, || inbox.named(name)).await;
        let Some((slip, entry)) = found.map_err(|error| unfinished(error.to_string()))? else { return Ok(None) };
        let error = match self.resume(&slip, &entry, Some(place), invocation).await {
            Ok(ended) => return Ok(ended),
            Err(error) => error,
        };
        let why = error.to_string();
        let put_off = || {
            let now_ms = clock.now().timestamp_millis();
            put_off(inbox, limits, now_ms, (&slip, &entry), &why)
        };
        let outcome = match patiently(clock.as_ref(), deadline, put_off).await {
            Ok(PutOff::Until(due_ms)) => {
                let retry_at = DateTime::from_timestamp_millis(due_ms).unwrap_or_default();
                Outcome::Deferred { retry_at, reason: why }
            }
            Ok(PutOff::Parked(reason)) => Outcome::Parked { reason },
            Ok(PutOff::Elsewhere) => return Ok(None),
            Err(not_moved) => {
                tracing::warn!(error = %not_moved, "an owed event could be neither worked on nor put off");
                return Err(error);
            }
        };
        Ok(Some(Report { table: entry.table, ..told(&entry.partition, &entry.event_key, outcome) }))
    }

    /// Works on an inbox entry that is due: the event is taken from the ledger and handled like any other; the entry is
    /// removed when the event has ended ([`Inbox::settle_now`] does it at once), and moved when it is deferred again. `place`:
    /// a place at the target that was taken for it. `None`: it had ended before.
    ///
    /// # Errors
    /// [`NotHandled::Unfinished`]: the entry is still there and due.
    pub async fn resume(
        &self,
        slip: &Slip,
        entry: &Entry,
        place: Option<Permit>,
        invocation: &str,
    ) -> Result<Option<Report>, NotHandled> {
        let Some(inbox) = &self.parts.inbox else { return Err(unfinished("there is no inbox".to_owned())) };
        let found = self.parts.ledger.event(&entry.partition, &entry.event_key).await;
        let record = found.map_err(|error| unfinished(error.to_string()))?;
        let event = match &record {
            Some(record) if !record.phase.is_ended() => {
                record.event().map_err(|error| unfinished(format!("ledger record is corrupt: {error}")))?
            }
            _ => None,
        };
        let (Some(record), Some(event)) = (record, event) else {
            inbox.settle_soon(slip, self.parts.clock.monotonic()).await;
            return Ok(None);
        };
        let delivery = Delivery {
            channel: Channel::Inbox,
            arrival_ms: record.arrival_ms,
            delivery_count: entry.attempts.saturating_add(1),
            invocation: invocation.to_owned(),
            traceparent: None,
            until: None,
        };
        let mut track = Track {
            slip: Some((slip.clone(), entry.clone())),
            stored_in: Some(entry.partition.clone()),
            place,
            ..Track::default()
        };
        let report = match self.work(event, &delivery, &mut track).await {
            Ok(report) => report,
            // parked beside the event that has the id: nothing is owed under this entry any more
            Err(NotHandled::IdReused { stored: true, .. }) => {
                inbox.settle_soon(slip, self.parts.clock.monotonic()).await;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // it waited without its row and it is known now where it belongs; or it belongs nowhere
        let here = match (&report.outcome, &track.partition) {
            (Outcome::Ignored(_), _) => false,
            (_, Some(partition)) => *partition == entry.partition,
            (outcome, None) => matches!(outcome, Outcome::Deferred { .. }),
        };
        if !here {
            let ended = self.parts.ledger.end_waiting(&entry.partition, &entry.event_key, &report.outcome).await;
            ended.map_err(|error| unfinished(error.to_string()))?;
        }
        if !matches!(report.outcome, Outcome::Deferred { .. }) {
            inbox.settle_soon(slip, self.parts.clock.monotonic()).await;
        }
        Ok(Some(report))
    }
}

/// Asks the inbox again while it cannot be reached, until the deadline.
async fn patiently<T, F>(clock: &dyn Clock, deadline: Duration, ask: impl Fn() -> F + Send) -> Result<T, InboxError>
where
    F: Future<Output = Result<T, InboxError>> + Send,
{
    let mut attempt = 0;
    loop {
        let error = match ask().await {
            Err(error @ (InboxError::Unavailable { .. } | InboxError::Unknown(_))) => error,
            ended => return ended,
        };
        attempt += 1;
        let left = deadline.saturating_sub(clock.monotonic());
        if pause::within(left, attempt, None, Failure::ledger(error.to_string())).await.is_err() {
            return Err(error);
        }
    }
}
