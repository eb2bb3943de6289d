//! What has changed at the source since the last round, deletes included. The delta link moves on only at the end of a round,
//! when everything in it was handed over; a round that is stopped goes on with the page it was at.

use super::Options;
use super::feed::FeedError;
use super::read::ReadError;
use super::report::{Method, TableReport};
use super::rows::absence;
use super::run::{Finding, Run, Stopped};
use super::saved::{Round, Saved, Step, Store};
use super::table::Table;
use super::walk::{WalkError, find};
use crate::chance;
use crate::dataverse::pages::{Page, Selection, wants_new_beginning};
use crate::dataverse::row::TargetRow;
use crate::domain::mapping::Identity;
use crate::domain::row::RowState;
use crate::domain::value::RowRef;
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Rows that the ledger is asked about side by side.
const ASKED_AT_ONCE: usize = 16;

/// Whether the delta link could be used.
pub(super) enum Expired {
    No,
    Yes(String),
}

impl Run<'_> {
    /// Goes through the changes of a table.
    pub(super) async fn mend_changes(
        &self,
        table: &Table<'_>,
        store: &Store<'_>,
        saved: &mut Saved,
        report: &mut TableReport,
    ) -> Result<Expired, Stopped> {
        report.method = Method::Changes;
        self.meter.begin(&table.map.source, "changes", 0, None);
        let mut seen = 0_u64;
        let (round, mut link) = match (saved.round.take(), saved.delta.clone()) {
            (Some(Round { run, step: Step::Changes { next }, .. }), _) => (run, next),
            (_, Some(delta)) => (chance::token().simple().to_string(), delta),
            (_, None) => return Ok(Expired::Yes("there is none".to_owned())),
        };
        loop {
            let (selection, from) = (ids_only(table, self.options), &link);
            let (client, name) = (&self.lookups.source.environment.client, table.map.source.as_str());
            let page =
                self.lookups.source.ask(name, |call| async move { client.changes(&call, selection, Some(from)).await });
            let page = match page.await {
                Ok(page) => page,
                Err(ReadError::Failed(error)) if wants_new_beginning(&error) => {
                    return Ok(Expired::Yes(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            };
            let (next, delta) = (page.next.clone(), page.delta.clone());
            seen = seen.saturating_add(u64::try_from(page.rows.len() + page.deleted.len()).unwrap_or(u64::MAX));
            // only the last page tells how many there are
            self.meter.total(next.is_none().then_some(seen));
            self.mend_page(table, &round, page, report).await?;
            match (next, delta) {
                (Some(next), _) => {
                    link = next;
                    let step = Step::Changes { next: link.clone() };
                    let begun = Round { run: round.clone(), step, delete_extra: false };
                    self.save(store, &Saved { round: Some(begun), ..saved.clone() }).await?;
                }
                (None, Some(delta)) => {
                    saved.delta = Some(delta);
                    saved.round = None;
                    self.save(store, saved).await?;
                    return Ok(Expired::No);
                }
                (None, None) => return Err(Stopped::Refused("the source gave no delta link".to_owned())),
            }
            if self.is_over() {
                return Err(FeedError::OutOfTime.into());
            }
        }
    }

    /// The rows of one page as they are now, on both sides.
    async fn mend_page(
        &self,
        table: &Table<'_>,
        run: &str,
        page: Page<TargetRow>,
        report: &mut TableReport,
    ) -> Result<(), Stopped> {
        let round = Round { run: run.to_owned(), step: Step::Tracking { next: None, rows: 0 }, delete_extra: true };
        let seen_at = self.seen_at(page.at);
        let ids: Vec<Uuid> = page.rows.iter().map(|row| row.id).collect();
        let mut deleted = page.deleted;
        for ids in ids.chunks(super::walk::CHUNK_ROWS) {
            let (chunk, gone) = self.by_ids(table, ids.to_vec()).await?;
            deleted.extend(gone);
            let findings = self.judge(table, run, chunk, report).await?;
            for finding in &findings {
                self.count(report, finding);
            }
            self.mend_findings(table, &round, findings, seen_at, report).await?;
            self.meter.add(u64::try_from(ids.len()).unwrap_or(u64::MAX));
        }
        for ids in deleted.chunks(super::walk::CHUNK_ROWS) {
            let still = self.still_there(table, ids, report).await?;
            let events = still.iter().map(|(id, _)| absence(table, run, *id, RowRef::Id(*id), seen_at));
            let events: Vec<_> = events.collect();
            for (_, row) in still {
                self.count(report, &Finding::Extra(row, None));
            }
            self.feeder.feed(events, &mut report.done).await?;
            self.meter.add(u64::try_from(ids.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// The target's rows that the source has deleted, by the GUIDs that they had there.
    async fn still_there(
        &self,
        table: &Table<'_>,
        ids: &[Uuid],
        report: &mut TableReport,
    ) -> Result<Vec<(Uuid, TargetRow)>, Stopped> {
        let known: BTreeMap<Uuid, Uuid> = match table.map.identity {
            Identity::Id => ids.iter().map(|id| (*id, *id)).collect(),
            Identity::Key(_) => self.known_by_key(table, ids, report).await?,
        };
        let wanted: Vec<RowRef> = known.keys().map(|target| RowRef::Id(*target)).collect();
        let selection = Selection { schema: &table.target, columns: &table.target_keys, page_rows: table.page_rows };
        let found = find(self.lookups.target, selection, &wanted, &mut None).await.map_err(WalkError::from)?;
        let still = found.into_iter().filter(|row| !table.is_inactive(row));
        let still: Vec<_> = still.filter_map(|row| Some((*known.get(&row.id)?, row))).collect();
        report.gone += u64::try_from(known.len().saturating_sub(still.len())).unwrap_or(u64::MAX);
        Ok(still)
    }

    /// Where the target knows rows by key a delete tells the source's GUID alone: the ledger knows which row that was. By
    /// the target's GUID the source's; what the ledger never saw is named.
    async fn known_by_key(
        &self,
        table: &Table<'_>,
        ids: &[Uuid],
        report: &mut TableReport,
    ) -> Result<BTreeMap<Uuid, Uuid>, Stopped> {
        let engine = &self.reconciler.engine;
        let asked = ids.iter().copied().map(|id| async move { (id, engine.known(table.map, id).await) });
        let mut asked = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        let mut known = BTreeMap::new();
        while let Some((id, found)) = asked.next().await {
            match found.map_err(FeedError::NotKept)? {
                Some(state) if state.is_deleted() => report.gone += 1,
                Some(RowState { target: Some(target), .. }) => drop(known.insert(target, id)),
                Some(_) | None => report.count_cannot("(row)", "deleted_by_key", id),
            }
        }
        Ok(known)
    }
}

/// What change tracking is asked for: nothing but ids.
pub(super) fn ids_only<'a>(table: &'a Table<'_>, options: &Options) -> Selection<'a> {
    static NOTHING: BTreeSet<String> = BTreeSet::new();
    Selection { schema: &table.source, columns: &NOTHING, page_rows: options.page_rows }
}
