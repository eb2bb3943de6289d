//! A Dataverse `RemoteExecutionContext` (facts 3) -> an event. Judges by message; ids come from `Target`, and the
//! `PrimaryEntity*` fields are only what is left when the body was stripped.

mod entity;
mod facts;
mod values;

use super::error::{Fault, Problem};
use super::json::{self, Json, Part, given, required};
use super::{Item, NotForUs, Surroundings, identity};
use crate::domain::event::{ChangeEvent, Completeness, EventId, Link, Operation};
use crate::domain::outcome::Ignored;
use crate::domain::value::{Columns, KeyPart, Reference, RowRef, Value};
use uuid::Uuid;
use values::{check_count, type_of};

/// The request name of a heartbeat (facts 1.1).
pub(super) const URL_VALIDATION: &str = "URL_VALIDATION";

/// Alias of the image that Dataverse adds to async steps: primary name and id only.
const AUTOMATIC_IMAGE: &str = "AsynchronousStepPrimaryName";

/// Whether a document is a context: it names a message, and something else that only contexts have.
pub(super) fn is_context(json: &Json) -> bool {
    let marks = ["InputParameters", "PrimaryEntityName", "PrimaryEntityId", "OrganizationId", "OperationId"];
    json.get("MessageName").is_some_and(Json::is_string) && marks.iter().any(|mark| json.get(mark).is_some())
}

/// Whether a document is a heartbeat in a context's clothes.
pub(super) fn is_heartbeat(json: &Json) -> bool {
    json.get("MessageName").and_then(Json::as_str) == Some(URL_VALIDATION)
}

/// The messages that we handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Create,
    Update,
    Upsert,
    Delete,
    Associate,
    Disassociate,
}

impl Message {
    fn parse(name: &str) -> Option<Self> {
        [
            ("create", Self::Create),
            ("update", Self::Update),
            ("upsert", Self::Upsert),
            ("delete", Self::Delete),
            ("associate", Self::Associate),
            ("disassociate", Self::Disassociate),
        ]
        .into_iter()
        .find_map(|(known, message)| known.eq_ignore_ascii_case(name).then_some(message))
    }
}

/// Messages that change rows and may be all that tells of it: refused, so that they are parked rather than ignored. What to
/// do instead.
const REFUSED: [(&str, &str); 5] = [
    ("CreateMultiple", "register the step on Create, which CreateMultiple raises as well"),
    ("UpdateMultiple", "register the step on Update, which UpdateMultiple raises as well"),
    ("UpsertMultiple", "register steps on Create and Update (on Upsert for elastic tables)"),
    ("DeleteMultiple", "register the step on Delete"),
    ("Merge", "register the step on Update: read both rows of this merge from the source, or change them once more"),
];

/// Decodes a context.
///
/// # Errors
/// A part of it that we need has an unknown shape.
pub(super) fn decode<'v>(context: &'v Json, around: Surroundings<'_>) -> Part<'v, Item> {
    let name = json::text(required(context, "MessageName")?, "`MessageName`")?;
    let id = identity::of_context(context, around)?;
    if let Some((_, instead)) = REFUSED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        let message = required(context, "MessageName")?;
        return Err(Fault::shape(message, format!("message {name} is not supported: {instead}")));
    }
    let Some(message) = Message::parse(name) else {
        return Ok(Item::NotForUs(not_for_us(context, id)));
    };
    let target = entity::readable_pairs(context, "InputParameters").find_map(|(key, value)| {
        let usable = key == "Target" && !value.is_null();
        usable.then_some(value)
    });
    let event = match (target, message) {
        (None, _) if !has_parameters(context) || around.inbound.is_stripped() => {
            stripped(context, message, id, around)?
        }
        (None, _) => return Err(Fault::shape(required(context, "InputParameters")?, "there is no `Target`")),
        (Some(target), Message::Create) => changed(context, target, Operation::Create, id, around)?,
        (Some(target), Message::Update) => changed(context, target, Operation::Update, id, around)?,
        (Some(target), Message::Upsert) => changed(context, target, Operation::Upsert, id, around)?,
        (Some(target), Message::Delete) => deleted(context, target, id, around)?,
        (Some(target), Message::Associate) => linked(context, target, Operation::Link, id, around)?,
        (Some(target), Message::Disassociate) => linked(context, target, Operation::Unlink, id, around)?,
    };
    Ok(Item::Change(Box::new(event)))
}

/// Whether there are any input parameters: Dataverse removes all of them from oversized bodies (absent, null or empty).
fn has_parameters(context: &Json) -> bool {
    given(context, "InputParameters").is_some_and(|list| list.as_array().is_none_or(|items| !items.is_empty()))
}

fn not_for_us(context: &Json, event_id: EventId) -> NotForUs {
    let table = given(context, "PrimaryEntityName").and_then(Json::as_str).unwrap_or_default();
    NotForUs {
        event_id,
        table: json::check_logical_name(table).unwrap_or_default(),
        row: facts::guid(context, "PrimaryEntityId").map(|id| id.to_string()).unwrap_or_default(),
        why: Ignored::MessageNotSupported,
    }
}

/// Create, Update, Upsert.
fn changed<'v>(
    context: &'v Json,
    target: &'v Json,
    operation: Operation,
    id: EventId,
    around: Surroundings<'_>,
) -> Part<'v, ChangeEvent> {
    expect_type(target, "Entity")?;
    let columns = entity::attributes(target, around.limits)?;
    let mut image = images(context, "PostEntityImages", around);
    let key = entity::key(target, around.limits)?;
    let row = match row_of(context, target, &operation, around)? {
        Some(row) => row,
        None if key.is_empty() => return Err(Fault::bad(target, "there is neither an `Id` nor a key")),
        None => RowRef::Key(key.clone()),
    };
    // a row written by key and known by id: the key's values are facts about it too
    for (column, part) in key {
        if !columns.contains_key(&column) {
            image.entry(column).or_insert_with(|| key_value(part));
        }
    }
    let stamp = facts::stamp(context, &[&columns, &image], &image, around);
    let table = table_of(context, target)?;
    Ok(ChangeEvent { columns, image, ..bare(context, id, table, row, operation, stamp, around) })
}

/// Delete: `Target` is a reference; what the row held is in a registered pre-image, if there is one.
fn deleted<'v>(context: &'v Json, target: &'v Json, id: EventId, around: Surroundings<'_>) -> Part<'v, ChangeEvent> {
    expect_type(target, "EntityReference")?;
    let row = match row_of(context, target, &Operation::Delete, around)? {
        Some(row) => row,
        None => entity::reference(target, around.limits)?.row,
    };
    let image = images(context, "PreEntityImages", around);
    let stamp = facts::stamp(context, &[], &image, around);
    let table = table_of(context, target)?;
    Ok(ChangeEvent { image, ..bare(context, id, table, row, Operation::Delete, stamp, around) })
}

/// Associate, Disassociate: everything from the parameters, `PrimaryEntity*` is unproven there (facts 3.2).
fn linked<'v>(
    context: &'v Json,
    target: &'v Json,
    operation: fn(Link) -> Operation,
    id: EventId,
    around: Surroundings<'_>,
) -> Part<'v, ChangeEvent> {
    expect_type(target, "EntityReference")?;
    let Reference { table, row, .. } = entity::reference(target, around.limits)?;
    let parameters = required(context, "InputParameters")?;
    let parameter = |name: &'static str| {
        let found = entity::readable_pairs(context, "InputParameters").find(|(key, _)| *key == name);
        let missing = || Fault::shape(parameters, format!("there is no `{name}`"));
        found.map(|(_, value)| value).filter(|value| !value.is_null()).ok_or_else(missing)
    };
    let relationship = json::text(required(parameter("Relationship")?, "SchemaName")?, "`SchemaName`")?;
    let list = parameter("RelatedEntities")?;
    let Some(items) = list.as_array().filter(|items| !items.is_empty()) else {
        return Err(Fault::bad(list, "`RelatedEntities` must be an array with at least one reference"));
    };
    check_count(list, items.len(), "related rows", around.limits.parties_max)?;
    let related = |item: &'v Json| match entity::reference(item, around.limits)? {
        Reference { table, row: RowRef::Id(id), .. } => Ok((table, id)),
        _ => Err(Fault::bad(item, "a related row must have an `Id`")),
    };
    let related = items.iter().map(related).collect::<Part<'v, Vec<_>>>()?;
    let operation = operation(Link { relationship: relationship.to_owned(), related });
    let stamp = facts::stamp(context, &[], &Columns::new(), around);
    let event = bare(context, id, table, row, operation, stamp, around);
    // whatever was removed, the link itself is all here
    Ok(ChangeEvent { completeness: Completeness::Full, ..event })
}

/// An oversized body: `PrimaryEntity*` is all that is left, the columns must be read from the source.
fn stripped<'v>(context: &'v Json, message: Message, id: EventId, around: Surroundings<'_>) -> Part<'v, ChangeEvent> {
    let operation = match message {
        Message::Create => Operation::Create,
        Message::Update => Operation::Update,
        Message::Upsert => Operation::Upsert,
        Message::Delete => Operation::Delete,
        Message::Associate | Message::Disassociate => {
            return Err(Fault::shape(context, "a link without its rows (the body was too large)"));
        }
    };
    let Some(row) = facts::guid(context, "PrimaryEntityId").or_else(|| created_id(context)) else {
        return Err(Fault::bad(context, "neither a `Target` nor a usable `PrimaryEntityId`"));
    };
    let table = json::logical_name(required(context, "PrimaryEntityName")?, "`PrimaryEntityName`")?;
    let stamp = facts::stamp(context, &[], &Columns::new(), around);
    let event = bare(context, id, table, RowRef::Id(row), operation, stamp, around);
    Ok(ChangeEvent { completeness: Completeness::Stripped, ..event })
}

/// An event without columns.
fn bare(
    context: &Json,
    id: EventId,
    table: String,
    row: RowRef,
    operation: Operation,
    stamp: crate::domain::version::Stamp,
    around: Surroundings<'_>,
) -> ChangeEvent {
    let marked = around.inbound.is_stripped();
    ChangeEvent {
        id,
        origin: facts::origin(context),
        table,
        row,
        operation,
        columns: Columns::new(),
        image: Columns::new(),
        stamp,
        completeness: if marked { Completeness::Stripped } else { Completeness::Full },
        synchronous: identity::mode(context) == Some(0),
    }
}

/// The row by GUID: what an upsert answered, else `Target`, else `PrimaryEntityId`, else the id that a create answered.
fn row_of<'v>(
    context: &'v Json,
    target: &'v Json,
    operation: &Operation,
    around: Surroundings<'_>,
) -> Part<'v, Option<RowRef>> {
    if *operation == Operation::Upsert {
        let answered = entity::readable_pairs(context, "OutputParameters")
            .find(|(key, value)| *key == "Target" && type_of(value) == Some("EntityReference"));
        if let Some(RowRef::Id(id)) = answered.and_then(|(_, json)| entity::row(json, around.limits).ok().flatten()) {
            return Ok(Some(RowRef::Id(id)));
        }
    }
    let id = entity::id(target)?.or_else(|| facts::guid(context, "PrimaryEntityId")).or_else(|| created_id(context));
    Ok(id.map(RowRef::Id))
}

/// `OutputParameters.id` of a create.
fn created_id(context: &Json) -> Option<Uuid> {
    let (_, id) = entity::readable_pairs(context, "OutputParameters").find(|(key, _)| *key == "id")?;
    Uuid::parse_str(id.as_str()?).ok().filter(|id| !id.is_nil())
}

/// The table: `Target` says it, or `PrimaryEntityName` does.
fn table_of<'v>(context: &'v Json, target: &'v Json) -> Part<'v, String> {
    match given(target, "LogicalName") {
        Some(name) => json::logical_name(name, "`LogicalName`"),
        None => json::logical_name(required(context, "PrimaryEntityName")?, "`PrimaryEntityName`"),
    }
}

fn expect_type<'v>(target: &'v Json, expected: &str) -> Part<'v, ()> {
    match type_of(target) {
        Some(found) if found == expected => Ok(()),
        _ => Err(Fault::new(target, Problem::UnknownShape(format!("`Target` must be an {expected}")))),
    }
}

/// All images of one kind as one set of columns; registered ones count more than the automatic one.
fn images(context: &Json, which: &str, around: Surroundings<'_>) -> Columns {
    let mut list: Vec<_> = entity::readable_pairs(context, which).collect();
    list.sort_by_key(|(alias, _)| *alias != AUTOMATIC_IMAGE);
    list.into_iter().flat_map(|(_, image)| entity::readable_attributes(image, around.limits)).collect()
}

fn key_value(part: KeyPart) -> Value {
    match part {
        KeyPart::Text(text) => Value::Text(text),
        KeyPart::Number(number) => Value::Number(number),
        KeyPart::Guid(id) => Value::Text(id.to_string()),
        KeyPart::DateTime(at) => Value::DateTime(at),
    }
}
