//! Rows of a comparison in tables that the target knows by an alternate key: which row of the target is meant.
//!
//! A comparison pairs rows by their key, and the ledger keeps histories by the source's GUID. What was paired minutes ago may
//! have another key now, or belong to another row by the ledger, so a pairing that the ledger does not know is looked at
//! again under the lease, after the key was taken: only then is the target's GUID believed, and the row learnt by it.

use super::engine::Engine;
use super::failure::Failure;
use super::job::Job;
use super::keys::{self, Right};
use super::work::Work;
use crate::dataverse::url::{Address, KeyParts};
use crate::domain::delivery::Unfinished;
use crate::domain::event::{ChangeEvent, Comparison, Origin};
use crate::domain::map::key_of;
use crate::domain::mapping::{Identity, TableMap};
use crate::domain::partition::{Partition, row_id};
use crate::domain::row::RowState;
use crate::domain::value::RowRef;
use crate::ledger::claim::{Ledger, LedgerError};
use uuid::Uuid;

/// What the ledger knows of the row that the source calls `id`, wherever its history is kept. At most two round trips.
pub(super) async fn history(ledger: &Ledger, table: &TableMap, id: Uuid) -> Result<Option<RowState>, LedgerError> {
    let home = Partition::of(&table.target, &RowRef::Id(id));
    let mut found = ledger.row(home.key()).await?;
    if let Some(to) = found.as_ref().and_then(|found| found.record.state.moved.clone()) {
        found = ledger.row(&to).await?;
    }
    Ok(found.map(|found| found.record.state))
}

/// What a row's key has to do with its history, before the row is learnt.
pub(super) enum KeyLed {
    /// The key leads to the row's partition.
    There,
    /// The ledger has a history of the row.
    Known(Box<RowState>),
    /// The key is another row's, or has a history of its own: only an event can settle that.
    Elsewhere,
}

/// Makes the key of a row that the ledger has never seen lead to the row's partition, so that no other row takes it.
pub(super) async fn lead(ledger: &Ledger, job: &Job<'_>, id: Uuid, key: &str) -> Result<KeyLed, LedgerError> {
    if let Some(known) = history(ledger, job.table, id).await?.filter(|state| !state.is_blank()) {
        return Ok(KeyLed::Known(Box::new(known)));
    }
    let home = job.partition.key();
    let found = ledger.row(key).await?;
    let free = found.as_ref().is_none_or(|stored| match &stored.record.state.moved {
        Some(owner) => owner == home,
        None => stored.record.state.is_blank(),
    });
    let led = free && ledger.point(key, found.as_ref(), home).await?;
    Ok(if led { KeyLed::There } else { KeyLed::Elsewhere })
}

impl Engine {
    /// What the ledger knows of a row of a source table that the target knows by key; `None` if it never saw the row.
    ///
    /// # Errors
    /// [`Unfinished`]: the ledger cannot be read.
    pub async fn known(&self, table: &TableMap, id: Uuid) -> Result<Option<RowState>, Unfinished> {
        history(&self.parts.ledger, table, id).await.map_err(|error| {
            let (reason, retry_after) = Failure::from(error).told();
            Unfinished { reason, retry_after }
        })
    }

    /// The source's GUID of the row that a key value of the target leads to by the ledger.
    ///
    /// # Errors
    /// [`Unfinished`]: the ledger cannot be read.
    pub async fn owner_of(&self, table: &TableMap, key: &RowRef) -> Result<Option<Uuid>, Unfinished> {
        let found = self.parts.ledger.row(Partition::of(&table.target, key).key()).await.map_err(|error| {
            let (reason, retry_after) = Failure::from(error).told();
            Unfinished { reason, retry_after }
        })?;
        Ok(found.and_then(|found| row_id(&found.record.state.moved?)))
    }

    /// The row of the target that a comparison saw under another key, and that the ledger has never seen; `None` if that key is
    /// another row's by now. The old key leads to this row from then on.
    pub(super) async fn renamed(
        &self,
        job: &Job<'_>,
        state: &RowState,
        work: &mut Work<'_>,
    ) -> Result<Option<Uuid>, Failure> {
        let (Some(comparison), Identity::Key(columns)) = (&job.event.origin.comparison, &job.table.identity) else {
            return Ok(None);
        };
        let seen = comparison.target.filter(|_| comparison.missing && state.target.is_none() && job.link.is_none());
        let Some(seen) = seen else { return Ok(None) };
        let Some(has) = key_at(work, job, columns, seen).await? else { return Ok(None) };
        Ok(match keys::right(work, job, state, &has).await? {
            Right::Ours(key) => {
                work.ledger.note_let_go(&key, &work.claim.partition).await?;
                Some(seen)
            }
            Right::Others(_) => None,
        })
    }

    /// Looks again at a pairing that the ledger does not know. `Some`: the event as it is about a row that is not there, because
    /// the target's row has another key by now, or is gone.
    pub(super) async fn looked_again(
        &self,
        job: &Job<'_>,
        state: &RowState,
        work: &mut Work<'_>,
    ) -> Result<Option<ChangeEvent>, Failure> {
        let (Some(comparison), Identity::Key(columns)) = (&job.event.origin.comparison, &job.table.identity) else {
            return Ok(None);
        };
        let Some(seen) = comparison.target.filter(|seen| !comparison.missing && state.target != Some(*seen)) else {
            return Ok(None);
        };
        let RowRef::Key(parts) = &job.row else { return Ok(None) };
        if let Right::Others(key) = keys::right(work, job, state, parts).await? {
            return Err(keys::taken(work, job, &key));
        }
        let has = key_at(work, job, columns, seen).await?;
        let same = |has: &KeyParts| {
            let partition = |parts: &KeyParts| Partition::of(&job.schema.name, &RowRef::Key(parts.clone()));
            partition(has) == partition(parts)
        };
        if has.as_ref().is_some_and(same) {
            return Ok(None);
        }
        let comparison = Comparison {
            differs: job.mapped.columns.keys().cloned().collect(),
            missing: true,
            ..Comparison::default()
        };
        let origin = Origin { comparison: Some(comparison), ..job.event.origin.clone() };
        Ok(Some(ChangeEvent { origin, ..job.event.clone() }))
    }
}

/// The key that a row of the target has now; `None` if there is no such row, or it lacks a part.
async fn key_at(work: &mut Work<'_>, job: &Job<'_>, columns: &[String], id: Uuid) -> Result<Option<KeyParts>, Failure> {
    let (call, permit) = work.ready().await?;
    let names = columns.iter().cloned().collect();
    let row = work.target.client.read(&call, &job.schema, &Address::Id(id), &names).await?;
    drop(permit);
    let part = |column: &String, row: &crate::dataverse::row::TargetRow| {
        Some((column.clone(), key_of(&job.schema, column, row.columns.get(column)?)?))
    };
    Ok(row.and_then(|row| columns.iter().map(|column| part(column, &row)).collect()))
}
