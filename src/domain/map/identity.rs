//! Which row of the target an event is about, in the one kind of identity that its table has.

use super::MappedRow;
use super::values;
use crate::domain::event::ChangeEvent;
use crate::domain::mapping::{Identity, TableMap};
use crate::domain::schema::{ColumnKind, TableSchema};
use crate::domain::value::{KeyPart, Number, RowRef, Value};
use chrono::DateTime;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The row: its GUID, or its key from (first that has a part) the event's own key, its columns, its image. Numbers, GUIDs and
/// times that a sender wrote as text get the column's type, so that one row has one identity.
pub(super) fn of(table: &TableMap, schema: &TableSchema, event: &ChangeEvent) -> MappedRow {
    // `None`: a GUID, or a key of which a value has no entry in its value map
    let key = match &event.row {
        RowRef::Id(_) => None,
        RowRef::Key(parts) => values::key(table, parts),
    };
    let given = || key.clone().map_or_else(|| event.row.clone(), RowRef::Key);
    match (&table.identity, &event.row) {
        (Identity::Id, RowRef::Id(id)) => MappedRow::Known(RowRef::Id(*id)),
        (Identity::Id, RowRef::Key(_)) => MappedRow::Unresolved { given: given(), missing: Vec::new() },
        (Identity::Key(columns), _) => {
            let (mut parts, mut missing) = (BTreeMap::new(), Vec::new());
            for column in columns {
                match part(table, schema, event, key.as_ref(), column) {
                    Some(part) => {
                        parts.insert(column.clone(), part);
                    }
                    None => missing.push(column.clone()),
                }
            }
            if missing.is_empty() {
                MappedRow::Known(RowRef::Key(parts))
            } else {
                MappedRow::Unresolved { given: given(), missing }
            }
        }
    }
}

fn part(
    table: &TableMap,
    schema: &TableSchema,
    event: &ChangeEvent,
    key: Option<&BTreeMap<String, KeyPart>>,
    column: &str,
) -> Option<KeyPart> {
    let kind = schema.columns.get(column).map(|column| column.kind);
    if let Some(part) = key.and_then(|parts| parts.get(column)) {
        return typed(kind, &values::from_key_part(part));
    }
    let source = table.columns.source_name(column)?;
    let value = event.columns.get(source).or_else(|| event.image.get(source))?;
    value_part(table, schema, column, value)
}

/// A source value as part of the key, under the target's `column`.
pub(super) fn value_part(table: &TableMap, schema: &TableSchema, column: &str, value: &Value) -> Option<KeyPart> {
    let kind = schema.columns.get(column).map(|column| column.kind);
    match table.columns.values.get(column) {
        Some(entries) => typed(kind, &values::translated(entries, value)?),
        None => typed(kind, value),
    }
}

/// A usable key part of the column's type. Null and blank text are none: Dataverse does not hold such keys unique.
pub(super) fn typed(kind: Option<ColumnKind>, value: &Value) -> Option<KeyPart> {
    use ColumnKind as Kind;
    let part = values::key_part(value)?;
    let text = match &part {
        KeyPart::Text(text) if text.trim().is_empty() => return None,
        KeyPart::Text(text) => Some(text.trim()),
        KeyPart::Number(_) | KeyPart::Guid(_) | KeyPart::DateTime(_) => None,
    };
    match (kind, text) {
        (None, _) => Some(part),
        (Some(Kind::Text), _) => match part {
            KeyPart::Number(number) => Some(KeyPart::Text(number.as_str().to_owned())),
            KeyPart::Guid(id) => Some(KeyPart::Text(id.to_string())),
            KeyPart::Text(_) => Some(part),
            KeyPart::DateTime(_) => None,
        },
        (Some(Kind::Lookup | Kind::Owner | Kind::Guid), Some(text)) => Uuid::try_parse(text).ok().map(KeyPart::Guid),
        (Some(Kind::Lookup | Kind::Owner | Kind::Guid), None) => matches!(part, KeyPart::Guid(_)).then_some(part),
        (Some(Kind::DateTime(_)), Some(text)) => {
            DateTime::parse_from_rfc3339(text).ok().map(|at| KeyPart::DateTime(at.to_utc()))
        }
        (Some(Kind::DateTime(_)), None) => matches!(part, KeyPart::DateTime(_)).then_some(part),
        (
            Some(
                Kind::Integer
                | Kind::BigInt
                | Kind::Decimal
                | Kind::Double
                | Kind::Money
                | Kind::Choice
                | Kind::State
                | Kind::Status,
            ),
            text,
        ) => match text {
            Some(text) => Number::parse(text).ok().map(KeyPart::Number),
            None => matches!(part, KeyPart::Number(_)).then_some(part),
        },
        (Some(Kind::Boolean | Kind::Choices | Kind::PartyList | Kind::Unsupported), _) => None,
    }
}
