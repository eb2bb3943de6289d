//! Write operations, alone or several of one partition in one entity group transaction (multipart/mixed).
//!
//! Builds and reads the bodies; sends nothing. The HTTP answer to a transaction is 202 even when it failed, so every
//! inner status is read, and whatever does not add up is an unknown outcome, never a success.

use crate::tables::entity::{Entity, Etag};
use crate::tables::error::{TablesError, classify};
use crate::tables::keys::Key;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use std::collections::BTreeSet;

/// Operations of one transaction (documented).
pub const OPERATIONS_MAX: usize = 100;
/// Bytes of one transaction's body (documented: 4 MiB).
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// On which condition an entity is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Whether it exists or not (for a delete: it must exist).
    Always,
    /// It exists, in any version.
    Exists,
    /// It has this version.
    Is(Etag),
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A new entity; a conflict if the keys are taken.
    Insert(Entity),
    /// The given properties; the others stay.
    Merge(Entity, When),
    /// The given properties and no others.
    Replace(Entity, When),
    /// Gone.
    Delete(Key, Key, When),
}

impl Op {
    pub(super) fn partition(&self) -> &Key {
        match self {
            Self::Insert(entity) | Self::Merge(entity, _) | Self::Replace(entity, _) => &entity.partition,
            Self::Delete(partition, _, _) => partition,
        }
    }

    fn row(&self) -> &Key {
        match self {
            Self::Insert(entity) | Self::Merge(entity, _) | Self::Replace(entity, _) => &entity.row,
            Self::Delete(_, row, _) => row,
        }
    }

    pub(super) fn method(&self) -> Method {
        match self {
            Self::Insert(_) => Method::POST,
            Self::Merge(..) => Method::PATCH,
            Self::Replace(..) => Method::PUT,
            Self::Delete(..) => Method::DELETE,
        }
    }

    /// Below the endpoint, beginning with a slash.
    pub(super) fn path(&self, table: &str) -> String {
        match self {
            Self::Insert(_) => format!("/{table}"),
            Self::Merge(..) | Self::Replace(..) | Self::Delete(..) => entity_path(table, self.partition(), self.row()),
        }
    }

    pub(super) fn if_match(&self) -> Option<&str> {
        match self {
            Self::Insert(_) | Self::Merge(_, When::Always) | Self::Replace(_, When::Always) => None,
            Self::Merge(_, When::Is(etag)) | Self::Replace(_, When::Is(etag)) | Self::Delete(_, _, When::Is(etag)) => {
                Some(etag.as_str())
            }
            Self::Merge(_, When::Exists) | Self::Replace(_, When::Exists) => Some("*"),
            Self::Delete(_, _, When::Always | When::Exists) => Some("*"),
        }
    }

    /// The JSON body, `None` for a delete.
    pub(super) fn body(&self) -> Result<Option<String>, TablesError> {
        match self {
            Self::Insert(entity) | Self::Merge(entity, _) | Self::Replace(entity, _) => entity.to_json().map(Some),
            Self::Delete(..) => Ok(None),
        }
    }
}

pub(super) fn entity_path(table: &str, partition: &Key, row: &Key) -> String {
    format!("/{table}(PartitionKey={},RowKey={})", partition.url_literal(), row.url_literal())
}

/// The body of a transaction. `boundary` is a fresh random word.
///
/// # Errors
/// [`TablesError::Invalid`] when the operations cannot be one transaction.
pub(super) fn body(
    endpoint: &str,
    table: &str,
    partition: &Key,
    ops: &[Op],
    boundary: &str,
) -> Result<Bytes, TablesError> {
    check(partition, ops)?;
    let mut text =
        format!("--batch_{boundary}\r\nContent-Type: multipart/mixed; boundary=changeset_{boundary}\r\n\r\n");
    for op in ops {
        text.push_str(&format!(
            "--changeset_{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
             {} {endpoint}{} HTTP/1.1\r\nAccept: application/json;odata=nometadata\r\nDataServiceVersion: 3.0;\r\n\
             Prefer: return-no-content\r\n",
            op.method(),
            op.path(table),
        ));
        if let Some(etag) = op.if_match() {
            text.push_str(&format!("If-Match: {etag}\r\n"));
        }
        match op.body()? {
            Some(json) => text.push_str(&format!("Content-Type: application/json\r\n\r\n{json}\r\n")),
            None => text.push_str("\r\n"),
        }
    }
    text.push_str(&format!("--changeset_{boundary}--\r\n--batch_{boundary}--\r\n"));
    if text.len() > BODY_BYTES_MAX {
        let what = format!("a transaction of {} bytes is larger than {BODY_BYTES_MAX}", text.len());
        return Err(TablesError::invalid(what));
    }
    Ok(Bytes::from(text))
}

fn check(partition: &Key, ops: &[Op]) -> Result<(), TablesError> {
    if ops.is_empty() || ops.len() > OPERATIONS_MAX {
        return Err(TablesError::invalid(format!(
            "a transaction has {} operations, not 1 to {OPERATIONS_MAX}",
            ops.len()
        )));
    }
    let mut rows = BTreeSet::new();
    for (index, op) in ops.iter().enumerate() {
        if op.partition() != partition {
            return Err(TablesError::invalid(format!("operation {index} is in another partition")));
        }
        if !rows.insert(op.row()) {
            return Err(TablesError::invalid(format!("operation {index} writes a row for the second time")));
        }
    }
    Ok(())
}

/// What the answer to a transaction says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// All done; the new versions, `None` for deletes.
    Done(Vec<Option<Etag>>),
    /// Nothing done: the table does not exist.
    NoTable,
    /// Nothing done, or unknown.
    Failed(TablesError),
}

/// Reads the answer to the transaction `ops`.
pub(super) fn verdict(body: &[u8], ops: &[Op]) -> Verdict {
    let unknown = |reason: &str| {
        Verdict::Failed(TablesError::Unknown { reason: format!("the answer to a transaction {reason}") })
    };
    let Ok(text) = std::str::from_utf8(body) else { return unknown("is not text") };
    let Some(parts) = parts(text) else { return unknown("cannot be read") };
    if let Some(failed) = parts.iter().find(|part| !part.status.is_success()) {
        return failure(failed, ops.len());
    }
    if parts.len() != ops.len() {
        return unknown(&format!("has {} parts for {} operations", parts.len(), ops.len()));
    }
    let mut etags = Vec::with_capacity(ops.len());
    for (part, op) in parts.iter().zip(ops) {
        match (op, part.etag.map(Etag::new)) {
            (Op::Delete(..), _) => etags.push(None),
            (_, Some(Ok(etag))) => etags.push(Some(etag)),
            (_, Some(Err(_)) | None) => return unknown("lacks an ETag"),
        }
    }
    Verdict::Done(etags)
}

const STATUS_LINE: &str = "\nHTTP/1.1 ";

struct Part<'a> {
    status: StatusCode,
    etag: Option<&'a str>,
    body: &'a str,
}

/// Everything from one inner status line to the next boundary line; `None` if a status or the end is missing.
fn parts(text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text;
    // JSON has no line feeds of its own, so no value can look like a status line or a boundary
    while let Some(at) = rest.find(STATUS_LINE) {
        rest = rest.get(at + STATUS_LINE.len()..)?;
        let status = StatusCode::from_bytes(rest.get(..3)?.as_bytes()).ok()?;
        let part;
        (part, rest) = rest.split_at(rest.find("\n--")?);
        let part = part.split_once('\n').map_or("", |(_, after)| after);
        // headers end at an empty line; a part without a body may lack it
        let end = part.find("\r\n\r\n").map(|at| (at, at + 4)).or_else(|| part.find("\n\n").map(|at| (at, at + 2)));
        let (head, body) = match end {
            Some((end, start)) => (part.get(..end)?, part.get(start..)?),
            None => (part, ""),
        };
        let etag = head.lines().find_map(|line| {
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("etag")).map(|(_, value)| value.trim())
        });
        parts.push(Part { status, etag, body });
    }
    (!parts.is_empty()).then_some(parts)
}

fn failure(part: &Part<'_>, operations: usize) -> Verdict {
    let (code, message) = error_of(part.body.as_bytes());
    if code == "TableNotFound" {
        return Verdict::NoTable;
    }
    let index = message.split_once(':').and_then(|(index, _)| index.parse().ok()).filter(|index| *index < operations);
    Verdict::Failed(classify(part.status, &code, index, None))
}

/// Code and message of an error body, JSON in any metadata form or XML; empty where there is none.
pub(super) fn error_of(body: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(body);
    let short = |text: &str| text.trim().chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    if let Ok(json) = serde_json::from_str::<Value>(text.trim()) {
        let at = |path: &str| json.pointer(path).and_then(Value::as_str).map(short);
        let code = at("/odata.error/code").or_else(|| at("/error/code")).or_else(|| at("/code")).unwrap_or_default();
        let message = at("/odata.error/message/value").or_else(|| at("/error/message")).unwrap_or_default();
        return (code, message);
    }
    let tag = |name: &str| {
        let after = text.split_once(&format!("<{name}"))?.1.split_once('>')?.1;
        Some(short(after.split_once("</")?.0))
    };
    (
        tag("code").or_else(|| tag("Code")).unwrap_or_default(),
        tag("message").or_else(|| tag("Message")).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
