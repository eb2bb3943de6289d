//! Writing records that a claim holds: what a conflict or a lost answer means there (P3, PROTOCOL R8).

use super::claim::{Claim, Ledger, LedgerError, ROUNDS_MAX};
use super::record::{EventRecord, Phase, RowRecord};
use super::store::{Commit, Etag, Expect, Store, StoreError, Stored};
use std::sync::Arc;

impl Ledger {
    /// Writes records that we hold: the row's, and either none or all of the claim's events. After a conflict or a lost
    /// answer the records are read: if the token is still ours the write is repeated with what was read as condition; if
    /// the events are done meanwhile, our lost write did it.
    pub(super) async fn write_held(
        &self,
        claim: &mut Claim,
        row: &RowRecord,
        events: &[EventRecord],
    ) -> Result<Held, LedgerError> {
        for _ in 0..ROUNDS_MAX {
            let held = claim.events().zip(events);
            let commit = Commit {
                partition: &claim.partition,
                row: (row, Expect::Is(claim.row.etag.clone())),
                events: held
                    .map(|(held, event)| (held.key.as_str(), event, Expect::Is(held.stored.etag.clone())))
                    .collect(),
            };
            match self.store.commit(commit).await {
                Ok(committed) => return Ok(Held::Written { etag: committed.row }),
                Err(StoreError::Conflict | StoreError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let Some((stored, found)) = records(&self.store, claim).await? else { return Ok(Held::Lost) };
            let ended = |(n, found): (usize, &Stored<EventRecord>)| {
                found.record.phase == Phase::Done || events.get(n).is_some_and(|event| found.record == *event)
            };
            // of several events whoever took over may have ended one: then our write did not work, whatever became of it
            if found.iter().enumerate().all(ended) {
                return Ok(Held::EventDone);
            }
            if found.iter().enumerate().any(ended) {
                return Ok(Held::Lost);
            }
            if stored.record.lease.is_none_or(|lease| lease.owner != claim.token) {
                return Ok(Held::Lost);
            }
            claim.row.etag = stored.etag;
            claim.found_again(found);
        }
        Err(LedgerError::Contended)
    }
}

/// The row's record and those of all events of the claim; `None` if one is gone.
async fn records(
    store: &Arc<dyn Store>,
    claim: &Claim,
) -> Result<Option<(Stored<RowRecord>, Vec<Stored<EventRecord>>)>, StoreError> {
    let keys: Vec<&str> = claim.events().map(|held| held.key.as_str()).collect();
    let found = store.read_all(&claim.partition, &keys).await?;
    let events: Option<Vec<_>> = found.events.into_iter().collect();
    Ok(found.row.zip(events))
}

/// What became of a write on records that were ours.
pub(super) enum Held {
    Written { etag: Etag },
    EventDone,
    Lost,
}
