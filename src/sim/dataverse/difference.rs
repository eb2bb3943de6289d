//! What two environments differ in. Knows neither requests nor events.

use super::cell::Cell;
use super::environment::Environment;
use super::write::business_columns;
use std::collections::BTreeSet;
use std::fmt;
use uuid::Uuid;

/// Where a row or link is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In the first environment.
    First,
    /// In the second environment.
    Second,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A row is missing on one side.
    Row {
        /// Table.
        table: String,
        /// Row.
        id: Uuid,
        /// Where it is missing.
        missing: Side,
    },
    /// A column has different values.
    Column {
        /// Table.
        table: String,
        /// Row.
        id: Uuid,
        /// Column.
        column: String,
        /// Value in the first environment.
        first: Option<Cell>,
        /// Value in the second environment.
        second: Option<Cell>,
    },
    /// A link is missing on one side.
    Link {
        /// Relationship.
        relationship: String,
        /// The two rows.
        rows: (Uuid, Uuid),
        /// Where it is missing.
        missing: Side,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |cell: &Option<Cell>| cell.as_ref().map_or("null".to_owned(), ToString::to_string);
        match self {
            Self::Row { table, id, missing } => write!(f, "{table} {id} is missing in the {missing:?} environment"),
            Self::Column { table, id, column, first, second } => {
                write!(f, "{table} {id} {column}: {} / {}", shown(first), shown(second))
            }
            Self::Link { relationship, rows, missing } => {
                write!(f, "{relationship} {} {} is missing in the {missing:?} environment", rows.0, rows.1)
            }
        }
    }
}

/// Compares the business columns of `tables` and all links between them. System columns are left out, and those of
/// `ignore` (`ownerid`, say: users have other ids in every environment). Rows are matched by their primary key.
#[must_use]
pub fn difference(first: &Environment, second: &Environment, tables: &[&str], ignore: &[&str]) -> Vec<Difference> {
    let mut found = Vec::new();
    for table in tables {
        let (left, right) = (first.rows(table), second.rows(table));
        let other: BTreeSet<String> = business_columns(&second.world().schema, table).into_iter().collect();
        let columns: Vec<String> = business_columns(&first.world().schema, table)
            .into_iter()
            .filter(|c| other.contains(c) && !ignore.contains(&c.as_str()))
            .collect();
        let ids: BTreeSet<Uuid> = left.keys().chain(right.keys()).copied().collect();
        for id in ids {
            let table = (*table).to_owned();
            match (left.get(&id), right.get(&id)) {
                (Some(a), Some(b)) => {
                    for column in columns.iter().filter(|c| a.get(c) != b.get(c)) {
                        let (first, second) = (a.get(column).cloned(), b.get(column).cloned());
                        let (table, column) = (table.clone(), column.clone());
                        found.push(Difference::Column { table, id, column, first, second });
                    }
                }
                (None, _) => found.push(Difference::Row { table, id, missing: Side::First }),
                (_, None) => found.push(Difference::Row { table, id, missing: Side::Second }),
            }
        }
    }
    for relationship in &first.world().schema.many_to_many {
        if tables.contains(&relationship.first.0.as_str()) && tables.contains(&relationship.second.0.as_str()) {
            let name = &relationship.schema_name;
            let (left, right) = (first.links(name), second.links(name));
            for rows in left.symmetric_difference(&right) {
                let missing = if left.contains(rows) { Side::Second } else { Side::First };
                found.push(Difference::Link { relationship: name.clone(), rows: *rows, missing });
            }
        }
    }
    found
}
