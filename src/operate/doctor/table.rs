//! One table of the mapping against the target's metadata. Pure: decides by names and flags alone.

use super::{Check, listed, meant, or_fine};
use crate::domain::mapping::{Deletes, Guard, Identity, LookupRule, Mapping, TableMap};
use crate::domain::schema::{ColumnKind, TableSchema};
use std::collections::{BTreeMap, BTreeSet};

/// The name of a table's check.
#[must_use]
pub fn name(table: &TableMap) -> String {
    format!("target table {}", table.target)
}

/// Everything about the table that its own metadata can tell.
#[must_use]
pub fn table(mapping: &Mapping, table: &TableMap, schema: &TableSchema) -> Vec<Check> {
    let name = name(table);
    let mut checks = Vec::new();
    if schema.elastic {
        let remedy = format!("remove [tables.{}]: an upsert replaces whole rows there", table.source);
        checks.push(Check::fail(&name, "is an elastic table, which is not supported", remedy));
    }
    if schema.external {
        let remedy = format!("remove [tables.{}], or write to where its rows are kept", table.source);
        checks.push(Check::fail(&name, "is a virtual table, which is not supported", remedy));
    }
    let files = schema.files.iter().filter(|column| {
        let system = schema.is_system(column);
        !system && table.columns.source_name(column).is_some()
    });
    let files: Vec<&str> = files.map(String::as_str).collect();
    if !files.is_empty() {
        let detail = format!("has file or image columns, which are never synchronised: {}", listed(files));
        checks.push(Check::warn(&name, detail, "add them to `exclude` to say that this is known"));
    }
    if table.guard == Guard::Etag && !schema.optimistic_concurrency {
        let remedy = format!("write guard = \"lease\" in [tables.{}]", table.source);
        checks.push(Check::fail(&name, "guard = \"etag\", but the table has no optimistic concurrency", remedy));
    }
    if table.deletes == Deletes::Deactivate && !schema.columns.contains_key("statecode") {
        let remedy = format!("write deletes = \"delete\" or \"ignore\" in [tables.{}]", table.source);
        checks.push(Check::fail(&name, "deletes = \"deactivate\", but the table has no state", remedy));
    }
    checks.extend(key(&name, table, schema));
    checks.extend(columns(&name, table, schema));
    checks.extend(lookups(&name, mapping, table, schema));
    or_fine(checks, &name, || {
        let writable = schema.columns.iter().filter(|(column, found)| found.writable() && !schema.is_system(column));
        let identity = match &table.identity {
            Identity::Id => "the same GUID".to_owned(),
            Identity::Key(columns) => format!("key {}", columns.join(", ")),
        };
        format!("{}: {} columns to write, identity by {identity}", schema.entity_set, writable.count())
    })
}

fn key(name: &str, table: &TableMap, schema: &TableSchema) -> Option<Check> {
    let Identity::Key(columns) = &table.identity else { return None };
    let wanted: BTreeSet<&String> = columns.iter().collect();
    let shown = columns.join(", ");
    let found = schema.keys.iter().find(|key| key.columns.iter().collect::<BTreeSet<_>>() == wanted);
    match found {
        Some(key) if key.active => None,
        Some(key) => {
            let detail = format!("key {} ({shown}) is not Active, so it is not enforced", key.name);
            let remedy = "wait until its index is built; if that failed, remove duplicate rows and reactivate the key";
            Some(Check::fail(name, detail, remedy))
        }
        None => {
            let detail = format!("has no alternate key with exactly the columns {shown}");
            let others = schema.keys.iter().map(|key| format!("{} ({})", key.name, key.columns.join(", ")));
            let others: Vec<String> = others.collect();
            let have =
                if others.is_empty() { "it has none".to_owned() } else { format!("it has {}", others.join("; ")) };
            Some(Check::fail(name, detail, format!("add that key to the target, or name another: {have}")))
        }
    }
}

/// Columns that the file names, by target name, with where.
#[must_use]
pub(super) fn named(table: &TableMap) -> BTreeMap<&str, &'static str> {
    let map = &table.columns;
    let mut named = BTreeMap::new();
    let mut add = |column, place| {
        named.entry(column).or_insert(place);
    };
    if let Identity::Key(columns) = &table.identity {
        columns.iter().for_each(|column| add(column.as_str(), "key"));
    }
    map.include.iter().flatten().filter_map(|source| map.target_name(source)).for_each(|column| add(column, "include"));
    map.rename.values().for_each(|column| add(column, "rename"));
    map.values.keys().for_each(|column| add(column, "values"));
    table.groups.iter().flatten().for_each(|column| add(column, "groups"));
    table.lookups.keys().for_each(|column| add(column, "lookups"));
    table.placeholder_set.keys().for_each(|column| add(column, "placeholder"));
    named
}

fn columns(name: &str, table: &TableMap, schema: &TableSchema) -> Vec<Check> {
    let mut checks = Vec::new();
    for (column, place) in named(table) {
        match schema.columns.get(column) {
            None => {
                let detail = format!("has no column {column}, named in `{place}`");
                let remedy = format!(
                    "{}add the column to the target, or take it out of [tables.{}]",
                    meant(column, schema.columns.keys().map(String::as_str)),
                    table.source
                );
                checks.push(Check::fail(name, detail, remedy));
            }
            Some(found) if found.kind == ColumnKind::Unsupported || !found.writable() => {
                let detail = format!("column {column}, named in `{place}`, cannot be written");
                let remedy = format!("take it out of [tables.{}], or exclude it", table.source);
                checks.push(Check::fail(name, detail, remedy));
            }
            Some(found) if !found.updatable => {
                let detail = format!("column {column}, named in `{place}`, can only be set when a row is created");
                let remedy = "later changes of it are lost, and its value too if an update of a row arrives first";
                checks.push(Check::warn(name, detail, remedy));
            }
            Some(_) => {}
        }
    }
    checks
}

fn lookups(name: &str, mapping: &Mapping, table: &TableMap, schema: &TableSchema) -> Vec<Check> {
    let mut checks = Vec::new();
    for (column, rule) in &table.lookups {
        let Some(found) = schema.columns.get(column) else { continue };
        if !matches!(found.kind, ColumnKind::Lookup | ColumnKind::Owner) {
            let detail = format!("column {column} has a rule in `lookups`, but is no lookup");
            checks.push(Check::fail(name, detail, format!("remove it from [tables.{}.lookups]", table.source)));
            continue;
        }
        let referenced = referenced(schema, column);
        let synchronised = referenced.iter().any(|table| mapping.by_target(table).is_some());
        if *rule == LookupRule::Ensure && !synchronised {
            let detail =
                format!("{column} = \"ensure\", but none of its tables is synchronised ({})", listed(referenced));
            checks.push(Check::fail(name, detail, "add one of them to the file, or write \"skip\" or \"park\""));
        }
    }
    let alone: Vec<&str> = schema
        .columns
        .iter()
        .filter(|(column, found)| {
            let synchronised = |to: &&str| mapping.by_target(to).is_some();
            found.kind == ColumnKind::Lookup
                && found.writable()
                && !schema.is_system(column)
                && table.columns.source_name(column).is_some()
                && !table.lookups.contains_key(*column)
                && !referenced(schema, column).iter().any(synchronised)
        })
        .map(|(column, _)| column.as_str())
        .collect();
    if !alone.is_empty() {
        let detail = format!("lookups to tables that are not synchronised, without a rule: {}", listed(alone));
        let remedy = format!(
            "their rows must have the same ids in the target; else give each a rule in [tables.{}.lookups] (`by`, `map`, \
             \"skip\" or \"park\"), or exclude it",
            table.source
        );
        checks.push(Check::warn(name, detail, remedy));
    }
    checks
}

/// The tables a lookup may refer to; users stand for owners.
#[must_use]
pub(super) fn referenced<'a>(schema: &'a TableSchema, column: &str) -> Vec<&'a str> {
    let tables = schema.lookups.iter().filter(|lookup| lookup.column == column);
    tables
        .map(|lookup| lookup.referenced_table.as_str())
        .map(|table| if table == "owner" { "systemuser" } else { table })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn file_and_image_columns_are_named_unless_they_are_excluded() {
        let schema = TableSchema {
            name: "account".to_owned(),
            entity_set: "accounts".to_owned(),
            primary_id: "accountid".to_owned(),
            primary_name: None,
            columns: BTreeMap::new(),
            lookups: Vec::new(),
            keys: Vec::new(),
            links: Vec::new(),
            optimistic_concurrency: true,
            elastic: false,
            external: false,
            // the image of the row itself is a system column
            files: ["entityimage", "new_contract", "new_photo"].map(str::to_owned).into(),
            secured: std::collections::BTreeSet::new(),
        };
        let mut map = TableMap::new("account");
        map.columns.exclude.insert("new_photo".to_owned());
        let checks = table(&Mapping::default(), &map, &schema);
        let [check] = checks.as_slice() else { panic!("{checks:?}") };
        assert_eq!(check.status, Status::Warn);
        assert!(check.detail.ends_with("never synchronised: new_contract"), "{}", check.detail);
    }
}
