//! The body of a write: columns as the Web API wants them, by the table's metadata (facts 5.3, 5.4).
//!
//! Pure. It converts between kinds only where nothing is lost and refuses everything else by name; it resolves no
//! lookup: which row a reference means in this environment, and the entity sets, come from outside.

use super::scalar::{self, CHOICES_MAX};
use super::url::{self, Address, KeyParts, UrlError};
use crate::domain::schema::{ColumnKind, ColumnSchema, LookupSchema, TableSchema};
use crate::domain::value::{Columns, KeyPart, Reference, RowRef, Value};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most parties of one row: assumed, far above what a mail has; keeps one event's body bounded.
pub const PARTIES_MAX: usize = 1_000;

/// What the write may turn into, which decides which columns are writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The row does not exist: POST, or PATCH with `If-None-Match: *`.
    Create,
    /// The row exists: PATCH with `If-Match`.
    Update,
    /// Either.
    Upsert,
}

/// A table that lookups of a body point to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referenced {
    /// Its entity set.
    pub entity_set: String,
    /// Its metadata: needed only for references by alternate key.
    pub schema: Option<Arc<TableSchema>>,
}

/// The referenced tables of a body, by logical name. See [`referenced_tables`] for which are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedLookups {
    /// By logical name.
    pub tables: BTreeMap<String, Referenced>,
}

/// Why a value cannot be written. Names tables, columns and kinds, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The table has no such column.
    #[error("table {table} has no column {column}")]
    ColumnUnknown {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The metadata says that this column is not written in this mode.
    #[error("column {table}.{column} cannot be written ({mode:?})")]
    NotWritable {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The mode.
        mode: Mode,
    },
    /// The value does not fit the column without loss.
    #[error("column {table}.{column} holds {kind:?} and cannot take {given}")]
    Mismatch {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the column holds.
        kind: ColumnKind,
        /// The kind of value that was given.
        given: &'static str,
    },
    /// More than [`CHOICES_MAX`] choices or [`PARTIES_MAX`] parties.
    #[error("column {table}.{column} has more than {max} entries")]
    TooMany {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The limit.
        max: usize,
    },
    /// No lookup of this column points to that table.
    #[error("lookup {table}.{column} cannot point to table {referenced}")]
    NoNavigation {
        /// The table.
        table: String,
        /// The lookup column.
        column: String,
        /// The table it should point to.
        referenced: String,
    },
    /// The entity set (or, for a key, the metadata) of a referenced table was not given.
    #[error("table {referenced}, which {table}.{column} points to, was not resolved")]
    NotResolved {
        /// The table.
        table: String,
        /// The lookup column.
        column: String,
        /// The table it points to.
        referenced: String,
    },
    /// A reference by alternate key has no address; [`UrlError::NeedsQuery`] means: find its GUID first.
    #[error("lookup {table}.{column}: {reason}")]
    Reference {
        /// The table.
        table: String,
        /// The lookup column.
        column: String,
        /// Why.
        reason: UrlError,
    },
}

/// Whether the metadata allows writing this column. An upsert may become either, and the service ignores what does not
/// apply (`statecode` on create), so one of the two is enough there.
#[must_use]
pub fn is_writable(column: &ColumnSchema, mode: Mode) -> bool {
    let allowed = match mode {
        Mode::Create => column.creatable,
        Mode::Update => column.updatable,
        Mode::Upsert => column.creatable || column.updatable,
    };
    allowed && column.kind != ColumnKind::Unsupported
}

/// The tables that references in these columns (parties included) point to.
#[must_use]
pub fn referenced_tables(columns: &Columns) -> std::collections::BTreeSet<String> {
    let mut tables = std::collections::BTreeSet::new();
    for value in columns.values() {
        match value {
            Value::Lookup(reference) => {
                tables.insert(reference.table.clone());
            }
            Value::Parties(parties) => parties.iter().for_each(|party| tables.extend(referenced_tables(party))),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::DateTime(_)
            | Value::Choice(_)
            | Value::Choices(_) => {}
        }
    }
    tables
}

/// Encodes columns for a write to `address`.
///
/// The primary key, and for an address by alternate key its columns, are left out: on create the body's key would win over
/// the address (use-upsert-insert-update-record). Parties replace the whole collection, so `columns` must hold every party
/// column that has values, or those are removed.
///
/// # Errors
/// [`EncodeError`] for the first column that cannot be written.
pub fn encode(
    schema: &TableSchema,
    columns: &Columns,
    mode: Mode,
    address: &Address,
    lookups: &ResolvedLookups,
) -> Result<Map<String, Json>, EncodeError> {
    let encoder = Encoder { schema, lookups };
    let mut body = Map::new();
    let mut parties: Option<Vec<Json>> = None;
    for (column, value) in columns {
        let in_address = matches!(address, Address::Key(parts) if parts.contains_key(column));
        if in_address || *column == schema.primary_id {
            continue;
        }
        let found = schema.columns.get(column).ok_or_else(|| encoder.unknown(column))?;
        if !is_writable(found, mode) {
            return Err(EncodeError::NotWritable { table: schema.name.clone(), column: column.clone(), mode });
        }
        match found.kind {
            ColumnKind::Lookup => {
                let (name, value) = encoder.lookup(column, found.kind, value)?;
                body.insert(name, value);
            }
            ColumnKind::Owner => {
                let (name, value) = encoder.owner(column, found.kind, value)?;
                body.insert(name, value);
            }
            ColumnKind::PartyList => {
                parties.get_or_insert_default().extend(encoder.parties(column, found.kind, value)?)
            }
            kind => {
                body.insert(column.clone(), encoder.scalar(column, kind, value)?);
            }
        }
    }
    if let Some(parties) = parties {
        body.insert(super::party::collection(&schema.name), Json::Array(parties));
    }
    Ok(body)
}

/// Adds an alternate key's columns to the body of a POST: only for keys that no address can hold ([`Address::New`]).
///
/// # Errors
/// [`EncodeError`].
pub fn add_key(
    schema: &TableSchema,
    body: &mut Map<String, Json>,
    parts: &KeyParts,
    lookups: &ResolvedLookups,
) -> Result<(), EncodeError> {
    let columns = parts.iter().map(|(column, part)| (column.clone(), key_value(schema, column, part))).collect();
    body.extend(encode(schema, &columns, Mode::Create, &Address::New, lookups)?);
    Ok(())
}

/// A key part as a value: the GUID of a lookup that points to one table only becomes a reference to it.
fn key_value(schema: &TableSchema, column: &str, part: &KeyPart) -> Value {
    match part {
        KeyPart::Text(text) => Value::Text(text.clone()),
        KeyPart::Number(number) => Value::Number(number.clone()),
        KeyPart::DateTime(at) => Value::DateTime(*at),
        KeyPart::Guid(id) => {
            let mut navigations = schema.lookups.iter().filter(|lookup| lookup.column == column);
            match (navigations.next(), navigations.next()) {
                (Some(only), None) => {
                    Value::Lookup(Reference { table: only.referenced_table.clone(), row: RowRef::Id(*id), name: None })
                }
                _ => Value::Text(id.to_string()),
            }
        }
    }
}

struct Encoder<'a> {
    schema: &'a TableSchema,
    lookups: &'a ResolvedLookups,
}

impl Encoder<'_> {
    fn unknown(&self, column: &str) -> EncodeError {
        EncodeError::ColumnUnknown { table: self.schema.name.clone(), column: column.to_owned() }
    }

    fn mismatch(&self, column: &str, kind: ColumnKind, value: &Value) -> EncodeError {
        let (table, column) = (self.schema.name.clone(), column.to_owned());
        EncodeError::Mismatch { table, column, kind, given: scalar::kind_name(value) }
    }

    fn too_many(&self, column: &str, max: usize) -> EncodeError {
        EncodeError::TooMany { table: self.schema.name.clone(), column: column.to_owned(), max }
    }

    fn scalar(&self, column: &str, kind: ColumnKind, value: &Value) -> Result<Json, EncodeError> {
        if let Value::Choices(choices) = value
            && choices.len() > CHOICES_MAX
        {
            return Err(self.too_many(column, CHOICES_MAX));
        }
        scalar::encode(kind, value).ok_or_else(|| self.mismatch(column, kind, value))
    }

    /// The navigation property and what it is set to. Any one of a polymorphic lookup's properties clears it.
    fn lookup(&self, column: &str, kind: ColumnKind, value: &Value) -> Result<(String, Json), EncodeError> {
        let of_column = || self.schema.lookups.iter().filter(|lookup| lookup.column == column);
        let none = |referenced: &str| EncodeError::NoNavigation {
            table: self.schema.name.clone(),
            column: column.to_owned(),
            referenced: referenced.to_owned(),
        };
        match value {
            Value::Null => {
                let any: &LookupSchema = of_column().next().ok_or_else(|| none("any"))?;
                Ok((any.navigation.clone(), Json::Null))
            }
            Value::Lookup(reference) => {
                let lookup = of_column().find(|lookup| lookup.referenced_table == reference.table);
                let lookup = lookup.ok_or_else(|| none(&reference.table))?;
                Ok((format!("{}@odata.bind", lookup.navigation), self.bind(column, reference)?))
            }
            _ => Err(self.mismatch(column, kind, value)),
        }
    }

    /// Owners have one navigation property for users and teams alike, and are never cleared.
    fn owner(&self, column: &str, kind: ColumnKind, value: &Value) -> Result<(String, Json), EncodeError> {
        let Value::Lookup(reference) = value else {
            return Err(self.mismatch(column, kind, value));
        };
        if !matches!(reference.table.as_str(), "systemuser" | "team") {
            let (table, column, referenced) = (self.schema.name.clone(), column.to_owned(), reference.table.clone());
            return Err(EncodeError::NoNavigation { table, column, referenced });
        }
        let navigation = self.schema.lookups.iter().find(|lookup| lookup.column == column);
        let navigation = navigation.map_or(column, |lookup| lookup.navigation.as_str());
        Ok((format!("{navigation}@odata.bind"), self.bind(column, reference)?))
    }

    /// `/accounts(<guid or key>)`.
    fn bind(&self, column: &str, reference: &Reference) -> Result<Json, EncodeError> {
        let not_resolved = || EncodeError::NotResolved {
            table: self.schema.name.clone(),
            column: column.to_owned(),
            referenced: reference.table.clone(),
        };
        let referenced = self.lookups.tables.get(&reference.table).ok_or_else(not_resolved)?;
        let path = match &reference.row {
            RowRef::Id(id) => url::row_by_id(&referenced.entity_set, *id),
            RowRef::Key(parts) => {
                let schema = referenced.schema.as_deref().ok_or_else(not_resolved)?;
                url::row(schema, &Address::Key(parts.clone())).map_err(|reason| EncodeError::Reference {
                    table: self.schema.name.clone(),
                    column: column.to_owned(),
                    reason,
                })?
            }
        };
        Ok(Json::String(format!("/{path}")))
    }

    fn parties(&self, column: &str, kind: ColumnKind, value: &Value) -> Result<Vec<Json>, EncodeError> {
        let parties = match value {
            Value::Null => return Ok(Vec::new()),
            Value::Parties(parties) => parties,
            _ => return Err(self.mismatch(column, kind, value)),
        };
        if parties.len() > PARTIES_MAX {
            return Err(self.too_many(column, PARTIES_MAX));
        }
        let mask = super::party::mask(column).ok_or_else(|| self.mismatch(column, kind, value))?;
        parties.iter().map(|party| self.party(column, mask, party)).collect()
    }

    /// One party: the role, the row, and the address if there is no row (or it differs).
    fn party(&self, column: &str, mask: i64, party: &Columns) -> Result<Json, EncodeError> {
        let mut object = Map::new();
        object.insert("participationtypemask".to_owned(), Json::from(mask));
        if let Some(Value::Lookup(reference)) = party.get("partyid") {
            let name = format!("{}@odata.bind", super::party::navigation(&reference.table));
            object.insert(name, self.bind(column, reference)?);
        }
        if let Some(Value::Text(address)) = party.get("addressused") {
            object.insert("addressused".to_owned(), Json::from(address.as_str()));
        }
        if object.len() == 1 {
            return Err(self.mismatch(column, ColumnKind::PartyList, &Value::Null));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests;
