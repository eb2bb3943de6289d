//! The dry run: all rows of both sides are compared and counted, and nothing is written anywhere. What differs is looked at
//! a second time a moment later: a row that changed meanwhile, or that is alike now, was only in motion.

use super::feed::{FeedError, Feeder};
use super::lookups::Lookups;
use super::progress::{Meter, Watch};
use super::report::{Report, TableReport};
use super::run::{Finding, Run, Stopped, new_report};
use super::table::Table;
use super::walk::{Chunk, Position, Seen, Walk, WalkError, find};
use super::{CannotReconcile, Options, Reconciler, links};
use crate::dataverse::pages::Selection;
use crate::domain::mapping::Identity;
use crate::domain::value::RowRef;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// Rows of a table that are looked at twice; beyond that the first look counts.
const SECOND_LOOKS_MAX: usize = 10_000;
/// Names the events that are never sent.
const NO_RUN: &str = "dry";

impl Reconciler {
    /// Compares all rows of both sides.
    ///
    /// # Errors
    /// [`CannotReconcile`]; what fails for one table is in its report.
    pub async fn compare(&self, options: &Options, watch: Watch<'_>) -> Result<Report, CannotReconcile> {
        self.check(options)?;
        let parts = self.engine.parts();
        let deadline = options.budget.map(|budget| parts.clock.monotonic().saturating_add(budget));
        let (source, target) = self.readers(options, deadline)?;
        let lookups = Lookups::new(&parts.mapping, &source, &target);
        let run = Run {
            reconciler: self,
            options,
            lookups: &lookups,
            feeder: Feeder::new(self.engine.as_ref(), Arc::clone(&parts.clock), 1, deadline),
            meter: Meter::new(watch, Arc::clone(&parts.clock)),
            deadline,
            totals: OnceLock::new(),
        };
        let mut report = Report::default();
        let tables = run.tables().await;
        run.ask_totals(&tables).await;
        for (name, table) in &tables {
            let (before, mut of_table) = (
                run.requests(),
                match table {
                    Ok(table) => new_report(table),
                    Err(_) => TableReport { table: (*name).to_owned(), ..TableReport::default() },
                },
            );
            let compared = match table {
                Ok(table) if table.refused() => Err(Stopped::Refused("the table cannot be compared".to_owned())),
                Ok(table) => run.compare_table(table, &mut of_table).await,
                Err(error) => Err(error.clone().into()),
            };
            let over = compared.as_ref().is_err_and(Stopped::is_out_of_time);
            of_table.trouble = compared.err().filter(|_| !over).map(|stopped| stopped.to_string());
            of_table.requests = since(before, run.requests());
            report.tables.push(of_table);
            if over {
                report.stopped = Some(run.told_of_stop(name));
                return Ok(report);
            }
        }
        let loaded: Vec<&Table<'_>> = tables.iter().filter_map(|(_, table)| table.as_ref().ok()).collect();
        (report.links, report.stopped) = links::all(&run, &loaded, false, None).await;
        Ok(report)
    }
}

pub(super) fn since(before: super::report::Requests, now: super::report::Requests) -> super::report::Requests {
    super::report::Requests { source: now.source - before.source, target: now.target - before.target }
}

/// What differed at first sight. It is read again, so it is known by little: a page of differing rows is large.
enum Doubtful {
    /// The source's row, and its version.
    Differs(Uuid, i64),
    /// The target's row, and how the source would know it.
    Extra(Uuid, Option<RowRef>),
}

impl Run<'_> {
    async fn compare_table(&self, table: &Table<'_>, report: &mut TableReport) -> Result<(), Stopped> {
        self.meter.begin(&table.map.source, "comparing", 0, self.total_of(table));
        let mut position = Position::default();
        loop {
            let fresh = new_report(table);
            match self.walk_and_compare(table, position, report).await {
                Err(Stopped::Walk(WalkError::Unordered)) => {
                    *report = fresh;
                    self.meter.begin(&table.map.source, "comparing", 0, self.total_of(table));
                    position = Position::looking_up();
                }
                ended => return ended,
            }
        }
    }

    async fn walk_and_compare(
        &self,
        table: &Table<'_>,
        position: Position,
        report: &mut TableReport,
    ) -> Result<(), Stopped> {
        let mut walk = Walk::new(table, self.lookups, position);
        let mut doubtful = Vec::new();
        while let Some(chunk) = walk.next().await? {
            let rows = u64::try_from(chunk.seen.len()).unwrap_or(u64::MAX);
            for finding in self.judge(table, NO_RUN, chunk, report).await? {
                match finding {
                    Finding::Differs(row) if doubtful.len() < SECOND_LOOKS_MAX => {
                        doubtful.push(Doubtful::Differs(row.id, row.version));
                    }
                    Finding::Extra(row, known) if doubtful.len() < SECOND_LOOKS_MAX => {
                        doubtful.push(Doubtful::Extra(row.id, known));
                    }
                    counted => self.count(report, &counted),
                }
            }
            self.meter.add(rows);
            if self.is_over() {
                return Err(FeedError::OutOfTime.into());
            }
        }
        self.look_again(table, doubtful, report).await
    }

    /// The second look.
    async fn look_again(
        &self,
        table: &Table<'_>,
        doubtful: Vec<Doubtful>,
        report: &mut TableReport,
    ) -> Result<(), Stopped> {
        if doubtful.is_empty() {
            return Ok(());
        }
        let rows = u64::try_from(doubtful.len()).unwrap_or(u64::MAX);
        self.meter.begin(&table.map.source, "second look", 0, Some(rows));
        tokio::time::sleep(self.options.second_look).await;
        for some in doubtful.chunks(1_000) {
            let mut again = self.second_sight(table, some).await?;
            for one in some {
                let (now, version) = match one {
                    Doubtful::Differs(id, version) => (again.0.remove(id), Some(*version)),
                    Doubtful::Extra(id, _) => (again.1.remove(id), None),
                };
                match now {
                    Some(Finding::Differs(row)) if Some(row.version) == version => {
                        self.count(report, &Finding::Differs(row));
                    }
                    Some(extra @ Finding::Extra(..)) => self.count(report, &extra),
                    Some(Finding::Differs(_) | Finding::Equal(_)) | None => report.in_motion += 1,
                }
            }
            self.meter.add(u64::try_from(some.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// The same rows as they are now: by the source's id, and extra ones by the target's.
    async fn second_sight(
        &self,
        table: &Table<'_>,
        some: &[Doubtful],
    ) -> Result<(BTreeMap<Uuid, Finding>, BTreeMap<Uuid, Finding>), Stopped> {
        let ids = some.iter().filter_map(|one| match one {
            Doubtful::Differs(id, _) => Some(*id),
            Doubtful::Extra(..) => None,
        });
        let mut uncounted = new_report(table);
        let chunk = self.by_ids(table, ids.collect()).await?.0;
        let found = self.judge(table, NO_RUN, chunk, &mut uncounted).await?;
        let rows = found.into_iter().filter_map(|finding| match &finding {
            Finding::Differs(row) | Finding::Equal(row) => Some((row.id, finding)),
            Finding::Extra(..) => None,
        });
        let rows: BTreeMap<Uuid, Finding> = rows.collect();
        let extra: Vec<_> = some
            .iter()
            .filter_map(|one| match one {
                Doubtful::Extra(id, known) => Some((*id, known.clone())),
                Doubtful::Differs(..) => None,
            })
            .collect();
        // one that the source has by now, or that the target has no more, was in motion
        let wanted: Vec<RowRef> = extra.iter().filter_map(|(_, known)| known.clone()).collect();
        let mut at = None;
        let keys = Selection { schema: &table.source, columns: &table.source_keys, page_rows: table.page_rows };
        let there = find(self.lookups.source, keys, &wanted, &mut at).await?;
        let by_key = matches!(table.map.identity, Identity::Key(_));
        let ids: Vec<RowRef> = extra.iter().map(|(id, _)| RowRef::Id(*id)).collect();
        let keys = Selection { schema: &table.target, columns: &table.target_keys, page_rows: table.page_rows };
        let still = find(self.lookups.target, keys, &ids, &mut at).await?;
        let known: BTreeMap<Uuid, Option<RowRef>> = extra.into_iter().collect();
        let still = still.into_iter().filter(|row| by_key || there.iter().all(|source| source.id != row.id));
        let still = still.filter_map(|row| {
            let known = known.get(&row.id)?.clone();
            Some((row.id, Finding::Extra(row, known)))
        });
        Ok((rows, still.collect()))
    }

    /// The source's rows with these ids, and the target's that correspond; ids that the source does not have come back.
    pub(super) async fn by_ids(&self, table: &Table<'_>, ids: Vec<Uuid>) -> Result<(Chunk, Vec<Uuid>), Stopped> {
        let mut at = None;
        let wanted: Vec<RowRef> = ids.iter().map(|id| RowRef::Id(*id)).collect();
        let columns = &table.source_columns;
        let selection = Selection { schema: &table.source, columns, page_rows: table.page_rows };
        let rows = find(self.lookups.source, selection, &wanted, &mut at).await?;
        let walk = Walk::new(table, self.lookups, Position::default());
        let seen = walk.pairs(rows).await?;
        let there: BTreeSet<Uuid> = seen
            .iter()
            .map(|seen| match seen {
                Seen::Missing(row) | Seen::Both(row, _) | Seen::Extra(row, _) => row.id,
                Seen::Keyless(id) => *id,
            })
            .collect();
        let gone = ids.into_iter().filter(|id| !there.contains(id)).collect();
        Ok((Chunk { seen, at }, gone))
    }
}
