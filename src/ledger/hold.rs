//! Holding a row without an event of its own: for placeholders of missing parents (PROTOCOL R6).
//!
//! A placeholder is a write to the *parent's* row, so it is made under the parent's own lease. The row is taken by one
//! conditional write that also notes `alive_at`: a child of that version refers to the row, so a delete older than that
//! is a late delete. The tombstone is read in the same round: what the write was conditional on. It is tried once and
//! never waited for, because rows may refer to each other in a circle.

use super::claim::{Ledger, LedgerError, millis};
use super::record::{Lease, RowRecord};
use super::store::{Commit, Expect, StoreError, Stored};
use crate::chance;
use crate::domain::row::RowState;
use std::time::Duration;
use uuid::Uuid;

/// Not the key of any event: reads of a hold ask for the row alone.
pub(super) const NO_EVENT: &str = "event:";

/// A row that is ours for a while, without an event.
#[derive(Debug)]
pub struct Hold {
    /// What is known of the row.
    pub state: RowState,
    partition: String,
    row: Stored<RowRecord>,
    token: Uuid,
    holds_until: Duration,
}

impl Hold {
    /// The moment, on the monotonic clock, from which the row may be somebody else's.
    #[must_use]
    pub fn holds_until(&self) -> Duration {
        self.holds_until
    }
}

/// The answer to [`Ledger::hold`].
#[derive(Debug)]
pub enum Holding {
    /// The row is ours.
    Acquired(Box<Hold>),
    /// Somebody works on it.
    Busy,
    /// The ledger knows that it was deleted, later than `alive_at`: nothing was taken.
    Deleted,
}

impl Ledger {
    /// Takes a row for a placeholder. `alive_at`: the version (microseconds) at which a child refers to it.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; a lease that was taken all the same runs out by itself.
    pub async fn hold(&self, partition: &str, alive_at: i64) -> Result<Holding, LedgerError> {
        let token = chance::token();
        let mut sent = None;
        for _ in 0..2 {
            let found = self.store.read(partition, NO_EVENT).await?.row;
            let now_ms = self.clock.now().timestamp_millis();
            let record = found.as_ref().map(|stored| stored.record.clone()).unwrap_or_default();
            match record.lease {
                Some(lease) if lease.owner == token => {
                    let holds_until = sent.unwrap_or_default() + self.limits.lease;
                    let Some(row) = found else { return Ok(Holding::Busy) };
                    return Ok(Holding::Acquired(Box::new(held(partition, row, token, holds_until))));
                }
                Some(lease) if lease.until_ms.saturating_add(millis(self.limits.clock_skew)) > now_ms => {
                    return Ok(Holding::Busy);
                }
                _ => {}
            }
            let deleted_at = record.state.tombstone.as_ref().map(|tombstone| tombstone.at);
            if record.state.is_deleted() && deleted_at.is_some_and(|at| at >= alive_at) {
                return Ok(Holding::Deleted);
            }
            let mut next = record;
            next.state.alive_at = next.state.alive_at.max(Some(alive_at));
            next.lease = Some(Lease { owner: token, until_ms: now_ms.saturating_add(millis(self.limits.lease)) });
            next.epoch = next.epoch.saturating_add(1);
            let first = *sent.get_or_insert_with(|| self.clock.monotonic());
            let commit = Commit { partition, row: (&next, Expect::unchanged(found.as_ref())), events: Vec::new() };
            match self.store.commit(commit).await {
                Ok(committed) => {
                    let row = Stored { record: next, etag: committed.row };
                    return Ok(Holding::Acquired(Box::new(held(partition, row, token, first + self.limits.lease))));
                }
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Holding::Busy)
    }

    /// Gives a held row back with what is known of it now. Whoever lost it meanwhile changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; the lease runs out by itself.
    pub async fn release(&self, mut hold: Hold) -> Result<(), LedgerError> {
        let next = RowRecord { state: hold.state.clone(), lease: None, epoch: hold.row.record.epoch };
        for _ in 0..2 {
            let expect = Expect::Is(hold.row.etag.clone());
            match self
                .store
                .commit(Commit { partition: &hold.partition, row: (&next, expect), events: Vec::new() })
                .await
            {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            match self.store.read(&hold.partition, NO_EVENT).await?.row {
                Some(row) if row.record.lease.is_some_and(|lease| lease.owner == hold.token) => hold.row = row,
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

fn held(partition: &str, row: Stored<RowRecord>, token: Uuid, holds_until: Duration) -> Hold {
    Hold { state: row.record.state.clone(), partition: partition.to_owned(), row, token, holds_until }
}
