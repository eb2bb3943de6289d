//! One row on both sides: what the target should hold by the mapping, in which columns it does not, and the event that would
//! mend it.

use super::compare::{Verdict, compare, fits};
use super::lookups::{Lookups, Meant};
use super::read::ReadError;
use super::table::{Compared, MODIFIED_ON, ROW_VERSION, Table, row_event};
use crate::dataverse::row::TargetRow;
use crate::domain::event::{ChangeEvent, Comparison, Completeness, EventId, Operation, Origin};
use crate::domain::map::{MappedRow, map_columns};
use crate::domain::mapping::Identity;
use crate::domain::schema::ColumnKind;
use crate::domain::value::{Columns, RowRef, Value};
use crate::domain::version::Stamp;
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// A row that the source has, compared.
#[derive(Clone, Debug)]
pub struct RowDifference {
    /// The event that brings the target to it; its comparison says in which columns the target differs.
    pub event: ChangeEvent,
    /// The source's row.
    pub id: Uuid,
    /// The target's row, if it is there.
    pub target: Option<Uuid>,
    /// The target's row if that has another key, and nothing else is known to be wrong with it.
    pub renamed: Option<Uuid>,
    /// Changes whenever the source's row does.
    pub version: i64,
    /// Columns (target names) that cannot be mended or compared in this row, and why.
    pub cannot: Vec<(String, &'static str)>,
    /// Per differing column the value wanted and the value held.
    pub values: Vec<(String, Value, Value)>,
}

impl RowDifference {
    /// The columns in which the target differs.
    #[must_use]
    pub fn differs(&self) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.event.origin.comparison.as_ref().map_or(&NONE, |comparison| &comparison.differs)
    }

    /// The same for a row that the target has under another key: it is to be renamed.
    #[must_use]
    pub(super) fn under_another_key(mut self, renamed: Option<Uuid>) -> Self {
        if let Some(comparison) = self.event.origin.comparison.as_mut().filter(|_| renamed.is_some()) {
            comparison.target = renamed;
        }
        Self { renamed, ..self }
    }

    /// Whether there is nothing to mend.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.target.is_some() && self.differs().is_empty()
    }
}

/// Compares the source's row with the target's, if there is one. `run` makes the event's id.
///
/// # Errors
/// [`ReadError`], from resolving lookups.
pub async fn compare_row(
    table: &Table<'_>,
    lookups: &Lookups<'_>,
    run: &str,
    source: &TargetRow,
    target: Option<&TargetRow>,
) -> Result<RowDifference, ReadError> {
    let mut columns = source.columns.clone();
    let (stamp, version) = stamp(&mut columns);
    let mut event = row_event(&table.map.source, source.id, columns);
    let mapped = map_columns(lookups.mapping, table.map, &table.target, &event);
    let mut cannot: Vec<(String, &'static str)> =
        mapped.value_unmapped.iter().map(|column| (column.clone(), "value_unmapped")).collect();
    let (mut differs, mut values) = (BTreeSet::new(), Vec::new());
    for (name, column) in &table.columns {
        let Some(wanted) = mapped.columns.get(name) else { continue };
        let current = target.and_then(|row| row.columns.get(name));
        match judge(table, lookups, (name, column), wanted, current).await? {
            Judged::Equal => {}
            Judged::Differs(wanted) => {
                values.push((name.clone(), wanted, current.cloned().unwrap_or(Value::Null)));
                differs.insert(name.clone());
            }
            Judged::Cannot(why) => cannot.push((name.clone(), why)),
            Judged::Skipped => {
                event.columns.remove(&column.source);
            }
        }
    }
    if cannot.iter().any(|(_, why)| *why == "currency_unmapped") {
        // an amount without its currency would become one of the target's own
        let amounts = table.columns.iter().filter(|(_, column)| column.kind == ColumnKind::Money);
        for (name, _) in amounts.filter(|(name, _)| mapped.columns.get(*name).is_some_and(|held| *held != Value::Null))
        {
            differs.remove(name);
            values.retain(|(differing, ..)| differing != name);
            cannot.push((name.clone(), "currency_unmapped"));
        }
    }
    for (name, _) in &cannot {
        if let Some(column) = table.columns.get(name) {
            event.columns.remove(&column.source);
        }
    }
    event.id = event_id(run, &table.map.source, source.id, &version.to_string());
    event.completeness = if stamp.at.is_some() { Completeness::Full } else { Completeness::Stripped };
    event.stamp = stamp;
    let by_key = matches!(table.map.identity, Identity::Key(_));
    event.origin = of_comparison(differs, target.is_none(), target.filter(|_| by_key).map(|row| row.id));
    Ok(RowDifference { event, id: source.id, target: target.map(|row| row.id), renamed: None, version, cannot, values })
}

enum Judged {
    Equal,
    Differs(Value),
    Cannot(&'static str),
    /// It is never written, or says nothing: the event leaves it out.
    Skipped,
}

async fn judge(
    table: &Table<'_>,
    lookups: &Lookups<'_>,
    (name, column): (&str, &Compared),
    wanted: &Value,
    current: Option<&Value>,
) -> Result<Judged, ReadError> {
    let wanted = if matches!(column.kind, ColumnKind::Lookup | ColumnKind::Owner) {
        match lookups.meant(table.map, name, column.kind, wanted, current).await? {
            Meant::Value(value) => value,
            Meant::Skipped("owner_not_mapped") => return Ok(Judged::Skipped),
            Meant::Skipped(why) => return Ok(Judged::Cannot(why)),
        }
    } else {
        wanted.clone()
    };
    let Some(current) = current else {
        // the whole row is missing
        return Ok(match fits(column.kind, &column.facts.1, &wanted) {
            _ if column.facts.0.secured && wanted == Value::Null => Judged::Skipped,
            true => Judged::Differs(wanted),
            false => Judged::Cannot("too_long"),
        });
    };
    if matches!(&table.map.identity, Identity::Key(columns) if columns.iter().any(|key| key == name)) {
        // the rows were found by it: what the unique index takes for equal is never written again
        return Ok(Judged::Equal);
    }
    Ok(match compare(column.kind, (&column.facts.0, &column.facts.1), current, &wanted) {
        Verdict::Equal => Judged::Equal,
        Verdict::Different if column.create_only => Judged::Cannot("create_only"),
        Verdict::Different => Judged::Differs(wanted),
        Verdict::Truncated => Judged::Cannot("truncated"),
        Verdict::TooLong => Judged::Cannot("too_long"),
        Verdict::Hidden => Judged::Cannot("secured"),
    })
}

/// Takes what orders the row out of its columns: its time, and what changes whenever it does.
fn stamp(columns: &mut Columns) -> (Stamp, i64) {
    let at = match columns.remove(MODIFIED_ON) {
        Some(Value::DateTime(at)) => Some(at.timestamp_micros()),
        _ => None,
    };
    let version = match columns.remove(ROW_VERSION) {
        Some(Value::Number(number)) => number.to_i64(),
        _ => None,
    };
    // no finer scale: which one a row has is chosen by its events
    (Stamp { at, ..Stamp::default() }, version.or(at).unwrap_or_default())
}

fn of_comparison(differs: BTreeSet<String>, missing: bool, target: Option<Uuid>) -> Origin {
    Origin { comparison: Some(Comparison { differs, missing, target, ..Comparison::default() }), ..Origin::default() }
}

fn event_id(run: &str, table: &str, id: Uuid, version: &str) -> EventId {
    let text = format!("{run}:{table}:{id}:{version}");
    EventId::new(Some("reconcile"), &text).unwrap_or_else(|_| row_event(table, id, Columns::new()).id)
}

/// The event that deletes a row which the source was seen not to have. The engine asks the source again before it does.
/// `id`: the row's GUID at either side, for the event's id; `row`: how the source knows it. `seen_at`: when, by the source's
/// clock; the delete is a second older than that, so that a row which is made anew is newer.
#[must_use]
pub fn absence(table: &Table<'_>, run: &str, id: Uuid, row: RowRef, seen_at: DateTime<Utc>) -> ChangeEvent {
    let event = row_event(&table.map.source, id, Columns::new());
    ChangeEvent {
        id: event_id(run, &table.map.source, id, "gone"),
        row,
        operation: Operation::Delete,
        stamp: just_before(seen_at),
        origin: of_comparison(BTreeSet::new(), true, None),
        ..event
    }
}

/// The same, by a person's decision: the fuse against mass deletes does not hold it up.
#[must_use]
pub(super) fn decided(mut absence: ChangeEvent) -> ChangeEvent {
    if let Some(comparison) = &mut absence.origin.comparison {
        comparison.decided = true;
    }
    absence
}

/// A second before what was seen: whatever happens after it is newer, whatever the resolution of its time.
#[must_use]
pub(super) fn just_before(seen_at: DateTime<Utc>) -> Stamp {
    let at = seen_at.timestamp_micros().saturating_sub(micros(Duration::from_secs(1)));
    Stamp { at: Some(at), ..Stamp::default() }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The key by which the target knows a row of the source; `None` if the row lacks a part of it.
#[must_use]
pub fn key_of(table: &Table<'_>, lookups: &Lookups<'_>, source: &TargetRow) -> Option<RowRef> {
    let event = row_event(&table.map.source, source.id, source.columns.clone());
    match map_columns(lookups.mapping, table.map, &table.target, &event).row {
        MappedRow::Known(row) => Some(row),
        MappedRow::Unresolved { .. } => None,
    }
}
