//! Ending claimed work, or going on with it: finish, give up, renew. Each is one transaction, conditional on the row and the
//! events as the claim left them (P3); what a conflict or a lost answer means there is `super::held`'s.

use super::claim::{Claim, Finished, HeldEvent, Ledger, LedgerError, millis};
use super::held::Held;
use super::record::{EventRecord, Lease, Phase, RowRecord};
use super::store::Stored;
use crate::domain::outcome::Outcome;
use crate::domain::row::RowState;
use std::collections::BTreeSet;

impl Ledger {
    /// Records the outcome and the row's new state, and frees the row: one transaction.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; the lease runs out by itself, and whoever comes next repeats the event.
    pub async fn finish(&self, claim: &mut Claim, state: RowState, outcome: &Outcome) -> Result<Finished, LedgerError> {
        self.finish_all(claim, state, std::slice::from_ref(outcome)).await
    }

    /// [`Ledger::finish`] for a claim on several events: their outcomes, in the order in which they were claimed.
    ///
    /// # Errors
    /// As [`Ledger::finish`]; and if there are not as many outcomes as events.
    pub async fn finish_all(
        &self,
        claim: &mut Claim,
        state: RowState,
        outcomes: &[Outcome],
    ) -> Result<Finished, LedgerError> {
        let now_ms = self.clock.now().timestamp_millis();
        let row = RowRecord { state, lease: None, epoch: claim.row.record.epoch };
        let done = |(held, outcome): (&HeldEvent, &Outcome)| EventRecord {
            phase: Phase::Done,
            payload: None,
            updated_ms: now_ms,
            outcome: Some(outcome.clone()),
            ..held.stored.record.clone()
        };
        let events: Vec<_> = claim.events().zip(outcomes).map(done).collect();
        if events.len() != claim.events().count() {
            return Err(LedgerError::Payload("not every event of the claim has an outcome".to_owned()));
        }
        match self.write_held(claim, &row, &events).await? {
            Held::Written { etag } => self.cache.put_row(&claim.partition, Stored { record: row, etag }),
            Held::EventDone => {}
            Held::Lost => return Ok(Finished::Overtaken),
        }
        for ((held, event), outcome) in claim.events().zip(&events).zip(outcomes) {
            self.cache.put_outcome(&claim.partition, &held.key, &event.hash, outcome.clone());
        }
        Ok(Finished::Done)
    }

    /// Frees the row without an outcome: the event stays owed. `sent` says whether anything was sent to the target; if
    /// not, the columns it would have written are not touched after all.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; the lease runs out by itself.
    pub async fn give_up(&self, claim: &mut Claim, sent: bool) -> Result<Finished, LedgerError> {
        let owed = |held: &HeldEvent| EventRecord { phase: Phase::Owed, ..held.stored.record.clone() };
        let events = claim.events().map(owed).collect();
        self.leave(claim, sent, events).await
    }

    /// Frees the row and leaves its state as it was, with the events as given.
    pub(super) async fn leave(
        &self,
        claim: &mut Claim,
        sent: bool,
        mut events: Vec<EventRecord>,
    ) -> Result<Finished, LedgerError> {
        let mut row = RowRecord { lease: None, ..claim.row.record.clone() };
        if let Some(before) = claim.touched_before.take().filter(|_| !sent) {
            row.state.touched = before;
        }
        let now_ms = self.clock.now().timestamp_millis();
        events.iter_mut().for_each(|event| event.updated_ms = now_ms);
        match self.write_held(claim, &row, &events).await? {
            Held::Written { etag } => self.cache.put_row(&claim.partition, Stored { record: row, etag }),
            Held::EventDone => {}
            Held::Lost => return Ok(Finished::Overtaken),
        }
        Ok(Finished::Done)
    }

    /// Notes further columns that are about to be written, and renews; see [`Ledger::renew`].
    ///
    /// # Errors
    /// As [`Ledger::renew`].
    pub async fn touch(&self, claim: &mut Claim, columns: &BTreeSet<String>) -> Result<Finished, LedgerError> {
        claim.row.record.state.touched.extend(columns.iter().cloned());
        claim.state.touched.extend(columns.iter().cloned());
        self.renew(claim).await
    }

    /// Holds the row for another full lease from now.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is known; the claim holds as long as before, at least.
    pub async fn renew(&self, claim: &mut Claim) -> Result<Finished, LedgerError> {
        let (sent, now_ms) = (self.clock.monotonic(), self.clock.now().timestamp_millis());
        let until_ms = now_ms.saturating_add(millis(self.limits.lease));
        let row = RowRecord { lease: Some(Lease { owner: claim.token, until_ms }), ..claim.row.record.clone() };
        match self.write_held(claim, &row, &[]).await? {
            Held::Written { etag } => {
                claim.row = Stored { record: row, etag };
                claim.holds_until = sent.saturating_add(self.limits.lease);
                Ok(Finished::Done)
            }
            Held::EventDone | Held::Lost => Ok(Finished::Overtaken),
        }
    }
}
