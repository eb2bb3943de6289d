//! Events that need a person: parked, replayed, discarded.
//!
//! Parked is an outcome: a redelivery is a duplicate, the row is free, nothing is tried any more. But the payload is
//! kept, so that a replay can make the event owed again. A replay is counted in the record and nowhere else, so of any
//! number of redeliveries of a replay (two queue messages, two inbox entries) one runs, by the same claim as ever.
//!
//! **Order (P1).** The inbox's parked entry is written *before* the ledger parks, and the due entry is settled after
//! it. A replay goes the other way: the ledger first, then the due entry, then the parked entry is removed. Each step
//! may be repeated after a crash; every answer here says what the next step is.

use super::claim::{Claim, Finished, Ledger, LedgerError, ROUNDS_MAX, millis};
use super::record::{EventRecord, Phase, event_key};
use super::store::{Expect, Snapshot, StoreError};
use crate::domain::event::ChangeEvent;
use crate::domain::outcome::Outcome;

/// The answer to parking an event that nobody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parking {
    /// It is parked.
    Parked,
    /// It has ended otherwise: nothing to park.
    Done(Outcome),
    /// Somebody works on it.
    Busy {
        /// When the lease ends, by the holder's clock, in milliseconds.
        until_ms: i64,
    },
    /// The ledger does not know it.
    Missing,
}

/// The answer to a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is owed (again, or still): write its due entry, then remove the parked one.
    Owed(Box<EventRecord>),
    /// Its payload is gone, because it was handled or discarded since; how it ended.
    NoPayload(Outcome),
    /// Another event with this id is owed: this content can be replayed when that one has ended.
    Pending,
    /// The ledger does not know it.
    Missing,
}

/// The answer to discarding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// It is recorded as discarded: remove the parked entry.
    Recorded,
    /// It had ended already, and not as parked: remove the parked entry.
    Done(Outcome),
    /// It is owed, so it will be tried by itself and cannot be discarded now.
    Pending,
    /// The ledger does not know it: remove the parked entry.
    Missing,
}

/// What to write (or was written), or what to answer without writing.
enum Amend<T> {
    Write(Box<EventRecord>),
    Answer(T),
}

impl<T> Amend<T> {
    fn or(self, written: impl FnOnce(Box<EventRecord>) -> T) -> T {
        match self {
            Self::Write(record) => written(record),
            Self::Answer(answer) => answer,
        }
    }
}

impl Claim {
    /// Whether a person had this event run again.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.event.stored.record.replays > 0
    }
}

impl Ledger {
    /// Ends claimed work as parked: row freed with its state as it was, payload kept, one transaction. `sent` as in
    /// [`Ledger::give_up`]. One round trip.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; the lease runs out by itself.
    pub async fn park(&self, claim: &mut Claim, reason: &str, sent: bool) -> Result<Finished, LedgerError> {
        let events = claim.events().map(|held| parked(&held.stored.record, reason)).collect();
        self.leave(claim, sent, events).await
    }

    /// Parks an event that nobody works on (too many attempts, too old). Two round trips.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; asking again is safe.
    pub async fn park_event(&self, partition: &str, event_key: &str, reason: &str) -> Result<Parking, LedgerError> {
        self.amend(partition, event_key, |found, now_ms| {
            let Some(event) = found.event.as_ref().map(|stored| &stored.record) else {
                return Amend::Answer(Parking::Missing);
            };
            match (event.phase, &event.outcome) {
                (Phase::Parked, _) => return Amend::Answer(Parking::Parked),
                (Phase::Done, outcome) => return Amend::Answer(Parking::Done(known(outcome.as_ref()))),
                (Phase::Owed | Phase::Claimed(_), _) => {}
            }
            // claimed is worked on only while its owner holds the row (PROTOCOL R8)
            let lease = found.row.as_ref().and_then(|row| row.record.lease);
            let lives = |until_ms: i64| until_ms.saturating_add(millis(self.limits.clock_skew)) > now_ms;
            match lease {
                Some(lease) if event.phase == Phase::Claimed(lease.owner) && lives(lease.until_ms) => {
                    Amend::Answer(Parking::Busy { until_ms: lease.until_ms })
                }
                _ => Amend::Write(Box::new(EventRecord { updated_ms: now_ms, ..parked(event, reason) })),
            }
        })
        .await
        .map(|ended| ended.or(|_| Parking::Parked))
    }

    /// Makes a parked event owed again, its attempts from zero. Two round trips; repeating it is safe.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; asking again is safe.
    pub async fn replay(&self, partition: &str, event_key: &str) -> Result<Replayed, LedgerError> {
        self.cache.forget_outcome(partition, event_key);
        self.amend(partition, event_key, |found, now_ms| {
            let Some(event) = found.event.as_ref().map(|stored| &stored.record) else {
                return Amend::Answer(Replayed::Missing);
            };
            if !event.phase.is_ended() {
                return Amend::Answer(Replayed::Owed(Box::new(event.clone())));
            }
            if event.payload.is_none() {
                return Amend::Answer(Replayed::NoPayload(known(event.outcome.as_ref())));
            }
            Amend::Write(Box::new(again(event, now_ms)))
        })
        .await
        .map(|ended| ended.or(Replayed::Owed))
    }

    /// Runs this content on purpose, even if its id was handled before, with other content or this (a raw payload that
    /// can be decoded now; an impostor that turned out to be right). Two round trips; repeating it while it is owed
    /// is safe, repeating it after it ended runs it again. `arrival_ms` counts only if the id is not known.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known. `TooLarge` in it means that it cannot be stored.
    pub async fn replay_as(
        &self,
        partition: &str,
        event: &ChangeEvent,
        arrival_ms: i64,
    ) -> Result<Replayed, LedgerError> {
        let (key, fresh) = (event_key(&event.id), self.fresh(event, arrival_ms)?);
        self.cache.forget_outcome(partition, &key);
        self.amend(partition, &key, |found, now_ms| {
            let Some(before) = found.event.as_ref().map(|stored| &stored.record) else {
                return Amend::Write(Box::new(EventRecord { replays: 1, ..fresh.clone() }));
            };
            if before.phase.is_ended() {
                let content = EventRecord {
                    hash: fresh.hash.clone(),
                    payload: fresh.payload.clone(),
                    operation: fresh.operation.clone(),
                    columns: fresh.columns.clone(),
                    at: fresh.at,
                    ..before.clone()
                };
                return Amend::Write(Box::new(again(&content, now_ms)));
            }
            Amend::Answer(if before.hash == fresh.hash {
                Replayed::Owed(Box::new(before.clone()))
            } else {
                Replayed::Pending
            })
        })
        .await
        .map(|ended| ended.or(Replayed::Owed))
    }

    /// Drops the payload of a parked event: it stays known as parked and cannot be replayed any more. Two round trips.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; asking again is safe.
    pub async fn discard(&self, partition: &str, event_key: &str) -> Result<Discarded, LedgerError> {
        self.amend(partition, event_key, |found, now_ms| {
            let Some(event) = found.event.as_ref().map(|stored| &stored.record) else {
                return Amend::Answer(Discarded::Missing);
            };
            match (event.phase, &event.outcome) {
                (Phase::Owed | Phase::Claimed(_), _) => Amend::Answer(Discarded::Pending),
                (Phase::Done, Some(Outcome::Parked { .. })) => Amend::Answer(Discarded::Recorded),
                (Phase::Done, outcome) => Amend::Answer(Discarded::Done(known(outcome.as_ref()))),
                (Phase::Parked, outcome) => {
                    let reason = format!("discarded: {}", known(outcome.as_ref()).detail());
                    Amend::Write(Box::new(EventRecord {
                        phase: Phase::Done,
                        payload: None,
                        updated_ms: now_ms,
                        outcome: Some(Outcome::Parked { reason }),
                        ..event.clone()
                    }))
                }
            }
        })
        .await
        .map(|ended| ended.or(|_| Discarded::Recorded))
    }

    /// Reads, decides, writes on condition that nothing changed; again after a conflict or a lost answer.
    async fn amend<T>(
        &self,
        partition: &str,
        event_key: &str,
        decide: impl Fn(&Snapshot, i64) -> Amend<T> + Send,
    ) -> Result<Amend<T>, LedgerError> {
        for _ in 0..ROUNDS_MAX {
            let found = self.store.read(partition, event_key).await?;
            let record = match decide(&found, self.clock.now().timestamp_millis()) {
                answer @ Amend::Answer(_) => return Ok(answer),
                Amend::Write(record) => record,
            };
            let expect = Expect::unchanged(found.event.as_ref());
            match self.store.put_event(partition, event_key, &record, expect).await {
                Ok(_) => return Ok(Amend::Write(record)),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended)
    }
}

fn parked(event: &EventRecord, reason: &str) -> EventRecord {
    EventRecord { phase: Phase::Parked, outcome: Some(Outcome::Parked { reason: reason.to_owned() }), ..event.clone() }
}

fn again(event: &EventRecord, now_ms: i64) -> EventRecord {
    EventRecord {
        phase: Phase::Owed,
        updated_ms: now_ms,
        attempts: 0,
        outcome: None,
        replays: event.replays.saturating_add(1),
        ..event.clone()
    }
}

/// An ended event has an outcome; one that lost it is told as such, not hidden.
fn known(outcome: Option<&Outcome>) -> Outcome {
    outcome.cloned().unwrap_or(Outcome::Parked { reason: "outcome_missing".to_owned() })
}
