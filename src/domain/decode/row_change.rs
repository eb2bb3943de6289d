//! A row change (CONTRACT "Row change"): the plain JSON form that any sender can write. Strict about what it reads,
//! silent about fields it does not know.

mod values;

use super::error::{Fault, Problem};
use super::json::{self, Json, Part, check_logical_name, given, kind, required};
use super::{Surroundings, cloudevents, identity};
use crate::domain::event::{ChangeEvent, Completeness, EventId, Link, Operation, Origin};
use crate::domain::value::{Columns, RowRef};
use crate::domain::version::Stamp;

/// Whether a document is (meant as) a row change.
pub(super) fn is_row_change(json: &Json) -> bool {
    json.is_object() && (json.get("table").is_some() || json.get("operation").is_some())
}

/// Decodes a row change.
///
/// # Errors
/// No identity; a field that is missing, or not what it must be.
pub(super) fn decode<'v>(change: &'v Json, around: Surroundings<'_>) -> Part<'v, ChangeEvent> {
    let id = identity::of_row_change(change, around)?;
    let table = json::logical_name(required(change, "table")?, "`table`")?;
    let row = row(change, around, "the row")?;
    let operation = operation(change)?;
    let columns = match operation {
        Operation::Upsert => columns(required(change, "columns")?, around)?,
        _ => Columns::new(),
    };
    Ok(event(id, table, row, operation, columns, stamp(change, around)?))
}

/// The event that a row change is, whatever form it has.
pub(super) fn event(
    id: EventId,
    table: String,
    row: RowRef,
    operation: Operation,
    columns: Columns,
    stamp: Stamp,
) -> ChangeEvent {
    ChangeEvent {
        id,
        origin: Origin::default(),
        table,
        row,
        operation,
        columns,
        image: Columns::new(),
        stamp,
        completeness: Completeness::Full,
        synchronous: false,
    }
}

/// `id` or `key`, exactly one of them.
fn row<'v>(owner: &'v Json, around: Surroundings<'_>, what: &str) -> Part<'v, RowRef> {
    match (given(owner, "id"), given(owner, "key")) {
        (Some(id), None) => match json::guid(id, "`id`")? {
            nil if nil.is_nil() => Err(Fault::bad(id, "`id` must not be all zero")),
            id => Ok(RowRef::Id(id)),
        },
        (None, Some(key)) => values::key(key, around.limits).map(RowRef::Key),
        (Some(_), Some(key)) => Err(Fault::bad(key, format!("{what} must have `id` or `key`, not both"))),
        (None, None) => Err(Fault::bad(owner, format!("{what} must have an `id` or a `key`"))),
    }
}

const OPERATIONS: [&str; 4] = ["upsert", "delete", "link", "unlink"];

/// Words of other interfaces, and ours for them.
const OTHER_WORDS: [(&str, &str); 10] = [
    ("create", "upsert"),
    ("update", "upsert"),
    ("insert", "upsert"),
    ("patch", "upsert"),
    ("put", "upsert"),
    ("merge", "upsert"),
    ("remove", "delete"),
    ("associate", "link"),
    ("disassociate", "unlink"),
    ("detach", "unlink"),
];

fn operation(change: &Json) -> Part<'_, Operation> {
    let json = required(change, "operation")?;
    match json::text(json, "`operation`")? {
        "upsert" => Ok(Operation::Upsert),
        "delete" => Ok(Operation::Delete),
        "link" => link(change).map(Operation::Link),
        "unlink" => link(change).map(Operation::Unlink),
        other => {
            let hint = suggestion(other).map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
            let known = OPERATIONS.join(", ");
            Err(Fault::bad(json, format!("`operation` must be one of {known}{hint}")))
        }
    }
}

fn suggestion(word: &str) -> Option<&'static str> {
    let word: String = word.chars().take(40).collect::<String>().to_lowercase();
    let known = OTHER_WORDS.into_iter().chain(OPERATIONS.map(|own| (own, own)));
    let near = known.map(|(theirs, ours)| (strsim::damerau_levenshtein(&word, theirs), ours));
    near.filter(|(distance, _)| *distance <= 2).min_by_key(|(distance, _)| *distance).map(|(_, ours)| ours)
}

fn link(change: &Json) -> Part<'_, Link> {
    let relationship = json::text(required(change, "relationship")?, "`relationship`")?;
    let related = required(change, "related")?;
    if !related.is_object() {
        return Err(Fault::bad(related, format!("`related` must be an object, not {}", kind(related))));
    }
    let table = json::logical_name(required(related, "table")?, "`table`")?;
    let id_json = required(related, "id")?;
    let id = json::guid(id_json, "`id`")?;
    if id.is_nil() {
        return Err(Fault::bad(id_json, "`id` must not be all zero"));
    }
    Ok(Link { relationship: relationship.to_owned(), related: vec![(table, id)] })
}

/// The columns of an object.
///
/// # Errors
/// Too many, a name that is none, a value in a form that CONTRACT does not name.
pub(super) fn columns<'v>(json: &'v Json, around: Surroundings<'_>) -> Part<'v, Columns> {
    let Some(fields) = json.as_object() else {
        return Err(Fault::bad(json, format!("`columns` must be an object, not {}", kind(json))));
    };
    let count_max = around.limits.columns_max;
    if fields.len() > count_max {
        return Err(Fault::new(json, Problem::TooMany { what: "columns", count_max }));
    }
    let mut columns = Columns::new();
    for (name, field) in fields {
        let name = check_logical_name(name).map_err(|problem| Fault::bad(field, format!("a column name {problem}")))?;
        if columns.insert(name, values::value(field, around.limits)?).is_some() {
            return Err(Fault::bad(field, "the same column twice"));
        }
    }
    Ok(columns)
}

/// `version` is a time or the sender's own whole number.
///
/// # Errors
/// It is neither.
pub(super) fn stamp<'v>(change: &'v Json, around: Surroundings<'_>) -> Part<'v, Stamp> {
    let wrong = "`version` must be a time (RFC 3339) or a whole number";
    let at = match given(change, "version") {
        None => None,
        Some(json) => Some(match json {
            Json::String(text) => cloudevents::micros(text).ok_or_else(|| Fault::bad(json, wrong))?,
            Json::Number(_) => json::whole(json, "`version`")?,
            _ => return Err(Fault::bad(json, wrong)),
        }),
    };
    Ok(Stamp {
        at,
        sequence: around.attributes.and_then(|attributes| attributes.sequence),
        time: around.attributes.and_then(|attributes| attributes.time),
        ..Stamp::default()
    })
}
