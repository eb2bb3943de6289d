//! The source as witness: the row as it is there now, read under the row's lease.
//!
//! Needed where an event cannot tell enough: `read = "source"`, payloads that Dataverse stripped, versions that tie,
//! members of a group that nobody knows, refusals that only order can explain. What is read under the lease is at least
//! as new as everything that was written, so it wins against all columns of its second and before
//! ([`crate::domain::merge::Change::witness`]); a later event makes its own reading.
//!
//! A null of a column with column security is not believed: the platform answers null to whoever lacks a profile, and nothing
//! tells the two apart. Such a column is left to what the event itself says, in the event's own order; what a stripped
//! event does not say stays in the target as it is.

use super::apply::version;
use super::compared::{differs_now, is_absence, presence};
use super::engine::Engine;
use super::failure::Failure;
use super::job::Job;
use super::work::Work;
use crate::dataverse::read::Match;
use crate::dataverse::url::Address;
use crate::domain::event::{ChangeEvent, Completeness};
use crate::domain::mapping::{ReadFrom, TableMap};
use crate::domain::merge::{Done, advance};
use crate::domain::outcome::Outcome;
use crate::domain::row::RowState;
use crate::domain::schema::{ColumnKind, TableSchema};
use crate::domain::value::{Columns, RowRef, Value};
use crate::domain::version::Stamp;
use std::collections::BTreeSet;
use std::sync::Arc;

const MODIFIED_ON: &str = "modifiedon";
const ROW_VERSION: &str = "versionnumber";

/// Whether an event is only a signal: its row has to be read from the source.
pub(super) fn is_signal(table: &TableMap, event: &ChangeEvent) -> bool {
    let writes = event.operation.rank() != crate::domain::version::Rank::Delete;
    writes && (table.read == ReadFrom::Source || event.completeness == Completeness::Stripped)
}

impl Engine {
    /// Applies the row as the source has it now.
    pub(super) async fn apply_from_source(
        &self,
        job: &Job<'_>,
        work: &mut Work<'_>,
    ) -> Result<(RowState, Outcome), Failure> {
        let state = work.claim.state_before();
        let Some((event, hidden)) = self.ask_source(job, work).await? else {
            if is_absence(job.event) {
                return self.apply_absence(job, &state, work).await;
            }
            // gone at the source: its delete is an event of its own
            let version = version(&state, job.event, work.claim.arrival_ms);
            let done = Done::Stale { ties: &BTreeSet::new() };
            return Ok((advance(&state, &version, &done, &job.groups), Outcome::Stale));
        };
        if is_absence(job.event) {
            // the source has the row: there is nothing to delete
            return Ok((state, Outcome::Stale));
        }
        let event = if job.differs.is_some() { presence(event, job.event, &state) } else { event };
        let seen = match self.job(&event, job.table, Arc::clone(&job.schema))? {
            Ok(seen) if seen.partition == job.partition => {
                let all = || seen.mapped.columns.keys().cloned().collect();
                let differs = differs_now(job, &seen).map(|differs| if work.vanished { all() } else { differs });
                Job { witness: true, differs, ..seen }
            }
            Ok(_) => return Err(Failure::never("identity_changed: the source's row has another key now")),
            Err(ignored) => return Ok((work.claim.state_before(), Outcome::Ignored(ignored))),
        };
        let columns: BTreeSet<String> = seen.mapped.columns.keys().cloned().collect();
        if !columns.is_subset(&work.claim.state.touched) {
            work.touch(&columns).await?;
        }
        let applied = self.apply(&seen, work).await?;
        self.apply_hidden(job, &hidden, applied, work).await
    }

    /// The event with the row's values as the source has them now, and the columns that the source may hide; `None` if the row
    /// is gone there.
    pub(super) async fn ask_source(
        &self,
        job: &Job<'_>,
        work: &mut Work<'_>,
    ) -> Result<Option<(ChangeEvent, BTreeSet<String>)>, Failure> {
        let Some(source) = &self.parts.source else {
            let why =
                if job.event.completeness == Completeness::Stripped { "payload_stripped" } else { "source_needed" };
            return Err(Failure::never(format!("{why}: the row must be read from the source; set SOURCE_URL")));
        };
        let (call, permit) = work.ready_at(source).await?;
        let schema = source.schemas.get(&call, &job.table.source).await?;
        let address = match &job.event.row {
            RowRef::Id(id) => Address::Id(*id),
            RowRef::Key(parts) => match source.client.resolve_key(&call, &schema, parts).await? {
                Match::Found(id) => Address::Id(id),
                Match::Missing => return Ok(None),
                Match::Ambiguous => {
                    return Err(Failure::never("key_ambiguous: several rows of the source have this key"));
                }
            },
        };
        let row = source.client.read(&call, &schema, &address, &readable(job.table, &schema)).await?;
        drop(permit);
        let Some(row) = row else { return Ok(None) };
        let mut columns = row.columns;
        let stamp = stamp(&mut columns, &job.event.stamp);
        let hidden = take_hidden(&mut columns, &schema);
        let image = Columns::new();
        let event = ChangeEvent { columns, image, stamp, completeness: Completeness::Full, ..job.event.clone() };
        Ok(Some((event, hidden)))
    }

    /// What the source hides is judged by the event alone, in its own order, as if there were no source.
    pub(super) async fn apply_hidden(
        &self,
        job: &Job<'_>,
        hidden: &BTreeSet<String>,
        (state, outcome): (RowState, Outcome),
        work: &mut Work<'_>,
    ) -> Result<(RowState, Outcome), Failure> {
        let mut event = job.event.clone();
        event.columns.retain(|name, _| hidden.contains(name));
        // a comparison has left out what it could not see
        if event.columns.is_empty() || job.differs.is_some() {
            return Ok((state, outcome));
        }
        event.completeness = Completeness::Full;
        let Ok(rest) = self.job(&event, job.table, Arc::clone(&job.schema))? else { return Ok((state, outcome)) };
        work.claim.state = state;
        let (state, ended) = self.apply(&Job { asked: true, ..rest }, work).await?;
        Ok((state, if matches!(outcome, Outcome::Applied(_)) { outcome } else { ended }))
    }
}

/// Takes out what may be null only because column security hides it from us: the names of these columns.
fn take_hidden(columns: &mut Columns, schema: &TableSchema) -> BTreeSet<String> {
    let is_hidden = |(name, value): (&String, &Value)| *value == Value::Null && schema.secured.contains(name);
    let hidden: BTreeSet<String> =
        columns.iter().filter(|column| is_hidden(*column)).map(|(name, _)| name.clone()).collect();
    columns.retain(|name, _| !hidden.contains(name));
    hidden
}

/// What of a source row is synchronised, and what orders it.
fn readable(table: &TableMap, schema: &TableSchema) -> BTreeSet<String> {
    let wanted = |name: &str| {
        [MODIFIED_ON, ROW_VERSION].contains(&name)
            || !schema.is_system(name) && table.columns.target_name(name).is_some()
    };
    let columns = schema.columns.iter().filter(|(_, column)| column.kind != ColumnKind::Unsupported);
    columns.filter(|(name, _)| wanted(name)).map(|(name, _)| name.clone()).collect()
}

/// Takes what orders the row out of its columns. A row without `modifiedon` keeps the event's own time.
fn stamp(columns: &mut Columns, of_event: &Stamp) -> Stamp {
    let at = match columns.remove(MODIFIED_ON) {
        Some(Value::DateTime(at)) => Some(at.timestamp_micros()),
        _ => of_event.at,
    };
    let row_version = match columns.remove(ROW_VERSION) {
        Some(Value::Number(number)) => number.to_i64(),
        _ => None,
    };
    Stamp { at, row_version, ..Stamp::default() }
}
