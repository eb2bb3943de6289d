//! `Entity` and `EntityReference` of a context: attribute lists, ids, alternate keys (facts 3.2). Knows no messages.

use super::values::{check_count, value};
use crate::domain::decode::error::{Fault, Problem};
use crate::domain::decode::json::{self, Json, Part, check_logical_name, given, kind, required};
use crate::domain::decode::limits::DecodeLimits;
use crate::domain::value::{Columns, KeyPart, Number, Reference, RowRef, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Whether a value is the content of an image or file column: bytes, which .NET writes as bare numbers (assumed, no
/// sample). Those columns are never synchronised (facts 3.4), so they are passed over. No other column looks like it.
fn is_bytes(json: &Json) -> bool {
    let byte = |item: &Json| item.as_u64().is_some_and(|number| number <= 255);
    json.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(byte))
}

/// The entries of a dictionary written as an array of `{"key", "value"}`. Absent and null are empty.
pub(super) fn pairs<'v>(owner: &'v Json, name: &str) -> Part<'v, Vec<(&'v str, &'v Json)>> {
    let Some(list) = given(owner, name) else {
        return Ok(Vec::new());
    };
    let Some(items) = list.as_array() else {
        return Err(Fault::bad(list, format!("`{name}` must be an array of key and value, not {}", kind(list))));
    };
    let pair = |item: &'v Json| match (item.get("key").and_then(Json::as_str), item.get("value")) {
        (Some(key), Some(value)) => Ok((key, value)),
        _ => Err(Fault::bad(item, "must be an object with a text `key` and a `value`")),
    };
    items.iter().map(pair).collect()
}

/// The same, taking what can be read and passing over the rest: for what we only look into.
pub(super) fn readable_pairs<'v>(owner: &'v Json, name: &str) -> impl Iterator<Item = (&'v str, &'v Json)> {
    let items = given(owner, name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| Some((item.get("key")?.as_str()?, item.get("value")?)))
}

/// The attributes of an `Entity`, all of which must be understood.
///
/// # Errors
/// An unknown value, a bad name, the same column twice, too many columns.
pub(super) fn attributes<'v>(entity: &'v Json, limits: &DecodeLimits) -> Part<'v, Columns> {
    if !entity.is_object() {
        return Err(Fault::bad(entity, format!("an Entity must be an object, not {}", kind(entity))));
    }
    let list = pairs(entity, "Attributes")?;
    check_count(entity.get("Attributes").unwrap_or(entity), list.len(), "columns", limits.columns_max)?;
    let mut columns = Columns::new();
    for (key, json) in list {
        let name = check_logical_name(key).map_err(|problem| Fault::bad(json, format!("a column name {problem}")))?;
        if is_bytes(json) {
            continue;
        }
        let decoded = value(json, limits).map_err(|fault| of_column(fault, &name))?;
        if columns.insert(name, decoded).is_some() {
            return Err(Fault::bad(json, "the same column twice"));
        }
    }
    Ok(columns)
}

/// Names the column in the message: the path alone has only its number.
fn of_column<'v>(fault: Fault<'v>, column: &str) -> Fault<'v> {
    match fault.problem {
        Problem::BadValue(what) => Fault::bad(fault.at, format!("column `{column}`: {what}")),
        problem => Fault::new(fault.at, problem),
    }
}

/// The attributes of an image as far as they are understood: an image is never written by itself, so an odd value in
/// it must not stop the event.
pub(super) fn readable_attributes(entity: &Json, limits: &DecodeLimits) -> Columns {
    readable_pairs(entity, "Attributes")
        .take(limits.columns_max)
        .filter_map(|(key, json)| Some((check_logical_name(key).ok()?, value(json, limits).ok()?)))
        .collect()
}

/// An `EntityReference`: by GUID, or by its key if the GUID is all zero.
///
/// # Errors
/// No table, no GUID and no key.
pub(super) fn reference<'v>(json: &'v Json, limits: &DecodeLimits) -> Part<'v, Reference> {
    let table = json::logical_name(required(json, "LogicalName")?, "`LogicalName`")?;
    let name = given(json, "Name").and_then(Json::as_str).map(str::to_owned);
    let Some(row) = row(json, limits)? else {
        return Err(Fault::bad(json, "a reference with neither `Id` nor `KeyAttributes`"));
    };
    Ok(Reference { table, row, name })
}

/// The row that an `Entity` or `EntityReference` names, if it names one.
pub(super) fn row<'v>(json: &'v Json, limits: &DecodeLimits) -> Part<'v, Option<RowRef>> {
    if let Some(id) = id(json)? {
        return Ok(Some(RowRef::Id(id)));
    }
    let key = key(json, limits)?;
    Ok((!key.is_empty()).then_some(RowRef::Key(key)))
}

/// `Id`, unless it is absent or all zero.
pub(super) fn id(json: &Json) -> Part<'_, Option<Uuid>> {
    let Some(id) = given(json, "Id") else {
        return Ok(None);
    };
    json::guid(id, "`Id`").map(|id| Some(id).filter(|id| !id.is_nil()))
}

/// `KeyAttributes`.
pub(super) fn key<'v>(json: &'v Json, limits: &DecodeLimits) -> Part<'v, BTreeMap<String, KeyPart>> {
    let list = pairs(json, "KeyAttributes")?;
    check_count(json, list.len(), "columns in one key", limits.key_parts_max)?;
    let part = |(name, json): (&str, &'v Json)| {
        let name = check_logical_name(name).map_err(|problem| Fault::bad(json, format!("a key column {problem}")))?;
        let part = key_part(value(json, limits)?).ok_or_else(|| Fault::bad(json, "no value for a key"))?;
        Ok((name, part))
    };
    list.into_iter().map(part).collect()
}

fn key_part(value: Value) -> Option<KeyPart> {
    match value {
        Value::Text(text) if text.is_empty() => None,
        Value::Text(text) => Some(KeyPart::Text(text)),
        Value::Number(number) => Some(KeyPart::Number(number)),
        Value::Choice(choice) => Some(KeyPart::Number(Number::from(choice))),
        Value::DateTime(at) => Some(KeyPart::DateTime(at)),
        Value::Lookup(Reference { row: RowRef::Id(id), .. }) => Some(KeyPart::Guid(id)),
        Value::Null | Value::Bool(_) | Value::Choices(_) | Value::Parties(_) | Value::Lookup(_) => None,
    }
}
