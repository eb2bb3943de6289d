//! The claim protocol.
//!
//! One target row has one partition with a `row` record (lease, versions) and one record per event. Whoever wants to
//! work on an event writes both in **one transaction**, on condition that neither changed since it was read: the event
//! becomes `claimed` by a random token and the row's lease gets the same token. So of any number of workers with
//! any number of deliveries, one wins, and there is no gap between "is it handled?" and "it is mine".
//!
//! * **Finish** and **give up** are conditional on the row's ETag as the claim left it. Whoever takes over changes the
//!   ETag, so a worker that was overtaken changes nothing any more (P3).
//! * **Lost answers.** A write without an answer may have worked. Its author reads the records and looks for its own
//!   token before it judges: token on the row = the claim holds; event done = the finish worked. Nothing is
//!   inserted again blindly. A claim keeps its token through all its retries.
//! * **Time (R2, R3).** `Claim::holds_for` counts on the monotonic clock from *before* the claim was sent, so it errs
//!   towards "less". A taker waits until the lease's end by its own clock plus `clock_skew`. A request to the target
//!   may start only while the lease covers the longer of its own time-out and `settle`, the time an unanswered
//!   request may still take effect: then even a crash right after sending leaves the row leased until the
//!   request can no longer land. [`Ledger::renew`] makes room for the next request.
//! * **Versions advance at finish**, never at claim: the claim only notes which columns may be about to change
//!   (`touched`), so that a crash between the write and the finish does not hide them from a late delete (R5).
//! * **Arrival** is stamped by the first claim and read back by every later one (R1): the version of an event does not
//!   depend on when it is worked on.

use super::cache::Cache;
use super::judge::{Judgement, judge};
use super::record::{EventRecord, Lease, Phase, RowRecord, columns_of, event_key};
use super::store::{Commit, Etag, Expect, Snapshot, Store, StoreError, Stored};
use crate::clock::Clock;
use crate::domain::event::{ChangeEvent, HASH_VERSION};
use crate::domain::outcome::Outcome;
use crate::domain::row::RowState;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Conflicts in a row before a claim calls the row contended and lets the sender come back.
pub(super) const ROUNDS_MAX: u32 = 8;

/// What the protocol needs to know about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerLimits {
    /// How long a claim holds.
    pub lease: Duration,
    /// How far clocks may differ.
    pub clock_skew: Duration,
}

/// Claims on rows.
#[derive(Debug)]
pub struct Ledger {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: LedgerLimits,
    pub(super) cache: Cache,
}

/// What is claimed and by whom.
#[derive(Clone, Debug)]
pub struct ClaimRequest<'a> {
    /// The row's partition (`domain::partition`).
    pub partition: &'a str,
    /// The event.
    pub event: &'a ChangeEvent,
    /// When the event was first seen; only the first claim's value counts.
    pub arrival_ms: i64,
    /// Random, one per delivery, kept through retries.
    pub token: Uuid,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed {
    /// The row is ours.
    Acquired(Box<Claim>),
    /// The event was handled before.
    Duplicate(Outcome),
    /// Somebody else works on the row.
    Busy {
        /// When the lease ends, by the holder's clock, in milliseconds.
        until_ms: i64,
        /// Whether it is this very event.
        same_event: bool,
    },
    /// The same id came with other content.
    IdReused,
}

/// A row that is ours for a while.
#[derive(Debug)]
pub struct Claim {
    /// The row's partition.
    pub partition: String,
    /// What was known of the row when it was claimed, with this event's columns among the touched ones.
    pub state: RowState,
    /// The arrival that counts for the event's version.
    pub arrival_ms: i64,
    /// How often the event was claimed, this time included.
    pub attempts: u32,
    /// The event, the first of several.
    pub(super) event: HeldEvent,
    /// The other events of a fold (`super::fold`).
    pub(super) others: Vec<HeldEvent>,
    pub(super) row: Stored<RowRecord>,
    /// What was touched before this claim; `None` if our claim was found again after a lost answer.
    pub(super) touched_before: Option<BTreeSet<String>>,
    pub(super) token: Uuid,
    pub(super) holds_until: Duration,
}

/// An event's record while its row is ours.
#[derive(Clone, Debug)]
pub(super) struct HeldEvent {
    pub(super) key: String,
    pub(super) stored: Stored<EventRecord>,
}

impl Claim {
    /// All events that are claimed.
    pub(super) fn events(&self) -> impl Iterator<Item = &HeldEvent> {
        std::iter::once(&self.event).chain(&self.others)
    }

    /// The records of all events as they were read anew.
    pub(super) fn found_again(&mut self, found: Vec<Stored<EventRecord>>) {
        for (held, stored) in std::iter::once(&mut self.event).chain(&mut self.others).zip(found) {
            held.stored = stored;
        }
    }

    /// What is known of the row, for a plan made before anything was sent: without the columns that this claim itself
    /// noted as touched, because nothing of ours has touched them yet.
    #[must_use]
    pub fn state_before(&self) -> RowState {
        let touched = self.touched_before.as_ref().unwrap_or(&self.state.touched).clone();
        RowState { touched, ..self.state.clone() }
    }

    /// How long the row is still ours, by the monotonic clock; other clocks may think less by `clock_skew`.
    #[must_use]
    pub fn holds_for(&self, monotonic: Duration) -> Duration {
        self.holds_until.saturating_sub(monotonic)
    }

    /// The moment, on the monotonic clock, from which the row may be somebody else's.
    #[must_use]
    pub fn holds_until(&self) -> Duration {
        self.holds_until
    }
}

/// The answer to a finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The outcome is recorded (by this finish, or by a lost one of ours, or by whoever took over and was done first).
    Done,
    /// Somebody else holds the row and the event is not done: our work counts for nothing (R7).
    Overtaken,
}

/// Why the ledger could not say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The store failed; see there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many conflicts in a row.
    #[error("the row is contended: {ROUNDS_MAX} conflicts in a row")]
    Contended,
    /// The event cannot be written down.
    #[error("the event cannot be stored: {0}")]
    Payload(String),
}

impl LedgerError {
    /// Whether asking again may help: the ledger is away, or many want the same record.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Store(StoreError::Unavailable { .. } | StoreError::Unknown(_)) | Self::Contended => true,
            Self::Store(StoreError::Conflict | StoreError::Corrupt(_) | StoreError::TooLarge(_)) | Self::Payload(_) => {
                false
            }
        }
    }
}

impl Ledger {
    /// A ledger on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, limits: LedgerLimits) -> Self {
        Self { store, clock, limits, cache: Cache::default() }
    }

    /// Claims a row for an event. `touches` says which columns the event would write, given the row's state and the
    /// arrival that counts.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; the event must be kept by its sender.
    pub async fn claim(
        &self,
        request: &ClaimRequest<'_>,
        touches: &(dyn Fn(&RowState, i64) -> BTreeSet<String> + Sync),
    ) -> Result<Claimed, LedgerError> {
        let key = event_key(&request.event.id);
        let hash = format!("{HASH_VERSION}:{}", request.event.content_hash());
        if let Some((known, outcome)) = self.cache.outcome(request.partition, &key) {
            let same = crate::domain::event::same_content(&known, &hash);
            return Ok(if same { Claimed::Duplicate(outcome) } else { Claimed::IdReused });
        }
        let payload = serde_json::to_string(request.event).map_err(|error| LedgerError::Payload(error.to_string()))?;
        // a remembered row is claimed without reading, on condition that it is as we left it and the event is new
        let hint = self.cache.take_row(request.partition).filter(|row| row.record.lease.is_none());
        let hint = hint.map(|row| Snapshot { row: Some(row), event: None });
        let mut snapshot = self.cache.take_seen(request.partition, &key).or(hint);
        let mut first_sent: Option<Duration> = None;
        for _ in 0..ROUNDS_MAX {
            let current = match snapshot.take() {
                Some(snapshot) => snapshot,
                None => self.store.read(request.partition, &key).await?,
            };
            let now_ms = self.clock.now().timestamp_millis();
            match judge(&current, &hash, request.token, now_ms, millis(self.limits.clock_skew)) {
                Judgement::Free => {}
                Judgement::Mine => return self.found_mine(request, key, current, first_sent),
                Judgement::Done(outcome) => {
                    self.cache.put_outcome(request.partition, &key, &hash, outcome.clone());
                    return Ok(Claimed::Duplicate(outcome));
                }
                Judgement::Busy { until_ms, same_event } => return Ok(Claimed::Busy { until_ms, same_event }),
                Judgement::IdReused => return Ok(Claimed::IdReused),
                Judgement::Corrupt(what) => return Err(StoreError::Corrupt(what.to_owned()).into()),
            }
            let sent = self.clock.monotonic();
            let first = *first_sent.get_or_insert(sent);
            let (row, event) = self.records(request, &hash, &payload, &current, now_ms, touches);
            let before = current.row.as_ref().map(|stored| stored.record.state.touched.clone()).unwrap_or_default();
            let commit = Commit {
                partition: request.partition,
                row: (&row, Expect::unchanged(current.row.as_ref())),
                events: vec![(&key, &event, Expect::unchanged(current.event.as_ref()))],
            };
            match self.store.commit(commit).await {
                Ok(committed) => {
                    let etag = committed.events.into_iter().next().unwrap_or(Etag(String::new()));
                    let row = Stored { record: row, etag: committed.row };
                    let mut claim = self.claimed(request, key, row, Stored { record: event, etag }, first);
                    claim.touched_before = Some(before);
                    return Ok(Claimed::Acquired(Box::new(claim)));
                }
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended)
    }

    /// The records as the claim writes them.
    fn records(
        &self,
        request: &ClaimRequest<'_>,
        hash: &str,
        payload: &str,
        current: &Snapshot,
        now_ms: i64,
        touches: &(dyn Fn(&RowState, i64) -> BTreeSet<String> + Sync),
    ) -> (RowRecord, EventRecord) {
        let before = current.event.as_ref().map(|stored| &stored.record);
        let arrival_ms = before.map_or(request.arrival_ms, |event| event.arrival_ms);
        let mut row = current.row.as_ref().map(|stored| stored.record.clone()).unwrap_or_default();
        row.state.touched.extend(touches(&row.state, arrival_ms));
        row.lease = Some(Lease { owner: request.token, until_ms: now_ms.saturating_add(millis(self.limits.lease)) });
        row.epoch = row.epoch.saturating_add(1);
        let event = EventRecord {
            id: request.event.id.clone(),
            phase: Phase::Claimed(request.token),
            hash: before.map_or(hash, |event| &event.hash).to_owned(),
            payload: Some(payload.to_owned()),
            operation: request.event.operation.name().to_owned(),
            columns: columns_of(request.event),
            at: request.event.stamp.at,
            arrival_ms,
            first_ms: before.map_or(now_ms, |event| event.first_ms),
            updated_ms: now_ms,
            attempts: before.map_or(0, |event| event.attempts).saturating_add(1),
            outcome: None,
            replays: before.map_or(0, |event| event.replays),
            folded: 0,
        };
        (row, event)
    }

    fn found_mine(
        &self,
        request: &ClaimRequest<'_>,
        key: String,
        snapshot: Snapshot,
        first_sent: Option<Duration>,
    ) -> Result<Claimed, LedgerError> {
        match (snapshot.row, snapshot.event) {
            (Some(row), Some(event)) => {
                // the lease counts from the earliest send that may have written it; without one it is over
                let sent = first_sent.unwrap_or_default();
                Ok(Claimed::Acquired(Box::new(self.claimed(request, key, row, event, sent))))
            }
            _ => Err(StoreError::Corrupt("row has our token and the event has no record".to_owned()).into()),
        }
    }

    fn claimed(
        &self,
        request: &ClaimRequest<'_>,
        key: String,
        row: Stored<RowRecord>,
        event: Stored<EventRecord>,
        sent: Duration,
    ) -> Claim {
        Claim {
            partition: request.partition.to_owned(),
            state: row.record.state.clone(),
            arrival_ms: event.record.arrival_ms,
            attempts: event.record.attempts,
            event: HeldEvent { key, stored: event },
            others: Vec::new(),
            row,
            touched_before: None,
            token: request.token,
            holds_until: sent.saturating_add(self.limits.lease),
        }
    }

    /// What the ledger knows of a row and its events (P7).
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn history(
        &self,
        partition: &str,
        events_max: usize,
    ) -> Result<(Option<RowRecord>, Vec<EventRecord>), LedgerError> {
        Ok(self.store.history(partition, events_max).await?)
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
