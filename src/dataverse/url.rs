//! Addresses of rows and filters: names, literals, percent-encoding, and which key values no address can hold.
//! Pure; sends nothing and resolves nothing.

use super::literal;
use crate::domain::schema::{ColumnKind, TableSchema};
use crate::domain::value::{KeyPart, RowRef};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// An alternate key: column to value.
pub type KeyParts = BTreeMap<String, KeyPart>;

/// Everything but RFC 3986 "unreserved" is percent-encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Characters that fail in a key value of an address, encoded or not (define-alternate-keys-entity 2026-03-30).
const UNUSABLE: &[char] = &['/', '<', '>', '*', '%', '&', ':', '\\', '?', '+'];

/// Most columns of one alternate key (define-alternate-keys-entity).
pub const KEY_COLUMNS_MAX: usize = 16;

/// Longest URL, in bytes: the service refuses more than 32 KB.
pub const URL_BYTES_MAX: usize = 32 * 1024;

/// Where a write goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A row by its GUID.
    Id(Uuid),
    /// A row by an alternate key.
    Key(KeyParts),
    /// No row yet: POST to the table. Only for keys that no address can hold; see [`Address::New`]'s race below.
    ///
    /// Two writers that both found nothing both POST; the second gets 412 `80060892` (the key is unique), reads the key
    /// again and goes on by GUID. Without an active key index both would succeed, which is why [`row`] refuses inactive keys.
    New,
}

impl From<RowRef> for Address {
    fn from(row: RowRef) -> Self {
        match row {
            RowRef::Id(id) => Self::Id(id),
            RowRef::Key(parts) => Self::Key(parts),
        }
    }
}

/// Why there is no address. Names tables and columns, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The value of this key column works in no address: find the row by `$filter` instead.
    #[error("key column {table}.{column} has a value that works in no address")]
    NeedsQuery {
        /// The table.
        table: String,
        /// The key column.
        column: String,
    },
    /// No alternate key has exactly these columns.
    #[error("table {table} has no alternate key of {columns}")]
    KeyUnknown {
        /// The table.
        table: String,
        /// The columns given, comma-separated.
        columns: String,
    },
    /// The key's index is not active: the target would not enforce it, and upserts would create duplicates.
    #[error("alternate key {key} of table {table} is not active")]
    KeyInactive {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// The table has no such column.
    #[error("table {table} has no column {column}")]
    ColumnUnknown {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The value does not fit the column.
    #[error("the value given for {table}.{column} does not fit a column of kind {kind:?}")]
    Mismatch {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the column holds.
        kind: ColumnKind,
    },
    /// An empty key value: the target takes it for null, and null key parts are not unique.
    #[error("key column {table}.{column} is empty")]
    Empty {
        /// The table.
        table: String,
        /// The key column.
        column: String,
    },
    /// A control character: no column keeps it.
    #[error("key column {table}.{column} has a control character")]
    ControlCharacter {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The row has no address yet.
    #[error("a row that is to be created has no address")]
    NoRow,
}

/// Percent-encodes everything that is not unreserved.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// `accounts(<guid>)`.
#[must_use]
pub fn row_by_id(entity_set: &str, id: Uuid) -> String {
    format!("{entity_set}({id})")
}

/// The path of a row below the Web API root: `accounts(<guid>)` or `accounts(accountnumber='A-1')`.
///
/// # Errors
/// [`UrlError`]; [`UrlError::NeedsQuery`] means that the row can only be found by a filter.
pub fn row(schema: &TableSchema, address: &Address) -> Result<String, UrlError> {
    match address {
        Address::Id(id) => Ok(row_by_id(&schema.entity_set, *id)),
        Address::Key(parts) => {
            check_key(schema, parts)?;
            let mut texts = Vec::with_capacity(parts.len());
            for (column, part) in parts {
                let (name, literal) = term(schema, column, part)?;
                let inner = match part {
                    KeyPart::Text(text) => text.as_str(),
                    KeyPart::Number(_) | KeyPart::Guid(_) | KeyPart::DateTime(_) => literal.as_str(),
                };
                if inner.contains(UNUSABLE) || literal.contains(UNUSABLE) {
                    return Err(UrlError::NeedsQuery { table: schema.name.clone(), column: column.clone() });
                }
                texts.push(format!("{name}={}", encode_literal(&literal)));
            }
            Ok(format!("{}({})", schema.entity_set, texts.join(",")))
        }
        Address::New => Err(UrlError::NoRow),
    }
}

/// Whether this alternate key cannot stand in an address, so that the row must be found by `$filter`.
#[must_use]
pub fn needs_query(schema: &TableSchema, parts: &KeyParts) -> bool {
    matches!(row(schema, &Address::Key(parts.clone())), Err(UrlError::NeedsQuery { .. }))
}

/// The `$filter` expression (not yet percent-encoded) that all parts are equal. `parts` need be no alternate key.
///
/// # Errors
/// [`UrlError`] if a column is unknown or a value does not fit it.
pub fn filter(schema: &TableSchema, parts: &KeyParts) -> Result<String, UrlError> {
    let terms: Result<Vec<_>, _> = parts
        .iter()
        .map(|(column, part)| term(schema, column, part).map(|(name, literal)| format!("{name} eq {literal}")))
        .collect();
    Ok(terms?.join(" and "))
}

/// The names for `$select`, in the order given; unsupported kinds and parties have none and are left out.
///
/// # Errors
/// [`UrlError::ColumnUnknown`].
pub fn select(schema: &TableSchema, columns: &BTreeSet<String>) -> Result<String, UrlError> {
    let mut names = vec![schema.primary_id.clone()];
    for column in columns.iter().filter(|column| **column != schema.primary_id) {
        match find(schema, column)?.kind {
            ColumnKind::Unsupported | ColumnKind::PartyList => {}
            kind => names.push(literal::property(column, kind)),
        }
    }
    Ok(names.join(","))
}

/// Checks that an active alternate key has exactly these columns.
///
/// # Errors
/// [`UrlError::KeyUnknown`], [`UrlError::KeyInactive`].
pub fn check_key(schema: &TableSchema, parts: &KeyParts) -> Result<(), UrlError> {
    let mut same = schema.keys.iter().filter(|key| {
        key.columns.len() == parts.len()
            && parts.len() <= KEY_COLUMNS_MAX
            && key.columns.iter().all(|column| parts.contains_key(column))
    });
    let columns = || parts.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    match same.next() {
        None => Err(UrlError::KeyUnknown { table: schema.name.clone(), columns: columns() }),
        Some(key) if key.active || same.any(|other| other.active) => Ok(()),
        Some(key) => Err(UrlError::KeyInactive { table: schema.name.clone(), key: key.name.clone() }),
    }
}

fn find<'a>(schema: &'a TableSchema, column: &str) -> Result<&'a crate::domain::schema::ColumnSchema, UrlError> {
    let unknown = || UrlError::ColumnUnknown { table: schema.name.clone(), column: column.to_owned() };
    schema.columns.get(column).ok_or_else(unknown)
}

/// The name and the literal of one part.
fn term(schema: &TableSchema, column: &str, part: &KeyPart) -> Result<(String, String), UrlError> {
    let found = find(schema, column)?;
    if let KeyPart::Text(text) = part {
        if text.is_empty() {
            return Err(UrlError::Empty { table: schema.name.clone(), column: column.to_owned() });
        }
        if text.contains(char::is_control) {
            return Err(UrlError::ControlCharacter { table: schema.name.clone(), column: column.to_owned() });
        }
    }
    let mismatch = || UrlError::Mismatch { table: schema.name.clone(), column: column.to_owned(), kind: found.kind };
    let text = literal::literal(found, part).ok_or_else(mismatch)?;
    Ok((literal::property(column, found.kind), text))
}

/// Percent-encodes a literal but leaves its enclosing quotes as they are, as in all documented examples.
fn encode_literal(literal: &str) -> String {
    match literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(inner) => format!("'{}'", encode(inner)),
        None => encode(literal),
    }
}

#[cfg(test)]
mod tests;
