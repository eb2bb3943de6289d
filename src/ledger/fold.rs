//! Several new events of one row under one claim: one transaction takes the row and writes all of them down, one transaction
//! ends them all. Knows nothing of what they mean to the row.
//!
//! The rules are those of [`super::claim`], for all of the events or for none:
//!
//! * Every event is **inserted**: a fold only takes events that nobody has seen. What turns out to be known (handled, owed,
//!   worked on, another content under the same id) is left out and stays with the caller, who claims it by itself, where
//!   all of that is told apart. So a fold never decides about an event that has a history.
//! * The row is taken on condition that it is as it was read, or as this instance left it. After a conflict or a lost answer
//!   the row and all records are read, and it is decided anew; nothing is inserted again blindly, and all rounds have one
//!   token. A lost answer that worked is known by that token: on the row, and on each event that went with it.
//! * [`Ledger::finish_all`] and [`Ledger::give_up`] write all events and the row in one transaction, conditional on all of them.
//!   If the row was taken over and even one event is not done, nothing counts as done (R7): each event is asked for by itself
//!   again.
//!
//! A fold is bounded by [`FOLD_EVENTS_MAX`] and [`FOLD_BYTES_MAX`] ([`FoldEvent::cut`]), because Table Storage takes 100
//! operations and 4 MiB in one transaction.

use super::claim::{Claim, HeldEvent, Ledger, LedgerError, ROUNDS_MAX, millis};
use super::record::{EventRecord, Lease, Phase, RowRecord, event_key};
use super::store::{Commit, EVENTS_MAX, Etag, Expect, Found, Snapshot, StoreError, Stored};
use crate::domain::event::ChangeEvent;
use crate::domain::row::RowState;
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// Most events of one fold. Below what a transaction takes, and as many as `host.json` lets the host hand over at once.
pub const FOLD_EVENTS_MAX: usize = 64;
/// Most bytes of payload in one fold. Within a record, within an entity, a payload's quotes and backslashes take four times
/// their room; with that and the largest row a transaction stays below its 4 MiB.
pub const FOLD_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(FOLD_EVENTS_MAX <= EVENTS_MAX && FOLD_BYTES_MAX * 4 + (1 << 20) < 4 << 20);

/// An event that may be folded, written down.
#[derive(Clone, Debug)]
pub struct FoldEvent {
    key: String,
    record: EventRecord,
}

impl FoldEvent {
    /// Groups of neighbours that fit into one transaction each, in order.
    #[must_use]
    pub fn cut(events: Vec<Self>) -> Vec<Vec<Self>> {
        let (mut groups, mut bytes) = (Vec::<Vec<Self>>::new(), 0);
        for event in events {
            let size = event.record.payload.as_ref().map_or(0, String::len);
            let fits = |group: &&mut Vec<Self>| group.len() < FOLD_EVENTS_MAX && bytes + size <= FOLD_BYTES_MAX;
            match groups.last_mut().filter(fits) {
                Some(group) => {
                    bytes += size;
                    group.push(event);
                }
                None => {
                    bytes = size;
                    groups.push(vec![event]);
                }
            }
        }
        groups
    }
}

/// What is claimed and by whom.
#[derive(Clone, Debug)]
pub struct FoldRequest<'a> {
    /// The row's partition (`domain::partition`).
    pub partition: &'a str,
    /// The events, one of the groups of [`FoldEvent::cut`].
    pub events: &'a [FoldEvent],
    /// Random, kept through retries.
    pub token: Uuid,
}

/// The answer to a claim on several events.
#[derive(Debug)]
pub enum FoldClaimed {
    /// The row is ours.
    Acquired {
        /// The claim on all that were taken.
        claim: Box<Claim>,
        /// Which ones those are, by their places in the request, in the order of the claim.
        taken: Vec<usize>,
    },
    /// Somebody else works on the row, until then by its clock, in milliseconds.
    Busy {
        /// When the lease ends.
        until_ms: i64,
    },
    /// Fewer than two of them are new, or the row's history is elsewhere: each by itself. Nothing was written.
    Apart,
}

/// Which columns the events at these places would write together, given the row's state.
pub type FoldTouches<'a> = dyn Fn(&RowState, &[usize]) -> BTreeSet<String> + Sync + 'a;

impl Ledger {
    /// Writes an event down for a fold; `arrival_ms` as in [`super::claim::ClaimRequest`].
    ///
    /// # Errors
    /// [`LedgerError::Payload`].
    pub fn fold_event(&self, event: &ChangeEvent, arrival_ms: i64) -> Result<FoldEvent, LedgerError> {
        Ok(FoldEvent { key: event_key(&event.id), record: self.fresh(event, arrival_ms)? })
    }

    /// Claims a row for those of several events that nobody has seen yet. Round trips: one if the row is remembered, two if
    /// not; when some are known one more for a dozen of them.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; a row that was taken all the same is free when the lease has ended.
    pub async fn claim_fold(
        &self,
        request: &FoldRequest<'_>,
        touches: &FoldTouches<'_>,
    ) -> Result<FoldClaimed, LedgerError> {
        let mut open = self.unseen(request);
        // what is not looked at is taken for new, on condition that it is
        let mut found = match open.first().and_then(|n| request.events.get(*n)).filter(|_| open.len() > 1) {
            None => return Ok(FoldClaimed::Apart),
            Some(first) => {
                let hint = self.cache.take_row(request.partition).filter(|row| row.record.lease.is_none());
                let snapshot = match hint {
                    Some(row) => Snapshot { row: Some(row), event: None },
                    None => self.store.read(request.partition, &first.key).await?,
                };
                if snapshot.event.is_some() {
                    open.remove(0);
                }
                Some(Found { row: snapshot.row, events: vec![None; request.events.len()] })
            }
        };
        let mut first_sent: Option<Duration> = None;
        for _ in 0..ROUNDS_MAX {
            let current = match found.take() {
                Some(found) => found,
                None => {
                    let keys: Vec<&str> = request.events.iter().map(|event| event.key.as_str()).collect();
                    self.store.read_all(request.partition, &keys).await?
                }
            };
            let now_ms = self.clock.now().timestamp_millis();
            match current.row.as_ref().and_then(|row| row.record.lease) {
                Some(lease) if lease.owner == request.token => return found_mine(self, request, current, first_sent),
                Some(lease) if lease.until_ms.saturating_add(millis(self.limits.clock_skew)) > now_ms => {
                    return Ok(FoldClaimed::Busy { until_ms: lease.until_ms });
                }
                _ => {}
            }
            open.retain(|n| current.events.get(*n).is_some_and(Option::is_none));
            let moved = current.row.as_ref().is_some_and(|row| row.record.state.moved.is_some());
            if open.len() < 2 || moved {
                // whoever claims them one by one need not read it again
                if let Some(row) = current.row.filter(|row| row.record.lease.is_none()) {
                    self.cache.put_row(request.partition, row);
                }
                return Ok(FoldClaimed::Apart);
            }
            let first = *first_sent.get_or_insert(self.clock.monotonic());
            match self.take(request, &open, &current, now_ms, first, touches).await {
                Ok(claim) => return Ok(FoldClaimed::Acquired { claim: Box::new(claim), taken: open }),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Contended)
    }

    /// The places of events that this instance has not finished lately; of two with one id the first.
    fn unseen(&self, request: &FoldRequest<'_>) -> Vec<usize> {
        let mut ids = BTreeSet::new();
        let new = |event: &FoldEvent| self.cache.outcome(request.partition, &event.key).is_none();
        let places = request.events.iter().enumerate().take(FOLD_EVENTS_MAX);
        places.filter(|(_, event)| new(event) && ids.insert(&event.key)).map(|(n, _)| n).collect()
    }

    /// One transaction: the row leased, the events inserted.
    async fn take(
        &self,
        request: &FoldRequest<'_>,
        open: &[usize],
        current: &Found,
        now_ms: i64,
        sent: Duration,
        touches: &FoldTouches<'_>,
    ) -> Result<Claim, StoreError> {
        let mut row = current.row.as_ref().map(|stored| stored.record.clone()).unwrap_or_default();
        let before = row.state.touched.clone();
        row.state.touched.extend(touches(&row.state, open));
        row.lease = Some(Lease { owner: request.token, until_ms: now_ms.saturating_add(millis(self.limits.lease)) });
        row.epoch = row.epoch.saturating_add(1);
        let folded = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let claimed = |event: &FoldEvent| {
            let phase = Phase::Claimed(request.token);
            let record = EventRecord {
                phase,
                first_ms: now_ms,
                updated_ms: now_ms,
                attempts: 1,
                folded,
                ..event.record.clone()
            };
            (event.key.clone(), record)
        };
        let events: Vec<(String, EventRecord)> =
            open.iter().filter_map(|n| request.events.get(*n)).map(claimed).collect();
        let commit = Commit {
            partition: request.partition,
            row: (&row, Expect::unchanged(current.row.as_ref())),
            events: events.iter().map(|(key, record)| (key.as_str(), record, Expect::Absent)).collect(),
        };
        let committed = self.store.commit(commit).await?;
        let row = Stored { record: row, etag: committed.row };
        let held =
            |((key, record), etag): ((String, EventRecord), Etag)| HeldEvent { key, stored: Stored { record, etag } };
        let held: Vec<_> = events.into_iter().zip(committed.events).map(held).collect();
        let claim = self.held(request, row, held, Some(before), sent);
        claim.ok_or_else(|| StoreError::Unknown("the answer to a claim names no versions".to_owned()))
    }

    fn held(
        &self,
        request: &FoldRequest<'_>,
        row: Stored<RowRecord>,
        mut events: Vec<HeldEvent>,
        touched_before: Option<BTreeSet<String>>,
        sent: Duration,
    ) -> Option<Claim> {
        if events.is_empty() {
            return None;
        }
        let event = events.remove(0);
        Some(Claim {
            partition: request.partition.to_owned(),
            state: row.record.state.clone(),
            arrival_ms: event.stored.record.arrival_ms,
            attempts: event.stored.record.attempts,
            event,
            others: events,
            row,
            touched_before,
            token: request.token,
            holds_until: sent.saturating_add(self.limits.lease),
        })
    }
}

/// Our own claim worked although its answer was lost: it is on those events that have our token.
fn found_mine(
    ledger: &Ledger,
    request: &FoldRequest<'_>,
    found: Found,
    first_sent: Option<Duration>,
) -> Result<FoldClaimed, LedgerError> {
    let Some(row) = found.row else { return Ok(FoldClaimed::Apart) };
    let (mut taken, mut held) = (Vec::new(), Vec::new());
    for (n, (event, stored)) in request.events.iter().zip(found.events).enumerate() {
        if let Some(stored) = stored.filter(|stored| stored.record.phase == Phase::Claimed(request.token)) {
            taken.push(n);
            held.push(HeldEvent { key: event.key.clone(), stored });
        }
    }
    // the lease counts from the earliest send that may have written it; without one it is over
    match ledger.held(request, row, held, None, first_sent.unwrap_or_default()) {
        Some(claim) => Ok(FoldClaimed::Acquired { claim: Box::new(claim), taken }),
        None => Err(StoreError::Corrupt("row has our token and no event has".to_owned()).into()),
    }
}
