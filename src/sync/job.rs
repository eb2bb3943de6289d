//! An event in the target's terms: which row or link, which columns, which ledger partition.

use super::engine::Engine;
use super::failure::Failure;
use super::keep::Track;
use super::keys;
use super::links::{End, LinkJob};
use super::witness::is_signal;
use crate::dataverse::url::KeyParts;
use crate::domain::delivery::Delivery;
use crate::domain::event::{ChangeEvent, Link, Operation};
use crate::domain::groups::Groups;
use crate::domain::map::{Mapped, MappedRow, Why, map_columns};
use crate::domain::mapping::{Identity, Mapping, TableMap};
use crate::domain::outcome::{Ignored, Outcome};
use crate::domain::partition::Partition;
use crate::domain::row::RowState;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Columns, RowRef};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// One event in the target's terms, with everything needed to work on it.
pub(super) struct Job<'a> {
    pub(super) event: &'a ChangeEvent,
    pub(super) table: &'a TableMap,
    pub(super) schema: Arc<TableSchema>,
    pub(super) groups: Groups,
    pub(super) mapped: Mapped,
    pub(super) row: RowRef,
    pub(super) partition: Partition,
    /// The values are the source's, read under the lease.
    pub(super) witness: bool,
    /// The source was asked, and what it does not say is left to the event: it is not asked again.
    pub(super) asked: bool,
    /// The event is of a comparison: the columns in which the target was seen to differ.
    pub(super) differs: Option<BTreeSet<String>>,
    /// The event is about this link and not about a row.
    pub(super) link: Option<LinkJob<'a>>,
}

impl Job<'_> {
    /// The row is there, and has this GUID and this key's partition: what every write leaves to be remembered.
    pub(super) fn is_there(&self, next: &mut RowState, known_id: Option<Uuid>, key: Option<String>) {
        next.exists = true;
        (next.key, next.wanted) = (key, None);
        next.target = known_id.or(match &self.row {
            RowRef::Id(id) => Some(*id),
            RowRef::Key(_) => None,
        });
    }
}

/// The ledger partition of an event, where the mapping alone tells it: rows that are known by their GUID. What stops before
/// it is mapped is then kept where the row's history is.
pub(super) fn partition(table: &TableMap, event: &ChangeEvent) -> Option<String> {
    let of_a_row = !matches!(event.operation, Operation::Link(_) | Operation::Unlink(_));
    let by_id = table.identity == Identity::Id && matches!(event.row, RowRef::Id(_));
    (of_a_row && by_id).then(|| Partition::of(&table.target, &event.row).key().to_owned())
}

/// The event's columns that the target does not have, as far as its metadata is known.
pub(super) fn unknown_columns(
    mapping: &Mapping,
    table: &TableMap,
    schema: &TableSchema,
    event: &ChangeEvent,
) -> Vec<String> {
    let mapped = map_columns(mapping, table, schema, event);
    let dropped = mapped.dropped.into_iter().filter(|dropped| dropped.why == Why::NotInTarget);
    dropped.map(|dropped| dropped.column).chain(mapped.unknown_named).collect()
}

impl Engine {
    /// Each link of the event for itself; the event has the outcome of the last one that did something.
    #[expect(clippy::too_many_arguments, reason = "one event in all its surroundings")]
    pub(super) async fn links(
        &self,
        event: &ChangeEvent,
        table: &TableMap,
        schema: Arc<TableSchema>,
        link: &Link,
        present: bool,
        (delivery, deadline): (&Delivery, Duration),
        track: &mut Track,
    ) -> Result<Outcome, Failure> {
        let RowRef::Id(own_id) = event.row else {
            return Err(Failure::never("identity_missing: a link names its rows by GUID"));
        };
        let mut outcome = Outcome::Ignored(Ignored::NothingToWrite);
        for (other, other_id) in &link.related {
            let Some(other) = self.parts.mapping.tables.get(other) else { continue };
            let other_schema = self.schema(&other.target, deadline).await?;
            let own = End { table, schema: Arc::clone(&schema), id: own_id };
            let other = End { table: other, schema: other_schema, id: *other_id };
            let link = LinkJob::new(own, other, &link.relationship, present)?;
            let (name, row) = link.identity();
            let partition = Partition::of(&name, &row);
            let mapped = Mapped {
                row: MappedRow::Known(row.clone()),
                columns: link.columns(),
                image: Columns::new(),
                dropped: Vec::new(),
                unknown_named: Vec::new(),
                value_unmapped: Vec::new(),
            };
            let (schema, groups, link) = (Arc::clone(&schema), Groups::default(), Some(link));
            let differs = event.origin.comparison.as_ref().map(|comparison| comparison.differs.clone());
            let (witness, asked) = (false, false);
            let job = Job { event, table, schema, groups, mapped, row, partition, witness, asked, differs, link };
            let ended = self.claimed(&job, delivery, deadline, track).await?;
            if !matches!(outcome, Outcome::Applied(_)) || matches!(ended, Outcome::Applied(_)) {
                outcome = ended;
            }
        }
        Ok(outcome)
    }

    /// Maps the event to the target.
    pub(super) fn job<'a>(
        &self,
        event: &'a ChangeEvent,
        table: &'a TableMap,
        schema: Arc<TableSchema>,
    ) -> Result<Result<Job<'a>, Ignored>, Failure> {
        if schema.elastic {
            return Err(Failure::never(format!(
                "elastic_table: a partial write would wipe the row's other columns; remove [tables.{}]",
                table.source
            )));
        }
        if schema.external {
            return Err(Failure::never(format!(
                "virtual_table: the target keeps the rows of {} elsewhere; remove [tables.{}], or write to where they are kept",
                schema.name, table.source
            )));
        }
        let mapped = map_columns(&self.parts.mapping, table, &schema, event);
        if let Some(column) = mapped.unknown_named.first() {
            return Err(Failure::never(format!("column_missing: the target's {} has no column {column}", schema.name)));
        }
        if let Some(column) = mapped.value_unmapped.first() {
            return Err(Failure::never(format!(
                "value_unmapped: {}.{column} has a value that is not mapped",
                schema.name
            )));
        }
        for dropped in &mapped.dropped {
            tracing::debug!(
                table = table.source,
                column = dropped.column,
                why = dropped.why.name(),
                "column not written"
            );
        }
        let row = match &mapped.row {
            MappedRow::Known(row) => row.clone(),
            // which row that is may be known by the source's GUID
            MappedRow::Unresolved { .. } if keys::by_source_id(table, event).is_some() => RowRef::Key(KeyParts::new()),
            MappedRow::Unresolved { missing, .. } => {
                return Err(Failure::never(keys::not_told(&schema.name, missing)));
            }
        };
        let writes = matches!(event.operation, Operation::Update | Operation::Upsert) && !is_signal(table, event);
        if writes && mapped.columns.is_empty() && !event.columns.is_empty() {
            return Ok(Err(Ignored::NothingToWrite));
        }
        let partition = Partition::of(&schema.name, keys::by_source_id(table, event).unwrap_or(&row));
        let groups = Groups::of(table, &schema);
        let differs = event.origin.comparison.as_ref().map(|comparison| comparison.differs.clone());
        let (witness, asked, link) = (false, false, None);
        Ok(Ok(Job { event, table, schema, groups, mapped, row, partition, witness, asked, differs, link }))
    }
}
