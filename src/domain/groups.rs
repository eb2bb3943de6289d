//! Columns that only make sense together and are written together (DESIGN "Groups"): what every table has by its metadata, and
//! what the mapping adds. Groups that share a column are one. Pure; knows no versions.

use super::mapping::{Identity, TableMap};
use super::schema::{ColumnKind, TableSchema};
use std::collections::{BTreeMap, BTreeSet};

/// The column that gives money its currency.
const CURRENCY: &str = "transactioncurrencyid";

/// The groups of one table, disjoint, target names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    groups: Vec<BTreeSet<String>>,
    by_column: BTreeMap<String, usize>,
}

impl Groups {
    /// The groups of a table. Only columns that the mapping synchronises and the target can write are members: others could
    /// never be brought in.
    #[must_use]
    pub fn of(table: &TableMap, schema: &TableSchema) -> Self {
        let usable = |column: &String| {
            schema.columns.get(column).is_some_and(|found| found.writable() && found.kind != ColumnKind::Unsupported)
                && !schema.is_system(column)
                && table.columns.source_name(column).is_some()
        };
        let all = built_in(table, schema).into_iter().chain(table.groups.iter().cloned());
        let mut groups = Self::default();
        for group in all {
            groups.unite(group.into_iter().filter(usable).collect());
        }
        groups
    }

    /// The group that a column belongs to, itself included; `None` if it stands alone.
    #[must_use]
    pub fn of_column(&self, column: &str) -> Option<&BTreeSet<String>> {
        self.by_column.get(column).and_then(|index| self.groups.get(*index))
    }

    /// All groups.
    #[must_use]
    pub fn all(&self) -> &[BTreeSet<String>] {
        &self.groups
    }

    /// Adds a group, uniting it with those that share a column. A single column is no group.
    fn unite(&mut self, group: BTreeSet<String>) {
        if group.len() < 2 {
            return;
        }
        let (touching, mut apart): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.groups).into_iter().partition(|known| !known.is_disjoint(&group));
        apart.push(touching.into_iter().fold(group, |united, known| &united | &known));
        self.groups = apart;
        let members =
            self.groups.iter().enumerate().flat_map(|(n, group)| group.iter().map(move |name| (name.clone(), n)));
        self.by_column = members.collect();
    }
}

fn built_in(table: &TableMap, schema: &TableSchema) -> Vec<BTreeSet<String>> {
    let of_kind = |wanted: &[ColumnKind]| -> BTreeSet<String> {
        schema
            .columns
            .iter()
            .filter(|(_, column)| wanted.contains(&column.kind))
            .map(|(name, _)| name.clone())
            .collect()
    };
    let mut groups = vec![of_kind(&[ColumnKind::State, ColumnKind::Status]), of_kind(&[ColumnKind::PartyList])];
    let mut money = of_kind(&[ColumnKind::Money]);
    if !money.is_empty() {
        money.insert(CURRENCY.to_owned());
        groups.push(money);
    }
    groups.extend(schema.keys.iter().map(|key| key.columns.iter().cloned().collect()));
    if let Identity::Key(columns) = &table.identity {
        groups.push(columns.iter().cloned().collect());
    }
    groups.extend(periods(schema));
    groups
}

/// Start and end of one period: two date columns whose names differ in nothing but `start` and `end` (`scheduledstart` and
/// `scheduledend`, `new_startdate` and `new_enddate`).
fn periods(schema: &TableSchema) -> Vec<BTreeSet<String>> {
    let is_date =
        |name: &str| schema.columns.get(name).is_some_and(|column| matches!(column.kind, ColumnKind::DateTime(_)));
    let mut pairs = Vec::new();
    for name in schema.columns.keys().filter(|name| is_date(name)) {
        for (at, _) in name.match_indices("start") {
            let (head, tail) = (name.get(..at).unwrap_or_default(), name.get(at + "start".len()..).unwrap_or_default());
            let end = format!("{head}end{tail}");
            if is_date(&end) {
                pairs.push(BTreeSet::from([name.clone(), end]));
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests;
