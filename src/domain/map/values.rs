//! Values in the target's terms: value maps, the target's table names in lookups, and what activity parties may carry.

use crate::domain::mapping::{Mapping, TableMap};
use crate::domain::value::{Columns, KeyPart, Reference, RowRef, Value};
use chrono::SecondsFormat;
use std::collections::BTreeMap;

/// What is written of an activity party; the rest belongs to the system or follows from `partyid`.
const PARTY_COLUMNS: [&str; 3] = ["addressused", "participationtypemask", "partyid"];

/// `participationtypemask` by party column (activityparty table reference), for senders that leave it out.
const PARTICIPATION: [(&str, i64); 11] = [
    ("from", 1),
    ("to", 2),
    ("cc", 3),
    ("bcc", 4),
    ("requiredattendees", 5),
    ("optionalattendees", 6),
    ("organizer", 7),
    ("regarding", 8),
    ("owner", 9),
    ("resources", 10),
    ("customers", 11),
];

/// The value for the target column; `None` if a value map has no entry for it.
pub(super) fn map(mapping: &Mapping, table: &TableMap, target: &str, value: &Value) -> Option<Value> {
    if let Some(entries) = table.columns.values.get(target) {
        return translated(entries, value);
    }
    Some(match value {
        Value::Lookup(found) => Value::Lookup(reference(mapping, found)?),
        Value::Parties(parties) => Value::Parties(
            parties.iter().map(|party_columns| party(mapping, target, party_columns)).collect::<Option<_>>()?,
        ),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Text(_)
        | Value::DateTime(_)
        | Value::Choice(_)
        | Value::Choices(_) => value.clone(),
    })
}

/// Parts of a key in target names and values; `None` if a value map has no entry. `table` is the one the key belongs to.
pub(super) fn key(table: &TableMap, parts: &BTreeMap<String, KeyPart>) -> Option<BTreeMap<String, KeyPart>> {
    let part = |(source, part): (&String, &KeyPart)| {
        let target = table.columns.target_name(source).unwrap_or(source);
        let part = match table.columns.values.get(target) {
            Some(entries) => key_part(&translated(entries, &from_key_part(part))?)?,
            None => part.clone(),
        };
        Some((target.to_owned(), part))
    };
    parts.iter().map(part).collect()
}

/// A key part as a column value.
pub(super) fn from_key_part(part: &KeyPart) -> Value {
    match part {
        KeyPart::Text(text) => Value::Text(text.clone()),
        KeyPart::Number(number) => Value::Number(number.clone()),
        KeyPart::Guid(id) => Value::Text(id.to_string()),
        KeyPart::DateTime(at) => Value::DateTime(*at),
    }
}

/// A column value as a key part, by the value alone.
pub(super) fn key_part(value: &Value) -> Option<KeyPart> {
    match value {
        Value::Text(text) => Some(KeyPart::Text(text.clone())),
        Value::Number(number) => Some(KeyPart::Number(number.clone())),
        Value::Choice(choice) => Some(KeyPart::Number((*choice).into())),
        Value::DateTime(at) => Some(KeyPart::DateTime(*at)),
        Value::Lookup(Reference { row: RowRef::Id(id), .. }) => Some(KeyPart::Guid(*id)),
        Value::Lookup(_) | Value::Null | Value::Bool(_) | Value::Choices(_) | Value::Parties(_) => None,
    }
}

/// The value by its map. Null is never mapped: a cleared column is cleared.
pub(super) fn translated(entries: &BTreeMap<String, Value>, value: &Value) -> Option<Value> {
    match value {
        Value::Null => Some(Value::Null),
        Value::Choices(choices) => {
            let choice = |choice: &i64| match entries.get(&choice.to_string())? {
                Value::Number(number) => number.to_i64(),
                Value::Choice(choice) => Some(*choice),
                _ => None,
            };
            choices.iter().map(choice).collect::<Option<Vec<i64>>>().map(Value::Choices)
        }
        _ => entries.get(&text(value)?).cloned(),
    }
}

/// A value as value maps write it: `1`, `1.5`, `true`, `gold`, `2026-01-02T00:00:00Z`.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_i64().map_or_else(|| number.as_str().to_owned(), |n| n.to_string())),
        Value::Choice(choice) => Some(choice.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::DateTime(at) => Some(at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        Value::Null | Value::Choices(_) | Value::Lookup(_) | Value::Parties(_) => None,
    }
}

/// The reference under the target's table name; its key, if it has one, in that table's target names.
fn reference(mapping: &Mapping, source: &Reference) -> Option<Reference> {
    let table = mapping.tables.get(&source.table);
    let row = match (&source.row, table) {
        (RowRef::Key(parts), Some(table)) => RowRef::Key(key(table, parts)?),
        (row, _) => row.clone(),
    };
    Some(Reference { table: mapping.target_of(&source.table).to_owned(), row, name: source.name.clone() })
}

fn party(mapping: &Mapping, column: &str, source: &Columns) -> Option<Columns> {
    let mut party = Columns::new();
    for name in PARTY_COLUMNS {
        match source.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Lookup(found)) => {
                party.insert(name.to_owned(), Value::Lookup(reference(mapping, found)?));
            }
            Some(value) => {
                party.insert(name.to_owned(), value.clone());
            }
        }
    }
    if let Some((_, mask)) = PARTICIPATION.into_iter().find(|(name, _)| *name == column) {
        party.entry("participationtypemask".to_owned()).or_insert(Value::Choice(mask));
    }
    Some(party)
}
