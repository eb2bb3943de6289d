//! Column values and keys of a row change: JSON scalars, lookups, multi-selects. Dates stay texts: without metadata
//! nobody knows which texts are dates.

use crate::domain::decode::error::{Fault, Problem};
use crate::domain::decode::json::{self, Json, Part, check_logical_name, given, kind, required};
use crate::domain::decode::limits::DecodeLimits;
use crate::domain::value::{KeyPart, Reference, RowRef, Value};
use std::collections::BTreeMap;

/// The value of one column.
///
/// # Errors
/// A form that CONTRACT does not name.
pub(super) fn value<'v>(json: &'v Json, limits: &DecodeLimits) -> Part<'v, Value> {
    match json {
        Json::Null => Ok(Value::Null),
        Json::Bool(flag) => Ok(Value::Bool(*flag)),
        Json::Number(_) => json::number(json, "the value").map(Value::Number),
        Json::String(text) => checked(json, text, limits).map(Value::Text),
        Json::Array(items) => choices(json, items, limits),
        Json::Object(_) => lookup(json, limits).map(Value::Lookup),
    }
}

fn checked<'v>(json: &'v Json, text: &str, limits: &DecodeLimits) -> Part<'v, String> {
    if text.len() > limits.text_bytes_max {
        return Err(Fault::new(json, Problem::TooLarge { what: "a text", bytes_max: limits.text_bytes_max }));
    }
    Ok(text.to_owned())
}

/// A multi-select. An empty one is cleared, as Dataverse itself writes it.
fn choices<'v>(json: &'v Json, items: &'v [Json], limits: &DecodeLimits) -> Part<'v, Value> {
    let count_max = limits.choices_max;
    if items.len() > count_max {
        return Err(Fault::new(json, Problem::TooMany { what: "options in one value", count_max }));
    }
    if items.is_empty() {
        return Ok(Value::Null);
    }
    let option = |item| json::whole(item, "an option of a multi-select");
    items.iter().map(option).collect::<Part<'v, Vec<i64>>>().map(Value::Choices)
}

fn lookup<'v>(json: &'v Json, limits: &DecodeLimits) -> Part<'v, Reference> {
    let table = json::logical_name(required(json, "table")?, "a lookup's `table`")?;
    let row = match (given(json, "id"), given(json, "key")) {
        (Some(id), None) => match json::guid(id, "a lookup's `id`")? {
            nil if nil.is_nil() => return Err(Fault::bad(id, "a lookup's `id` must not be all zero")),
            id => RowRef::Id(id),
        },
        (None, Some(parts)) => RowRef::Key(key(parts, limits)?),
        _ => return Err(Fault::bad(json, "a lookup must have either `id` or `key`")),
    };
    let name = match given(json, "name") {
        None => None,
        Some(Json::String(name)) => Some(checked(json, name, limits)?),
        Some(other) => return Err(Fault::bad(other, format!("a lookup's `name` must be a text, not {}", kind(other)))),
    };
    Ok(Reference { table, row, name })
}

/// An alternate key: at least one column, each a text, a number or a lookup by id.
pub(super) fn key<'v>(json: &'v Json, limits: &DecodeLimits) -> Part<'v, BTreeMap<String, KeyPart>> {
    let Some(fields) = json.as_object().filter(|fields| !fields.is_empty()) else {
        return Err(Fault::bad(json, "`key` must be an object with at least one column"));
    };
    let count_max = limits.key_parts_max;
    if fields.len() > count_max {
        return Err(Fault::new(json, Problem::TooMany { what: "columns in one key", count_max }));
    }
    let mut parts = BTreeMap::new();
    for (name, field) in fields {
        let name = check_logical_name(name).map_err(|problem| Fault::bad(field, format!("a key column {problem}")))?;
        let part = match field {
            Json::String(text) if text.is_empty() => return Err(Fault::bad(field, "a key value must not be empty")),
            Json::String(text) => KeyPart::Text(checked(field, text, limits)?),
            Json::Number(_) => KeyPart::Number(json::number(field, "a key value")?),
            Json::Object(_) => match lookup(field, limits)?.row {
                RowRef::Id(id) => KeyPart::Guid(id),
                RowRef::Key(_) => return Err(Fault::bad(field, "a lookup in a key must have an `id`")),
            },
            other => return Err(Fault::bad(field, format!("a key value cannot be {}", kind(other)))),
        };
        if parts.insert(name, part).is_some() {
            return Err(Fault::bad(field, "the same key column twice"));
        }
    }
    Ok(parts)
}
