//! What all kinds of runs share: the readers, the order of tables, and the judgement of what was seen.

use super::feed::{FeedError, Feeder};
use super::lookups::Lookups;
use super::progress::Meter;
use super::read::{ReadError, Reader};
use super::report::{Requests, TableReport, example};
use super::rows::{RowDifference, compare_row};
use super::table::{Table, parents_first};
use super::walk::{Chunk, Seen, WalkError};
use super::{CannotReconcile, Options, Reconciler};
use crate::dataverse::row::TargetRow;
use crate::domain::event::hex;
use crate::domain::mapping::Mapping;
use crate::domain::value::{RowRef, Value};
use crate::ledger::claim::LedgerError;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Why a table was not gone through to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Stopped {
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("another run has this table{}", .until_ms.map(|ms| format!(" until {}", told(ms))).unwrap_or_default())]
    Busy { until_ms: Option<i64> },
    #[error("{0}")]
    Refused(String),
}

fn told(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map(|at| at.format("%H:%M:%S UTC").to_string()).unwrap_or_default()
}

impl From<ReadError> for Stopped {
    fn from(error: ReadError) -> Self {
        Self::Walk(error.into())
    }
}

impl Stopped {
    /// Whether only the time is over: the run goes on from here.
    pub(super) fn is_out_of_time(&self) -> bool {
        matches!(self, Self::Walk(WalkError::Read(ReadError::OutOfTime)) | Self::Feed(FeedError::OutOfTime))
    }
}

/// One run.
pub(super) struct Run<'a> {
    pub(super) reconciler: &'a Reconciler,
    pub(super) options: &'a Options,
    pub(super) lookups: &'a Lookups<'a>,
    pub(super) feeder: Feeder<'a>,
    pub(super) meter: Meter<'a>,
    pub(super) deadline: Option<Duration>,
    /// About how many rows the source's tables have, as far as is known.
    pub(super) totals: OnceLock<BTreeMap<String, u64>>,
}

/// What is to be done about one row.
pub(super) enum Finding {
    Equal(RowDifference),
    /// Missing, or different.
    Differs(RowDifference),
    Extra(TargetRow, Option<RowRef>),
}

impl Reconciler {
    /// The readers of both sides.
    pub(super) fn readers(
        &self,
        options: &Options,
        deadline: Option<Duration>,
    ) -> Result<(Reader<'_>, Reader<'_>), CannotReconcile> {
        let parts = self.engine.parts();
        let source = parts.source.as_ref().ok_or(CannotReconcile::NoSource)?;
        let reader = |environment| {
            let timeout = parts.mapping.limits.request_timeout;
            Reader::new(environment, Arc::clone(&parts.clock), timeout, deadline).until(options.stop.clone())
        };
        Ok((reader(source), reader(&parts.target)))
    }

    /// The tables asked for exist.
    pub(super) fn check(&self, options: &Options) -> Result<(), CannotReconcile> {
        let known = &self.engine.parts().mapping.tables;
        match options.tables.iter().find(|table| !known.contains_key(*table)) {
            Some(table) => Err(CannotReconcile::UnknownTable { table: table.clone() }),
            None => Ok(()),
        }
    }
}

impl Run<'_> {
    pub(super) fn mapping(&self) -> &Mapping {
        &self.reconciler.engine.parts().mapping
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.reconciler.engine.parts().clock.monotonic()
    }

    pub(super) fn is_over(&self) -> bool {
        self.options.stop.is_asked() || self.deadline.is_some_and(|deadline| self.monotonic() >= deadline)
    }

    /// Why a run ends before its end, for people.
    pub(super) fn told_of_stop(&self, table: &str) -> String {
        let why = if self.options.stop.is_asked() { "somebody asked for it" } else { "the time of this run is over" };
        format!("{why}, in the middle of {table}")
    }

    /// About how many rows a table of the source has, if that is known.
    pub(super) fn total_of(&self, table: &Table<'_>) -> Option<u64> {
        self.totals.get()?.get(&table.map.source).copied()
    }

    /// Asks about how many rows the source's tables have, for telling how far a run is. Without an answer nobody is told.
    pub(super) async fn ask_totals(&self, tables: &[(&str, Result<Table<'_>, ReadError>)]) {
        let loaded = tables.iter().filter_map(|(_, table)| table.as_ref().ok());
        let names: Vec<&str> = loaded.filter(|table| !table.refused()).map(|table| table.map.source.as_str()).collect();
        if names.is_empty() {
            return;
        }
        let (client, names) = (&self.lookups.source.environment.client, names.as_slice());
        let counts = self.lookups.source.ask("-", |call| async move { client.row_counts(&call, names).await });
        match counts.await {
            Ok(counts) => drop(self.totals.set(counts)),
            Err(error) => tracing::debug!(%error, "how many rows there are is not known"),
        }
    }

    /// When something was seen, by the source's clock; a service that does not tell is taken to be behind us.
    pub(super) fn seen_at(&self, told: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let parts = self.reconciler.engine.parts();
        told.unwrap_or_else(|| {
            parts.clock.now() - parts.mapping.limits.request_timeout - parts.mapping.limits.clock_skew
        })
    }

    pub(super) fn requests(&self) -> Requests {
        Requests { source: self.lookups.source.requests(), target: self.lookups.target.requests() }
    }

    /// The tables asked for, loaded, parents first; a table that cannot be compared comes with the reason.
    pub(super) async fn tables(&self) -> Vec<(&str, Result<Table<'_>, ReadError>)> {
        let wanted = |name: &&String| self.options.tables.is_empty() || self.options.tables.contains(name);
        let mut loaded = BTreeMap::new();
        for (name, map) in self.mapping().tables.iter().filter(|(name, _)| wanted(name)) {
            let (source, target) = (self.lookups.source, self.lookups.target);
            let table = Table::load(self.mapping(), map, source, target, self.options.page_rows).await;
            loaded.insert(name.as_str(), table);
        }
        let lookups: BTreeMap<&str, BTreeSet<&str>> = loaded
            .iter()
            .map(|(name, table)| {
                let lookups = table.as_ref().map(|table| table.source.lookups.as_slice()).unwrap_or_default();
                let parents = lookups.iter().map(|lookup| lookup.referenced_table.as_str());
                (*name, parents.filter_map(|parent| loaded.get_key_value(parent).map(|(name, _)| *name)).collect())
            })
            .collect();
        let order: Vec<&str> = parents_first(&lookups);
        order.into_iter().filter_map(|name| Some((name, loaded.remove(name)?))).collect()
    }

    /// Counts and judges what was seen.
    pub(super) async fn judge(
        &self,
        table: &Table<'_>,
        run: &str,
        chunk: Chunk,
        report: &mut TableReport,
    ) -> Result<Vec<Finding>, Stopped> {
        let renamed = self.renamed(table, &chunk).await?;
        let mut findings = Vec::with_capacity(chunk.seen.len());
        for seen in chunk.seen {
            match seen {
                Seen::Keyless(id) => {
                    report.source_rows += 1;
                    report.count_cannot("(row)", "key_missing", id);
                }
                Seen::Missing(source) => {
                    report.source_rows += 1;
                    let row = compare_row(table, self.lookups, run, &source, None).await?;
                    findings.push(Finding::Differs(row.under_another_key(renamed.missing.get(&source.id).copied())));
                }
                Seen::Both(source, target) => {
                    report.source_rows += 1;
                    report.target_rows += 1;
                    let difference = compare_row(table, self.lookups, run, &source, Some(&target)).await?;
                    let equal = difference.is_equal();
                    findings.push(if equal { Finding::Equal(difference) } else { Finding::Differs(difference) });
                }
                Seen::Extra(target, _) if renamed.extra.contains(&target.id) => report.target_rows += 1,
                Seen::Extra(target, known) => {
                    report.target_rows += 1;
                    if table.is_inactive(&target) {
                        report.gone += 1;
                    } else {
                        findings.push(Finding::Extra(target, known));
                    }
                }
            }
        }
        Ok(findings)
    }

    /// Counts what is found for good.
    pub(super) fn count(&self, report: &mut TableReport, finding: &Finding) {
        match finding {
            Finding::Equal(row) => {
                report.equal += 1;
                count_cannot(report, row);
            }
            Finding::Extra(row, _) => {
                report.extra += 1;
                example(&mut report.extra_examples, row.id);
            }
            Finding::Differs(row) if row.renamed.is_some() => {
                report.key_changed += 1;
                example(&mut report.key_changed_examples, row.id);
                count_cannot(report, row);
            }
            Finding::Differs(row) if row.target.is_none() => {
                report.missing += 1;
                example(&mut report.missing_examples, row.id);
                count_cannot(report, row);
            }
            Finding::Differs(row) => {
                report.different += 1;
                for (column, wanted, held) in &row.values {
                    *report.by_column.entry(column.clone()).or_default() += 1;
                    let shown = |value: &Value| self.options.values.then(|| value.clone());
                    let one = super::report::Example { id: row.id, wanted: shown(wanted), held: shown(held) };
                    example(report.column_examples.entry(column.clone()).or_default(), one);
                }
                count_cannot(report, row);
            }
        }
    }
}

fn count_cannot(report: &mut TableReport, row: &RowDifference) {
    for (column, why) in &row.cannot {
        report.count_cannot(column, why, row.id);
    }
}

/// What was compared: when that changes, all rows must be compared again.
pub(super) fn fingerprint(table: &Table<'_>) -> String {
    let columns: Vec<&str> = table.columns.keys().map(String::as_str).collect();
    hex(&Sha256::digest(format!("{:?} {columns:?}", table.map)), 16)
}

pub(super) fn new_report(table: &Table<'_>) -> TableReport {
    TableReport {
        table: table.map.source.clone(),
        target: table.map.target.clone(),
        not_compared: table.not_compared.clone(),
        deletes_max: table.deletes_max,
        ..TableReport::default()
    }
}
