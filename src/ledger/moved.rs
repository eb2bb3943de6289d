//! Partitions that lead to another: a key value of the target leads to the history of the row that has it (PROTOCOL R10).
//!
//! A pointer is a row record without a history. It is written on condition that the record is as it was read and that
//! nobody works there, so a worker who claimed that partition and one who makes it lead elsewhere can't both
//! succeed. Who may point where is the engine's decision.

use super::claim::{Claim, Ledger, LedgerError, millis};
use super::hold::NO_EVENT;
use super::record::RowRecord;
use super::store::{Commit, Expect, StoreError, Stored};

impl Ledger {
    /// The row record of a partition. One round trip.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn row(&self, partition: &str) -> Result<Option<Stored<RowRecord>>, LedgerError> {
        Ok(self.store.read(partition, NO_EVENT).await?.row)
    }

    /// Whether somebody works on a row, as far as its record tells: until the lease's end and the skew.
    #[must_use]
    pub fn is_held(&self, record: &RowRecord) -> bool {
        let now_ms = self.clock.now().timestamp_millis();
        record.lease.is_some_and(|lease| lease.until_ms.saturating_add(millis(self.limits.clock_skew)) > now_ms)
    }

    /// Makes a partition lead to `home`, unless it changed since it was read or somebody works there; whether it does now.
    /// After a lost answer it may: read and decide again. Every call leaves a new version behind, so whoever decided
    /// by an older one fails. One round trip.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn point(
        &self,
        partition: &str,
        found: Option<&Stored<RowRecord>>,
        home: &str,
    ) -> Result<bool, LedgerError> {
        let mut next = found.map(|stored| stored.record.clone()).unwrap_or_default();
        if self.is_held(&next) {
            return Ok(false);
        }
        next.state.moved = Some(home.to_owned());
        next.state.let_go_ms = None;
        // a worker whose lease ran out must not take this record for its own
        next.lease = None;
        next.epoch = next.epoch.saturating_add(1);
        let commit = Commit { partition, row: (&next, Expect::unchanged(found)), events: Vec::new() };
        match self.store.commit(commit).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict | StoreError::Unknown(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes that the row which a key's partition leads to has another key now, or none: the purge looks at such pointers when
    /// they are old. What is noted is only a hint, so nothing depends on it. Two round trips.
    ///
    /// # Errors
    /// [`LedgerError`]; a pointer that was not noted stays for ever.
    pub async fn note_let_go(&self, partition: &str, home: &str) -> Result<(), LedgerError> {
        let Some(found) = self.row(partition).await? else { return Ok(()) };
        if found.record.state.moved.as_deref() != Some(home) || self.is_held(&found.record) {
            return Ok(());
        }
        let mut next = found.record.clone();
        next.state.let_go_ms = Some(self.clock.now().timestamp_millis());
        let commit = Commit { partition, row: (&next, Expect::unchanged(Some(&found))), events: Vec::new() };
        match self.store.commit(commit).await {
            Ok(_) | Err(StoreError::Conflict | StoreError::Unknown(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Claim {
    /// The row's history belongs in another partition: written when the row is given back.
    pub fn leads_to(&mut self, home: &str) {
        self.state.moved = Some(home.to_owned());
        self.row.record.state.moved = Some(home.to_owned());
    }

    /// The event waits for a key value: written when the row is given back.
    pub fn waits_for(&mut self, key: &str) {
        self.state.wanted = Some(key.to_owned());
        self.row.record.state.wanted = Some(key.to_owned());
    }
}
