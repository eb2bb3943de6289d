//! A change of the row that an address names (`/api/rows/{table}/{key}`), its columns in the body: for senders that know rows
//! and no events. It becomes what a row change ([`super::row_change`]) becomes. Pure.
//!
//! **The key** is a GUID, `column=value[,column=value]` as in the addresses of Dataverse's own Web API, or the bare value
//! where one column identifies the table's rows. Text may be quoted (`'O''Brien'`), and must be if it has `,` or `=` in it; a
//! bare number is a number, a bare GUID a GUID. Types are settled later, by the target's metadata.
//!
//! **The body** is the columns themselves, or `{"columns": {...}, "version": ...}`. In the first form names that mean something
//! in the second are refused, so that no version is taken for a column. A DELETE has no body, or `{"version": ...}`.
//!
//! **The version** is the body's `version`, else `ce-time`, with `ce-sequence` as the finer scale; without any the arrival
//! decides.

use super::cloudevents::{Attributes, binary_attributes, micros};
use super::error::{DecodeError, Fault, Problem};
use super::json::{self, Json, check_logical_name, kind};
use super::limits::DecodeLimits;
use super::media::{self, Media};
use super::{Inbound, Surroundings, identity, readable, row_change};
use crate::domain::event::{ChangeEvent, Operation};
use crate::domain::value::{Columns, KeyPart, Number, RowRef};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Names that mean something in the long form of the body, or in a row change: never columns of the short form.
const RESERVED: [&str; 9] =
    ["columns", "version", "table", "id", "key", "operation", "relationship", "related", "specversion"];

/// Where a row is, and what is done to it.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The source's table.
    pub table: &'a str,
    /// The row, as it is written in the address.
    pub key: &'a str,
    /// The column, by the source's name, that a bare value is of; `None`: it must be named.
    pub key_column: Option<&'a str>,
    /// It is deleted, not written.
    pub deletes: bool,
}

static NOTHING: Json = Json::Null;

/// Decodes one request.
///
/// # Errors
/// [`DecodeError`]; the path is `address` for what the address says.
pub fn decode_addressed(
    inbound: &Inbound<'_>,
    address: &Address<'_>,
    limits: &DecodeLimits,
) -> Result<ChangeEvent, DecodeError> {
    readable(inbound, limits)?;
    let wrong = |what: String| DecodeError { path: "address".to_owned(), problem: Problem::BadValue(what) };
    let table = check_logical_name(address.table).map_err(|problem| wrong(format!("the table {problem}")))?;
    let row = row(address.key, address.key_column, limits).map_err(wrong)?;
    let attributes = attributes(inbound, limits)?;
    let root = match inbound.body.trim_ascii() {
        [] if address.deletes => Json::Object(serde_json::Map::new()),
        _ => body(inbound, limits)?,
    };
    let (columns, version) = parts(&root, address.deletes).map_err(|fault| fault.locate(&root, "$"))?;
    let around = Surroundings { inbound, attributes: Some(&attributes), limits };
    let located = |fault: Fault<'_>| fault.locate(&root, "$");
    let stamp = row_change::stamp(version, around).map_err(located)?;
    let columns =
        columns.map_or(Ok(Columns::new()), |columns| row_change::columns(columns, around).map_err(located))?;
    let operation = if address.deletes { Operation::Delete } else { Operation::Upsert };
    Ok(row_change::event(attributes.id, table, row, operation, columns, stamp))
}

fn body(inbound: &Inbound<'_>, limits: &DecodeLimits) -> Result<Json, DecodeError> {
    match media::judge(inbound.content_type, false)? {
        Media::Json => json::parse(inbound.body, limits),
        Media::Structured | Media::Batch => {
            let what = "the address names the row: send its columns as application/json, events to the webhook";
            Err(DecodeError::header("content-type", Problem::UnsupportedMediaType(what.to_owned())))
        }
    }
}

/// Who says this, and what orders it: the attributes of a CloudEvent, or some of its headers, or `Idempotency-Key`.
fn attributes(inbound: &Inbound<'_>, limits: &DecodeLimits) -> Result<Attributes, DecodeError> {
    if inbound.headers.contains_key("ce-specversion") {
        return binary_attributes(inbound);
    }
    let id = match identity::of_headers(inbound)? {
        Some(id) => id,
        None => {
            let around = Surroundings { inbound, attributes: None, limits };
            let id = identity::of_row_change(&NOTHING, around);
            id.map_err(|fault| DecodeError::header("idempotency-key", fault.problem))?
        }
    };
    let number = |name: &str, what: &str, read: &dyn Fn(&str) -> Option<i64>| match inbound.header(name) {
        None => Ok(None),
        Some(text) => match read(text) {
            Some(number) => Ok(Some(number)),
            None => Err(DecodeError::header(name, Problem::BadValue(what.to_owned()))),
        },
    };
    Ok(Attributes {
        id,
        time: number("ce-time", "must be a time (RFC 3339)", &micros)?,
        sequence: number("ce-sequence", "must be a whole number", &|text| text.parse().ok())?,
    })
}

/// The columns, and what holds the version.
fn parts(root: &Json, deletes: bool) -> Result<(Option<&Json>, &Json), Fault<'_>> {
    let Some(members) = root.as_object() else {
        return Err(Fault::bad(root, format!("the body must be an object of columns, not {}", kind(root))));
    };
    let long = deletes || members.get("columns").is_some_and(Json::is_object);
    for (name, member) in members {
        match (name.as_str(), long) {
            ("version", true) => {}
            ("columns", true) if !deletes => {}
            (_, true) if deletes => return Err(Fault::bad(member, "the body of a DELETE may only have a `version`")),
            (_, true) => {
                return Err(Fault::bad(member, "beside `columns` only `version` may stand; the row is in the address"));
            }
            (name, false) if RESERVED.contains(&name.to_ascii_lowercase().as_str()) => {
                let what = "this name is no column here; send {\"columns\": {...}, \"version\": ...}, the row is in the address";
                return Err(Fault::bad(member, what));
            }
            (_, false) => {}
        }
    }
    Ok(match (deletes, long) {
        (true, _) => (None, root),
        (false, true) => (members.get("columns"), root),
        (false, false) => (Some(root), &NOTHING),
    })
}

/// The row that a key names.
fn row(key: &str, column: Option<&str>, limits: &DecodeLimits) -> Result<RowRef, String> {
    let key = key.trim();
    if let Some(id) = guid(key) {
        return if id.is_nil() { Err("the GUID must not be all zero".to_owned()) } else { Ok(RowRef::Id(id)) };
    }
    let parts = split(key)?;
    let named = parts.iter().all(|part| equals(part).is_some());
    let column = column.filter(|_| !named && parts.iter().all(|part| equals(part).is_none()));
    if let Some(column) = column {
        let value = match quoted(key)? {
            Some(text) => text,
            None => key.to_owned(),
        };
        return Ok(RowRef::Key([(column.to_owned(), KeyPart::Text(filled(value)?))].into()));
    }
    if parts.len() > limits.key_parts_max {
        return Err(format!("the key has more than {} columns", limits.key_parts_max));
    }
    let mut found = BTreeMap::new();
    for part in parts {
        let usage = "the key must be a GUID or column=value, more columns with commas between; quote texts ('a,b')";
        let (name, value) = equals(part).ok_or_else(|| usage.to_owned())?;
        let name = check_logical_name(name.trim()).map_err(|problem| format!("a column of the key {problem}"))?;
        if found.insert(name, key_part(value.trim())?).is_some() {
            return Err("the key names a column twice".to_owned());
        }
    }
    Ok(RowRef::Key(found))
}

fn key_part(value: &str) -> Result<KeyPart, String> {
    if let Some(text) = quoted(value)? {
        return Ok(KeyPart::Text(filled(text)?));
    }
    let typed = Number::parse(value).ok().map(KeyPart::Number).or_else(|| guid(value).map(KeyPart::Guid));
    typed.map_or_else(|| filled(value.to_owned()).map(KeyPart::Text), Ok)
}

fn filled(text: String) -> Result<String, String> {
    if text.trim().is_empty() { Err("a value of the key is empty".to_owned()) } else { Ok(text) }
}

/// A GUID with its hyphens, in braces or not: 32 digits alone may be somebody's key.
fn guid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.contains('-') && !text.contains(':'))
}

/// The text between quotes, if it begins with one; two within it are one.
fn quoted(value: &str) -> Result<Option<String>, String> {
    let Some(rest) = value.strip_prefix('\'') else { return Ok(None) };
    let inner = rest.strip_suffix('\'').map(|inner| inner.replace("''", "\u{0}"));
    match inner {
        Some(inner) if !inner.contains('\'') => Ok(Some(inner.replace('\u{0}', "'"))),
        _ => {
            Err("a quoted text of the key does not end where it should; double quotes within it ('O''Brien')"
                .to_owned())
        }
    }
}

/// At its commas; those between quotes belong to a value.
fn split(key: &str) -> Result<Vec<&str>, String> {
    let mut open = false;
    let parts = key.split(|c| {
        open ^= c == '\'';
        c == ',' && !open
    });
    let parts: Vec<&str> = parts.collect();
    if open { Err("a quote of the key is not closed".to_owned()) } else { Ok(parts) }
}

/// Name and value, unless the part is a quoted text.
fn equals(part: &str) -> Option<(&str, &str)> {
    part.split_once('=').filter(|_| !part.trim_start().starts_with('\''))
}

#[cfg(test)]
mod tests;
