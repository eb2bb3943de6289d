//! Events that are kept without being worked on: stored durably beside the row, the row's lease untouched.
//!
//! Somebody who cannot have the row (busy, paused, no time, target unreachable) makes sure that the event is in the
//! ledger before anybody is told that it is stored (P1, PROTOCOL R7). The record is inserted only if the event is not
//! known: whatever is there is further than "owed", or just as far. The writes here are conditional on the event's
//! record alone. They cannot disturb a worker: a claim and a finish write that record too, each on condition that
//! it is as it was read, so of two writers one reads again.

use super::claim::{Ledger, LedgerError, ROUNDS_MAX};
use super::record::{EventRecord, Phase, columns_of, event_key};
use super::store::{Expect, StoreError, Stored};
use crate::domain::event::{ChangeEvent, HASH_VERSION, same_content};
use crate::domain::outcome::Outcome;

/// What became of an event that should be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owed {
    /// It is stored now.
    New,
    /// It was stored before.
    Known {
        /// How far it is.
        phase: Phase,
        /// How it ended, if it did: then nothing is owed.
        outcome: Option<Outcome>,
    },
    /// The same id came with other content. Nothing was written.
    IdReused,
}

impl Ledger {
    /// Makes sure that an event is stored with its payload, in the partition of its row. One round trip if it is new,
    /// two if it was known, none if this instance finished it a while ago. `arrival_ms` counts only if it is new.
    ///
    /// # Errors
    /// [`LedgerError`]: it may not be stored and must not be acknowledged. `TooLarge` in it means that it never can be.
    pub async fn owe(&self, partition: &str, event: &ChangeEvent, arrival_ms: i64) -> Result<Owed, LedgerError> {
        let (key, fresh) = (event_key(&event.id), self.fresh(event, arrival_ms)?);
        if let Some((hash, outcome)) = self.cache.outcome(partition, &key) {
            return Ok(if same_content(&hash, &fresh.hash) {
                Owed::Known { phase: Phase::Done, outcome: Some(outcome) }
            } else {
                Owed::IdReused
            });
        }
        for _ in 0..ROUNDS_MAX {
            match self.store.put_event(partition, &key, &fresh, Expect::Absent).await {
                Ok(_) => return Ok(Owed::New),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            // known before, or our own write whose answer was lost: both are as good
            if let Some(Stored { record, .. }) = self.store.read(partition, &key).await?.event {
                return Ok(if same_content(&record.hash, &fresh.hash) {
                    Owed::Known { phase: record.phase, outcome: record.outcome }
                } else {
                    Owed::IdReused
                });
            }
        }
        Err(LedgerError::Contended)
    }

    /// What is known of an event ([`EventRecord::event`] gives the event itself back). One round trip. Whoever works on
    /// an inbox entry asks this first: it is also what makes this instance forget an outcome that was replayed since, and a
    /// claim of the event that follows need not read again.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn event(&self, partition: &str, event_key: &str) -> Result<Option<EventRecord>, LedgerError> {
        let snapshot = self.store.read(partition, event_key).await?;
        let found = snapshot.event.as_ref().map(|found| found.record.clone());
        if found.as_ref().is_none_or(|found| !found.phase.is_ended()) {
            self.cache.forget_outcome(partition, event_key);
            self.cache.put_seen(partition, event_key, snapshot);
        }
        Ok(found)
    }

    /// Ends the record of an event that waited in a partition of its own, because its row was not known yet, with what
    /// came of it in the row's partition. Two round trips; nobody else writes that record.
    ///
    /// # Errors
    /// [`LedgerError`]: it may still wait; asking again is safe.
    pub async fn end_waiting(&self, partition: &str, event_key: &str, outcome: &Outcome) -> Result<(), LedgerError> {
        for _ in 0..ROUNDS_MAX {
            let Some(found) = self.store.read(partition, event_key).await?.event else { return Ok(()) };
            if found.record.phase.is_ended() {
                return Ok(());
            }
            let ended = EventRecord {
                phase: Phase::Done,
                payload: None,
                updated_ms: self.clock.now().timestamp_millis(),
                outcome: Some(outcome.clone()),
                ..found.record
            };
            match self.store.put_event(partition, event_key, &ended, Expect::Is(found.etag)).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended)
    }

    /// The record of an event that nobody has worked on yet.
    pub(super) fn fresh(&self, event: &ChangeEvent, arrival_ms: i64) -> Result<EventRecord, LedgerError> {
        let payload = serde_json::to_string(event).map_err(|error| LedgerError::Payload(error.to_string()))?;
        let now_ms = self.clock.now().timestamp_millis();
        Ok(EventRecord {
            id: event.id.clone(),
            phase: Phase::Owed,
            hash: format!("{HASH_VERSION}:{}", event.content_hash()),
            payload: Some(payload),
            operation: event.operation.name().to_owned(),
            columns: columns_of(event),
            at: event.stamp.at,
            arrival_ms,
            first_ms: now_ms,
            updated_ms: now_ms,
            attempts: 0,
            outcome: None,
            replays: 0,
            folded: 0,
        })
    }
}
