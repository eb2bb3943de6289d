//! What a source event means in the target: which row, which columns under which names with which values, and what is left
//! out and why. Pure. Knows no versions and does not resolve lookups: whether a referenced row exists, and the rules
//! for when it does not, are the engine's.

mod identity;
mod values;

#[cfg(test)]
mod tests;

use super::event::{ChangeEvent, Operation};
use super::mapping::{Identity, Mapping, TableMap};
use super::schema::{ColumnKind, ColumnSchema, TableSchema};
use super::value::{Columns, KeyPart, RowRef, Value};
use std::collections::BTreeMap;

/// An event in the target's terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// Which row.
    pub row: MappedRow,
    /// What to write, target names. The columns of an identity key are among them; the primary key never is.
    pub columns: Columns,
    /// What the event's image knows besides, target names. What does not map is missing from it.
    pub image: Columns,
    /// Source columns that are not written, and why, sorted by name.
    pub dropped: Vec<Dropped>,
    /// Columns that `sync.toml` names but the target does not have (target names): these park the event.
    pub unknown_named: Vec<String>,
    /// Columns (target names) whose value has no entry in their value map: these park the event (`value_unmapped`).
    pub value_unmapped: Vec<String>,
}

/// Which row of the target an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappedRow {
    /// Known in the table's own kind of identity.
    Known(RowRef),
    /// The event does not carry the table's kind of identity: the source or the target must be asked.
    Unresolved {
        /// What the event gives, in target names: a GUID of the *source* for tables known by a key, a key for tables
        /// known by GUID.
        given: RowRef,
        /// Columns of the identity key (target names) that are neither in the event nor in its image, or unusable.
        missing: Vec<String>,
    },
}

/// A source column that is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Source name.
    pub column: String,
    /// Why.
    pub why: Why,
}

/// Why a column is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The target has no such column; nobody named it.
    NotInTarget,
    /// The target's metadata calls it not writable (by this operation).
    NotWritable,
    /// A system column, the primary key, or the base-currency value of a money column.
    System,
    /// `sync.toml` leaves it out.
    Excluded,
    /// A file, image or virtual column.
    Unsupported,
}

impl Why {
    /// The word in logs and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotInTarget => "not_in_target",
            Self::NotWritable => "not_writable",
            Self::System => "system",
            Self::Excluded => "excluded",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Maps an event of `table` to the target's `schema`.
#[must_use]
pub fn map_columns(mapping: &Mapping, table: &TableMap, schema: &TableSchema, event: &ChangeEvent) -> Mapped {
    let mut mapped = Mapped {
        row: identity::of(table, schema, event),
        columns: Columns::new(),
        image: Columns::new(),
        dropped: Vec::new(),
        unknown_named: Vec::new(),
        value_unmapped: Vec::new(),
    };
    for (source, value) in &event.columns {
        match placed(table, schema, source, &event.operation) {
            Placed::At(target) => match values::map(mapping, table, target, value) {
                Some(value) => {
                    mapped.columns.insert(target.to_owned(), value);
                }
                None => mapped.value_unmapped.push(target.to_owned()),
            },
            Placed::Unknown(target) => mapped.unknown_named.push(target.to_owned()),
            Placed::Dropped(why) => mapped.dropped.push(Dropped { column: source.clone(), why }),
        }
    }
    for (source, value) in &event.image {
        if let Placed::At(target) = placed(table, schema, source, &Operation::Upsert)
            && let Some(value) = values::map(mapping, table, target, value)
        {
            mapped.image.insert(target.to_owned(), value);
        }
    }
    mapped
}

/// A value of the target's column as part of a key; `None` if it is none: null, blank, or no value of that type.
#[must_use]
pub fn key_of(schema: &TableSchema, column: &str, value: &Value) -> Option<KeyPart> {
    identity::typed(schema.columns.get(column).map(|column| column.kind), value)
}

/// The identity key of a row of `table` by its columns (source names); `None` if a part is missing or unusable.
#[must_use]
pub fn key_in(table: &TableMap, schema: &TableSchema, columns: &Columns) -> Option<BTreeMap<String, KeyPart>> {
    let Identity::Key(parts) = &table.identity else { return None };
    let part = |column: &String| {
        let value = columns.get(table.columns.source_name(column)?)?;
        Some((column.clone(), identity::value_part(table, schema, column, value)?))
    };
    parts.iter().map(part).collect()
}

/// Where a source column goes.
enum Placed<'a> {
    At(&'a str),
    Unknown(&'a str),
    Dropped(Why),
}

fn placed<'a>(table: &'a TableMap, schema: &TableSchema, source: &'a str, operation: &Operation) -> Placed<'a> {
    let Some(target) = table.columns.target_name(source) else { return Placed::Dropped(Why::Excluded) };
    if schema.is_system(target) {
        return Placed::Dropped(Why::System);
    }
    match schema.columns.get(target) {
        None if table.is_named(source, target) => Placed::Unknown(target),
        None => Placed::Dropped(Why::NotInTarget),
        Some(column) if column.kind == ColumnKind::Unsupported => Placed::Dropped(Why::Unsupported),
        Some(column) if !writable_by(column, operation) => Placed::Dropped(Why::NotWritable),
        Some(_) => Placed::At(target),
    }
}

/// An update only writes what updates may write. Creates are upserts: the row may be there already, as a placeholder.
fn writable_by(column: &ColumnSchema, operation: &Operation) -> bool {
    match operation {
        Operation::Update => column.updatable,
        Operation::Create | Operation::Upsert | Operation::Delete | Operation::Link(_) | Operation::Unlink(_) => {
            column.writable()
        }
    }
}
