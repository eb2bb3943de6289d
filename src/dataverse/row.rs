//! A row of an answer as typed columns, by the table's metadata. Pure; the opposite of `body`.

use super::literal;
use super::party;
use crate::domain::schema::{ColumnKind, TableSchema};
use crate::domain::value::{Columns, Number, Reference, RowRef, Value};
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;
use uuid::Uuid;

/// A row of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRow {
    /// Its GUID.
    pub id: Uuid,
    /// Its ETag, if the table has one.
    pub etag: Option<String>,
    /// The columns asked for; what has no value is null. Unsupported kinds are absent.
    pub columns: Columns,
}

/// An answer that does not fit the metadata. Names columns, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The row has no primary key.
    #[error("a row of {table} came without its primary key")]
    NoId {
        /// The table.
        table: String,
    },
    /// The value is not what the column holds.
    #[error("the value of {table}.{column} is not of kind {kind:?}")]
    Mismatch {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the column holds.
        kind: ColumnKind,
    },
}

/// Reads one row: the columns asked for, by metadata.
///
/// # Errors
/// [`RowError`].
pub fn decode(schema: &TableSchema, asked: &BTreeSet<String>, row: &Map<String, Json>) -> Result<TargetRow, RowError> {
    let id = row.get(&schema.primary_id).and_then(Json::as_str).and_then(literal::parse_guid);
    let id = id.ok_or_else(|| RowError::NoId { table: schema.name.clone() })?;
    let etag = row.get("@odata.etag").and_then(Json::as_str).map(str::to_owned);
    let mut columns = Columns::new();
    for column in asked {
        let Some(found) = schema.columns.get(column) else { continue };
        let value = match found.kind {
            ColumnKind::Unsupported => continue,
            ColumnKind::PartyList => parties(schema, column, row),
            ColumnKind::Lookup | ColumnKind::Owner => lookup(schema, column, row),
            kind => match row.get(column) {
                None | Some(Json::Null) => Some(Value::Null),
                Some(json) => scalar(kind, json),
            },
        };
        let mismatch = || RowError::Mismatch { table: schema.name.clone(), column: column.clone(), kind: found.kind };
        columns.insert(column.clone(), value.ok_or_else(mismatch)?);
    }
    Ok(TargetRow { id, etag, columns })
}

fn scalar(kind: ColumnKind, json: &Json) -> Option<Value> {
    match kind {
        ColumnKind::Boolean => json.as_bool().map(Value::Bool),
        ColumnKind::Integer | ColumnKind::BigInt | ColumnKind::Decimal | ColumnKind::Double | ColumnKind::Money => {
            let text = match json {
                Json::Number(number) => number.to_string(),
                // IEEE754Compatible answers quote what does not fit a double
                Json::String(text) => text.clone(),
                Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
            };
            Number::parse(&text).ok().map(Value::Number)
        }
        ColumnKind::Text => json.as_str().map(|text| Value::Text(text.to_owned())),
        ColumnKind::Guid => json.as_str().and_then(literal::parse_guid).map(|id| Value::Text(id.to_string())),
        ColumnKind::DateTime(_) => json.as_str().and_then(literal::parse_instant).map(Value::DateTime),
        ColumnKind::Choice | ColumnKind::State | ColumnKind::Status => json.as_i64().map(Value::Choice),
        ColumnKind::Choices => {
            let choices = json.as_str()?.split(',').map(|choice| choice.trim().parse().ok());
            choices.collect::<Option<Vec<i64>>>().map(Value::Choices)
        }
        ColumnKind::Lookup | ColumnKind::Owner | ColumnKind::PartyList | ColumnKind::Unsupported => None,
    }
}

/// `_x_value` with the table in an annotation; without it, a lookup that points to one table only means that one.
fn lookup(schema: &TableSchema, column: &str, row: &Map<String, Json>) -> Option<Value> {
    let only = || {
        let mut tables = schema.lookups.iter().filter(|lookup| lookup.column == column);
        let first = tables.next()?;
        tables.next().is_none().then(|| first.referenced_table.clone())
    };
    reference(column, row, only)
}

fn reference(column: &str, row: &Map<String, Json>, only: impl FnOnce() -> Option<String>) -> Option<Value> {
    let property = format!("_{column}_value");
    let id = match row.get(&property) {
        None | Some(Json::Null) => return Some(Value::Null),
        Some(json) => json.as_str().and_then(literal::parse_guid)?,
    };
    let annotation = |name: &str| row.get(&format!("{property}@{name}")).and_then(Json::as_str).map(str::to_owned);
    let table = annotation("Microsoft.Dynamics.CRM.lookuplogicalname").or_else(only)?;
    let name = annotation("OData.Community.Display.V1.FormattedValue");
    Some(Value::Lookup(Reference { table, row: RowRef::Id(id), name }))
}

/// The parties of one column, out of the expanded collection of all.
fn parties(schema: &TableSchema, column: &str, row: &Map<String, Json>) -> Option<Value> {
    let mask = party::mask(column)?;
    let Some(all) = row.get(&party::collection(&schema.name)) else { return Some(Value::Null) };
    let mut of_column = Vec::new();
    for entry in all.as_array()? {
        let entry = entry.as_object()?;
        if entry.get("participationtypemask").and_then(Json::as_i64) != Some(mask) {
            continue;
        }
        let mut columns = Columns::from([("participationtypemask".to_owned(), Value::Choice(mask))]);
        match reference("partyid", entry, || None)? {
            Value::Null => {}
            party => {
                columns.insert("partyid".to_owned(), party);
            }
        }
        if let Some(address) = entry.get("addressused").and_then(Json::as_str) {
            columns.insert("addressused".to_owned(), Value::Text(address.to_owned()));
        }
        of_column.push(columns);
    }
    Some(Value::Parties(of_column))
}

#[cfg(test)]
mod tests;
