//! Rows that the target has under another key: one line of the report instead of a missing row and an extra one, and a rename
//! instead of a second row.
//!
//! That the key alone was changed is believed on two grounds. The ledger knows which row of the target the source's row is;
//! or the ledger has never seen it, and the target has a row with the very same GUID whose key no row of the source has. Two
//! rows that only look alike are never taken for one: giving one row the key of another cannot be undone.

use super::feed::FeedError;
use super::run::{Run, Stopped};
use super::table::Table;
use super::walk::{Chunk, Position, Seen, Walk, WalkError, find, target_key};
use crate::dataverse::pages::Selection;
use crate::dataverse::row::TargetRow;
use crate::domain::mapping::Identity;
use crate::domain::row::RowState;
use crate::domain::value::RowRef;
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Rows that the ledger is asked about side by side.
const ASKED_AT_ONCE: usize = 16;

/// Rows of a chunk whose key alone was changed.
#[derive(Debug, Default)]
pub(super) struct Renamed {
    /// By the source's GUID the target's, for rows that the target seems to lack.
    pub(super) missing: BTreeMap<Uuid, Uuid>,
    /// The target's rows that the source seems to lack.
    pub(super) extra: BTreeSet<Uuid>,
}

impl Run<'_> {
    /// Finds out which missing and extra rows of a chunk have another key, and nothing else.
    pub(super) async fn renamed(&self, table: &Table<'_>, chunk: &Chunk) -> Result<Renamed, Stopped> {
        if table.map.identity == Identity::Id {
            return Ok(Renamed::default());
        }
        let (mut missing, mut extra) = (Vec::new(), Vec::new());
        for seen in &chunk.seen {
            match seen {
                Seen::Missing(row) => missing.push(row.id),
                Seen::Extra(row, known) => extra.push((row, known)),
                Seen::Both(..) | Seen::Keyless(_) => {}
            }
        }
        Ok(Renamed { missing: self.moved_away(table, missing).await?, extra: self.not_extra(table, &extra).await? })
    }

    /// Of rows that the target does not have under their keys, those that it has under others.
    async fn moved_away(&self, table: &Table<'_>, missing: Vec<Uuid>) -> Result<BTreeMap<Uuid, Uuid>, Stopped> {
        let known = self.known(table, missing).await?;
        let candidates: BTreeMap<Uuid, (Uuid, bool)> = known
            .into_iter()
            .filter_map(|(id, state)| match state.filter(|state| !state.is_blank()) {
                None => Some((id, (id, false))),
                Some(state) => Some((state.target.filter(|_| !state.is_deleted())?, (id, true))),
            })
            .collect();
        let wanted: Vec<RowRef> = candidates.keys().map(|target| RowRef::Id(*target)).collect();
        let rows = self.of_target(table, &wanted).await?;
        let walk = Walk::new(table, self.lookups, Position::default());
        let unpaired: BTreeSet<Uuid> = walk.unpaired(&rows).await?;
        let found = rows.iter().filter_map(|row| {
            let (id, is_known) = candidates.get(&row.id)?;
            (*is_known || unpaired.contains(&row.id)).then_some((*id, row.id))
        });
        Ok(found.collect())
    }

    /// Of rows whose keys the source does not have, those that it has under other keys.
    async fn not_extra(
        &self,
        table: &Table<'_>,
        extra: &[(&TargetRow, &Option<RowRef>)],
    ) -> Result<BTreeSet<Uuid>, Stopped> {
        if extra.is_empty() {
            return Ok(BTreeSet::new());
        }
        // by the source's GUID the target's: as a pointer of the ledger tells, and the same
        let engine = &self.reconciler.engine;
        let keyed: Vec<(Uuid, Option<RowRef>)> =
            extra.iter().map(|(row, _)| (row.id, key_in_target(table, row))).collect();
        let asked = keyed.into_iter().map(|(id, key)| async move {
            let owner = match key {
                Some(key) => engine.owner_of(table.map, &key).await,
                None => Ok(None),
            };
            (id, owner)
        });
        let mut asked = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        let mut candidates: BTreeMap<Uuid, Uuid> = extra.iter().map(|(row, _)| (row.id, row.id)).collect();
        while let Some((target, owner)) = asked.next().await {
            if let Some(owner) = owner.map_err(FeedError::NotKept)? {
                candidates.insert(owner, target);
            }
        }
        drop(asked);
        let there = self.by_ids(table, candidates.keys().copied().collect()).await?.0;
        let (mut sources, mut unpaired) = (Vec::new(), BTreeSet::new());
        for seen in there.seen {
            match seen {
                Seen::Missing(row) => {
                    unpaired.insert(row.id);
                    sources.push(row.id);
                }
                Seen::Both(row, _) => sources.push(row.id),
                Seen::Extra(..) | Seen::Keyless(_) => {}
            }
        }
        let known = self.known(table, sources).await?;
        let renamed = known.into_iter().filter_map(|(id, state)| {
            let target = *candidates.get(&id)?;
            let same = match state.filter(|state| !state.is_blank()) {
                Some(state) => state.target == Some(target),
                None => target == id && unpaired.contains(&id),
            };
            same.then_some(target)
        });
        Ok(renamed.collect())
    }

    /// What the ledger knows of rows of the source.
    async fn known(&self, table: &Table<'_>, ids: Vec<Uuid>) -> Result<Vec<(Uuid, Option<RowState>)>, Stopped> {
        let engine = &self.reconciler.engine;
        let asked = ids.into_iter().map(|id| async move { (id, engine.known(table.map, id).await) });
        let mut asked = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        let mut known = Vec::new();
        while let Some((id, found)) = asked.next().await {
            known.push((id, found.map_err(FeedError::NotKept)?));
        }
        Ok(known)
    }

    async fn of_target(&self, table: &Table<'_>, wanted: &[RowRef]) -> Result<Vec<TargetRow>, Stopped> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let selection = Selection { schema: &table.target, columns: &table.target_keys, page_rows: table.page_rows };
        Ok(find(self.lookups.target, selection, wanted, &mut None).await.map_err(WalkError::from)?)
    }
}

/// How the target knows one of its rows, where it does so by key.
fn key_in_target(table: &Table<'_>, row: &TargetRow) -> Option<RowRef> {
    match &table.map.identity {
        Identity::Key(columns) => target_key(columns, row),
        Identity::Id => None,
    }
}
