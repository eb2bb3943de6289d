//! Writing records that a claim holds: what a conflict or a lost answer means there (P3, PROTOCOL R8).

use super::claim::{Claim, Ledger, LedgerError, ROUNDS_MAX};
use super::record::{EventRecord, Phase, RowRecord};
use super::store::{Commit, Etag, Expect, StoreError};

impl Ledger {
    /// Writes records that we hold. After a conflict or a lost answer the records are read: if the token is still ours the
    /// write is repeated with what was read as condition; if the event is done meanwhile, our lost write did it.
    pub(super) async fn write_held(
        &self,
        claim: &mut Claim,
        row: &RowRecord,
        event: Option<&EventRecord>,
    ) -> Result<Held, LedgerError> {
        for _ in 0..ROUNDS_MAX {
            let commit = Commit {
                partition: &claim.partition,
                row: (row, Expect::Is(claim.row.etag.clone())),
                event: event.map(|event| (claim.event_key.as_str(), event, Expect::Is(claim.event.etag.clone()))),
            };
            match self.store.commit(commit).await {
                Ok(committed) => return Ok(Held::Written { etag: committed.row }),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let snapshot = self.store.read(&claim.partition, &claim.event_key).await?;
            let (Some(stored), Some(found)) = (snapshot.row, snapshot.event) else { return Ok(Held::Lost) };
            if found.record.phase == Phase::Done || event.is_some_and(|event| found.record == *event) {
                return Ok(Held::EventDone);
            }
            if stored.record.lease.is_none_or(|lease| lease.owner != claim.token) {
                return Ok(Held::Lost);
            }
            claim.row.etag = stored.etag;
            claim.event = found;
        }
        Err(LedgerError::Contended)
    }
}

/// What became of a write on records that were ours.
pub(super) enum Held {
    Written { etag: Etag },
    EventDone,
    Lost,
}
