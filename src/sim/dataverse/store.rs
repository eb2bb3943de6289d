//! The rows and links of an environment, and the rules between rows: alternate keys, references. Knows no request.

use super::cell::{Cell, Row};
use super::errors::{self, ApiError};
use super::schema::{KeyStatus, OnDelete, Schema, TableDef};
use super::types::order;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Rows of one table.
pub type Rows = BTreeMap<Uuid, Row>;
/// Links of one relationship: first table's row, second table's row.
pub type Links = BTreeSet<(Uuid, Uuid)>;

/// Everything that changes in an environment.
#[derive(Debug)]
pub struct State {
    /// Rows by table.
    pub rows: BTreeMap<String, Rows>,
    /// Links by relationship schema name.
    pub links: BTreeMap<String, Links>,
    /// Rows that were deleted: by table, the version of the delete and the row.
    pub deleted: BTreeMap<String, Vec<(i64, Uuid)>>,
    /// The last version given out.
    pub version: i64,
    /// The number of the last commit.
    pub sequence: u64,
    random: StdRng,
}

/// Who refers to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Table.
    pub table: String,
    /// Row.
    pub id: Uuid,
    /// Lookup column.
    pub column: String,
    /// What happens when the referenced row goes.
    pub rule: OnDelete,
}

impl State {
    /// Nothing in it; ids come from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rows: BTreeMap::new(),
            links: BTreeMap::new(),
            deleted: BTreeMap::new(),
            // Versions are database-wide and never small.
            version: 1_000_000,
            sequence: 0,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// A new id.
    pub fn guid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid()
    }

    /// A number below one, for faults and delays.
    pub fn chance(&mut self) -> f64 {
        self.random.random()
    }

    /// One row.
    #[must_use]
    pub fn row(&self, table: &str, id: Uuid) -> Option<&Row> {
        self.rows.get(table)?.get(&id)
    }

    /// The primary name of a row.
    #[must_use]
    pub fn name(&self, schema: &Schema, table: &str, id: Uuid) -> Option<String> {
        let column = &schema.tables.get(table)?.primary_name;
        self.row(table, id)?.get(column).map(ToString::to_string)
    }

    /// The row with these key values.
    ///
    /// # Errors
    /// Several rows, which happens when the key's index is not active.
    pub fn by_key(&self, def: &TableDef, values: &[(String, Cell)]) -> Result<Option<Uuid>, ApiError> {
        let Some(rows) = self.rows.get(&def.name) else { return Ok(None) };
        let mut found = rows.values().filter(|row| values.iter().all(|(name, value)| same(row.get(name), Some(value))));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(row), None) => Ok(Some(row.id)),
            (Some(_), Some(_)) => Err(errors::many_rows_by_key(&def.name)),
        }
    }

    /// Checks the active alternate keys of a row that is about to be written. Null parts are never equal.
    ///
    /// # Errors
    /// 412 when another row has the values.
    pub fn check_keys(&self, def: &TableDef, id: Uuid, columns: &BTreeMap<String, Cell>) -> Result<(), ApiError> {
        let Some(rows) = self.rows.get(&def.name) else { return Ok(()) };
        for key in def.keys.iter().filter(|key| key.status == KeyStatus::Active) {
            let values: Vec<(&String, Option<&Cell>)> = key.columns.iter().map(|c| (c, columns.get(c))).collect();
            if values.iter().any(|(_, value)| value.is_none()) {
                continue;
            }
            let taken =
                rows.values().any(|row| row.id != id && values.iter().all(|(name, value)| same(row.get(name), *value)));
            if taken {
                let texts: Vec<(String, String)> = values
                    .into_iter()
                    .map(|(name, value)| (name.clone(), value.map(ToString::to_string).unwrap_or_default()))
                    .collect();
                return Err(errors::duplicate_key(&key.name, &texts, &def.name, id));
            }
        }
        Ok(())
    }

    /// Writes a row and returns it with its new version.
    pub fn put(&mut self, table: &str, id: Uuid, columns: BTreeMap<String, Cell>) -> Row {
        self.version += 1;
        let row = Row { id, version: self.version, columns };
        self.rows.entry(table.to_owned()).or_default().insert(id, row.clone());
        row
    }

    /// Removes a row and remembers that it did.
    pub fn remove(&mut self, table: &str, id: Uuid) -> Option<Row> {
        let before = self.rows.get_mut(table).and_then(|rows| rows.remove(&id))?;
        self.version += 1;
        self.deleted.entry(table.to_owned()).or_default().push((self.version, id));
        Some(before)
    }

    /// All rows whose lookups refer to a row.
    #[must_use]
    pub fn referrers(&self, schema: &Schema, table: &str, id: Uuid) -> Vec<Referrer> {
        let mut found = Vec::new();
        for def in schema.tables.values() {
            let Some(rows) = self.rows.get(&def.name) else { continue };
            let lookups: Vec<(&str, OnDelete)> = def
                .columns
                .values()
                .filter_map(|c| def.lookup_of(&c.name).map(|l| (c.name.as_str(), l.on_delete)))
                .collect();
            for row in rows.values() {
                for (column, rule) in &lookups {
                    if matches!(row.get(column), Some(Cell::Lookup { table: t, id: i }) if t == table && *i == id) {
                        found.push(Referrer {
                            table: def.name.clone(),
                            id: row.id,
                            column: (*column).to_owned(),
                            rule: *rule,
                        });
                    }
                }
            }
        }
        found
    }

    /// Removes all links of a row.
    pub fn unlink_all(&mut self, schema: &Schema, table: &str, id: Uuid) {
        for relationship in &schema.many_to_many {
            if let Some(links) = self.links.get_mut(&relationship.schema_name) {
                links.retain(|(first, second)| {
                    !(relationship.first.0 == table && *first == id || relationship.second.0 == table && *second == id)
                });
            }
        }
    }
}

fn same(left: Option<&Cell>, right: Option<&Cell>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => order(left, right) == Some(Ordering::Equal),
        _ => false,
    }
}
